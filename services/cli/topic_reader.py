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
            described = await admin.describe_topics(wanted) if wanted else []
        finally:
            await admin.close()
    return [TopicPartition(t["topic"], p["partition"]) for t in described for p in t["partitions"]]


@asynccontextmanager
async def consumer(to: RunningStack, *, committed: bool = True) -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a consumer without a group that reads as services do: committed records only."""
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
            # The broker still sends a larger record, alone.
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_bytes=2 * MESSAGE_BYTES_MAX,
            fetch_max_wait_ms=100,
            request_timeout_ms=20_000,
            **to.security.options(),
        )
        try:
            await made.start()
            # The coordinator's task must begin first, or `stop` raises its cancellation.
            await asyncio.sleep(0)
            yield made
        finally:
            await made.stop()


async def ends(to: RunningStack, topics: Sequence[str]) -> dict[Place, tuple[int, int]]:
    """Return of each partition the first offset and the end of what may be read now."""
    tps = await partitions(to, topics)
    if not tps:
        return {}
    async with consumer(to) as reader:
        reader.assign(tps)
        first, last = await reader.beginning_offsets(tps), await reader.end_offsets(tps)
    return {(tp.topic[len(to.prefix) :], tp.partition): (first[tp], last[tp]) for tp in tps}


async def open_transactions(
    to: RunningStack, topics: Sequence[str]
) -> dict[Place, tuple[int, int]]:
    """Return where a transaction is open: up to where it may be read, and the log's end."""
    tps = await partitions(to, topics)
    if not tps:
        return {}
    async with consumer(to, committed=False) as reader:
        written = await reader.end_offsets(tps)
    # Read later, so that records written in between do not count as unreadable.
    async with consumer(to) as reader:
        stable = await reader.end_offsets(tps)
    return {
        (tp.topic[len(to.prefix) :], tp.partition): (stable[tp], written[tp])
        for tp in tps
        if stable[tp] < written[tp]
    }


async def held_back(to: RunningStack, topics: Sequence[str]) -> list[str]:
    return [
        f"end or abort the transaction that is open in {topic}/{part}: it ends by itself when "
        "its producer's timeout is over, and the "
        f"{written - stable} offsets from {stable} on are read only then"
        for (topic, part), (stable, written) in sorted(
            (await open_transactions(to, topics)).items()
        )
    ]


async def first_records(
    to: RunningStack, ranges: Mapping[Place, tuple[int, int]]
) -> dict[Place, int]:
    """Return of each range (first, end) of offsets its first record, or the range's end."""
    from aiokafka import TopicPartition

    from shared import log_ends
    from shared.errors import Unavailable
    from shared.topics import named

    ranges_by_tp = {
        TopicPartition(named(topic, to.prefix), part): rest
        for (topic, part), rest in ranges.items()
    }
    async with kafka_errors(to):
        try:
            offset_by_tp = await log_ends.first_records(
                to.kafka, ranges_by_tp, security=to.security
            )
        except Unavailable as error:
            raise Unreachable(str(error)) from None
    return {
        (tp.topic[len(to.prefix) :], tp.partition): offset for tp, offset in offset_by_tp.items()
    }


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
    """Yield every record of `topics` up to the ends at the time of the call.

    Records behind an open transaction are not waited for: see `open_transactions`.
    `since_ms`: begin at this time; `since`: begin at these offsets.
    `numbers`: only partitions with these numbers.
    `by_number`: all partitions of one number before the next, so an order's records come together.
    `committed`: without it, records of open and aborted transactions are read too.
    """
    tps = [tp for tp in await partitions(to, topics) if numbers is None or tp.partition in numbers]
    if not tps:
        return
    from shared.log_ends import Ahead

    async with consumer(to, committed=committed) as reader:
        reader.assign(tps)
        end = await reader.end_offsets(tps)
        start = await _start(reader, tps, end, since_ms, _by_tp(since, tps, len(to.prefix)))
        for tp in tps:
            reader.seek(tp, start[tp])
        reader.pause(*tps)
        unread = [tp for tp in tps if start[tp] < end[tp]]
        for group in _groups(unread, by_number):
            open_ = set(group)
            reader.resume(*open_)
            ahead = Ahead(reader, end)
            while open_:
                async for record in _poll(reader, open_, ahead, end, len(to.prefix)):
                    yield record


def _by_tp(
    since: Mapping[Place, int] | None, tps: Sequence[TopicPartition], prefix: int
) -> dict[TopicPartition, int]:
    return {tp: (since or {}).get((tp.topic[prefix:], tp.partition), 0) for tp in tps}


async def _start(
    reader: Any,
    tps: Sequence[TopicPartition],
    end: Mapping[TopicPartition, int],
    since_ms: int | None,
    since: Mapping[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """Return where reading begins: at the time `since_ms`, else at `since` or the log's begin."""
    if since_ms is not None:
        at = await reader.offsets_for_times(dict.fromkeys(tps, since_ms))
        return {tp: at[tp].offset if at.get(tp) else end[tp] for tp in tps}
    first = await reader.beginning_offsets(tps)
    return {tp: max(first[tp], since[tp]) for tp in tps}


def _groups(tps: Sequence[TopicPartition], by_number: bool) -> list[list[TopicPartition]]:
    if not by_number:
        return [list(tps)]
    numbers = sorted({tp.partition for tp in tps})
    return [[tp for tp in tps if tp.partition == number] for number in numbers]


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
    headers = tuple((name, value or b"") for name, value in r.headers)
    return Record(r.topic[prefix:], r.partition, r.offset, r.timestamp, r.key, r.value, headers)
