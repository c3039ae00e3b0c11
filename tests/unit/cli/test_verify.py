"""What `verify` sees in a log, and what it says of it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from services.cli.verify.app import _still, invariants
from services.cli.verify.findings import Finding
from services.cli.verify.ledger import Ledger
from services.cli.verify.reconciliation import (
    Line,
    _operations,
    breaks,
    lines_of,
    read_register,
    register_of,
)
from services.cli.verify.report import as_document
from services.cli.verify.sales import HOUR_S, SalesCount, _differences, new_sales_count
from services.orders.domain import sales, sales_results
from services.orders.intake.placed_order import PROBE
from shared.envelope import Record

ORDER = UUID(int=1)


def fact(
    version: int, ce_id: str, wire_type: str = "order.placed.v1", order: UUID = ORDER
) -> Record:
    headers = (
        ("ce_id", ce_id.encode()),
        ("ce_type", wire_type.encode()),
        ("order_version", str(version).encode()),
    )
    return Record("orders.events", 0, 0, 0, str(order).encode(), b"", headers)


def ledger_of(*facts: Record, begins_late: bool = False) -> Ledger:
    ledger = Ledger()
    for record in facts:
        ledger.add(record, begins_late=begins_late)
    return ledger


def test_facts_in_a_row_are_right_and_so_is_one_that_comes_again() -> None:
    ledger = ledger_of(fact(1, "a"), fact(2, "b"), fact(1, "a"), fact(2, "b"), fact(3, "c"))
    assert (ledger.holes, ledger.doubled) == ([], [])


def test_a_missing_version_is_a_hole() -> None:
    assert "version 2 is missing before 3" in ledger_of(fact(1, "a"), fact(3, "c")).holes[0]


def test_two_facts_of_one_version_are_seen() -> None:
    assert ledger_of(fact(1, "a"), fact(1, "b")).doubled == [f"{ORDER} orders.events version 1"]


def test_a_log_that_forgot_its_beginning_has_no_hole_there() -> None:
    assert ledger_of(fact(4, "d"), fact(5, "e"), begins_late=True).holes == []


def test_a_fact_without_a_version_is_no_fact() -> None:
    assert ledger_of(fact(0, "a")).holes == ["orders.events/0/0 has no order or no order_version"]


@pytest.mark.parametrize(
    ("ends", "lawful"),
    [
        (["order.fulfilled.v1"], True),
        (["order.fulfilled.v1", "order.returned.v1"], True),
        (["order.returned.v1", "order.fulfilled.v1"], False),
        (["order.rejected.v1", "order.cancelled.v1"], False),
        (["order.fulfilled.v1", "order.fulfilled.v1"], False),
    ],
)
def test_an_order_has_one_end_except_that_the_fulfilled_may_come_back(
    ends: list[str], lawful: bool
) -> None:
    ledger = ledger_of(*(fact(n, str(n), end) for n, end in enumerate(ends, 1)))
    assert (ledger.many_ends() == []) is lawful


def test_what_passes_between_two_looks_is_only_under_way() -> None:
    before = Finding("no_lag", "…", ("a at 1", "b at 1"))
    assert _still(before, Finding("no_lag", "…", ("a at 2", "b at 1"))).offending == ("b at 1",)


def test_the_document_counts_violations_and_names_them() -> None:
    found = as_document(
        [Finding("x", "…", ("1", "2")), Finding("y", "…"), Finding("z", "…", skipped="not here")]
    )
    assert (found["ok"], found["violations"]) == (False, 2)
    assert [(row["name"], row["ok"], row["offending"]) for row in found["invariants"]] == [
        ("x", False, ["1", "2"]),
        ("y", True, []),
        ("z", True, []),
    ]


def test_every_invariant_has_a_name_of_its_own() -> None:
    names = [invariant.name for invariant in invariants()]
    assert len(names) == len(set(names))


def test_the_register_tells_what_was_released_and_what_is_live_twice(tmp_path: Path) -> None:
    (tmp_path / "sandbox").mkdir()
    with closing(sqlite3.connect(tmp_path / "sandbox" / "authority.db")) as file, file:
        file.execute("CREATE TABLE register (order_id TEXT, state TEXT, released_at REAL)")
        rows = [
            ("a", "declared", 1.0),
            ("b", "declared", None),
            ("c", "taken_back", 1.0),
            ("d", "silent", None),
            ("d", "waiting", None),
        ]
        file.executemany("INSERT INTO register VALUES (?, ?, ?)", rows)
    path = register_of(tmp_path)
    assert path is not None
    assert read_register(path) == ({"a"}, ["d"])


def test_without_a_sandbox_there_is_no_register(tmp_path: Path) -> None:
    assert register_of(tmp_path) is None


NOON_S = 1_800_000_000 // HOUR_S * HOUR_S


def sold_of(*facts: tuple[int, str, str]) -> SalesCount:
    """What a log of facts (seconds, wire type, corridor) says, each of goods of 1.00 CNY."""
    found = new_sales_count()
    assert found is not None
    for at_s, wire_type, corridor in facts:
        value = orjson.dumps(
            {"corridor": corridor, "goods_value": {"amount": "1.00", "currency": "CNY"}}
        )
        found.add(
            Record(
                "orders.events", 0, 0, at_s * 1000, b"", value, (("ce_type", wire_type.encode()),)
            )
        )
    return found


def rows_of(*rows: tuple[int, dict[str, int]]) -> list[tuple[bytes, bytes]]:
    """The hours of `streams.sales` as a worker would say them."""
    found = []
    for at_s, counts in rows:
        key = sales.Key(0, "hour", at_s, "US-CN", "CNY")
        row = sales.Row(verified_minor=100 * counts.get("fulfilled", 0), **counts)
        found.append(
            (sales_results.result_key(key), sales_results.result_of(key, row, datetime.now(UTC)))
        )
    return found


def test_the_stream_must_count_every_stage_as_the_log_does() -> None:
    log = sold_of(
        (NOON_S, "order.placed.v1", "US-CN"),
        (NOON_S, "order.fulfilled.v1", "US-CN"),
        (NOON_S, "order.placed.v1", PROBE),
    )
    assert (
        _differences(log, sales_results.totals_of(rows_of((NOON_S, {"placed": 1, "fulfilled": 1}))))
        == []
    )
    twice = _differences(
        log, sales_results.totals_of(rows_of((NOON_S, {"placed": 2, "fulfilled": 1})))
    )
    assert twice == ["corridor US-CN: 1 orders placed, 2 in the stream"]
    assert len(_differences(log, sales_results.totals_of([]))) == 3


def test_hours_that_a_log_has_forgotten_in_part_say_nothing() -> None:
    """Both topics keep 14 days, and delete by segments, each in its own time."""
    rows = rows_of((NOON_S, {"fulfilled": 2}), (NOON_S + HOUR_S, {"fulfilled": 1}))
    log = sold_of(
        (NOON_S + 60, "order.fulfilled.v1", "US-CN"),
        (NOON_S + HOUR_S, "order.fulfilled.v1", "US-CN"),
    )
    assert _differences(log, sales_results.totals_of(rows))
    log.forgets_before((NOON_S + 60) * 1000)
    assert log.whole_from_s == NOON_S + HOUR_S
    assert _differences(log, sales_results.totals_of(rows, since_s=log.whole_from_s)) == []
    log = sold_of((NOON_S + 60, "order.fulfilled.v1", "US-CN"))
    log.forgets_before((NOON_S + 60) * 1000)
    assert len(_differences(log, sales_results.totals_of(rows, since_s=log.whole_from_s))) == 2


PAID: tuple[Line, ...] = (
    ("P1", "capture", 20410, "CNY"),
    ("P1", "refund", 4601, "CNY"),
    ("P1", "refund", 9201, "CNY"),
)


@pytest.mark.parametrize(
    ("bank", "found"),
    [
        (PAID, []),
        (PAID[::-1], []),
        (
            (PAID[0], ("P1", "refund", 5601, "CNY"), ("P1", "refund", 8201, "CNY")),
            [
                "payment P1 refund: bank 56.01 CNY, journal 46.01 CNY",
                "payment P1 refund: bank 82.01 CNY, journal 92.01 CNY",
            ],
        ),
        ((*PAID, PAID[1]), ["payment P1 refund: bank 46.01 CNY, journal nothing"]),
        (PAID[1:], ["payment P1 capture: bank nothing, journal 204.10 CNY"]),
        (
            (("P1", "capture", 20410, "USD"), *PAID[1:]),
            ["payment P1 capture: bank 204.10 USD, journal 204.10 CNY"],
        ),
        (
            (("P2", "capture", 20410, "CNY"), *PAID[1:]),
            [
                "payment P1 capture: bank nothing, journal 204.10 CNY",
                "payment P2 capture: bank 204.10 CNY, journal nothing",
            ],
        ),
    ],
)
def test_the_statement_is_compared_line_by_line(bank: tuple[Line, ...], found: list[str]) -> None:
    assert breaks(Counter(PAID), Counter(bank)) == found


LINE: dict[str, Any] = {
    "payment_no": "P1",
    "kind": "capture",
    "amount": "204.10",
    "currency": "CNY",
}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (LINE | {"currency": "XTS"}, "payment P1 capture: the line cannot be read: currency 'XTS'"),
        (LINE | {"currency": "cny"}, "payment P1 capture: the line cannot be read: currency 'cny'"),
        (
            LINE | {"amount": "2e2"},
            "payment P1 capture: the line cannot be read: '2e2' is not a decimal amount",
        ),
        (
            LINE | {"amount": "204.101"},
            "payment P1 capture: the line cannot be read: '204.101' has more than 2 decimals",
        ),
        (LINE | {"amount": 204.1}, "a line of the bank cannot be read: amount must be text"),
        (
            LINE | {"payment_no": None, "kind": 7},
            "a line of the bank cannot be read: payment_no, kind must be text",
        ),
        (
            None,
            "a line of the bank cannot be read: payment_no, kind, amount, currency must be text",
        ),
        (
            [LINE],
            "a line of the bank cannot be read: payment_no, kind, amount, currency must be text",
        ),
    ],
    ids=str,
)
def test_a_line_of_the_statement_that_cannot_be_read_is_told_and_the_others_are_compared(
    line: Any, says: str
) -> None:
    found, (unread,) = lines_of([LINE, line, LINE])
    assert found == Counter({("P1", "capture", 20410, "CNY"): 2})
    assert unread.startswith(says)


def test_a_line_of_no_money_and_one_of_a_kind_nobody_knows_are_lines() -> None:
    found, unread = lines_of(
        [LINE | {"amount": "0.00"}, LINE | {"kind": "chargeback"}, LINE | {"amount": "-1.00"}]
    )
    assert not unread
    assert breaks(Counter(PAID[:1]), found + Counter(PAID[:1])) == [
        "payment P1 capture: bank -1.00 CNY, journal nothing",
        "payment P1 capture: bank 0.00 CNY, journal nothing",
        "payment P1 chargeback: bank 204.10 CNY, journal nothing",
    ]


@pytest.mark.parametrize(
    "page",
    [
        {"items": None, "next": 1},
        {"items": [LINE], "next": 0},
        {"items": [LINE], "next": None},
        [],
        {},
    ],
)
async def test_a_statement_that_does_not_go_on_ends(page: Any) -> None:
    async with httpx.AsyncClient(
        base_url="http://bank",
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json=page)),
    ) as client:
        with pytest.raises((ValueError, TypeError, KeyError)):
            await _operations(client)
