"""`crossborder customs summaries` without a stack: what is wrong is said, and nothing is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.app import app


def test_a_month_that_is_none_is_wrong() -> None:
    result = CliRunner().invoke(app, ["customs", "summaries", "request", "2026-13"])
    assert result.exit_code == 2
    assert "is not a month like 2026-11" in result.stderr


@pytest.mark.parametrize("words", [[], ["--json"], ["again", "S1"], ["take-up", "E1"]])
def test_without_a_stack_it_leaves_with_three(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROSSBORDER_POSTGRES", raising=False)
    monkeypatch.setenv("CROSSBORDER_HOME", str(tmp_path))
    assert CliRunner().invoke(app, ["customs", "summaries", *words]).exit_code == 3
