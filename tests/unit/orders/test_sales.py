"""Verified sales: what counts, in which window, and that reading again changes nothing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders.domain import sales, sales_results
from services.orders.domain.sales import CountedEvent, Key, Row
from shared.errors import Unprocessable
from shared.events.orders import (
    GivenBack,
    OrderFulfilled,
    OrderPartlyReturned,
    OrderRejected,
    OrderReturned,
)
from shared.money import Money

NOON_MS = 1_795_435_200_000
CORRIDORS = ("cn-ru", "us-cn")

fulfilled_events = st.builds(
    CountedEvent,
    st.just("fulfilled"),
    st.sampled_from(CORRIDORS),
    st.just("CNY"),
    st.integers(1, 10**6),
    st.integers(1, 10**6),
)
other_events = st.builds(
    CountedEvent,
    st.sampled_from(["placed", "rejected", "cancelled", "returned"]),
    st.sampled_from(CORRIDORS),
    st.just("CNY"),
)
# Time in the log is nearly in order, with late records among it.
logs = st.lists(
    st.tuples(st.integers(0, 3 * 3600_000), st.one_of(fulfilled_events, other_events)), max_size=40
)

Log = list[tuple[int, CountedEvent]]


def fold_all(table: dict[Key, Row], log: Log, begin: int, stop: int) -> None:
    """What a worker does with the offsets from `begin` up to `stop`."""
    for offset in range(begin, stop):
        at, event = log[offset]
        for key in sales.keys_of(0, NOON_MS + at, NOON_MS, event):
            table[key] = sales.apply(table.get(key), offset, NOON_MS + at, event)


@given(logs, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6))
def test_any_restarts_with_rereads_end_as_one_pass(
    log: Log, restarts: list[tuple[int, int]]
) -> None:
    once: dict[Key, Row] = {}
    fold_all(once, log, 0, len(log))
    table: dict[Key, Row] = {}
    reached = 0
    for back, on in restarts:
        begin = max(0, reached - back)
        reached = max(reached, min(len(log), begin + on))
        fold_all(table, log, begin, reached)
        table = {
            sales.decode_key(k.encode()): sales.decode_row(r.encode()) for k, r in table.items()
        }
    fold_all(table, log, reached, len(log))
    fold_all(table, log, 0, len(log))
    assert table == once


@given(logs, st.data())
def test_a_table_written_in_part_ends_as_one_pass(log: Log, data: st.DataObject) -> None:
    once: dict[Key, Row] = {}
    fold_all(once, log, 0, len(log))
    before: dict[Key, Row] = {}
    cut = data.draw(st.integers(0, len(log)))
    fold_all(before, log, 0, cut)
    after = dict(before)
    fold_all(after, log, cut, len(log))
    # A kill in the middle of writing: some rows are of the new state, the place is still the old one.
    torn = {key: row if data.draw(st.booleans()) else before.get(key) for key, row in after.items()}
    table = {key: row for key, row in torn.items() if row is not None}
    fold_all(table, log, cut, len(log))
    assert table == once


@given(logs)
def test_every_window_size_adds_up_to_the_log(log: Log) -> None:
    table: dict[Key, Row] = {}
    fold_all(table, log, 0, len(log))
    records = [
        (sales_results.result_key(k), sales_results.result_of(k, r, datetime.now(UTC)))
        for k, r in table.items()
    ]
    for size in sales.SIZES:
        totals = sales_results.totals_of(records, size)
        assert set(totals) == {event.corridor for _, event in log}
        for corridor, total in totals.items():
            of_it = [event for _, event in log if event.corridor == corridor]
            sold = [event for event in of_it if event.stage == "fulfilled"]
            assert +total.counts == Counter(event.stage for event in of_it)
            assert total.verified_minor["CNY"] == sum(event.goods_minor for event in sold)
            assert total.paid_minor["CNY"] == sum(event.paid_minor for event in sold)


def test_a_reader_takes_the_greatest_offset_even_if_an_earlier_state_came_after_it() -> None:
    key = Key(3, "hour", 0, "us-cn", "CNY")
    event = CountedEvent("fulfilled", "us-cn", "CNY", 100, 120)
    first = sales.apply(None, 5, 0, event)
    second = sales.apply(first, 9, 0, event)
    at = datetime(2026, 11, 23, tzinfo=UTC)
    records: list[tuple[bytes | None, bytes | None]] = [
        (sales_results.result_key(key), sales_results.result_of(key, row, at))
        for row in (first, second, first)
    ]
    assert sales_results.totals_of([*records, (b"gone", None)])["us-cn"].counts["fulfilled"] == 2


def test_parts_of_a_window_in_two_partitions_have_two_keys_and_are_added() -> None:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    records = []
    for partition in (0, 1):
        key = Key(partition, "hour", NOON_MS // 1000, "us-cn", "CNY")
        row = sales.apply(None, 7, NOON_MS, CountedEvent("fulfilled", "us-cn", "CNY", 1050, 1200))
        records.append((sales_results.result_key(key), sales_results.result_of(key, row, at)))
    assert records[0][0] == b"2026-11-23T12:00:00Z|hour|us-cn|CNY|0"
    assert orjson.loads(records[0][1])["verified_goods_value"] == "10.50"
    assert sales_results.totals_of(records)["us-cn"].verified_minor["CNY"] == 2100


@pytest.mark.parametrize(
    ("minor", "currency", "said"), [(1050, "CNY", "10.50"), (5, "KWD", "0.005"), (7, "JPY", "7")]
)
def test_amounts_are_said_in_major_units_of_their_currency(
    minor: int, currency: str, said: str
) -> None:
    key = Key(0, "minute", 0, "us-cn", currency)
    row = sales.apply(None, 0, 0, CountedEvent("fulfilled", "us-cn", currency, minor, minor))
    assert (
        orjson.loads(sales_results.result_of(key, row, datetime.now(UTC)))["verified_goods_value"]
        == said
    )


def test_windows_begin_at_whole_multiples_and_a_late_record_counts_in_its_own() -> None:
    event = CountedEvent("placed", "us-cn", "CNY")
    minute, hour = sales.keys_of(2, NOON_MS + 61_500, NOON_MS + 86_400_000, event)
    assert (minute.start_s, hour.start_s) == (NOON_MS // 1000 + 60, NOON_MS // 1000)


def test_a_record_later_than_minutes_are_kept_counts_in_its_hour_only() -> None:
    event = CountedEvent("placed", "us-cn", "CNY")
    kept = sales.keys_of(0, NOON_MS, NOON_MS + 1000 * (sales.RETENTION_S["minute"] + 61), event)
    assert [key.size for key in kept] == ["hour"]


def event_bytes(event: Any) -> tuple[bytes, bytes]:
    return event.type.encode(), event.to_json()


def test_a_fulfilled_order_counts_with_its_goods_value_and_what_was_paid() -> None:
    event = OrderFulfilled(
        order_id=uuid4(), order_no="A-1", corridor="us-cn", direction="import",
        goods_value=Money.of(Decimal("172.00"), "CNY"), amount_paid=Money.of("204.10", "CNY"),
    )  # fmt: skip
    assert sales.parse(*event_bytes(event)) == CountedEvent(
        "fulfilled", "us-cn", "CNY", 17200, 20410
    )


def test_ends_without_an_amount_count_without_a_currency() -> None:
    rejected = OrderRejected(order_id=uuid4(), order_no="A-1", corridor="us-cn", faults=())
    assert sales.parse(*event_bytes(rejected)) == CountedEvent("rejected", "us-cn", "XXX")


@pytest.mark.parametrize(
    ("kind", "stage"), [(OrderReturned, "returned"), (OrderPartlyReturned, "partly_returned")]
)
def test_a_return_counts_with_the_value_of_its_goods_and_in_their_currency(
    kind: type[GivenBack], stage: Any
) -> None:
    cny = Money.of("5.00", "CNY")
    event = kind(
        order_id=uuid4(), order_no="A-1", corridor="us-cn", reason="-", return_no=1, in_time=True, goods_value=cny,
        amount=Money.of("7.00", "CNY"), tax_not_levied=cny,
    )  # fmt: skip
    counted = sales.parse(*event_bytes(event))
    assert counted == CountedEvent(stage, "us-cn", "CNY", 500)
    assert counted is not None
    row = sales.apply(None, 0, 0, counted)
    assert (row.returned_minor, row.returned + row.partly_returned, getattr(row, stage)) == (
        500,
        1,
        1,
    )


@pytest.mark.parametrize("wire_type", [None, b"", b"order.unwinding.v1", b"payment.captured.v1"])
def test_other_types_count_nothing_whatever_they_carry(wire_type: bytes | None) -> None:
    assert sales.parse(wire_type, b"not json") is None


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"[]", b"{}", b'{"corridor": 5}', b'{"corridor": "a|b", "currency": "CNY"}',
        b'{"corridor": "us-cn", "currency": "DOGE"}',
    ],
)  # fmt: skip
def test_a_placed_order_that_is_not_one_is_refused(value: bytes | None) -> None:
    with pytest.raises(Unprocessable):
        sales.parse(b"order.placed.v1", value)


def test_a_sale_in_two_currencies_is_refused() -> None:
    found = {
        "goods_value": {"amount": "1", "currency": "CNY"},
        "amount_paid": {"amount": "1", "currency": "USD"},
    }
    with pytest.raises(Unprocessable):
        sales.parse(b"order.fulfilled.v1", orjson.dumps({"corridor": "us-cn", **found}))


def test_an_id_is_new_once_among_so_many_and_a_record_without_one_always() -> None:
    seen = sales.RecentIds()
    ids = [str(n).encode() for n in range(sales.RECENT_IDS_MAX)]
    assert all(seen.is_new(event_id) for event_id in ids)
    assert not any(seen.is_new(event_id) for event_id in ids)
    assert seen.is_new(b"one more")
    assert seen.is_new(ids[0])
    assert not seen.is_new(ids[2])
    assert seen.is_new(None)
    assert seen.is_new(None)
