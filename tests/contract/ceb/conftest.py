"""One signing key for the run."""

from __future__ import annotations

import pytest

from services.customs.ceb.sign import Signer, ensure_keys


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """A declarant's signer, with keys made as an embedded stack makes them."""
    keys = tmp_path_factory.mktemp("keys")
    ensure_keys(keys)
    return Signer.from_dir(keys)
