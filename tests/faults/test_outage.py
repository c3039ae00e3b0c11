"""Half an hour without a way to customs, and ten thousand lists that wait for its end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from services.customs.ceb.sign import ensure_keys
from services.customs.lodging.domain import next_trial
from shared.sealing import ensure_master_keys
from tests.integration.test_failures import outage
from tests.integration.world import opened

LISTS = 10_000
DRAINED_S = 60.0
OUTAGE = timedelta(minutes=30)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The master keys and the declarant's."""
    ensure_master_keys(tmp_path)
    ensure_keys(tmp_path)
    return tmp_path


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_ten_thousand_lists_are_through_a_minute_after_an_outage(
    database: str, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The four services and the sandboxes share one process here, so each process of its own is
    faster than this.
    """
    async with opened(database, keys) as world:
        sent, took_s = await outage(world, monkeypatch, LISTS)
    found_after_s = next_trial("wait", OUTAGE).total_seconds()
    print(
        f"{LISTS} lists: {sent} messages in the outage, found over after {found_after_s:.0f} s, "
        f"through {took_s:.1f} s later"
    )
    assert found_after_s + took_s <= DRAINED_S
