"""Tax bills of the authority: kept as they come, announced by a timer once their list is released and its return, if any, decided."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from services.customs import store
from services.customs.ceb.parse import Bill
from services.customs.store import KeptBill
from shared.database import Connection
from shared.events import customs as said
from shared.hears import Announced, Outcome
from shared.money import Money

ANNOUNCED_MAX: Final = 200
"""Bills in one transaction: the timer must never hold up the receipts that come beside it."""


async def keep(conn: Connection, bills: Sequence[tuple[Bill, datetime]]) -> None:
    """Keep bills as they came, several words on one list in their order; one that comes again changes nothing."""
    left = list(bills)
    while left:
        # One statement may touch a row once, so a second word on the same list waits for the next.
        rest: list[tuple[Bill, datetime]] = []
        now: dict[str, tuple[Bill, datetime]] = {}
        for bill, at in left:
            if bill.invt_no in now:
                rest.append((bill, at))
            else:
                now[bill.invt_no] = (bill, at)
        await store.keep_bills(conn, list(now.values()))
        left = rest


async def announce_bills(conn: Connection, _deps: Any) -> Outcome:
    """Say what is new about bills whose list is cleared, or whose goods are back.

    Waiting for the release puts the facts of an order in their order, though bills come by messages of their own; waiting for a
    return's outcome means that nobody settles what is about to be taken back.
    """
    kept = await store.lock_bills(conn, ANNOUNCED_MAX)
    facts = [fact for bill in kept for fact in _facts(bill)]
    await store.bills_said(conn, kept, {bill.order_id: len(_events(bill)) for bill in kept})
    return Outcome(facts=facts)


def _facts(bill: KeptBill) -> list[Announced]:
    cause = uuid5(NAMESPACE_URL, f"tax bill:{bill.invt_no}:{bill.tax_no}")
    return [Announced(event, cause, bill.version + number) for number, event in enumerate(_events(bill), start=1)]


def _events(bill: KeptBill) -> list[said.CustomsEvent]:
    """What is to be said of a bill and was not yet, in the order in which it matters."""
    events: list[said.CustomsEvent] = []
    if not bill.billed_said:
        events.append(
            said.TaxBilled(
                order_id=bill.order_id, invt_no=bill.invt_no, tax_no=bill.tax_no, duty=_yuan(bill.duty_minor),
                consumption_tax=_yuan(bill.consumption_tax_minor), vat=_yuan(bill.vat_minor), total=_yuan(bill.total_minor),
                withheld=bill.withheld, merchant_code=bill.merchant_code, released_at=bill.released_at,
                guarantor=bill.guarantor,
            )
        )  # fmt: skip
    if bill.other_tax_no is not None and bill.other_minor is not None and not bill.other_said:
        events.append(
            said.TaxBillContradicted(
                order_id=bill.order_id, tax_no=bill.tax_no, total=_yuan(bill.total_minor), other_tax_no=bill.other_tax_no,
                other_total=_yuan(bill.other_minor),
            )
        )  # fmt: skip
    if not bill.status_said and bill.status == "2":
        events.append(said.TaxBillConsolidated(order_id=bill.order_id, tax_no=bill.tax_no, payment_book=bill.payment_book or ""))
    if not bill.status_said and bill.status == "3":
        events.append(said.TaxBillVoided(order_id=bill.order_id, tax_no=bill.tax_no))
    return events


def _yuan(minor: int) -> Money:
    return Money(minor, "CNY")
