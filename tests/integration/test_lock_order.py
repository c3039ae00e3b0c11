"""Every writer of payments takes its locks in one order: run against each other, none waits for another in a circle."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from services.payments import handlers
from services.payments.customs_debt import deposit
from services.payments.customs_debt import handlers as debt_handlers
from services.payments.customs_debt.deposit_policy import DepositPolicy
from services.payments.deps import Deps
from services.payments.domain.bank import Transferred
from shared.effects import Effect, Reply
from shared.envelope import Message
from shared.events.tax import TaxBillDue, TaxBillSettled, TaxEvent, TaxPosted, TaxRestored
from shared.money import Money
from tests.integration.test_payments import Rig, cny, given_back, released, rig

__all__ = ["rig"]

OWED = "12.10"
DEPS = Deps(DepositPolicy(((date(2015, 1, 1), cny("60.00")),)))
"""A deposit that covers four of the orders at once, so that demands always wait."""
SECONDS = 6.0
WORKERS = 4
Writer = Callable[[Any, random.Random], Coroutine[Any, Any, None]]


class RolledBack(Exception):
    """The transaction did its work, and the next is to find the tables as they were."""


def messages(events: Sequence[TaxEvent]) -> list[Message]:
    now = datetime.now(UTC)
    return [
        Message(uuid4(), e.type, e.order_id, e, now, "tax.events", 0, n)
        for n, e in enumerate(events)
    ]


def settled(order_id: UUID) -> TaxBillSettled:
    return TaxBillSettled(
        order_id=order_id, tax_no=f"T{order_id}", withheld=cny(OWED), assessed=cny(OWED), billed=cny(OWED), outcome="exact",
        merchant_code="46016602EV", booked_at_most=cny("0.50"),
    )  # fmt: skip


def due(order_id: UUID, payment_id: UUID) -> TaxBillDue:
    return TaxBillDue(
        order_id=order_id,
        tax_no=f"T{order_id}",
        payment_book=f"B{payment_id}",
        payment_id=payment_id,
        bills=2,
        amount=cny(OWED),
    )


def transferred(payment_id: UUID) -> Reply:
    return Reply(
        Effect(payment_id, payment_id, "transfer", b"{}", 1),
        Transferred(payment_id, f"X{payment_id}"),
    )


@dataclass
class Writers:
    """The writers of payments on orders whose bills are in payment books, billed, or not assessed yet."""

    in_books: list[UUID]
    billed: list[UUID]
    fresh: list[UUID]
    payments: list[UUID] = field(default_factory=lambda: [uuid4() for _ in range(4)])

    async def tax(self, conn: Any, events: Sequence[TaxEvent]) -> None:
        await debt_handlers.handle_tax_events(conn, messages(events), DEPS)

    async def prepare(self, conn: Any) -> None:
        await self.tax(
            conn, [TaxPosted(order_id=i, total=cny(OWED)) for i in (*self.in_books, *self.billed)]
        )
        await self.tax(conn, [settled(i) for i in (*self.in_books, *self.billed)])
        await self.tax(conn, [due(i, self.payments[n // 2]) for n, i in enumerate(self.in_books)])

    async def post(self, conn: Any, dice: random.Random) -> None:
        await self.tax(
            conn, [TaxPosted(order_id=i, total=cny(OWED)) for i in dice.sample(self.fresh, 4)]
        )

    async def restore(self, conn: Any, dice: random.Random) -> None:
        zero = Money.zero("CNY")
        chosen = dice.sample([*self.in_books, *self.billed], 6)
        facts = [
            TaxRestored(order_id=i, return_no=1, total=cny(OWED), quota=zero, remaining=zero)
            for i in chosen
        ]
        await self.tax(conn, facts)

    async def hand_over(self, conn: Any, dice: random.Random) -> None:
        payment_id = UUID(int=dice.randint(1, 3))
        await self.tax(conn, [due(i, payment_id) for i in dice.sample(self.billed, 2)])

    async def transfer(self, conn: Any, dice: random.Random) -> None:
        chosen = dice.sample(self.payments, dice.randint(1, 4))
        await debt_handlers.handle_transfers(
            conn, [transferred(payment_id) for payment_id in chosen]
        )

    async def tend(self, conn: Any, _dice: random.Random) -> None:
        await deposit.reconcile(conn, DEPS)

    async def take_back(self, conn: Any, dice: random.Random) -> None:
        chosen = dice.sample([*self.in_books, *self.billed], 6)
        await handlers._apply(conn, [(uuid4(), given_back(i), None) for i in chosen])

    def all(self) -> Sequence[Writer]:
        return self.post, self.restore, self.hand_over, self.transfer, self.tend, self.take_back


async def worked(
    pool: Any, writers: Sequence[Writer], seed: int, stop: float
) -> tuple[Counter[str], list[str]]:
    """Run writers at random until `stop`; return how often each ran, and what failed for a lock."""
    dice, done, failed = random.Random(seed), Counter[str](), list[str]()
    while time.monotonic() < stop:
        writer = dice.choice(writers)
        try:
            async with pool.acquire() as conn, conn.transaction():
                await writer(conn, dice)
                raise RolledBack
        except RolledBack:
            done[writer.__name__] += 1
        except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError) as error:
            failed.append(f"{writer.__name__}: {type(error).__name__}")
    return done, failed


async def test_all_writers_run_against_each_other_without_a_deadlock(rig: Rig) -> None:
    orders = [await rig.placed() for _ in range(24)]
    await rig.hear(*orders)
    await rig.ask_bank()
    await rig.hear(*(released(o.order_id) for o in orders))
    ids = [o.order_id for o in orders]
    writers = Writers(ids[:8], ids[8:16], ids[16:])
    async with rig.pool.acquire() as conn, conn.transaction():
        await writers.prepare(conn)
        assert await conn.fetchval("SELECT count(*) FROM uncovered") == 12
    stop = time.monotonic() + SECONDS
    results = await asyncio.gather(
        *(worked(rig.pool, writers.all(), seed, stop) for seed in range(WORKERS))
    )
    assert [failure for _, failed in results for failure in failed] == []
    assert set().union(*(done for done, _ in results)) == {
        writer.__name__ for writer in writers.all()
    }
    async with rig.pool.acquire() as conn, conn.transaction():
        await debt_handlers.handle_transfers(
            conn, [transferred(payment_id) for payment_id in writers.payments]
        )
        await conn.execute("DELETE FROM effect")


async def test_a_younger_demand_on_the_deposit_never_passes_an_older_one(rig: Rig) -> None:
    deps = Deps(DepositPolicy(((date(2015, 1, 1), cny("100")),)))

    async def reserve(*amounts: str) -> list[UUID]:
        ids = [uuid4() for _ in amounts]
        async with rig.pool.acquire() as conn, conn.transaction():
            await deposit.reserve(
                conn, deps, [(i, cny(a)) for i, a in zip(ids, amounts, strict=True)]
            )
        return ids

    async def waiting() -> list[UUID]:
        async with rig.pool.acquire() as conn:
            return [
                row["order_id"]
                for row in await conn.fetch("SELECT order_id FROM uncovered ORDER BY id")
            ]

    first = await reserve("60")
    big, small = await reserve("80", "10")
    assert await waiting() == [big, small]
    (late,) = await reserve("5")
    assert await waiting() == [big, small, late]
    async with rig.pool.acquire() as conn, conn.transaction():
        await deposit.release(conn, first)
        await deposit.reconcile(conn, deps)
    assert await waiting() == []
    (again,) = await reserve("5")
    assert await waiting() == []
    async with rig.pool.acquire() as conn, conn.transaction():
        await deposit.release(conn, [big, small, late, again])
        assert await conn.fetchval("SELECT reserved_minor FROM guarantee") == 0
