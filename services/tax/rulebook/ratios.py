"""Exact ratios of taxes to a dutiable value."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import NamedTuple


class Ratio(NamedTuple):
    """An exact share of a dutiable value."""

    numerator: int
    denominator: int

    def of(self, minor: int) -> int:
        """Return the share in minor units, rounded half up; values are never negative."""
        return (2 * minor * self.numerator + self.denominator) // (2 * self.denominator)


class Owed(NamedTuple):
    """What a line owes, each as a share of its dutiable value."""

    duty: Ratio
    consumption_tax: Ratio
    vat: Ratio


def ratio(rate: Decimal) -> Ratio:
    exact = Fraction(rate)
    return Ratio(exact.numerator, exact.denominator)


@cache
def owed(
    duty: Decimal,
    consumption: Decimal,
    vat: Decimal,
    consumption_share: Decimal,
    vat_share: Decimal,
) -> Owed:
    """Return exact shares of a dutiable value from the rates d, c and v.

    Sources: Import tax law; 财税[2016]18号 for the shares. Duty = DV d. Consumption tax = (DV
    + duty) c / (1 - c), since it is part of its own base. VAT = (DV + duty + consumption
    tax) v. Its base holds the whole consumption tax even where only a share of it is
    levied.
    """
    d, c, v = Fraction(duty), Fraction(consumption), Fraction(vat)
    base = (1 + d) / (1 - c)
    return Owed(
        *(
            Ratio(x.numerator, x.denominator)
            for x in (d, base * c * Fraction(consumption_share), base * v * Fraction(vat_share))
        )
    )


def fen(amount: Decimal) -> int:
    """Return an amount of a rule file in fen; it has at most two decimals."""
    return int(amount * 100)
