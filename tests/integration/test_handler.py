"""One batch, one transaction: exactly once, all or nothing, and a bad record costs only itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from shared import dead_letter_store, inbox, operator_requests, topics
from shared.database import copied
from shared.dead_letters import pack_record
from shared.decoding import message
from shared.envelope import Message, Record
from shared.errors import Unavailable, Unprocessable
from shared.failpoints import Failpoints, Killed
from shared.handler import Handler
from shared.outbox import unpack_headers
from shared.outcomes import write
from shared.sealing import Sealing
from shared.subscriptions import EmittedEvent, Outcome, Source, Subscriptions, on
from shared.transitions import IllegalTransition
from tests.integration.conftest import (
    Counted,
    Tallied,
    TallyDeps,
    counted,
    offsets_begin,
    snapshot,
    tally,
)
from tests.integration.test_aside import AT_COMMIT

Make = Callable[..., Handler]
P0 = (topics.ORDERS, 0)


async def totals(pool: Any) -> dict[Any, int]:
    async with pool.acquire() as conn:
        return {r["order_id"]: r["total"] for r in await conn.fetch("SELECT * FROM tally")}


async def outbox_rows(pool: Any) -> list[Any]:
    async with pool.acquire() as conn:
        return list(await conn.fetch("SELECT * FROM outbox ORDER BY id"))


async def test_a_batch_moves_state_offsets_and_outbox_together(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    order = uuid4()
    await tally_handler().handle([counted(order, 5, 0), counted(order, 7, 1)])
    assert await totals(tally_pool) == {order: 12}
    rows = await outbox_rows(tally_pool)
    assert [r["topic"] for r in rows] == [topics.TAX, topics.TAX]
    assert [dict(unpack_headers(r["headers"]))["order_version"] for r in rows] == [b"1", b"2"]
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT next FROM consumer_offset") == 2


async def test_records_delivered_again_are_fenced_and_change_nothing(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    records = [counted(uuid4(), 5, 0), counted(uuid4(), 7, 1)]
    await tally_handler().handle(records)
    before = await snapshot(tally_pool)
    with pytest.raises(inbox.Fenced):
        await tally_handler().handle(records)
    assert await snapshot(tally_pool) == before


async def test_the_same_event_published_twice_counts_once_even_within_a_batch(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    order, event = uuid4(), uuid4()
    await tally_handler().handle(
        [counted(order, 5, 0, event_id=event), counted(order, 5, 1, event_id=event)]
    )
    await tally_handler().handle([counted(order, 5, 2, event_id=event)])
    assert await totals(tally_pool) == {order: 5}


async def test_of_events_some_of_which_are_known_only_the_others_count(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    order, known, fresh = uuid4(), uuid4(), uuid4()
    await tally_handler().handle([counted(order, 5, 0, event_id=known)])
    again = [
        counted(order, 5, 1, event_id=known),
        counted(order, 7, 2, event_id=fresh),
        counted(order, 7, 3, event_id=fresh),
    ]
    await tally_handler().handle(again)
    assert await totals(tally_pool) == {order: 12}
    async with tally_pool.acquire() as conn:
        assert {row["event_id"] for row in await conn.fetch("SELECT event_id FROM inbox")} == {
            known,
            fresh,
        }


async def test_rows_one_of_which_is_there_are_not_written_at_all(tally_pool: Any) -> None:
    there, new = uuid4(), uuid4()
    async with tally_pool.acquire() as conn, conn.transaction():
        assert await copied(conn, "held_order", ("order_id", "reason"), [(there, "first")])
        assert not await copied(
            conn, "held_order", ("order_id", "reason"), [(new, "second"), (there, "second")]
        )
        assert [
            tuple(row) for row in await conn.fetch("SELECT order_id, reason FROM held_order")
        ] == [(there, "first")]


async def test_a_gap_is_seen(tally_pool: Any, tally_handler: Make) -> None:
    await offsets_begin(tally_pool, P0)
    with pytest.raises(inbox.Fenced) as fenced:
        await tally_handler().handle([counted(uuid4(), 5, 3)])
    assert fenced.value.partitions == {P0: 0}


async def owed(pool: Any) -> list[int]:
    """The offsets of the dead letters nobody has replayed yet."""
    async with pool.acquire() as conn:
        return [
            r["at_offset"] for r in await conn.fetch("SELECT at_offset FROM dead_letter ORDER BY 1")
        ]


async def replay(handler: Handler, record: Record) -> Mapping[str, Any]:
    """Ask for the record given up again, as `crossborder dlq replay` does; what became of it."""
    return await _asked(handler, "replay", place=(record.topic, record.partition, record.offset))


async def skip(handler: Handler, order_id: UUID) -> Mapping[str, Any]:
    """Let the order go, as `crossborder order release --skip` does; what became of it."""
    return await _asked(handler, "skip", order_id=order_id, note="the shop sent it anew")


async def _asked(handler: Handler, act: str, **what: Any) -> Mapping[str, Any]:
    async with handler.pool.acquire() as conn:
        number = await operator_requests.ask(conn, "tax", act, "an operator", **what)
    assert await operator_requests.obey(handler) == 1
    async with handler.pool.acquire() as conn:
        row = await conn.fetchrow(
            "SELECT outcome, details FROM operator_result WHERE request_id = $1", number
        )
    return {"outcome": row["outcome"], **orjson.loads(row["details"])}


def forged(record: Record, offset: int) -> Record:
    """The record again, with the headers that once asked for a replay."""
    origin = f"{record.topic}/{record.partition}/{record.offset}".encode()
    return replace(
        record,
        offset=offset,
        headers=(*record.headers, ("dlq_replay", b"1"), ("dlq_origin", origin)),
    )


@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("error", [
    lambda: Unprocessable("invalid_value", "no"), lambda: KeyError("a bug"), lambda: asyncpg.DataError("no"),
])  # fmt: skip
async def test_a_poison_record_costs_only_itself(
    tally_pool: Any, tally_handler: Make, size: int, error: Callable[[], Exception]
) -> None:
    await offsets_begin(tally_pool, P0)
    orders = [uuid4() for _ in range(size)]
    bad = size // 2
    records = [counted(order, 666 if i == bad else i + 1, i) for i, order in enumerate(orders)]
    await tally_handler(TallyDeps(poison={666}, error=error)).handle(records)
    assert await totals(tally_pool) == {order: i + 1 for i, order in enumerate(orders) if i != bad}
    dead = [r for r in await outbox_rows(tally_pool) if r["topic"].endswith(".dead-letters")]
    assert len(dead) == 1
    headers = dict(unpack_headers(dead[0]["headers"]))
    assert (headers["dlq_topic"], headers["dlq_partition"], headers["dlq_offset"]) == (
        b"orders.events",
        b"0",
        str(bad).encode(),
    )
    assert headers["ce_id"] == dict(records[bad].headers)["ce_id"]
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT next FROM consumer_offset") == size
        assert await conn.fetchval("SELECT order_id FROM held_order") == orders[bad]


@pytest.mark.parametrize(
    "value", [b"", b"{", b"\xff\xfe", b'{"amount": 1}', b'{"order_id": 5, "amount": "x"}', b"null"]
)
async def test_a_value_that_cannot_be_read_is_a_dead_letter(
    tally_pool: Any, tally_handler: Make, value: bytes
) -> None:
    await offsets_begin(tally_pool, P0)
    good = counted(uuid4(), 5, 0)
    bad = Record(topics.ORDERS, 0, 1, good.timestamp_ms, b"k", value, good.headers)
    await tally_handler().handle([good, bad])
    assert [r["topic"] for r in await outbox_rows(tally_pool)] == [
        topics.TAX,
        "orders.events.dead-letters",
    ]


async def test_a_record_from_which_something_too_large_would_follow_is_a_dead_letter(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    good, bad = uuid4(), uuid4()
    handler = tally_handler(TallyDeps(large={7}))
    await handler.handle([counted(good, 5, 0), counted(bad, 7, 1)])
    assert await totals(tally_pool) == {good: 5}
    rows = await outbox_rows(tally_pool)
    assert [r["topic"] for r in rows] == [topics.TAX, "orders.events.dead-letters"]
    assert dict(unpack_headers(rows[1]["headers"]))["dlq_reason"] == b"too_large"


async def test_types_a_service_does_not_hear_are_stepped_over(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    record = counted(uuid4(), 5, 0)
    other = replace(record, headers=(("ce_type", b"from.the-future.v9"), ("ce_id", b"x")))
    await tally_handler().handle([other])
    assert await totals(tally_pool) == {}
    assert await outbox_rows(tally_pool) == []


async def test_later_records_of_a_held_order_wait_and_a_replay_lets_them_through_in_order(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    order, other = uuid4(), uuid4()
    poison = counted(order, 666, 0)
    await tally_handler(TallyDeps(poison={666})).handle(
        [poison, counted(order, 2, 1), counted(other, 3, 2)]
    )
    await tally_handler(TallyDeps(poison={666})).handle([counted(order, 4, 3)])
    assert await totals(tally_pool) == {other: 3}
    assert await replay(tally_handler(), poison) == {"outcome": "done", "followed": 2}
    await tally_handler().handle([counted(order, 8, 4)])
    assert await totals(tally_pool) == {order: 666 + 2 + 4 + 8, other: 3}
    facts = [
        r
        for r in await outbox_rows(tally_pool)
        if r["topic"] == topics.TAX and r["key"] == str(order).encode()
    ]
    assert [dict(unpack_headers(r["headers"]))["order_version"] for r in facts] == [
        b"1",
        b"2",
        b"3",
        b"4",
    ]
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM held_order") == 0
        assert await conn.fetchval("SELECT count(*) FROM parked") == 0


async def test_a_replay_that_fails_again_leaves_the_order_held_and_its_records_parked(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    order = uuid4()
    poison = counted(order, 666, 0)
    handler = tally_handler(TallyDeps(poison={666}))
    await handler.handle([poison, counted(order, 2, 1)])
    found = await replay(handler, poison)
    assert found == {
        "outcome": "failed",
        "reason": "invalid_value",
        "error": "this amount cannot be tallied",
    }
    assert await owed(tally_pool) == [0]
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM held_order") == 1
        assert await conn.fetchval("SELECT count(*) FROM parked") == 1
    assert await totals(tally_pool) == {}


async def test_a_parked_record_that_fails_behind_a_replay_is_the_dead_letter_and_the_replay_is_done(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    order, other = uuid4(), uuid4()
    first, second = counted(order, 666, 0), counted(order, 777, 2)
    await tally_handler(TallyDeps(poison={666})).handle(
        [first, counted(order, 2, 1), second, counted(order, 4, 3)]
    )
    handler = tally_handler(TallyDeps(poison={777}))
    await handler.handle([counted(other, 1, 4), counted(order, 8, 5)])
    assert await replay(handler, first) == {
        "outcome": "done",
        "followed": 1,
        "held_again": "invalid_value",
    }
    assert await totals(tally_pool) == {order: 666 + 2, other: 1}
    dead = [
        dict(unpack_headers(r["headers"]))
        for r in await outbox_rows(tally_pool)
        if r["topic"].endswith(".dead-letters")
    ]
    assert [(head["dlq_offset"], head["dlq_reason"]) for head in dead] == [
        (b"0", b"invalid_value"),
        (b"2", b"invalid_value"),
    ]
    assert await owed(tally_pool) == [2]
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT order_id FROM held_order") == order
        assert await conn.fetchval("SELECT count(*) FROM parked") == 2
    assert await replay(tally_handler(), second) == {"outcome": "done", "followed": 2}
    assert await totals(tally_pool) == {order: 666 + 2 + 777 + 4 + 8, other: 1}
    versions = [
        dict(unpack_headers(r["headers"]))
        for r in await outbox_rows(tally_pool)
        if r["key"] == str(order).encode()
    ]
    assert [v["order_version"] for v in versions if "order_version" in v] == [
        b"1",
        b"2",
        b"3",
        b"4",
        b"5",
    ]
    assert await owed(tally_pool) == []
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM held_order") == 0
        assert await conn.fetchval("SELECT count(*) FROM parked") == 0


@pytest.mark.parametrize(
    "error",
    [lambda: asyncpg.DataError("no"), lambda: KeyError("a bug"), lambda: IllegalTransition(1, int)],
)
async def test_whatever_a_parked_record_fails_for_it_leaves_nothing_but_its_dead_letter(
    tally_pool: Any, tally_handler: Make, error: Callable[[], Exception]
) -> None:
    await offsets_begin(tally_pool, P0)
    order = uuid4()
    first = counted(order, 666, 0)
    await tally_handler(TallyDeps(poison={666})).handle(
        [first, counted(order, 2, 1), counted(order, 777, 2)]
    )
    await replay(tally_handler(TallyDeps(poison={777}, error=error)), first)
    assert await totals(tally_pool) == {order: 666 + 2}
    assert await owed(tally_pool) == [2]
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM inbox") == 2


async def test_what_the_commit_would_refuse_costs_one_record_and_one_request_only(
    tally_pool: Any, tally_handler: Make, database: str
) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute(AT_COMMIT)
    await conn.close()
    await offsets_begin(tally_pool, P0)
    order, orders = uuid4(), [uuid4() for _ in range(20)]
    bad = counted(order, 13, 5)
    records = [counted(each, 1, at) for at, each in enumerate(orders)]
    await tally_handler().handle(
        [*records[:5], bad, *(replace(r, offset=r.offset + 1) for r in records[5:])]
    )
    await tally_handler().handle([counted(order, 2, 21)])
    assert await totals(tally_pool) == dict.fromkeys(orders, 1)
    found = await replay(tally_handler(), bad)
    assert (found["outcome"], found["reason"]) == ("failed", "integrity")
    assert await owed(tally_pool) == [5]
    assert (await skip(tally_handler(), order))["followed"] == 1
    assert await totals(tally_pool) == {**dict.fromkeys(orders, 1), order: 2}


async def test_of_a_record_with_entries_the_one_that_the_commit_would_refuse_is_given_up(
    tally_pool: Any, sealing: Sealing, database: str
) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute(AT_COMMIT)
    await conn.close()
    orders = [uuid4() for _ in range(9)]

    def read(record: Record) -> list[Message]:
        return [
            message(
                record, uuid4(), Counted.type, each, Counted(order_id=each, amount=9 + n), entry=n
            )
            for n, each in enumerate(orders, 1)
        ]

    source = Source(
        topics.RECEIPTS, decode=read, intake=True, alone=lambda _value, entry: b"%d" % entry
    )
    table = Subscriptions(on(source, do=tally))
    handler = Handler("tax", topics.TAX, table, tally_pool, TallyDeps(), sealing=sealing)
    await offsets_begin(tally_pool, (topics.RECEIPTS, 0))
    await handler.handle([counted(uuid4(), 1, 0, topic=topics.RECEIPTS)])
    assert await totals(tally_pool) == {each: 9 + n for n, each in enumerate(orders, 1) if n != 4}
    async with tally_pool.acquire() as conn:
        rows = await conn.fetch("SELECT entry, reason FROM dead_letter")
    assert [(row["entry"], row["reason"]) for row in rows] == [(4, "integrity")]


@pytest.mark.parametrize("text", ["a\0b", "half a pair \ud800", "\udfff" * 600, "line\nend\x1b[2J"])
async def test_a_refusal_that_quotes_what_cannot_be_kept_is_kept_all_the_same(
    tally_pool: Any, tally_handler: Make, text: str
) -> None:
    await offsets_begin(tally_pool, P0)
    poison = counted(uuid4(), 666, 0)
    deps = TallyDeps(poison={666}, error=lambda: Unprocessable("invalid_value", f"found {text}"))
    await tally_handler(deps).handle([poison, counted(uuid4(), 1, 1)])
    assert await owed(tally_pool) == [0]
    assert (await replay(tally_handler(deps), poison))["outcome"] == "failed"
    async with tally_pool.acquire() as conn:
        error = await conn.fetchval("SELECT error FROM dead_letter")
    assert error.startswith("found ")
    assert "\N{REPLACEMENT CHARACTER}" in error


async def test_a_parked_record_that_can_no_longer_be_read_is_a_dead_letter(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    order = uuid4()
    first = counted(order, 666, 0)
    handler = tally_handler(TallyDeps(poison={666}))
    await handler.handle([first, counted(order, 2, 1)])
    async with tally_pool.acquire() as conn:
        # A release that reads no more what the one before parked.
        (packed,) = await inbox.unpark(conn, [order])
        await inbox.park(
            conn, [(order, handler.encrypt(replace(handler.decrypt(packed), value=b"{")))]
        )
    await replay(tally_handler(), first)
    await tally_handler().handle([counted(order, 4, 2)])
    assert await totals(tally_pool) == {order: 666}
    assert await owed(tally_pool) == [1]
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT reason FROM held_order") == "invalid_value"
        assert await conn.fetchval("SELECT count(*) FROM parked") == 1


async def test_what_is_unavailable_is_raised_and_leaves_no_trace(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    before = await snapshot(tally_pool)
    deps = TallyDeps(poison={5}, error=lambda: Unavailable("later"))
    with pytest.raises(Unavailable):
        await tally_handler(deps).handle([counted(uuid4(), 4, 0), counted(uuid4(), 5, 1)])
    assert await snapshot(tally_pool) == before


async def test_a_schema_of_another_release_stops_the_service_and_gives_no_record_up(
    tally_pool: Any, tally_handler: Make, database: str
) -> None:
    await offsets_begin(tally_pool, P0)
    before = await snapshot(tally_pool)
    conn = await asyncpg.connect(database)
    await conn.execute("ALTER TABLE tax.tally RENAME COLUMN total TO sum")
    with pytest.raises(asyncpg.UndefinedColumnError):
        await tally_handler().handle([counted(uuid4(), 4, 0), counted(uuid4(), 5, 1)])
    await conn.execute("ALTER TABLE tax.tally RENAME COLUMN sum TO total")
    await conn.close()
    assert await snapshot(tally_pool) == before


@pytest.mark.parametrize(
    "step", ["after_offsets", "after_inbox", "after_reaction", "before_commit"]
)
async def test_killed_before_the_commit_leaves_no_trace_and_the_next_try_does_it_all(
    tally_pool: Any, tally_handler: Make, step: str
) -> None:
    await offsets_begin(tally_pool, P0)
    before = await snapshot(tally_pool)
    records = [counted(uuid4(), 4, 0), counted(uuid4(), 5, 1)]
    with pytest.raises(Killed):
        await tally_handler(points=Failpoints(step, in_process=True)).handle(records)
    assert await snapshot(tally_pool) == before
    await tally_handler().handle(records)
    assert sorted((await totals(tally_pool)).values()) == [4, 5]


async def test_killed_after_the_commit_is_done_once_and_the_next_try_is_fenced(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    records = [counted(uuid4(), 4, 0)]
    with pytest.raises(Killed):
        await tally_handler(points=Failpoints("after_commit", in_process=True)).handle(records)
    with pytest.raises(inbox.Fenced):
        await tally_handler().handle(records)
    assert list((await totals(tally_pool)).values()) == [4]


async def test_a_zombie_that_wakes_after_its_successor_is_fenced(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    records = [counted(uuid4(), 4, 0), counted(uuid4(), 5, 1)]
    zombie, successor = tally_handler(), tally_handler()
    await successor.handle(records)
    with pytest.raises(inbox.Fenced) as fenced:
        await zombie.handle(records[:1])
    assert fenced.value.partitions == {P0: 2}


async def test_an_orders_first_two_records_by_two_topics_at_once_are_decided_one_after_the_other(
    tally_pool: Any, tally_handler: Make
) -> None:
    other = (topics.PAYMENTS, 0)
    await offsets_begin(tally_pool, P0, other)
    orders = [uuid4() for _ in range(50)]
    first = tally_handler().handle([counted(order, 1, i) for i, order in enumerate(orders)])
    second = tally_handler().handle(
        [counted(order, 2, i, topic=topics.PAYMENTS) for i, order in enumerate(reversed(orders))]
    )
    await asyncio.gather(first, second)
    assert set((await totals(tally_pool)).values()) == {3}


async def test_what_comes_behind_an_unreadable_record_of_its_order_waits_in_the_same_batch_already(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    order = uuid4()
    good = counted(order, 2, 0)
    unreadable = replace(good, offset=1, value=b"{")
    await tally_handler().handle([good, unreadable, counted(order, 4, 2)])
    assert await totals(tally_pool) == {order: 2}
    async with tally_pool.acquire() as conn:
        # Once it can be read, as after a release that knows more.
        packed = pack_record(replace(good, offset=1, headers=counted(order, 8, 1).headers))
        await conn.execute("UPDATE dead_letter SET record = $1, sealed = false", packed)
    assert await replay(tally_handler(), unreadable) == {"outcome": "done", "followed": 1}
    assert await totals(tally_pool) == {order: 8}


async def test_two_bad_records_of_an_order_are_settled_one_after_the_other_in_their_order(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    order = uuid4()
    first, second = (
        replace(counted(order, 1, 0), value=b"{"),
        replace(counted(order, 1, 2), value=b"["),
    )
    await tally_handler().handle([first, counted(order, 2, 1), second, counted(order, 4, 3)])
    assert await owed(tally_pool) == [0]
    assert (await skip(tally_handler(), order))["held_again"] == "invalid_value"
    assert await totals(tally_pool) == {order: 2}
    assert await owed(tally_pool) == [2]
    assert (await skip(tally_handler(), order))["followed"] == 1
    assert await totals(tally_pool) == {order: 6}


async def test_a_header_asks_for_nothing(tally_pool: Any, tally_handler: Make) -> None:
    """Whoever may write a topic may set it: the order stays held, the letter owed, and what came waits in its place."""
    await offsets_begin(tally_pool, P0)
    order, other = uuid4(), uuid4()
    poison = counted(order, 666, 0)
    handler = tally_handler(TallyDeps(poison={666}))
    await handler.handle([poison, counted(order, 2, 1)])
    await tally_handler().handle([forged(poison, 2), forged(counted(other, 3, 0), 3)])
    assert await totals(tally_pool) == {other: 3}
    assert await owed(tally_pool) == [0]
    assert await replay(tally_handler(), poison) == {"outcome": "done", "followed": 2}
    assert await totals(tally_pool) == {order: 668, other: 3}


async def test_what_holds_an_order_is_kept_sealed_for_as_long_as_it_does(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    order = uuid4()
    poison = counted(order, 666, 0)
    keyless = replace(counted(uuid4(), 1, 1), key=None, value=b"{")
    await tally_handler(TallyDeps(poison={666})).handle([poison, keyless, counted(order, 2, 2)])
    async with tally_pool.acquire() as conn:
        await conn.execute("UPDATE dead_letter SET at = now() - interval '400 days'")
        assert await dead_letter_store.expire_dead_letters(conn, topics.ORDERS, 14 * 86400) == 1
        kept = await conn.fetchval("SELECT record FROM dead_letter")
    assert str(order).encode() not in kept
    assert await replay(tally_handler(), poison) == {"outcome": "done", "followed": 1}
    assert await totals(tally_pool) == {order: 668}


async def test_an_order_is_let_go_without_what_holds_it_and_the_audit_says_what_that_was(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    order = uuid4()
    poison = counted(order, 666, 0)
    handler = tally_handler(TallyDeps(poison={666}))
    await handler.handle([poison, counted(order, 2, 1), counted(order, 4, 2)])
    found = await skip(handler, order)
    skipped = found.pop("skipped")  # type: ignore[attr-defined]
    assert found == {"outcome": "done", "followed": 2}
    assert [(each["at"], each["reason"], each["ce_type"]) for each in skipped] == [
        ("orders.events/0/0", "invalid_value", "test.counted.v1")
    ]
    assert await totals(tally_pool) == {order: 6}
    async with tally_pool.acquire() as conn:
        for table in ("held_order", "parked", "dead_letter"):
            assert await conn.fetchval(f"SELECT count(*) FROM {table}") == 0, table
        row = await conn.fetchrow("SELECT by_whom, note, at FROM operator_request")
        assert (row["by_whom"], row["note"]) == ("an operator", "the shop sent it anew")
        for statement in (
            "UPDATE operator_request SET note = 'other'",
            "DELETE FROM operator_result",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(statement)
    assert (await skip(handler, order))["outcome"] == "nothing"


async def test_an_order_that_two_persons_let_go_at_once_is_let_go_once(
    tally_pool: Any, tally_handler: Make
) -> None:
    """It holds two letters, as of two topics; an order that nothing holds, ended or unknown, is told so."""
    await offsets_begin(tally_pool, P0, (topics.PAYMENTS, 0))
    order = uuid4()
    bad = [
        counted(order, 666, 0),
        counted(order, 2, 1),
        counted(order, 3, 0, topic=topics.PAYMENTS),
    ]
    await tally_handler(TallyDeps(poison={666})).handle(bad)
    async with tally_pool.acquire() as conn:
        packed = tally_handler().encrypt(bad[2])
        await dead_letter_store.note_dead_letter(
            conn, dead_letter_store.Letter(topics.PAYMENTS, 0, 9, "integrity", order, packed)
        )
        for _ in range(2):
            await operator_requests.ask(
                conn, "tax", "skip", "an operator", order_id=order, note="the shop sent it anew"
            )
    counts = await asyncio.gather(
        operator_requests.obey(tally_handler()), operator_requests.obey(tally_handler())
    )
    assert sum(counts) == 2
    async with tally_pool.acquire() as conn:
        rows = await conn.fetch("SELECT outcome, details FROM operator_result ORDER BY request_id")
    assert [row["outcome"] for row in rows] == ["done", "nothing"]
    assert len(orjson.loads(rows[0]["details"])["skipped"]) == 2
    assert await totals(tally_pool) == {order: 2 + 3}
    assert await owed(tally_pool) == []
    for other in (order, uuid4()):
        assert (await skip(tally_handler(), other))["outcome"] == "nothing"
    assert await totals(tally_pool) == {order: 2 + 3}


async def test_an_order_held_by_an_earlier_release_whose_letter_is_gone_is_let_go(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    order = uuid4()
    await tally_handler(TallyDeps(poison={666})).handle(
        [counted(order, 666, 0), counted(order, 2, 1)]
    )
    async with tally_pool.acquire() as conn:
        await conn.execute("DELETE FROM dead_letter")
    assert await skip(tally_handler(), order) == {"outcome": "done", "skipped": [], "followed": 1}
    assert await totals(tally_pool) == {order: 2}


@pytest.mark.parametrize("together", [True, False])
async def test_other_content_under_the_same_id_is_a_dead_letter_and_not_silence(
    tally_pool: Any, tally_handler: Make, together: bool
) -> None:
    await offsets_begin(tally_pool, P0)
    order, event = uuid4(), uuid4()
    first, second = counted(order, 5, 0, event_id=event), counted(order, 6, 1, event_id=event)
    for batch in ([first, second],) if together else ([first], [second]):
        await tally_handler().handle(batch)
    await tally_handler().handle([counted(uuid4(), 5, 2, event_id=event)])
    assert await totals(tally_pool) == {order: 5}
    dead = [
        dict(unpack_headers(r["headers"]))
        for r in await outbox_rows(tally_pool)
        if r["topic"].endswith(".dead-letters")
    ]
    assert [head["dlq_reason"] for head in dead] == [b"id_reused", b"id_reused"]
    assert str(event).encode() in dead[0]["dlq_error"]


async def test_an_event_an_earlier_release_handled_is_heard_once_whatever_it_says(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    order, event = uuid4(), uuid4()
    async with tally_pool.acquire() as conn:
        await conn.execute("INSERT INTO inbox (event_id) VALUES ($1)", event)
    await tally_handler().handle([counted(order, 5, 0, event_id=event), counted(order, 7, 1)])
    assert await totals(tally_pool) == {order: 7}


async def test_a_service_refuses_to_say_two_facts_under_one_id(
    tally_pool: Any, tally_handler: Make
) -> None:
    """By one cause the tally moves twice, as where a cause is named after less than what it is about."""
    await offsets_begin(tally_pool, P0)
    order, cause = uuid4(), uuid4()
    fact = [EmittedEvent(Tallied(order_id=order, total=n), cause, n) for n in (1, 2)]
    async with tally_pool.acquire() as conn:
        for outcome in (Outcome(facts=fact), Outcome(facts=[fact[0], fact[0]])):
            refused = outcome.facts[0] is not outcome.facts[1]
            with (
                pytest.raises(Unprocessable, match="was said before with other content")
                if refused
                else nullcontext()
            ):
                async with conn.transaction():
                    await write(conn, "tax", topics.TAX, outcome, tally_handler().sealing)
        with pytest.raises(Unprocessable, match="give each fact an id of its own"):
            async with conn.transaction():
                await write(
                    conn, "tax", topics.TAX, Outcome(facts=fact[1:]), tally_handler().sealing
                )
    assert len(await outbox_rows(tally_pool)) == 2


async def test_ids_are_noted_of_what_no_message_led_to_and_of_nothing_else(
    tally_pool: Any, tally_handler: Make
) -> None:
    """A message is handled once, so what follows from it repeats no id: to note those too would cost each record."""
    await offsets_begin(tally_pool, P0)
    await tally_handler().handle([counted(uuid4(), 5, 0)])
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM said") == 0
        fact = EmittedEvent(Tallied(order_id=uuid4(), total=1), uuid4(), 1)
        await write(conn, "tax", topics.TAX, Outcome(facts=[fact]), tally_handler().sealing)
        assert await conn.fetchval("SELECT count(*) FROM said") == 1
