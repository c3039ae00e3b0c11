"""DOC."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from services.customs.tax_bills import store as tax_bills_store
from services.customs.tax_bills.domain import cause_of, decide_bills
from services.customs.tax_bills.store import StoredBill
from shared.database import Connection
from shared.subscriptions import EmittedEvent, Outcome
from shared.timer_items import Items, of_order

ANNOUNCED_MAX: Final = 200
"""Bills in one transaction: the timer must never hold up the receipts that come beside it."""


ORDERS: Final = Items("customs", "bills", of_order)


async def announce_bills(conn: Connection, _deps: Any) -> Outcome:
    """Say what is new about bills whose list is cleared, or whose goods are on their way back or back.

    Waiting for the release puts the facts of an order in their order, though bills come by messages of their own.
    """
    rows = await tax_bills_store.lock_bills(conn, ANNOUNCED_MAX)
    by_order = {
        order_id: list(of_it) for order_id, of_it in groupby(rows, key=lambda row: row["order_id"])
    }

    async def act(orders: Sequence[UUID]) -> Outcome:
        return await _announce(
            conn,
            [tax_bills_store.bill_of(row) for order_id in orders for row in by_order[order_id]],
        )

    return await ORDERS.each(conn, list(by_order), act)


async def _announce(conn: Connection, kept: Sequence[StoredBill]) -> Outcome:
    facts: list[EmittedEvent] = []
    after: list[StoredBill] = []
    counts: dict[UUID, int] = {}
    for order_id, bills in groupby(kept, key=lambda bill: bill.order_id):
        said_now, told = decide_bills(list(bills))
        facts += [
            EmittedEvent(event, cause_of(told[0].invt_no, event), told[0].version + number)
            for number, event in enumerate(said_now, start=1)
        ]
        after += told
        counts[order_id] = len(said_now)
    await tax_bills_store.mark_published(conn, after, counts)
    return Outcome(facts=facts)
