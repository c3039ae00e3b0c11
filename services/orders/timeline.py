"""What the timeline shows of a fact or command: never a person, sealed or not."""

from __future__ import annotations

from datetime import date
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

from services.orders.intake.submission import CancelRequested, ReturnRequested
from shared.events import customs, payments, tax
from shared.events import orders as said
from shared.events.base import Event
from shared.money import Money

_RETURN_FIELDS: Final = (
    "return_no",
    "in_time",
    "goods_value",
    "amount",
    "tax_not_levied",
    "reason",
)
_RECEIPT_FIELDS: Final = ("cop_no", "status", "info", "invt_no")
_DECLARATION_FIELDS: Final = ("invt_no", "entry_id", "parts")
_GOODS_BACK_FIELDS: Final = ("invt_no", "return_no", "in_time", "released_on", "back_on")

# What is shown of each fact, by name: a field that is added to a fact stays unseen until it is added here.
SHOWN: Final[dict[type[Event], tuple[str, ...]]] = {
    said.OrderPlaced: ("order_no", "direction", "mode", "corridor", "goods_value", "amount_paid"),
    said.OrderRejected: ("faults",),
    said.OrderResubmitted: ("verdict",),
    said.WithdrawalAsked: ("reason", "lines"),
    said.OrderUnwinding: ("towards", "faults"),
    said.ReturnAccepted: ("return_no", "in_time", "whole"),
    said.OrderFulfilled: ("amount_paid",),
    said.OrderCancelled: ("reason",),
    said.OrderPartlyReturned: _RETURN_FIELDS,
    said.OrderReturned: _RETURN_FIELDS,
    said.CancellationRefused: ("state",),
    said.CancellationAwaitsOrder: (),
    payments.PaymentCaptured: ("amount", "payment_no", "enterprise_code"),
    payments.PaymentDeclined: ("code", "reason"),
    payments.PaymentVoided: (),
    payments.PaymentRefunded: ("amount", "refund_no"),
    payments.ReturnRefunded: ("return_no", "amount", "goods_amount", "tax_amount", "refund_no"),
    payments.MerchantSettled: ("merchant_code", "merchant_amount", "tax_amount"),
    tax.TaxAssessed: (
        "regime",
        "dutiable_value",
        "duty",
        "consumption_tax",
        "vat",
        "parcel_tax",
        "total",
        "payable",
    ),
    tax.TaxRefused: ("code", "reason", "limit", "value"),
    tax.TaxVoided: (),
    tax.TaxPosted: ("total",),
    tax.TaxRestored: ("return_no", "total", "quota", "remaining"),
    tax.TaxKept: ("return_no", "total"),
    customs.DocumentsMismatched: ("mismatches",),
    customs.WaybillCorrected: ("logistics_code", "logistics_no", "instead_of"),
    customs.ListLodged: ("cop_no", "batch_id", "message_guid", "attempt"),
    customs.ListAccepted: _RECEIPT_FIELDS,
    customs.ListInReview: _RECEIPT_FIELDS,
    customs.ExaminationOrdered: _RECEIPT_FIELDS,
    customs.GoodsHeld: _RECEIPT_FIELDS,
    customs.ListReturned: (*_RECEIPT_FIELDS, "attempt"),
    customs.ListRefused: (*_RECEIPT_FIELDS, "faults"),
    customs.GoodsReleased: _RECEIPT_FIELDS,
    customs.ListClosed: _RECEIPT_FIELDS,
    customs.GoodsDetained: _RECEIPT_FIELDS,
    customs.ReturnShipmentOrdered: _RECEIPT_FIELDS,
    customs.ListWithdrawn: ("cop_no",),
    customs.ReturnOpened: ("invt_no", "return_no"),
    customs.ReturnGranted: ("invt_no", "return_no", "back_by"),
    customs.GoodsPartlyReturned: _GOODS_BACK_FIELDS,
    customs.GoodsReturned: _GOODS_BACK_FIELDS,
    customs.ReturnRefused: ("status", "info"),
    customs.SummaryRequested: ("invt_no", "summary_no", "month", "due_by"),
    customs.SummaryRefused: ("invt_no", "summary_no", "status", "info", "set_aside"),
    customs.ListConsolidated: _DECLARATION_FIELDS,
    customs.ConsolidatedDeclarationClosed: _DECLARATION_FIELDS,
}


def summary(heard: Event | CancelRequested | ReturnRequested) -> dict[str, Any]:
    """The fact's own words for people to read, as JSON values; a command's is its reason."""
    if isinstance(heard, CancelRequested | ReturnRequested):
        return {"reason": heard.reason}
    shown = ((name, getattr(heard, name)) for name in SHOWN.get(type(heard), ()))
    return {name: _plain(value) for name, value in shown if value is not None}


def _plain(value: Any) -> Any:
    """A JSON value; by hand, since a timeline line is written for every fact and a model's own dump takes ten times as long."""
    if isinstance(value, Money):
        return {"amount": str(value), "currency": value.currency}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return str(value) if isinstance(value, UUID | date) else value
