"""The events of customs."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from shared.events.base import Event, Fact, Fault
from shared.money import Money


class Side(Fact):
    """One side of a mismatch: a document and its value. Personal values are masked or digests."""

    document: str
    value: str


class Mismatch(Fact):
    """Two documents disagree. `code` is the authority's own inner code (1332 ...)."""

    code: str
    field: str
    left: Side
    right: Side


class CustomsEvent(Event):
    """An event of the customs service."""


class DocumentsMismatched(CustomsEvent):
    """Order, payment and waybill disagree, so no list can be lodged."""

    type: ClassVar[str] = "customs.documents-mismatched.v1"
    mismatches: tuple[Mismatch, ...]


class WaybillCorrected(CustomsEvent):
    """The carrier sent another waybill before the list was lodged, and the list will have this one.

    `instead_of` is the earlier number.
    """

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
    """An event that a receipt caused.

    `status` is the receipt's returnStatus, `info` its returnInfo without personal values. `status`
    is empty without a receipt: the list could not be printed here, and customs never had it.
    """

    cop_no: str
    status: str
    info: str
    invt_no: str | None = None


class ListAccepted(ReceiptEvent):
    """120: customs accepted the list into its store."""

    type: ClassVar[str] = "customs.list-accepted.v1"


class ListInReview(ReceiptEvent):
    """300: an officer reviews the list."""

    type: ClassVar[str] = "customs.list-in-review.v1"


class ExaminationOrdered(ReceiptEvent):
    """500: customs opens the goods."""

    type: ClassVar[str] = "customs.examination-ordered.v1"


class GoodsHeld(ReceiptEvent):
    """505, 600: customs suspended the goods."""

    type: ClassVar[str] = "customs.goods-held.v1"


class ListReturned(ReceiptEvent):
    """100 or a negative code: customs sent the list back for correction.

    The correction follows under a number of its own.
    """

    type: ClassVar[str] = "customs.list-returned.v1"
    attempt: int


class ListRefused(ReceiptEvent):
    """100 or a negative code that no correction can mend, or too many corrections.

    This is an end at the border.
    """

    type: ClassVar[str] = "customs.list-refused.v1"
    faults: tuple[Fault, ...]


class GoodsReleased(ReceiptEvent):
    """800 (or 899 if 800 never came): customs released the goods."""

    type: ClassVar[str] = "customs.goods-released.v1"


class ListClosed(ReceiptEvent):
    """899: customs closed the list."""

    type: ClassVar[str] = "customs.list-closed.v1"


class GoodsDetained(ReceiptEvent):
    """501, 502, 503, 599: customs seized the goods. This is an end at the border."""

    type: ClassVar[str] = "customs.goods-detained.v1"


class ReturnShipmentOrdered(ReceiptEvent):
    """700: customs sends the goods back. This is an end at the border."""

    type: ClassVar[str] = "customs.return-shipment-ordered.v1"


class ListWithdrawn(CustomsEvent):
    """The goods never enter: nothing was lodged, or the authority granted the cancellation."""

    type: ClassVar[str] = "customs.list-withdrawn.v1"
    cop_no: str | None = None


class ReturnOpened(CustomsEvent):
    """A return request is lodged: the list was already cleared, so the goods must come back.

    `return_no` counts from 1.
    """

    type: ClassVar[str] = "customs.return-opened.v1"
    invt_no: str
    return_no: int = 1


class ReturnGranted(CustomsEvent):
    """The authority granted the return. No tax is levied on goods back by the end of `back_by`."""

    type: ClassVar[str] = "customs.return-granted.v1"
    invt_no: str
    return_no: int
    back_by: date


class ReturnedLine(Fact):
    """A line of an order with returned goods.

    `quantity` came back by this return, `returned_before` by earlier returns. `ordered` is the
    whole quantity and `total` its price. `tax` was assessed on the line. A line that stays has
    quantity 0.
    """

    line_no: int
    quantity: Decimal
    returned_before: Decimal
    ordered: Decimal
    total: Money
    tax: Money

    @property
    def returned(self) -> Decimal:
        """Return the quantity that is back now, by this return and earlier ones."""
        return self.returned_before + self.quantity


class GoodsBack(CustomsEvent):
    """Goods of a cleared list are back at the place of their release.

    All lines of the order are given.

    `in_time`: the return was applied for, and the goods were back, within the terms of the law.
    Then no tax is levied on them, and the buyer's yearly quota is given back. Otherwise both stand.
    `refund_if_late`: the merchant refunds the goods all the same.
    """

    invt_no: str
    return_no: int
    in_time: bool
    refund_if_late: bool
    released_on: date
    back_on: date
    lines: tuple[ReturnedLine, ...]


class GoodsPartlyReturned(GoodsBack):
    """Some of the goods are back. Other goods of the list stay cleared."""

    type: ClassVar[str] = "customs.goods-partly-returned.v1"


class GoodsReturned(GoodsBack):
    """With these goods, all goods of the list are back."""

    type: ClassVar[str] = "customs.goods-returned.v1"


class ReturnRefused(CustomsEvent):
    """The return is impossible, and the sale stands.

    The law's terms, the goods left to return, or the authority forbid it.
    """

    type: ClassVar[str] = "customs.return-refused.v1"
    status: str
    info: str


class TaxBilled(CustomsEvent):
    """CEB816: the tax that customs took for a released list, by kind of tax.

    The shop had withheld `withheld`, according to the order. Customs released the goods at
    `released_at`. `returns` is the last return of its goods that was back at this event.
    """

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
    """A second CEB816 for the same list has another number or amount.

    The first bill stands until a person has looked.
    """

    type: ClassVar[str] = "customs.tax-bill-contradicted.v1"
    tax_no: str
    total: Money
    other_tax_no: str
    other_total: Money


class TaxBillCorrected(CustomsEvent):
    """Customs voided its bill `replaces` and issued `tax_no` for the same list.

    The order now owes `total` in all. `returns` is the last return of its goods that was back at
    this event.
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
    """CEB816 or CEB818 with status 2: the bill is in a payment book and is paid with its other
    bills.
    """

    type: ClassVar[str] = "customs.tax-bill-consolidated.v1"
    tax_no: str
    payment_book: str


class TaxBillVoided(CustomsEvent):
    """CEB816 or CEB818 with status 3: nothing is to be paid on this bill any more."""

    type: ClassVar[str] = "customs.tax-bill-voided.v1"
    tax_no: str


class SummaryEvent(CustomsEvent):
    """An event about the consolidation of a closed export list.

    `summary_no` is the copNo of its request (CEB701).
    """

    invt_no: str
    summary_no: str


class SummaryRequested(SummaryEvent):
    """The list is in a request to consolidate a month's lists, by the end of `due_by`."""

    type: ClassVar[str] = "customs.summary-requested.v1"
    month: str
    due_by: date


class SummaryRefused(SummaryEvent):
    """CEB702 with 100 or a negative code: customs refused the request.

    `set_aside`: the refusal names this list, so a person must look. Otherwise the list is requested
    again, or a person decides about the whole request.
    """

    type: ClassVar[str] = "customs.summary-refused.v1"
    status: str
    info: str
    set_aside: bool


class DeclaredPart(Fact):
    """A line of the list, and the line of the declaration that contains it."""

    line_no: int
    declared_line: int


class ListConsolidated(SummaryEvent):
    """CEB792: lines of the list are in a formal export declaration with a number.

    Lines in another declaration have an event of their own.
    """

    type: ClassVar[str] = "customs.list-consolidated.v1"
    decl_seq_no: str
    entry_id: str
    parts: tuple[DeclaredPart, ...]


class ConsolidatedDeclarationClosed(SummaryEvent):
    """CEB792: the declaration of these lines is closed, so a refund of their VAT may be claimed."""

    type: ClassVar[str] = "customs.consolidated-declaration-closed.v1"
    decl_seq_no: str
    entry_id: str
    parts: tuple[DeclaredPart, ...]
