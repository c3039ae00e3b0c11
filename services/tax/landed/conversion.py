"""Conversion of amounts to a destination's currency, by the table of exchange rates or by given
rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from services.tax.landed.charge_rules import Status
from services.tax.rulebook.exchange import ExchangeRates, RatePeriod
from shared.money import EXPONENTS, Money

GIVEN: Final = "given"
"""The name of a rule that came with the question and not from a file."""


class RuleUsed(NamedTuple):
    """A rule by its name, its source with the confidence, and whether sources agree."""

    id: str
    source: str
    status: Status


class NotKnown(Exception):
    """An amount cannot be computed without guessing: code, reason, and what to add."""

    def __init__(self, code: str, reason: str, ask: str) -> None:
        super().__init__(reason)
        self.told = (code, reason, ask)


def half_up(exact: Fraction) -> int:
    """Round half up; amounts are never negative."""
    return (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)


class Currencies:
    """Amounts in the corridor's currency, rounded half up to a minor unit; notes the rates used."""

    def __init__(
        self, to: str, on: date, rates: ExchangeRates | None, given: Mapping[str, Decimal]
    ) -> None:
        self.to = to
        self.on = on
        self.used: dict[str, RuleUsed] = {}
        self._rates = rates
        self._given = given

    def minor(self, amount: Money) -> int:
        """Return the amount in minor units; raises NotKnown where the day has no rate."""
        if amount.currency == self.to:
            return amount.minor
        factor = self._factor(amount.currency)
        if factor is None:
            reason = f"no exchange rate of {amount.currency} to {self.to} is known for {self.on}"
            ask = (
                f"give --rate {amount.currency}=…, one {amount.currency} in {self.to}, or add it "
                "to the rule file of exchange rates"
            )
            raise NotKnown("rate_missing", reason, ask)
        return half_up(amount.minor * factor)

    def local(self, amount: Money, currency: str) -> tuple[Money | None, list[str]]:
        if currency in {self.to, ""}:
            return None, []
        factor = self._factor(currency)
        if factor is None:
            return None, [
                (
                    f"no rate of {currency} is known for {self.on}: all amounts are in {self.to} "
                    f"(--rate {currency}=…)"
                )
            ]
        return Money(half_up(amount.minor / factor), currency), []

    def _factor(self, currency: str) -> Fraction | None:
        scale = Fraction(10 ** EXPONENTS[self.to], 10 ** EXPONENTS[currency])
        if currency in self._given:
            rule = f"{GIVEN}/rate/{currency}"
            self.used[rule] = RuleUsed(
                rule, "exchange rate as it was given (unverified)", "settled"
            )
            return Fraction(self._given[currency]) * scale
        one, other = self._in_cny(currency), self._in_cny(self.to)
        return None if one is None or other is None else one / other * scale

    def _in_cny(self, currency: str) -> Fraction | None:
        if currency == "CNY":
            return Fraction(1)
        periods: Sequence[RatePeriod] = () if self._rates is None else self._rates.period
        period = next((each for each in periods if each.is_on(self.on)), None)
        if self._rates is None or period is None or currency not in period.per_100:
            return None
        rule = f"{self._rates.id}/{currency}/{period.valid_from}"
        self.used[rule] = RuleUsed(rule, f"{period.source} ({period.confidence})", "settled")
        return Fraction(period.per_100[currency]) / 100
