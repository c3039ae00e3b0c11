"""What pip-audit's answers mean: silence, an error and a package left out are never an
all-clear.
"""

from __future__ import annotations

import json

import pytest

from deploy.audit import read

CLEAN = {"name": "aiohttp", "version": "3.14.0", "vulns": []}
WEAK = {
    "name": "lxml",
    "version": "5.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["5.1"]}, {"id": "GHSA-2", "fix_versions": []}],
}
LEFT_OUT = {"name": "faust", "skip_reason": "not found"}


def test_each_weakness_is_one_line_with_its_fix() -> None:
    assert read(json.dumps({"dependencies": [CLEAN, WEAK]}), "") == [
        "lxml 5.0: PYSEC-1, fixed in 5.1",
        "lxml 5.0: GHSA-2, fixed in no release yet",
    ]


def test_none_found_is_an_empty_list() -> None:
    assert read(json.dumps({"dependencies": [CLEAN]}), "No known vulnerabilities found") == []


@pytest.mark.parametrize(
    ("output", "errors", "reason"),
    [
        ("", "Traceback\nConnectionError: no route", "ConnectionError: no route"),
        ("", "", "pip-audit printed nothing"),
        ("{}", "broken", "broken"),
        ("null", "broken", "broken"),
        (json.dumps({"dependencies": []}), "", "no package was looked at"),
        (
            json.dumps({"dependencies": [CLEAN, LEFT_OUT]}),
            "",
            "1 packages were left out: faust: not found",
        ),
    ],
)
def test_anything_else_is_the_reason_why_nobody_could_say(
    output: str, errors: str, reason: str
) -> None:
    assert read(output, errors) == reason
