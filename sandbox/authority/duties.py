"""Taxes of a released list by the authority's own reading of the law: combined-rate formula, own
tariff.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

_TARIFF: Final = tomllib.loads(Path(__file__).with_name("tariff.toml").read_text(encoding="utf-8"))
_CONTENT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ml|g|piece)\b")


@dataclass(frozen=True, slots=True)
class LineTax:
    """The taxes of one line, in fen."""

    number: int
    code: str
    value: int
    duty: int
    consumption: int
    vat: int

    @property
    def total(self) -> int:
        return self.duty + self.consumption + self.vat


class NoRate(LookupError):
    """The tariff has no rate for these goods, so they cannot be billed."""


def taxes_of(body: Mapping[str, Any]) -> list[LineTax]:
    """Return the taxes of a list as declared; raise NoRate.

    Within an order's limit 70 % of VAT and consumption tax are due (财税[2018]49号).
    One piece above the limit owes all of both, and duty.
    The dutiable value of a line is its price with its share of freight and insurance.
    Each tax is rounded half up to the fen.
    """
    lines = body["lines"]
    values = _dutiable(lines, _fen(body["freight"]) + _fen(body["insured"]))
    limit = _fen(_TARIFF["retail"]["single_limit"])
    full = sum(values) > limit and len(lines) == 1 and Decimal(lines[0]["quantity"]) == 1
    return [_taxes(line, value, full=full) for line, value in zip(lines, values, strict=True)]


def part_of(line: LineTax, part: Fraction) -> LineTax:
    """Return value and taxes of part of a line's goods, each rounded half up to the fen."""
    value, duty, consumption, vat = (
        _half_up(x * part) for x in (line.value, line.duty, line.consumption, line.vat)
    )
    return LineTax(line.number, line.code, value, duty, consumption, vat)


def _taxes(line: Mapping[str, Any], value: int, *, full: bool) -> LineTax:
    rate = _rate(line["code"])
    consumption = (
        Fraction(rate["consumption"]) if _owes_consumption_tax(line, value, rate) else Fraction(0)
    )
    vat, duty, share = Fraction(rate["vat"]), Fraction(0), Fraction(_TARIFF["retail"]["share"])
    if full:
        if "duty" not in rate:
            raise NoRate(line["code"])
        duty, share = Fraction(rate["duty"]), Fraction(1)
    # The combined rate of value and duty is (c + v) / (1 - c): c is consumption tax, v is VAT.
    base = value * (1 + duty) / (1 - consumption) * share
    return LineTax(
        line["number"],
        line["code"],
        value,
        _half_up(value * duty),
        _half_up(base * consumption),
        _half_up(base * vat),
    )


def _rate(code: str) -> Mapping[str, Any]:
    for digits in (10, 8, 6, 4):
        if rate := _TARIFF["rates"].get(code[:digits]):
            return dict(rate)
    raise NoRate(code)


def _owes_consumption_tax(line: Mapping[str, Any], value: int, rate: Mapping[str, Any]) -> bool:
    """Return whether consumption tax is due: always, or from a value per unit or net content
    (财税[2016]103号).
    """
    above = rate.get("above")
    if "consumption" not in rate or above is None:
        return "consumption" in rate
    quantity = Fraction(line["quantity"])
    if "unit" in above:
        return value >= _fen(above["unit"]) * quantity
    content = _CONTENT.search(str(line.get("model", "")))
    if content is None:
        raise NoRate(line["code"])
    return value >= _fen(above[content[2]]) * quantity * Fraction(content[1])


def _dutiable(lines: Sequence[Mapping[str, Any]], carriage: int) -> list[int]:
    """Share `carriage` among the lines by price.

    The last fen go to the largest remainders, then to lower numbers.
    """
    prices = [_fen(line["total"]) for line in lines]
    total = sum(prices)
    if not total:
        return prices
    shares = [divmod(carriage * price, total) for price in prices]
    left = carriage - sum(whole for whole, _ in shares)
    ranked = sorted(range(len(lines)), key=lambda i: (-shares[i][1], int(lines[i]["number"])))
    return [
        price + whole + (i in ranked[:left])
        for i, (price, (whole, _)) in enumerate(zip(prices, shares, strict=True))
    ]


def _half_up(amount: Fraction) -> int:
    return int(amount + Fraction(1, 2))


@lru_cache(maxsize=1024)
def _fen(amount: str) -> int:
    return int(Decimal(amount) * 100)
