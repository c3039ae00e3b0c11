"""The three documents as outsiders see them: the order as submitted, the bank's 411 and the carrier's 511.

Read on a code path of their own: what the orders service makes of the same bytes is its own affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson
from lxml import etree

from sandbox.xml import children, fields_of, is_message
from shared.errors import Unprocessable
from shared.identity import order_id_of
from shared.money import AMOUNT, Money
from shared.texts import hidden_in, identifier, utf8
from shared.xml import XmlRefused, parse_untrusted

_SUBMITTED: Final = "order.submitted.v1"
_CANNOT_BE_READ: Final = (
    LookupError, TypeError, ValueError, AttributeError, ArithmeticError, XmlRefused, Unprocessable,
)  # fmt: skip
_NO_WORDS: Final[frozenset[str]] = frozenset()
_FIGURE_MAX: Final = Decimal(10) ** 13
_NUMBER_MAX: Final = 10**9
_TEXT_MAX: Final = 4000
"""Characters of one text: a record that came compressed may have texts that no waybill could carry on."""


@dataclass(frozen=True, slots=True)
class Goods:
    """One line of an order; `origin` is alpha-2 from JSON, the authority's numeric code from XML."""

    number: int
    name: str
    quantity: Decimal
    price: Decimal
    total: Decimal
    origin: str


@dataclass(frozen=True, slots=True)
class Consignee:
    """Who receives the parcel."""

    name: str
    phone: str
    country: str
    region: str | None
    city: str | None
    address: str
    postcode: str | None


@dataclass(frozen=True, slots=True)
class Submission:
    """An order as a platform sends it."""

    order_id: UUID
    order_no: str
    platform_code: str
    direction: str
    currency: str
    goods_value: Decimal
    freight: Decimal
    insurance: Decimal
    discount: Decimal
    tax_withheld: Decimal
    amount_paid: Decimal
    buyer_name: str
    buyer_id: str
    buyer_phone: str | None
    payer_id: str | None
    enterprise: str | None
    consignee: Consignee
    net_weight_kg: Decimal
    lines: tuple[Goods, ...]

    @property
    def adds_up(self) -> bool:
        """Paid = goods + freight + insurance + tax - discount, and goods = the lines [S22 CEB311]."""
        paid = self.goods_value + self.freight + self.insurance + self.tax_withheld - self.discount
        return (
            paid == self.amount_paid and sum(line.total for line in self.lines) == self.goods_value
        )


@dataclass(frozen=True, slots=True)
class Payment:
    """The payment document (411): `reference` is what the shop's side called the payment, the order's id."""

    reference: str
    payment_no: str
    amount: str
    currency: str
    enterprise: str
    payer_id: str


@dataclass(frozen=True, slots=True)
class Waybill:
    """The waybill document (511)."""

    order_id: str
    logistics_code: str
    logistics_no: str
    consignee_name: str
    consignee_phone: str
    consignee_address: str


def words_of(order_no: str) -> frozenset[str]:
    """The words of the sandbox language in an order number: what follows "~", joined by "."."""
    _, told, suffix = order_no.partition("~")
    return frozenset(suffix.lower().split(".")) - {""} if told else _NO_WORDS


def read_submissions(
    value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> Iterator[Submission]:
    """The orders in a record of `orders.submissions`; nothing for commands and for what cannot be read."""
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
    except _CANNOT_BE_READ:
        return


def _named(text: str) -> str:
    """A number that names an order; one with a character that nobody sees names none."""
    number = identifier(text)
    if hidden_in(number) is not None:
        raise ValueError("nobody sees all of it")
    return number


def _from_json(doc: Mapping[str, Any]) -> Submission:
    buyer, to, payment = doc["buyer"], doc["consignee"], doc.get("payment") or {}
    order_no, platform_code = _named(_text(doc, "order_no")), _named(_text(doc["platform"], "code"))
    currency = _text(doc, "currency").strip()
    return Submission(
        order_id=order_id_of(platform_code, order_no),
        order_no=order_no,
        platform_code=platform_code,
        direction=_text(doc, "direction"),
        currency=currency,
        goods_value=_figure(doc["goods_value"]),
        # These two go on the waybill, so they must be money of the currency.
        freight=Money.of(doc.get("freight") or "0", currency).major,
        insurance=Money.of(doc.get("insurance") or "0", currency).major,
        discount=_figure(doc.get("discount") or "0"),
        tax_withheld=_figure(doc.get("tax_withheld") or "0"),
        amount_paid=_figure(doc["amount_paid"]),
        buyer_name=_text(buyer, "name"),
        buyer_id=_text(buyer, "id_number"),
        buyer_phone=_text(buyer, "phone") if buyer.get("phone") else None,
        payer_id=_text(payment["payer"], "id_number") if payment.get("payer") else None,
        enterprise=_text(payment, "enterprise_code") if payment.get("enterprise_code") else None,
        consignee=Consignee(
            _text(to, "name"), _text(to, "phone") if to.get("phone") else "", _text(to, "country"),
            _said(to, "region"), _said(to, "city"), _text(to, "address"), _said(to, "postcode"),
        ),
        net_weight_kg=sum((_figure(g["net_weight_kg"]) for g in doc["lines"]), Decimal(0)),
        lines=tuple(_line_from_json(g) for g in doc["lines"]),
    )  # fmt: skip


def _line_from_json(line: Mapping[str, Any]) -> Goods:
    return Goods(
        _number(line["line_no"]), _text(line, "name"), _figure(line["quantity"]), _figure(line["unit_price"]),
        _figure(line["total"]), _text(line, "origin"),
    )  # fmt: skip


def _text(doc: Mapping[str, Any], name: str) -> str:
    found = doc[name]
    if not isinstance(found, str):
        raise TypeError(name)
    if len(found) > _TEXT_MAX:
        raise ValueError(name)
    return found


def _said(doc: Mapping[str, Any], name: str) -> str | None:
    return _text(doc, name) if doc.get(name) is not None else None


def _number(given: Any) -> int:
    """The number of a line; one of more than nine digits is none, and no file of ours could keep it."""
    found = int(given)
    if not 0 <= found < _NUMBER_MAX:
        raise ValueError("not the number of a line")
    return found


def _figure(text: str) -> Decimal:
    """A decimal that can be reckoned with; what is endless or no number is refused as a ValueError."""
    if not AMOUNT.fullmatch(text):
        raise ValueError("not a figure")
    figure = Decimal(text)
    if not figure.is_finite() or abs(figure) > _FIGURE_MAX:
        raise ValueError("not a figure")
    return figure


def _from_xml(value: bytes) -> Iterator[Submission]:
    root = parse_untrusted(value)
    if not is_message(root, "CEB311Message"):
        return
    for order in children(root, "Order"):
        # One that cannot be read hides no other.
        with suppress(*_CANNOT_BE_READ):
            yield _order_from_xml(order)


def _order_from_xml(order: etree._Element) -> Submission:
    heads, lists = list(children(order, "OrderHead")), list(children(order, "OrderList"))
    head = _short(fields_of(heads[0]))
    lines = tuple(_line_from_xml(_short(fields_of(line))) for line in lists)
    return Submission(
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
    """The fields; raises ValueError if one has more characters than any paper has room for."""
    if any(len(text) > _TEXT_MAX for text in fields.values()):
        raise ValueError("a text is too long")
    return fields


def _weight_of(line: Mapping[str, str]) -> Decimal:
    """The net weight that a shop writes into `itemDescribe`; a 311 has no field for it: at the counter it is a kilogram then."""
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
