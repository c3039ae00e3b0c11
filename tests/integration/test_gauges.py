"""What the services show of orders, border, bank and books is what is in their tables."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from deploy.samples.kinds import plain
from services.customs import metrics as customs_metrics
from services.customs.consolidation.months import month_of
from services.customs.lodging.timer import lodge_due
from services.orders import metrics
from services.payments import metrics as payments_metrics
from shared import topics
from shared.envelope import Outgoing
from shared.outcomes import write
from tests.integration.test_summaries import month_ends, placed
from tests.integration.world import World, opened

AGE_S = 1.0


def shown(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(f"crossborder_{name}", labels)
    assert found is not None, f"{name}{labels} is not shown"
    return found


def total(name: str, **labels: str) -> float:
    """The sum over all children that have these labels."""
    samples = [
        s
        for family in REGISTRY.collect()
        for s in family.samples
        if s.name == f"crossborder_{name}"
    ]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


@pytest.fixture
async def world(database: str, keys: Path) -> AsyncIterator[World]:
    for begin in (customs_metrics.begin, metrics.begin, payments_metrics.begin):
        begin()
    async with opened(database, keys) as found:
        yield found


def publish(world: World, count: int) -> None:
    records = [
        Outgoing(topics.SUBMISSIONS, made["order_no"].encode(), json.dumps(made).encode(), ())
        for made in plain(count, seed=3)
    ]
    world.publish(topics.SUBMISSIONS, records)


async def measure(world: World) -> None:
    of_customs = customs_metrics.gauges(AGE_S, world.deps["customs"].consolidation)
    for service, gauges in (
        ("orders", metrics.measure),
        ("payments", payments_metrics.measure),
        ("customs", of_customs),
    ):
        async with world.pools[service].acquire() as conn:
            await gauges(conn)


async def lodge(world: World) -> None:
    """What the timer of customs does, and what a service counts after it."""
    async with world.pools["customs"].acquire() as conn, conn.transaction():
        outcome = await lodge_due(conn, world.deps["customs"])
        await write(conn, "customs", topics.CUSTOMS, outcome, world.sealing)
    for count in outcome.after_commit:
        count()
    await world.relay()


async def pass_on(world: World, *services: str) -> None:
    """Let these services hear all there is for them now, and put what they say onto the log."""
    for channel in world.channels():
        if channel[0] in services:
            await world.advance(channel)
    await world.relay()


async def test_open_orders_books_and_border_are_shown_as_they_stand_at_every_step(
    world: World,
) -> None:
    publish(world, 5)
    await pass_on(world, "orders")
    await pass_on(world, "payments", "tax", "customs")
    await measure(world)
    assert shown("orders_open", state="placed") == 5
    assert shown("orders_oldest_open_timestamp_seconds", state="placed") < time.time()
    assert (
        shown("orders_open", state="lodged")
        == shown("orders_oldest_open_timestamp_seconds", state="lodged")
        == 0
    )
    assert shown("party_unanswered", party="carrier") == 5, "the carrier owes a waybill for each"
    assert time.time() - shown("party_oldest_unanswered_timestamp_seconds", party="carrier") < 60
    assert shown("party_unanswered", party="bank") == 0, "nothing was asked of it yet"

    world.outside()  # the carrier books
    while await world.ask_bank():
        await world.relay()
    await pass_on(world, "orders", "customs", "tax")
    await pass_on(world, "orders", "customs")
    await measure(world)
    assert shown("party_unanswered", party="carrier") == 0
    waiting = await world.admin.fetchval("SELECT count(*) FROM customs.waiting")
    assert waiting == 5
    assert shown("declaration_lists_waiting", kind="declare") == waiting
    groups = await world.admin.fetchval("SELECT count(DISTINCT group_key) FROM customs.waiting")
    assert shown("declaration_batches_open", kind="declare") == groups
    assert shown("declaration_batches_open", kind="return") == 0
    assert shown("ledger_imbalance_minor", currency="CNY") == 0
    held = await world.admin.fetchval(
        "SELECT sum(amount_minor) FROM payments.journal WHERE account = 'buyer_funds' AND currency = 'CNY'"
    )
    assert shown("ledger_balance_minor", account="buyer_funds", currency="CNY") == held < 0

    await world.admin.execute("UPDATE customs.waiting SET since = now() - interval '29 seconds'")
    await measure(world)
    assert shown("declaration_batches_late", kind="declare") == 0, "age and 30 s are not over"
    await world.admin.execute("UPDATE customs.waiting SET since = now() - interval '32 seconds'")
    await measure(world)
    assert shown("declaration_batches_late", kind="declare") == groups
    assert (
        time.time() - shown("declaration_batch_oldest_open_timestamp_seconds", kind="declare") > 30
    )

    lodged = total("declaration_batches_total", outcome="lodged")
    answered = total("party_answer_seconds_count", party="authority")
    await lodge(world)
    await measure(world)
    assert (
        shown("declaration_batches_open", kind="declare")
        == shown("declaration_batches_late", kind="declare")
        == 0
    )
    assert shown("party_unanswered", party="authority") == 5, (
        "the authority owes a word on each list"
    )
    one = await world.admin.fetchval("UPDATE customs.declaration SET state = 'withdrawing' WHERE order_id = (SELECT min(order_id::text)"
                                     "::uuid FROM customs.declaration WHERE state = 'lodged') RETURNING order_id")  # fmt: skip
    await measure(world)
    assert shown("party_unanswered", party="authority") == 5, (
        "also on one that is to be taken back and has no number yet"
    )
    await world.admin.execute(
        "UPDATE customs.declaration SET state = 'lodged' WHERE order_id = $1", one
    )
    assert total("declaration_batches_total", outcome="lodged") == lodged + groups
    assert time.time() - shown("declaration_last_lodged_timestamp_seconds") < 60

    await world.settle_down()
    await measure(world)
    assert {
        state: shown("orders_open", state=state) for state in ("placed", "lodged", "unwinding")
    } == dict.fromkeys(("placed", "lodged", "unwinding"), 0)
    assert (
        shown("party_unanswered", party="authority")
        == shown("party_oldest_unanswered_timestamp_seconds", party="authority")
        == 0
    )
    assert total("party_answer_seconds_count", party="authority") == answered + groups, (
        "one first word on each message"
    )
    assert time.time() - shown("party_last_success_timestamp_seconds", party="authority") < 60
    assert time.time() - shown("party_last_success_timestamp_seconds", party="carrier") < 60
    assert await world.broken() == {}


async def test_counters_of_orders_agree_with_the_tables(world: World) -> None:
    before: dict[Any, float] = {
        state: total("orders_total", state=state) for state in ("placed", "fulfilled")
    }
    stages = total("order_stage_seconds_count", stage="release")
    publish(world, 12)
    await world.settle_down()
    rows = dict(await world.admin.fetch("SELECT state, count(*) FROM orders.orders GROUP BY state"))
    assert rows == {"fulfilled": 12}
    assert total("orders_total", state="fulfilled") - before["fulfilled"] == 12
    assert total("orders_total", state="placed") - before["placed"] == 12
    assert total("order_stage_seconds_count", stage="release") - stages == 12


async def test_a_ledger_that_does_not_sum_to_zero_is_shown(world: World) -> None:
    await world.admin.execute("SET session_replication_role = replica")
    await world.admin.execute(
        "INSERT INTO payments.journal (txn_id, seq, order_id, purpose, account, party, currency, amount_minor) "
        "VALUES (gen_random_uuid(), 0, gen_random_uuid(), 'capture', 'bank_clearing', '', 'EUR', 700)"
    )
    await measure(world)
    assert shown("ledger_imbalance_minor", currency="EUR") == 700


async def test_lists_not_consolidated_are_shown_with_their_last_day_once_their_month_is_over(
    world: World,
) -> None:
    await placed(world, "sum_no", "")
    await measure(world)
    assert total("lists_unconsolidated") == shown("consolidation_due_timestamp_seconds") == 0
    month = month_of(datetime.fromtimestamp(world.clock.now, UTC))
    await month_ends(world)
    await measure(world)
    assert (
        shown("lists_unconsolidated", state="requested"),
        shown("summaries", state="refused"),
    ) == (2, 1)
    assert (
        shown("consolidation_due_timestamp_seconds")
        == world.deps["customs"].consolidation.due_at(month).timestamp()
    )
