"""On which day an order counts, whatever day it is dated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.orders.intake.late_orders import TERMS, taxed_at

CAME = datetime(2026, 11, 30, 4, tzinfo=UTC)  # noon in Beijing


@pytest.mark.parametrize(
    ("placed_at", "counts_on_coming"),
    [
        (CAME, False),
        (CAME - timedelta(hours=72), False),
        (CAME - timedelta(hours=72, seconds=1), True),
        (CAME + timedelta(hours=1), False),  # the same day
        (CAME + timedelta(hours=13), True),
        *((datetime(year, 10, 1, 1, tzinfo=UTC), True) for year in range(2013, 2027)),
    ],
)
def test_an_order_counts_on_the_day_it_was_placed_if_it_came_soon_after(
    placed_at: datetime, counts_on_coming: bool
) -> None:
    assert taxed_at(placed_at, CAME) == (CAME if counts_on_coming else None)


def test_new_year_is_of_beijing() -> None:
    came = datetime(2026, 12, 31, 16, 30, tzinfo=UTC)
    assert taxed_at(datetime(2027, 1, 1, 0, 10, tzinfo=UTC) - timedelta(hours=8), came) is None
    assert taxed_at(datetime(2025, 12, 31, 16, 30, tzinfo=UTC), came) == came


def test_the_terms_have_a_reason() -> None:
    assert all(terms.reason and terms.at_most > timedelta(0) for terms in TERMS)
