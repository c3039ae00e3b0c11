"""The documents of the match in the authority's XML.

Imports have 311, 411, 511 and 621; exports 303, 403, 505 and 603.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, Generic, NamedTuple, TypeVar

from services.cli.connect import UsageError
from services.customs.ceb import codes
from services.customs.domain.match_documents import (
    GoodsLine,
    ListDoc,
    OrderDoc,
    PaymentDoc,
    WaybillDoc,
)
from shared.money import AMOUNT, Money
from shared.texts import normal

Doc = Mapping[str, Any]
T = TypeVar("T")

UNSAID: Final = "\0"
"""Stands for a person whom this kind of message does not name; no other text is equal to it."""


class Form(NamedTuple, Generic[T]):
    """Where a message has the document: outer element, `head`, and the function that reads it."""

    outer: str
    head: str
    lines: str
    read: Callable[[Doc, Sequence[Doc]], T]


def read(message: Doc, what: str, forms: Mapping[str, Form[T]]) -> T:
    """Return the message's only document of this kind; raise UsageError if there is no one such."""
    name = message["message"]
    form = forms.get(name)
    if form is None:
        known = ", ".join(f"{known}Message" for known in forms)
        raise UsageError(f"a {what} is read from {known} or JSON, not from {name}Message")
    outer = message[form.outer]
    if len(outer) != 1:
        raise UsageError(f"give one {what} a file: {name}Message holds {len(outer)}")
    return form.read(
        outer[0][form.head] if form.head else outer[0], outer[0][form.lines] if form.lines else ()
    )


def number(value: str | int | Decimal) -> Decimal:
    """Return a quantity or price; raise ValueError for anything but digits and a point."""
    if isinstance(value, str) and not AMOUNT.fullmatch(value):
        raise ValueError(f"{value[:40]!r} is not a number: expected digits and a point")
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a number")
    return number


def line_number(value: str | int) -> int:
    if isinstance(value, str) and not (value.isascii() and value.isdecimal() and len(value) <= 9):
        raise ValueError(f"{value[:40]!r} is not the number of a line")
    return int(value)


def maybe(text: str | None) -> str | None:
    return normal(text) if text else None


def known_as(name_of: Callable[[str], str], value: str) -> str:
    """Return the name of a code or unit, or the value itself if the authority's lists lack it."""
    try:
        return name_of(value)
    except codes.UnknownCode:
        return value


def _maybe_known(name_of: Callable[[str], str], code: str | None) -> str | None:
    return known_as(name_of, code) if code else None


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
        buyer_phone=maybe(head.get("buyerTelephone")),
        consignee_name=normal(head["consignee"]),
        consignee_phone=normal(head["consigneeTelephone"]),
        consignee_address=normal(head["consigneeAddress"]),
        lines=_lines_from_xml(lines, "itemName"),
        payment_enterprise=head.get("payCode"),
    )


def _lines_from_xml(lines: Sequence[Doc], name: str) -> tuple[GoodsLine, ...]:
    return tuple(
        GoodsLine(
            line_no=line_number(line["gnum"]),
            name=normal(line[name]),
            quantity=number(line["qty"]),
            unit_price=number(line["price"]),
            total=number(line["totalPrice"]),
            unit=_maybe_known(codes.unit_of, line.get("unit")),
            origin=_maybe_known(codes.country_of, line.get("country")),
        )
        for line in lines
    )


def _export_order_from_xml(head: Doc, lines: Sequence[Doc]) -> OrderDoc:
    """A 303 has no persons, tax or discount: paid are goods and freight [202205 CEB303]."""
    currency = codes.currency_of(head["currency"])
    nothing, goods, freight = (
        Money.zero(currency),
        Money.of(head["goodsValue"], currency),
        Money.of(head["freight"], currency),
    )
    return OrderDoc(
        platform_code=head["ebpCode"],
        order_no=head["orderNo"],
        direction="export",
        goods_value=goods,
        freight=freight,
        insurance=nothing,
        tax_withheld=nothing,
        discount=nothing,
        amount_paid=goods + freight,
        buyer_id=UNSAID,
        buyer_name=UNSAID,
        consignee_name=UNSAID,
        consignee_phone=UNSAID,
        consignee_address=UNSAID,
        lines=_lines_from_xml(lines, "itemName"),
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


def _funds_from_xml(head: Doc, _: Sequence[Doc]) -> PaymentDoc:
    """A 403 is the receipt of an export's funds and does not name the payer."""
    return PaymentDoc(
        platform_code=head["ebpCode"],
        order_no=head["orderNo"],
        amount_paid=Money.of(head["charge"], codes.currency_of(head["currency"])),
        payment_enterprise=head.get("payCode"),
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


def _export_waybill_from_xml(head: Doc, _: Sequence[Doc]) -> WaybillDoc:
    """A 505 names neither order nor consignee; its number is the list's."""
    return WaybillDoc(
        logistics_code=head["logisticsCode"],
        logistics_no=head["logisticsNo"],
        consignee_name=UNSAID,
        consignee_phone=UNSAID,
        consignee_address=UNSAID,
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


def _export_list_from_xml(head: Doc, lines: Sequence[Doc]) -> ListDoc:
    """A 603 names no person; its lines have the destination instead of the origin."""
    return ListDoc(
        platform_code=head["ebpCode"],
        order_no=head["orderNo"],
        logistics_code=head["logisticsCode"],
        logistics_no=head["logisticsNo"],
        lines=tuple(replace(line, origin=None) for line in _lines_from_xml(lines, "gname")),
    )


ORDERS: Final[dict[str, Form[OrderDoc]]] = {
    "CEB311": Form("Order", "OrderHead", "OrderList", _order_from_xml),
    "CEB303": Form("Order", "OrderHead", "OrderList", _export_order_from_xml),
}
PAYMENTS: Final[dict[str, Form[PaymentDoc]]] = {
    "CEB411": Form("Payment", "PaymentHead", "", _payment_from_xml),
    "CEB403": Form("Receipts", "", "", _funds_from_xml),
}
WAYBILLS: Final[dict[str, Form[WaybillDoc]]] = {
    "CEB511": Form("Logistics", "LogisticsHead", "", _waybill_from_xml),
    "CEB505": Form("Logistics", "", "", _export_waybill_from_xml),
}
LISTS: Final[dict[str, Form[ListDoc]]] = {
    "CEB621": Form("Inventory", "InventoryHead", "InventoryList", _list_from_xml),
    "CEB603": Form("Inventory", "InventoryHead", "InventoryList", _export_list_from_xml),
}
