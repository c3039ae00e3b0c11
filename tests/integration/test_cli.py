"""The command line against a real broker and database: dead letters, replays, facts, `verify` on what is broken."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from services.cli import connect, lag, topic_reader
from services.cli.connect import RunningStack, Unreachable, UsageError
from services.cli.dlq import app as dlq
from services.cli.dlq import drop, replay
from services.cli.dlq import letters as dead_letters
from services.cli.order import release
from services.cli.verify import app as verify
from services.cli.verify import log_invariants, table_versions
from shared import operator_requests, topics
from shared.clock import utc_now
from shared.dead_letters import dead_letter
from shared.envelope import Record, headers_of
from shared.errors import Unprocessable
from shared.handler import Handler
from shared.producer import partition_of
from shared.topics import create_topics
from tests.integration.conftest import TallyDeps, counted, offsets_begin

ORDER = UUID(int=7)
DECLARED = (
    "INSERT INTO customs.declaration (order_id, state, version, present, attempt, stored, released, cancel_refused, cop_no) "
    "SELECT o, 'lodged', v, '{}', 1, false, false, false, o::text FROM unnest($1::uuid[], $2::int[]) AS w(o, v)"
)
"""Orders that customs has declared, each with its version."""


async def send(
    to: RunningStack, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
) -> None:
    out = AIOKafkaProducer(bootstrap_servers=to.kafka)
    await out.start()
    try:
        await out.send_and_wait(to.prefix + topic, value=value, key=key, headers=headers)
    finally:
        await out.stop()


async def fact(to: RunningStack, version: int, event_id: UUID | None = None) -> None:
    headers = headers_of(
        event_id=event_id or uuid4(),
        event_type="order.placed.v1",
        source="orders",
        at=utc_now(),
        version=version,
    )
    await send(to, "orders.events", str(ORDER).encode(), b"{}", list(headers))


async def stack(kafka: str, database: str, prefix: str, home: Path) -> RunningStack:
    await create_topics(kafka, prefix, partitions=2)
    return RunningStack(kafka, database, prefix, home)


def given(found: list[replay.ReplayResult]) -> list[dead_letters.DeadLetter]:
    """Those that went back to their topics, or would."""
    return [each.letter for each in found if each.became == replay.WENT]


async def test_a_replay_puts_the_original_record_back_and_the_list_tells(
    kafka: str, database: str, topic_prefix: str, home: Path
) -> None:
    to = await stack(kafka, database, topic_prefix, home)
    poison = Record(
        "orders.submissions", 0, 5, 0, b"SHOP-1", b"\xff{", (("ce_id", b"x"), ("shop", b"mine"))
    )
    made = dead_letter("orders", poison, Unprocessable("malformed", "not JSON"), entry=2)
    await send(to, made.topic, made.key, made.value, list(made.headers))
    conn = await asyncpg.connect(database)
    await conn.execute(
        "INSERT INTO orders.dead_letter (topic, part, at_offset, reason, entry) "
        "SELECT 'orders.submissions', 0, 5, 'malformed', n FROM generate_series(1, 3) n"
    )

    (letter,) = await dead_letters.letters_of(to)
    assert await dead_letters.replayed_ids(to, [letter]) == set()
    assert given(
        await replay.replay_letters(to, [letter.letter_id], None, everything=False, dry_run=True)
    ) == [letter]
    assert [r async for r in topic_reader.read(to, ["orders.submissions"])] == []

    await replay.replay_letters(to, [letter.letter_id], None, everything=False, dry_run=False)
    (again,) = [r async for r in topic_reader.read(to, ["orders.submissions"])]
    assert (again.key, again.value) == (poison.key, poison.value)
    origin = ("dlq_origin", b"orders.submissions/0/5/2")
    assert again.headers == (*poison.headers, ("dlq_replay", letter.letter_id.encode()), origin)
    assert await dead_letters.replayed_ids(to, [letter]) == {letter.letter_id}
    assert await conn.fetchval("SELECT array_agg(entry ORDER BY 1) FROM orders.dead_letter") == [
        1,
        3,
    ]
    await conn.close()


async def test_a_letter_nobody_will_replay_is_owed_no_longer_unless_it_holds_an_order(
    kafka: str, database: str, topic_prefix: str, home: Path
) -> None:
    to = await stack(kafka, database, topic_prefix, home)
    for number, key in ((5, b"SHOP-1"), (6, str(ORDER).encode()), (7, b"SHOP-2")):
        made = dead_letter(
            "tax",
            Record("orders.events", 0, number, 0, key, b"{", ()),
            Unprocessable("malformed", "not JSON"),
        )
        await send(to, made.topic, made.key, made.value, list(made.headers))
    conn = await asyncpg.connect(database)
    await conn.execute(
        "INSERT INTO tax.dead_letter (topic, part, at_offset, reason) SELECT 'orders.events', 0, n, 'malformed' FROM unnest(ARRAY[5, 6]) n"
    )
    await conn.execute(
        "INSERT INTO tax.held_order (order_id, reason) VALUES ($1, 'malformed')", ORDER
    )
    would = await drop.drop_letters(to, [], "malformed", dry_run=True)
    assert sorted(row["outcome"] for row in would) == [
        drop.HOLDS,
        "is not owed",
        "would be dropped",
    ]
    assert await conn.fetchval("SELECT count(*) FROM tax.dead_letter") == 2
    done = await drop.drop_letters(to, [], "malformed", dry_run=False)
    assert sorted(row["outcome"] for row in done) == ["dropped", drop.HOLDS, "is not owed"]
    assert await conn.fetchval("SELECT array_agg(at_offset) FROM tax.dead_letter") == [6]
    await conn.close()


async def test_all_that_is_replayed_is_what_is_owed_and_was_not_replayed_yet(
    kafka: str, database: str, topic_prefix: str, home: Path
) -> None:
    """While the cause is not mended, each try would double them: one that fails again is a new dead letter."""
    to = await stack(kafka, database, topic_prefix, home)
    for number in (5, 6):
        made = dead_letter(
            "tax",
            Record("orders.events", 0, number, 0, b"K", b"{", ()),
            Unprocessable("malformed", "not JSON"),
        )
        await send(to, made.topic, made.key, made.value, list(made.headers))
    conn = await asyncpg.connect(database)
    await conn.execute(
        "INSERT INTO tax.dead_letter (topic, part, at_offset, reason) VALUES ('orders.events', 0, 6, 'malformed')"
    )
    letters = {letter.owed_as[3]: letter for letter in await dead_letters.letters_of(to)}
    assert set(await dead_letters.owed_by_id(to, list(letters.values()))) == {letters[6].letter_id}
    assert given(await replay.replay_letters(to, [], None, everything=True, dry_run=False)) == [
        letters[6]
    ]
    assert await dead_letters.owed_by_id(to, list(letters.values())) == {}
    assert await replay.replay_letters(to, [], "malformed", everything=False, dry_run=False) == []
    # By its id any of them is, also what was dropped.
    assert given(
        await replay.replay_letters(
            to, [letters[5].letter_id], None, everything=False, dry_run=False
        )
    ) == [letters[5]]
    await conn.close()


@contextlib.asynccontextmanager
async def obeying(handler: Handler) -> AsyncIterator[None]:
    """The service follows what operators ask, as it does while it runs."""

    async def loop() -> None:
        while True:
            await operator_requests.obey(handler)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(loop())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_holds_an_order_is_replayed_though_its_topic_has_it_no_more(
    kafka: str, database: str, topic_prefix: str, home: Path, tally_pool: Any, tally_handler: Any
) -> None:
    to = await stack(kafka, database, topic_prefix, home)
    await offsets_begin(tally_pool, (topics.ORDERS, 0))
    order = uuid4()
    handler = tally_handler(TallyDeps(poison={666}))
    await handler.handle(
        [counted(order, 666, 0), counted(order, 2, 1)]
    )  # no relay brings the letter to its topic
    (letter,) = await dead_letters.letters_of(to)
    name = "tax/orders.events/0/0"
    assert (letter.letter_id, letter.head("dlq_error")) == (name, "this amount cannot be tallied")
    with pytest.raises(UsageError, match="only tax can open the sealed record"):
        await asyncio.to_thread(show_value, name, to)
    async with obeying(handler):
        (failed,) = await replay.replay_letters(to, [name], None, everything=False, dry_run=False)
    assert (failed.became, failed.why) == (
        replay.FAILED,
        "invalid_value: this amount cannot be tallied",
    )
    async with obeying(tally_handler()):
        (handled,) = await replay.replay_letters(to, [], None, everything=True, dry_run=False)
    assert (handled.became, handled.why) == (replay.HANDLED, "1 records")
    assert await dead_letters.letters_of(to) == []
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT total FROM tally WHERE order_id = $1", order) == 668


def show_value(name: str, to: RunningStack) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dlq, "target", lambda: to)
        dlq.show(name, value=True)


async def test_what_an_earlier_release_gave_up_is_replayed_from_its_topic(
    kafka: str, database: str, topic_prefix: str, home: Path, tally_pool: Any, tally_handler: Any
) -> None:
    to = await stack(kafka, database, topic_prefix, home)
    await offsets_begin(tally_pool, (topics.ORDERS, 0))
    order = uuid4()
    poison = counted(order, 666, 0)
    await tally_handler(TallyDeps(poison={666})).handle([poison, counted(order, 2, 1)])
    made = dead_letter("tax", poison, Unprocessable("invalid_value", "no"))
    await send(to, made.topic, made.key, made.value, list(made.headers))
    conn = await asyncpg.connect(database)
    await conn.execute("UPDATE tax.dead_letter SET record = NULL, order_id = NULL")
    async with obeying(tally_handler()):
        (found,) = await replay.replay_letters(to, [], None, everything=True, dry_run=False)
    assert found.became == replay.HANDLED
    assert await conn.fetchval("SELECT total FROM tax.tally WHERE order_id = $1", order) == 668
    await conn.close()


async def test_a_held_order_is_released_with_who_and_why(
    kafka: str, database: str, topic_prefix: str, home: Path, tally_pool: Any, tally_handler: Any
) -> None:
    to = await stack(kafka, database, topic_prefix, home)
    await offsets_begin(tally_pool, (topics.ORDERS, 0))
    order = uuid4()
    handler = tally_handler(TallyDeps(poison={666}))
    await handler.handle([counted(order, 666, 0), counted(order, 2, 1)])
    with pytest.raises(UsageError, match="say --skip and --note"):
        release.release(str(order), skip=True, note=" ", service=None, json=False)
    with pytest.raises(UsageError, match="choose a service that holds it: tax"):
        await release._release(to, str(order), "a fault of ours", "customs")
    async with obeying(handler):
        (found,) = await release._release(to, str(order), "a fault of ours", None)
    assert (found["service"], found["outcome"], found["followed"]) == ("tax", "done", 1)
    assert [each["at"] for each in found["skipped"]] == ["orders.events/0/0"]
    conn = await asyncpg.connect(database)
    row = await conn.fetchrow("SELECT by_whom, act, order_id, note FROM tax.operator_request")
    assert tuple(row)[1:] == ("skip", order, "a fault of ours")
    assert row["by_whom"]
    assert await conn.fetchval("SELECT total FROM tax.tally WHERE order_id = $1", order) == 2
    await conn.close()


async def test_a_connection_that_is_cut_under_a_command_is_said_in_one_sentence(
    kafka: str, database: str, topic_prefix: str, home: Path
) -> None:
    to = await stack(kafka, database, topic_prefix, home)

    async def asks() -> None:
        async with connect.database(to) as conn:
            killer = await asyncpg.connect(database)
            await killer.execute("SELECT pg_terminate_backend($1)", conn.get_server_pid())
            await killer.close()
            await conn.fetchval("SELECT 1")

    with pytest.raises(Unreachable, match="PostgreSQL ended the connection"):
        await asks()


async def test_an_empty_stack_breaks_no_invariant(
    kafka: str, database: str, topic_prefix: str, home: Path
) -> None:
    to = await stack(kafka, database, topic_prefix, home)
    findings = await verify.judge(to, 0)
    assert [f.name for f in findings if not f.ok] == []
    assert {f.name for f in findings if f.skipped} == {
        "bank_statement",
        "authority_register",
        "sales_are_fulfilled_orders",
    }


async def test_what_waits_for_a_person_comes_before_the_invariants(
    kafka: str, database: str, topic_prefix: str, home: Path
) -> None:
    to = await stack(kafka, database, topic_prefix, home)
    assert [f.name for f in await verify.attend(to, 0) if not f.ok] == []
    conn = await asyncpg.connect(database)
    await conn.execute(
        "INSERT INTO tax.held_order (order_id, reason) VALUES ($1, 'unexpected')", ORDER
    )
    await conn.execute(
        "INSERT INTO customs.cases (kind, subject, details) VALUES ('odd', 'C1', '{}')"
    )
    await conn.execute(
        "INSERT INTO payments.aside (source, subject, reason, error, retry_at) VALUES ('effect', 'E1', 'unreadable', 'x', now())"
    )
    await conn.close()
    found = {f.name: f.offending for f in await verify.attend(to, 0) if not f.ok}
    assert found == {
        "held_orders": (f"tax {ORDER}: unexpected",),
        "open_cases": ("customs case 1 odd C1",),
        "set_aside": ("payments effect E1: unreadable",),
    }


async def test_a_lost_fact_a_doubled_one_and_a_table_that_counts_others_are_named(
    kafka: str, database: str, topic_prefix: str, home: Path
) -> None:
    to = await stack(kafka, database, topic_prefix, home)
    await fact(to, 1)
    await fact(to, 1)
    await fact(to, 3)
    found = {f.name: f.offending for f in await log_invariants.judge(to)}
    assert found["facts_without_hole"] == (f"{ORDER} orders.events version 2 is missing before 3",)
    assert found["facts_decided_once"] == (f"{ORDER} orders.events version 1",)
    assert found["log_agrees_with_tables"] == (f"{ORDER} orders.orders has 0, the log 3",)


async def test_an_order_whose_facts_are_all_missing_from_a_log_that_forgot_nothing_is_named(
    kafka: str, database: str, topic_prefix: str, home: Path
) -> None:
    to = await stack(kafka, database, topic_prefix, home)
    conn = await asyncpg.connect(database)
    await conn.execute(DECLARED, [ORDER], [1])
    await conn.close()
    found = {f.name: f.offending for f in await log_invariants.judge(to)}
    assert found["log_agrees_with_tables"] == (f"{ORDER} customs.declaration has 1, the log 0",)


async def say(to: RunningStack, orders: Sequence[UUID]) -> None:
    """Customs says one fact of each of the orders."""
    out = AIOKafkaProducer(bootstrap_servers=to.kafka)
    await out.start()
    try:
        for order_id in orders:
            heads = headers_of(
                event_id=uuid4(),
                event_type="declaration.lodged.v1",
                source="customs",
                at=utc_now(),
                version=1,
            )
            await out.send(
                f"{to.prefix}customs.events", b"{}", key=str(order_id).encode(), headers=list(heads)
            )
    finally:
        await out.stop()


async def test_among_many_orders_each_that_the_log_counts_otherwise_is_named(
    kafka: str, database: str, topic_prefix: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_versions, "ROWS_AT_ONCE", 7)
    to = await stack(kafka, database, topic_prefix, home)
    orders = [uuid4() for _ in range(60)]
    versions = [1] * 55 + [2, 2] + [1, 1, 1]
    conn = await asyncpg.connect(database)
    await conn.execute(DECLARED, orders, versions)
    await conn.close()
    await say(to, orders[:57])
    found = {f.name: f.offending for f in await log_invariants.judge(to)}
    more = [f"{order_id} customs.declaration has 2, the log 1" for order_id in orders[55:57]]
    unsaid = [f"{order_id} customs.declaration has 1, the log 0" for order_id in orders[57:]]
    assert sorted(found["log_agrees_with_tables"]) == sorted(more + unsaid)


async def test_what_a_log_has_forgotten_says_nothing_against_a_table_and_what_another_never_had_does(
    kafka: str, database: str, topic_prefix: str, home: Path
) -> None:
    to = await stack(kafka, database, topic_prefix, home)
    orders = [uuid4() for _ in range(60)]
    conn = await asyncpg.connect(database)
    await conn.execute(DECLARED, orders, [1] * 60)
    await conn.close()
    await say(to, orders[:50])
    cut = TopicPartition(f"{to.prefix}customs.events", 1)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_records({cut: RecordsToDelete(before_offset=5)})
    finally:
        await admin.close()
    found = {f.name: f.offending for f in await log_invariants.judge(to)}
    unsaid = [order_id for order_id in orders[50:] if partition_of(str(order_id).encode(), 2) == 0]
    assert unsaid
    assert sorted(found["log_agrees_with_tables"]) == sorted(
        f"{o} customs.declaration has 1, the log 0" for o in unsaid
    )


async def test_records_nobody_handled_and_offsets_beyond_the_log_are_named(
    kafka: str, database: str, topic_prefix: str, home: Path
) -> None:
    to = await stack(kafka, database, topic_prefix, home)
    await fact(to, 1)
    (place,) = {(r.topic, r.partition) async for r in topic_reader.read(to, ["orders.events"])}
    conn = await asyncpg.connect(database)
    await conn.execute(
        "INSERT INTO payments.consumer_offset VALUES ($1, $2, 0), ($1, $3, 9)",
        place[0],
        place[1],
        1 - place[1],
    )
    await conn.close()
    assert await lag.lag_of(to) == {"orders": 0, "payments": 1, "tax": 1, "customs": 1}
    found = {f.name: f.offending for f in await verify.judge(to, 0)}
    # Tax and customs were never given the partition.
    assert found["no_lag"] == tuple(
        f"{service} {place[0]}/{place[1]} at 0" for service in ("payments", "tax", "customs")
    )
    assert found["offsets_within_log"] == (
        f"payments {place[0]}/{1 - place[1]} at 9, the log ends at 0",
    )


async def test_an_outbox_row_nobody_publishes_is_named(
    kafka: str, database: str, topic_prefix: str, home: Path
) -> None:
    to = await stack(kafka, database, topic_prefix, home)
    conn = await asyncpg.connect(database)
    await conn.execute(
        "INSERT INTO tax.outbox (topic, key, headers, value) VALUES ('tax.events', '', '[]', '')"
    )
    await conn.close()
    found = {f.name: f.offending for f in await verify.judge(to, 0)}
    assert found["tax_outbox_published"] == ("tax.events outbox row 1",)
