"""The time on a record is its writer's: what is said about it, and what is counted from it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.orders.intake.validation import validate
from services.orders.records import decode
from shared.decoding import BEHIND_MAX_MS, arrival_ms, with_arrival_time
from shared.envelope import Record
from shared.errors import Unprocessable

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
DAY_MS = 24 * 3600 * 1000


def record(order: dict[str, Any], stamped_ms: int) -> Record:
    return Record("orders.submissions", 0, 0, stamped_ms, None, json.dumps(order).encode(), ())


def test_a_record_stamped_in_seconds_is_refused_for_that_and_for_nothing_else(
    order: dict[str, Any],
) -> None:
    (found,) = with_arrival_time(decode(record(order, NOW_MS // 1000)), NOW_MS // 1000, NOW_MS)
    (fault,) = validate(found.event, found.at)
    assert (fault.field, fault.rule) == ("timestamp", "is_milliseconds")
    assert (
        f"{fault.found}: {fault.expected}"
        == "the record's own timestamp is 1970-01-21: give milliseconds since 1970"
    )


@pytest.mark.parametrize("stamped_ms", [-1, NOW_MS * 1000, 2**62])
def test_a_record_stamped_in_no_time_at_all_is_refused_by_name(
    order: dict[str, Any], stamped_ms: int
) -> None:
    with pytest.raises(
        Unprocessable, match=f"the record's own timestamp is {stamped_ms}: give milliseconds"
    ):
        decode(record(order, stamped_ms))


@pytest.mark.parametrize(
    ("stamped_ms", "came_ms"),
    [
        (NOW_MS, NOW_MS),
        (NOW_MS - 1, NOW_MS - 1),
        (NOW_MS - BEHIND_MAX_MS, NOW_MS - BEHIND_MAX_MS),
        (NOW_MS - BEHIND_MAX_MS - 1, NOW_MS),
        (NOW_MS + 1, NOW_MS),
        (NOW_MS + 3 * 3600 * 1000, NOW_MS),
        (0, NOW_MS),
        (NOW_MS // 1000, NOW_MS),
    ],
)
def test_an_outsiders_clock_is_believed_a_day_back_and_not_ahead(
    stamped_ms: int, came_ms: int
) -> None:
    assert arrival_ms(stamped_ms, NOW_MS) == came_ms


def test_an_order_is_not_judged_by_the_clock_of_who_wrote_the_record(order: dict[str, Any]) -> None:
    """Stamped in 2099, an order placed in 2099 would be of yesterday."""
    late = {**order, "placed_at": "2099-01-01T00:00:00+08:00"}
    stamped_ms = int(datetime(2099, 1, 1, tzinfo=UTC).timestamp() * 1000)
    (found,) = with_arrival_time(decode(record(late, stamped_ms)), stamped_ms, NOW_MS)
    assert found.at == NOW
    assert [(f.field, f.rule) for f in validate(found.event, found.at)] == [
        ("placed_at", "not_in_future")
    ]
    (found,) = with_arrival_time(decode(record(order, NOW_MS - DAY_MS)), NOW_MS - DAY_MS, NOW_MS)
    assert found.at == NOW - timedelta(days=1)
