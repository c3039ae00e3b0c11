"""What customs says."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from shared.events.base import Event, Fact, Fault
from shared.money import Money


class Side(Fact):
    """One side of a mismatch: which document says what. Personal values are masked or digests."""

    document: str
    value: str


class Mismatch(Fact):
    """Two documents disagree; `code` is the authority's own inner code (1332 ...)."""

    code: str
    field: str
    left: Side
    right: Side


class CustomsEvent(Event):
    """A fact of the customs service."""


class DocumentsMismatched(CustomsEvent):
    """Order, payment and waybill disagree, so no list can be lodged."""

    type: ClassVar[str] = "customs.documents-mismatched.v1"
    mismatches: tuple[Mismatch, ...]


class WaybillCorrected(CustomsEvent):
    """The carrier sent another waybill before the list was lodged: the list will have this one. `instead_of` is the number before."""

    type: ClassVar[str] = "customs.waybill-corrected.v1"
    logistics_code: str
    logistics_no: str
    instead_of: str


class ListLodged(CustomsEvent):
    """The declaration list left for the authority in a collective message."""

    type: ClassVar[str] = "customs.list-lodged.v1"
    cop_no: str
    batch_id: UUID
    message_guid: str
    attempt: int


class ReceiptEvent(CustomsEvent):
    """A fact that a receipt told: `status` is its returnStatus, `info` its returnInfo without personal values.

    `status` is empty where no receipt came: the list could not be printed here, and customs never had it.
    """

    cop_no: str
    status: str
    info: str
    invt_no: str | None = None


class ListAccepted(ReceiptEvent):
    """120: accepted into customs' store."""

    type: ClassVar[str] = "customs.list-accepted.v1"


class ListInReview(ReceiptEvent):
    """300: an officer looks at the list."""

    type: ClassVar[str] = "customs.list-in-review.v1"


class ExaminationOrdered(ReceiptEvent):
    """500: the goods are opened."""

    type: ClassVar[str] = "customs.examination-ordered.v1"


class GoodsHeld(ReceiptEvent):
    """505, 600: suspended."""

    type: ClassVar[str] = "customs.goods-held.v1"


class ListReturned(ReceiptEvent):
    """100 or a negative code: sent back to be corrected; the correction follows under a number of its own."""

    type: ClassVar[str] = "customs.list-returned.v1"
    attempt: int


class ListRefused(ReceiptEvent):
    """100 or a negative code that no correction can mend, or too many corrections: an end at the border."""

    type: ClassVar[str] = "customs.list-refused.v1"
    faults: tuple[Fault, ...]


class GoodsReleased(ReceiptEvent):
    """800 (or 899 where 800 never came): the goods may go."""

    type: ClassVar[str] = "customs.goods-released.v1"


class ListClosed(ReceiptEvent):
    """899: the list is closed."""

    type: ClassVar[str] = "customs.list-closed.v1"


class GoodsDetained(ReceiptEvent):
    """501, 502, 503, 599: seized; an end at the border."""

    type: ClassVar[str] = "customs.goods-detained.v1"


class ReturnShipmentOrdered(ReceiptEvent):
    """700: customs sends the goods back; an end at the border."""

    type: ClassVar[str] = "customs.return-shipment-ordered.v1"


class ListWithdrawn(CustomsEvent):
    """Nothing was lodged, or the authority granted the cancellation: the goods never enter."""

    type: ClassVar[str] = "customs.list-withdrawn.v1"
    cop_no: str | None = None


class ReturnOpened(CustomsEvent):
    """The list was cleared already, so the goods must come back: a return request is lodged. `return_no` counts from 1."""

    type: ClassVar[str] = "customs.return-opened.v1"
    invt_no: str
    return_no: int = 1


class ReturnGranted(CustomsEvent):
    """The authority granted the return: if the goods are back by the end of `back_by`, no tax is levied on them."""

    type: ClassVar[str] = "customs.return-granted.v1"
    invt_no: str
    return_no: int
    back_by: date


class ReturnedLine(Fact):
    """A line of an order of which goods came back: how many by this return, and how many by those before it.

    `ordered` is the whole quantity, `total` its price; `tax` what was assessed on it. A line that stays has quantity 0.
    """

    line_no: int
    quantity: Decimal
    returned_before: Decimal
    ordered: Decimal
    total: Money
    tax: Money

    @property
    def returned(self) -> Decimal:
        """How many are back now, by this return and those before."""
        return self.returned_before + self.quantity


class GoodsBack(CustomsEvent):
    """Goods of a cleared list are back where they were released. All lines of the order are told, also those that stay.

    `in_time`: applied for and back within the terms of the law, so that no tax is levied on them and the buyer's yearly
    quota is given back; else both stand. `refund_if_late`: the merchant refunds the goods all the same.
    """

    invt_no: str
    return_no: int
    in_time: bool
    refund_if_late: bool
    released_on: date
    back_on: date
    lines: tuple[ReturnedLine, ...]


class GoodsPartlyReturned(GoodsBack):
    """Some of the goods are back; others of the list stay cleared."""

    type: ClassVar[str] = "customs.goods-partly-returned.v1"


class GoodsReturned(GoodsBack):
    """With these goods all of the list are back."""

    type: ClassVar[str] = "customs.goods-returned.v1"


class ReturnRefused(CustomsEvent):
    """The return cannot be, by the law's terms, by what is left to return, or by the authority: the sale stands."""

    type: ClassVar[str] = "customs.return-refused.v1"
    status: str
    info: str


class TaxBilled(CustomsEvent):
    """CEB816: what customs took for a released list, by kind of tax; with it what the order said the shop had withheld, and
    when the goods were released. `returns`: the last return of its goods that was back when this was said."""

    type: ClassVar[str] = "customs.tax-billed.v1"
    invt_no: str
    tax_no: str
    duty: Money
    consumption_tax: Money
    vat: Money
    total: Money
    withheld: Money
    merchant_code: str
    released_at: datetime
    guarantor: str | None = None
    returns: int = 0


class TaxBillContradicted(CustomsEvent):
    """A second CEB816 for the same list says another number or amount; the first stands until a person has looked."""

    type: ClassVar[str] = "customs.tax-bill-contradicted.v1"
    tax_no: str
    total: Money
    other_tax_no: str
    other_total: Money


class TaxBillCorrected(CustomsEvent):
    """Customs voided its bill `replaces` and issued `tax_no` for the same list: that is what is owed, in all `total`.

    `returns`: the last return of its goods that was back when this was said.
    """

    type: ClassVar[str] = "customs.tax-bill-corrected.v1"
    invt_no: str
    tax_no: str
    replaces: str
    duty: Money
    consumption_tax: Money
    vat: Money
    total: Money
    returns: int = 0


class TaxBillConsolidated(CustomsEvent):
    """CEB816 or CEB818 with status 2: the bill is in a payment book, to be paid with the others of it."""

    type: ClassVar[str] = "customs.tax-bill-consolidated.v1"
    tax_no: str
    payment_book: str


class TaxBillVoided(CustomsEvent):
    """CEB816 or CEB818 with status 3: nothing is to be paid on this bill any more."""

    type: ClassVar[str] = "customs.tax-bill-voided.v1"
    tax_no: str


class SummaryEvent(CustomsEvent):
    """A fact about the consolidation of a closed export list: `summary_no` is the copNo of the request (CEB701) it is in."""

    invt_no: str
    summary_no: str


class SummaryRequested(SummaryEvent):
    """The list is in a request to consolidate the lists of a month, to be done by the end of `due_by`."""

    type: ClassVar[str] = "customs.summary-requested.v1"
    month: str
    due_by: date


class SummaryRefused(SummaryEvent):
    """CEB702 with 100 or a negative code: the request was refused. `set_aside`: the refusal names this list, so a person must look;
    else it is asked for anew, or a person decides about the whole request."""

    type: ClassVar[str] = "customs.summary-refused.v1"
    status: str
    info: str
    set_aside: bool


class DeclaredPart(Fact):
    """A line of the list, and the line of the declaration that it is part of."""

    line_no: int
    declared_line: int


class ListConsolidated(SummaryEvent):
    """CEB792: lines of the list are in a formal export declaration that has a number. Lines in another one are told of theirs."""

    type: ClassVar[str] = "customs.list-consolidated.v1"
    decl_seq_no: str
    entry_id: str
    parts: tuple[DeclaredPart, ...]


class ConsolidatedDeclarationClosed(SummaryEvent):
    """CEB792: the declaration that these lines are in is closed; a refund of VAT may be claimed of them."""

    type: ClassVar[str] = "customs.consolidated-declaration-closed.v1"
    decl_seq_no: str
    entry_id: str
    parts: tuple[DeclaredPart, ...]
