"""Rules of an order's amounts and their sums."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from services.orders.intake.check import Check
from shared.money import EXPONENTS

AMOUNT_MAX: Final = Decimal(1_000_000_000)
"""Upper bound of amounts (major units), prices and quantities: no policy, only a plausible
order."""


ZERO: Final = Decimal(0)


_HEAD_AMOUNTS: Final = (
    "goods_value",
    "freight",
    "insurance",
    "discount",
    "tax_withheld",
    "amount_paid",
)


_STEPS: Final = {exponent: Decimal(1).scaleb(-exponent) for exponent in set(EXPONENTS.values())}
"""The smallest amount of a currency in major units, by its number of decimals."""


def check_amounts(check: Check) -> None:
    order = check.order
    for field in _HEAD_AMOUNTS:
        check_amount(check, field, getattr(order, field))
    for field, amount in (("goods_value", order.goods_value), ("amount_paid", order.amount_paid)):
        if amount == ZERO:
            check.refuse(field, "positive", "0", "more than 0")


def check_amount(check: Check, field: str, amount: Decimal) -> None:
    if amount < ZERO:
        check.refuse(field, "not_negative", f"{amount:f}", "0 or more")
    elif amount > AMOUNT_MAX:
        check.refuse(field, "amount_max", f"{amount:f}", f"at most {AMOUNT_MAX}")
    exponent = EXPONENTS.get(check.order.currency)
    if exponent is not None and amount != amount.quantize(_STEPS[exponent]):
        check.refuse(
            field,
            "decimals",
            f"{amount:f}",
            f"at most {exponent} decimals in {check.order.currency}",
            ("currency",),
        )


def check_sums(check: Check) -> None:
    order = check.order
    total = sum((line.total for line in order.lines), ZERO)
    if order.goods_value != total:
        check.refuse(
            "goods_value",
            "sum_of_lines",
            f"{order.goods_value:f}",
            f"{total:f}",
            ("lines", "lines[*]", "lines[*].total"),
        )
    paid = order.goods_value + order.freight + order.insurance + order.tax_withheld - order.discount
    if order.amount_paid != paid:
        check.refuse(
            "amount_paid",
            "amount_composition",
            f"{order.amount_paid:f}",
            f"{paid:f}",
            _HEAD_AMOUNTS,
        )
