"""A person's yearly quota under concurrency: never over the limit by one fen, never refusing what fits."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from services.tax.deps import Deps
from services.tax.handlers import SUBSCRIPTIONS
from services.tax.invariants import INVARIANTS
from services.tax.rulebook import files as rule_files
from shared import inbox, topics
from shared.database import connect_pool
from shared.envelope import Record, first_headers, headers_of
from shared.events.base import Event
from shared.events.customs import GoodsReleased
from shared.events.orders import OrderPlaced, OrderUnwinding
from shared.handler import Handler
from shared.money import Money
from shared.outbox import unpack_headers
from shared.sealing import Sealing
from shared.settings import Settings
from tests.unit.tax.orders import TOY, Item, placed

LIMIT_FEN: Final = 26_000_00
REPLICAS: Final = 4
ORDERS: Final = 1000

Told = tuple[str, Event]
"""A topic, and a fact on it."""


def what_happens(chance: random.Random, orders: Sequence[OrderPlaced]) -> list[Told]:
    """Each order is placed, and some time after it some are released, some called off, some both."""
    told: list[tuple[float, Told]] = []
    for at, order in enumerate(orders):
        told.append((at, (topics.ORDERS, order)))
        fate = chance.random()
        if fate < 0.3:
            released = GoodsReleased(
                order_id=order.order_id, cop_no="C", status="800", info="released"
            )
            told.append((at + chance.uniform(0.5, 40), (topics.CUSTOMS, released)))
        elif fate < 0.75:
            undone = OrderUnwinding(order_id=order.order_id, towards="cancelled")
            told.append((at + chance.uniform(0.5, 40), (topics.ORDERS, undone)))
    return [each for _, each in sorted(told, key=lambda pair: pair[0])]


class Replica:
    """One of the service's handlers, with a partition of each topic of its own."""

    def __init__(self, number: int, pool: Any, sealing: Sealing) -> None:
        self.number = number
        self._handler = Handler(
            "tax", topics.TAX, SUBSCRIPTIONS, pool, Deps(rule_files.load()), sealing=sealing
        )
        self._next: Counter[str] = Counter()

    async def hear(self, told: Sequence[Told], chance: random.Random) -> None:
        """All of it, in polls of any size."""
        at = 0
        while at < len(told):
            size = chance.choice((1, 2, 5, 12))
            await self._handler.handle([self._record(*each) for each in told[at : at + size]])
            at += size

    def _record(self, topic: str, event: Event) -> Record:
        offset = self._next[topic]
        self._next[topic] += 1
        headers = headers_of(
            event_id=uuid4(), event_type=event.type, source="test", at=datetime.now(UTC), version=1
        )
        return Record(
            topic, self.number, offset, 0, str(event.order_id).encode(), event.to_json(), headers
        )


def check_every_decision(
    facts: Sequence[tuple[str, dict[str, Any]]], value: dict[UUID, int]
) -> Counter[str]:
    """Replay the facts in the order in which they were decided, knowing nothing but the limit.

    All were written under the lock of one person's row, so their order in the outbox is that of the decisions. An order
    is refused rightly when the sum in force at that moment and it are above the limit, and let through rightly when not.
    """
    in_force: dict[UUID, int] = {}
    seen: Counter[str] = Counter()
    for kind, fact in facts:
        order_id = UUID(fact["order_id"])
        used = sum(in_force.values())
        match kind:
            case "tax.assessed.v1":
                assert used + value[order_id] <= LIMIT_FEN
                in_force[order_id] = value[order_id]
            case "tax.refused.v1":
                assert used + value[order_id] > LIMIT_FEN, (
                    f"{value[order_id]} was refused though {used} was in force"
                )
                assert fact["value"] == str(Money(used + value[order_id], "CNY"))
            case "tax.voided.v1" | "tax.restored.v1":
                in_force.pop(order_id, None)
        seen[kind] += 1
    return seen


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_thousand_orders_of_one_person_at_four_replicas_are_each_decided_rightly(
    database: str, sealing: Sealing, seed: int
) -> None:
    chance = random.Random(seed)
    prices = [chance.choice((1, chance.randrange(1, 400_00), 4_999_99)) for _ in range(ORDERS)]
    orders = [
        placed(f"{seed}-{n}", [Item(TOY, str(Money(fen, "CNY")))]) for n, fen in enumerate(prices)
    ]
    told: dict[int, list[Told]] = defaultdict(list)
    for each in what_happens(chance, orders):
        told[each[1].order_id.int % REPLICAS].append(each)
    async with AsyncExitStack() as stack:
        pool = await connect_pool(Settings(postgres=database), "tax", size=REPLICAS)
        stack.callback(pool.terminate)
        async with pool.acquire() as conn:
            await inbox.known_offsets(
                conn, {(topic, n): 0 for topic in SUBSCRIPTIONS.sources for n in range(REPLICAS)}
            )
        replicas = [Replica(n, pool, sealing) for n in range(REPLICAS)]
        await asyncio.gather(
            *(r.hear(told[r.number], random.Random(seed * 10 + r.number)) for r in replicas)
        )
    admin = await asyncpg.connect(database)
    try:
        rows = await admin.fetch("SELECT headers, value FROM tax.outbox ORDER BY id")
        facts = [
            (
                first_headers(unpack_headers(r["headers"]))["ce_type"].decode(),
                orjson.loads(r["value"]),
            )
            for r in rows
        ]
        seen = check_every_decision(
            facts, {order.order_id: order.goods_value.minor for order in orders}
        )
        assert seen["tax.assessed.v1"] + seen["tax.refused.v1"] == ORDERS
        assert (
            min(seen[f"tax.{kind}.v1"] for kind in ("assessed", "refused", "posted", "voided")) > 20
        ), seen
        assert {
            i.name: await admin.fetch(i.sql) for i in INVARIANTS if await admin.fetch(i.sql)
        } == {}
        (quota,) = await admin.fetch("SELECT reserved_minor, posted_minor FROM tax.quota")
        held = "SELECT coalesce(sum(reserved_minor) FILTER (WHERE state = $1), 0) FROM tax.tax_case"
        assert quota["reserved_minor"] == await admin.fetchval(held, "assessed")
        assert quota["posted_minor"] == await admin.fetchval(held, "posted") > 0
        assert await admin.fetchval("SELECT count(*) FROM tax.held_order") == 0
    finally:
        await admin.close()


async def test_an_entry_is_made_once_and_never_changed(database: str) -> None:
    admin = await asyncpg.connect(database)
    try:
        await admin.execute("SET search_path = tax")
        await admin.execute("SET ROLE crossborder_tax")
        add = "INSERT INTO quota_entry (order_id, kind, part, person_ref, year, amount_minor) VALUES ($1, $2, $3, $1, 2026, 5)"
        order_id = uuid4()
        await admin.execute(add, order_id, "reserve", 0)
        with pytest.raises(asyncpg.UniqueViolationError):
            await admin.execute(add, order_id, "reserve", 0)
        for kind, part in (("post", 1), ("restore", 0)):
            with pytest.raises(asyncpg.CheckViolationError):
                await admin.execute(add, order_id, kind, part)
        for change in ("UPDATE quota_entry SET amount_minor = 6", "DELETE FROM quota_entry"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await admin.execute(change)
    finally:
        await admin.close()
