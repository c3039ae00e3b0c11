"""What no linter sees: no promise left in a comment, no path of one machine, no address of a registry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    ".py",
    ".sql",
    ".toml",
    ".xml",
    ".xsd",
    ".md",
    ".yml",
    ".yaml",
    ".json",
    ".properties",
    ".txt",
    ".cfg",
    ".sh",
    "",
}
LEFT_BEHIND = {
    ".git",
    ".venv",
    ".crossborder",
    "__pycache__",
    "build",
    "dist",
    "target",
    ".hypothesis",
}
BYTES_MAX = 2_000_000

# Written in pieces, so that this file may be checked as well. A triple X is a currency code of ISO 4217 here.
PROMISES = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME")) + r")\b")
MACHINE = re.compile(
    "|".join(("/wo" + "rk/", "/ro" + "ot/", "/ho" + r"me/\w", "/tm" + r"p/\w", "/op" + "t/wheels"))
)
REGISTRIES = re.compile(
    "|".join(("py" + r"pi\.org", "python" + r"hosted\.", r"repo1?\." + "maven", "index" + "-url ="))
)


def files() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        inside = path.relative_to(ROOT)
        if any(
            part in LEFT_BEHIND or part.endswith(("_cache", ".egg-info")) for part in inside.parts
        ):
            continue
        if path.is_file() and path.suffix in KINDS and path.stat().st_size < BYTES_MAX:
            yield path


@pytest.mark.parametrize(
    "forbidden",
    [PROMISES, MACHINE, REGISTRIES],
    ids=["promises", "paths of a machine", "registry addresses"],
)
def test_no_file_contains(forbidden: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert not found, "\n".join(found)
