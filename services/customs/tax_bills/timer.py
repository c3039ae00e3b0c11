"""Timer that announces tax bills once their list is released and its return, if any, is decided."""

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
"""Bills in one transaction: the timer must not delay the receipts that arrive beside it."""


ORDERS: Final = Items("customs", "bills", of_order)


async def announce_bills(conn: Connection, _deps: Any) -> Outcome:
    """Announce what is new about bills whose list is cleared or whose goods come back.

    Waiting for the release keeps an order's events in order, though bills arrive in messages of
    their own.
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


async def _announce(conn: Connection, bills_to_announce: Sequence[StoredBill]) -> Outcome:
    facts: list[EmittedEvent] = []
    after: list[StoredBill] = []
    counts: dict[UUID, int] = {}
    for order_id, bills in groupby(bills_to_announce, key=lambda bill: bill.order_id):
        events, published = decide_bills(list(bills))
        facts += [
            EmittedEvent(
                event, cause_of(published[0].invt_no, event), published[0].version + number
            )
            for number, event in enumerate(events, start=1)
        ]
        after += published
        counts[order_id] = len(events)
    await tax_bills_store.mark_published(conn, after, counts)
    return Outcome(facts=facts)
