"""The one loop that reads Kafka for every service."""

# The order path promises that nothing is lost and that nothing happens twice. PostgreSQL keeps both
# promises, not Kafka. One transaction handles the records of one poll, of all partitions of this
# process. The same transaction moves the stored offsets by compare-and-swap, from the first record
# to behind the last. Everything else follows from that:
#
# - Kafka's own committed offset is only a hint for displays of lag. On assignment the reader seeks
#   to the stored offset.
# - A paused process may wake after another process has taken over its partitions. The stored
#   offsets have moved by then. So the transaction is rolled back, and the reader seeks again
#   (`Fenced`). No lease, no generation and no clock takes part.
# - A connection that dies during the commit leaves the outcome unknown. The same batch runs again.
#   If the commit had succeeded, the stored offsets show so.
# - Offsets are missing if a batch begins after the stored offset. The reader reads that stretch
#   once more, so that no existing record is skipped. If the offsets are missing again, the
#   beginning of the log decides:
#   - A log that begins after the stored offset has a gap: records were deleted unread. The reader
#     steps over the gap and logs an error.
#   - Otherwise there is a hole: no offset in between holds a committed record. A shop that writes
#     in transactions leaves a mark at the end of each. The reader steps over the hole quietly.
# - Once a second the stored offset moves over marks and rolled-back records after the last handled
#   record. The reader has asked for every offset up to its position by then. All records that came
#   are committed.
# - A topic that is deleted and made anew has another id. The ids of topics with stored offsets are
#   stored too, and are compared every few seconds (`topic_ids`).
# - A stored offset after the end of the log means another log. The topic was made anew, or the log
#   lost its end. Kafka would send the reader to the beginning, and the database back, without end.
#   So the process ends and says how to mend that.
#
# The loop calls `getmany` and never iterates over the client. aiokafka's iterator skips a record
# that is too big for the fetch buffer (aiokafka #1173).

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import OffsetAndMetadata

from shared import inbox, metrics
from shared.consumer_client import make_consumer
from shared.decoding import arrival_ms
from shared.envelope import Record
from shared.errors import Unavailable
from shared.failpoints import Failpoints
from shared.handler import Handler
from shared.kafka import OPEN, Security
from shared.offset_keeper import HINT_EVERY_S, REACH_S, OffsetKeeper, SeekOnAssignment
from shared.subscriptions import Subscriptions
from shared.topics import named

log = structlog.get_logger(__name__)

POLL_MS: Final = 250
AuthorizationFailed: Final = (TopicAuthorizationFailedError, GroupAuthorizationFailedError)
_TIMESTAMP: Final = attrgetter("timestamp")
_FIRST: Final = itemgetter(0)


class Consumer(OffsetKeeper):
    """Reads the topics of one service and gives the records of each poll to the handler."""

    def __init__(
        self,
        service: str,
        subscriptions: Subscriptions,
        handler: Handler,
        pool: Any,
        bootstrap: str,
        *,
        prefix: str = "",
        replica: int | str = 0,
        batch_records: int = 1000,
        pressed: Callable[[], bool] = lambda: False,
        failpoints: Failpoints | None = None,
        security: Security = OPEN,
    ) -> None:
        """`replica`: tells this process from the other processes of the service.

        `prefix`: stands before the names of topics and groups in tests. `batch_records`: the most
        records of one poll. `pressed`: tells when to pause the intake.
        """
        super().__init__(
            service,
            subscriptions,
            make_consumer(
                bootstrap, f"{prefix}{service}", f"{prefix}{service}-{replica}", security
            ),
            pool,
            prefix=prefix,
            failpoints=failpoints,
        )
        self._handler = handler
        self._batch_records = batch_records
        self._pressed = pressed
        self._polled_at = metrics.LAST_POLL.labels(service)
        self._in_flight = metrics.IN_FLIGHT.labels(service)
        self._paused = metrics.INTAKE_PAUSED.labels(service)
        self._hinted = 0.0
        self._held_back: dict[TopicPartition, tuple[int, float]] = {}
        self.last_progress = time.monotonic()

    async def run(self) -> None:
        """Read until cancelled. Raises errors that no retry mends, so that the process restarts."""
        self._consumer.subscribe(
            [named(t, self._prefix) for t in self._sources], listener=SeekOnAssignment(self)
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
                    f"run `crossborder access apply`: the broker does not let {self._service} in "
                    f"({error})"
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
        """Poll once and handle the records. Return their number."""
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
            self._committable |= ends
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
        """Poll the topics of an order's later steps first.

        Otherwise a burst would begin all its orders at once.
        """
        polled: dict[TopicPartition, list[Any]] = {}
        room = self._batch_records
        open_now = self._consumer.assignment() - self._consumer.paused()
        for topic in reversed([named(t, self._prefix) for t in self._sources]):
            mine = [tp for tp in open_now if tp.topic == topic]
            if mine and room > 0:
                fetched = await self._fetched(*mine, timeout_ms=0, max_records=room)
                polled |= fetched
                room -= sum(map(len, fetched.values()))
        return polled or await self._fetched(timeout_ms=POLL_MS, max_records=self._batch_records)

    async def _fetched(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Any]]:
        """Fetch records. Raises Unavailable for a corrupt record, since its content is unknown."""
        try:
            return dict(
                await self._consumer.getmany(
                    *partitions, timeout_ms=timeout_ms, max_records=max_records
                )
            )
        except CorruptRecordException as error:
            raise Unavailable(
                "look at the disk and the log of the broker and compare the partition's replicas: "
                f"{error}"
            ) from error

    def _records(self, polled: Mapping[TopicPartition, Sequence[Any]]) -> list[Record]:
        records: list[Record] = []
        for tp, batch in polled.items():
            topic, part = self.plain(tp.topic), tp.partition
            records += [
                Record(topic, part, r.offset, r.timestamp, r.key, r.value, r.headers) for r in batch
            ]
        return records

    def _observe_delay(self, polled: Mapping[TopicPartition, Sequence[Any]]) -> None:
        now_ms = int(time.time() * 1000)
        oldest: dict[str, tuple[int, Any]] = {}
        for tp, batch in polled.items():
            r = min(batch, key=_TIMESTAMP)
            at_ms = r.timestamp
            if self._sources[self.plain(tp.topic)].intake and arrival_ms(at_ms, now_ms) != at_ms:
                # The clock of the writer is wrong. Other records of the batch may have waited.
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
        """Handle the batch with retries. Return True if committed, False if fenced."""
        try:
            await self._patiently(partial(self._handler.handle, records))
        except inbox.Fenced as fenced:
            await self._patiently(partial(self._seek_again, records, fenced))
            return False
        self.last_progress = time.monotonic()
        metrics.LAST_PROGRESS.labels(self._service).set_to_current_time()
        return True

    def _regulate(self) -> None:
        """Pause the intake while too many of its orders are unfinished."""
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
        """Commit offsets to Kafka, only for displays of lag. Errors do not matter."""
        if not self._committable or not (force or time.monotonic() - self._hinted > HINT_EVERY_S):
            return
        self._hinted = time.monotonic()
        ends = {
            tp: OffsetAndMetadata(end, "")
            for tp, end in self._committable.items()
            if tp in self._consumer.assignment()
        }
        self._committable.clear()
        try:
            if ends:
                await self._consumer.commit(ends)
        except KafkaError as error:
            log.debug("offset hint not taken", service=self._service, error=type(error).__name__)

    async def lag(self) -> dict[TopicPartition, int]:
        """Return the number of unhandled records of each partition where the number is known."""
        lags: dict[TopicPartition, int] = {}
        for tp in self._consumer.assignment():
            stable = self._consumer.last_stable_offset(tp)
            if stable is not None:
                done = self._done.get(tp)
                lags[tp] = max(
                    0, stable - (await self._consumer.position(tp) if done is None else done)
                )
        return lags

    def held_back(self) -> dict[TopicPartition, float]:
        """Return for how many seconds a writer's open transaction has blocked each partition."""
        seconds: dict[TopicPartition, float] = {}
        since: dict[TopicPartition, tuple[int, float]] = {}
        now = time.monotonic()
        for tp in self._consumer.assignment():
            written, stable = self._consumer.highwater(tp), self._consumer.last_stable_offset(tp)
            if written is None or stable is None:
                continue
            if written > stable:
                before = self._held_back.get(tp)
                since[tp] = before if before is not None and before[0] == stable else (stable, now)
            seconds[tp] = now - since[tp][1] if tp in since else 0.0
        self._held_back = since
        return seconds

    async def reaches_broker(self) -> bool:
        """Tell whether the broker answers within REACH_S seconds."""
        try:
            async with asyncio.timeout(REACH_S):
                await self._consumer.topics()
        except (KafkaError, TimeoutError):
            return False
        return True
