"""The bench looks seldom while much is left, and often at the end."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from services.cli import publish
from services.cli.bench import app as bench
from services.cli.bench import measurement
from services.cli.bench.app import LOOK_MAX_S, LOOK_MIN_S, _until_next_look
from services.cli.order import counts


def test_looks_are_few_on_the_way_and_close_at_the_end() -> None:
    pace, of = 400.0, 20_000
    looks, elapsed = 0, 0.0
    last = 0.0
    while elapsed < of / pace:
        last = _until_next_look(elapsed, min(of, int(elapsed * pace)), of)
        elapsed += last
        looks += 1
    assert looks < of / pace / 2  # each reads the whole table, so it takes from what it measures
    assert last == LOOK_MIN_S  # so late is the end seen at most


def test_nothing_at_its_end_yet_is_looked_at_ever_later_to_a_bound() -> None:
    assert _until_next_look(0.0, 0, 10) == LOOK_MIN_S
    assert _until_next_look(3.0, 0, 10) == 1.0
    assert _until_next_look(600.0, 0, 10) == LOOK_MAX_S


OWN = [UUID(int=n) for n in range(1, 6)]


def table(monkeypatch: pytest.MonkeyPatch, *looks: tuple[int, dict[str, int]]) -> None:
    """A database in which, look by look, so many orders of others are fulfilled and ours stand so."""
    left = list(looks)
    now = [left[0]]

    @asynccontextmanager
    async def database(_to: Any, **_: Any) -> Any:
        yield None

    async def by_state(_conn: Any, ids: Collection[UUID] | None = None) -> dict[str, int]:
        if ids is not None:
            assert list(ids) == OWN
            return now[0][1]
        now[0] = left.pop(0) if len(left) > 1 else left[0]
        others, ours = now[0]
        return ours | {"fulfilled": ours.get("fulfilled", 0) + others}

    async def send(*_: Any) -> float:
        return 0.0

    monkeypatch.setattr(bench, "database", database)
    monkeypatch.setattr(counts, "by_state", by_state)
    monkeypatch.setattr(publish, "send", send)
    monkeypatch.setattr(bench, "LOOK_MIN_S", 0.0)
    monkeypatch.setattr(bench, "LOOK_MAX_S", 0.0)


async def driven() -> bench.Driven:
    records: Any = [SimpleNamespace(order_id=order_id) for order_id in OWN]
    to: Any = None
    return await bench._drive(to, records, None)


async def test_orders_of_others_that_end_meanwhile_are_not_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table(
        monkeypatch,
        (100, {}),
        (104, {"placed": 3, "fulfilled": 2}),
        (110, {"placed": 1, "fulfilled": 4}),
        (111, {"fulfilled": 5}),
    )
    assert (await driven()).states == {"fulfilled": 5}


async def test_how_fast_the_host_is_is_measured_on_every_core() -> None:
    assert await measurement.host_walks(0.2) > 0


async def test_what_was_refused_is_told_from_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    table(monkeypatch, (0, {}), (0, {"rejected": 5}))
    assert (await driven()).states == {"rejected": 5}
