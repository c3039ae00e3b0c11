"""The European Central Bank's public files of euro reference rates, and the periods of our table that follow from them.

Customs uses for a month the rates of the third Wednesday of the month before (GACC Order 124 art. 16, kept by Order 272). The bank's
rates of that day, or of the next one with rates if it had none, are crossed over the euro.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from services.tax.rulebook.exchange import RatePeriod

Quotes = Mapping[str, Decimal]
"""What one euro is on a day, by currency."""

PEGS: Final[Mapping[str, Decimal]] = {
    "BHD": Decimal("0.376"),
    "AED": Decimal("3.6725"),
    "SAR": Decimal("3.75"),
}
"""What a dollar is in currencies that are pegged to it, of which the bank has no rates."""
NEAR: Final = timedelta(days=7)
"""A day without rates is a holiday if the file has rates within so many days before it and after it."""
LONG: Final[Mapping[str, str]] = {
    "FREQ": "D",
    "CURRENCY_DENOM": "EUR",
    "EXR_TYPE": "SP00",
    "EXR_SUFFIX": "A",
}
"""The daily reference rates among the series of the bank's data interface."""
PER_100_MIN, PER_100_MAX = Decimal("0.0001"), Decimal(1_000_000)
"""What 100 units of a currency may be worth in CNY: the rial of Iran is near the one end, the dinar of Kuwait far from the other."""
REMEMBERED: Final = 12
"""A currency of the last so many periods is looked for in the next one, though the period between them lacks it."""
FIRST, LAST = date(1999, 1, 1), date(2099, 12, 31)
_RATE: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_DAY: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_WRITTEN: Final = re.compile(r"([0-9]{1,2}) ([A-Z][a-z]{2,8}) ([0-9]{4})")
"""A day as eurofxref.csv has it: 13 April 2026."""
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip


class NotRates(ValueError):
    """A file is none of the bank's, or a line of it is wrong: line, field, found, expected."""


class Missing(LookupError):
    """The file does not reach the day that a month's rates are of."""


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
    """The rates of a month by the bank's of a day: what 100 units of each currency are in CNY; `lacking` are currencies of the table of
    which the bank has no rate that day."""

    month: Month
    of: date
    per_100: Mapping[str, str]
    lacking: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        return f"ECB euro reference rates of {self.of}, crossed over the euro; BHD, AED and SAR by their pegs to the dollar"


def rates_day(month: Month) -> date:
    """The third Wednesday of the month before: the day whose rates a month has."""
    before = Month.of(month.first - timedelta(days=1)).first
    return before + timedelta(days=(2 - before.weekday()) % 7 + 14)


def read_quotes(text: str) -> dict[date, dict[str, Decimal]]:
    """The rates by day of a file as the bank gives it: one column a currency (`eurofxref-hist.csv`, `eurofxref.csv`), or one line a
    rate (its data interface). Raises NotRates."""
    rows = csv.reader(re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff")))
    try:
        head = [name.strip() for name in next(rows, [])]
        if "TIME_PERIOD" in head:
            return _days(_long(head, rows))
        if head[:1] == ["Date"]:
            return _days(_wide(head, rows))
    except csv.Error as error:
        raise NotRates(f"line {rows.line_num}: not CSV: {error}") from None
    expected = "expected a file of the European Central Bank: Date,USD,JPY … or KEY,FREQ,CURRENCY … TIME_PERIOD,OBS_VALUE"
    raise NotRates(f"line 1: found {', '.join(head)[:60]!r}, {expected}")


Quoted = tuple[int, date, str, Decimal]


def _days(quoted: Iterable[Quoted]) -> dict[date, dict[str, Decimal]]:
    found: dict[date, dict[str, Decimal]] = {}
    for line, day, currency, rate in quoted:
        before = found.setdefault(day, {}).setdefault(currency, rate)
        if before != rate:
            raise NotRates(
                f"line {line}: {currency} of {day}: found {rate}, expected {before} as before in the file (one_rate_a_day)"
            )
    if not found:
        raise NotRates("the file: found no rate, expected at least one day of euro reference rates")
    return found


def _wide(head: Sequence[str], rows: Iterator[list[str]]) -> Iterator[Quoted]:
    named = [name for name in head if name]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise NotRates(f"line 1: found the column {twice} twice, expected each currency once")
    for number, row in enumerate(rows, 2):
        if not any(cell.strip() for cell in row):
            continue
        # Every line of the bank's ends with a comma; one that is shorter was cut off, and its last number with it.
        if len(row) != len(head):
            raise NotRates(
                f"line {number}: found {len(row)} columns, expected {len(head)}, as many as the first line has"
            )
        day = _day(number, row[0].strip())
        for name, cell in zip(head[1:], row[1:], strict=True):
            if name and cell.strip() not in ("", "N/A"):
                yield number, day, name, _rate(number, name, cell.strip())


def _long(head: Sequence[str], rows: Iterator[list[str]]) -> Iterator[Quoted]:
    needed = ("CURRENCY", "TIME_PERIOD", "OBS_VALUE")
    if lacking := [name for name in needed if name not in head]:
        raise NotRates(f"line 1: found no column {lacking[0]}, expected {', '.join(needed)}")
    for number, row in enumerate(rows, 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(head):
            raise NotRates(
                f"line {number}: found {len(row)} columns, expected {len(head)}, as many as the first line has"
            )
        found = dict(zip(head, (cell.strip() for cell in row), strict=True))
        is_daily = all(found.get(name, value) == value for name, value in LONG.items())
        if is_daily and found["OBS_VALUE"] not in ("", "NaN"):
            rate = _rate(number, found["CURRENCY"], found["OBS_VALUE"])
            yield number, _day(number, found["TIME_PERIOD"]), found["CURRENCY"], rate


def _day(line: int, text: str) -> date:
    try:
        day = _as_day(text)
    except ValueError:
        day = date.min
    if not FIRST <= day <= LAST:
        raise NotRates(
            f"line {line}: Date: found {text[:40]!r}, expected a day from {FIRST} to {LAST}, like 2026-11-18 (is_day)"
        )
    return day


def _as_day(text: str) -> date:
    if (found := _DAY.fullmatch(text)) is not None:
        return date(int(found[1]), int(found[2]), int(found[3]))
    if (found := _WRITTEN.fullmatch(text)) is not None and found[2] in _MONTHS:
        return date(int(found[3]), _MONTHS.index(found[2]) + 1, int(found[1]))
    raise ValueError(text)


def _rate(line: int, currency: str, text: str) -> Decimal:
    rate = Decimal(text) if _RATE.fullmatch(text) else Decimal(0)
    if rate <= 0:
        raise NotRates(
            f"line {line}: {currency}: found {text[:40]!r}, expected a number above zero, like 1.0843 (is_rate)"
        )
    return rate


def day_for(month: Month, quotes: Mapping[date, Quotes]) -> date:
    """The day in a file whose rates a month has; raises Missing where the file does not tell."""
    wanted = rates_day(month)
    if wanted in quotes:
        return wanted
    before = [day for day in quotes if wanted - NEAR <= day < wanted]
    after = [day for day in quotes if wanted < day <= wanted + NEAR]
    if not before or not after:
        reach = f"{min(quotes)} to {max(quotes)}"
        more = ": eurofxref-hist.csv has every day" if len(quotes) == 1 else ""
        raise Missing(
            f"{month} has the rates of {wanted}, the third Wednesday of the month before; the file has days from {reach}{more}"
        )
    return min(after)


def period_of(month: Month, quotes: Mapping[date, Quotes], currencies: Sequence[str]) -> Period:
    """A month's rates of these currencies from a file; raises Missing, or NotRates where that day has no rate of CNY or USD."""
    day = day_for(month, quotes)
    per_100 = crossed(day, quotes[day], currencies)
    return Period(month, day, per_100, tuple(name for name in currencies if name not in per_100))


def crossed(day: date, of_day: Quotes, currencies: Iterable[str]) -> dict[str, str]:
    """What 100 units of each currency are in CNY by a day's euro rates, as far as the day has them; raises NotRates without CNY or
    USD."""
    for needed in ("CNY", "USD"):
        if needed not in of_day:
            raise NotRates(f"{needed} of {day}: found nothing, expected its rate")
    euro = Fraction(of_day["CNY"]) * 100
    worth = {"EUR": euro} | {name: euro / Fraction(rate) for name, rate in of_day.items()}
    worth |= {name: worth["USD"] / Fraction(peg) for name, peg in PEGS.items() if name not in worth}
    found = {name: _rounded(worth[name]) for name in currencies if name in worth}
    for name, rate in found.items():
        if not PER_100_MIN <= Decimal(rate) <= PER_100_MAX:
            expected = f"from {PER_100_MIN} to {PER_100_MAX}, as any currency is"
            raise NotRates(
                f"{name} of {day}: found 100 of it worth {rate} CNY, expected {expected} (is_rate)"
            )
    return found


def _rounded(exact: Fraction) -> str:
    """Half up to four decimals, or to as many more as four figures need."""
    whole = Decimal(exact.numerator) / Decimal(exact.denominator)
    places = max(4, 3 - whole.adjusted())
    return str(whole.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def upside_down(before: Mapping[str, Decimal], period: Period) -> str | None:
    """A currency that a month's rates have more than twice or less than half of those before, as no month has had; or None."""
    for name, rate in period.per_100.items():
        if (
            name in before
            and not Fraction(1, 2) <= Fraction(Decimal(rate)) / Fraction(before[name]) <= 2
        ):
            return name
    return None


def jumps(before: Mapping[str, Decimal], period: Period) -> list[str]:
    """Currencies that a month's rates have a fifth more or less of than those before: a person should look at these."""
    then = {name: Fraction(rate) for name, rate in before.items()}
    now = {name: Fraction(Decimal(rate)) for name, rate in period.per_100.items()}
    return [
        name
        for name, rate in now.items()
        if name in then and not Fraction(5, 6) <= rate / then[name] <= Fraction(6, 5)
    ]


def next_periods(table: Sequence[RatePeriod], quotes: Mapping[date, Quotes]) -> list[Period]:
    """The periods that follow in a table, as many as a file has, in the table's currencies; one that was carried over is made anew.

    Raises Missing where the file does not have the very next one.
    """
    settled = [period for period in table if not period.carried_over]
    last = max(settled, key=lambda period: period.valid_from)
    if last.valid_to is None:
        raise Missing(
            f"the rates from {last.valid_from} hold without a last day: give that period its valid_to first"
        )
    month = Month.of(last.valid_to + timedelta(days=1))
    lately = sorted(settled, key=lambda period: period.valid_from, reverse=True)[:REMEMBERED]
    currencies = tuple(dict.fromkeys(name for period in lately for name in period.per_100))
    found = [period_of(month, quotes, currencies)]
    while True:
        month = month.next
        try:
            found.append(period_of(month, quotes, currencies))
        except Missing:
            break
    _plausible(last.per_100, found)
    return found


def _plausible(before: Mapping[str, Decimal], periods: Iterable[Period]) -> None:
    for period in periods:
        name = upside_down(before, period)
        if name is not None:
            found = f"100 of it worth {period.per_100[name]} CNY, {before[name]} the month before"
            raise NotRates(
                f"{name} of {period.of}: found {found}, expected at most twice and at least half of that (is_rate): "
                "if it is so, write the period by hand"
            )
        before = {**before, **{of: Decimal(rate) for of, rate in period.per_100.items()}}
