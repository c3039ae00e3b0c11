"""Every program restarted in turn under 200 orders a second: nothing lost, nothing repeated, caught
up within 15 s.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Final

import pytest

from services.cli import publish, samples
from services.cli.connect import database, target
from services.cli.stack import restart
from services.cli.verify import app as verify
from tests.faults.test_kills import running

RATE: Final = float(os.environ.get("ROLLING_RATE", "200"))
LEAD_S: Final = 10.0
SECONDS: Final = 80.0
SETTLE_S: Final = 60.0


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_each_program_is_restarted_under_load(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = samples.samples(None, int(RATE * SECONDS), 5)
    wanted = [r.order_id for r in records]
    async with running(home, monkeypatch) as stack:
        to = target(stack.home)
        sent: list[int] = []
        publishing = asyncio.create_task(publish.send(to, records, RATE, sent.append))
        await asyncio.sleep(LEAD_S)
        usual = {name: await restart.caught_up(to, name) for name in restart.READERS}
        print(
            "without a restart:", ", ".join(f"{name} {s:.1f} s behind" for name, s in usual.items())
        )
        done = await restart.roll(to, list(stack.programs))
        seconds = await publishing if not publishing.done() else publishing.result()
        for each in done:
            print(
                f"{each.program:<10} ended {each.ended_s:5.1f} s  ready {each.ready_s:5.1f} s  "
                f"caught up {each.caught_up_s}"
            )
        print(f"{len(records)} orders in {seconds:.1f} s, {len(records) / seconds:.0f} a second")
        assert len(records) / seconds > 0.95 * RATE, "the load itself was too slow to mean anything"
        assert [each.program for each in done if not each.well] == []
        assert {
            s.name: s.restarts for s in stack.status() if s.name in stack.programs
        } == dict.fromkeys(stack.programs, 1)
        began = time.monotonic()
        async with database(to) as conn:
            while left := await conn.fetchval(
                "SELECT count(*) FROM unnest($1::uuid[]) AS w(order_id) "
                "LEFT JOIN orders.orders AS o USING (order_id) "
                "WHERE o.state IS DISTINCT FROM 'fulfilled'",
                wanted,
            ):
                assert time.monotonic() - began < SETTLE_S, f"{left} orders are not at their end"
                await asyncio.sleep(0.5)
        print(f"all at their end {time.monotonic() - began:.1f} s after the last")
        findings = await verify.judge(to, 30.0)
        assert [f"{f.name}: {f.offending[:5]}" for f in findings if not f.ok] == []
