"""The part of a payment that belongs to returned goods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from services.payments.domain import ledger
from shared.events.customs import ReturnedLine
from shared.money import Money, part_between, share_by_largest_remainder


def refundable(
    captured: Money, tax_withheld: Money, lines: Sequence[ReturnedLine]
) -> tuple[Money, Money]:
    """Return the merchant's and the tax office's part of the capture for the goods of one
    return.

    The price with freight, insurance and discount is shared over the lines by their prices.
    Withheld tax is shared by the tax assessed on each line, or by price if none was. Both use the
    largest remainder. A line is shared by quantity, each return from where the last one ended. So
    the returns of an order sum to what was captured, to the fen.
    """
    goods, tax = ledger.shares(captured, tax_withheld)
    taxes = [line.tax.minor for line in lines]
    prices = [line.total.minor for line in lines]
    return _part(goods, prices, lines), _part(tax, taxes if sum(taxes) else prices, lines)


def _part(whole: Money, weights: Sequence[int], lines: Sequence[ReturnedLine]) -> Money:
    shares = share_by_largest_remainder(whole.minor, weights)
    back = sum(
        part_between(share, line.returned_before, line.returned, line.ordered)
        for share, line in zip(shares, lines, strict=True)
    )
    return Money(back, whole.currency)


def tax_still_withheld(left: Money, lines: Sequence[ReturnedLine]) -> Money:
    """Return the part of the still withheld tax that belongs to the goods of one return.

    If customs billed less, the difference was refunded on the goods still sold then. `left` is what
    was withheld, less that and less the tax of earlier returns. It is shared over the goods still
    sold by the tax assessed on them, or by price if none was. The last return takes the rest.
    """
    sold = [line.ordered - line.returned_before for line in lines]
    assessed = any(line.tax.minor for line in lines)
    weights = _scaled(
        [
            Fraction(line.tax.minor if assessed else line.total.minor)
            * Fraction(rest)
            / Fraction(line.ordered)
            for line, rest in zip(lines, sold, strict=True)
        ]
    )
    if left.minor <= 0 or not sum(weights):
        return Money.zero(left.currency)
    shares = share_by_largest_remainder(left.minor, weights)
    back = sum(
        part_between(share, Decimal(0), line.quantity, rest)
        for share, line, rest in zip(shares, lines, sold, strict=True)
        if rest > 0
    )
    return Money(back, left.currency)


def _scaled(weights: Sequence[Fraction]) -> list[int]:
    common = math.lcm(*(weight.denominator for weight in weights))
    return [int(weight * common) for weight in weights]
