"""One thing that goes wrong costs itself only: it is set aside, the others go on, and it is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client import REGISTRY

from services.cli import aside as cli
from services.cli.connect import RunningStack, UsageError
from shared import effects, metrics, operator_requests, outbox, topics
from shared.effect_runner import EffectRunner
from shared.effects import Effect, NoReply, Reply
from shared.envelope import Outgoing
from shared.handler import Handler
from shared.outcomes import write
from shared.relay import READ_BYTES_MAX, READ_MAX, Relay
from shared.sealing import Sealing, ensure_master_keys
from shared.service import Service, Timer, Wiring
from shared.settings import Settings
from shared.subscriptions import EmittedEvent, OutboundCommand, Outcome
from shared.timer_items import Items, Subject
from tests.integration.conftest import TALLY_SUBSCRIPTIONS, Tallied, TallyDeps, counted
from tests.integration.test_delivery import (
    empty,
    everything_tallied,
    publish,
    read_all,
    running,
    until,
)

Performed = Sequence[Reply | NoReply]


def shown(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"crossborder_{name}", {"service": "tax", **labels}) or 0.0


async def aside_rows(pool: Any) -> list[asyncpg.Record]:
    async with pool.acquire() as conn:
        found: list[asyncpg.Record] = await conn.fetch("SELECT * FROM aside ORDER BY number")
        return found


async def run_sql(pool: Any, sql: str, *args: Any) -> Any:
    async with pool.acquire() as conn:
        return await conn.fetchval(sql, *args)


# --- effects


class Party:
    """An outside party that answers; with some instructions the program itself fails."""

    def __init__(
        self,
        bad: set[bytes] = frozenset(),  # type: ignore[assignment]
        error: Callable[[], Exception] = lambda: KeyError("status"),
    ) -> None:
        self.bad = set(bad)
        self.error = error
        self.asked: list[list[bytes]] = []

    async def perform(self, kind: str, claimed: Sequence[Effect]) -> Performed:
        self.asked.append([e.request for e in claimed])
        if kind == "of another release" or any(e.request in self.bad for e in claimed):
            raise self.error()
        return [Reply(e, len(e.request)) for e in claimed]


async def settle(conn: Any, answered: Sequence[Reply], _deps: Any) -> Outcome:
    """One fact per answer; one answer breaks a rule of the database, one leads to more than a topic takes."""
    outcome = Outcome()
    for a in answered:
        total = 10**9 if a.effect.request == b"breaks a rule" else 1
        await conn.execute(
            "INSERT INTO tally (order_id, total, version) VALUES ($1, $2, 1)",
            a.effect.order_id,
            total,
        )
        if a.effect.request == b"leads to too much":
            outcome.records.append(Outgoing(topics.TAX, b"k", b"x" * topics.MESSAGE_BYTES_MAX, ()))
        outcome.facts.append(
            EmittedEvent(Tallied(order_id=a.effect.order_id, total=1), a.effect.intent_id, 1)
        )
    return outcome


def runner(
    pool: Any, sealing: Sealing, perform: Callable[[str, Sequence[Effect]], Awaitable[Performed]]
) -> EffectRunner:
    async def finish(conn: Any, outcome: Outcome) -> None:
        await write(conn, "tax", topics.TAX, outcome, sealing)

    return EffectRunner(
        "tax", pool, TallyDeps(), perform, settle, finish, lambda _: None, sealing=sealing
    )


async def instruct(pool: Any, sealing: Sealing, *requests: bytes, kind: str = "ask") -> list[UUID]:
    orders = [uuid4() for _ in requests]
    async with pool.acquire() as conn:
        await effects.record_commands(
            conn,
            sealing,
            [
                OutboundCommand(uuid4(), order, kind, request)
                for order, request in zip(orders, requests, strict=True)
            ],
        )
    return orders


async def made_due(pool: Any) -> None:
    await run_sql(pool, "UPDATE aside SET retry_at = now()")
    await run_sql(pool, "UPDATE effect SET next_at = now()")


@pytest.mark.parametrize("place", [0, 7, 19])
async def test_one_instruction_that_cannot_be_performed_is_set_aside_and_19_others_are_done(
    tally_pool: Any, sealing: Sealing, place: int
) -> None:
    requests = [b"good"] * 20
    requests[place] = b"bad"
    orders = await instruct(tally_pool, sealing, *requests)
    party = Party({b"bad"})
    running_one = runner(tally_pool, sealing, party.perform)
    await running_one.once()
    assert len(party.asked) <= 2 * 5 + 1  # halves, down to one
    (row,) = await aside_rows(tally_pool)
    assert (row["source"], row["order_id"], row["reason"], row["times"]) == (
        "effect",
        orders[place],
        "unexpected",
        1,
    )
    assert "KeyError" in row["error"]
    assert await run_sql(tally_pool, "SELECT count(*) FROM tally") == 19
    assert await run_sql(tally_pool, "SELECT next_at > now() + interval '50 seconds' FROM effect")
    async with tally_pool.acquire() as conn:
        assert await effects.measure(conn, "tax") == 0  # what is set aside has a gauge of its own

    # It is tried again, alone and less and less often, until it succeeds.
    await made_due(tally_pool)
    await instruct(tally_pool, sealing, b"good", b"good")
    party.asked.clear()
    await running_one.once()
    assert sorted(map(sorted, party.asked)) == [[b"bad"], [b"good", b"good"]]
    (row,) = await aside_rows(tally_pool)
    assert row["times"] == 2
    assert await run_sql(tally_pool, "SELECT next_at > now() + interval '110 seconds' FROM effect")
    await made_due(tally_pool)
    party.bad.clear()
    await running_one.once()
    assert await aside_rows(tally_pool) == []
    assert await run_sql(tally_pool, "SELECT count(*) FROM tally") == 22
    assert await empty(tally_pool, "effect")


async def test_instructions_of_another_release_or_under_another_key_cost_themselves_only(
    tally_pool: Any, sealing: Sealing, tmp_path: Path
) -> None:
    ensure_master_keys(tmp_path)
    foreign = await instruct(tally_pool, Sealing.from_dir(tmp_path), b"sealed elsewhere")
    unknown = await instruct(tally_pool, sealing, b"?", b"?", kind="of another release")
    spoiled = await instruct(tally_pool, sealing, b"short")
    await run_sql(tally_pool, "UPDATE effect SET request = 'x' WHERE order_id = $1", spoiled[0])
    await instruct(tally_pool, sealing, *[b"good"] * 10)
    async with running(runner(tally_pool, sealing, Party().perform).run()) as task:
        await until(lambda: everything_tallied(tally_pool, 10))
        await asyncio.sleep(0.3)
        assert not task.done()
    rows = await aside_rows(tally_pool)
    assert {(row["order_id"], row["reason"]) for row in rows} == {
        (foreign[0], "sealed"), (spoiled[0], "sealed"), (unknown[0], "unexpected"), (unknown[1], "unexpected")
    }  # fmt: skip
    assert await run_sql(tally_pool, "SELECT count(*) FROM effect") == 4


@pytest.mark.parametrize(
    ("request_", "reason"), [(b"breaks a rule", "integrity"), (b"leads to too much", "too_large")]
)
async def test_one_answer_that_cannot_be_settled_is_set_aside_and_leaves_nothing(
    tally_pool: Any, sealing: Sealing, request_: bytes, reason: str
) -> None:
    orders = await instruct(tally_pool, sealing, *[b"good"] * 9, request_, *[b"good"] * 9)
    await runner(tally_pool, sealing, Party().perform).once()
    (row,) = await aside_rows(tally_pool)
    assert (row["order_id"], row["reason"]) == (orders[9], reason)
    assert await run_sql(tally_pool, "SELECT count(*) FROM tally") == 18
    assert await run_sql(tally_pool, "SELECT count(*) FROM outbox") == 18


async def test_trouble_of_the_database_sets_nothing_aside(
    tally_pool: Any, sealing: Sealing
) -> None:
    await instruct(tally_pool, sealing, b"bad", b"good")
    party = Party({b"bad"}, lambda: asyncpg.DeadlockDetectedError("deadlock"))
    one = runner(tally_pool, sealing, party.perform)
    with pytest.raises(asyncpg.DeadlockDetectedError):
        await one.once()
    assert await aside_rows(tally_pool) == []
    await run_sql(tally_pool, "UPDATE effect SET next_at = now()")
    party.bad.clear()
    await one.once()
    assert await run_sql(tally_pool, "SELECT count(*) FROM tally") == 2


async def test_a_fault_of_the_loop_itself_is_counted_and_shown_until_it_is_over(
    tally_pool: Any, sealing: Sealing, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = runner(tally_pool, sealing, Party().perform)
    claim, broken = one._claim, [True]

    async def claims() -> list[Effect]:
        if broken[0]:
            raise ZeroDivisionError
        return await claim()

    monkeypatch.setattr(one, "_claim", claims)
    before = shown("loop_failures_total", loop="effects")
    await instruct(tally_pool, sealing, b"good")
    async with running(one.run()) as task:

        async def fails_twice() -> bool:
            return shown("loop_failed_in_a_row", loop="effects") >= 2

        await until(fails_twice)
        broken[0] = False
        await until(lambda: everything_tallied(tally_pool, 1))
        assert not task.done()
    assert shown("loop_failures_total", loop="effects") >= before + 2
    assert shown("loop_failed_in_a_row", loop="effects") == 0


# --- the relay


def fact(order: UUID, text: str) -> Outgoing:
    return Outgoing(topics.TAX, str(order).encode(), text.encode(), (("n", b"1"),))


async def append(pool: Any, sealing: Sealing, *records: Outgoing) -> None:
    async with pool.acquire() as conn:
        await outbox.append(conn, sealing, records)


SPOILS = {
    "headers of another release": "UPDATE outbox SET headers = 'not json' WHERE value = 'bad'",
    "sealed under another key": "UPDATE outbox SET sealed = true WHERE value = 'bad'",
    "larger than the broker takes": "UPDATE outbox SET value = convert_to(repeat('x', 2100000), 'UTF8') WHERE value = 'bad'",
    "a header that is no text": "UPDATE outbox SET headers = '[[1, \"x\"]]' WHERE value = 'bad'",
}


@pytest.mark.parametrize("spoil", SPOILS)
async def test_one_record_that_cannot_be_published_holds_back_its_order_and_nobody_else(
    kafka: str, topic_prefix: str, tally_pool: Any, sealing: Sealing, spoil: str
) -> None:
    await topics.create_topics(kafka, topic_prefix, partitions=3)
    mine, others = uuid4(), [uuid4() for _ in range(30)]
    await append(tally_pool, sealing, *(fact(o, "before") for o in others), fact(mine, "bad"), fact(mine, "behind"),
                 *(fact(o, "after") for o in others))  # fmt: skip
    await run_sql(tally_pool, SPOILS[spoil])
    relay = Relay("tax", tally_pool, kafka, prefix=topic_prefix, sealing=sealing)

    async def two_are_left() -> bool:
        return bool(await run_sql(tally_pool, "SELECT count(*) FROM outbox") == 2)

    async with running(relay.run()) as task:
        await until(two_are_left)
        await append(tally_pool, sealing, fact(mine, "behind too"), fact(others[0], "later"))
        await until(lambda: aside_is(tally_pool, 1))
        await asyncio.sleep(0.5)
        assert not task.done()
    (row,) = await aside_rows(tally_pool)
    assert (row["source"], row["order_id"]) == ("outbox", mine)
    assert row["reason"] in ("unexpected", "sealed", "too_large")
    assert await run_sql(tally_pool, "SELECT count(*) FROM outbox") == 3

    # Mended and due again, it goes out first and then what waited behind it.
    await run_sql(tally_pool, "UPDATE outbox SET value = 'bad', sealed = false, headers = '[[\"n\", \"1\"]]' WHERE id = $1",
                  int(row["subject"]))  # fmt: skip
    await run_sql(tally_pool, "UPDATE aside SET retry_at = now()")
    async with running(Relay("tax", tally_pool, kafka, prefix=topic_prefix, sealing=sealing).run()):
        await until(lambda: empty(tally_pool, "outbox"))
    assert await aside_rows(tally_pool) == []
    published = await read_all(kafka, topic_prefix + topics.TAX)
    assert [r.value for r in published if r.key == str(mine).encode()] == [
        b"bad",
        b"behind",
        b"behind too",
    ]
    assert {r.key for r in published if r.value == b"after"} == {str(o).encode() for o in others}


@pytest.mark.parametrize("large", [(0,), (29,), (0, 1), (5, 20, 21)])
async def test_records_that_a_brokers_lower_limit_refuses_are_set_aside(
    kafka: str, topic_prefix: str, tally_pool: Any, sealing: Sealing, large: tuple[int, ...]
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics(
        [NewTopic(topic_prefix + topics.TAX, 1, 1, topic_configs={"max.message.bytes": "10000"})]
    )
    await admin.close()
    orders = [uuid4() for _ in range(30)]
    await append(
        tally_pool,
        sealing,
        *(fact(o, "x" * (20_000 if n in large else 5)) for n, o in enumerate(orders)),
    )
    relay = Relay("tax", tally_pool, kafka, prefix=topic_prefix, sealing=sealing)
    async with running(relay.run()) as task:
        await until(lambda: aside_is(tally_pool, len(large)), 60)
        await append(tally_pool, sealing, *(fact(uuid4(), "small") for _ in range(30)))

        async def only_they_are_left() -> bool:
            return bool(await run_sql(tally_pool, "SELECT count(*) = $1 FROM outbox", len(large)))

        await until(only_they_are_left)
        assert not task.done()
    rows = await aside_rows(tally_pool)
    assert {(row["order_id"], row["reason"]) for row in rows} == {
        (orders[n], "too_large") for n in large
    }
    assert "max.message.bytes" in rows[0]["error"]


async def aside_is(pool: Any, count: int) -> bool:
    return len(await aside_rows(pool)) == count


async def test_a_topic_that_is_missing_holds_back_its_own_records_only(
    kafka: str,
    topic_prefix: str,
    tally_pool: Any,
    sealing: Sealing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.relay.TOPIC_CLOSED_S", 2.0)
    await topics.create_topics(kafka, topic_prefix, partitions=3)
    missing = Outgoing("of.the.next.release", str(uuid4()).encode(), b"early", ())
    async with tally_pool.acquire() as conn:
        await outbox.append(
            conn, sealing, [missing, fact(uuid4(), "a"), missing, fact(uuid4(), "b")]
        )
    relay = Relay("tax", tally_pool, kafka, prefix=topic_prefix, sealing=sealing)

    async def only_these_are_left() -> bool:
        return bool(
            await run_sql(
                tally_pool, "SELECT count(*) = 2 AND min(topic) = 'of.the.next.release' FROM outbox"
            )
        )

    async with running(relay.run()) as task:
        await until(only_these_are_left, 60)
        await append(tally_pool, sealing, fact(uuid4(), "c"))
        await until(only_these_are_left, 60)
        await topics.create_topics(
            kafka, topic_prefix, extra=[topics.Topic("of.the.next.release", (), ())], partitions=1
        )
        await until(lambda: empty(tally_pool, "outbox"), 90)
        assert not task.done()
    assert await aside_rows(tally_pool) == []
    assert {r.value for r in await read_all(kafka, topic_prefix + topics.TAX)} == {b"a", b"b", b"c"}


async def test_the_relay_reads_no_more_at_once_than_it_has_room_for(
    tally_pool: Any, sealing: Sealing
) -> None:
    await append(tally_pool, sealing, *(fact(uuid4(), "x" * 2_000_000) for _ in range(20)))
    relay = Relay("tax", tally_pool, "nowhere:1", sealing=sealing)
    async with tally_pool.acquire() as conn:
        rows = await relay._read(conn, READ_MAX)
        assert [r["id"] for r in rows] == sorted(r["id"] for r in rows)
        assert len(rows) == 8
        assert sum(len(r["value"]) for r in rows) <= READ_BYTES_MAX
        assert len(await relay._read(conn, 2)) == 2
        await conn.execute("DELETE FROM outbox")
        assert await relay._read(conn, READ_MAX) == []
    await append(tally_pool, sealing, *(fact(uuid4(), "small") for _ in range(20)))
    async with tally_pool.acquire() as conn:
        assert len(await relay._read(conn, READ_MAX)) == 20


# --- timers

TALLIES: Items[UUID] = Items("tax", "bills", lambda order: Subject(str(order), order))
_DUE = (
    "SELECT order_id FROM tally WHERE version = 1 AND order_id <> ALL "
    "(ARRAY(SELECT subject::uuid FROM aside WHERE source = 'bills' AND retry_at > now())) ORDER BY order_id FOR UPDATE"
)


def ticking(bad: set[int], seen: list[int]) -> Callable[[Any, Any], Awaitable[Outcome]]:
    """A timer that works on tallies; those with these totals it cannot do."""

    async def tick(conn: Any, _deps: Any) -> Outcome:
        async def act(orders: Sequence[UUID]) -> Outcome:
            seen.append(len(orders))
            await conn.execute(
                "UPDATE tally SET version = 2 WHERE order_id = ANY($1::uuid[])", list(orders)
            )
            totals = await conn.fetch(
                "SELECT total FROM tally WHERE order_id = ANY($1::uuid[])", list(orders)
            )
            if bad & {row["total"] for row in totals}:
                raise ValueError("this cannot be done")
            return Outcome(facts=[EmittedEvent(Tallied(order_id=o, total=0), o, 2) for o in orders])

        return await TALLIES.each(conn, [row["order_id"] for row in await conn.fetch(_DUE)], act)

    return tick


async def failing(_conn: Any, _deps: Any) -> Outcome:
    raise AssertionError("a fault of the program")


async def test_one_bad_item_of_a_timer_is_set_aside_and_the_others_are_done(
    kafka: str, topic_prefix: str, database: str, tally_pool: Any, sealing: Sealing
) -> None:
    """A second timer fails each time: neither stops the consumer, nor each other."""
    await topics.create_topics(kafka, topic_prefix, partitions=1)
    bad, seen, orders = {13}, list[int](), [uuid4() for _ in range(20)]
    timers = [Timer("bills", 0.05, ticking(bad, seen)), Timer("lapses", 0.05, failing)]
    wiring = Wiring("tax", topics.TAX, TALLY_SUBSCRIPTIONS, TallyDeps(), sealing, timers=timers)
    async with tally_pool.acquire() as conn:
        await conn.executemany(
            "INSERT INTO tally VALUES ($1, $2, 1)", [(o, n) for n, o in enumerate(orders)]
        )
    before = shown("loop_failures_total", loop="lapses")
    service = Service(
        wiring, Settings(kafka=kafka, postgres=database, topic_prefix=topic_prefix), tally_pool
    )
    async with running(service.run(asyncio.Event())) as task:
        await publish(
            kafka, topic_prefix + topics.ORDERS, [counted(uuid4(), 1, 0) for _ in range(10)]
        )
        await until(lambda: one_is_undone(tally_pool))

        async def done_but_one() -> bool:
            return await aside_is(tally_pool, 1) and bool(
                await run_sql(tally_pool, "SELECT count(*) = 29 FROM tally WHERE version = 2")
            )

        await until(done_but_one)
        (row,) = await aside_rows(tally_pool)
        assert (row["source"], row["order_id"], row["reason"]) == (
            "bills",
            orders[13],
            "unexpected",
        )
        turns = len(seen)
        await asyncio.sleep(0.5)
        assert len(seen) == turns  # it is left alone until its pause is over
        assert shown("loop_failures_total", loop="lapses") >= before + 2
        assert shown("loop_failed_in_a_row", loop="lapses") >= 2
        bad.clear()
        await run_sql(tally_pool, "UPDATE aside SET retry_at = now()")
        await until(lambda: aside_is(tally_pool, 0))
        assert await run_sql(tally_pool, "SELECT count(*) = 30 FROM tally WHERE version = 2")
        assert not task.done()
    assert max(seen) >= 20
    assert len([n for n in seen if n == 1]) <= 2 * 3 + 10


async def one_is_undone(pool: Any) -> bool:
    return bool(await run_sql(pool, "SELECT count(*) = 1 FROM tally WHERE version = 1"))


async def test_an_item_of_a_timer_that_leads_to_more_than_a_topic_takes_is_set_aside(
    tally_pool: Any, sealing: Sealing
) -> None:
    orders = [uuid4() for _ in range(8)]

    async def act(some: Sequence[UUID]) -> Outcome:
        size = topics.MESSAGE_BYTES_MAX if orders[2] in some else 10
        return Outcome(records=[Outgoing(topics.DECLARATIONS, b"k", b"x" * size, ())])

    async with tally_pool.acquire() as conn, conn.transaction():
        outcome = await TALLIES.each(conn, orders, act)
        await write(conn, "tax", topics.TAX, outcome, sealing)
    (row,) = await aside_rows(tally_pool)
    assert (row["order_id"], row["reason"]) == (orders[2], "too_large")


AT_COMMIT = (
    "CREATE FUNCTION tax.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE check_violation; END $$; "
    "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON tax.tally DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW WHEN (NEW.total = 13) EXECUTE FUNCTION tax.refuse()"
)
"""Makes the database refuse one total, and only when the transaction is committed."""


async def test_an_item_of_a_timer_that_the_commit_would_refuse_is_set_aside(
    tally_pool: Any, database: str, sealing: Sealing
) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute(AT_COMMIT)
    await conn.close()
    orders = [uuid4() for _ in range(20)]

    async def act(some: Sequence[UUID]) -> Outcome:
        await used.executemany(
            "INSERT INTO tally VALUES ($1, $2, 1)", [(order, orders.index(order)) for order in some]
        )
        return Outcome()

    async with tally_pool.acquire() as used, used.transaction():
        await TALLIES.each(used, orders, act)
    assert await run_sql(tally_pool, "SELECT count(*) FROM tally") == 19
    (row,) = await aside_rows(tally_pool)
    assert (row["order_id"], row["reason"]) == (orders[13], "integrity")


async def test_items_of_a_timer_that_fail_only_together_are_all_done(tally_pool: Any) -> None:
    orders, done = [uuid4() for _ in range(16)], list[UUID]()

    async def act(some: Sequence[UUID]) -> Outcome:
        if {orders[3], orders[4]} <= {*some} or {orders[9], orders[15]} <= {*some}:
            raise KeyError("not these two")
        done.extend(some)
        return Outcome()

    async with tally_pool.acquire() as conn, conn.transaction():
        await TALLIES.each(conn, orders, act)
    assert sorted(done) == sorted(orders)
    assert await aside_rows(tally_pool) == []


async def test_an_item_of_a_timer_that_repeats_an_id_with_other_content_is_set_aside(
    tally_pool: Any, sealing: Sealing
) -> None:
    """Of an id said before, and of one that another item of the same turn has."""
    orders = [uuid4() for _ in range(20)]
    said = EmittedEvent(Tallied(order_id=orders[5], total=0), orders[5], 1)

    def facts(order: UUID) -> list[EmittedEvent]:
        if order == orders[17]:
            return [EmittedEvent(Tallied(order_id=orders[2], total=17), orders[2], 1)]
        return [EmittedEvent(Tallied(order_id=order, total=1), order, 1)]

    async def act(some: Sequence[UUID]) -> Outcome:
        return Outcome(facts=[fact for order in some for fact in facts(order)])

    async with tally_pool.acquire() as conn:
        async with conn.transaction():
            await write(conn, "tax", topics.TAX, Outcome(facts=[said]), sealing)
        async with conn.transaction():
            await write(conn, "tax", topics.TAX, await TALLIES.each(conn, orders, act), sealing)
    assert {(row["order_id"], row["reason"]) for row in await aside_rows(tally_pool)} == {
        (orders[5], "id_reused"), (orders[17], "id_reused"),
    }  # fmt: skip
    assert await run_sql(tally_pool, "SELECT count(*) FROM outbox") == 1 + 18


async def test_trouble_of_the_database_sets_no_item_of_a_timer_aside(tally_pool: Any) -> None:
    async def act(_some: Sequence[UUID]) -> Outcome:
        raise asyncpg.DiskFullError("no space left")

    async with tally_pool.acquire() as conn:
        with pytest.raises(asyncpg.DiskFullError):
            async with conn.transaction():
                await TALLIES.each(conn, [uuid4(), uuid4()], act)
    assert await aside_rows(tally_pool) == []


async def test_what_is_set_aside_is_shown_by_source(tally_pool: Any) -> None:
    from shared import aside

    async with tally_pool.acquire() as conn:
        await aside.put(conn, "tax", "bills", [aside.Failed("a", None, "unexpected", "ValueError")])
        await aside.measure(conn, "tax")
        assert shown("set_aside_items", source="bills") == 1
        assert shown("set_aside_items", source="effect") == 0
        assert shown("set_aside_oldest_timestamp_seconds") > 1e9
        await aside.clear(conn, "bills", ["a"])
        await aside.measure(conn, "tax")
        assert (
            shown("set_aside_items", source="bills"),
            shown("set_aside_oldest_timestamp_seconds"),
        ) == (0, 0)
    assert "bills" in metrics.ASIDE_SOURCES


async def test_an_operator_sees_what_is_set_aside_and_has_it_tried_at_once(
    tally_pool: Any, sealing: Sealing, database: str, tmp_path: Path
) -> None:
    (order,) = await instruct(tally_pool, sealing, b"bad")
    party = Party({b"bad"})
    await runner(tally_pool, sealing, party.perform).once()
    to = RunningStack("nowhere:1", database, "", tmp_path)
    (item,) = await cli.items_of(to)
    assert (item["service"], item["source"], item["order_id"], item["times"]) == (
        "tax",
        "effect",
        order,
        1,
    )
    with pytest.raises(UsageError, match="nothing is set aside as tax/999"):
        await cli._retry(to, ["tax/999"])
    party.bad.clear()
    assert await runner(tally_pool, sealing, party.perform).once() == 0
    assert [row["id"] for row in await cli._retry(to, [item["id"]])] == [item["id"]]
    await runner(tally_pool, sealing, party.perform).once()
    assert await cli.items_of(to) == []
    assert await everything_tallied(tally_pool, 1)


@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_record_that_no_cause_can_be_mended_of_is_given_up_with_a_note(
    kafka: str,
    topic_prefix: str,
    tally_pool: Any,
    sealing: Sealing,
    database: str,
    tmp_path: Path,
    spoil: str,
) -> None:
    await topics.create_topics(kafka, topic_prefix, partitions=1)
    (order,) = await instruct(tally_pool, sealing, b"bad")
    await runner(tally_pool, sealing, Party({b"bad"}).perform).once()
    await append(tally_pool, sealing, fact(order, "bad"), fact(order, "behind"))
    await run_sql(tally_pool, SPOILS[spoil])
    to = RunningStack("nowhere:1", database, "", tmp_path)
    async with running(Relay("tax", tally_pool, kafka, prefix=topic_prefix, sealing=sealing).run()):
        await until(lambda: aside_is(tally_pool, 2))
        instruction, record = await cli.items_of(to)
        with pytest.raises(UsageError, match="only a record to publish"):
            await cli._drop(to, instruction["id"], "the key is lost")
        with pytest.raises(UsageError, match="nothing is set aside as tax/999"):
            await cli._drop(to, "tax/999", "the key is lost")
        given_up = await cli._drop(to, record["id"], "the key is lost")
        assert given_up["topic"] == topics.TAX
        await until(lambda: empty(tally_pool, "outbox"))
    assert [r.value for r in await read_all(kafka, topic_prefix + topics.TAX)] == [b"behind"]
    assert [row["source"] for row in await aside_rows(tally_pool)] == ["effect"]
    async with tally_pool.acquire() as conn:
        row = await conn.fetchrow(
            "SELECT q.*, r.outcome FROM operator_request q JOIN operator_result r ON r.request_id = q.id"
        )
    assert (row["act"], row["order_id"], row["note"], row["outcome"]) == (
        "give_up",
        order,
        "the key is lost",
        "done",
    )
    assert row["letter"] == f"outbox {record['subject']}"
    assert (
        await operator_requests.obey(
            Handler(
                "tax", topics.TAX, TALLY_SUBSCRIPTIONS, tally_pool, TallyDeps(), sealing=sealing
            )
        )
        == 0
    )
