"""Released scripts stay as they are, and new ones are numbered."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from services.schema import SERVICES, migrations

ROOT = Path(__file__).resolve().parents[2]
RELEASED = {
    line.split()[1]: line.split()[0]
    for line in (ROOT / "services" / "released.sha256").read_text().splitlines()
}


@pytest.mark.parametrize("path", sorted(RELEASED))
def test_a_released_script_is_as_it_was_released(path: str) -> None:
    found = hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
    assert found == RELEASED[path], (
        f"restore {path}: databases have run it; put the change into a new migration"
    )


def test_the_first_scripts_of_every_schema_are_frozen() -> None:
    first = {
        "shared/schema.sql",
        "services/vault/schema.sql",
        *(f"services/{s}/schema.sql" for s in SERVICES),
    }
    assert first <= set(RELEASED)


def test_numbers_are_never_used_twice_and_rights_come_last() -> None:
    scripts = migrations()
    assert len({(m.schema, m.name) for m in scripts}) == len(scripts)
    for service in SERVICES:
        names = [m.name for m in scripts if m.schema == service]
        assert names[:2] == ["kernel", "schema"]
        assert names[-1] == "rights"
        numbered = [name for name in names[2:-1] if not name.startswith("kernel/")]
        assert numbered == sorted(numbered)
