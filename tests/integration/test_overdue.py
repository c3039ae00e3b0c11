"""A return nobody hears of any more comes to its end by itself, and the sale stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.samples import submission
from shared import topics
from shared.identity import order_id_of
from tests.integration.test_reactions import RETURN, SUBMITTED, shop_record
from tests.integration.world import World, opened


async def without_the_authority(world: World) -> None:
    """Everybody goes on but the outside parties."""
    for _ in range(6):
        for channel in world.channels():
            await world.advance(channel)
        await world.lodge()
        await world.relay()


async def test_goods_that_never_come_back_leave_the_order_fulfilled(
    database: str, keys: Path
) -> None:
    async with opened(database, keys) as world:
        made = submission(
            "cherries",
            1,
            seed=7,
            token="tok_ok",
            prefix="NEVER",
            at=datetime.now(UTC) - timedelta(hours=2),
            person=1,
        )
        no = made["order_no"]
        world.publish(topics.SUBMISSIONS, [shop_record(no, made, SUBMITTED)])
        await world.settle_down()
        asked = {
            "platform": made["platform"],
            "order_no": no,
            "reason": "the buyer changed their mind",
        }
        world.publish(topics.SUBMISSIONS, [shop_record(no, asked, RETURN)])
        await without_the_authority(world)
        assert await world.states() == {no: "withdrawing"}
        assert await world.admin.fetchval("SELECT state FROM customs.goods_return") == "asked"

        # As if it had been so for longer than anybody waits.
        await world.admin.execute(
            "UPDATE customs.goods_return SET applied_at = applied_at - interval '140 days'"
        )
        await world.admin.execute("UPDATE customs.receipt SET at = at - interval '140 days'")
        await without_the_authority(world)
        assert await world.states() == {no: "fulfilled"}
        assert await world.admin.fetchval("SELECT state FROM customs.goods_return") == "refused"
        info = await world.admin.fetchval(
            "SELECT summary ->> 'info' FROM orders.timeline WHERE type = 'customs.return-refused.v1'"
        )
        assert info.startswith("the goods were not back")
        assert await world.broken() == {}
        order_id = order_id_of(made["platform"]["code"], no)
        before = await world.admin.fetchval(
            "SELECT version FROM customs.declaration WHERE order_id = $1", order_id
        )
        await without_the_authority(world)
        assert before == await world.admin.fetchval(
            "SELECT version FROM customs.declaration WHERE order_id = $1", order_id
        )
