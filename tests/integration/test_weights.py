"""The kilograms that the positive list allows a person in a year, under concurrency: never over, never refusing what fits."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from services.tax.domain.ledger import MG_A_KG
from services.tax.handlers import SUBSCRIPTIONS
from services.tax.invariants import INVARIANTS
from shared import inbox, topics
from shared.database import connect_pool
from shared.envelope import first_headers
from shared.events.customs import GoodsReleased
from shared.events.orders import OrderPlaced
from shared.money import part_between
from shared.outbox import unpack_headers
from shared.sealing import Sealing
from shared.settings import Settings
from tests.integration.test_quota import REPLICAS, Replica, Told
from tests.unit.tax.orders import Item, given_back, placed, unwinding

RICE, SUGAR = "1006309000", "1701999000"
LIMIT_MG: Final = {"1006": 20 * MG_A_KG, "1701": 2 * MG_A_KG}
ORDERS: Final = 400
PIECES: Final = 3


class Planned(NamedTuple):
    """An order of rice with its facts, and what it weighs by prefix of the list."""

    order: OrderPlaced
    mg: Mapping[str, int]


def plan(chance: random.Random, seed: int, number: int) -> Planned:
    weights = {"1006": chance.choice((1, chance.randrange(1, 900_000), 5 * MG_A_KG))}
    if chance.random() < 0.3:
        weights["1701"] = chance.randrange(1, 400_000)
    codes = {"1006": RICE, "1701": SUGAR}
    items = [
        Item(codes[hs], "9.00", quantity=str(PIECES), weight=f"{Decimal(mg) / MG_A_KG:f}")
        for hs, mg in weights.items()
    ]
    return Planned(placed(f"{seed}-{number}", items), weights)


def what_happens(chance: random.Random, plans: Sequence[Planned], seed: int) -> list[Told]:
    """Each order is placed; after it some are called off, some released, and of some of these one piece of rice comes back."""
    told: list[tuple[float, Told]] = []
    for at, planned in enumerate(plans):
        told.append((at, (topics.ORDERS, planned.order)))
        fate, later = chance.random(), at + chance.uniform(0.5, 40)
        if fate < 0.4:
            released = GoodsReleased(
                order_id=planned.order.order_id, cop_no="C", status="800", info="released"
            )
            told.append((later, (topics.CUSTOMS, released)))
        elif fate < 0.85:
            told.append((later, (topics.ORDERS, unwinding(f"{seed}-{at}"))))
    return [each for _, each in sorted(told, key=lambda pair: pair[0])]


def check_every_decision(
    facts: Sequence[tuple[str, dict[str, Any]]], plans: Mapping[UUID, Planned]
) -> Counter[str]:
    """Replay the facts in the order in which they were decided, knowing nothing but the limits."""
    in_force: dict[UUID, dict[str, int]] = {}
    seen: Counter[str] = Counter()
    for kind, fact in facts:
        order_id = UUID(fact["order_id"])
        mine = plans[order_id].mg
        used = {hs: sum(held.get(hs, 0) for held in in_force.values()) for hs in LIMIT_MG}
        over = [hs for hs, mg in mine.items() if used[hs] + mg > LIMIT_MG[hs]]
        match kind:
            case "tax.assessed.v1":
                assert not over
                in_force[order_id] = dict(mine)
            case "tax.refused.v1":
                assert fact["code"] == "weight_over_yearly"
                assert over, f"{mine} was refused though {used} was in force"
            case "tax.voided.v1":
                in_force.pop(order_id, None)
            case "tax.restored.v1":
                in_force[order_id]["1006"] -= part_between(
                    mine["1006"], Decimal(0), Decimal(1), Decimal(PIECES)
                )
        seen[kind] += 1
    return seen


async def run(database: str, sealing: Sealing, seed: int, plans: Sequence[Planned]) -> None:
    chance = random.Random(seed)
    told: dict[int, list[Told]] = defaultdict(list)
    for each in what_happens(chance, plans, seed):
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
        async with pool.acquire() as conn:
            posted = await conn.fetch(
                "SELECT order_id FROM tax_case WHERE state = 'posted' ORDER BY order_id LIMIT 5"
            )
        names = {planned.order.order_id: planned.order.order_no for planned in plans}
        back: dict[int, list[Told]] = defaultdict(list)
        for row in posted:
            fact = given_back(names[row["order_id"]], "1", of=str(PIECES), whole=False)
            back[row["order_id"].int % REPLICAS].append((topics.ORDERS, fact))
        await asyncio.gather(*(r.hear(back[r.number], chance) for r in replicas))


@pytest.mark.parametrize("seed", [1, 2])
async def test_orders_of_rice_of_one_person_at_four_replicas_are_each_decided_rightly(
    database: str, sealing: Sealing, seed: int
) -> None:
    chance = random.Random(seed)
    plans = [plan(chance, seed, number) for number in range(ORDERS)]
    await run(database, sealing, seed, plans)
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
        seen = check_every_decision(facts, {planned.order.order_id: planned for planned in plans})
        assert seen["tax.assessed.v1"] + seen["tax.refused.v1"] == ORDERS
        assert (
            min(seen[f"tax.{kind}.v1"] for kind in ("assessed", "refused", "posted", "voided")) > 10
        ), seen
        assert seen["tax.restored.v1"] == 5
        assert {
            i.name: await admin.fetch(i.sql) for i in INVARIANTS if await admin.fetch(i.sql)
        } == {}
        balances = {
            row["hs"]: row["reserved_mg"] + row["posted_mg"]
            for row in await admin.fetch("SELECT * FROM tax.weight")
        }
        assert all(0 < mg <= LIMIT_MG[hs] for hs, mg in balances.items()), balances
        for change in (
            "UPDATE tax.weight SET posted_mg = posted_mg + 1",
            "UPDATE tax.weight SET reserved_mg = reserved_mg + 1",
        ):
            transaction = admin.transaction()
            await transaction.start()
            await admin.execute(change)
            broken = {i.name for i in INVARIANTS if await admin.fetch(i.sql)}
            await transaction.rollback()
            assert broken == {"tax_weight_is_what_orders_hold", "tax_weight_is_its_ledger"}
    finally:
        await admin.close()


async def test_an_entry_of_a_weight_is_made_once_and_never_changed(database: str) -> None:
    admin = await asyncpg.connect(database)
    try:
        await admin.execute("SET search_path = tax")
        await admin.execute("SET ROLE crossborder_tax")
        add = (
            "INSERT INTO weight_entry (order_id, line_no, kind, part, person_ref, year, hs, amount_mg) "
            "VALUES ($1, 1, $2, $3, $1, 2026, '1006', 5)"
        )
        order_id = uuid4()
        await admin.execute(add, order_id, "reserve", 0)
        with pytest.raises(asyncpg.UniqueViolationError):
            await admin.execute(add, order_id, "reserve", 0)
        for kind, part in (("post", 1), ("restore", 0)):
            with pytest.raises(asyncpg.CheckViolationError):
                await admin.execute(add, order_id, kind, part)
        for change in ("UPDATE weight_entry SET amount_mg = 6", "DELETE FROM weight_entry"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await admin.execute(change)
    finally:
        await admin.close()
