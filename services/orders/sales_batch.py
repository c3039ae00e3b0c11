"""The changed rows of the sales view, published and then written to the changelog."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.orders.domain import sales, sales_results
from shared import metrics
from shared.producer import partition_of
from shared.streams import PULSE, partitions_of, publish


@dataclass(slots=True)
class Batch:
    """What was applied since the table was last written."""

    rows: dict[sales.Key, sales.Row] = field(default_factory=dict)
    positions: dict[int, sales.Position] = field(default_factory=dict)
    messages: list[Any] = field(default_factory=list)
    sold: Counter[tuple[str, str]] = field(default_factory=Counter)
    sold_minor: Counter[tuple[str, str]] = field(default_factory=Counter)

    def put(self, key: sales.Key, row: sales.Row) -> None:
        self.rows[key] = row

    def count_sale(self, event: sales.CountedEvent) -> None:
        pair = (event.corridor, event.currency)
        self.sold[pair] += 1
        self.sold_minor[pair] += event.goods_minor

    async def publish(self, app: Any, results: str, changelog: str, dropped: list[bytes]) -> None:
        """Send results, then rows, then positions, each after the acknowledgement of the one
        before."""
        now = datetime.now(UTC)
        PULSE.check()
        count = await partitions_of(app, results)
        records = [
            (sales_results.result_key(key), sales_results.result_of(key, row, now))
            for key, row in self.rows.items()
        ]
        await publish(app, results, [(partition_of(k, count), k, value) for k, value in records])
        PULSE.check()
        deletes = [(partition_in(key), key, None) for key in dropped]
        rows = [(key.partition, key.encode(), row.encode()) for key, row in self.rows.items()]
        await publish(app, changelog, [*deletes, *rows])
        PULSE.check()
        positions = [
            (partition, sales.position_key(partition), position.encode())
            for partition, position in self.positions.items()
        ]
        await publish(app, changelog, positions)

    def count(self) -> None:
        for (corridor, currency), number in self.sold.items():
            metrics.VERIFIED_SALES.labels(corridor).inc(number)
            minor = self.sold_minor[corridor, currency]
            metrics.VERIFIED_SALES_MINOR.labels(corridor, currency).inc(minor)


def partition_in(raw_key: bytes) -> int:
    return int(raw_key[: raw_key.index(b"|")])


def is_position(raw_key: bytes) -> bool:
    return raw_key.endswith(b"|place")
