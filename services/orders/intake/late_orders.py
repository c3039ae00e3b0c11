"""The day on which an order is taxed: the day it was placed, unless it arrived long after."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from shared.clock import beijing_date


@dataclass(frozen=True, slots=True)
class LateOrderTerms:
    """From `valid_from` on: an order that arrives within `at_most` is taxed on the day it was
    placed."""

    valid_from: date
    at_most: timedelta
    reason: str


def _terms(row: dict[str, Any]) -> LateOrderTerms:
    terms = LateOrderTerms(row["valid_from"], timedelta(hours=row["hours"]), row["reason"])
    if not terms.reason or terms.at_most <= timedelta(0):
        raise ValueError(
            f"late_orders.toml: the terms from {terms.valid_from} need a reason and hours above 0"
        )
    return terms


_DATA: Final = tomllib.loads(
    Path(__file__).with_name("late_orders.toml").read_text(encoding="utf-8")
)
TERMS: Final = tuple(
    sorted(map(_terms, _DATA["terms"]), key=lambda terms: terms.valid_from, reverse=True)
)
"""The newest first."""


def taxed_at(placed_at: datetime, received_at: datetime) -> datetime | None:
    """Return the moment whose day in Beijing decides the tax; None if that is the day of
    `placed_at`.

    The sender chooses `placed_at`, and with it would choose tariff, exchange rate and quota year.
    """
    placed_on, received_on = (beijing_date(at) for at in (placed_at, received_at))
    if placed_on == received_on:
        return None
    terms = next((terms for terms in TERMS if terms.valid_from <= received_on), TERMS[-1])
    is_near = placed_at <= received_at and received_at - placed_at <= terms.at_most
    return None if is_near else received_at
