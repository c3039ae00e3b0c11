"""The steady orders of the profile `load`: when they count as well, and that a broker which is away
is said and waited for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from deploy import load
from services.cli.connect import RunningStack, Unreachable


def test_well_only_while_something_was_acknowledged_of_late(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    assert not load.is_fresh(1000.0, beat), "nothing was ever acknowledged"
    beat.touch()
    os.utime(beat, (1000.0, 1000.0))
    assert load.is_fresh(1000.0 + load.AGE_S_MAX, beat)
    assert not load.is_fresh(1001.0 + load.AGE_S_MAX, beat)


@pytest.mark.parametrize("rate", ["0", "0.01", "-1", "501", "many"])
def test_a_rate_that_is_none_is_refused(rate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["load", "--rate", rate])
    with pytest.raises(SystemExit) as ended:
        load.main()
    assert ended.value.code == 2


async def test_nothing_is_well_without_a_broker(tmp_path: Path) -> None:
    nowhere = RunningStack("127.0.0.1:1", "", "", tmp_path)
    with pytest.raises(Unreachable):
        await load.publish_round(nowhere, 100.0, tmp_path / "beat", round_s=1.0)
    assert not (tmp_path / "beat").exists()
