"""A list that customs returned is corrected once, whatever the authority says again of the one before."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.samples import submission
from deploy.sandbox.receipts import messages_of, receipt_of
from services.customs.domain.declaration import cop_no_of
from shared import topics
from shared.identity import order_id_of
from tests.integration.test_reactions import SUBMITTED, shop_record
from tests.integration.world import World, opened


async def lodged(world: World) -> list[tuple[str, int]]:
    """The lists the authority was sent: state of each declaration, and how many there were of it."""
    rows = await world.admin.fetch("SELECT state, attempt FROM customs.declaration")
    return [(row["state"], row["attempt"]) for row in rows]


async def test_a_return_said_again_in_other_bytes_makes_no_second_correction(database: str, keys: Path) -> None:
    async with opened(database, keys) as world:
        at = datetime.now(UTC) - timedelta(hours=2)
        made = submission("cherries", 1, seed=7, token="tok_ok", marker="return", prefix="AGAIN", at=at, person=1)
        world.publish(topics.SUBMISSIONS, [shop_record(made["order_no"], made, SUBMITTED)])
        returned_at, attempt = None, 0
        while attempt < 2:
            for channel in world.channels():
                await world.advance(channel)
            await world.ask_bank()
            await world.lodge()
            await world.relay()
            returned_at = await world.admin.fetchval("SELECT max(at) FROM customs.receipt WHERE status = '100'")
            attempt = await world.admin.fetchval("SELECT coalesce(max(attempt), 0) FROM customs.declaration")
            if attempt < 2:
                world.outside()  # the correction is on its way and not answered
            assert time.time() - at.timestamp() < 8_000, "the list was never returned"
        assert returned_at is not None
        named = {"copNo": cop_no_of(order_id_of(made["platform"]["code"], made["order_no"])), "preNo": "B20261123000000001"}
        again = receipt_of("list", "621", "", named, 100, "[Code:130126;Desc:again]", returned_at.timestamp())
        world.publish(topics.RECEIPTS, messages_of(topics.RECEIPTS, [again], world.clock.now))
        await world.advance(("customs", topics.RECEIPTS))
        await world.lodge()
        assert await lodged(world) == [("lodged", 2)]
        assert await world.admin.fetchval("SELECT count(*) FROM customs.receipt WHERE status = '100' AND NOT followed") == 1
        await world.settle_down()
        assert await lodged(world) == [("released", 2)]
        assert await world.states() == {made["order_no"]: "fulfilled"}
        assert await world.broken() == {}
