"""What a timer decides is decided once, whoever dies."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from shared import topics
from shared.failpoints import Failpoints, Killed
from shared.sealing import Sealing
from shared.service import Service, Timer, Wiring
from shared.settings import Settings
from shared.subscriptions import EmittedEvent, Outcome
from tests.integration.conftest import TALLY_SUBSCRIPTIONS, Tallied, TallyDeps

ORDER = uuid4()


async def once(conn: Any, deps: TallyDeps) -> Outcome:
    """Announce one fact, the first time only."""
    made = await conn.fetchval(
        "INSERT INTO tally VALUES ($1, 1, 1) ON CONFLICT DO NOTHING RETURNING total", ORDER
    )
    return Outcome(facts=[EmittedEvent(Tallied(order_id=ORDER, total=1), ORDER, 1)] if made else [])


@pytest.mark.parametrize("step", ["timer_before_commit", "timer_after_commit"])
async def test_a_timer_killed_at_any_step_has_its_effect_once(
    kafka: str, topic_prefix: str, database: str, tally_pool: Any, sealing: Sealing, step: str
) -> None:
    await topics.create_topics(kafka, topic_prefix, partitions=1)
    settings = Settings(kafka=kafka, postgres=database, topic_prefix=topic_prefix)
    wiring = Wiring(
        "tax",
        topics.TAX,
        TALLY_SUBSCRIPTIONS,
        TallyDeps(),
        sealing,
        timers=[Timer("once", 0.05, once)],
    )
    with pytest.raises(Killed):
        await Service(wiring, settings, tally_pool, Failpoints(step, in_process=True)).run(
            asyncio.Event()
        )
    stop = asyncio.Event()
    task = asyncio.create_task(Service(wiring, settings, tally_pool).run(stop))
    await asyncio.sleep(1)
    stop.set()
    await task
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM tally") == 1
        # Published by the relay meanwhile, or still to be: in either case written once.
        assert await conn.fetchval("SELECT max(id) FROM outbox") in (None, 1)
