"""Euro reference rates of the European Central Bank, and the periods of our table that follow.

Customs uses for a month the rates of the third Wednesday of the month before (GACC Order 124 art.
16, kept by Order 272). If the bank had no rates that day, those of its next day count. They are
crossed over the euro.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from services.tax.rulebook.ecb_files import NotRates
from services.tax.rulebook.exchange import RatePeriod

Quotes = Mapping[str, Decimal]
"""The value of one euro by currency, by day."""

PEGS: Final[Mapping[str, Decimal]] = {
    "BHD": Decimal("0.376"),
    "AED": Decimal("3.6725"),
    "SAR": Decimal("3.75"),
}
"""The value of a dollar in currencies pegged to it, which the bank has no rates of."""
NEAR: Final = timedelta(days=7)
"""A day without rates is a holiday if the file has rates within this many days before and after it.
"""
PER_100_MIN, PER_100_MAX = Decimal("0.0001"), Decimal(1_000_000)
"""Bounds of 100 units of a currency in CNY: between the rial of Iran and beyond the dinar of
Kuwait."""
REMEMBERED: Final = 12
"""A currency of this many last periods is looked up in the next one, even if a period between lacks
it."""


class Missing(LookupError):
    """The file does not reach the day whose rates a month needs."""


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month."""

    year: int
    number: int

    @classmethod
    def of(cls, day: date) -> Month:
        return cls(day.year, day.month)

    @property
    def first(self) -> date:
        return date(self.year, self.number, 1)

    @property
    def last(self) -> date:
        return self.next.first - timedelta(days=1)

    @property
    def next(self) -> Month:
        return Month(self.year + self.number // 12, self.number % 12 + 1)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"


class Period(NamedTuple):
    """The rates of a month: what 100 units of each currency are in CNY.

    `lacking` are currencies of the table that the bank has no rate of that day.
    """

    month: Month
    of: date
    per_100: Mapping[str, str]
    lacking: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        return (
            f"ECB euro reference rates of {self.of}, crossed over the euro; BHD, AED and SAR by "
            "their pegs to the dollar"
        )


def rates_day(month: Month) -> date:
    """Return the third Wednesday of the month before: the day whose rates a month has."""
    before = Month.of(month.first - timedelta(days=1)).first
    return before + timedelta(days=(2 - before.weekday()) % 7 + 14)


def day_for(month: Month, quotes: Mapping[date, Quotes]) -> date:
    """Return the day in a file whose rates a month has; raises Missing where the file does not
    reach it."""
    wanted = rates_day(month)
    if wanted in quotes:
        return wanted
    before = [day for day in quotes if wanted - NEAR <= day < wanted]
    after = [day for day in quotes if wanted < day <= wanted + NEAR]
    if not before or not after:
        reach = f"{min(quotes)} to {max(quotes)}"
        more = ": eurofxref-hist.csv has every day" if len(quotes) == 1 else ""
        raise Missing(
            f"{month} has the rates of {wanted}, the third Wednesday of the month before; the file "
            f"has days from {reach}{more}"
        )
    return min(after)


def period_of(month: Month, quotes: Mapping[date, Quotes], currencies: Sequence[str]) -> Period:
    """Return a month's rates of these currencies.

    Raises Missing, or NotRates where that day has no rate of CNY or USD.
    """
    day = day_for(month, quotes)
    per_100 = cross_rates(day, quotes[day], currencies)
    return Period(month, day, per_100, tuple(name for name in currencies if name not in per_100))


def cross_rates(day: date, of_day: Quotes, currencies: Iterable[str]) -> dict[str, str]:
    """Return what 100 units of each currency are in CNY by a day's euro rates; leave out unknown
    ones.

    Raises NotRates without CNY or USD.
    """
    for needed in ("CNY", "USD"):
        if needed not in of_day:
            raise NotRates(f"{needed} of {day}: found nothing, expected its rate")
    euro = Fraction(of_day["CNY"]) * 100
    worth = {"EUR": euro} | {name: euro / Fraction(rate) for name, rate in of_day.items()}
    worth |= {name: worth["USD"] / Fraction(peg) for name, peg in PEGS.items() if name not in worth}
    rates = {name: _rounded(worth[name]) for name in currencies if name in worth}
    for name, rate in rates.items():
        if not PER_100_MIN <= Decimal(rate) <= PER_100_MAX:
            expected = f"from {PER_100_MIN} to {PER_100_MAX}, as any currency is"
            raise NotRates(
                f"{name} of {day}: found 100 of it worth {rate} CNY, expected {expected} (is_rate)"
            )
    return rates


def _rounded(exact: Fraction) -> str:
    """Round half up to four decimals, or to as many more as four figures need."""
    whole = Decimal(exact.numerator) / Decimal(exact.denominator)
    places = max(4, 3 - whole.adjusted())
    return str(whole.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def inverted_rate(before: Mapping[str, Decimal], period: Period) -> str | None:
    """Return a currency whose rate more than doubled or halved from the period before, or None.

    No month had such a change, so the file is probably inverted.
    """
    for name, rate in period.per_100.items():
        if (
            name in before
            and not Fraction(1, 2) <= Fraction(Decimal(rate)) / Fraction(before[name]) <= 2
        ):
            return name
    return None


def large_changes(before: Mapping[str, Decimal], period: Period) -> list[str]:
    """Return currencies whose rate changed by a fifth or more, for a person to check."""
    then = {name: Fraction(rate) for name, rate in before.items()}
    now = {name: Fraction(Decimal(rate)) for name, rate in period.per_100.items()}
    return [
        name
        for name, rate in now.items()
        if name in then and not Fraction(5, 6) <= rate / then[name] <= Fraction(6, 5)
    ]


def next_periods(table: Sequence[RatePeriod], quotes: Mapping[date, Quotes]) -> list[Period]:
    """Return the periods after a table's last one, in its currencies, as far as the file goes.

    A period that was carried over is made anew. Raises Missing where the file lacks the very next
    one.
    """
    settled = [period for period in table if not period.carried_over]
    last = max(settled, key=lambda period: period.valid_from)
    if last.valid_to is None:
        raise Missing(
            f"the rates from {last.valid_from} hold without a last day: give that period its "
            "valid_to first"
        )
    month = Month.of(last.valid_to + timedelta(days=1))
    lately = sorted(settled, key=lambda period: period.valid_from, reverse=True)[:REMEMBERED]
    currencies = tuple(dict.fromkeys(name for period in lately for name in period.per_100))
    periods = [period_of(month, quotes, currencies)]
    while True:
        month = month.next
        try:
            periods.append(period_of(month, quotes, currencies))
        except Missing:
            break
    _plausible(last.per_100, periods)
    return periods


def _plausible(before: Mapping[str, Decimal], periods: Iterable[Period]) -> None:
    for period in periods:
        name = inverted_rate(before, period)
        if name is not None:
            actual = f"100 of it worth {period.per_100[name]} CNY, {before[name]} the month before"
            raise NotRates(
                f"{name} of {period.of}: found {actual}, expected at most twice and at least half "
                "of that (is_rate): "
                "if it is so, write the period by hand"
            )
        before = {**before, **{of: Decimal(rate) for of, rate in period.per_100.items()}}
