"""How far the sales view has applied each partition, and where it reads on."""

from __future__ import annotations

from typing import Any

from aiokafka import TopicPartition

from services.orders.domain import sales
from services.orders.sales_batch import partition_in
from shared import log_ends, topics
from shared.settings import Settings
from shared.streams import end


class Positions:
    """The positions of the partitions that this worker owns."""

    def __init__(self, app: Any, table: Any, source: str, settings: Settings) -> None:
        self._app = app
        self._table = table
        self._source = source
        self._settings = settings
        self._earliest: dict[int, int] = {}
        self._last_lag: dict[int, tuple[int, int]] = {}
        self.by_partition: dict[int, sales.Position] = {}
        self.recent_ids: dict[int, sales.RecentIds] = {}

    def clear(self) -> None:
        self.by_partition.clear()
        self._last_lag.clear()

    def ours(self) -> dict[int, TopicPartition]:
        """Return our partitions of the topic.

        Partitions added later hold nothing of an order and no part of the table.
        """
        return {
            tp.partition: tp
            for tp in self._app.consumer.assignment()
            if tp.topic == self._source and tp.partition < topics.PARTITIONS
        }

    def _without_changelog(self, ours: dict[int, TopicPartition]) -> set[int]:
        changelog = self._table.changelog_topic_name
        assigned = self._app.consumer.assignment()
        return ours.keys() - {tp.partition for tp in assigned if tp.topic == changelog}

    async def restore(self) -> int:
        """Take the positions from the restored table; return how many partitions are ours."""
        consumer, data, ours = self._app.consumer, self._table.data, self.ours()
        if lacking := self._without_changelog(ours):
            # A broker that has just started may know the topic but not yet the changelog. Nothing
            # would be restored, and records that the topic no longer has would be lost.
            end(
                "the table's changelog has no partitions yet; "
                "with partitions added to the topic, run one worker only",
                lacking=len(lacking),
            )
        # faust's memory store only forgets rows it restored, not those it wrote itself.
        for raw_key in [raw_key for raw_key in data if partition_in(raw_key) not in ours]:
            data.pop(raw_key, None)
        earliest = await consumer.earliest_offsets(*ours.values()) if ours else {}
        positions = {}
        for partition, tp in ours.items():
            raw = data.get(sales.position_key(partition))
            stored = sales.decode_position(raw) if raw else sales.Position(0)
            self._earliest[partition] = earliest[tp] or 0
            next_offset = max(stored.next, self._earliest[partition])
            positions[partition] = sales.Position(next_offset, stored.newest_ms)
        self.by_partition = positions
        self.recent_ids = {partition: sales.RecentIds() for partition in ours}
        return len(ours)

    async def seek(self) -> None:
        """Read on before the positions, far enough to recognise repeated records.

        Faust calls this instead of its seek to the committed offsets.
        """
        ours = self.ours()
        offsets = {
            ours[p]: max(self._earliest[p], position.next - sales.RECENT_IDS_MAX)
            for p, position in self.by_partition.items()
            if p in ours
        }
        if offsets:
            await self._app.consumer.seek_wait(offsets)

    async def pass_hole(self, partition: int, offset: int) -> bool:
        """Move the position to `offset` if no record is before it; return whether it moved."""
        position = self.by_partition.get(partition)
        if position is None or offset <= position.next:
            return False
        tp = TopicPartition(self._source, partition)
        first = await log_ends.first_records(
            self._settings.kafka,
            {tp: (position.next, offset)},
            security=self._settings.kafka_security,
        )
        if first[tp] < offset or self.by_partition.get(partition) != position:
            return False
        self.by_partition[partition] = sales.Position(offset, position.newest_ms)
        return True

    async def lag(self) -> dict[int, int]:
        positions, ours = dict(self.by_partition), self.ours()
        ends = await self._app.consumer.highwaters(*ours.values()) if ours else {}
        spans = {
            p: (positions[p].next, ends.get(tp) or 0) for p, tp in ours.items() if p in positions
        }
        for partition, span in spans.items():
            if await self._is_hole(partition, span):
                spans[partition] = (span[1], span[1])
        self._last_lag = spans
        return {partition: last - first for partition, (first, last) in spans.items()}

    async def _is_hole(self, partition: int, span: tuple[int, int]) -> bool:
        """Return whether a lag that has not moved since the last look holds no record.

        Marks of transactions take offsets but are no records.
        """
        if span[0] >= span[1] or self._last_lag.get(partition) != span:
            return False
        return await self.pass_hole(partition, span[1])
