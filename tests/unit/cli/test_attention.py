"""What of a stack's programs a person is told first."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
import typer

from services.cli.connect import RunningStack, Unreachable
from services.cli.doctor import app as doctor
from services.cli.doctor import check, stack
from services.cli.verify import app as verify
from services.cli.verify import attention
from services.cli.verify.attention import trouble_of
from services.cli.verify.findings import Finding
from services.cli.verify.report import show

NOBODY: Final = RunningStack(
    "127.0.0.1:1", "postgresql://nobody@127.0.0.1:1/none", "", Path("/nonexistent")
)
"""Where neither a broker nor a database answers."""

STARTED = psutil.Process(os.getpid()).create_time()


def program(**changed: Any) -> dict[str, Any]:
    return {
        "name": "tax",
        "state": "running",
        "restarts": 0,
        "pid": os.getpid(),
        "ready": True,
        "log": "tax.log",
    } | changed


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
def test_what_is_wrong_with_a_program_is_said(
    found: dict[str, Any], age_s: float, says: str
) -> None:
    told = trouble_of(found, STARTED + age_s)
    assert told.startswith(says)
    assert bool(told) == bool(says)


def test_verify_begins_with_what_a_person_must_do(capsys: pytest.CaptureFixture[str]) -> None:
    show(
        [
            Finding("programs", "look at its log", ("tax is down",)),
            Finding("books_balance", "they do not", ("order 1",)),
        ]
    )
    out, err = capsys.readouterr()
    assert err.splitlines()[:2] == ["ACT: look at its log", "  tax is down"]
    assert err.splitlines()[-2] == "1 of 1 invariants are broken"
    assert "books_balance: order 1" in out
    assert "programs: " not in out
    assert time.time() > STARTED


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> None:
    async def programs(_to: RunningStack) -> Finding:
        return Finding(
            "programs",
            attention.PROGRAMS_SAY,
            ("postgres is down after 1 restarts, see postgres.log",),
        )

    monkeypatch.setattr(attention, "_programs", programs)


@pytest.mark.usefixtures("down")
async def test_a_program_that_is_down_is_told_first_where_the_database_does_not_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = await verify._all(NOBODY, 0)
    assert [(f.name, f.ok) for f in found[:2]] == [("programs", False), ("held_orders", True)]
    assert all("PostgreSQL does not answer" in f.skipped for f in found[1:])
    show(found)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        f"ACT: {attention.PROGRAMS_SAY}",
        "  postgres is down after 1 restarts, see postgres.log",
    ]
    assert lines[-2].startswith("no invariant could be judged: start the stack")
    checks = await stack._attention(NOBODY)
    assert [(c.name, c.ok, c.state) for c in checks[:2]] == [
        ("programs", False, "postgres is down after 1 restarts, see postgres.log"), ("held orders", False, "not known"),
    ]  # fmt: skip


async def test_what_does_not_answer_is_said_where_no_program_is_known_here() -> None:
    with pytest.raises(
        Unreachable, match="start the stack with `crossborder up`: PostgreSQL does not answer"
    ):
        await verify._all(NOBODY, 0)


def test_doctor_begins_with_what_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def stack() -> list[check.Check]:
        return [check.Check("programs", False, "tax is down", "look at its log")]

    monkeypatch.setattr(doctor, "of_stack", stack)
    with pytest.raises(typer.Exit):
        doctor.doctor(json=False)
    first = capsys.readouterr().out.splitlines()[1]
    assert first.split()[:2] == ["NO", "programs"]
