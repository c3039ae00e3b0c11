"""Beijing time, in which the law counts days, months and years, and the present moment."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

BEIJING: Final = timezone(timedelta(hours=8), "Asia/Shanghai")
"""China has one time zone and no summer time.

A customs day and a quota's year end at midnight in Beijing.
"""
BEIJING_S: Final = 8 * 3600.0
"""Seconds by which Beijing is ahead of UTC."""


def beijing_date(at: datetime) -> date:
    """Return the calendar day in Beijing of a moment with a time zone.

    At the very end of the calendar Beijing's day does not exist. Such a moment keeps its own date.
    """
    try:
        return at.astimezone(BEIJING).date()
    except OverflowError:
        return at.date()


def utc_now() -> datetime:
    """Return the present moment in UTC.

    Rule modules do not call this function: their callers give them the moment.
    """
    return datetime.now(UTC)
