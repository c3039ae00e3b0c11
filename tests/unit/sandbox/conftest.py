"""An authority on paper: in memory, with one declarant's certificate on file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.authority.party import Authority
from sandbox.authority.signature import Declarants
from tests.unit.sandbox.papers import Declarant


@pytest.fixture(scope="session")
def declarant() -> Declarant:
    return Declarant.new()


@pytest.fixture
def authority(declarant: Declarant, tmp_path: Path) -> Authority:
    return Authority("receipts", Declarants(declarant.file(tmp_path)))
