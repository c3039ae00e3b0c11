"""Tax bills of the authority: kept as they come, announced by a timer once their list is released and its return, if any, decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID

from services.customs import store
from services.customs.ceb.entries import Bill
from services.customs.store import KeptBill
from shared.database import Connection
from shared.errors import Unprocessable
from shared.events import customs as said
from shared.identity import uuid5
from shared.money import Money
from shared.subscriptions import EmittedEvent, Outcome
from shared.timer_items import Items, of_order

ANNOUNCED_MAX: Final = 200
"""Bills in one transaction: the timer must never hold up the receipts that come beside it."""
ORDERS: Final = Items("customs", "bills", of_order)


async def keep(conn: Connection, bills: Sequence[tuple[Bill, datetime]]) -> None:
    """Keep bills as they came, several words on one number in their order; one that comes again changes nothing.

    Raises Unprocessable for a bill of an export's list, and of a list that is none of ours.
    """
    await _require_imports(conn, [bill for bill, _ in bills])
    left = list(bills)
    while left:
        # One statement may touch a row once, so a second word on the same number waits for the next.
        rest: list[tuple[Bill, datetime]] = []
        now: dict[tuple[str, str], tuple[Bill, datetime]] = {}
        for bill, at in left:
            number = (bill.invt_no, bill.tax_no)
            if number in now:
                rest.append((bill, at))
            else:
                now[number] = (bill, at)
        await store.keep_bills(conn, list(now.values()))
        left = rest


async def _require_imports(conn: Connection, bills: Sequence[Bill]) -> None:
    """Imports alone are billed. A bill may overtake the word that tells the list's number, while one of ours waits for that."""
    directions = await store.directions_of(conn, {bill.invt_no for bill in bills})
    strange = [bill for bill in bills if directions.get(bill.invt_no) != "import"]
    if not strange:
        return
    first = next((bill for bill in strange if bill.invt_no in directions), None)
    if first is not None:
        raise Unprocessable(
            "invalid_value",
            f"{first.message_type}: list {first.invt_no} is an export's, and imports alone are billed",
        )
    if not await store.has_unnumbered_import(conn):
        first = strange[0]
        raise Unprocessable(
            "invalid_value",
            f"{first.message_type}: list {first.invt_no} is none of ours, and none waits for a number",
        )


async def announce_bills(conn: Connection, _deps: Any) -> Outcome:
    """Say what is new about bills whose list is cleared, or whose goods are on their way back or back.

    Waiting for the release puts the facts of an order in their order, though bills come by messages of their own.
    """
    rows = await store.lock_bills(conn, ANNOUNCED_MAX)
    by_order = {
        order_id: list(of_it) for order_id, of_it in groupby(rows, key=lambda row: row["order_id"])
    }

    async def act(orders: Sequence[UUID]) -> Outcome:
        return await _announce(
            conn, [store.kept_bill(row) for order_id in orders for row in by_order[order_id]]
        )

    return await ORDERS.each(conn, list(by_order), act)


async def _announce(conn: Connection, kept: Sequence[KeptBill]) -> Outcome:
    facts: list[EmittedEvent] = []
    after: list[KeptBill] = []
    counts: dict[UUID, int] = {}
    for order_id, bills in groupby(kept, key=lambda bill: bill.order_id):
        said_now, told = words_on(list(bills))
        facts += [
            EmittedEvent(event, cause_of(told[0].invt_no, event), told[0].version + number)
            for number, event in enumerate(said_now, start=1)
        ]
        after += told
        counts[order_id] = len(said_now)
    await store.bills_said(conn, after, counts)
    return Outcome(facts=facts)


def cause_of(invt_no: str, event: said.CustomsEvent) -> UUID:
    """Return the id that a fact about a list's tax bills follows from.

    It comes from what the fact is about, the bill's number or both numbers and the amount of a
    contradiction: a second correction is another fact than the first.
    """
    subject = f"{event.tax_no}"  # type: ignore[attr-defined]  # all facts about bills have one
    if isinstance(event, said.TaxBillContradicted):
        subject += f":{event.other_tax_no}:{event.other_total}"
    return uuid5(NAMESPACE_URL, f"tax bill:{invt_no}:{subject}")


def words_on(bills: Sequence[KeptBill]) -> tuple[list[said.CustomsEvent], list[KeptBill]]:
    """What is to be said of the bills of one list and was not yet, and the bills once it is said. Pure.

    The first is in force until it is void and another number is there: then that one replaces it, in whichever order the two
    words came. Another number while the first is not void contradicts it. A bill that was void before it was announced is not.
    While goods are on their way back no bill replaces another, since it may have overtaken the word that they are back.
    """
    left = [replace(bill, waits=False) for bill in bills]
    events: list[said.CustomsEvent] = []
    at = next((i for i, bill in enumerate(left) if bill.billed_said and not bill.superseded), None)
    for i, bill in enumerate(left):
        if bill.billed_said or bill.status == "3":
            continue
        if bill.returning and at is not None:
            left[i] = replace(bill, waits=True)
            continue
        if at is None:
            events.append(_billed(bill))
        elif left[at].status == "3":
            events.append(_corrected(bill, left[at]))
            left[at] = replace(left[at], superseded=True, status_said=True)
        else:
            if not bill.other_said:
                events.append(_contradicted(left[at], bill.tax_no, bill.total_minor))
            left[i] = replace(bill, other_said=True)
            continue
        left[i], at = replace(bill, billed_said=True), i
    if at is not None:
        events += _of_status(left[at])
        left[at] = replace(
            left[at],
            status_said=left[at].status != "1",
            other_said=left[at].other_minor is not None,
        )
    return events, left


def _of_status(bill: KeptBill) -> list[said.CustomsEvent]:
    events: list[said.CustomsEvent] = []
    if bill.other_tax_no is not None and bill.other_minor is not None and not bill.other_said:
        events.append(_contradicted(bill, bill.other_tax_no, bill.other_minor))
    if not bill.status_said and bill.status == "2":
        events.append(
            said.TaxBillConsolidated(
                order_id=bill.order_id, tax_no=bill.tax_no, payment_book=bill.payment_book or ""
            )
        )
    if not bill.status_said and bill.status == "3":
        events.append(said.TaxBillVoided(order_id=bill.order_id, tax_no=bill.tax_no))
    return events


def _billed(bill: KeptBill) -> said.TaxBilled:
    return said.TaxBilled(
        order_id=bill.order_id, invt_no=bill.invt_no, tax_no=bill.tax_no, duty=_yuan(bill.duty_minor),
        consumption_tax=_yuan(bill.consumption_tax_minor), vat=_yuan(bill.vat_minor), total=_yuan(bill.total_minor),
        withheld=bill.withheld, merchant_code=bill.merchant_code, released_at=bill.released_at, guarantor=bill.guarantor,
        returns=bill.returns,
    )  # fmt: skip


def _corrected(bill: KeptBill, replaced: KeptBill) -> said.TaxBillCorrected:
    return said.TaxBillCorrected(
        order_id=bill.order_id, invt_no=bill.invt_no, tax_no=bill.tax_no, replaces=replaced.tax_no, duty=_yuan(bill.duty_minor),
        consumption_tax=_yuan(bill.consumption_tax_minor), vat=_yuan(bill.vat_minor), total=_yuan(bill.total_minor),
        returns=bill.returns,
    )  # fmt: skip


def _contradicted(bill: KeptBill, other_tax_no: str, other_minor: int) -> said.TaxBillContradicted:
    return said.TaxBillContradicted(
        order_id=bill.order_id, tax_no=bill.tax_no, total=_yuan(bill.total_minor), other_tax_no=other_tax_no,
        other_total=_yuan(other_minor),
    )  # fmt: skip


def _yuan(minor: int) -> Money:
    return Money(minor, "CNY")
