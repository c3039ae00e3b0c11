"""A consignment in computation: its lines, its rules, and the charges so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from services.tax.landed.charge_rules import (
    ChargeKind,
    Collector,
    Status,
)
from services.tax.landed.conversion import Currencies, RuleUsed
from services.tax.landed.destination import (
    Destination,
    DestinationRegime,
)
from services.tax.rulebook.goods_lists import lists_that_may_have, lists_with
from shared.money import EXPONENTS, Money


@dataclass(frozen=True, slots=True)
class ShippedLine:
    """One line of goods, weight in kilograms; `duty_rate` and `vat_rate` replace rates no rule file
    has."""

    line_no: int
    hs_code: str
    origin: str
    quantity: Decimal
    total: Money
    weight_kg: Decimal
    duty_rate: Decimal | None = None
    vat_rate: Decimal | None = None


class ChargeOwed(NamedTuple):
    """A charge on some of the lines; `how` describes its computation."""

    kind: ChargeKind
    amount: Money
    collector: Collector
    lines: tuple[int, ...]
    rule: str
    status: Status
    how: str


@dataclass
class Calculation:
    """One consignment in computation: all amounts in minor units of the corridor's currency."""

    of: Destination
    regime: DestinationRegime
    channel: str
    country: str
    on: date
    lines: Sequence[ShippedLine]
    goods: Sequence[int]
    freight: int
    insurance: int
    earlier: int
    earlier_kg: Decimal
    currencies: Currencies
    rules: dict[str, RuleUsed] = field(default_factory=dict)
    paid: dict[ChargeKind, list[Fraction]] = field(default_factory=dict)

    def use(self, rule: str, source: str, confidence: str, status: Status) -> None:
        self.rules.setdefault(rule, RuleUsed(rule, f"{source} ({confidence})", status))

    def minor(self, amount: Decimal) -> Fraction:
        scale: int = 10 ** EXPONENTS[self.of.currency]
        return Fraction(amount) * scale

    def lists_of(self, i: int) -> frozenset[str]:
        return lists_with(self.of.lists, self.lines[i].hs_code, self.on)

    def unsure_of(self, i: int) -> frozenset[str]:
        return lists_that_may_have(self.of.lists, self.lines[i].hs_code, self.on)

    def part(self, i: int, name: str) -> Fraction:
        """Return a line's part of goods, of carriage shared by value, or of an earlier charge."""
        if name == "goods":
            return Fraction(self.goods[i])
        if name in ("freight", "insurance"):
            whole, total = (self.freight if name == "freight" else self.insurance), sum(self.goods)
            return (
                Fraction(whole * self.goods[i], total)
                if total
                else Fraction(whole, len(self.goods))
            )
        return next(
            (amounts[i] for kind, amounts in self.paid.items() if kind == name), Fraction(0)
        )
