"""Tax bills of a list: which is in force, and what to announce. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import NAMESPACE_URL, UUID

from services.customs.tax_bills.store import StoredBill
from shared.events import customs as customs_events
from shared.identity import uuid5
from shared.money import Money


def cause_of(invt_no: str, event: customs_events.CustomsEvent) -> UUID:
    """Return the id that a fact about a list's tax bills follows from.

    It comes from what the fact is about, the bill's number or both numbers and the amount of a
    contradiction: a second correction is another fact than the first.
    """
    subject = f"{event.tax_no}"  # type: ignore[attr-defined]  # all facts about bills have one
    if isinstance(event, customs_events.TaxBillContradicted):
        subject += f":{event.other_tax_no}:{event.other_total}"
    return uuid5(NAMESPACE_URL, f"tax bill:{invt_no}:{subject}")


def decide_bills(
    bills: Sequence[StoredBill],
) -> tuple[list[customs_events.CustomsEvent], list[StoredBill]]:
    """Return the events due for one list's bills, and the bills with these events marked as
    published.

    The first bill is in force until it is void and another number exists, which then replaces it in
    either order of arrival. Another number while the first is not void contradicts it. A bill
    voided before its announcement is skipped. While goods are on their way back no bill replaces
    another: it may have overtaken the receipt of the return.
    """
    left = [replace(bill, waits=False) for bill in bills]
    events: list[customs_events.CustomsEvent] = []
    at = _in_force(left)
    for i, bill in enumerate(left):
        if bill.billed_said or bill.status == "3":
            continue
        current = None if at is None else left[at]
        event, left[i], current = _decide_bill(bill, current)
        if event is not None:
            events.append(event)
        if current is not None:
            assert at is not None
            left[at] = current
        if left[i].billed_said:
            at = i
    if at is not None:
        events += _of_status(left[at])
        left[at] = replace(
            left[at],
            status_said=left[at].status != "1",
            other_said=left[at].other_minor is not None,
        )
    return events, left


def _in_force(bills: Sequence[StoredBill]) -> int | None:
    return next((i for i, b in enumerate(bills) if b.billed_said and not b.superseded), None)


def _decide_bill(
    bill: StoredBill, current: StoredBill | None
) -> tuple[customs_events.CustomsEvent | None, StoredBill, StoredBill | None]:
    """Return the event for a bill beside the one in force, and both bills as they are then."""
    if current is None:
        return _billed(bill), replace(bill, billed_said=True), None
    if bill.returning:
        return None, replace(bill, waits=True), current
    if current.status == "3":
        superseded = replace(current, superseded=True, status_said=True)
        return _corrected(bill, current), replace(bill, billed_said=True), superseded
    contradicted = _contradicted(current, bill.tax_no, bill.total_minor)
    return None if bill.other_said else contradicted, replace(bill, other_said=True), current


def _of_status(bill: StoredBill) -> list[customs_events.CustomsEvent]:
    events: list[customs_events.CustomsEvent] = []
    if bill.other_tax_no is not None and bill.other_minor is not None and not bill.other_said:
        events.append(_contradicted(bill, bill.other_tax_no, bill.other_minor))
    if not bill.status_said and bill.status == "2":
        events.append(
            customs_events.TaxBillConsolidated(
                order_id=bill.order_id, tax_no=bill.tax_no, payment_book=bill.payment_book or ""
            )
        )
    if not bill.status_said and bill.status == "3":
        events.append(customs_events.TaxBillVoided(order_id=bill.order_id, tax_no=bill.tax_no))
    return events


def _billed(bill: StoredBill) -> customs_events.TaxBilled:
    return customs_events.TaxBilled(
        order_id=bill.order_id,
        invt_no=bill.invt_no,
        tax_no=bill.tax_no,
        duty=_yuan(bill.duty_minor),
        consumption_tax=_yuan(bill.consumption_tax_minor),
        vat=_yuan(bill.vat_minor),
        total=_yuan(bill.total_minor),
        withheld=bill.withheld,
        merchant_code=bill.merchant_code,
        released_at=bill.released_at,
        guarantor=bill.guarantor,
        returns=bill.returns,
    )


def _corrected(bill: StoredBill, replaced: StoredBill) -> customs_events.TaxBillCorrected:
    return customs_events.TaxBillCorrected(
        order_id=bill.order_id,
        invt_no=bill.invt_no,
        tax_no=bill.tax_no,
        replaces=replaced.tax_no,
        duty=_yuan(bill.duty_minor),
        consumption_tax=_yuan(bill.consumption_tax_minor),
        vat=_yuan(bill.vat_minor),
        total=_yuan(bill.total_minor),
        returns=bill.returns,
    )


def _contradicted(
    bill: StoredBill, other_tax_no: str, other_minor: int
) -> customs_events.TaxBillContradicted:
    return customs_events.TaxBillContradicted(
        order_id=bill.order_id,
        tax_no=bill.tax_no,
        total=_yuan(bill.total_minor),
        other_tax_no=other_tax_no,
        other_total=_yuan(other_minor),
    )


def _yuan(minor: int) -> Money:
    return Money(minor, "CNY")
