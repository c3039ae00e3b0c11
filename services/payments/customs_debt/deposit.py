"""The deposit at customs: how much it is by policy, and that it covers first whoever waited longest.

The row of the deposit is locked before the queue of demands, and after payments, dues and transfers:
one order for every writer (see `lock` of store.py and due_store.py), so no two wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from services.payments import store
from services.payments.customs_debt import store as debt_store
from services.payments.customs_debt.domain import cover
from services.payments.deps import Deps
from services.payments.domain import ledger
from services.payments.domain.ledger import JournalEntry, Purpose
from shared import metrics
from shared.database import Connection
from shared.money import Money
from shared.subscriptions import Outcome
from shared.timer_items import Items, of_order

COVERED_MAX: Final = 500
DEMANDS: Final = Items[tuple[Any, Money]](
    "payments", "guarantee", lambda demand: of_order(demand[0])
)


async def reconcile(conn: Connection, deps: Deps) -> Outcome:
    """Bring the deposit to what the policy wants, and cover what waits as far as it reaches, the oldest first."""
    free = await debt_store.lock_free(conn)
    free += await _adjust(conn, deps.deposit)
    waiting = await debt_store.list_uncovered(conn, COVERED_MAX)
    if waiting:
        covered, _ = cover(free, waiting)

        async def act(some: Sequence[tuple[Any, Money]]) -> Outcome:
            await _reserve(conn, list(some))
            await debt_store.drop_uncovered(conn, [order_id for order_id, _ in some])
            return Outcome()

        return await DEMANDS.each(conn, covered, act)
    return Outcome()


async def _adjust(conn: Connection, wanted: Money) -> Money:
    """Book the change of the deposit; return the change."""
    change, total = await debt_store.adjust_deposit(conn, wanted)
    if change:
        moved = ledger.shift(
            Purpose.DEPOSIT, ledger.FREE, ledger.OWN_FUNDS, change, wanted.currency
        )
        name = uuid5(NAMESPACE_URL, f"deposit at customs:{total}")
        await store.book(
            conn,
            [
                entry
                for movement in moved
                for entry in ledger.entries(debt_store.fresh_id(), name, movement)
            ],
        )
    return Money(change, wanted.currency)


async def reserve(conn: Connection, deps: Deps, demands: list[tuple[Any, Money]]) -> None:
    """Reserve these orders' tax; what the deposit cannot cover is written down and waits. Never overdrawn.

    While an older demand waits, younger ones wait behind it: `tend` serves the oldest first.
    """
    if not demands:
        return
    total = Money.total((amount for _, amount in demands), "CNY")
    if await debt_store.take(conn, total):
        # The row of the deposit is locked now, so nobody else adds a demand to the queue.
        if not await debt_store.is_one_uncovered(conn):
            await _book_reserved(conn, demands)
            return
        await debt_store.give_back(conn, total)
    free = await debt_store.lock_free(conn)
    free += await _adjust(conn, deps.deposit)
    if await debt_store.is_one_uncovered(conn):
        free = Money.zero("CNY")
    covered, uncovered = cover(free, demands)
    await _reserve(conn, covered)
    await debt_store.add_uncovered(conn, uncovered)


async def _reserve(conn: Connection, covered: list[tuple[Any, Money]]) -> None:
    if covered:
        taken = await debt_store.take(conn, Money.total((amount for _, amount in covered), "CNY"))
        assert taken, "the row is locked, so what was free still is"
        await _book_reserved(conn, covered)


async def _book_reserved(conn: Connection, covered: list[tuple[Any, Money]]) -> None:
    entries: list[JournalEntry] = []
    for order_id, amount in covered:
        for movement in ledger.reserve(amount):
            entries += ledger.entries(order_id, order_id, movement)
    await store.book(conn, entries)


async def release(conn: Connection, order_ids: list[Any]) -> None:
    """Give back what is reserved for these orders; those that still waited for cover wait no longer."""
    await debt_store.lock_free(conn)
    await debt_store.drop_uncovered(conn, order_ids)
    reserved = await debt_store.reserved_of(conn, order_ids)
    entries: list[JournalEntry] = []
    for order_id, amount in reserved:
        for movement in ledger.unreserve(amount):
            entries += ledger.entries(order_id, order_id, movement)
    await store.book(conn, entries)
    await debt_store.give_back(conn, Money.total((amount for _, amount in reserved), "CNY"))


async def gauges(conn: Connection) -> None:
    """Set the gauges of the deposit."""
    for state, minor in (await debt_store.count_guarantee(conn)).items():
        metrics.GUARANTEE.labels(state).set(minor)
