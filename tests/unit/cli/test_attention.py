"""What of a stack's programs a person is told first."""

from __future__ import annotations

import os
import time
from typing import Any

import psutil
import pytest

from services.cli.attention import trouble_of
from services.cli.verify import Finding, show

STARTED = psutil.Process(os.getpid()).create_time()


def program(**changed: Any) -> dict[str, Any]:
    return {"name": "tax", "state": "running", "restarts": 0, "pid": os.getpid(), "ready": True, "log": "tax.log"} | changed


@pytest.mark.parametrize(
    ("found", "age_s", "says"),
    [
        (program(), 5, ""),
        (program(ready=None), 5, ""),
        (program(state="waiting", pid=None, restarts=4), 5, "tax is down after 4 restarts"),
        (program(state="failed", pid=None), 5, "tax is down after 0 restarts"),
        (program(ready=False), 5, "tax runs and is not ready"),
        (program(restarts=2), 5, ""),
        (program(restarts=3), 5, "tax ends again and again"),
        (program(restarts=9), 600, ""),
        (program(restarts=9, pid=2**31 - 1), 600, "tax ends again and again"),
    ],
)
def test_what_is_wrong_with_a_program_is_said(found: dict[str, Any], age_s: float, says: str) -> None:
    told = trouble_of(found, STARTED + age_s)
    assert told.startswith(says)
    assert bool(told) == bool(says)


def test_verify_begins_with_what_a_person_must_do(capsys: pytest.CaptureFixture[str]) -> None:
    show([Finding("programs", "look at its log", ("tax is down",)), Finding("books_balance", "they do not", ("order 1",))])
    out, err = capsys.readouterr()
    assert err.splitlines()[:2] == ["ACT: look at its log", "  tax is down"]
    assert err.splitlines()[-1] == "1 of 1 invariants are broken"
    assert "books_balance: order 1" in out
    assert "programs: " not in out
    assert time.time() > STARTED
