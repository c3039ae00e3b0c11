"""What the timeline shows of an event or command: never a person, sealed or not."""

from __future__ import annotations

from datetime import date
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

from services.orders.intake.submission import CancelRequested, ReturnRequested
from shared.events import customs, orders, payments, tax
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

# The shown fields of each event: a new field stays hidden until it is added here.
SHOWN: Final[dict[type[Event], tuple[str, ...]]] = {
    orders.OrderPlaced: ("order_no", "direction", "mode", "corridor", "goods_value", "amount_paid"),
    orders.OrderRejected: ("faults",),
    orders.OrderResubmitted: ("verdict",),
    orders.WithdrawalAsked: ("reason", "lines"),
    orders.OrderUnwinding: ("towards", "faults"),
    orders.ReturnAccepted: ("return_no", "in_time", "whole"),
    orders.OrderFulfilled: ("amount_paid",),
    orders.OrderCancelled: ("reason",),
    orders.OrderPartlyReturned: _RETURN_FIELDS,
    orders.OrderReturned: _RETURN_FIELDS,
    orders.CancellationRefused: ("state",),
    orders.CancellationAwaitsOrder: (),
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


def summary(trigger: Event | CancelRequested | ReturnRequested) -> dict[str, Any]:
    if isinstance(trigger, CancelRequested | ReturnRequested):
        return {"reason": trigger.reason}
    shown = ((name, getattr(trigger, name)) for name in SHOWN.get(type(trigger), ()))
    return {name: _plain(value) for name, value in shown if value is not None}


def _plain(value: Any) -> Any:
    """Return a JSON value; a model's own dump takes ten times as long, for every event."""
    if isinstance(value, Money):
        return {"amount": str(value), "currency": value.currency}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return str(value) if isinstance(value, UUID | date) else value
