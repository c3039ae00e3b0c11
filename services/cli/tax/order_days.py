"""The day of a declaration: from an option, or from the submission."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal

from pydantic_core import PydanticCustomError

from services.cli.connect import UsageError
from services.cli.fault_sentences import FieldFault
from services.cli.tax.field_types import (
    FIRST_DAY,
    LAST_DAY,
    TIME_PATTERN,
    parse_time,
)
from services.cli.tax.raw_document import Document, Look
from shared.clock import beijing_date


def timed(at: str | None) -> Look:
    """Return a check that a document has a time with offset, where `--at` is not given."""

    def look(document: Document) -> Iterator[FieldFault]:
        text = document.get("placed_at")
        parsed = TIME_PATTERN.fullmatch(text) if isinstance(text, str) else None
        if at is None and (text is None or (parsed is not None and parsed[4] is None)):
            actual = "nothing" if text is None else repr(text)
            yield FieldFault(
                "placed_at",
                "is_time",
                actual,
                "a time with its offset, like 2026-11-23T09:00:00+08:00, or the day by --at",
            )

    return look


def day_of(placed_at: datetime | None, at: str | None) -> date:
    """Return the day of `--at`, else the Beijing day the order was placed; raises UsageError."""
    if at is None:
        assert placed_at is not None, "a document without a time is a fault, see `timed`"
        return beijing_date(placed_at)
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", at):
        return option_day("--at", at)
    try:
        moment = parse_time(at)
    except PydanticCustomError:
        expected = (
            f"a day like 2026-11-23, nor a time with its offset, from {FIRST_DAY.year} to "
            f"{LAST_DAY.year}"
        )
        raise UsageError(f"--at: {at!r} is not {expected}") from None
    if moment.tzinfo is None:
        raise UsageError(f"--at: {at!r} is a time without its offset, like +08:00")
    return beijing_date(moment)


def option_day(option: str, text: str) -> date:
    """Return the day of an option, YYYY-MM-DD; raises UsageError."""
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is None:
            raise ValueError
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is not a day like 2026-11-23") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise UsageError(f"{option}: {text!r} is not a day from {FIRST_DAY} to {LAST_DAY}")
    return day


def option_decimal(text: str) -> Decimal | None:
    """Return a number of digits and a point; None for anything else."""
    if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", text) is None:
        return None
    return Decimal(text)
