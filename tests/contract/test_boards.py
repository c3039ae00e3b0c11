"""The boards are what Grafana reads: by the schema that Grafana publishes for whoever writes boards by code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.grafana.__main__ import FOLDER

READER: Final = Path(__file__).parent / "grafana"
BUILD_S: Final = 300
BOARD: Final = FOLDER / "crossborder-well.json"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that reads boards by the schema."""
    if shutil.which("go") is None:
        pytest.skip("Go is not installed, so the boards were NOT read by Grafana's schema")
    made = tmp_path_factory.mktemp("boards") / "read"
    env = {**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
    done = subprocess.run(
        ["go", "build", "-o", str(made), "."],
        cwd=READER,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_S,
    )
    if done.returncode and 'Get "' in done.stderr:
        pytest.skip(
            f"Grafana's schema cannot be fetched, so the boards were NOT read by it: {done.stderr[-300:]}"
        )
    assert done.returncode == 0, done.stderr
    return made


def read(reader: Path, *boards: Path) -> str:
    """What is wrong with the boards, nothing if nothing is."""
    done = subprocess.run(
        [str(reader), *map(str, boards)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode == 0) == (done.stdout == ""), done.stderr
    return done.stdout


def test_every_board_is_one_that_grafana_knows(reader: Path) -> None:
    boards = sorted(FOLDER.glob("*.json"))
    assert len(boards) >= 6
    assert read(reader, *boards) == ""


def _panel(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(panel for panel in made["panels"] if panel["type"] == "timeseries")
    return found


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda made: made.update(refreshes="10s"), "refreshes"),
        (lambda made: _panel(made)["targets"][0].update(legend="x"), "legend"),
        (lambda made: _panel(made)["options"].update(tooltips={}), "tooltips"),
        (lambda made: _panel(made)["fieldConfig"]["defaults"]["custom"].update(lineWith=1), "lineWith"),
        (lambda made: _panel(made)["options"]["legend"].pop("calcs"), "calcs"),
        (lambda made: _panel(made)["gridPos"].update(w=25), "w"),
    ],
    ids=["a field of the board", "of a query", "an option", "a field's own", "one that is missing", "one out of bounds"],
)  # fmt: skip
def test_a_field_that_grafana_does_not_know_or_misses_is_noticed(
    reader: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    made = json.loads(BOARD.read_text())
    spoil(made)
    spoiled = tmp_path / "spoiled.json"
    spoiled.write_text(json.dumps(made))
    assert complaint in read(reader, spoiled)
