"""Files of euro reference rates of the European Central Bank, in their two formats."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final

LONG: Final[Mapping[str, str]] = {
    "FREQ": "D",
    "CURRENCY_DENOM": "EUR",
    "EXR_TYPE": "SP00",
    "EXR_SUFFIX": "A",
}
"""The series of daily reference rates in the bank's data interface."""


FIRST_DAY: Final = date(1999, 1, 1)


LAST_DAY: Final = date(2099, 12, 31)


_RATE: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


_DAY: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")


_WRITTEN: Final = re.compile(r"([0-9]{1,2}) ([A-Z][a-z]{2,8}) ([0-9]{4})")
"""A day as eurofxref.csv has it: 13 April 2026."""


_MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


class NotRates(ValueError):
    """The file is not a rates file of the bank, or a line is wrong: line, field, actual,
    expected."""


def read_quotes(text: str) -> dict[date, dict[str, Decimal]]:
    """Return the rates by day of a file of the bank; raises NotRates.

    One format has a column for each currency (`eurofxref-hist.csv`, `eurofxref.csv`). The other,
    the bank's data interface, has a line for each rate.
    """
    rows = csv.reader(re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff")))
    try:
        head = [name.strip() for name in next(rows, [])]
        if "TIME_PERIOD" in head:
            return _days(_long(head, rows))
        if head[:1] == ["Date"]:
            return _days(_wide(head, rows))
    except csv.Error as error:
        raise NotRates(f"line {rows.line_num}: not CSV: {error}") from None
    expected = (
        "expected a file of the European Central Bank: Date,USD,JPY … or KEY,FREQ,CURRENCY … "
        "TIME_PERIOD,OBS_VALUE"
    )
    raise NotRates(f"line 1: found {', '.join(head)[:60]!r}, {expected}")


Quoted = tuple[int, date, str, Decimal]


def _days(quoted: Iterable[Quoted]) -> dict[date, dict[str, Decimal]]:
    rates_by_day: dict[date, dict[str, Decimal]] = {}
    for line, day, currency, rate in quoted:
        before = rates_by_day.setdefault(day, {}).setdefault(currency, rate)
        if before != rate:
            raise NotRates(
                f"line {line}: {currency} of {day}: found {rate}, expected {before} as before in "
                "the file (one_rate_a_day)"
            )
    if not rates_by_day:
        raise NotRates("the file: found no rate, expected at least one day of euro reference rates")
    return rates_by_day


def _full_rows(head: Sequence[str], rows: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of every line that is not empty, with its number; raises NotRates.

    Every line of the bank ends with a comma. A shorter line was cut off, and its last number too.
    """
    for number, row in enumerate(rows, 2):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != len(head):
            raise NotRates(
                f"line {number}: found {len(cells)} columns, expected {len(head)}, "
                "as many as the first line has"
            )
        yield number, cells


def _wide(head: Sequence[str], rows: Iterator[list[str]]) -> Iterator[Quoted]:
    named = [name for name in head if name]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise NotRates(f"line 1: found the column {twice} twice, expected each currency once")
    for number, cells in _full_rows(head, rows):
        day = _day(number, cells[0])
        for name, cell in zip(head[1:], cells[1:], strict=True):
            if name and cell not in ("", "N/A"):
                yield number, day, name, _rate(number, name, cell)


def _long(head: Sequence[str], rows: Iterator[list[str]]) -> Iterator[Quoted]:
    needed = ("CURRENCY", "TIME_PERIOD", "OBS_VALUE")
    if lacking := [name for name in needed if name not in head]:
        raise NotRates(f"line 1: found no column {lacking[0]}, expected {', '.join(needed)}")
    for number, row in _full_rows(head, rows):
        cells = dict(zip(head, row, strict=True))
        is_daily = all(cells.get(name, value) == value for name, value in LONG.items())
        if is_daily and cells["OBS_VALUE"] not in ("", "NaN"):
            rate = _rate(number, cells["CURRENCY"], cells["OBS_VALUE"])
            yield number, _day(number, cells["TIME_PERIOD"]), cells["CURRENCY"], rate


def _day(line: int, text: str) -> date:
    try:
        day = _as_day(text)
    except ValueError:
        day = date.min
    if not FIRST_DAY <= day <= LAST_DAY:
        raise NotRates(
            f"line {line}: Date: found {text[:40]!r}, expected a day from {FIRST_DAY} to "
            f"{LAST_DAY}, like 2026-11-18 (is_day)"
        )
    return day


def _as_day(text: str) -> date:
    if (written := _DAY.fullmatch(text)) is not None:
        return date(int(written[1]), int(written[2]), int(written[3]))
    if (written := _WRITTEN.fullmatch(text)) is not None and written[2] in _MONTHS:
        return date(int(written[3]), _MONTHS.index(written[2]) + 1, int(written[1]))
    raise ValueError(text)


def _rate(line: int, currency: str, text: str) -> Decimal:
    rate = Decimal(text) if _RATE.fullmatch(text) else Decimal(0)
    if rate <= 0:
        raise NotRates(
            f"line {line}: {currency}: found {text[:40]!r}, expected a number above zero, like "
            "1.0843 (is_rate)"
        )
    return rate
