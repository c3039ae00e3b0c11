"""The faust view "verified sales and throughput": `orders.events` in, windows on `streams.sales` out.

How a view that is at least once comes to figures that are exactly right
-----------------------------------------------------------------------
What faust 0.15.3 does by itself, read in its source: setting a table key puts the changelog record into a
buffer that a task drains (`ProducerBuffer`); a timer commits the offsets of acknowledged events after
`producer.flush()`. That flush gives up on its buffer after 0.1 s, does not see the record its task has just
taken out, and a record that could not be sent is only logged. So a committed offset can precede its
changelog record, and a kill at that moment loses events for good. Besides, a stream that meets an event of
an older generation skips *and acknowledges* it, so after a rebalance faust may commit what nobody has
folded. Therefore faust's commit is only a hint here, and the table itself says how far it is:

1. An event is folded into rows in memory. Each row belongs to one source partition (it is in the key), so
   it has one writer, and it remembers the last offset folded in: an offset at or below that is skipped. Any
   record may be read again any number of times.
2. Once a second, never two at a time, the changed rows go to `streams.sales`, then to the changelog, then
   one *place* for each partition ("the next offset is n") to the same changelog partition; each step waits
   for the broker's acknowledgement of the step before. Only then are the events acknowledged to faust
   (`noack`). A kill after the first step: the rows are folded and published again. After the second: rows
   are ahead of their place, and reading again skips what they have. After the third: a commit is missing,
   which is the same. No result can be missing, and no place precedes its rows.
3. When faust has restored the table (at a start or rebalance) it would resume the topic and then seek to the
   committed offsets. What it fetched in between it forgets, and where the committed offset is 0 or missing
   aiokafka does not seek, so those records would be lost (a kill before the first commit is enough). Its seek
   is replaced: flow is stopped, and reading begins where the table ends, whatever was committed. An emptied
   changelog rebuilds the view from the whole topic.
4. In between, offsets must follow each other. A hole with a record in it means that faust dropped something:
   the process ends and step 3 mends it. Whether there is one, a reader of its own tells: the topic is not
   compacted, but a writer with transactions leaves a mark behind each, also behind the last record. What a
   transaction wrote counts once it is committed; what one gave up is no record.
5. A process that slept through its session could write rows over those of its successor. Before each step
   it looks at the clock that also runs while asleep (`Pulse`) and ends itself instead.
6. The log itself has records twice where a relay died between sending and deleting. The ids of the last
   records of each partition are known (`sales.Seen`); after a restore they are learnt again by reading from
   so far before the place, where nothing is folded any more.
7. Deletes of old rows come before the place, so a changelog never ends in a tombstone: once compaction has
   removed such a last record, faust would wait for it for ever (its issue 176).

Any error ends the process, since faust would log it, acknowledge the event and go on.

Time is the record's own and no window is ever closed: a late record changes its row, which is published
again. Rows are dropped when the newest record of their partition is 2 days (minutes) or 40 days (hours)
past them; a record later than that no longer counts in the minutes, but still in the hours.

To read: of each key the record with the greatest `offset` counts; add up over the partitions. Each of
several workers publishes the rows of its own partitions, so the sum stays right (`sales.totals_of`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from aiokafka import TopicPartition
from pydantic import Field

from services.orders.domain import sales
from shared import log_ends, metrics, topics
from shared.envelope import REPLAY_HEADER, first_headers
from shared.errors import Unprocessable
from shared.producer import partition_of
from shared.settings import Settings, load
from shared.streams import ACK_BOUND_S, PULSE, StreamSettings, end, main, partitions_of, publish

log = structlog.get_logger(__name__)

NAME: Final = "streams-sales"
TABLE: Final = "windows"
PENDING_MAX: Final = 10_000
SWEEP_EVERY_S: Final = 600.0


class SalesSettings(StreamSettings):
    """Settings of the view."""

    metrics_port: int = Field(
        8105, ge=0, le=65535, description="port of /metrics, /healthz and /readyz"
    )


@dataclass(slots=True)
class Batch:
    """What was folded since the table was last written."""

    rows: dict[sales.Key, sales.Row] = field(default_factory=dict)
    places: dict[int, sales.Position] = field(default_factory=dict)
    messages: list[Any] = field(default_factory=list)
    sold: Counter[tuple[str, str]] = field(default_factory=Counter)
    sold_minor: Counter[tuple[str, str]] = field(default_factory=Counter)


class SalesView:
    """Folds events into the table's rows and writes them; knows of each partition where it is."""

    def __init__(self, app: Any, settings: Settings) -> None:
        self.name = NAME
        self.app = app
        self.source = topics.named(topics.ORDERS, settings.topic_prefix)
        self._results = topics.named(topics.SALES, settings.topic_prefix)
        self.table = app.Table(
            TABLE,
            key_type=bytes,
            value_type=bytes,
            partitions=topics.PARTITIONS,
            on_recover=self.restored,
        )
        self.places: dict[int, sales.Position] = {}
        self.seen: dict[int, sales.RecentIds] = {}
        self._earliest: dict[int, int] = {}
        self._settings = settings
        self._stood: dict[int, tuple[int, int]] = {}
        self.pairs: set[tuple[str, str]] = set()
        self._lag = metrics.OwnedGauge(metrics.LAG)
        self._orders = metrics.OwnedGauge(metrics.STREAM_ORDERS)
        self.ready = False
        self.last_progress = time.monotonic()
        self._batch = Batch()
        self._writing = asyncio.Lock()
        self._room = asyncio.Event()
        self._swept = time.monotonic()
        app.consumer.perform_seek = self._stand_at_places
        app.on_partitions_revoked.connect(self.revoked)
        app.agent(app.topic(self.source, value_type=bytes), name="sales")(self.follow)

    # --- following the topic

    async def follow(self, stream: Any) -> None:
        """The agent: one event after the other, acknowledged only when it is in the table."""
        async for event in stream.noack().events():
            try:
                await self._pass_hole(event.message.partition, event.message.offset)
                self.take(event.message)
            except Exception as error:
                log.exception("an event could not be folded")
                end("an event could not be folded", error=type(error).__name__)
            if len(self._batch.messages) >= PENDING_MAX:
                self._room.clear()
                await self._room.wait()

    async def _pass_hole(self, partition: int, offset: int) -> bool:
        """Go on at this offset, if no record is in front of it; returns whether the place is there now."""
        place = self.places.get(partition)
        if place is None or offset <= place.next:
            return False
        tp = TopicPartition(self.source, partition)
        settings = self._settings
        first = await log_ends.first_records(
            settings.kafka, {tp: (place.next, offset)}, security=settings.kafka_security
        )
        if first[tp] < offset or self.places.get(partition) != place:
            return False
        self.places[partition] = sales.Position(offset, place.newest_ms)
        return True

    def take(self, message: Any) -> None:
        """Fold one record; one that was folded before changes nothing."""
        partition, offset = message.partition, message.offset
        place = self.places.get(partition)
        if place is None:
            return  # of a partition that has just been taken away: its new owner reads it
        if offset > place.next:
            end("records were skipped", partition=partition, wanted=place.next, found=offset)
        self._batch.messages.append(message)
        heads = first_headers(message.headers or ())
        # What an operator gives back of a dead letter stands further up in the log already, where it was counted.
        is_new = self.seen[partition].is_new(heads.get("ce_id")) and REPLAY_HEADER not in heads
        if offset < place.next:
            return
        at_ms = round(message.timestamp * 1000)
        place = sales.Position(offset + 1, max(place.newest_ms, at_ms))
        self.places[partition] = self._batch.places[partition] = place
        try:
            counted = sales.read(heads.get("ce_type"), message.value) if is_new else None
        except Unprocessable as error:
            log.warning(
                "a record is not counted", partition=partition, offset=offset, reason=str(error)
            )
            metrics.EVENTS.labels(NAME, topics.ORDERS, "unreadable", "skipped").inc()
            counted = None
        message.value = (
            None  # a batch waits up to a second in memory: only what acknowledging needs
        )
        message.headers = None
        if counted is not None:
            self._fold(partition, offset, at_ms, place.newest_ms, counted)

    def _fold(
        self, partition: int, offset: int, at_ms: int, newest_ms: int, counted: sales.CountedEvent
    ) -> None:
        pair = (counted.corridor, counted.currency)
        self.pairs.add(pair)
        changed = False
        for key in sales.keys_of(partition, at_ms, newest_ms, counted):
            was = self._row(key)
            row = sales.apply(was, offset, at_ms, counted)
            if row is not was:
                self._batch.rows[key] = row
                changed = True
        if changed and counted.stage == "fulfilled":
            self._batch.sold[pair] += 1
            self._batch.sold_minor[pair] += counted.goods_minor

    def _row(self, key: sales.Key) -> sales.Row | None:
        row = self._batch.rows.get(key)
        if row is None:
            raw = self.table.data.get(key.encode())
            row = sales.decode_row(raw) if raw else None
        return row

    # --- writing the table

    async def write(self) -> None:
        """Publish the changed rows, write them and the places to the changelog, then acknowledge."""
        async with self._writing:
            batch, self._batch = self._batch, Batch()
            if not batch.messages:
                return
            gone = self._swept_keys()
            for raw in gone:
                batch.places.setdefault(_partition(raw), self.places[_partition(raw)])
            for key, row in batch.rows.items():
                self.table.data[key.encode()] = row.encode()
            try:
                async with asyncio.timeout(ACK_BOUND_S):
                    await self._publish(batch, gone)
            except Exception as error:
                log.exception("the table could not be written")
                end("the table could not be written", error=type(error).__name__)
            for message in batch.messages:
                message.ack(self.app.consumer)
            self._count(batch)
        self.last_progress = time.monotonic()
        self._room.set()

    async def _publish(self, batch: Batch, gone: list[bytes]) -> None:
        now = datetime.now(UTC)
        results, changelog = self._results, self.table.changelog_topic_name
        PULSE.check()
        count = await partitions_of(self.app, results)
        found = [
            (sales.result_key(key), sales.result_of(key, row, now))
            for key, row in batch.rows.items()
        ]
        await publish(
            self.app, results, [(partition_of(key, count), key, value) for key, value in found]
        )
        PULSE.check()
        rows = [(key.partition, key.encode(), row.encode()) for key, row in batch.rows.items()]
        await publish(self.app, changelog, [*((_partition(key), key, None) for key in gone), *rows])
        PULSE.check()
        places = batch.places.items()
        await publish(
            self.app,
            changelog,
            [(part, sales.position_key(part), place.encode()) for part, place in places],
        )

    def _count(self, batch: Batch) -> None:
        for (corridor, currency), count in batch.sold.items():
            metrics.VERIFIED_SALES.labels(corridor).inc(count)
            metrics.VERIFIED_SALES_MINOR.labels(corridor, currency).inc(
                batch.sold_minor[corridor, currency]
            )
        metrics.EVENTS.labels(NAME, topics.ORDERS, "any", "ok").inc(len(batch.messages))
        metrics.LAST_PROGRESS.labels(NAME).set_to_current_time()

    def _swept_keys(self) -> list[bytes]:
        """From time to time: the rows that no longer take records, removed from memory."""
        if time.monotonic() - self._swept < SWEEP_EVERY_S:
            return []
        self._swept = time.monotonic()
        gone = [raw for raw in self.table.data if not self._is_kept(raw)]
        for raw in gone:
            self.table.data.pop(raw, None)
        return gone

    def _is_kept(self, raw: bytes) -> bool:
        place = self.places.get(_partition(raw))
        if place is None or raw.endswith(b"|place"):
            return True
        return sales.decode_key(raw).is_kept(place.newest_ms)

    # --- partitions come and go

    async def revoked(self, *_: Any, **__: Any) -> None:
        """What is under way is finished; what is only folded is dropped, the next owner folds it again."""
        self.ready = False
        async with self._writing:
            self.places.clear()
            self._stood.clear()
            self._batch = Batch()
        self._room.set()

    async def restored(self) -> None:
        """The table is as its changelog says: keep the rows of our partitions, begin where each ends."""
        try:
            await self._begin()
        except Exception as error:
            log.exception("the table's places could not be taken up")
            end("the table's places could not be taken up", error=type(error).__name__)

    async def _begin(self) -> None:
        consumer, data = self.app.consumer, self.table.data
        consumer.stop_flow()  # until faust has sought; it resumes the flow by itself
        self.app.flow_control.suspend()
        ours = self._ours()
        log_of_ours = {
            tp.partition
            for tp in consumer.assignment()
            if tp.topic == self.table.changelog_topic_name
        }
        if ours.keys() - log_of_ours:
            # A broker that has just started may name the one and not yet the other. Nothing would be restored, and what
            # the source no longer holds would be written off; a start anew asks again.
            end("the table's changelog has no partitions yet; with partitions added to the topic, run one worker only",
                lacking=len(ours.keys() - log_of_ours))  # fmt: skip
        # faust's memory store only forgets rows it restored, not those it wrote itself.
        for raw in [raw for raw in data if _partition(raw) not in ours]:
            data.pop(raw, None)
        earliest = await consumer.earliest_offsets(*ours.values()) if ours else {}
        self._batch, places = Batch(), {}
        for partition, tp in ours.items():
            raw = data.get(sales.position_key(partition))
            place = sales.decode_position(raw) if raw else sales.Position(0)
            self._earliest[partition] = earliest[tp] or 0
            places[partition] = sales.Position(
                max(place.next, self._earliest[partition]), place.newest_ms
            )
        self.places = places
        self.seen = {partition: sales.RecentIds() for partition in ours}
        await self._stand_at_places()
        self.pairs = {(k.corridor, k.currency) for k in map(sales.decode_key, _rows(data))}
        self.show(int(time.time()))  # a scrape after /readyz sees what the table holds
        self.ready, self.last_progress = True, time.monotonic()
        metrics.ASSIGNED.labels(NAME).set(len(ours))
        metrics.REBALANCES.labels(NAME).inc()
        log.info("the table is restored", partitions=len(ours), rows=len(data))

    def _ours(self) -> dict[int, TopicPartition]:
        """Our partitions of the topic. Those that somebody added have nothing of an order, and no part of the table."""
        mine = self.app.consumer.assignment()
        return {
            tp.partition: tp
            for tp in mine
            if tp.topic == self.source and tp.partition < topics.PARTITIONS
        }

    async def _stand_at_places(self) -> None:
        """Read on from so far before the table's places that a record sent again is known as such.

        Faust calls it instead of its seek to the committed offsets.
        """
        consumer = self.app.consumer
        ours = self._ours()
        wanted = {
            ours[p]: max(self._earliest[p], place.next - sales.RECENT_IDS_MAX)
            for p, place in self.places.items()
            if p in ours
        }
        if wanted:
            await consumer.seek_wait(wanted)

    # --- what it shows

    async def lag(self) -> dict[int, int]:
        """Records in the log that are not yet in the table, by partition."""
        places = dict(self.places)
        ours = self._ours()
        found = await self.app.consumer.highwaters(*ours.values()) if ours else {}
        stands = {p: (places[p].next, found.get(tp) or 0) for p, tp in ours.items() if p in places}
        for partition, stood in stands.items():
            # Where nothing has moved since the last look, there may be nothing: marks of transactions are no records.
            if (
                stood[0] < stood[1]
                and self._stood.get(partition) == stood
                and await self._pass_hole(partition, stood[1])
            ):
                stands[partition] = (stood[1], stood[1])
        self._stood = stands
        lag = {partition: end - next_ for partition, (next_, end) in stands.items()}
        self._lag.show(
            {(topics.ORDERS, str(partition)): behind for partition, behind in lag.items()}
        )
        return lag

    def show(self, now_s: int) -> None:
        """The gauges of the current and the previous window, added up over our partitions."""
        shown: Counter[tuple[str, ...]] = Counter()
        for size, width in sales.SIZES.items():
            start = now_s - now_s % width
            for window, start_s in ((size, start), (f"{size}_before", start - width)):
                for corridor, currency in self.pairs:
                    rows = [
                        self._row(sales.Key(p, size, start_s, corridor, currency))
                        for p in self.places
                    ]
                    for stage in sales.SALE_STAGES.values():
                        shown[metrics.corridor_of(corridor), stage, window] += sum(
                            getattr(row, stage) for row in rows if row
                        )
        self._orders.show(shown)


def _partition(raw: bytes) -> int:
    return int(raw[: raw.index(b"|")])


def _rows(data: Any) -> list[bytes]:
    return [raw for raw in data if not raw.endswith(b"|place")]


def begin() -> None:
    """Make the children that are known beforehand, at 0; a synthetic order is never a sale."""
    for corridor in (*(c for c in metrics.CORRIDORS if c != metrics.PROBE), metrics.OTHER):
        metrics.VERIFIED_SALES.labels(corridor)


if __name__ == "__main__":
    begin()
    main(NAME, load(SalesSettings), SalesView)
