"""Reads topics from their beginning to where they end now, outside any consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from services.cli.connect import RunningStack, Unreachable, kafka_errors
from shared.envelope import Record

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from shared.log_ends import Ahead

Place = tuple[str, int]
"""A topic's plain name, without a test's prefix, and a partition."""


async def partitions(to: RunningStack, topics: Sequence[str]) -> list[TopicPartition]:
    """The partitions of those of `topics` that are there."""
    from aiokafka import TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient

    from shared.topics import named

    async with kafka_errors(to):
        admin = AIOKafkaAdminClient(
            bootstrap_servers=to.kafka,
            client_id="crossborder-cli",
            request_timeout_ms=10_000,
            **to.security.options(),
        )
        try:
            await admin.start()
            there = set(await admin.list_topics())
            wanted = [named(t, to.prefix) for t in topics if named(t, to.prefix) in there]
            found = await admin.describe_topics(wanted) if wanted else []
        finally:
            await admin.close()
    return [TopicPartition(t["topic"], p["partition"]) for t in found for p in t["partitions"]]


@asynccontextmanager
async def consumer(to: RunningStack, *, committed: bool = True) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of no group, which reads as services do: what a transaction wrote when it is ended, and not what it gave up."""
    from aiokafka import AIOKafkaConsumer

    from shared.kafka import FETCH_BYTES
    from shared.record_decoding import read_whatever_comes
    from shared.topics import MESSAGE_BYTES_MAX

    read_whatever_comes()
    async with kafka_errors(to):
        made = AIOKafkaConsumer(
            bootstrap_servers=to.kafka,
            client_id="crossborder-cli",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed" if committed else "read_uncommitted",
            # The broker sends a record that is larger than these all the same, alone.
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_bytes=2 * MESSAGE_BYTES_MAX,
            fetch_max_wait_ms=100,
            request_timeout_ms=20_000,
            **to.security.options(),
        )
        try:
            await made.start()
            # Its coordinator's task must have begun before it is cancelled, or the cancellation comes up through `stop`.
            await asyncio.sleep(0)
            yield made
        finally:
            await made.stop()


async def ends(to: RunningStack, topics: Sequence[str]) -> dict[Place, tuple[int, int]]:
    """Of each partition of `topics`: its first offset and the one behind the last that may be read now."""
    found = await partitions(to, topics)
    if not found:
        return {}
    async with consumer(to) as reader:
        reader.assign(found)
        first, last = await reader.beginning_offsets(found), await reader.end_offsets(found)
    return {(tp.topic[len(to.prefix) :], tp.partition): (first[tp], last[tp]) for tp in found}


async def open_transactions(
    to: RunningStack, topics: Sequence[str]
) -> dict[Place, tuple[int, int]]:
    """Where a producer has not ended its transaction: of the partition, up to where it may be read and where it ends."""
    found = await partitions(to, topics)
    if not found:
        return {}
    async with consumer(to, committed=False) as reader:
        written = await reader.end_offsets(found)
    # Asked for later, so that what was written in between is not taken for what may not be read.
    async with consumer(to) as reader:
        stable = await reader.end_offsets(found)
    return {
        (tp.topic[len(to.prefix) :], tp.partition): (stable[tp], written[tp])
        for tp in found
        if stable[tp] < written[tp]
    }


async def held_back(to: RunningStack, topics: Sequence[str]) -> list[str]:
    """One sentence for each partition in which nobody reads on, for a transaction that is open there."""
    return [
        f"end or abort the transaction that is open in {topic}/{part}: it ends by itself when its producer's timeout is over, and the "
        f"{written - stable} offsets from {stable} on are read only then"
        for (topic, part), (stable, written) in sorted(
            (await open_transactions(to, topics)).items()
        )
    ]


async def first_records(
    to: RunningStack, ranges: Mapping[Place, tuple[int, int]]
) -> dict[Place, int]:
    """Of each range of offsets (its first, the one behind its last) that of the first record in it, or the range's end."""
    from aiokafka import TopicPartition

    from shared import log_ends
    from shared.errors import Unavailable
    from shared.topics import named

    asked = {
        TopicPartition(named(topic, to.prefix), part): rest
        for (topic, part), rest in ranges.items()
    }
    async with kafka_errors(to):
        try:
            found = await log_ends.first_records(to.kafka, asked, security=to.security)
        except Unavailable as error:
            raise Unreachable(str(error)) from None
    return {(tp.topic[len(to.prefix) :], tp.partition): offset for tp, offset in found.items()}


async def read(
    to: RunningStack,
    topics: Sequence[str],
    *,
    since_ms: int | None = None,
    since: Mapping[Place, int] | None = None,
    numbers: Collection[int] | None = None,
    by_number: bool = False,
    committed: bool = True,
) -> AsyncIterator[Record]:
    """Every record of `topics` from the beginning (or the time `since_ms`) to the end as it is when
    reading begins. What lies behind an open transaction is not waited for: see `open_transactions`.

    `since`: offsets to begin at instead; a partition that is not named is read from its beginning. `numbers`: only partitions
    with these. `by_number`: all partitions with one number before any with the next, so that all records of an order come
    before those of other partitions' orders. Without `committed` what a transaction has not ended, or gave up, is read too.
    """
    found = [
        tp for tp in await partitions(to, topics) if numbers is None or tp.partition in numbers
    ]
    if not found:
        return
    from shared.log_ends import Ahead

    async with consumer(to, committed=committed) as reader:
        reader.assign(found)
        end = await reader.end_offsets(found)
        start = await reader.beginning_offsets(found)
        if since is not None:
            asked = {tp: since.get((tp.topic[len(to.prefix) :], tp.partition), 0) for tp in found}
            start = {tp: max(first, asked[tp]) for tp, first in start.items()}
        if since_ms is not None:
            at = await reader.offsets_for_times(dict.fromkeys(found, since_ms))
            start = {tp: at[tp].offset if at.get(tp) else end[tp] for tp in found}
        for tp in found:
            reader.seek(tp, start[tp])
        reader.pause(*found)
        for number in sorted({tp.partition for tp in found}) if by_number else (None,):
            open_ = {tp for tp in found if start[tp] < end[tp] and number in (None, tp.partition)}
            reader.resume(*open_)
            ahead = Ahead(reader, end)
            while open_:
                async for record in _poll(reader, open_, ahead, end, len(to.prefix)):
                    yield record


async def _poll(
    reader: Any,
    open_: set[TopicPartition],
    ahead: Ahead,
    end: dict[TopicPartition, int],
    prefix: int,
) -> AsyncIterator[Record]:
    from shared.errors import Unavailable
    from shared.log_ends import POLL_MS

    polled = await reader.getmany(timeout_ms=POLL_MS, max_records=5000)
    for tp, batch in polled.items():
        for r in batch:
            if r.offset < end[tp]:
                yield record_of(r, prefix)
    try:
        passed = await ahead.done(open_)
    except Unavailable as error:
        raise Unreachable(str(error)) from None
    open_ -= passed
    reader.pause(*passed)


def record_of(r: Any, prefix: int) -> Record:
    """A consumed record in the kernel's own shape."""
    headers = tuple((name, value or b"") for name, value in r.headers)
    return Record(r.topic[prefix:], r.partition, r.offset, r.timestamp, r.key, r.value, headers)
