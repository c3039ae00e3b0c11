"""On a real broker: nothing lost and nothing twice, with replicas that die, sleep and come back at any step."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import MessageSizeTooLargeError

from deploy.embedded.kafka import wait_led
from services.customs.ceb.parse import ANSWER_BYTES_MAX
from shared import effects, inbox, metrics, outbox, topics
from shared import effects as shared_effects
from shared.consumer_client import make_consumer
from shared.database import CUT
from shared.dead_letters import CUT_BYTES
from shared.effect_runner import EffectRunner
from shared.effects import Effect, NoReply, Reply
from shared.envelope import Outgoing
from shared.errors import Misconfigured
from shared.failpoints import Failpoints, Killed
from shared.outcomes import write
from shared.producer import make_producer
from shared.relay import Relay
from shared.sealing import Sealing
from shared.service import Service, Wiring
from shared.settings import Settings
from shared.subscriptions import EmittedEvent, OutboundCommand, Outcome
from tests.integration.conftest import (
    TALLY_SUBSCRIPTIONS,
    Tallied,
    TallyDeps,
    counted,
    offsets_begin,
)
from tests.unit.shared.test_batches import changed

RELAY_STEPS = ("relay_after_read", "relay_after_send", "relay_after_delete")
EFFECT_STEPS = (
    "effect_after_claim",
    "effect_after_call",
    "effect_before_commit",
    "effect_after_commit",
)


@pytest.fixture
async def named_topics(kafka: str, topic_prefix: str) -> str:
    await topics.create_topics(kafka, topic_prefix, partitions=3)
    return topic_prefix


async def read_all(kafka: str, topic: str) -> list[Any]:
    """Every record of a topic, in the order of its partitions."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        found: list[Any] = []
        while sum(ends.values()) > len(found):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
        return found
    finally:
        await consumer.stop()


async def publish(
    kafka: str, topic: str, records: list[Any], compression: str | None = None
) -> None:
    compressing = partial(
        AIOKafkaProducer,
        bootstrap_servers=kafka,
        compression_type=compression,
        max_request_size=2**27,
    )
    producer = compressing() if compression else make_producer(kafka, "test")
    await producer.start()
    try:
        acks = [
            await producer.send(topic, key=r.key, value=r.value, headers=list(r.headers))
            for r in records
        ]
        await asyncio.gather(*acks)
    finally:
        await producer.stop()


@contextlib.asynccontextmanager
async def running(coroutine: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(check: Any, seconds: float = 30.0) -> None:
    """Wait for a condition, by asking; fails when it does not come. The asker's connection may be the one that is cut."""
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(*CUT):
                if await check():
                    return
            await asyncio.sleep(0.05)


async def empty(pool: Any, table: str) -> bool:
    async with pool.acquire() as conn:
        return bool(await conn.fetchval(f"SELECT count(*) = 0 FROM {table}"))


async def fill_outbox(pool: Any, sealing: Sealing, count: int) -> list[UUID]:
    order = uuid4()
    causes = [uuid4() for _ in range(count)]
    outcome = Outcome(
        facts=[
            EmittedEvent(Tallied(order_id=order, total=i), c, i + 1) for i, c in enumerate(causes)
        ]
    )
    async with pool.acquire() as conn, conn.transaction():
        await write(conn, "tax", topics.TAX, outcome, sealing)
    return causes


async def test_relay_publishes_in_order_and_empties_the_outbox(
    kafka: str, named_topics: str, tally_pool: Any, sealing: Sealing
) -> None:
    await fill_outbox(tally_pool, sealing, 300)
    relay = Relay("tax", tally_pool, kafka, prefix=named_topics, sealing=sealing)
    async with running(relay.run()):
        await until(lambda: empty(tally_pool, "outbox"))
    records = await read_all(kafka, named_topics + topics.TAX)
    assert [dict(r.headers)["order_version"] for r in records] == [
        str(i + 1).encode() for i in range(300)
    ]


@pytest.mark.parametrize("step", RELAY_STEPS)
async def test_relay_killed_at_any_step_loses_nothing_and_repeats_only_under_the_same_id(
    kafka: str, named_topics: str, tally_pool: Any, sealing: Sealing, step: str
) -> None:
    await fill_outbox(tally_pool, sealing, 50)
    dying = Relay(
        "tax",
        tally_pool,
        kafka,
        prefix=named_topics,
        sealing=sealing,
        failpoints=Failpoints(step, in_process=True),
    )
    with pytest.raises(Killed):
        await dying.run()
    async with running(Relay("tax", tally_pool, kafka, prefix=named_topics, sealing=sealing).run()):
        await until(lambda: empty(tally_pool, "outbox"))
    records = await read_all(kafka, named_topics + topics.TAX)
    versions: dict[bytes, bytes] = {
        dict(r.headers)["ce_id"]: dict(r.headers)["order_version"] for r in records
    }
    assert len(versions) == 50
    assert len(records) == (100 if step == "relay_after_send" else 50)


async def test_a_relay_outlives_the_connections_it_had(
    kafka: str, named_topics: str, tally_pool: Any, sealing: Sealing, database: str
) -> None:
    relay = Relay("tax", tally_pool, kafka, prefix=named_topics, sealing=sealing)

    async def leads() -> bool:
        return relay.leading

    async with running(relay.run()) as task:
        for count in (20, 40):
            await until(leads)
            conn = await asyncpg.connect(database)
            await conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                               "AND datname = current_database()")  # fmt: skip
            await conn.close()
            await tally_pool.expire_connections()  # or the filling itself could get one of the dead
            await fill_outbox(tally_pool, sealing, 20)
            await until(lambda: empty(tally_pool, "outbox"))
            assert not task.done()
            assert len(await read_all(kafka, named_topics + topics.TAX)) == count


async def test_only_one_of_two_relays_leads_and_the_other_takes_over(
    kafka: str, named_topics: str, tally_pool: Any, sealing: Sealing
) -> None:
    first = Relay("tax", tally_pool, kafka, prefix=named_topics, sealing=sealing)
    second = Relay("tax", tally_pool, kafka, prefix=named_topics, sealing=sealing)

    async def leads(relay: Relay) -> bool:
        return relay.leading

    async with running(first.run()) as task:
        await until(lambda: leads(first))
        async with running(second.run()):
            await asyncio.sleep(1.5)
            assert not second.leading
            task.cancel()
            await until(lambda: leads(second))


async def test_what_rests_in_the_outbox_sealed_goes_out_in_clear(
    kafka: str, named_topics: str, tally_pool: Any, sealing: Sealing
) -> None:
    async with tally_pool.acquire() as conn:
        await outbox.append(
            conn, sealing, [Outgoing(topics.DECLARATIONS, b"k", b"<planted/>", (), sealed=True)]
        )
        assert b"planted" not in await conn.fetchval("SELECT value FROM outbox")
    async with running(Relay("tax", tally_pool, kafka, prefix=named_topics, sealing=sealing).run()):
        await until(lambda: empty(tally_pool, "outbox"))
    assert [r.value for r in await read_all(kafka, named_topics + topics.DECLARATIONS)] == [
        b"<planted/>"
    ]


async def test_a_record_the_broker_does_not_take_stays_and_the_others_are_published(
    kafka: str, named_topics: str, tally_pool: Any, sealing: Sealing
) -> None:
    async with tally_pool.acquire() as conn:
        small = [Outgoing(topics.TAX, str(i).encode(), b"small", ()) for i in range(50)]
        await outbox.append(
            conn, sealing, [*small[:20], Outgoing(topics.TAX, b"1", b"x" * 1000, ()), *small[20:]]
        )
        # As it were before what goes into the outbox was bounded, or with a topic whose limit was lowered since.
        await conn.execute(
            "UPDATE outbox SET value = convert_to(repeat('x', 2100000), 'UTF8') WHERE length(value) = 1000"
        )
    relay = Relay("tax", tally_pool, kafka, prefix=named_topics, sealing=sealing)

    async def one_is_left() -> bool:
        async with tally_pool.acquire() as conn:
            return bool(await conn.fetchval("SELECT count(*) = 1 FROM outbox"))

    async with running(relay.run()) as task:
        await until(one_is_left)
        await fill_outbox(tally_pool, sealing, 20)
        await until(one_is_left)
        assert not task.done()
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT length(value) FROM outbox") == 2_100_000
    published = await read_all(kafka, named_topics + topics.TAX)
    assert {r.key for r in published if r.value == b"small"} == {str(i).encode() for i in range(50)}


def tally_service(
    kafka: str, dsn: str, prefix: str, pool: Any, sealing: Sealing, replica: int, **more: Any
) -> Service:
    settings = Settings(
        kafka=kafka, postgres=dsn, topic_prefix=prefix, replica=replica, batch_records=100
    )
    return Service(
        Wiring("tax", topics.TAX, TALLY_SUBSCRIPTIONS, more.pop("deps", TallyDeps()), sealing),
        settings,
        pool,
        **more,
    )


async def everything_tallied(pool: Any, expected: int) -> bool:
    async with pool.acquire() as conn:
        return bool(
            await conn.fetchval("SELECT coalesce(sum(version), 0) >= $1 FROM tally", expected)
        )


async def test_two_replicas_one_replaced_under_load_tally_each_record_once(
    kafka: str, named_topics: str, database: str, tally_pool: Any, sealing: Sealing
) -> None:
    orders = [uuid4() for _ in range(200)]
    records = [counted(orders[i % 200], 1, 0) for i in range(4000)]
    repeated = records[::7]
    stop = [asyncio.Event() for _ in range(3)]
    services = [
        tally_service(kafka, database, named_topics, tally_pool, sealing, i) for i in range(3)
    ]
    async with running(services[0].run(stop[0])), running(services[1].run(stop[1])) as leaving:
        sending = asyncio.create_task(
            publish(kafka, named_topics + topics.ORDERS, records + repeated)
        )
        await until(lambda: everything_tallied(tally_pool, 200))
        leaving.cancel()
        async with running(services[2].run(stop[2])):
            await sending
            await until(lambda: everything_tallied(tally_pool, 4000), 60)
            await until(lambda: empty(tally_pool, "outbox"))
    async with tally_pool.acquire() as conn:
        assert {r["total"] for r in await conn.fetch("SELECT total FROM tally")} == {20}
    facts = await read_all(kafka, named_topics + topics.TAX)
    assert len({dict(r.headers)["ce_id"] for r in facts}) == 4000


async def test_a_service_to_which_a_broker_just_started_names_no_partitions_has_them_soon(
    kafka: str, topic_prefix: str, database: str, tally_pool: Any, sealing: Sealing
) -> None:
    service = tally_service(kafka, database, topic_prefix, tally_pool, sealing, 0)
    async with running(service.run(asyncio.Event())):
        await asyncio.sleep(3)  # it has joined its group and been given nothing
        await topics.create_topics(kafka, topic_prefix, partitions=3)
        await publish(
            kafka, topic_prefix + topics.ORDERS, [counted(uuid4(), 1, 0) for _ in range(50)]
        )
        await until(lambda: everything_tallied(tally_pool, 50), 30)


async def test_what_was_compressed_with_any_codec_is_taken_in(
    kafka: str, named_topics: str, database: str, tally_pool: Any, sealing: Sealing
) -> None:
    async with running(
        tally_service(kafka, database, named_topics, tally_pool, sealing, 0).run(asyncio.Event())
    ) as task:
        for codec in ("gzip", "snappy", "lz4", "zstd"):
            await publish(
                kafka,
                named_topics + topics.ORDERS,
                [counted(uuid4(), 1, 0) for _ in range(20)],
                codec,
            )
        await until(lambda: everything_tallied(tally_pool, 80))
        assert not task.done()


async def test_a_record_too_large_for_the_dead_letters_once_it_is_unpacked_is_cut_and_nothing_waits_for_it(
    kafka: str, named_topics: str, database: str, tally_pool: Any, sealing: Sealing
) -> None:
    huge = replace(counted(uuid4(), 1, 0), value=b"x" * (10 * 1024 * 1024))
    await publish(kafka, named_topics + topics.ORDERS, [huge], "gzip")
    await publish(kafka, named_topics + topics.ORDERS, [counted(uuid4(), 1, 0) for _ in range(20)])
    async with running(
        tally_service(kafka, database, named_topics, tally_pool, sealing, 0).run(asyncio.Event())
    ):
        await until(lambda: everything_tallied(tally_pool, 20))
        await until(lambda: empty(tally_pool, "outbox"))
    (letter,) = await read_all(kafka, named_topics + topics.dead_letters_of(topics.ORDERS))
    head = dict(letter.headers)
    assert letter.value == b"x" * CUT_BYTES
    assert (head["dlq_bytes"], head["dlq_topic"], head["dlq_offset"]) == (
        b"10485760",
        b"orders.events",
        b"0",
    )
    assert head["dlq_sha256"].decode() == hashlib.sha256(huge.value or b"").hexdigest()


async def test_a_receipt_of_a_whole_month_is_taken_in_as_it_is(
    kafka: str, named_topics: str
) -> None:
    """A port that does not compress could send two MiB of the 16 that are read."""
    topic = named_topics + topics.RECEIPTS
    month = b"x" * ANSWER_BYTES_MAX
    async with AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=2**25) as port:
        for value in (month, b"small", month):
            await port.send_and_wait(topic, value, key=b"k", partition=1)
        with pytest.raises(MessageSizeTooLargeError):
            await port.send_and_wait(named_topics + topics.ORDERS, month, partition=1)
    consumer = make_consumer(kafka, named_topics + "g", "g-0")
    consumer.subscribe([topic])
    async with consumer:
        polls: list[list[int]] = []
        while sum(map(len, polls)) < 3:
            found = await consumer.getmany(timeout_ms=1000, max_records=1000)
            polls += [[len(r.value) for r in records] for records in found.values()]
    assert [size for poll in polls for size in poll] == [len(month), 5, len(month)]
    assert all(sum(poll) <= len(month) + 5 for poll in polls), "no two of them are in hand at once"


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
async def test_a_batch_that_unpacks_to_far_too_much_is_a_dead_letter_and_nothing_waits_for_it(
    kafka: str, named_topics: str, database: str, tally_pool: Any, sealing: Sealing, codec: str
) -> None:
    bomb = replace(counted(uuid4(), 1, 0), value=b"0" * (100 * 1024 * 1024))
    await publish(kafka, named_topics + topics.ORDERS, [bomb], codec)
    await publish(kafka, named_topics + topics.ORDERS, [counted(uuid4(), 1, 0) for _ in range(20)])
    async with running(
        tally_service(kafka, database, named_topics, tally_pool, sealing, 0).run(asyncio.Event())
    ) as task:
        await until(lambda: everything_tallied(tally_pool, 20))
        await until(lambda: empty(tally_pool, "outbox"))
        assert not task.done()
    (letter,) = await read_all(kafka, named_topics + topics.dead_letters_of(topics.ORDERS))
    head = dict(letter.headers)
    assert (head["dlq_reason"], head["dlq_topic"], head["dlq_offset"]) == (
        b"too_large",
        b"orders.events",
        b"0",
    )
    assert head["dlq_error"].startswith(
        b"send fewer records in one batch: the one of offsets 0 to 0 has more than 16777216 bytes"
    )
    assert len(letter.value) == min(CUT_BYTES, int(head["dlq_bytes"]))
    assert letter.value[16] == 2  # the batch itself, in Kafka's format


async def test_a_record_with_a_header_name_that_is_no_utf8_is_taken_in_and_so_are_those_beside_it(
    kafka: str, named_topics: str, database: str, tally_pool: Any, sealing: Sealing
) -> None:
    records = [counted(uuid4(), 1, 0, extra=(("n\u00e4me", b"x"),)) for _ in range(3)]
    async with running(
        tally_service(kafka, database, named_topics, tally_pool, sealing, 0).run(asyncio.Event())
    ) as task:
        producer = AIOKafkaProducer(bootstrap_servers=kafka)
        await producer.start()
        try:
            batch = producer.create_batch()
            for r in records:
                batch.append(timestamp=None, key=r.key, value=r.value, headers=list(r.headers))
            batch._buffer = bytearray(
                changed(bytes(batch._build()), "n\u00e4me".encode(), b"n\xe4\xe4me")
            )
            await (await producer.send_batch(batch, named_topics + topics.ORDERS, partition=0))
        finally:
            await producer.stop()
        await publish(kafka, named_topics + topics.ORDERS, [counted(uuid4(), 1, 0)])
        await until(lambda: everything_tallied(tally_pool, 4))
        assert not task.done()


@pytest.mark.parametrize(
    "step",
    [
        "after_poll",
        "after_offsets",
        "after_inbox",
        "after_reaction",
        "before_commit",
        "after_commit",
    ],
)
async def test_a_service_killed_at_any_step_is_started_anew_and_nothing_is_lost_or_doubled(
    kafka: str, named_topics: str, database: str, tally_pool: Any, sealing: Sealing, step: str
) -> None:
    orders = [uuid4() for _ in range(20)]
    await publish(
        kafka, named_topics + topics.ORDERS, [counted(orders[i % 20], 1, 0) for i in range(400)]
    )
    points = Failpoints(f"{step}:2", in_process=True)
    with pytest.raises(Killed):
        await tally_service(
            kafka, database, named_topics, tally_pool, sealing, 0, points=points
        ).run(asyncio.Event())
    stop = asyncio.Event()
    async with running(
        tally_service(kafka, database, named_topics, tally_pool, sealing, 0).run(stop)
    ):
        await until(lambda: everything_tallied(tally_pool, 400))
    async with tally_pool.acquire() as conn:
        assert {r["total"] for r in await conn.fetch("SELECT total FROM tally")} == {20}


class Cut(Failpoints):
    """At a step, every connection to the database is cut, so many times."""

    def __init__(self, step: str, database: str, times: int) -> None:
        super().__init__()
        self._cut_at, self._database, self.left = step, database, times

    def hit(self, step: str) -> None:
        if step == self._cut_at and self.left > 0:
            self.left -= 1
            # A loop of its own in a thread: here no step may await, and the cut must be done before the next statement.
            cutting = threading.Thread(target=asyncio.run, args=(self._cut(),))
            cutting.start()
            cutting.join()

    async def _cut(self) -> None:
        conn = await asyncpg.connect(self._database)
        await conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                           "AND datname = current_database()")  # fmt: skip
        await conn.close()


@pytest.mark.parametrize("behind", ["overtaken", "gap"])
async def test_a_fenced_reader_outlives_the_connection_it_looks_up_its_place_with(
    kafka: str, database: str, tally_pool: Any, sealing: Sealing, topic_prefix: str, behind: str
) -> None:
    await topics.create_topics(kafka, topic_prefix, partitions=1)
    cut, orders, stop = (
        Cut("seek_again", database, times=2),
        topic_prefix + topics.ORDERS,
        asyncio.Event(),
    )
    async with running(
        tally_service(kafka, database, topic_prefix, tally_pool, sealing, 0, points=cut).run(stop)
    ) as task:
        await publish(kafka, orders, [counted(uuid4(), 1, 0) for _ in range(3)])
        await until(lambda: everything_tallied(tally_pool, 3))
        async with tally_pool.acquire() as conn:
            # Another was faster by one record, or the database was restored from before: the log still has what is missing.
            await conn.execute(
                "UPDATE consumer_offset SET next = $1 WHERE topic = $2",
                4 if behind == "overtaken" else 2,
                topics.ORDERS,
            )
        await publish(kafka, orders, [counted(uuid4(), 1, 0) for _ in range(3)])
        await until(lambda: everything_tallied(tally_pool, 5 if behind == "overtaken" else 6))
        assert cut.left == 0
        assert not task.done()
    async with tally_pool.acquire() as conn:
        assert (
            await conn.fetchval("SELECT next FROM consumer_offset WHERE topic = $1", topics.ORDERS)
            == 6
        )
        assert await conn.fetchval("SELECT count(*) FROM tally") == (
            5 if behind == "overtaken" else 6
        )


async def fenced(kind: str) -> float:
    return float(metrics.FENCED.labels("tax", kind)._value.get())


async def test_the_end_of_a_writers_transaction_is_stepped_over_quietly(
    kafka: str, database: str, tally_pool: Any, sealing: Sealing, topic_prefix: str
) -> None:
    await topics.create_topics(kafka, topic_prefix, partitions=1)
    gaps = await fenced("gap")
    shop = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"{topic_prefix}shop")
    await shop.start()
    try:
        async with running(
            tally_service(kafka, database, topic_prefix, tally_pool, sealing, 0).run(
                asyncio.Event()
            )
        ) as task:
            for count in (3, 6, 9):
                async with shop.transaction():
                    for r in [counted(uuid4(), 1, 0) for _ in range(3)]:
                        await shop.send(
                            topic_prefix + topics.ORDERS,
                            key=r.key,
                            value=r.value,
                            headers=list(r.headers),
                        )
                await until(partial(everything_tallied, tally_pool, count))
            with contextlib.suppress(ZeroDivisionError):
                async with shop.transaction():
                    r = counted(uuid4(), 1, 0)
                    await shop.send_and_wait(
                        topic_prefix + topics.ORDERS,
                        key=r.key,
                        value=r.value,
                        headers=list(r.headers),
                    )
                    raise ZeroDivisionError
            await publish(kafka, topic_prefix + topics.ORDERS, [counted(uuid4(), 1, 0)])
            await until(lambda: everything_tallied(tally_pool, 10))
            assert not task.done()
    finally:
        await shop.stop()
    assert await fenced("gap") == gaps
    async with tally_pool.acquire() as conn:
        assert (
            await conn.fetchval("SELECT next FROM consumer_offset WHERE topic = $1", topics.ORDERS)
            == 3 * 4 + 2 + 1
        )


async def test_records_deleted_unread_are_counted_as_a_gap(
    kafka: str, database: str, tally_pool: Any, sealing: Sealing, topic_prefix: str
) -> None:
    await topics.create_topics(kafka, topic_prefix, partitions=1)
    await publish(kafka, topic_prefix + topics.ORDERS, [counted(uuid4(), 1, 0) for _ in range(5)])
    await offsets_begin(tally_pool, (topics.ORDERS, 0))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_records(
        {TopicPartition(topic_prefix + topics.ORDERS, 0): RecordsToDelete(before_offset=3)}
    )
    await admin.close()
    gaps, holes = await fenced("gap"), await fenced("hole")
    async with running(
        tally_service(kafka, database, topic_prefix, tally_pool, sealing, 0).run(asyncio.Event())
    ):
        await until(lambda: everything_tallied(tally_pool, 2))
    assert (await fenced("gap"), await fenced("hole")) == (gaps + 2, holes)


async def test_a_log_that_ends_before_what_was_handled_ends_the_service_with_what_to_do(
    kafka: str, database: str, tally_pool: Any, sealing: Sealing, topic_prefix: str
) -> None:
    await topics.create_topics(kafka, topic_prefix, partitions=1)
    async with tally_pool.acquire() as conn:
        await inbox.known_offsets(conn, {(topics.ORDERS, 0): 1000})
    await publish(kafka, topic_prefix + topics.ORDERS, [counted(uuid4(), 1, 0) for _ in range(5)])
    service = tally_service(kafka, database, topic_prefix, tally_pool, sealing, 0)
    with pytest.raises(
        Misconfigured,
        match=r"give the broker its data back or, .*orders\.events/0 ends at offset 5, .* ends at 1000",
    ):
        async with asyncio.timeout(60):
            await service.run(asyncio.Event())
    async with tally_pool.acquire() as conn:
        await conn.execute("DELETE FROM tax.consumer_offset WHERE topic = 'orders.events'")
    async with running(
        tally_service(kafka, database, topic_prefix, tally_pool, sealing, 0).run(asyncio.Event())
    ):
        await until(lambda: everything_tallied(tally_pool, 5))


async def make_anew(kafka: str, prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_topics([prefix + topics.ORDERS])
    while prefix + topics.ORDERS in await admin.list_topics():  # noqa: ASYNC110  only the broker knows
        await asyncio.sleep(0.1)
    await admin.close()
    await topics.create_topics(kafka, prefix, partitions=1)
    await wait_led(kafka, [prefix + topics.ORDERS])


@pytest.mark.parametrize("runs", [False, True])
async def test_a_topic_made_anew_ends_the_service_with_what_to_do_however_long_it_is(
    kafka: str, database: str, tally_pool: Any, sealing: Sealing, topic_prefix: str, runs: bool
) -> None:
    """Made anew while the service is down, or beside it; its log is longer by now than what was handled of the one before."""
    await topics.create_topics(kafka, topic_prefix, partitions=1)
    name = topic_prefix + topics.ORDERS
    await publish(kafka, name, [counted(uuid4(), 1, 0) for _ in range(50)])
    async with running(
        tally_service(kafka, database, topic_prefix, tally_pool, sealing, 0).run(asyncio.Event())
    ) as first:
        await until(lambda: everything_tallied(tally_pool, 50))
        if runs:
            await make_anew(kafka, topic_prefix)
            await publish(kafka, name, [counted(uuid4(), 1, 0) for _ in range(200)])
            with pytest.raises(Misconfigured, match=r"orders\.events was deleted and made anew"):
                await asyncio.wait_for(first, 30)
    if not runs:
        await make_anew(kafka, topic_prefix)
        await publish(kafka, name, [counted(uuid4(), 1, 0) for _ in range(200)])
        with pytest.raises(
            Misconfigured,
            match=r"delete the rows of orders\.events in tax\.consumer_offset: .* made anew",
        ):
            async with asyncio.timeout(60):
                await tally_service(kafka, database, topic_prefix, tally_pool, sealing, 1).run(
                    asyncio.Event()
                )
    async with tally_pool.acquire() as conn:
        await conn.execute("DELETE FROM tax.consumer_offset WHERE topic = 'orders.events'")
    async with running(
        tally_service(kafka, database, topic_prefix, tally_pool, sealing, 2).run(asyncio.Event())
    ):
        await until(lambda: everything_tallied(tally_pool, 250))


async def test_a_service_is_not_ready_while_its_partitions_are_being_given_out(
    kafka: str, database: str, tally_pool: Any, sealing: Sealing, named_topics: str
) -> None:
    first, second = (
        tally_service(kafka, database, named_topics, tally_pool, sealing, replica)
        for replica in range(2)
    )
    ready = first.consumer.ready
    was_not = asyncio.Event()
    taken_away = first.consumer.revoked

    def revoked() -> None:
        taken_away()
        if not ready.is_set():
            was_not.set()

    async with running(first.run(asyncio.Event())):
        await ready.wait()
        first.consumer.revoked = revoked  # type: ignore[method-assign]
        async with running(second.run(asyncio.Event())):
            async with asyncio.timeout(60):
                await was_not.wait()
                await ready.wait()


class Outside:
    """An outside party that keeps what it did under each key."""

    def __init__(self, silent_first: int = 0) -> None:
        self.done: dict[UUID, int] = {}
        self.calls = 0
        self._silent = silent_first

    async def perform(self, kind: str, claimed: Sequence[Effect]) -> Sequence[Reply | NoReply]:
        self.calls += 1
        heard: list[Reply | NoReply] = []
        for effect in claimed:
            self.done.setdefault(effect.intent_id, len(self.done))
            silent = self.calls <= self._silent
            heard.append(
                NoReply(effect, 0.0) if silent else Reply(effect, self.done[effect.intent_id])
            )
        return heard


async def settle(conn: Any, answered: Sequence[Reply], deps: Any) -> Outcome:
    """One fact per answer."""
    outcome = Outcome()
    for a in answered:
        await conn.execute(
            "INSERT INTO tally (order_id, total, version) VALUES ($1, $2, 1)",
            a.effect.order_id,
            a.answer,
        )
        outcome.facts.append(
            EmittedEvent(Tallied(order_id=a.effect.order_id, total=a.answer), a.effect.intent_id, 1)
        )
    return outcome


def runner(
    pool: Any,
    sealing: Sealing,
    outside: Outside,
    points: Failpoints | None = None,
    lease_s: float = shared_effects.LEASE_S,
) -> EffectRunner:
    async def finish(conn: Any, outcome: Outcome) -> None:
        await write(conn, "tax", topics.TAX, outcome, sealing)

    return EffectRunner(
        "tax", pool, TallyDeps(), outside.perform, settle, finish, lambda _: None, sealing=sealing, failpoints=points,
        lease_s=lease_s,
    )  # fmt: skip


@pytest.mark.parametrize("step", EFFECT_STEPS)
async def test_an_effect_killed_at_any_step_is_done_under_one_key_and_settled_once(
    tally_pool: Any, sealing: Sealing, step: str
) -> None:
    orders = [uuid4() for _ in range(10)]
    async with tally_pool.acquire() as conn:
        await effects.record_commands(
            conn, sealing, [OutboundCommand(uuid4(), order, "ask", b"planted") for order in orders]
        )
        assert not [
            r for r in await conn.fetch("SELECT request FROM effect") if b"planted" in r["request"]
        ]
    outside = Outside()
    with pytest.raises(Killed):
        await runner(tally_pool, sealing, outside, Failpoints(step, in_process=True)).once()
    async with tally_pool.acquire() as conn:
        await conn.execute(
            "UPDATE effect SET next_at = now() - interval '1 second'"
        )  # the lease of the dead runs out
    await runner(tally_pool, sealing, outside).once()
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM effect") == 0
        assert await conn.fetchval("SELECT count(*) FROM tally") == 10
        assert await conn.fetchval("SELECT count(*) FROM outbox") == 10
    assert len(outside.done) == 10


async def test_no_answer_is_unknown_and_asked_again_under_the_same_key(
    tally_pool: Any, sealing: Sealing
) -> None:
    async with tally_pool.acquire() as conn:
        await effects.record_commands(
            conn, sealing, [OutboundCommand(uuid4(), uuid4(), "ask", b"")]
        )
    outside = Outside(silent_first=2)
    for _ in range(3):
        await runner(tally_pool, sealing, outside).once()
    assert (outside.calls, len(outside.done)) == (3, 1)
    assert await empty(tally_pool, "effect")


async def test_a_claimant_whose_lease_ran_out_cannot_settle_after_another_did(
    tally_pool: Any, sealing: Sealing
) -> None:
    async with tally_pool.acquire() as conn:
        await effects.record_commands(
            conn, sealing, [OutboundCommand(uuid4(), uuid4(), "ask", b"")]
        )
    slow, quick = Outside(), Outside()
    going = asyncio.Event()

    async def late(kind: str, claimed: Sequence[Effect]) -> Sequence[Reply | NoReply]:
        await going.wait()
        return await Outside.perform(slow, kind, claimed)

    slow.perform = late  # type: ignore[method-assign]
    first = asyncio.create_task(runner(tally_pool, sealing, slow).once())
    await until(lambda: claimed_once(tally_pool))
    async with tally_pool.acquire() as conn:
        await conn.execute("UPDATE effect SET next_at = now() - interval '1 second'")
    await runner(tally_pool, sealing, quick).once()
    going.set()
    await first
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM tally") == 1


async def test_what_was_asked_when_the_process_died_is_settled_by_the_next_within_15_seconds(
    tally_pool: Any, sealing: Sealing
) -> None:
    async with tally_pool.acquire() as conn:
        await effects.record_commands(
            conn, sealing, [OutboundCommand(uuid4(), uuid4(), "ask", b"")]
        )
    outside = Outside()
    with pytest.raises(Killed):
        await runner(
            tally_pool, sealing, outside, Failpoints("effect_after_call", in_process=True)
        ).once()
    async with running(runner(tally_pool, sealing, outside).run()):
        await until(lambda: empty(tally_pool, "effect"), 15)
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM tally") == 1
    assert (outside.calls, len(outside.done)) == (2, 1)


async def test_a_call_longer_than_the_lease_stays_its_claimants(
    tally_pool: Any, sealing: Sealing
) -> None:
    async with tally_pool.acquire() as conn:
        await effects.record_commands(
            conn, sealing, [OutboundCommand(uuid4(), uuid4(), "ask", b"") for _ in range(2)]
        )
    outside, others, going = Outside(), Outside(), asyncio.Event()

    async def long(kind: str, claimed: Sequence[Effect]) -> Sequence[Reply | NoReply]:
        await going.wait()
        return await Outside.perform(outside, kind, claimed)

    outside.perform = long  # type: ignore[method-assign]
    first = asyncio.create_task(runner(tally_pool, sealing, outside, lease_s=1.5).once())
    await until(lambda: claimed_once(tally_pool))
    async with running(runner(tally_pool, sealing, others).run()):
        for _ in range(2):
            async with tally_pool.acquire() as conn:
                due = await conn.fetchval("SELECT max(next_at) FROM effect")
            await until(lambda due=due: passed(tally_pool, due))
        going.set()
        await first
    assert (outside.calls, others.calls) == (1, 0)
    assert await empty(tally_pool, "effect")


async def passed(pool: Any, due: Any) -> bool:
    async with pool.acquire() as conn:
        return bool(await conn.fetchval("SELECT now() > $1", due))


async def claimed_once(pool: Any) -> bool:
    async with pool.acquire() as conn:
        return bool(await conn.fetchval("SELECT attempts = 1 FROM effect"))


def test_every_failpoint_is_tried_by_this_suite() -> None:
    from shared.failpoints import STEPS

    suite = Path(__file__).read_text() + Path(__file__).with_name("test_timers.py").read_text()
    assert [step for step in STEPS if f'"{step}"' not in suite] == []
