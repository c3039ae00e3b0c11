"""Exchange rates: a dated table, and the conversion of amounts to CNY."""

from __future__ import annotations

from bisect import bisect_right
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, StrictBool, field_validator, model_validator

from services.tax.rulebook.rows import Dated, Id, Row, RuleFault, Version, decimal_string
from services.tax.rulebook.rule_periods import check_periods, faults_of
from shared.money import EXPONENTS, Money

PerHundred = Annotated[
    Decimal, BeforeValidator(decimal_string), Field(gt=0, max_digits=15, allow_inf_nan=False)
]


class RatePeriod(Dated):
    """What 100 units of each currency are worth from a first to a last day.

    `carried_over`: rates of an earlier day stand in until those of the right day are imported.
    """

    carried_over: StrictBool = False
    per_100: dict[str, PerHundred] = Field(min_length=1)

    @field_validator("per_100")
    @classmethod
    def _known(cls, rates: dict[str, Decimal]) -> dict[str, Decimal]:
        for currency in rates:
            if currency not in EXPONENTS or currency == "CNY":
                raise ValueError(
                    f"currency {currency!r} is unknown; expected a code of ISO 4217 other than CNY"
                )
        return rates


class ExchangeRates(Row):
    """The rates by which amounts of other currencies are counted in CNY."""

    kind: Literal["exchange-rates"]
    id: Id
    version: Version
    to: Literal["CNY"]
    period: tuple[RatePeriod, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _carried_over_last(self) -> ExchangeRates:
        last = max(period.valid_from for period in self.period)
        for index, period in enumerate(self.period):
            if period.carried_over and period.valid_from != last:
                raise RuleFault(
                    "period",
                    index,
                    "only the last period may be carried over: import the rates of the days "
                    "between",
                )
        return self


class RateMissing(LookupError):
    """There is no rate of this currency for this day."""

    def __init__(self, currency: str, day: date) -> None:
        super().__init__(
            f"no exchange rate of {currency} to CNY is known for {day}: add it to the rule file of "
            "exchange rates"
        )
        self.currency = currency
        self.day = day


class Rate:
    """An exact rate from minor units of a currency to fen, and the name of its rule."""

    __slots__ = ("_denominator", "_numerator", "currency", "rule")

    def __init__(self, currency: str, per_100: Decimal, rule: str) -> None:
        exact = Fraction(per_100) / 100 * 100 / 10 ** EXPONENTS[currency]
        self.currency: Final = currency
        self.rule: Final = rule
        self._numerator, self._denominator = exact.numerator, exact.denominator

    def convert(self, amount: Money) -> Money:
        """Return the amount in CNY, rounded half up; currencies have 0 to 3 decimals (ISO 4217)."""
        assert amount.currency == self.currency
        return Money(
            (2 * amount.minor * self._numerator + self._denominator) // (2 * self._denominator),
            "CNY",
        )


class Exchange:
    """The rates in force on a day."""

    def __init__(self, rates: ExchangeRates | None) -> None:
        """Raise RuleFault where periods overlap or leave a gap."""
        self.rates: Final = rates
        self._periods: Final = (
            sorted(rates.period, key=lambda period: period.valid_from) if rates is not None else []
        )
        self._starts: Final = [period.valid_from for period in self._periods]
        if rates is not None:
            with faults_of(rates.id):
                check_periods("period", "the rates", list(enumerate(rates.period)))

    def rate(self, currency: str, day: date) -> Rate:
        """Return the rate to CNY on the day the declaration is completed; raises RateMissing.

        GACC Order 272 (December 2024): rate and exchange rate of the day the declaration is
        completed.
        """
        at = bisect_right(self._starts, day)
        period = self._periods[at - 1] if at else None
        if (
            self.rates is None
            or period is None
            or not period.is_on(day)
            or currency not in period.per_100
        ):
            raise RateMissing(currency, day)
        return Rate(
            currency, period.per_100[currency], f"{self.rates.id}/{currency}/{period.valid_from}"
        )
