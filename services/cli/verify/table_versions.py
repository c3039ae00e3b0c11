"""The services' tables against their logs: each order has as many facts in both."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from services.cli import topic_reader
from services.cli.connect import RunningStack
from services.cli.verify.in_flight import TABLES
from services.cli.verify.ledger import Ledger
from shared.envelope import uuid_or_none
from shared.producer import partition_of

ROWS_AT_ONCE: Final = 5000


class TableVersions:
    """Orders whose table has another version than their log has facts, read before it.

    `services`: those with tables. `begin`: first offsets of the logs.
    A log that lost old records says nothing against the table.
    `reached`: up to where each log was read.
    `differ`: the log has more facts than the table.
    `doubts`: the log has fewer, which may be under way: see `in_flight.still_missing`.
    """

    def __init__(
        self,
        to: RunningStack,
        conn: Any,
        services: Sequence[str],
        begin: Mapping[topic_reader.Place, int],
    ) -> None:
        self._to = to
        self._conn = conn
        self._services = services
        self._begin = begin
        self._said: Counter[topic_reader.Place] = Counter()
        self.differ: list[str] = []
        self.doubts: dict[str, dict[UUID, int]] = {service: {} for service in services}
        self.reached: dict[topic_reader.Place, int] = {}

    async def compare(self, number: int, ledgers: Mapping[str, Ledger]) -> None:
        for service in self._services:
            fact_ids = ledgers[topic_of(service)].ids
            order_ids = list(fact_ids)
            for ids in (
                order_ids[i : i + ROWS_AT_ONCE] for i in range(0, len(order_ids), ROWS_AT_ONCE)
            ):
                query = (
                    f"SELECT order_id, version FROM {TABLES[service]} WHERE order_id = "  # noqa: S608  a constant
                    "ANY($1::uuid[])"
                )
                there = {
                    row["order_id"]: row["version"] for row in await self._conn.fetch(query, ids)
                }
                self._said[topic_of(service), number] += sum(
                    version > 0 for version in there.values()
                )
                for order_id in ids:
                    self._differs(
                        service, order_id, there.get(order_id, 0), len(fact_ids[order_id])
                    )

    async def find_unsaid(self) -> None:
        """Add orders of which a whole log has no fact at all; call it after all comparisons."""
        for service in self._services:
            for number, numbers in await self._short_partitions(service):
                await self._add_unsaid(service, number, numbers)

    async def _short_partitions(self, service: str) -> list[tuple[int, set[int]]]:
        """Return the whole partitions with fewer orders than the table, each with all numbers."""
        topic = topic_of(service)
        firsts = {number: first for (name, number), first in self._begin.items() if name == topic}
        numbers = set(firsts)
        whole = {number for number, first in firsts.items() if not first}
        if (numbers and not whole) or not await self._has_more_than_log(service):
            return []
        in_table: Counter[int] = Counter()
        async for order_id, _ in self._rows(service):
            in_table[partition_number(order_id, numbers)] += 1
        short = [number for number, n in in_table.items() if n > self._said[topic, number]]
        return [(number, numbers) for number in short if number in whole or not numbers]

    async def _has_more_than_log(self, service: str) -> bool:
        topic = topic_of(service)
        in_log = sum(count for (name, _), count in self._said.items() if name == topic)
        counted = f"SELECT count(*) FROM {TABLES[service]} WHERE version > 0"  # noqa: S608  a constant
        return int(await self._conn.fetchval(counted)) > in_log

    async def _add_unsaid(self, service: str, number: int, numbers: Collection[int]) -> None:
        versions = {
            order_id: version
            async for order_id, version in self._rows(service)
            if partition_number(order_id, numbers) == number
        }
        async for record in topic_reader.read(self._to, [topic_of(service)], numbers={number}):
            if (key := uuid_or_none(record.key)) is not None:
                versions.pop(key, None)
        for order_id, version in versions.items():
            self._differs(service, order_id, version, 0)

    async def _rows(self, service: str) -> AsyncIterator[tuple[UUID, int]]:
        async with self._conn.transaction(readonly=True):
            query = f"SELECT order_id, version FROM {TABLES[service]} WHERE version > 0"  # noqa: S608  a constant
            async for row in self._conn.cursor(query, prefetch=ROWS_AT_ONCE):
                yield row["order_id"], row["version"]

    def _differs(self, service: str, order_id: UUID, version: int, count: int) -> None:
        if version > count:
            self.doubts[service][order_id] = count
        elif version < count:
            self.differ.append(f"{order_id} {TABLES[service]} has {version}, the log {count}")


def topic_of(service: str) -> str:
    return f"{service}.events"


def partition_number(order_id: UUID, numbers: Collection[int]) -> int:
    """Return the partition of all facts of an order; 0 where the topic does not exist."""
    return partition_of(str(order_id).encode(), len(numbers)) if numbers else 0
