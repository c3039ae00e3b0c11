"""The documents of the three-document match, read from files.

A submission, a waybill as carriers send it, or CEB XML.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, TypeVar

from services.cli.connect import Wrong
from services.customs.ceb import codes
from services.customs.ceb.parse import to_json
from services.customs.domain.match import GoodsLine, ListDoc, OrderDoc, PaymentDoc, WaybillDoc
from shared.errors import Unprocessable
from shared.money import Money, MoneyError

Doc = Mapping[str, Any]
T = TypeVar("T")

# Where the document is in each message that carries it: outer element, head, lines.
_ENVELOPES: Final = {
    "order": ("CEB311", "Order", "OrderHead", "OrderList"),
    "payment": ("CEB411", "Payment", "PaymentHead", ""),
    "waybill": ("CEB511", "Logistics", "LogisticsHead", ""),
    "list": ("CEB621", "Inventory", "InventoryHead", "InventoryList"),
}


def order_of(path: Path) -> OrderDoc:
    """The order in a submission or a CEB311Message; raises Wrong."""
    return _read(path, "order", _order_from_json, _order_from_xml)


def payment_of(path: Path) -> PaymentDoc:
    """The payment in a CEB411Message, or as a submission tells it; raises Wrong."""
    return _read(path, "payment", _payment_from_json, _payment_from_xml)


def waybill_of(path: Path) -> WaybillDoc:
    """The waybill in a CEB511Message, a carrier's `waybill.issued.v1`, or as a submission tells it.

    Raises Wrong.
    """
    return _read(path, "waybill", _waybill_from_json, _waybill_from_xml)


def list_of(path: Path) -> ListDoc:
    """The declaration list in a CEB621Message, or as a submission tells it; raises Wrong."""
    return _read(path, "list", _list_from_json, _list_from_xml)


def content_of(path: Path) -> bytes:
    """The file's bytes; raises Wrong."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Wrong(f"{path} cannot be read: {error.strerror}") from None


def _read(path: Path, what: str, from_json: Callable[[Doc], T], from_xml: Callable[[Doc, Sequence[Doc]], T]) -> T:
    data = content_of(path)
    try:
        if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
            return from_xml(*_from_envelope(to_json(data), what))
        found = json.loads(data, parse_float=Decimal)
        if not isinstance(found, dict):
            raise Wrong(f"{path}: a JSON object is expected")
        return from_json(found)
    except KeyError as error:
        raise Wrong(f"{path}: the {what} lacks {error.args[0]}") from None
    except Unprocessable as error:
        raise Wrong(f"{path}: {error}") from None
    except (MoneyError, InvalidOperation, TypeError, ValueError, AttributeError) as error:
        raise Wrong(f"{path}: the {what} cannot be read: {str(error) or type(error).__name__}") from None


def _from_envelope(message: Doc, what: str) -> tuple[Doc, Sequence[Doc]]:
    """Head and lines of the message's only document of this kind."""
    name, outer, head, line = _ENVELOPES[what]
    if message["message"] != name:
        raise Wrong(f"a {what} is read from {name}Message or JSON, not from {message['message']}Message")
    found = message[outer]
    if len(found) != 1:
        raise Wrong(f"give one {what} a file: {name}Message holds {len(found)}")
    return found[0][head], found[0][line] if line else ()


def normal(text: str) -> str:
    """A text as it is compared: width, case and blanks do not matter.

    The same rule as the service's digests.
    """
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()


def _number(value: str | int | Decimal) -> Decimal:
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a number")
    return number


def _maybe(text: str | None) -> str | None:
    return normal(text) if text else None


def _known(name_of: Callable[[str], str], code: str | None) -> str | None:
    """The name of the authority's code, or the code as it is: both sides of a comparison go this way."""
    if not code:
        return None
    try:
        return name_of(code)
    except codes.UnknownCode:
        return code


def _order_from_json(doc: Doc) -> OrderDoc:
    currency, buyer, consignee = doc["currency"], doc["buyer"], doc["consignee"]
    payment = doc.get("payment") or {}

    def money(field: str) -> Money:
        return Money.of(doc.get(field) or "0", currency)

    return OrderDoc(
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
        buyer_phone=_maybe(buyer.get("phone")),
        consignee_name=normal(consignee["name"]),
        consignee_phone=normal(consignee["phone"]),
        consignee_address=normal(consignee["address"]),
        lines=_lines_from_json(doc),
        payment_enterprise=payment.get("enterprise_code"),
    )


def _lines_from_json(doc: Doc) -> tuple[GoodsLine, ...]:
    return tuple(
        GoodsLine(
            line_no=int(line["line_no"]),
            name=normal(line["name"]),
            quantity=_number(line["quantity"]),
            unit_price=_number(line["unit_price"]),
            total=_number(line["total"]),
            unit=line.get("unit"),
            origin=line.get("origin"),
        )
        for line in doc["lines"]
    )


def _order_from_xml(head: Doc, lines: Sequence[Doc]) -> OrderDoc:
    def money(field: str) -> Money:
        return Money.of(head[field], codes.currency_of(head["currency"]))

    return OrderDoc(
        platform_code=head["ebpCode"],
        order_no=head["orderNo"],
        direction="import",
        goods_value=money("goodsValue"),
        freight=money("freight"),
        # In a 311 the freight is all charges, insurance among them.
        insurance=Money.zero(codes.currency_of(head["currency"])),
        tax_withheld=money("taxTotal"),
        discount=money("discount"),
        amount_paid=money("acturalPaid"),
        buyer_id=normal(head["buyerIdNumber"]),
        buyer_name=normal(head["buyerName"]),
        buyer_phone=_maybe(head.get("buyerTelephone")),
        consignee_name=normal(head["consignee"]),
        consignee_phone=normal(head["consigneeTelephone"]),
        consignee_address=normal(head["consigneeAddress"]),
        lines=_lines_from_xml(lines, "itemName"),
        payment_enterprise=head.get("payCode"),
    )


def _lines_from_xml(lines: Sequence[Doc], name: str) -> tuple[GoodsLine, ...]:
    return tuple(
        GoodsLine(
            line_no=int(line["gnum"]),
            name=normal(line[name]),
            quantity=_number(line["qty"]),
            unit_price=_number(line["price"]),
            total=_number(line["totalPrice"]),
            unit=_known(codes.unit_of, line.get("unit")),
            origin=_known(codes.country_of, line.get("country")),
        )
        for line in lines
    )


def _payment_from_json(doc: Doc) -> PaymentDoc:
    """A submission, or the same fields without the rest of the order around them."""
    payment = doc.get("payment") or doc
    payer = payment.get("payer") or {}
    return PaymentDoc(
        platform_code=doc["platform"]["code"] if "platform" in doc else doc["platform_code"],
        order_no=doc["order_no"],
        amount_paid=Money.of(doc["amount_paid"], doc["currency"]),
        payer_id=_maybe(payer.get("id_number")),
        payer_name=_maybe(payer.get("name")),
        payment_enterprise=payment.get("enterprise_code"),
    )


def _payment_from_xml(head: Doc, _: Sequence[Doc]) -> PaymentDoc:
    return PaymentDoc(
        platform_code=head["ebpCode"],
        order_no=head["orderNo"],
        amount_paid=Money.of(head["amountPaid"], codes.currency_of(head["currency"])),
        payer_id=normal(head["payerIdNumber"]),
        payer_name=normal(head["payerName"]),
        payment_enterprise=head["payCode"],
    )


def _waybill_from_json(doc: Doc) -> WaybillDoc:
    consignee = doc["consignee"]
    return WaybillDoc(
        logistics_code=doc.get("logistics_code"),
        logistics_no=doc.get("logistics_no"),
        consignee_name=normal(consignee["name"]),
        consignee_phone=normal(consignee["phone"]),
        consignee_address=normal(consignee["address"]),
        order_no=doc.get("order_no"),
    )


def _waybill_from_xml(head: Doc, _: Sequence[Doc]) -> WaybillDoc:
    return WaybillDoc(
        logistics_code=head["logisticsCode"],
        logistics_no=head["logisticsNo"],
        consignee_name=normal(head["consignee"]),
        consignee_phone=normal(head["consigneeTelephone"]),
        consignee_address=normal(head["consigneeAddress"]),
        order_no=head["orderNo"],
    )


def _list_from_json(doc: Doc) -> ListDoc:
    buyer = doc.get("buyer") or {}
    return ListDoc(
        platform_code=doc["platform"]["code"],
        order_no=doc["order_no"],
        logistics_code=doc.get("logistics_code"),
        logistics_no=doc.get("logistics_no"),
        lines=_lines_from_json(doc),
        buyer_id=_maybe(buyer.get("id_number")),
        buyer_name=_maybe(buyer.get("name")),
        buyer_phone=_maybe(buyer.get("phone")),
        consignee_address=_maybe((doc.get("consignee") or {}).get("address")),
    )


def _list_from_xml(head: Doc, lines: Sequence[Doc]) -> ListDoc:
    return ListDoc(
        platform_code=head["ebpCode"],
        order_no=head["orderNo"],
        logistics_code=head["logisticsCode"],
        logistics_no=head["logisticsNo"],
        lines=_lines_from_xml(lines, "gname"),
        buyer_id=normal(head["buyerIdNumber"]),
        buyer_name=normal(head["buyerName"]),
        buyer_phone=normal(head["buyerTelephone"]),
        consignee_address=normal(head["consigneeAddress"]),
    )
