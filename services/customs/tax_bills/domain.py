"""Tax bills of the authority: kept as they come, announced by a timer once their list is released and its return, if any, decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import NAMESPACE_URL, UUID

from services.customs.tax_bills.store import StoredBill
from shared.events import customs as said
from shared.identity import uuid5
from shared.money import Money


def cause_of(invt_no: str, event: said.CustomsEvent) -> UUID:
    """Return the id that a fact about a list's tax bills follows from.

    It comes from what the fact is about, the bill's number or both numbers and the amount of a
    contradiction: a second correction is another fact than the first.
    """
    subject = f"{event.tax_no}"  # type: ignore[attr-defined]  # all facts about bills have one
    if isinstance(event, said.TaxBillContradicted):
        subject += f":{event.other_tax_no}:{event.other_total}"
    return uuid5(NAMESPACE_URL, f"tax bill:{invt_no}:{subject}")


def decide_bills(bills: Sequence[StoredBill]) -> tuple[list[said.CustomsEvent], list[StoredBill]]:
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


def _of_status(bill: StoredBill) -> list[said.CustomsEvent]:
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


def _billed(bill: StoredBill) -> said.TaxBilled:
    return said.TaxBilled(
        order_id=bill.order_id, invt_no=bill.invt_no, tax_no=bill.tax_no, duty=_yuan(bill.duty_minor),
        consumption_tax=_yuan(bill.consumption_tax_minor), vat=_yuan(bill.vat_minor), total=_yuan(bill.total_minor),
        withheld=bill.withheld, merchant_code=bill.merchant_code, released_at=bill.released_at, guarantor=bill.guarantor,
        returns=bill.returns,
    )  # fmt: skip


def _corrected(bill: StoredBill, replaced: StoredBill) -> said.TaxBillCorrected:
    return said.TaxBillCorrected(
        order_id=bill.order_id, invt_no=bill.invt_no, tax_no=bill.tax_no, replaces=replaced.tax_no, duty=_yuan(bill.duty_minor),
        consumption_tax=_yuan(bill.consumption_tax_minor), vat=_yuan(bill.vat_minor), total=_yuan(bill.total_minor),
        returns=bill.returns,
    )  # fmt: skip


def _contradicted(
    bill: StoredBill, other_tax_no: str, other_minor: int
) -> said.TaxBillContradicted:
    return said.TaxBillContradicted(
        order_id=bill.order_id, tax_no=bill.tax_no, total=_yuan(bill.total_minor), other_tax_no=other_tax_no,
        other_total=_yuan(other_minor),
    )  # fmt: skip


def _yuan(minor: int) -> Money:
    return Money(minor, "CNY")
