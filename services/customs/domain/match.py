"""The three-document match (三单对碰): order, payment and waybill, and the list against them. Pure.

Rules and codes carry the authority's own numbers [specification 202205 and 2018, GACC 2016 No. 26
arts. 3-6]. A missing document is awaited, an unequal one refused. Equality is exact: no rule has
the tolerances that some declarants state. Personal fields are opaque texts here: digests in the
service, normalised plain text on the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.customs.domain.match_documents import (
    Document,
    GoodsLine,
    ListDoc,
    OrderDoc,
    PaymentDoc,
    WaybillDoc,
)
from shared.events.customs import Mismatch, Side

AMOUNT: Final = "1332"
PAYMENT_ENTERPRISE: Final = "13035"
LINE_COUNT: Final = "1320"
LINE_ITEMS: Final = "1322"
BUYER_ON_LIST: Final = "13127"
BUYER_PHONE_ON_LIST: Final = "130126"
BUYER_IS_NOT_PAYER: Final = "47"
ORDER_RULE: Final = "-303001"
"""An order that contradicts itself: the order band's business-rule code, since no inner code is
published [2018, 7-3].
"""
WAYBILL_RULE: Final = "-503001"
"""A consignee that differs: the waybill band's business-rule code, since no inner code is published
[2018, 7-3].
"""

WAYBILL_NUMBER: Final = "-504015"
"""A waybill number that another order holds already [2018, 7-3: duplicate waybill number]."""

CODES: Final = (
    AMOUNT,
    PAYMENT_ENTERPRISE,
    LINE_COUNT,
    LINE_ITEMS,
    BUYER_ON_LIST,
    BUYER_PHONE_ON_LIST,
    BUYER_IS_NOT_PAYER,
    ORDER_RULE,
    WAYBILL_RULE,
    WAYBILL_NUMBER,
)
"""Every code that a mismatch can have."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`missing` names documents still awaited, which is no refusal. `mismatches` are
    all there are.
    """

    matched: bool
    missing: tuple[Document, ...]
    mismatches: tuple[Mismatch, ...]


def match(
    order: OrderDoc | None,
    payment: PaymentDoc | None,
    waybill: WaybillDoc | None,
    list_: ListDoc | None = None,
) -> Verdict:
    """Compare the documents that are there. A payment or waybill of another order counts as absent
    (rules 1 to 3).
    """
    if not _same_order(payment, order or list_):
        payment = None
    if waybill is not None and not _is_of(waybill, order or list_, list_):
        waybill = None
    if not _same_order(order, list_):
        order, payment = None, None
    trio: tuple[tuple[Document, object], ...] = (
        ("order", order),
        ("payment", payment),
        ("waybill", waybill),
    )
    missing = tuple(name for name, document in trio if document is None)
    mismatches = tuple(_compare(order, payment, waybill, list_))
    return Verdict(not missing and not mismatches, missing, mismatches)


def _same_order(one: OrderDoc | PaymentDoc | None, other: OrderDoc | ListDoc | None) -> bool:
    """Return whether two documents name one order; an absent document contradicts nothing."""
    if one is None or other is None:
        return True
    return (one.platform_code, one.order_no) == (other.platform_code, other.order_no)


def _is_of(waybill: WaybillDoc, key: OrderDoc | ListDoc | None, list_: ListDoc | None) -> bool:
    if key is not None and waybill.order_no is not None and waybill.order_no != key.order_no:
        return False
    if list_ is None or list_.logistics_no is None or waybill.logistics_no is None:
        return True
    return (waybill.logistics_code, waybill.logistics_no) == (
        list_.logistics_code,
        list_.logistics_no,
    )


def _compare(
    order: OrderDoc | None,
    payment: PaymentDoc | None,
    waybill: WaybillDoc | None,
    list_: ListDoc | None,
) -> Iterator[Mismatch]:
    if order is None:
        return
    yield from _order_alone(order)
    if payment is not None:
        yield from _order_and_payment(order, payment)
    if waybill is not None:
        yield from _order_and_waybill(order, waybill)
    if list_ is not None:
        yield from _order_and_list(order, list_)


def _order_alone(order: OrderDoc) -> Iterator[Mismatch]:
    """Rules 4 and 12: the amount paid is goods, freight and tax less discount, and a total is price
    times quantity [202205 CEB311].
    """
    yield from _composition(order)
    for line in order.lines:
        total = line.unit_price * line.quantity
        if total != line.total:
            field = f"lines[{line.line_no}].total"
            yield _differs(ORDER_RULE, field, _plain(line.total), "order", _plain(total))
    total = sum((line.total for line in order.lines), Decimal(0))
    if order.lines and total != order.goods_value.major:
        yield _differs(ORDER_RULE, "goods_value", str(order.goods_value), "order", _plain(total))


def _composition(order: OrderDoc) -> Iterator[Mismatch]:
    paid = order.amount_paid
    parts = (order.goods_value, order.freight, order.insurance, order.tax_withheld, order.discount)
    foreign = next((part for part in parts if part.currency != paid.currency), None)
    if foreign is not None:
        yield _differs(ORDER_RULE, "currency", paid.currency, "order", foreign.currency)
        return
    composed = (
        order.goods_value + order.freight + order.insurance + order.tax_withheld - order.discount
    )
    if composed != paid:
        yield _differs(ORDER_RULE, "amount_composition", str(paid), "order", str(composed))


def _order_and_payment(order: OrderDoc, payment: PaymentDoc) -> Iterator[Mismatch]:
    """Rules 5, 6 and 8."""
    paid, captured = order.amount_paid, payment.amount_paid
    if paid.currency != captured.currency:
        yield _differs(AMOUNT, "currency", paid.currency, "payment", captured.currency)
    elif paid != captured:
        yield _differs(AMOUNT, "amount_paid", str(paid), "payment", str(captured))
    enterprise = order.payment_enterprise, payment.payment_enterprise
    if all(enterprise) and enterprise[0] != enterprise[1]:
        field = "payment.enterprise_code"
        yield _differs(
            PAYMENT_ENTERPRISE, field, enterprise[0] or "", "payment", enterprise[1] or ""
        )
    # Imports only, and only where the buyer's identity is not authenticated [GACC 2016 No. 26
    # art. 6].
    if order.direction == "import" and not order.buyer_authenticated:
        yield from _buyer_and_payer(order, payment)


def _buyer_and_payer(order: OrderDoc, payment: PaymentDoc) -> Iterator[Mismatch]:
    for field, buyer, payer in (
        ("buyer.id_number", order.buyer_id, payment.payer_id),
        ("buyer.name", order.buyer_name, payment.payer_name),
    ):
        if payer is not None and payer != buyer:
            yield _differs(BUYER_IS_NOT_PAYER, field, buyer, "payment", payer)


def _order_and_waybill(order: OrderDoc, waybill: WaybillDoc) -> Iterator[Mismatch]:
    """Rule 10: consignee, telephone and address of the order are the waybill's [202205 CEB311 field
    notes].
    """
    for field, left, right in (
        ("consignee.name", order.consignee_name, waybill.consignee_name),
        ("consignee.phone", order.consignee_phone, waybill.consignee_phone),
        ("consignee.address", order.consignee_address, waybill.consignee_address),
    ):
        if left != right:
            yield _differs(WAYBILL_RULE, field, left, "waybill", right)
    net, gross = order.net_weight_kg, waybill.gross_weight_kg
    if net is not None and gross is not None and gross < net:
        # A parcel weighs at least its contents: one of the two documents is wrong.
        yield _differs(
            WAYBILL_RULE, "gross_weight_kg", f"net {net:f}", "waybill", f"gross {gross:f}"
        )


def _order_and_list(order: OrderDoc, list_: ListDoc) -> Iterator[Mismatch]:
    """Rules 9, 11 and 13."""
    for code, field, left, right in (
        (BUYER_ON_LIST, "buyer.id_number", order.buyer_id, list_.buyer_id),
        (BUYER_ON_LIST, "buyer.name", order.buyer_name, list_.buyer_name),
        (BUYER_PHONE_ON_LIST, "buyer.phone", order.buyer_phone, list_.buyer_phone),
        (WAYBILL_RULE, "consignee.address", order.consignee_address, list_.consignee_address),
    ):
        if left is not None and right is not None and left != right:
            yield _differs(code, field, left, "list", right)
    yield from _lines(order.lines, list_.lines)


def _lines(
    order_lines: tuple[GoodsLine, ...], list_lines: tuple[GoodsLine, ...]
) -> Iterator[Mismatch]:
    if len(order_lines) != len(list_lines):
        yield _differs(LINE_COUNT, "lines", str(len(order_lines)), "list", str(len(list_lines)))
        return
    ordered, listed = (
        {line.line_no: line for line in order_lines},
        {line.line_no: line for line in list_lines},
    )
    if ordered.keys() != listed.keys() or len(ordered) != len(order_lines):
        yield _differs(
            LINE_ITEMS,
            "lines[].line_no",
            _numbers(order_lines),
            "list",
            _numbers(list_lines),
        )
        return
    for line_no, line in sorted(ordered.items()):
        yield from _line(line, listed[line_no])


def _line(ordered: GoodsLine, listed: GoodsLine) -> Iterator[Mismatch]:
    for name in ("name", "quantity", "unit", "unit_price", "total", "origin"):
        left, right = getattr(ordered, name), getattr(listed, name)
        if left is not None and right is not None and left != right:
            yield _differs(
                LINE_ITEMS,
                f"lines[{ordered.line_no}].{name}",
                _plain(left),
                "list",
                _plain(right),
            )


def _differs(code: str, field: str, ordered: str, document: Document, differing: str) -> Mismatch:
    """Return a mismatch of the order's value with that of another document, or of the order."""
    return Mismatch(
        code=code,
        field=field,
        left=Side(document="order", value=ordered),
        right=Side(document=document, value=differing),
    )


def _plain(value: Decimal | str) -> str:
    return value if isinstance(value, str) else f"{value:f}"


def _numbers(lines: tuple[GoodsLine, ...]) -> str:
    return ",".join(str(line.line_no) for line in lines)
