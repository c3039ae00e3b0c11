"""Keeps a consumer's position in the log and its stored offsets together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    KafkaError,
)

from shared import inbox, metrics, topic_ids
from shared.database import LOST, RETRYABLE
from shared.envelope import Record
from shared.errors import Misconfigured, Unavailable
from shared.failpoints import Failpoints
from shared.kafka import METADATA_MS
from shared.subscriptions import Subscriptions
from shared.topics import named

log = structlog.get_logger(__name__)

RETRY_BOUND_S: Final = 30.0
HINT_EVERY_S: Final = 1.0
REACH_S: Final = 5.0


class _Log(NamedTuple):
    """Offset of a log's first record, and the one behind its last."""

    begin: int
    end: int


class OffsetKeeper:
    """Keeps the reader of one service and its stored offsets at the same place."""

    def __init__(
        self,
        service: str,
        subscriptions: Subscriptions,
        consumer: AIOKafkaConsumer,
        pool: Any,
        *,
        prefix: str,
        failpoints: Failpoints | None,
    ) -> None:
        self._service = service
        self._sources = subscriptions.sources
        self._consumer = consumer
        self._pool = pool
        self._prefix = prefix
        self._fail = failpoints or Failpoints()
        self._committable: dict[TopicPartition, int] = {}
        """Offsets to tell Kafka, for displays of lag only."""
        self._done: dict[TopicPartition, int] = {}
        """Offset behind the last handled record."""
        self._gap: dict[inbox.Partition, int] = {}
        self._revoked_at: float | None = None
        self._stepped = 0.0
        self._compared = time.monotonic()
        self.ready = asyncio.Event()
        self.failed: Exception | None = None

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat a step until the database allows it, for RETRY_BOUND_S at most."""
        started = time.monotonic()
        wait_s = 0.1
        while True:
            try:
                return await step()
            except (Unavailable, *LOST, *RETRYABLE) as error:
                if time.monotonic() - started > RETRY_BOUND_S:
                    raise
                metrics.RETRIES.labels(self._service).inc()
                log.warning(
                    "batch waits and is tried again",
                    service=self._service,
                    error=type(error).__name__,
                    detail=str(error)[:200],
                )
                await asyncio.sleep(wait_s)
                wait_s = min(2.0, wait_s * 2)

    async def _seek_again(self, records: list[Record], fenced: inbox.Fenced) -> None:
        """Seek to the stored offsets.

        The step may be repeated: it notes nothing before the database has done everything.
        """
        first: dict[inbox.Partition, int] = {}
        for r in records:
            first.setdefault((r.topic, r.partition), r.offset)
        logs = await self._logs(fenced.partitions)
        for partition, stored in fenced.partitions.items():
            self._require_reach(partition, stored, logs[partition].end)
        async with self._pool.acquire() as conn:
            for partition, stored in fenced.partitions.items():
                if stored < first[partition] == self._gap.get(partition):
                    await inbox.accept_gap(conn, partition, first[partition])
            self._fail.hit("seek_again")
            there = await inbox.known_offsets(conn, first)
        for partition, stored in fenced.partitions.items():
            self._note_fenced(partition, stored, first[partition], logs[partition].begin)
        for (topic, part), stored in there.items():
            self._seek(TopicPartition(named(topic, self._prefix), part), stored)

    async def _topic_ids(self) -> dict[str, UUID]:
        ids = await topic_ids.ask(
            self._consumer._client, [named(t, self._prefix) for t in self._sources]
        )
        return {self.plain(topic): topic_id for topic, topic_id in ids.items()}

    async def _look_at_topics(self) -> None:
        """Compare the topics' ids every few seconds. Raises Misconfigured for a changed id."""
        if time.monotonic() - self._compared < METADATA_MS / 1000:
            return
        self._compared = time.monotonic()
        try:
            async with asyncio.timeout(REACH_S):
                ids = await self._topic_ids()
        except (KafkaError, TimeoutError) as error:
            log.debug(
                "the topics' ids are not known", service=self._service, error=type(error).__name__
            )
            return
        await self._patiently(partial(self._require_same, ids))

    async def _require_same(self, ids: Mapping[str, UUID]) -> None:
        async with self._pool.acquire() as conn:
            await topic_ids.require_same(conn, self._service, ids)

    async def _step_over(self) -> None:
        """Move the stored offsets to the reader's, where only marks of transactions lie between."""
        if time.monotonic() - self._stepped < HINT_EVERY_S:
            return
        self._stepped = time.monotonic()
        try:
            async with asyncio.timeout(REACH_S):
                moves = await self._nothing_between(await self._stands_ahead())
        except (Unavailable, TimeoutError) as error:
            log.debug(
                "what came to nothing is stepped over later",
                service=self._service,
                error=type(error).__name__,
            )
            return
        try:
            if moves:
                await self._patiently(partial(self._move, moves))
        except inbox.Fenced as fenced:
            # Another process has or had these partitions: read on where it stopped.
            for (topic, part), stored in fenced.partitions.items():
                self._seek(TopicPartition(named(topic, self._prefix), part), stored)

    async def _stands_ahead(self) -> dict[inbox.Partition, tuple[int, int]]:
        """Return stored offset and reader's position of each partition with a reader ahead."""
        ahead: dict[inbox.Partition, tuple[int, int]] = {}
        for tp in self._consumer.assignment() & self._done.keys():
            with contextlib.suppress(KafkaError):  # the partition was just taken away
                stands = await self._consumer.position(tp)
                if stands > self._done[tp]:
                    ahead[self.plain(tp.topic), tp.partition] = (self._done[tp], stands)
        return ahead

    async def _nothing_between(
        self, ahead: Mapping[inbox.Partition, tuple[int, int]]
    ) -> dict[inbox.Partition, tuple[int, int]]:
        """Drop partitions where records were deleted unread: the reader passes those too."""
        logs = await self._logs(ahead) if ahead else {}
        return {
            p: (done, stands)
            for p, (done, stands) in ahead.items()
            if logs[p].begin <= done and stands <= logs[p].end
        }

    async def _move(self, moves: Mapping[inbox.Partition, tuple[int, int]]) -> None:
        async with self._pool.acquire() as conn, conn.transaction():
            await inbox.advance(conn, moves)
        for (topic, part), (_, stands) in moves.items():
            tp = TopicPartition(named(topic, self._prefix), part)
            self._done[tp] = self._committable[tp] = stands

    async def _logs(self, partitions: Iterable[inbox.Partition]) -> dict[inbox.Partition, _Log]:
        """Return where the log of each partition begins and ends.

        Raises Unavailable if the broker does not answer.
        """
        asked = {p: TopicPartition(named(p[0], self._prefix), p[1]) for p in partitions}
        try:
            begin = await self._consumer.beginning_offsets(list(asked.values()))
            end = await self._consumer.end_offsets(list(asked.values()))
        except KafkaError as error:
            raise Unavailable(
                f"Kafka does not tell where its logs begin and end: {error}"
            ) from error
        return {p: _Log(begin[tp], end[tp]) for p, tp in asked.items()}

    def _require_reach(self, partition: inbox.Partition, stored: int, end: int) -> None:
        if stored > end:
            topic, part = partition
            raise Misconfigured(
                f"give the broker its data back or, to read {topic} from its beginning, delete its "
                f"rows of {self._service}.consumer_offset: {topic}/{part} ends at offset {end}, "
                f"and what was handled ends at {stored}, so the topic was made anew or lost its end"
            )

    def _note_fenced(self, partition: inbox.Partition, stored: int, first: int, begin: int) -> None:
        """Count and log why a batch was fenced.

        `first` is the batch's first offset, `begin` the log's. `stored` > `first`: another process
        was faster. `stored` < `begin`: a gap, where records were deleted unread. Otherwise a hole,
        where there was no record. A gap or hole is accepted when it is met again.
        """
        kind = "overtaken" if stored > first else "gap" if stored < begin else "hole"
        metrics.FENCED.labels(self._service, kind).inc()
        where: dict[str, Any] = {
            "service": self._service,
            "topic": partition[0],
            "partition": partition[1],
            "stored": stored,
            "found": first,
        }
        if kind == "overtaken":
            self._gap.pop(partition, None)
        elif self._gap.get(partition) != first:
            self._gap[partition] = first
        elif kind == "gap":
            log.error("records are missing from the log for good", **where)
        (log.debug if kind == "hole" else log.warning)(
            "batch given up, reading again from the stored offset", kind=kind, **where
        )

    def _seek(self, tp: TopicPartition, offset: int) -> None:
        if tp in self._consumer.assignment():
            self._consumer.seek(tp, offset)
            self._done[tp] = offset

    def revoked(self) -> None:
        """Note that a rebalance begins. Nothing is read until its end."""
        self.ready.clear()
        self._revoked_at = time.monotonic()

    async def assigned(self, partitions: list[TopicPartition]) -> None:
        """Seek the assigned partitions to the stored offsets, before the first poll."""
        metrics.REBALANCES.labels(self._service).inc()
        metrics.ASSIGNED.labels(self._service).set(len(partitions))
        if partitions:
            begin = await self._consumer.beginning_offsets(partitions)
            plain = {
                (tp.topic[len(self._prefix) :], tp.partition): offset
                for tp, offset in begin.items()
            }
            ids = await self._topic_ids()
            async with self._pool.acquire() as conn:
                await topic_ids.require_same(conn, self._service, ids)
                there = await inbox.known_offsets(conn, plain)
            for (topic, part), offset in there.items():
                self._seek(TopicPartition(named(topic, self._prefix), part), offset)
        if self._revoked_at is not None:
            metrics.REBALANCE_SECONDS.labels(self._service).observe(
                time.monotonic() - self._revoked_at
            )
            self._revoked_at = None
        log.info("partitions assigned", service=self._service, count=len(partitions))
        self.ready.set()

    def plain(self, topic: str) -> str:
        """Return the topic's name without the prefix of tests."""
        return topic[len(self._prefix) :]


class SeekOnAssignment(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: OffsetKeeper) -> None:
        self._consumer = consumer

    def on_partitions_revoked(self, _revoked: list[TopicPartition]) -> None:
        """Take note only: a batch in flight is either committed or fenced."""
        self._consumer.revoked()

    async def on_partitions_assigned(
        self, assigned: list[TopicPartition]
    ) -> Awaitable[None] | None:
        while True:
            try:
                await self._consumer.assigned(list(assigned))
                return None
            except (*LOST, *RETRYABLE, KafkaError) as error:
                # aiokafka would log this and read on from the offset in Kafka. Nothing may be read
                # without the database.
                log.warning("assignment waits for the stored offsets", error=type(error).__name__)
                await asyncio.sleep(0.5)
            except Exception as error:  # noqa: BLE001  the next poll raises it
                self._consumer.failed = error
                return None
