"""Collective messages leave for the authority: by lists, lines and bytes, and one list that fits none costs itself only."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from deploy.samples import submission
from services.customs.deps import Deps
from services.customs.gateway import Authority
from services.customs.lodging.timer import MESSAGES_MAX
from shared import topics
from shared.xml import XML_BYTES_MAX
from tests.integration.test_reactions import RETURN, SUBMITTED, shop_record
from tests.integration.world import World, opened

AT = datetime.now(UTC) - timedelta(hours=2)


def made(
    sample: str, number: int, *, lines: int = 0, name: str = "遥控玩具车" * 50
) -> dict[str, Any]:
    """An order; with `lines`, of so many whose names are as long as the schema takes them."""
    order = submission(sample, number, seed=7, prefix="LODGE", at=AT, person=number)
    if not lines:
        return order
    one = {
        **order["lines"][0],
        "name": name,
        "quantity": "1",
        "unit_price": "1.00",
        "total": "1.00",
        "net_weight_kg": "0.100",
    }
    order["lines"] = [{**one, "line_no": n, "sku": f"TOY-{n:03d}"} for n in range(1, lines + 1)]
    order["goods_value"] = f"{lines}.00"
    paid = (
        lines
        + sum(Decimal(order[n]) for n in ("freight", "insurance", "tax_withheld"))
        - Decimal(order["discount"])
    )
    return {**order, "amount_paid": f"{paid:.2f}"}


def submit(world: World, *orders: dict[str, Any]) -> None:
    world.publish(
        topics.SUBMISSIONS, [shop_record(each["order_no"], each, SUBMITTED) for each in orders]
    )


def batched(world: World, **changed: Any) -> None:
    """Let customs lodge by another policy."""
    deps: Deps = world.deps["customs"]
    policy = deps.authority.policy
    policy = replace(policy, batching=replace(policy.batching, **changed))
    world.deps["customs"] = replace(deps, authority=Authority(policy, deps.authority.signer))


async def test_lists_that_are_too_large_together_leave_in_several_messages(
    database: str, keys: Path
) -> None:
    """Eight orders of 99 lines with names of 250 characters ended the service for ever: two mebibytes in one message."""
    async with opened(database, keys) as world:
        big, small = (
            [made("toys_us", n, lines=99) for n in range(8)],
            [made("cherries", 20 + n) for n in range(3)],
        )
        submit(world, *big, *small)
        await world.settle_down()
        assert set((await world.states()).values()) == {"fulfilled"}
        sizes = [len(record.value or b"") for record in world.log[topics.DECLARATIONS]]
        assert max(sizes) <= XML_BYTES_MAX
        assert max(sizes) > XML_BYTES_MAX * 2 // 3, "messages are filled"
        assert await world.broken() == {}


async def test_a_list_too_large_alone_is_refused_by_name_and_nobody_elses(
    database: str, keys: Path
) -> None:
    async with opened(database, keys) as world:
        batched(world, bytes_max=100_000)
        large = made("toys_us", 1, lines=99)
        submit(world, *[made("toys_us", n) for n in range(2, 5)], large)
        await world.settle_down()
        states = await world.states()
        assert states.pop(large["order_no"]) == "rejected"
        assert set(states.values()) == {"fulfilled"}
        doc = await world.admin.fetchval(
            "SELECT doc FROM orders.orders WHERE order_no = $1", large["order_no"]
        )
        (fault,) = json.loads(doc)["faults"]
        assert (fault["field"], fault["rule"]) == ("declaration_list", "fits_one_message")
        assert fault["found"].endswith(" bytes")
        assert fault["expected"].startswith("at most ")


async def test_returns_are_closed_by_bytes_as_well(database: str, keys: Path) -> None:
    async with opened(database, keys) as world:
        orders = [made("toys_us", n, lines=99) for n in range(6)]
        submit(world, *orders)
        await world.settle_down()
        before = len(world.log[topics.DECLARATIONS])
        batched(world, bytes_max=250_000)
        asked = [
            {"platform": o["platform"], "order_no": o["order_no"], "reason": "does not please"}
            for o in orders
        ]
        world.publish(
            topics.SUBMISSIONS, [shop_record(each["order_no"], each, RETURN) for each in asked]
        )
        await world.settle_down()
        sent = [record.value or b"" for record in world.log[topics.DECLARATIONS][before:]]
        assert len(sent) > 1
        assert max(map(len, sent)) <= 250_000
        assert sum(value.count(b"<InvtRefundHead>") for value in sent) == len(orders)


async def test_nobody_waits_for_the_thousands_of_another_group(database: str, keys: Path) -> None:
    """While one group had a backlog, a turn lodged nothing else."""
    async with opened(database, keys) as world:
        batched(world, lists_max=2)
        submit(world, *[made("cherries", n) for n in range(40)])
        submit(world, *[made("toys_us", 100 + n) for n in range(3)])
        for _ in range(4):
            for channel in world.channels():
                await world.advance(channel)
            await world.ask_bank()
            await world.relay()
            world.outside()
        assert await world.admin.fetchval("SELECT count(*) FROM customs.waiting") == 43
        # Who has waited longest is of the group with the backlog.
        await world.admin.execute(
            "UPDATE customs.waiting SET since = since - interval '1 hour' WHERE group_key LIKE 'import%'"
        )
        await world.lodge()
        lodged = await world.admin.fetch(
            "SELECT group_key, count(*) AS count FROM customs.batch GROUP BY 1 ORDER BY 1"
        )
        assert [row["count"] for row in lodged] == [2, MESSAGES_MAX - 2]
