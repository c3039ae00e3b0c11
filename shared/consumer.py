"""The one loop that reads Kafka for every service.

The order path promises that nothing is lost and nothing happens twice, and it keeps both promises in PostgreSQL, not in
Kafka. One poll's records, of all partitions this process has, are handled in one transaction; the same transaction moves
the stored offsets from the first record to behind the last, by compare-and-swap. From that follows everything else:

- Kafka's own committed offset is only a hint for lag displays. On assignment we seek to where the database stands.
- A process that was paused and wakes after its partitions went to another finds the offsets moved: its transaction is
  rolled back and it seeks again (`Fenced`). No lease, no generation, no clock takes part in that.
- A connection that dies during commit leaves the outcome unknown. The same batch runs again: if the commit had gone
  through, the offsets say so.
- A batch that starts behind the stored offset means that something is missing between; it is read once more, so that nothing
  is passed over that is there. If it is missing still, the beginning of the log tells: where that lies behind the stored
  offset, records were deleted unread, and the gap is stepped over loudly. Otherwise no offset between holds a record that
  counts: a shop that writes in transactions leaves a mark at the end of each, and that is stepped over quietly.
- Once a second the stored offset is moved over what came to nothing behind the last record: marks, and what a transaction that was
  given up had written. Everything up to where the reader stands was asked for by then, and all that came is committed.
- A topic that was deleted and made anew has another id; so has each topic of which offsets are stored, and it is compared every few
  seconds (`topic_ids`).
- A stored offset behind the end of the log means another log: the topic was made anew, or lost its end. Kafka would send us to
  its beginning and the database back, without end, so the process ends with what to do.

`getmany` is used, never iteration: aiokafka's iterator skips a record too big for the fetch buffer (aiokafka #1173).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import OffsetAndMetadata

from shared import inbox, metrics, topic_ids
from shared.database import LOST, RETRYABLE
from shared.decoding import arrival_ms
from shared.envelope import Record
from shared.errors import Misconfigured, Unavailable
from shared.failpoints import Failpoints
from shared.handler import Handler
from shared.kafka import FETCH_BYTES, METADATA_MS, OPEN, Security
from shared.record_decoding import read_whatever_comes
from shared.subscriptions import Subscriptions
from shared.topics import MESSAGE_BYTES_MAX, named

log = structlog.get_logger(__name__)

POLL_MS: Final = 250
RETRY_BOUND_S: Final = 30.0
HINT_EVERY_S: Final = 1.0
AuthorizationFailed: Final = (TopicAuthorizationFailedError, GroupAuthorizationFailedError)
REACH_S: Final = 5.0
SESSION_MS: Final = 10_000
_TIMESTAMP: Final = attrgetter("timestamp")
_FIRST: Final = itemgetter(0)


def make_consumer(
    bootstrap: str, group: str, member: str, security: Security = OPEN
) -> AIOKafkaConsumer:
    """The consumer; each of these settings is asserted by a test, since aiokafka's defaults lose or repeat records."""
    read_whatever_comes()
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, group_instance_id=member, client_id=member,
        enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed",
        session_timeout_ms=SESSION_MS, heartbeat_interval_ms=2_000, max_poll_interval_ms=120_000,
        max_partition_fetch_bytes=FETCH_BYTES, fetch_max_bytes=32 * MESSAGE_BYTES_MAX, fetch_max_wait_ms=100,
        request_timeout_ms=20_000, retry_backoff_ms=100, metadata_max_age_ms=METADATA_MS, **security.options(),
    )  # fmt: skip


class _Log(NamedTuple):
    """Offset of a log's first record, and the one behind its last."""

    begin: int
    end: int


class Consumer:
    """Reads one service's topics and gives each poll's records to its handler."""

    def __init__(
        self, service: str, subscriptions: Subscriptions, handler: Handler, pool: Any, bootstrap: str, *, prefix: str = "",
        replica: int | str = 0, batch_records: int = 1000, pressed: Callable[[], bool] = lambda: False,
        failpoints: Failpoints | None = None, security: Security = OPEN,
    ) -> None:  # fmt: skip
        self._service = service
        self._sources = subscriptions.sources
        self._handler = handler
        self._pool = pool
        self._prefix = prefix
        self._batch_records = batch_records
        self._pressed = pressed
        self._fail = failpoints or Failpoints()
        self._consumer = make_consumer(
            bootstrap, f"{prefix}{service}", f"{prefix}{service}-{replica}", security
        )
        self._ends: dict[TopicPartition, int] = {}
        self._done: dict[TopicPartition, int] = {}
        self._revoked_at: float | None = None
        self._polled_at = metrics.LAST_POLL.labels(service)
        self._in_flight = metrics.IN_FLIGHT.labels(service)
        self._paused = metrics.INTAKE_PAUSED.labels(service)
        self._gap: dict[inbox.Partition, int] = {}
        self._hinted = 0.0
        self._stepped = 0.0
        self._compared = time.monotonic()
        self._held_back: dict[TopicPartition, tuple[int, float]] = {}
        self.ready = asyncio.Event()
        self.failed: Exception | None = None
        self.last_progress = time.monotonic()

    async def run(self) -> None:
        """Read until cancelled. Anything the handler cannot mend in time is raised, and the process starts anew."""
        self._consumer.subscribe(
            [named(t, self._prefix) for t in self._sources], listener=_Seek(self)
        )
        await self._start()
        try:
            while True:
                await self.poll_once()
        finally:
            await asyncio.shield(self._stop())

    async def _start(self) -> None:
        try:
            await self._consumer.start()
        except KafkaError as error:
            if isinstance(error, AuthorizationFailed):
                raise Unavailable(
                    f"run `crossborder access apply`: the broker does not let {self._service} in ({error})"
                ) from error
            raise Unavailable(f"Kafka does not answer: {error}") from error

    async def _stop(self) -> None:
        try:
            async with asyncio.timeout(5):
                await self._hint(force=True)
                await self._consumer.stop()
        except (KafkaError, TimeoutError) as error:
            log.warning(
                "consumer did not stop cleanly", service=self._service, error=type(error).__name__
            )

    async def poll_once(self) -> int:
        """One poll and its transaction; returns how many records it handled."""
        if self.failed is not None:
            raise self.failed
        await self._look_at_topics()
        self._regulate()
        polled = await self._most_advanced_first()
        self._polled_at.set_to_current_time()
        self._fail.hit("after_poll")
        records = self._records(polled)
        if not records:
            self.last_progress = time.monotonic()
            await self._step_over()
            await self._hint()
            return 0
        self._observe_delay(polled)
        with self._in_hand(len(records)):
            handled = await self._handle(records)
        if handled:
            ends = {tp: batch[-1].offset + 1 for tp, batch in polled.items()}
            self._ends |= ends
            self._done |= ends
        await self._step_over()
        await self._hint()
        return len(records)

    @contextlib.contextmanager
    def _in_hand(self, count: int) -> Iterator[None]:
        self._in_flight.set(count)
        try:
            yield
        finally:
            self._in_flight.set(0)

    async def _most_advanced_first(self) -> dict[TopicPartition, list[Any]]:
        """One poll that takes what is nearest to an order's end first: topics in the reverse of their rows.

        A burst would otherwise be carried through breadth-first, every order begun before one is finished.
        """
        polled: dict[TopicPartition, list[Any]] = {}
        room = self._batch_records
        open_now = self._consumer.assignment() - self._consumer.paused()
        for topic in reversed([named(t, self._prefix) for t in self._sources]):
            mine = [tp for tp in open_now if tp.topic == topic]
            if mine and room > 0:
                found = await self._fetched(*mine, timeout_ms=0, max_records=room)
                polled |= found
                room -= sum(map(len, found.values()))
        return polled or await self._fetched(timeout_ms=POLL_MS, max_records=self._batch_records)

    async def _fetched(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Any]]:
        """What is there. What cannot be read stops the process and is never stepped over: nobody knows what it says."""
        try:
            return dict(
                await self._consumer.getmany(
                    *partitions, timeout_ms=timeout_ms, max_records=max_records
                )
            )
        except CorruptRecordException as error:
            raise Unavailable(
                f"look at the disk and the log of the broker and compare the partition's replicas: {error}"
            ) from error

    def _records(self, polled: Mapping[TopicPartition, Sequence[Any]]) -> list[Record]:
        found: list[Record] = []
        for tp, batch in polled.items():
            topic, part = self.plain(tp.topic), tp.partition
            found += [
                Record(topic, part, r.offset, r.timestamp, r.key, r.value, r.headers) for r in batch
            ]
        return found

    def _observe_delay(self, polled: Mapping[TopicPartition, Sequence[Any]]) -> None:
        now_ms = int(time.time() * 1000)
        oldest: dict[str, tuple[int, Any]] = {}
        for tp, batch in polled.items():
            r = min(batch, key=_TIMESTAMP)
            at_ms = r.timestamp
            if self._sources[self.plain(tp.topic)].intake and arrival_ms(at_ms, now_ms) != at_ms:
                # Who wrote it has a clock of its own: the others may still have waited.
                at_ms, r = min(((arrival_ms(r.timestamp, now_ms), r) for r in batch), key=_FIRST)
            if tp.topic not in oldest or at_ms < oldest[tp.topic][0]:
                oldest[tp.topic] = at_ms, r
        for topic, (at_ms, r) in oldest.items():
            trace = next((value for name, value in r.headers if name == "traceparent"), None)
            seconds = max(0.0, (now_ms - at_ms) / 1000)
            metrics.QUEUE_DELAY.labels(self._service, self.plain(topic)).observe(
                seconds, metrics.exemplar(trace)
            )

    async def _handle(self, records: list[Record]) -> bool:
        """Try the batch until it is committed (True), somebody else has done it (False), or the bound is over."""
        try:
            await self._patiently(partial(self._handler.handle, records))
        except inbox.Fenced as fenced:
            await self._patiently(partial(self._seek_again, records, fenced))
            return False
        self.last_progress = time.monotonic()
        metrics.LAST_PROGRESS.labels(self._service).set_to_current_time()
        return True

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step that can be taken again until the database lets it, or RETRY_BOUND_S are over."""
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
        """Read on where the database stands. Nothing is noted before the database has done all, so it may be called again."""
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
        found = await topic_ids.ask(
            self._consumer._client, [named(t, self._prefix) for t in self._sources]
        )
        return {self.plain(topic): topic_id for topic, topic_id in found.items()}

    async def _look_at_topics(self) -> None:
        """Compare the topics' ids, every few seconds; raises Misconfigured if one was made anew beside us."""
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
        """Move the stored offsets to where the reader stands, if between them no record came and none was deleted unread."""
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
            # Another process has these partitions, or had them: read on where it left off.
            for (topic, part), stored in fenced.partitions.items():
                self._seek(TopicPartition(named(topic, self._prefix), part), stored)

    async def _stands_ahead(self) -> dict[inbox.Partition, tuple[int, int]]:
        """Of each partition whose reader went on behind the last record handled: the stored offset, and where it stands."""
        found: dict[inbox.Partition, tuple[int, int]] = {}
        for tp in self._consumer.assignment() & self._done.keys():
            with contextlib.suppress(KafkaError):  # it was taken away just now
                stands = await self._consumer.position(tp)
                if stands > self._done[tp]:
                    found[self.plain(tp.topic), tp.partition] = (self._done[tp], stands)
        return found

    async def _nothing_between(
        self, ahead: Mapping[inbox.Partition, tuple[int, int]]
    ) -> dict[inbox.Partition, tuple[int, int]]:
        """Those whose log still has what lay between: a reader also goes on where records were deleted unread."""
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
            self._done[tp] = self._ends[tp] = stands

    async def _logs(self, partitions: Iterable[inbox.Partition]) -> dict[inbox.Partition, _Log]:
        """Where the log of each partition begins and ends; raises Unavailable where the broker does not tell."""
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
                f"give the broker its data back or, to read {topic} from its beginning, delete its rows of "
                f"{self._service}.consumer_offset: {topic}/{part} ends at offset {end}, and what was handled ends at {stored}, so the "
                "topic was made anew or lost its end"
            )

    def _note_fenced(self, partition: inbox.Partition, stored: int, found: int, begin: int) -> None:
        """Behind us: another process was faster. Ahead of us: a gap or a hole; the second time it is met it is accepted.

        `begin`: where the log begins, in front of the stored offset if nothing unread was deleted.
        """
        kind = "overtaken" if stored > found else "gap" if stored < begin else "hole"
        metrics.FENCED.labels(self._service, kind).inc()
        where: dict[str, Any] = {
            "service": self._service, "topic": partition[0], "partition": partition[1], "stored": stored, "found": found
        }  # fmt: skip
        if kind == "overtaken":
            self._gap.pop(partition, None)
        elif self._gap.get(partition) != found:
            self._gap[partition] = found
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
        """A rebalance begins, until whose end nothing is read. Called by the rebalance listener."""
        self.ready.clear()
        self._revoked_at = time.monotonic()

    async def assigned(self, partitions: list[TopicPartition]) -> None:
        """Read on where the database stands. Called by the rebalance listener, before the first poll."""
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

    def _regulate(self) -> None:
        """Pause the intake while too much of what it caused is unfinished; a paused partition, never a growing list."""
        intake = {named(t, self._prefix) for t, source in self._sources.items() if source.intake}
        mine = {tp for tp in self._consumer.assignment() if tp.topic in intake}
        paused = set(self._consumer.paused()) & mine
        pressed = self._pressed()
        self._paused.set(int(pressed))
        if pressed:
            self._consumer.pause(*(mine - paused))
        elif paused:
            self._consumer.resume(*paused)

    async def _hint(self, *, force: bool = False) -> None:
        """Tell Kafka how far we are, for lag displays only; errors do not matter."""
        if not self._ends or not (force or time.monotonic() - self._hinted > HINT_EVERY_S):
            return
        self._hinted = time.monotonic()
        ends = {
            tp: OffsetAndMetadata(end, "")
            for tp, end in self._ends.items()
            if tp in self._consumer.assignment()
        }
        self._ends.clear()
        try:
            if ends:
                await self._consumer.commit(ends)
        except KafkaError as error:
            log.debug("offset hint not taken", service=self._service, error=type(error).__name__)

    def plain(self, topic: str) -> str:
        """The topic's name without the prefix of tests."""
        return topic[len(self._prefix) :]

    async def lag(self) -> dict[TopicPartition, int]:
        """Records that may be read and are not handled yet, per partition of this process; what is not known is left out."""
        found: dict[TopicPartition, int] = {}
        for tp in self._consumer.assignment():
            stable = self._consumer.last_stable_offset(tp)
            if stable is not None:
                done = self._done.get(tp)
                found[tp] = max(
                    0, stable - (await self._consumer.position(tp) if done is None else done)
                )
        return found

    def held_back(self) -> dict[TopicPartition, float]:
        """Seconds for which a transaction that is not ended has kept us from reading on, per partition; called every few seconds."""
        found: dict[TopicPartition, float] = {}
        since: dict[TopicPartition, tuple[int, float]] = {}
        now = time.monotonic()
        for tp in self._consumer.assignment():
            written, stable = self._consumer.highwater(tp), self._consumer.last_stable_offset(tp)
            if written is None or stable is None:
                continue
            if written > stable:
                before = self._held_back.get(tp)
                since[tp] = before if before is not None and before[0] == stable else (stable, now)
            found[tp] = now - since[tp][1] if tp in since else 0.0
        self._held_back = since
        return found

    async def reaches_broker(self) -> bool:
        """Whether the broker answers a question now; no answer within REACH_S seconds is none."""
        try:
            async with asyncio.timeout(REACH_S):
                await self._consumer.topics()
        except (KafkaError, TimeoutError):
            return False
        return True


class _Seek(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def on_partitions_revoked(self, _revoked: list[TopicPartition]) -> None:
        """Only noted: a batch in flight is either committed or fenced."""
        self._consumer.revoked()

    async def on_partitions_assigned(
        self, assigned: list[TopicPartition]
    ) -> Awaitable[None] | None:
        while True:
            try:
                await self._consumer.assigned(list(assigned))
                return None
            except (*LOST, *RETRYABLE, KafkaError) as error:
                # aiokafka would log this and read on from Kafka's hint; without the database nothing may be read.
                log.warning("assignment waits for the stored offsets", error=type(error).__name__)
                await asyncio.sleep(0.5)
            except Exception as error:  # noqa: BLE001  the next poll raises it, and the process starts anew
                self._consumer.failed = error
                return None
