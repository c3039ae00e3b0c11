"""The faust view "verified sales and throughput": windows of `orders.events` on `streams.sales`.

Why an at-least-once view has exact figures
-------------------------------------------
What faust 0.15.3 does, read in its source: setting a table key puts the changelog record into a
buffer that a task drains (`ProducerBuffer`). A timer commits the offsets of acknowledged events
after `producer.flush()`. That flush gives up on its buffer after 0.1 s and misses the record that
its task has just taken out. A record that could not be sent is only logged. So a committed offset
can precede its changelog record, and a kill at that moment loses events for good. A stream also
skips *and acknowledges* events of an older generation, so after a rebalance faust may commit what
nobody has applied. Therefore faust's commit is only a hint; the table itself says how far it is:

1. Events are applied to rows in memory. Each row belongs to one source partition (it is in the
   key), so it has one writer. It remembers the last applied offset and skips offsets up to that.
   Any record may be read again any number of times.
2. Once a second, never two at a time, the changed rows go to `streams.sales`, then to the
   changelog, then one *position* of each partition ("the next offset is n") to the same changelog
   partition. Each step waits for the broker's acknowledgement of the one before. Only then are the
   events acknowledged to faust (`noack`). After a kill behind the first step, the rows are applied
   and published again. Behind the second, rows are ahead of their position, and reading again skips
   what they have. Behind the third, only a commit is missing. No result can be missing, and no
   position precedes its rows.
3. When faust has restored the table (at a start or rebalance), it would resume the topic and then
   seek to the committed offsets. It forgets what it fetched in between. Where the committed offset
   is 0 or missing, aiokafka does not seek, so those records would be lost. Its seek is replaced:
   flow is stopped, and reading begins at the position of the table. An emptied changelog rebuilds
   the view from the whole topic.
4. In between, offsets must be consecutive. A hole with a record in it means that faust dropped
   something: the process ends, and step 3 repairs it. A separate reader checks each hole. The topic
   is not compacted, but a transactional writer leaves a mark behind each transaction, also behind
   the last record. Records of an aborted transaction do not count.
5. A process that slept through its session could overwrite rows of its successor. Before each step
   it checks a clock that runs while asleep (`Pulse`) and ends itself instead.
6. The log has some records twice, where a relay died between sending and deleting. The ids of the
   last records of each partition are known (`sales.RecentIds`). After a restore they are learnt
   again by reading from before the position, where nothing is applied any more.
7. Deletes of old rows come before the position, so a changelog never ends in a tombstone: faust
   would wait for ever for a last record that compaction has removed (its issue 176).

Any error ends the process, because faust would log it, acknowledge the event and go on.

Time is the record's own, and no window is ever closed: a late record changes its row, which is
published again. Rows are dropped when the newest record of their partition is 2 days (minutes) or
40 days (hours) past them. A later record no longer counts in the minutes, but still in the hours.

To read: of each key the record with the greatest `offset` counts; add up over the partitions. Each
worker publishes the rows of its own partitions, so the sum is right (`sales_results.totals_of`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any, Final

import structlog
from pydantic import Field

from services.orders.domain import sales
from services.orders.sales_batch import Batch, is_position, partition_in
from services.orders.sales_positions import Positions
from shared import metrics, topics
from shared.envelope import REPLAY_HEADER, first_headers
from shared.errors import Unprocessable
from shared.settings import Settings, load
from shared.streams import ACK_BOUND_S, StreamSettings, end, main

log = structlog.get_logger(__name__)

NAME: Final = "streams-sales"
TABLE: Final = "windows"
PENDING_MAX: Final = 10_000
SWEEP_EVERY_S: Final = 600.0


class SalesSettings(StreamSettings):
    metrics_port: int = Field(
        8105, ge=0, le=65535, description="port of /metrics, /healthz and /readyz"
    )


class SalesView:
    """Applies events to the table's rows and writes them."""

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
        self.positions = Positions(app, self.table, self.source, settings)
        self.pairs: set[tuple[str, str]] = set()
        self._lag = metrics.OwnedGauge(metrics.LAG)
        self._orders = metrics.OwnedGauge(metrics.STREAM_ORDERS)
        self.ready = False
        self.last_progress = time.monotonic()
        self._batch = Batch()
        self._writing = asyncio.Lock()
        self._room = asyncio.Event()
        self._swept = time.monotonic()
        app.consumer.perform_seek = self.positions.seek
        app.on_partitions_revoked.connect(self.revoked)
        app.agent(app.topic(self.source, value_type=bytes), name="sales")(self.run)

    # --- reading the topic

    async def run(self, stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                await self.positions.pass_hole(event.message.partition, event.message.offset)
                self.take(event.message)
            except Exception as error:
                log.exception("an event could not be folded")
                end("an event could not be folded", error=type(error).__name__)
            if len(self._batch.messages) >= PENDING_MAX:
                self._room.clear()
                await self._room.wait()

    def take(self, message: Any) -> None:
        partition, offset = message.partition, message.offset
        positions = self.positions
        position = positions.by_partition.get(partition)
        if position is None:
            return  # the partition was just revoked: its new owner reads the record
        if offset > position.next:
            end("records were skipped", partition=partition, wanted=position.next, found=offset)
        self._batch.messages.append(message)
        headers = first_headers(message.headers or ())
        # A replayed dead letter is in the log twice, and was counted at its first place.
        is_new = positions.recent_ids[partition].is_new(headers.get("ce_id"))
        is_new = is_new and REPLAY_HEADER not in headers
        if offset < position.next:
            return
        at_ms = round(message.timestamp * 1000)
        position = sales.Position(offset + 1, max(position.newest_ms, at_ms))
        positions.by_partition[partition] = self._batch.positions[partition] = position
        event = self._parse(message, headers.get("ce_type")) if is_new else None
        # A batch waits up to a second in memory: keep only what acknowledging needs.
        message.value = None
        message.headers = None
        if event is not None:
            self._apply(partition, offset, at_ms, position.newest_ms, event)

    @staticmethod
    def _parse(message: Any, wire_type: bytes | None) -> sales.CountedEvent | None:
        try:
            return sales.parse(wire_type, message.value)
        except Unprocessable as error:
            log.warning(
                "a record is not counted",
                partition=message.partition,
                offset=message.offset,
                reason=str(error),
            )
            metrics.EVENTS.labels(NAME, topics.ORDERS, "unreadable", "skipped").inc()
            return None

    def _apply(
        self, partition: int, offset: int, at_ms: int, newest_ms: int, event: sales.CountedEvent
    ) -> None:
        self.pairs.add((event.corridor, event.currency))
        changed = False
        for key in sales.keys_of(partition, at_ms, newest_ms, event):
            before = self._row(key)
            row = sales.apply(before, offset, at_ms, event)
            if row is not before:
                self._batch.put(key, row)
                changed = True
        if changed and event.stage == "fulfilled":
            self._batch.count_sale(event)

    def _row(self, key: sales.Key) -> sales.Row | None:
        row = self._batch.rows.get(key)
        if row is None:
            raw = self.table.data.get(key.encode())
            row = sales.decode_row(raw) if raw else None
        return row

    # --- writing the table

    async def write(self) -> None:
        """Publish the changed rows, write rows and positions to the changelog, then acknowledge."""
        async with self._writing:
            batch, self._batch = self._batch, Batch()
            if not batch.messages:
                return
            dropped = self._drop_old_rows()
            for raw_key in dropped:
                partition = partition_in(raw_key)
                batch.positions.setdefault(partition, self.positions.by_partition[partition])
            for key, row in batch.rows.items():
                self.table.data[key.encode()] = row.encode()
            changelog = self.table.changelog_topic_name
            try:
                async with asyncio.timeout(ACK_BOUND_S):
                    await batch.publish(self.app, self._results, changelog, dropped)
            except Exception as error:
                log.exception("the table could not be written")
                end("the table could not be written", error=type(error).__name__)
            for message in batch.messages:
                message.ack(self.app.consumer)
            batch.count()
            metrics.EVENTS.labels(NAME, topics.ORDERS, "any", "ok").inc(len(batch.messages))
            metrics.LAST_PROGRESS.labels(NAME).set_to_current_time()
        self.last_progress = time.monotonic()
        self._room.set()

    def _drop_old_rows(self) -> list[bytes]:
        if time.monotonic() - self._swept < SWEEP_EVERY_S:
            return []
        self._swept = time.monotonic()
        old = [raw_key for raw_key in self.table.data if not self._is_kept(raw_key)]
        for raw_key in old:
            self.table.data.pop(raw_key, None)
        return old

    def _is_kept(self, raw_key: bytes) -> bool:
        position = self.positions.by_partition.get(partition_in(raw_key))
        if position is None or is_position(raw_key):
            return True
        return sales.decode_key(raw_key).is_kept(position.newest_ms)

    # --- partitions come and go

    async def revoked(self, *_: Any, **__: Any) -> None:
        """Finish the write under way; drop what is not written: the next owner applies it again."""
        self.ready = False
        async with self._writing:
            self.positions.clear()
            self._batch = Batch()
        self._room.set()

    async def restored(self) -> None:
        try:
            await self._begin()
        except Exception as error:
            log.exception("the table's places could not be taken up")
            end("the table's places could not be taken up", error=type(error).__name__)

    async def _begin(self) -> None:
        data = self.table.data
        self.app.consumer.stop_flow()  # until faust has sought; it resumes the flow by itself
        self.app.flow_control.suspend()
        partitions = await self.positions.restore()
        self._batch = Batch()
        await self.positions.seek()
        keys = [sales.decode_key(raw_key) for raw_key in data if not is_position(raw_key)]
        self.pairs = {(key.corridor, key.currency) for key in keys}
        self.show(int(time.time()))  # a scrape after /readyz sees what the table holds
        self.ready, self.last_progress = True, time.monotonic()
        metrics.ASSIGNED.labels(NAME).set(partitions)
        metrics.REBALANCES.labels(NAME).inc()
        log.info("the table is restored", partitions=partitions, rows=len(data))

    # --- gauges

    async def lag(self) -> dict[int, int]:
        lag = await self.positions.lag()
        self._lag.show(
            {(topics.ORDERS, str(partition)): records for partition, records in lag.items()}
        )
        return lag

    def show(self, now_s: int) -> None:
        shown: Counter[tuple[str, ...]] = Counter()
        for window, size, start_s in sales.windows_at(now_s):
            for corridor, currency in self.pairs:
                for partition in self.positions.by_partition:
                    row = self._row(sales.Key(partition, size, start_s, corridor, currency))
                    for stage in sales.SALE_STAGES.values():
                        label = (metrics.corridor_of(corridor), stage, window)
                        shown[label] += getattr(row, stage) if row else 0
        self._orders.show(shown)


def begin() -> None:
    """Create the known children, at 0; a synthetic order is never a sale."""
    for corridor in (*(c for c in metrics.CORRIDORS if c != metrics.PROBE), metrics.OTHER):
        metrics.VERIFIED_SALES.labels(corridor)


if __name__ == "__main__":
    begin()
    main(NAME, load(SalesSettings), SalesView)
