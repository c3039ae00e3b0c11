"""The documents of the three-document match, read from files.

A submission, a waybill as carriers send it, or CEB XML.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

from services.cli.connect import UsageError
from services.cli.customs import messages
from services.cli.customs.messages import UNSAID, Form, known_as, line_number, maybe, number
from services.customs.ceb import codes
from services.customs.ceb.parse import to_json
from services.customs.domain.match_documents import (
    GoodsLine,
    ListDoc,
    OrderDoc,
    PaymentDoc,
    WaybillDoc,
)
from shared.errors import Unprocessable
from shared.money import Money, MoneyError
from shared.texts import address_forms, normal

Doc = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FiledOrder(OrderDoc):
    """A submission's order; `forms` are its addresses, with and without region and city."""

    forms: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FiledWaybill(WaybillDoc):
    """A carrier's waybill; `forms` are its addresses, with and without region and city."""

    forms: frozenset[str] = frozenset()


def _forms(document: OrderDoc | WaybillDoc | ListDoc) -> frozenset[str]:
    if isinstance(document, FiledOrder | FiledWaybill):
        return document.forms
    return frozenset(address_forms(None, None, document.consignee_address or ""))


def _forms_of(consignee: Doc) -> frozenset[str]:
    return frozenset(
        address_forms(consignee.get("region"), consignee.get("city"), consignee["address"])
    )


def order_of(path: Path) -> OrderDoc:
    """Return the order of a submission, a CEB311Message or an export's CEB303Message.

    Raises UsageError.
    """
    return _read(path, "order", _order_from_json, messages.ORDERS)


def payment_of(path: Path) -> PaymentDoc:
    """Return the payment of a CEB411Message, a CEB403Message or a submission.

    Raises UsageError.
    """
    return _read(path, "payment", _payment_from_json, messages.PAYMENTS)


def waybill_of(path: Path) -> WaybillDoc:
    """Return the waybill of a CEB511Message, a CEB505Message, `waybill.issued.v1` or a submission.

    Raises UsageError.
    """
    return _read(path, "waybill", _waybill_from_json, messages.WAYBILLS)


def list_of(path: Path) -> ListDoc:
    """Return the list of a CEB621Message, a CEB603Message or a submission; raise UsageError."""
    return _read(path, "list", _list_from_json, messages.LISTS)


def compared(
    order: OrderDoc | None, waybill: WaybillDoc | None, listed: ListDoc | None
) -> tuple[WaybillDoc | None, ListDoc | None]:
    """Return waybill and list as they are compared with the order.

    A field that one document lacks counts as equal.
    An address behind its region and city counts as the order's own.
    """
    if order is not None and waybill is not None:
        for name in ("consignee_name", "consignee_phone", "consignee_address"):
            if UNSAID in (getattr(order, name), getattr(waybill, name)):
                waybill = replace(waybill, **{name: getattr(order, name)})
        if _forms(order) & _forms(waybill):
            waybill = replace(waybill, consignee_address=order.consignee_address)
    if order is not None and listed is not None:
        if listed.consignee_address is not None and _forms(order) & _forms(listed):
            listed = replace(listed, consignee_address=order.consignee_address)
        if UNSAID in (
            order.buyer_id,
            order.buyer_name,
            order.consignee_address,
        ):  # a 303 names nobody
            listed = replace(listed, consignee_address=None, buyer_id=None, buyer_name=None)
    return waybill, listed


def content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


def _read(path: Path, what: str, from_json: Callable[[Doc], T], forms: Mapping[str, Form[T]]) -> T:
    data = content_of(path)
    try:
        if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
            return messages.read(to_json(data), what, forms)
        parsed = json.loads(data, parse_float=Decimal)
        if not isinstance(parsed, dict):
            raise UsageError(f"{path}: a JSON object is expected")
        return from_json(parsed)
    except KeyError as error:
        raise UsageError(f"{path}: the {what} lacks {error.args[0]}") from None
    except Unprocessable as error:
        raise UsageError(f"{path}: {error}") from None
    except (MoneyError, InvalidOperation, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path}: the {what} cannot be read: {str(error) or type(error).__name__}"
        ) from None


def _order_from_json(doc: Doc) -> OrderDoc:
    currency, buyer, consignee = doc["currency"], doc["buyer"], doc["consignee"]
    payment = doc.get("payment") or {}

    def money(field: str) -> Money:
        return Money.of(doc.get(field) or "0", currency)

    return FiledOrder(
        platform_code=doc["platform"]["code"],
        order_no=doc["order_no"],
        direction="export" if doc.get("direction") == "export" else "import",
        goods_value=Money.of(doc["goods_value"], currency),
        freight=money("freight"),
        insurance=money("insurance"),
        tax_withheld=money("tax_withheld"),
        discount=money("discount"),
        amount_paid=Money.of(doc["amount_paid"], currency),
        buyer_id=normal(buyer["id_number"]),
        buyer_name=normal(buyer["name"]),
        buyer_phone=maybe(buyer.get("phone")),
        consignee_name=normal(consignee["name"]),
        consignee_phone=normal(consignee["phone"]),
        consignee_address=normal(consignee["address"]),
        forms=_forms_of(consignee),
        net_weight_kg=_net_weight(doc),
        lines=_lines_from_json(doc),
        payment_enterprise=payment.get("enterprise_code"),
    )


def _net_weight(doc: Doc) -> Decimal | None:
    weights = [line.get("net_weight_kg") for line in doc["lines"]]
    return None if None in weights else sum((number(weight) for weight in weights), Decimal(0))


def _unit(name: str) -> str:
    """Return the first name of the unit's code: `pcs` and `piece` are one unit on a list."""
    return codes.unit_of(codes.unit_code(name))


def _lines_from_json(doc: Doc) -> tuple[GoodsLine, ...]:
    return tuple(
        GoodsLine(
            line_no=line_number(line["line_no"]),
            name=normal(line["name"]),
            quantity=number(line["quantity"]),
            unit_price=number(line["unit_price"]),
            total=number(line["total"]),
            unit=None if (unit := line.get("unit")) is None else known_as(_unit, unit),
            origin=line.get("origin"),
        )
        for line in doc["lines"]
    )


def _payment_from_json(doc: Doc) -> PaymentDoc:
    payment = doc.get("payment") or doc
    payer = payment.get("payer") or {}
    return PaymentDoc(
        platform_code=doc["platform"]["code"] if "platform" in doc else doc["platform_code"],
        order_no=doc["order_no"],
        amount_paid=Money.of(doc["amount_paid"], doc["currency"]),
        payer_id=maybe(payer.get("id_number")),
        payer_name=maybe(payer.get("name")),
        payment_enterprise=payment.get("enterprise_code"),
    )


def _waybill_from_json(doc: Doc) -> WaybillDoc:
    consignee = doc["consignee"]
    return FiledWaybill(
        logistics_code=doc.get("logistics_code"),
        logistics_no=doc.get("logistics_no"),
        consignee_name=normal(consignee["name"]),
        consignee_phone=normal(consignee["phone"]),
        consignee_address=normal(consignee["address"]),
        order_no=doc.get("order_no"),
        gross_weight_kg=None if (gross := doc.get("gross_weight_kg")) is None else number(gross),
        forms=_forms_of(consignee),
    )


def _list_from_json(doc: Doc) -> ListDoc:
    buyer = doc.get("buyer") or {}
    return ListDoc(
        platform_code=doc["platform"]["code"],
        order_no=doc["order_no"],
        logistics_code=doc.get("logistics_code"),
        logistics_no=doc.get("logistics_no"),
        lines=_lines_from_json(doc),
        buyer_id=maybe(buyer.get("id_number")),
        buyer_name=maybe(buyer.get("name")),
        buyer_phone=maybe(buyer.get("phone")),
        consignee_address=maybe((doc.get("consignee") or {}).get("address")),
    )
