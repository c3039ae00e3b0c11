"""The deposit at customs: its amount follows the policy, and it covers the oldest demand first.

Every writer locks in the same order, so none waits for another in a circle: payments, dues,
transfers, the row of the deposit, the queue of demands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid4, uuid5

from services.payments import store
from services.payments.customs_debt import deposit_store
from services.payments.customs_debt.cover import cover
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
    """Set the deposit to the policy's amount, and cover waiting demands, the oldest first."""
    free = await deposit_store.lock_free(conn)
    free += await _adjust(conn, deps.deposit)
    waiting = await deposit_store.list_uncovered(conn, COVERED_MAX)
    if waiting:
        covered, _ = cover(free, waiting)

        async def act(some: Sequence[tuple[Any, Money]]) -> Outcome:
            await _reserve(conn, list(some))
            await deposit_store.drop_uncovered(conn, [order_id for order_id, _ in some])
            return Outcome()

        return await DEMANDS.each(conn, covered, act)
    return Outcome()


async def _adjust(conn: Connection, wanted: Money) -> Money:
    change, total = await deposit_store.adjust_deposit(conn, wanted)
    if change:
        moved = ledger.shift(
            Purpose.DEPOSIT, ledger.FREE, ledger.OWN_FUNDS, change, wanted.currency
        )
        name = uuid5(NAMESPACE_URL, f"deposit at customs:{total}")
        entries = [e for movement in moved for e in ledger.entries(uuid4(), name, movement)]
        await store.book(conn, entries)
    return Money(change, wanted.currency)


async def reserve(conn: Connection, deps: Deps, demands: list[tuple[Any, Money]]) -> None:
    """Reserve these orders' tax; demands that the deposit cannot cover are queued.

    While an older demand waits, newer ones queue behind it.
    """
    if not demands:
        return
    total = Money.total((amount for _, amount in demands), "CNY")
    if await deposit_store.take(conn, total):
        # The row of the deposit is locked now: nobody else can queue a demand.
        if not await deposit_store.is_one_uncovered(conn):
            await _book_reserved(conn, demands)
            return
        await deposit_store.give_back(conn, total)
    free = await deposit_store.lock_free(conn)
    free += await _adjust(conn, deps.deposit)
    if await deposit_store.is_one_uncovered(conn):
        free = Money.zero("CNY")
    covered, uncovered = cover(free, demands)
    await _reserve(conn, covered)
    await deposit_store.add_uncovered(conn, uncovered)


async def _reserve(conn: Connection, covered: list[tuple[Any, Money]]) -> None:
    if covered:
        taken = await deposit_store.take(
            conn, Money.total((amount for _, amount in covered), "CNY")
        )
        assert taken, "the row is locked, so what was free still is"
        await _book_reserved(conn, covered)


async def _book_reserved(conn: Connection, covered: list[tuple[Any, Money]]) -> None:
    entries: list[JournalEntry] = []
    for order_id, amount in covered:
        for movement in ledger.reserve(amount):
            entries += ledger.entries(order_id, order_id, movement)
    await store.book(conn, entries)


async def release(conn: Connection, order_ids: list[Any]) -> None:
    """Free what is reserved for these orders, and drop their queued demands."""
    await deposit_store.lock_free(conn)
    await deposit_store.drop_uncovered(conn, order_ids)
    reserved = await deposit_store.reserved_of(conn, order_ids)
    entries: list[JournalEntry] = []
    for order_id, amount in reserved:
        for movement in ledger.unreserve(amount):
            entries += ledger.entries(order_id, order_id, movement)
    await store.book(conn, entries)
    await deposit_store.give_back(conn, Money.total((amount for _, amount in reserved), "CNY"))


async def gauges(conn: Connection) -> None:
    for state, minor in (await deposit_store.count_guarantee(conn)).items():
        metrics.GUARANTEE.labels(state).set(minor)
