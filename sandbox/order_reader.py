"""Reads submitted orders, JSON or CEB311, on a code path of its own.

So the sandbox can disagree with the orders service about the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

import orjson
from lxml import etree

from sandbox.documents import Consignee, Goods, SubmittedOrder
from sandbox.xml import children, fields_of, is_message
from shared.errors import Unprocessable
from shared.identity import order_id_of
from shared.money import AMOUNT, Money
from shared.texts import hidden_in, identifier, utf8
from shared.xml import XmlRefused, parse_untrusted

_SUBMITTED: Final = "order.submitted.v1"
_UNREADABLE: Final = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    XmlRefused,
    Unprocessable,
)
_FIGURE_MAX: Final = Decimal(10) ** 13
_NUMBER_MAX: Final = 10**9
_TEXT_MAX: Final = 4000
"""Characters of one text; a compressed record may have texts that no waybill has room for."""


def read_submissions(
    value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> Iterator[SubmittedOrder]:
    """Return the orders in a record of `orders.submissions`.

    None of a command or an unreadable record.
    """
    for name, kind in headers:
        if name == "ce_type":
            if kind.decode("ascii", "replace") != _SUBMITTED:
                return
            break
    try:
        text = utf8(value or b"")
        if text[:1] == b"<":
            yield from _from_xml(text)
        elif text:
            yield _from_json(orjson.loads(text))
    except _UNREADABLE:
        return


def _named(text: str) -> str:
    """Return a number that names an order; raise ValueError for one with invisible characters."""
    number = identifier(text)
    if hidden_in(number) is not None:
        raise ValueError("an invisible character")
    return number


def _from_json(doc: Mapping[str, Any]) -> SubmittedOrder:
    buyer, payment = doc["buyer"], doc.get("payment") or {}
    order_no, platform_code = _named(_text(doc, "order_no")), _named(_text(doc["platform"], "code"))
    currency = _text(doc, "currency").strip()
    return SubmittedOrder(
        order_id=order_id_of(platform_code, order_no),
        order_no=order_no,
        platform_code=platform_code,
        direction=_text(doc, "direction"),
        currency=currency,
        goods_value=_figure(doc["goods_value"]),
        # These two stand on the waybill, so they must be money of the currency.
        freight=Money.of(doc.get("freight") or "0", currency).major,
        insurance=Money.of(doc.get("insurance") or "0", currency).major,
        discount=_figure(doc.get("discount") or "0"),
        tax_withheld=_figure(doc.get("tax_withheld") or "0"),
        amount_paid=_figure(doc["amount_paid"]),
        buyer_name=_text(buyer, "name"),
        buyer_id=_text(buyer, "id_number"),
        buyer_phone=_text_unless_empty(buyer, "phone"),
        payer_id=_text(payment["payer"], "id_number") if payment.get("payer") else None,
        enterprise=_text_unless_empty(payment, "enterprise_code"),
        consignee=_consignee_from_json(doc["consignee"]),
        net_weight_kg=sum((_figure(line["net_weight_kg"]) for line in doc["lines"]), Decimal(0)),
        lines=tuple(_line_from_json(line) for line in doc["lines"]),
    )


def _consignee_from_json(to: Mapping[str, Any]) -> Consignee:
    return Consignee(
        name=_text(to, "name"),
        phone=_text_unless_empty(to, "phone") or "",
        country=_text(to, "country"),
        region=_text_or_none(to, "region"),
        city=_text_or_none(to, "city"),
        address=_text(to, "address"),
        postcode=_text_or_none(to, "postcode"),
    )


def _line_from_json(line: Mapping[str, Any]) -> Goods:
    return Goods(
        number=_number(line["line_no"]),
        name=_text(line, "name"),
        quantity=_figure(line["quantity"]),
        price=_figure(line["unit_price"]),
        total=_figure(line["total"]),
        origin=_text(line, "origin"),
    )


def _text(doc: Mapping[str, Any], name: str) -> str:
    text = doc[name]
    if not isinstance(text, str):
        raise TypeError(name)
    if len(text) > _TEXT_MAX:
        raise ValueError(name)
    return text


def _text_or_none(doc: Mapping[str, Any], name: str) -> str | None:
    return _text(doc, name) if doc.get(name) is not None else None


def _text_unless_empty(doc: Mapping[str, Any], name: str) -> str | None:
    return _text(doc, name) if doc.get(name) else None


def _number(given: Any) -> int:
    """Return the number of a line.

    Raise ValueError above nine digits, which SQLite could not store.
    """
    number = int(given)
    if not 0 <= number < _NUMBER_MAX:
        raise ValueError("not the number of a line")
    return number


def _figure(text: str) -> Decimal:
    """Return a finite decimal of at most 10^13; raise ValueError for another text."""
    if not AMOUNT.fullmatch(text):
        raise ValueError("not a figure")
    figure = Decimal(text)
    if not figure.is_finite() or abs(figure) > _FIGURE_MAX:
        raise ValueError("not a figure")
    return figure


def _from_xml(value: bytes) -> Iterator[SubmittedOrder]:
    root = parse_untrusted(value)
    if not is_message(root, "CEB311Message"):
        return
    for order in children(root, "Order"):
        # An unreadable order hides no other.
        with suppress(*_UNREADABLE):
            yield _order_from_xml(order)


def _order_from_xml(order: etree._Element) -> SubmittedOrder:
    heads, lists = list(children(order, "OrderHead")), list(children(order, "OrderList"))
    head = _short(fields_of(heads[0]))
    lines = tuple(_line_from_xml(_short(fields_of(line))) for line in lists)
    return SubmittedOrder(
        order_id_of(_named(head["ebpCode"]), _named(head["orderNo"])),
        _named(head["orderNo"]),
        _named(head["ebpCode"]),
        "import",
        "CNY",
        _figure(head["goodsValue"]),
        _figure(head["freight"]),
        Decimal(0),
        _figure(head["discount"]),
        _figure(head["taxTotal"]),
        _figure(head["acturalPaid"]),
        head["buyerName"],
        head["buyerIdNumber"],
        head.get("buyerTelephone"),
        None,
        head.get("payCode"),
        Consignee(
            head["consignee"],
            head["consigneeTelephone"],
            "CN",
            None,
            None,
            head["consigneeAddress"],
            None,
        ),
        sum((_weight_of(fields_of(line)) for line in lists), Decimal(0)),
        lines,
    )


def _short(fields: dict[str, str]) -> dict[str, str]:
    """Return the fields; raise ValueError if a text is longer than any document has room for."""
    if any(len(text) > _TEXT_MAX for text in fields.values()):
        raise ValueError("a text is too long")
    return fields


def _weight_of(line: Mapping[str, str]) -> Decimal:
    """Return the net weight that a shop writes into `itemDescribe`, a kilogram without.

    A 311 has no field for it.
    """
    tags = dict(
        part.split(":", 1) for part in line.get("itemDescribe", "").split(";") if ":" in part
    )
    return _figure(tags.get("NET", "1").strip())


def _line_from_xml(line: Mapping[str, str]) -> Goods:
    return Goods(
        _number(line["gnum"]),
        line["itemName"],
        _figure(line["qty"]),
        _figure(line["price"]),
        _figure(line["totalPrice"]),
        line["country"],
    )
