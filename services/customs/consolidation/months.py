"""Calendar months of closed export lists, and the last day to consolidate them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from shared.clock import BEIJING, BEIJING_S

DAY_S: Final = 86_400.0
REHEARSED_DAYS: Final = 30
"""Days of every month where a day lasts less than 86,400 seconds, to rehearse the law's periods."""

IsWorkingDay = Callable[[date], bool]


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in Beijing, from `begins` up to `ends`. Its label is `2026-11`; rehearsed,
    its first moment.
    """

    label: str
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class SummaryTerms:
    """How lists of a month are consolidated, for months that end on or after `valid_from`.

    `due_day`: the last day of the following month, or the next working day. `lines_max`: lines of
    one declaration. `hs_digits`: digits of the tariff code that tell lines apart.
    """

    valid_from: date
    due_day: int
    lines_max: int
    hs_digits: int
    source: str


def month_of(at: datetime, day_s: float = DAY_S) -> Month:
    if day_s >= DAY_S:
        day = at.astimezone(BEIJING)
        begins = datetime(day.year, day.month, 1, tzinfo=BEIJING)
        return Month(f"{begins:%Y-%m}", begins, (begins + timedelta(days=32)).replace(day=1))
    length = REHEARSED_DAYS * day_s
    number = (at.timestamp() + BEIJING_S) // length
    begins, ends = (
        datetime.fromtimestamp(n * length - BEIJING_S, BEIJING) for n in (number, number + 1)
    )
    return Month(begins.isoformat(timespec="milliseconds"), begins, ends)


def terms_on(terms: Sequence[SummaryTerms], month: Month) -> SummaryTerms | None:
    fitting = [each for each in terms if each.valid_from <= month.ends.date()]
    return fitting[-1] if fitting else None


def due_at(
    month: Month, terms: SummaryTerms, is_working_day: IsWorkingDay, day_s: float = DAY_S
) -> datetime:
    """Return the end of the last day on which lists of the month may be consolidated."""
    if day_s < DAY_S:
        return month.ends + timedelta(seconds=terms.due_day * day_s)
    day = month.ends.date().replace(day=terms.due_day)
    while not is_working_day(day):
        day += timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=BEIJING) + timedelta(days=1)


def closed_before(now: datetime, from_day: int, day_s: float = DAY_S) -> datetime:
    """Return the moment before which closed lists are due: from the `from_day`-th day after their
    month's end.
    """
    month = month_of(now, day_s)
    begun = month.begins + timedelta(seconds=(from_day - 1) * day_s)
    return (
        month.begins
        if now >= begun
        else month_of(month.begins - timedelta(seconds=day_s / 2), day_s).begins
    )
