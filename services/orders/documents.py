"""An order as a row of its table: terms in columns, progress in one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from services.orders.domain.external_states import BorderStatus, PaymentStatus, Stage, TaxStatus
from services.orders.domain.order import OpenReturn, Order
from shared.events.base import Fault
from shared.money import Money


def order_of(row: Mapping[str, Any], *, fingerprints: bool) -> Order:
    doc = orjson.loads(row["doc"])
    currency = row["currency"]
    return Order(
        order_id=row["order_id"],
        order_no=row["order_no"],
        platform_code=row["platform_code"],
        stage=Stage(row["state"]),
        version=row["version"],
        payment=PaymentStatus(doc["payment"]),
        tax=TaxStatus(doc["tax"]),
        border=BorderStatus(doc["border"]),
        pending_end=doc["towards"],
        reason=doc["reason"],
        faults=tuple(Fault.model_validate(fault) for fault in doc["faults"]),
        released=doc["released"],
        fulfilled=doc["fulfilled"],
        corridor=row["corridor"],
        direction=row["direction"],
        mode=row["mode"],
        placed_at=row["placed_at"],
        goods_value=Money(row["goods_value_minor"], currency) if currency else None,
        amount_paid=Money(row["amount_paid_minor"], currency) if currency else None,
        fingerprint=orjson.loads(row["fingerprint"] or "{}") if fingerprints else {},
        **_returns_of(doc, currency),
    )


def progress_json(order: Order) -> str:
    return orjson.dumps(
        {
            "payment": order.payment,
            "tax": order.tax,
            "border": order.border,
            "towards": order.pending_end,
            "reason": order.reason,
            "faults": [fault.model_dump() for fault in order.faults],
            "released": order.released,
            "fulfilled": order.fulfilled,
            **_returns_doc(order),
        }
    ).decode()


def _returns_doc(order: Order) -> dict[str, Any]:
    """Return the keys of returns; almost no order has any, so documents stay small."""
    doc: dict[str, Any] = {}
    if order.refunded is not None:
        doc |= {"refunded_minor": order.refunded.minor, "tax_kept": order.tax_kept}
    if (returning := order.returning) is not None:
        doc["returning"] = {
            "return_no": returning.return_no,
            "in_time": returning.in_time,
            "whole": returning.whole,
            "goods_value_minor": returning.goods_value.minor,
            "refunded_minor": _minor(returning.refunded),
            "tax_not_levied_minor": _minor(returning.tax_not_levied),
        }
    return doc


def _minor(money: Money | None) -> int | None:
    return None if money is None else money.minor


def _returns_of(doc: Mapping[str, Any], currency: str) -> dict[str, Any]:
    if "refunded_minor" not in doc and "returning" not in doc:
        return {}
    stored = doc.get("returning")
    returning = None
    if stored is not None:
        returning = OpenReturn(
            stored["return_no"],
            stored["in_time"],
            stored["whole"],
            Money(stored["goods_value_minor"], currency),
            _money(stored["refunded_minor"], currency),
            _money(stored["tax_not_levied_minor"], currency),
        )
    return {
        "returning": returning,
        "refunded": _money(doc.get("refunded_minor"), currency),
        "tax_kept": doc.get("tax_kept", False),
    }


def _money(minor: int | None, currency: str) -> Money | None:
    return None if minor is None else Money(minor, currency)
