"""On a real broker: how topics are made and kept, and what becomes of those that somebody changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.embedded.kafka import wait_led
from shared import outbox, topics
from shared.envelope import Outgoing
from shared.errors import Unprocessable
from shared.outcomes import write
from shared.relay import Relay
from shared.sealing import Sealing
from shared.subscriptions import EmittedEvent, Outcome
from tests.integration.conftest import Tallied
from tests.integration.test_delivery import empty, read_all, running, until

DAY_MS = topics.DAY_MS


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    yield client
    await client.close()


async def set_on(admin: AIOKafkaAdminClient, names: Collection[str]) -> dict[str, dict[str, str]]:
    """What is set on each topic itself."""
    answers = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    )
    return {
        name: {entry[0]: entry[1] for entry in entries if entry[3] == 1}
        for answer in answers
        for _, _, _, name, entries in answer.resources
    }


async def test_what_comes_from_outside_is_stamped_by_the_broker(
    kafka: str, topic_prefix: str
) -> None:
    """Retention goes by the stamp: a shop's own would let its order be deleted unread, or kept as long again."""
    await topics.create_topics(kafka, topic_prefix, partitions=1)
    now_ms = int(time.time() * 1000)
    stamps = (
        0,
        1,
        now_ms // 1000,
        now_ms - 10 * DAY_MS,
        now_ms - 4 * DAY_MS,
        now_ms + 400 * DAY_MS,
        2**62,
    )
    for topic in (topics.SUBMISSIONS, topics.WAYBILLS, topics.RECEIPTS):
        name = topics.named(topic, topic_prefix)
        for packed in (None, "gzip"):
            async with AIOKafkaProducer(bootstrap_servers=kafka, compression_type=packed) as shop:
                await asyncio.gather(
                    *[
                        await shop.send(name, b"{}", key=b"k", timestamp_ms=stamp)
                        for stamp in stamps
                    ]
                )
        found = await read_all(kafka, name)
        assert len(found) == 2 * len(stamps)
        assert all(abs(r.timestamp - now_ms) < 120_000 and r.timestamp_type == 1 for r in found)


async def test_a_topic_of_an_earlier_release_gets_what_it_lacks_and_keeps_what_an_operator_set(
    kafka: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    before = {"max.message.bytes": "2097152", "cleanup.policy": "delete", "retention.ms": str(5 * DAY_MS),
              "delete.retention.ms": "1234"}  # fmt: skip
    old = [
        topics.named(topic, topic_prefix)
        for topic in (topics.SUBMISSIONS, topics.ORDERS, topics.RECEIPTS)
    ]
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs=before) for name in old])
    await wait_led(kafka, old)
    made = await topics.create_topics(kafka, topic_prefix, partitions=1)
    assert not {*old} & {*made}
    assert await topics.create_topics(kafka, topic_prefix, partitions=1) == []
    stamped = {"message.timestamp.type": "LogAppendTime", "segment.ms": str(DAY_MS)}
    larger = {"max.message.bytes": str(topics.bytes_max_of(topics.RECEIPTS))}
    assert await set_on(admin, old) == {
        old[0]: before | stamped,
        old[1]: before,
        old[2]: before | stamped | larger,
    }


async def test_an_orders_facts_stay_in_one_partition_though_partitions_are_added(
    kafka: str, topic_prefix: str, admin: AIOKafkaAdminClient, tally_pool: Any, sealing: Sealing
) -> None:
    """Whoever reads is behind: what came first lies in the old partition still."""
    await topics.create_topics(kafka, topic_prefix)
    name = topics.named(topics.TAX, topic_prefix)
    orders = [uuid4() for _ in range(40)]

    async def say(version: int) -> None:
        facts = [
            EmittedEvent(Tallied(order_id=order, total=version), uuid4(), version)
            for order in orders
        ]
        async with tally_pool.acquire() as conn, conn.transaction():
            await write(conn, "tax", topics.TAX, Outcome(facts=facts), sealing)

    relay = Relay("tax", tally_pool, kafka, prefix=topic_prefix, sealing=sealing)
    async with running(relay.run()):
        await say(1)
        await until(lambda: empty(tally_pool, "outbox"))
        await admin.create_partitions({name: NewPartitions(2 * topics.PARTITIONS)})
    for version in (2, 3):
        async with running(
            Relay("tax", tally_pool, kafka, prefix=topic_prefix, sealing=sealing).run()
        ):
            await say(version)
            await until(lambda: empty(tally_pool, "outbox"))
    places: dict[bytes, set[int]] = {}
    for record in await read_all(kafka, name):
        places.setdefault(record.key, set()).add(record.partition)
    assert len(places) == len(orders)
    assert all(len(partitions) == 1 for partitions in places.values())


@pytest.mark.parametrize("topic", [topics.TAX, topics.dead_letters_of(topics.TAX)])
async def test_the_largest_record_that_the_outbox_takes_is_published_and_one_byte_more_is_refused(
    kafka: str, topic_prefix: str, tally_pool: Any, sealing: Sealing, topic: str
) -> None:
    """With a key or none, with few headers or 10,000, or with a key of one MiB."""
    await topics.create_topics(kafka, topic_prefix, partitions=1)
    few, many = (("n", b"1"),), tuple((f"h{n}", b"v") for n in range(10_000))
    kinds = [(b"", few), (b"k", few), (str(uuid4()).encode(), many), (b"k" * 2**20, few)]
    largest = []
    for key, headers in kinds:
        empty_ = Outgoing(topic, key, b"", headers)
        room = topics.bytes_max_of(topic) - outbox.size_of(empty_)
        # The length is written in so many bytes that the last few are found by trying.
        value = next(
            room - less
            for less in range(64)
            if outbox.fits(empty_._replace(value=b"x" * (room - less)))
        )
        largest.append(empty_._replace(value=b"x" * value))
        async with tally_pool.acquire() as conn:
            with pytest.raises(Unprocessable, match="bytes"):
                await outbox.append(conn, sealing, [empty_._replace(value=b"x" * (value + 1))])
    async with tally_pool.acquire() as conn:
        await outbox.append(conn, sealing, largest)
    async with running(Relay("tax", tally_pool, kafka, prefix=topic_prefix, sealing=sealing).run()):
        await until(lambda: empty(tally_pool, "outbox"), 60)
    async with tally_pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM aside") == 0
    assert len(await read_all(kafka, topics.named(topic, topic_prefix))) == len(kinds)
