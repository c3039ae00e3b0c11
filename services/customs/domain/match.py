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
    key = order or list_
    if (
        key is not None
        and payment is not None
        and (payment.platform_code, payment.order_no) != (key.platform_code, key.order_no)
    ):
        payment = None
    if waybill is not None and not _is_of(waybill, key, list_):
        waybill = None
    if (
        order is not None
        and list_ is not None
        and (order.platform_code, order.order_no) != (list_.platform_code, list_.order_no)
    ):
        order, payment = None, None
    trio: tuple[tuple[Document, object], ...] = (
        ("order", order),
        ("payment", payment),
        ("waybill", waybill),
    )
    missing = tuple(name for name, document in trio if document is None)
    mismatches = tuple(_compare(order, payment, waybill, list_))
    return Verdict(not missing and not mismatches, missing, mismatches)


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
    parts = (order.goods_value, order.freight, order.insurance, order.tax_withheld, order.discount)
    foreign = next((part for part in parts if part.currency != order.amount_paid.currency), None)
    if foreign is not None:
        yield _differs(
            ORDER_RULE, "currency", "order", order.amount_paid.currency, "order", foreign.currency
        )
    else:
        composed = (
            order.goods_value
            + order.freight
            + order.insurance
            + order.tax_withheld
            - order.discount
        )
        if composed != order.amount_paid:
            yield _differs(
                ORDER_RULE,
                "amount_composition",
                "order",
                str(order.amount_paid),
                "order",
                str(composed),
            )
    for line in order.lines:
        if line.unit_price * line.quantity != line.total:
            yield _differs(
                ORDER_RULE,
                f"lines[{line.line_no}].total",
                "order",
                _plain(line.total),
                "order",
                _plain(line.unit_price * line.quantity),
            )
    total = sum((line.total for line in order.lines), Decimal(0))
    if order.lines and total != order.goods_value.major:
        yield _differs(
            ORDER_RULE, "goods_value", "order", str(order.goods_value), "order", _plain(total)
        )


def _order_and_payment(order: OrderDoc, payment: PaymentDoc) -> Iterator[Mismatch]:
    """Rules 5, 6 and 8."""
    if order.amount_paid.currency != payment.amount_paid.currency:
        yield _differs(
            AMOUNT,
            "currency",
            "order",
            order.amount_paid.currency,
            "payment",
            payment.amount_paid.currency,
        )
    elif order.amount_paid != payment.amount_paid:
        yield _differs(
            AMOUNT,
            "amount_paid",
            "order",
            str(order.amount_paid),
            "payment",
            str(payment.amount_paid),
        )
    if (
        order.payment_enterprise
        and payment.payment_enterprise
        and order.payment_enterprise != payment.payment_enterprise
    ):
        yield _differs(
            PAYMENT_ENTERPRISE,
            "payment.enterprise_code",
            "order",
            order.payment_enterprise,
            "payment",
            payment.payment_enterprise,
        )
    # Only imports, and only where nobody vouches for the buyer's identity [GACC 2016 No. 26 art.
    # 6].
    if order.direction == "import" and not order.buyer_authenticated:
        if payment.payer_id is not None and payment.payer_id != order.buyer_id:
            yield _differs(
                BUYER_IS_NOT_PAYER,
                "buyer.id_number",
                "order",
                order.buyer_id,
                "payment",
                payment.payer_id,
            )
        if payment.payer_name is not None and payment.payer_name != order.buyer_name:
            yield _differs(
                BUYER_IS_NOT_PAYER,
                "buyer.name",
                "order",
                order.buyer_name,
                "payment",
                payment.payer_name,
            )


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
            yield _differs(WAYBILL_RULE, field, "order", left, "waybill", right)
    net, gross = order.net_weight_kg, waybill.gross_weight_kg
    if net is not None and gross is not None and gross < net:
        # A parcel is as heavy as what is in it: one of the two is wrong, and nobody here knows
        # which.
        yield _differs(
            WAYBILL_RULE, "gross_weight_kg", "order", f"net {net:f}", "waybill", f"gross {gross:f}"
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
            yield _differs(code, field, "order", left, "list", right)
    if len(order.lines) != len(list_.lines):
        yield _differs(
            LINE_COUNT, "lines", "order", str(len(order.lines)), "list", str(len(list_.lines))
        )
        return
    ordered, listed = (
        {line.line_no: line for line in order.lines},
        {line.line_no: line for line in list_.lines},
    )
    if ordered.keys() != listed.keys() or len(ordered) != len(order.lines):
        yield _differs(
            LINE_ITEMS,
            "lines[].line_no",
            "order",
            _numbers(order.lines),
            "list",
            _numbers(list_.lines),
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
                "order",
                _plain(left),
                "list",
                _plain(right),
            )


def _differs(
    code: str, field: str, left: Document, left_value: str, right: Document, right_value: str
) -> Mismatch:
    return Mismatch(
        code=code,
        field=field,
        left=Side(document=left, value=left_value),
        right=Side(document=right, value=right_value),
    )


def _plain(value: Decimal | str) -> str:
    return value if isinstance(value, str) else f"{value:f}"


def _numbers(lines: tuple[GoodsLine, ...]) -> str:
    return ",".join(str(line.line_no) for line in lines)
