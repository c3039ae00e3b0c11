"""The Kafka producer: idempotent, in batches, acknowledged by all replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from functools import lru_cache
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.partitioner import murmur2

from shared.kafka import OPEN, Security
from shared.topics import (
    DEAD_LETTER_BYTES_MAX,
    PARTITIONS,
)

log = structlog.get_logger(__name__)

T = TypeVar("T")


Sent = tuple[str, bytes | None, bytes, list[tuple[str, bytes]]]
"""A record to publish: topic, key, value, headers."""


class TopicClosed(Exception):
    """The topic does not exist, or this user may not write it."""

    def __init__(self, topic: str, error: Exception) -> None:
        super().__init__(f"{topic}: {type(error).__name__}")
        self.topic = topic


def make_producer(bootstrap: str, client_id: str, security: Security = OPEN) -> AIOKafkaProducer:
    """Return an idempotent producer with `acks=all`. A test asserts its settings."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id=client_id,
        enable_idempotence=True,
        acks="all",
        linger_ms=0,
        max_batch_size=256 * 1024,
        max_request_size=DEAD_LETTER_BYTES_MAX,
        request_timeout_ms=15_000,
        **security.options(),
    )


@lru_cache(maxsize=4096)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that the default partitioner of Kafka clients (murmur2) gives a key.

    Cached, since an order has many records.
    """
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


async def publish(producer: AIOKafkaProducer, records: Iterable[Sent]) -> None:
    """Publish the records and await every acknowledgement.

    Raises TopicClosed or KafkaError. Each partition's records go in order, in batches filled here.
    The producer's own `send` would make a future and run four checks for every record.
    """
    filling: dict[tuple[str, int], Any] = {}
    partitions: dict[str, int] = {}
    acks: list[tuple[str, Any]] = []
    for topic, key, value, headers in records:
        if not key:
            acks.append(
                (
                    topic,
                    await _of(topic, producer.send(topic, key=None, value=value, headers=headers)),
                )
            )
            continue
        if topic not in partitions:
            # Partitions added later stay unused: otherwise the events of one order would lose their
            # sequence.
            partitions[topic] = min(
                PARTITIONS, len(await _of(topic, producer.partitions_for(topic)))
            )
        place = topic, partition_of(key, partitions[topic])
        batch = filling.get(place)
        if (
            batch is None
            or batch.append(timestamp=None, key=key, value=value, headers=headers) is None
        ):
            if batch is not None:
                acks.append((topic, await producer.send_batch(batch, topic, partition=place[1])))
            batch = filling[place] = producer.create_batch()
            batch.append(timestamp=None, key=key, value=value, headers=headers)
    acks += [
        (topic, await producer.send_batch(batch, topic, partition=part))
        for (topic, part), batch in filling.items()
    ]
    await asyncio.gather(*(_of(topic, ack) for topic, ack in acks))


async def _of(topic: str, work: Awaitable[T]) -> T:
    """Return the result. Raises TopicClosed if the topic itself takes nothing."""
    try:
        return await work
    except (
        TopicAuthorizationFailedError,
        UnknownTopicOrPartitionError,
        InvalidTopicError,
    ) as error:
        raise TopicClosed(topic, error) from error


async def stop_producer(producer: AIOKafkaProducer) -> None:
    """Stop the producer within 5 seconds. A failure is only logged."""
    try:
        async with asyncio.timeout(5):
            await producer.stop()
    except (KafkaError, TimeoutError) as error:
        log.warning("producer did not stop cleanly", error=type(error).__name__)
