"""On which day an order counts: that on which it was placed, unless it came long after. Pure but for reading its terms once."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from shared.clock import beijing_date


@dataclass(frozen=True, slots=True)
class LateOrderTerms:
    """From a day on, an order counts on the day it was placed if it comes within `at_most` of then."""

    valid_from: date
    at_most: timedelta
    reason: str


def _terms(row: dict[str, Any]) -> LateOrderTerms:
    found = LateOrderTerms(row["valid_from"], timedelta(hours=row["hours"]), row["reason"])
    if not found.reason or found.at_most <= timedelta(0):
        raise ValueError(
            f"late.toml: the terms from {found.valid_from} need a reason and hours above 0"
        )
    return found


TERMS: Final = tuple(
    sorted(
        map(
            _terms,
            tomllib.loads(Path(__file__).with_name("late_orders.toml").read_text(encoding="utf-8"))[
                "terms"
            ],
        ),
        key=lambda terms: terms.valid_from,
        reverse=True,
    )
)


def taxed_at(placed_at: datetime, came_at: datetime) -> datetime | None:
    """The moment whose day in Beijing an order counts on, where that is another day than the one it was placed on.

    Whoever sends an order chooses its `placed_at`, and with it would choose tariff, exchange rate and the year of a quota.
    """
    placed_on, came_on = (beijing_date(at) for at in (placed_at, came_at))
    if placed_on == came_on:
        return None
    terms = next((terms for terms in TERMS if terms.valid_from <= came_on), TERMS[-1])
    is_near = placed_at <= came_at and came_at - placed_at <= terms.at_most
    return None if is_near else came_at
