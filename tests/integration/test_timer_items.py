"""One order that a timer cannot do waits by itself, and the timer does all the others; mended, it catches up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deploy.samples import submission
from services.payments.customs_debt.deposit_policy import DepositPolicy
from services.payments.deps import Deps
from shared import topics
from shared.identity import order_id_of
from shared.money import Money
from tests.integration.test_reactions import RETURN, SUBMITTED, shop_record
from tests.integration.test_summaries import month_ends, passes
from tests.integration.test_tax_bills import days_pass
from tests.integration.world import World, opened


@pytest.fixture
async def world(database: str, keys: Path) -> AsyncIterator[World]:
    async with opened(database, keys) as made:
        yield made


class Orders:
    """Orders by their numbers, in the order they were sent."""

    def __init__(self, made: list[dict[str, Any]]) -> None:
        self.made = made
        self.ids = [order_id_of(each["platform"]["code"], each["order_no"]) for each in made]
        self.nos = [each["order_no"] for each in made]


async def sent(
    world: World, count: int, *, first: int = 1, sample: str = "cherries", marker: str = ""
) -> Orders:
    """Send orders, each of another person; nothing moves yet."""
    at = datetime.now(UTC) - timedelta(hours=2)
    numbers = range(first, first + count)
    made = [
        submission(sample, n, seed=7, prefix="ITEM", at=at, person=n, marker=marker)
        for n in numbers
    ]
    world.publish(
        topics.SUBMISSIONS, [shop_record(each["order_no"], each, SUBMITTED) for each in made]
    )
    return Orders(made)


async def planted(world: World, table: str, when: str, order_id: UUID) -> None:
    """From now on the table refuses rows of this order."""
    row = f"old.order_id = '{order_id}'"
    if table == "customs.tax_bill":
        # Only what the timer writes: the authority's words on the bill are kept.
        row = (
            f"old.invt_no = '{await world.admin.fetchval(_INVT_NO, order_id)}' AND new.billed_said"
        )
    await world.admin.execute(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'planted'; END $$; GRANT USAGE ON SCHEMA public TO PUBLIC;"
        f"CREATE TRIGGER planted BEFORE {when} ON {table} FOR EACH ROW WHEN ({row}) "
        "EXECUTE FUNCTION public.refuse()"
    )


_INVT_NO = "SELECT invt_no FROM customs.declaration WHERE order_id = $1"


async def mended(world: World, table: str) -> None:
    """The table takes the order again, and its pause is over."""
    await world.admin.execute(f"DROP TRIGGER planted ON {table}")
    await made_due(world)


async def made_due(world: World) -> None:
    for service in ("customs", "tax", "payments"):
        await world.admin.execute(f"UPDATE {service}.aside SET retry_at = now()")
    await world.admin.execute("UPDATE customs.waiting SET since = now() - interval '1 hour'")


async def aside(world: World, service: str) -> list[tuple[str, UUID, str]]:
    rows = await world.admin.fetch(
        f"SELECT source, order_id, reason FROM {service}.aside ORDER BY number"
    )
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("place", [0, 3, 6])
async def test_a_list_that_cannot_be_lodged_waits_and_the_others_leave(
    world: World, place: int
) -> None:
    """Its order is as another release wrote it, which nothing here can read."""
    orders = await sent(world, 7)
    while not await world.admin.fetchval("SELECT count(*) = 7 FROM customs.waiting"):
        for channel in world.channels():
            await world.advance(channel)
        await world.ask_bank()
        await world.relay()
        world.outside()
    good = await world.admin.fetchval(
        "UPDATE customs.document d SET doc = '{}' FROM customs.document old WHERE d.order_id = $1 AND d.kind = 'order' "
        "AND old.order_id = d.order_id AND old.kind = d.kind RETURNING old.doc",
        orders.ids[place],
    )
    await world.settle_down()
    assert await world.states() == {
        no: "placed" if n == place else "fulfilled" for n, no in enumerate(orders.nos)
    }
    assert await aside(world, "customs") == [("lodge", orders.ids[place], "unexpected")]
    await made_due(world)
    await world.settle_down()
    assert await world.admin.fetchval("SELECT times FROM customs.aside") == 2
    await world.admin.execute(
        "UPDATE customs.document SET doc = $2 WHERE order_id = $1 AND kind = 'order'",
        orders.ids[place],
        good,
    )
    await made_due(world)
    await world.settle_down()
    assert set((await world.states()).values()) == {"fulfilled"}
    assert await aside(world, "customs") == []
    assert await world.broken() == {}


async def test_a_person_who_was_erased_and_orders_again_costs_nobody_else(world: World) -> None:
    at = datetime.now(UTC) - timedelta(hours=2)
    mine = [submission("cherries", n, seed=7, prefix="ERA", at=at, person=1) for n in (1, 2)]
    other = submission("cherries", 3, seed=7, prefix="ERA", at=at, person=2)
    world.publish(topics.SUBMISSIONS, [shop_record(mine[0]["order_no"], mine[0], SUBMITTED)])
    await world.settle_down()
    assert await world.admin.execute("DELETE FROM vault.person_key") == "DELETE 1"
    # The old key is still remembered here, as it may be for 45 s: the new order is read with the new one all the same.
    world.publish(topics.SUBMISSIONS, [shop_record(mine[1]["order_no"], mine[1], SUBMITTED)])
    await world.settle_down()
    assert await world.states() == {each["order_no"]: "fulfilled" for each in mine}
    asked = {
        "platform": mine[0]["platform"],
        "order_no": mine[0]["order_no"],
        "reason": "does not fit",
    }
    world.publish(topics.SUBMISSIONS, [shop_record(mine[0]["order_no"], asked, RETURN),
                                       shop_record(other["order_no"], other, SUBMITTED)])  # fmt: skip
    await world.settle_down()
    assert await world.states() == {each["order_no"]: "fulfilled" for each in (*mine, other)}
    assert await world.admin.fetchval("SELECT state FROM customs.goods_return") == "refused"
    assert await aside(world, "customs") == []


async def test_a_return_that_cannot_be_given_up_waits_and_the_others_are(world: World) -> None:
    orders = await sent(world, 3)
    await world.settle_down()
    for each in orders.made:
        asked = {
            "platform": each["platform"],
            "order_no": each["order_no"],
            "reason": "does not fit",
        }
        world.publish(topics.SUBMISSIONS, [shop_record(each["order_no"], asked, RETURN)])
    for _ in range(6):
        for channel in world.channels():
            await world.advance(channel)
        await world.lodge()
        await world.relay()
    assert set((await world.states()).values()) == {"withdrawing"}
    await world.admin.execute(
        "UPDATE customs.goods_return SET applied_at = applied_at - interval '140 days'"
    )
    await world.admin.execute("UPDATE customs.receipt SET at = at - interval '140 days'")
    await planted(world, "customs.goods_return", "UPDATE", orders.ids[1])
    await world.lodge()
    assert await aside(world, "customs") == [("returns", orders.ids[1], "integrity")]
    rows = await world.admin.fetch("SELECT order_id, state FROM customs.goods_return")
    assert {row["order_id"]: row["state"] for row in rows} == {
        order_id: "asked" if n == 1 else "refused" for n, order_id in enumerate(orders.ids)
    }
    await mended(world, "customs.goods_return")
    await world.lodge()
    assert (
        await world.admin.fetchval(
            "SELECT count(*) FROM customs.goods_return WHERE state = 'refused'"
        )
        == 3
    )
    assert await aside(world, "customs") == []


@pytest.mark.parametrize("table", ["customs.tax_bill", "tax.tax_bill"])
async def test_a_tax_bill_that_cannot_be_followed_waits_and_the_others_are_paid(
    world: World, table: str
) -> None:
    orders = await sent(world, 4)
    await world.settle_down()
    service = table.split(".", maxsplit=1)[0]
    if service == "tax":
        await days_pass(world, 1, 30, 1)
        assert (
            await world.admin.fetchval(
                "SELECT count(*) FROM tax.tax_bill WHERE state = 'consolidated'"
            )
            == 4
        )
        await planted(world, table, "UPDATE", orders.ids[2])
    else:
        await planted(world, table, "UPDATE", orders.ids[2])
        await days_pass(world, 1, 30, 1)
    await days_pass(world, 1)
    assert await aside(world, service) == [("bills", orders.ids[2], "integrity")]
    paid = await world.admin.fetch("SELECT order_id FROM payments.tax_due WHERE state = 'paid'")
    assert {row["order_id"] for row in paid} == {*orders.ids} - {orders.ids[2]}
    await mended(world, table)
    await days_pass(world, 30, 4)
    assert (
        await world.admin.fetchval("SELECT count(*) FROM payments.tax_due WHERE state = 'paid'")
        == 4
    )
    assert await aside(world, service) == []
    assert await world.broken() == {}


@pytest.mark.parametrize(
    ("table", "source"),
    [("customs.export_list", "summaries"), ("customs.summary_word", "summary words")],
)
async def test_an_export_list_that_cannot_be_asked_for_waits_and_the_others_are_consolidated(
    world: World, table: str, source: str
) -> None:
    orders = await sent(world, 4, sample="toys_us")
    await world.settle_down()
    await passes(world, 1)
    await planted(
        world, table, "UPDATE OR DELETE" if source == "summary words" else "UPDATE", orders.ids[1]
    )
    await month_ends(world)
    await passes(world, 1, 1, 1, 1)
    assert await aside(world, "customs") == [(source, orders.ids[1], "integrity")]
    told = await world.admin.fetch(
        "SELECT order_id FROM orders.timeline WHERE type = 'customs.consolidated-declaration-closed.v1'"
    )
    assert {row["order_id"] for row in told} == {*orders.ids} - {orders.ids[1]}
    await mended(world, table)
    await passes(world, 1, 1, 1)
    told = await world.admin.fetch(
        "SELECT order_id FROM orders.timeline WHERE type = 'customs.consolidated-declaration-closed.v1'"
    )
    assert {row["order_id"] for row in told} == {*orders.ids}
    assert await aside(world, "customs") == []
    assert await world.broken() == {}


async def test_a_demand_on_the_deposit_that_cannot_be_covered_waits_and_the_others_are(
    world: World,
) -> None:
    deposit = Money.of("0.01", "CNY")
    world.deps["payments"] = replace(Deps(), deposits=DepositPolicy(((date(2015, 1, 1), deposit),)))
    orders = await sent(world, 4)
    await world.settle_down()
    assert await world.admin.fetchval("SELECT count(*) FROM payments.uncovered") == 4
    await planted(world, "payments.uncovered", "DELETE", orders.ids[0])
    world.deps["payments"] = Deps()
    await world.lodge()
    assert await aside(world, "payments") == [("guarantee", orders.ids[0], "integrity")]
    assert await world.admin.fetchval("SELECT array_agg(order_id) FROM payments.uncovered") == [
        orders.ids[0]
    ]
    await mended(world, "payments.uncovered")
    await world.lodge()
    assert await world.admin.fetchval("SELECT count(*) FROM payments.uncovered") == 0
    assert await aside(world, "payments") == []
    assert await world.broken() == {}
