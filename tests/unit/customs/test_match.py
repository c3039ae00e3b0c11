"""The three-document match: every rule, every absence, in every combination of what is there."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import product

import pytest

from services.customs.domain.match import match
from services.customs.domain.match_documents import (
    GoodsLine,
    ListDoc,
    OrderDoc,
    PaymentDoc,
    WaybillDoc,
)
from shared.money import Money


def cny(amount: str) -> Money:
    return Money.of(amount, "CNY")


LINES = (
    GoodsLine(1, "cherries", Decimal(2), Decimal("86.00"), Decimal("172.00"), "kg", "US"),
    GoodsLine(2, "gift bag", Decimal(1), Decimal(0), Decimal(0), "piece", "US"),
)
ORDER = OrderDoc(
    platform_code="1105910159", order_no="SHOP1-1", direction="import", goods_value=cny("172.00"),
    freight=cny("20.00"),
    insurance=cny("0.00"), tax_withheld=cny("12.10"), discount=cny("0.00"), amount_paid=cny("204.10"),
    buyer_id="id-1",
    buyer_name="zhang", buyer_phone="138", consignee_name="li", consignee_phone="139",
    consignee_address="road 1",
    lines=LINES, payment_enterprise="PAY1",
)  # fmt: skip
PAYMENT = PaymentDoc("1105910159", "SHOP1-1", cny("204.10"), "id-1", "zhang", "PAY1")
WAYBILL = WaybillDoc("EXP", "EX1", "li", "139", "road 1", "SHOP1-1")
LIST = ListDoc("1105910159", "SHOP1-1", "EXP", "EX1", LINES, "id-1", "zhang", "138", "road 1")


def test_documents_that_agree_match() -> None:
    verdict = match(ORDER, PAYMENT, WAYBILL, LIST)
    assert (verdict.matched, verdict.missing, verdict.mismatches) == (True, (), ())
    assert match(ORDER, PAYMENT, WAYBILL).matched


@pytest.mark.parametrize(
    ("order", "payment", "waybill", "list_"), [*product([False, True], repeat=4)]
)
def test_absence_waits_and_is_never_a_mismatch(
    order: bool, payment: bool, waybill: bool, list_: bool
) -> None:
    verdict = match(
        ORDER if order else None,
        PAYMENT if payment else None,
        WAYBILL if waybill else None,
        LIST if list_ else None,
    )
    there = {"order": order, "payment": payment, "waybill": waybill}
    assert verdict.missing == tuple(name for name, is_there in there.items() if not is_there)
    assert verdict.mismatches == ()
    assert verdict.matched is (order and payment and waybill)


@pytest.mark.parametrize(
    ("order", "payment", "waybill", "list_", "missing"),
    [
        (ORDER, replace(PAYMENT, order_no="OTHER"), WAYBILL, LIST, ("payment",)),
        (ORDER, replace(PAYMENT, platform_code="OTHER"), WAYBILL, None, ("payment",)),
        (ORDER, PAYMENT, replace(WAYBILL, order_no="OTHER"), None, ("waybill",)),
        (ORDER, PAYMENT, replace(WAYBILL, logistics_no="OTHER"), LIST, ("waybill",)),
        (ORDER, PAYMENT, replace(WAYBILL, logistics_code="OTHER"), LIST, ("waybill",)),
        (ORDER, PAYMENT, WAYBILL, replace(LIST, order_no="OTHER"), ("order", "payment")),
        (ORDER, PAYMENT, replace(WAYBILL, order_no=None), LIST, ()),
        (ORDER, PAYMENT, replace(WAYBILL, logistics_no=None), LIST, ()),
    ],
)
def test_a_document_of_another_order_does_not_exist_for_this_one(
    order: OrderDoc,
    payment: PaymentDoc,
    waybill: WaybillDoc,
    list_: ListDoc | None,
    missing: tuple[str, ...],
) -> None:
    verdict = match(order, payment, waybill, list_)
    assert (verdict.missing, verdict.mismatches, verdict.matched) == (missing, (), not missing)


CASES: list[tuple[OrderDoc, PaymentDoc, WaybillDoc, ListDoc, list[tuple[str, str]]]] = [
    (ORDER, replace(PAYMENT, amount_paid=cny("203.10")), WAYBILL, LIST, [("1332", "amount_paid")]),
    (ORDER, replace(PAYMENT, amount_paid=cny("204.11")), WAYBILL, LIST, [("1332", "amount_paid")]),
    (ORDER, replace(PAYMENT, amount_paid=Money.of("204.10", "USD")), WAYBILL, LIST, [("1332", "currency")]),
    (ORDER, replace(PAYMENT, payment_enterprise="PAY2"), WAYBILL, LIST, [("13035",
    "payment.enterprise_code")]),
    (replace(ORDER, payment_enterprise=None), PAYMENT, WAYBILL, LIST, []),
    (ORDER, replace(PAYMENT, payment_enterprise=None), WAYBILL, LIST, []),
    (ORDER, replace(PAYMENT, payer_id="id-2"), WAYBILL, LIST, [("47", "buyer.id_number")]),
    (ORDER, replace(PAYMENT, payer_name="wang"), WAYBILL, LIST, [("47", "buyer.name")]),
    (ORDER, replace(PAYMENT, payer_id=None, payer_name=None), WAYBILL, LIST, []),
    (replace(ORDER, buyer_authenticated=True), replace(PAYMENT, payer_id="id-2"), WAYBILL, LIST, []),
    (replace(ORDER, direction="export"), replace(PAYMENT, payer_id="id-2", payer_name="x"), WAYBILL, LIST,
    []),
    (ORDER, PAYMENT, replace(WAYBILL, consignee_name="x"), LIST, [("-503001", "consignee.name")]),
    (ORDER, PAYMENT, replace(WAYBILL, consignee_phone="x"), LIST, [("-503001", "consignee.phone")]),
    (ORDER, PAYMENT, replace(WAYBILL, consignee_address="x"), LIST, [("-503001", "consignee.address")]),
    (replace(ORDER, freight=cny("19.00")), PAYMENT, WAYBILL, LIST, [("-303001", "amount_composition")]),
    (replace(ORDER, discount=Money.zero("USD")), PAYMENT, WAYBILL, LIST, [("-303001", "currency")]),
    (ORDER, PAYMENT, WAYBILL, replace(LIST, buyer_name="x"), [("13127", "buyer.name")]),
    (ORDER, PAYMENT, WAYBILL, replace(LIST, buyer_id="x"), [("13127", "buyer.id_number")]),
    (ORDER, PAYMENT, WAYBILL, replace(LIST, buyer_phone="x"), [("130126", "buyer.phone")]),
    (ORDER, PAYMENT, WAYBILL, replace(LIST, consignee_address="x"), [("-503001", "consignee.address")]),
    (ORDER, PAYMENT, WAYBILL, replace(LIST, lines=LINES[:1]), [("1320", "lines")]),
    (ORDER, PAYMENT, WAYBILL, replace(LIST, lines=(LINES[0], replace(LINES[1], line_no=3))),
     [("1322", "lines[].line_no")]),
    (ORDER, PAYMENT, WAYBILL, replace(LIST, lines=(LINES[0], LINES[0])), [("1322", "lines[].line_no")]),
    (ORDER, PAYMENT, WAYBILL, replace(LIST, lines=(replace(LINES[0], name="pears"), LINES[1])),
     [("1322", "lines[1].name")]),
    (ORDER, PAYMENT, WAYBILL, replace(LIST, lines=(LINES[0], replace(LINES[1], origin="CN"))),
     [("1322", "lines[2].origin")]),
    (ORDER, PAYMENT, WAYBILL, replace(LIST, lines=(LINES[0], replace(LINES[1], quantity=Decimal(3),
    unit="kg"))),
     [("1322", "lines[2].quantity"), ("1322", "lines[2].unit")]),
    (ORDER, PAYMENT, WAYBILL, replace(LIST, lines=(LINES[1], LINES[0])), []),
    (ORDER, PAYMENT, WAYBILL, replace(LIST, lines=(replace(LINES[0], origin=None, unit=None), LINES[1])), []),
    (replace(ORDER, lines=(replace(LINES[0], total=Decimal("171.00")), LINES[1])), PAYMENT, WAYBILL,
     replace(LIST, lines=(replace(LINES[0], total=Decimal("171.00")), LINES[1])),
     [("-303001", "lines[1].total"), ("-303001", "goods_value")]),
]  # fmt: skip


@pytest.mark.parametrize(("order", "payment", "waybill", "list_", "expected"), CASES)
def test_inequality_is_a_mismatch_with_the_authoritys_code(
    order: OrderDoc,
    payment: PaymentDoc,
    waybill: WaybillDoc,
    list_: ListDoc,
    expected: list[tuple[str, str]],
) -> None:
    verdict = match(order, payment, waybill, list_)
    assert [(m.code, m.field) for m in verdict.mismatches] == expected
    assert verdict.missing == ()
    assert verdict.matched is (not expected)


@pytest.mark.parametrize("has_waybill", [False, True])
def test_a_mismatch_shows_before_the_last_document_is_there(has_waybill: bool) -> None:
    verdict = match(
        ORDER, replace(PAYMENT, amount_paid=cny("1.00")), WAYBILL if has_waybill else None
    )
    (found,) = verdict.mismatches
    assert (found.left.document, found.left.value) == ("order", "204.10")
    assert (found.right.document, found.right.value) == ("payment", "1.00")
    assert verdict.missing == (() if has_waybill else ("waybill",))
