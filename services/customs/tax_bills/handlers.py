"""Tax bills of the authority, stored as they arrive."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.customs.ceb.bills import TaxBill
from services.customs.tax_bills import store as tax_bills_store
from shared.database import Connection
from shared.envelope import Message
from shared.errors import Unprocessable
from shared.subscriptions import Outcome


async def handle_bills(conn: Connection, batch: Sequence[Message], _deps: Any) -> Outcome:
    """Store bills, several on one number in their order; a repeated bill changes nothing.

    Raises Unprocessable for a bill of an export's list or of an unknown list.
    """
    await _require_imports(conn, [m.event for m in batch])
    left = list(batch)
    while left:
        # One statement may touch a row once: a second entry on the same number waits for the next.
        rest: list[Message] = []
        first: dict[tuple[str, str], tuple[TaxBill, datetime]] = {}
        for m in left:
            number = (m.event.invt_no, m.event.tax_no)
            if number in first:
                rest.append(m)
            else:
                first[number] = (m.event, m.at)
        await tax_bills_store.save_bills(conn, list(first.values()))
        left = rest
    return Outcome()


async def _require_imports(conn: Connection, bills: Sequence[TaxBill]) -> None:
    """Raise Unprocessable unless imports are billed. A bill may overtake its list's number while
    one of our lists waits for it.
    """
    directions = await tax_bills_store.directions_of(conn, {bill.invt_no for bill in bills})
    strange = [bill for bill in bills if directions.get(bill.invt_no) != "import"]
    if not strange:
        return
    first = next((bill for bill in strange if bill.invt_no in directions), None)
    if first is not None:
        raise Unprocessable(
            "invalid_value",
            f"{first.message_type}: list {first.invt_no} is an export's, and imports alone are "
            "billed",
        )
    if not await tax_bills_store.has_unnumbered_import(conn):
        first = strange[0]
        raise Unprocessable(
            "invalid_value",
            f"{first.message_type}: list {first.invt_no} is none of ours, and none waits for a "
            "number",
        )
