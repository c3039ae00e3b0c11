"""`crossborder restart` of a program that a person must mend first: it is said at once, and nothing is restarted."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.embedded import lock
from services.cli.app import app
from services.cli.connect import RunningStack, Unreachable
from services.cli.stack import restart


@pytest.fixture
def failed(home: Path) -> Iterator[Path]:
    """The folder of a stack whose tax does not start; the process that runs it is this one."""
    held = lock.take(home)
    tax = {"state": "failed", "pid": None, "log": "tax.log"}
    text = {
        "pid": os.getpid(),
        "kafka": "x:1",
        "postgres": "postgresql:///x",
        "programs": {"tax": tax},
        "ports": {"tax": 1},
    }
    (home / "stack.json").write_text(json.dumps(text))
    yield home
    lock.free(held)


SAID = "mend what the end of tax.log says, then `crossborder down` and `crossborder up`: tax does not start"


@pytest.mark.parametrize("words", [["restart"], ["restart", "tax"]], ids=" ".join)
def test_a_program_that_does_not_start_is_not_waited_for(failed: Path, words: list[str]) -> None:
    found = CliRunner().invoke(app, words)
    assert (found.exit_code, found.stderr) == (3, f"{SAID}\n")


async def test_a_program_that_does_not_start_any_more_is_not_waited_for(failed: Path) -> None:
    with pytest.raises(Unreachable, match=SAID):
        await restart._until_ready(
            RunningStack("x:1", "postgresql:///x", "", failed), "tax", 1, math.inf
        )


async def test_a_stack_that_is_stopped_meanwhile_is_not_waited_for(home: Path) -> None:
    with pytest.raises(Unreachable, match="none is running"):
        await restart._until_ready(
            RunningStack("x:1", "postgresql:///x", "", home), "tax", 1, math.inf
        )
