"""Where a log ends is not behind its last record: marks of transactions, committed, aborted and left open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from prometheus_client import REGISTRY

from services.cli import lag, topic_reader
from services.cli.connect import RunningStack, Unreachable
from services.cli.dlq import letters, replay
from services.cli.stack import restart
from services.cli.verify import app as verify
from shared import inbox, log_ends, topics
from shared.dead_letters import dead_letter
from shared.envelope import Record
from shared.errors import Unavailable, Unprocessable
from shared.sealing import Sealing
from tests.integration.conftest import counted
from tests.integration.test_cli import given
from tests.integration.test_delivery import everything_tallied, running, tally_service, until

PARTITIONS = 6
KINDS = ("committed", "aborted", "both", "open", "open behind marks", "one of several open")


@contextlib.asynccontextmanager
async def writer(kafka: str, name: str) -> AsyncIterator[AIOKafkaProducer]:
    """A producer with transactions, as an exactly-once connector of a shop has."""
    made = AIOKafkaProducer(
        bootstrap_servers=kafka, transactional_id=name, transaction_timeout_ms=60_000
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def write(producer: AIOKafkaProducer, topic: str, number: int, count: int) -> None:
    for _ in range(count):
        r = counted(uuid4(), 1, 0)
        await producer.send_and_wait(
            topic, key=r.key, value=r.value, headers=list(r.headers), partition=number
        )


async def write_plain(kafka: str, topic: str, number: int, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        await write(producer, topic, number, count)
    finally:
        await producer.stop()


@contextlib.asynccontextmanager
async def ending(
    kafka: str, topic: str, kind: str, numbers: Sequence[int] = (0, 1, 3, 4)
) -> AsyncIterator[dict[int, int]]:
    """Partitions of a topic that end in marks or in an open transaction; yields how many records each has to be read."""
    readable = dict.fromkeys(range(PARTITIONS), 0)
    async with writer(kafka, f"{topic}-one") as one, writer(kafka, f"{topic}-two") as two:
        if kind in {"committed", "both", "open behind marks"}:
            async with one.transaction():
                for number in numbers:
                    await write(one, topic, number, number + 1)
            readable |= {number: number + 1 for number in numbers}
        if kind in {"aborted", "both"}:
            await one.begin_transaction()
            for number in numbers:
                await write(one, topic, number, 2)
            await one.abort_transaction()
        if is_open(kind):
            await _leave_open(kafka, topic, kind, numbers, one, two, readable)
        yield readable
        if is_open(kind):
            await two.abort_transaction()


async def _leave_open(
    kafka: str, topic: str, kind: str, numbers: Sequence[int], one: AIOKafkaProducer, two: AIOKafkaProducer, readable: dict[int, int]
) -> None:  # fmt: skip
    first, mixed = numbers[0], kind == "one of several open"
    if mixed:
        await write_plain(kafka, topic, first, 3)
        readable[first] += 3
    await two.begin_transaction()
    for number in numbers:
        await write(two, topic, number, 2)
    if mixed:
        async with one.transaction():
            await write(one, topic, first, 1)
        await write_plain(kafka, topic, first, 1)


def is_open(kind: str) -> bool:
    return "open" in kind


async def made(kafka: str, database: str, prefix: str, home: Path) -> RunningStack:
    await topics.create_topics(kafka, prefix, partitions=PARTITIONS)
    return RunningStack(kafka, database, prefix, home)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_topic_is_read_to_its_end_whatever_it_ends_in(
    kafka: str, database: str, topic_prefix: str, home: Path, kind: str
) -> None:
    to = await made(kafka, database, topic_prefix, home)
    async with ending(kafka, topic_prefix + topics.ORDERS, kind) as readable, asyncio.timeout(30):
        for by_number in (False, True):
            found = dict.fromkeys(range(PARTITIONS), 0)
            async for record in topic_reader.read(to, [topics.ORDERS], by_number=by_number):
                found[record.partition] += 1
            assert found == readable
        assert sum([1 async for _ in topic_reader.read(to, [topics.ORDERS], since_ms=1)]) == sum(
            readable.values()
        )
        assert bool(
            await topic_reader.open_transactions(to, [topics.ORDERS, topics.TAX])
        ) is is_open(kind)
        assert len(await topic_reader.held_back(to, [topics.ORDERS])) == (4 if is_open(kind) else 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_who_has_handled_the_last_record_is_not_behind_and_waits_for_nothing(
    kafka: str,
    database: str,
    topic_prefix: str,
    home: Path,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The stored offset of a service that does not run stands behind its last record, and marks follow."""
    to = await made(kafka, database, topic_prefix, home)
    async with ending(kafka, topic_prefix + topics.ORDERS, kind) as readable, asyncio.timeout(60):
        conn = await asyncpg.connect(database)
        for service, readers in (("payments", readable), ("tax", readable), ("customs", readable)):
            for number, count in readers.items():
                await conn.execute(
                    f"INSERT INTO {service}.consumer_offset VALUES ('orders.events', $1, $2)",
                    number,
                    count,
                )
        assert await lag.lag_of(to) == {"orders": 0, "payments": 0, "tax": 0, "customs": 0}
        found = {f.name: f.offending for f in await verify.judge(to, 0.5)}
        assert found["no_lag"] == found["offsets_within_log"] == ()
        assert [each.split(" from ")[0] for each in found["no_open_transaction"]] == (
            [f"orders.events/{number}" for number in (0, 1, 3, 4)] if is_open(kind) else []
        )
        assert await restart.caught_up(to, "payments") < 10
        assert (
            "payments is not waited for there: end or abort the transaction"
            in capsys.readouterr().err
        ) is is_open(kind)
        if readable[3]:  # one record before the marks is a record
            await conn.execute("UPDATE tax.consumer_offset SET next = next - 1 WHERE part = 3")
            assert (await lag.lag_of(to))["tax"] >= 1
            found = {f.name: f.offending for f in await verify.judge(to, 0)}
            assert found["no_lag"] == (f"tax orders.events/3 at {readable[3] - 1}",)
            with pytest.MonkeyPatch.context() as soon:
                soon.setattr(restart, "READY_S", 1.0)
                with pytest.raises(
                    Unreachable, match=r"is not handled yet, orders\.events/3 at 3 of "
                ):
                    await restart.caught_up(to, "tax")
        await conn.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_dead_letters_are_listed_and_replayed_whatever_the_topics_end_in(
    kafka: str, database: str, topic_prefix: str, home: Path, kind: str
) -> None:
    to = await made(kafka, database, topic_prefix, home)
    poison = Record(topics.ORDERS, 1, 5, 0, b"SHOP-1", b"{", (("ce_id", b"x"),))
    letter = dead_letter("tax", poison, Unprocessable("malformed", "not JSON"))
    plain = AIOKafkaProducer(bootstrap_servers=kafka)
    await plain.start()
    await plain.send_and_wait(
        topic_prefix + letter.topic,
        key=letter.key,
        value=letter.value,
        headers=list(letter.headers),
    )
    await plain.stop()
    async with (
        ending(kafka, topic_prefix + topics.ORDERS, kind), ending(kafka, topic_prefix + letter.topic, kind, (5,)),
        asyncio.timeout(60),
    ):  # fmt: skip
        found = [each for each in await letters.letters_of(to) if each.head("dlq_reason")]
        assert len(found) == 1
        assert await letters.replayed_ids(to, found) == set()
        assert (
            given(
                await replay.replay_letters(
                    to, [found[0].letter_id], None, everything=False, dry_run=False
                )
            )
            == found
        )
    async with asyncio.timeout(60):
        assert await letters.replayed_ids(to, found) == {found[0].letter_id}


def shown(name: str) -> dict[str, float]:
    labels = [{"topic": topics.ORDERS, "partition": str(number)} for number in range(PARTITIONS)]
    found = {
        each["partition"]: REGISTRY.get_sample_value(f"crossborder_{name}", each) for each in labels
    }
    return {number: value for number, value in found.items() if value is not None}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_service_stands_where_the_log_may_be_read_to_and_shows_no_lag(
    kafka: str,
    database: str,
    topic_prefix: str,
    home: Path,
    tally_pool: Any,
    sealing: Sealing,
    kind: str,
) -> None:
    to = await made(kafka, database, topic_prefix, home)

    async def stands() -> dict[int, int]:
        async with tally_pool.acquire() as conn:
            rows = await conn.fetch(
                "SELECT part, next FROM consumer_offset WHERE topic = $1", topics.ORDERS
            )
        return {row["part"]: row["next"] for row in rows}

    async with running(
        tally_service(kafka, database, topic_prefix, tally_pool, sealing, 0).run(asyncio.Event())
    ) as task:
        await until(stands)
        async with ending(kafka, topic_prefix + topics.ORDERS, kind) as readable:
            end = {
                place[1]: last
                for place, (_, last) in (await topic_reader.ends(to, [topics.ORDERS])).items()
            }

            async def is_there() -> bool:
                return await stands() == end and shown("consumer_lag_records") == {
                    str(number): 0 for number in range(PARTITIONS)
                }

            await until(is_there)
            assert await everything_tallied(tally_pool, sum(readable.values()))

            async def is_held_back() -> bool:
                held = shown("consumer_held_back_seconds")
                return {number for number, seconds in held.items() if seconds > 1} == (
                    {"0", "1", "3", "4"} if is_open(kind) else set()
                )

            await until(is_held_back)
        end = {
            place[1]: last
            for place, (_, last) in (await topic_reader.ends(to, [topics.ORDERS])).items()
        }
        await until(is_there)
        if kind == "one of several open":
            assert await everything_tallied(tally_pool, 5), (
                "what lay behind the open transaction was read when it ended"
            )
        assert not task.done()


async def test_what_was_deleted_unread_is_not_stepped_over_as_a_mark(
    kafka: str, database: str, topic_prefix: str, home: Path, tally_pool: Any, sealing: Sealing
) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

    await topics.create_topics(kafka, topic_prefix, partitions=1)
    name = topic_prefix + topics.ORDERS
    plain = AIOKafkaProducer(bootstrap_servers=kafka)
    await plain.start()
    for _ in range(5):
        await plain.send_and_wait(name, b"x")
    async with tally_pool.acquire() as conn:
        await inbox.known_offsets(conn, {(topics.ORDERS, 0): 2})
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=5)})
    await admin.close()
    async with running(
        tally_service(kafka, database, topic_prefix, tally_pool, sealing, 0).run(asyncio.Event())
    ) as task:
        await asyncio.sleep(4)
        async with tally_pool.acquire() as conn:
            assert (
                await conn.fetchval(
                    "SELECT next FROM consumer_offset WHERE topic = $1", topics.ORDERS
                )
                == 2
            )
        gaps = (
            REGISTRY.get_sample_value(
                "crossborder_consumer_fenced_total", {"service": "tax", "kind": "gap"}
            )
            or 0
        )
        r = counted(uuid4(), 1, 0)
        await plain.send_and_wait(name, key=r.key, value=r.value, headers=list(r.headers))
        await until(lambda: everything_tallied(tally_pool, 1))
        assert (
            REGISTRY.get_sample_value(
                "crossborder_consumer_fenced_total", {"service": "tax", "kind": "gap"}
            )
            or 0
        ) > gaps
        assert not task.done()
    await plain.stop()


async def test_the_first_record_of_a_range_is_found_behind_any_marks(
    kafka: str, topic_prefix: str
) -> None:
    await topics.create_topics(kafka, topic_prefix, partitions=PARTITIONS)
    name = topic_prefix + topics.ORDERS
    async with ending(kafka, name, "both", (0, 1)):
        plain = AIOKafkaProducer(bootstrap_servers=kafka)
        await plain.start()
        await plain.send_and_wait(name, b"x", partition=1)
        await plain.stop()
        first, second, third = (TopicPartition(name, number) for number in (0, 1, 2))
        # 0: record, mark, two given up, mark. 1: two records, mark, two given up, mark, record. 2: nothing.
        asked = {first: (1, 5), second: (2, 7), third: (0, 0)}
        assert await log_ends.first_records(kafka, asked) == {first: 5, second: 6, third: 0}
        assert await log_ends.first_records(kafka, {first: (0, 5), second: (7, 7)}) == {
            first: 0,
            second: 7,
        }
        assert await log_ends.first_records(kafka, {first: (1, 5)}, committed=False) == {first: 2}
        with pytest.raises(
            Unavailable, match=rf"for 1 s it has sent nothing of {name}/0 from 5 to 9"
        ):
            await log_ends.first_records(kafka, {first: (5, 9)}, still_s=1)
