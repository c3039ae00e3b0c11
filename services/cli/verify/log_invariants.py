"""What must be true of the logs: facts about an order have no hole and agree with the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from services.cli import topic_reader
from services.cli.connect import RunningStack, database
from services.cli.verify.findings import Finding
from services.cli.verify.in_flight import TABLES, still_missing
from services.cli.verify.ledger import Ledger
from services.cli.verify.sales import new_sales_count, sales_finding
from services.cli.verify.table_versions import TableVersions, topic_of
from shared.envelope import Record


class LogReading:
    """All logs, read once: a ledger for each service, the tables beside them, and the sales.

    All facts of an order have one partition number: one number is in memory at a time.
    """

    def __init__(self, tables: TableVersions, begin: Mapping[topic_reader.Place, int]) -> None:
        from services.schema import SERVICES
        from shared.topics import ORDERS

        self.ledgers = {topic_of(service): Ledger() for service in SERVICES}
        self.tables = tables
        self.many_ends: list[str] = []
        self.sales = new_sales_count()
        self._late = {place for place, first in begin.items() if first > 0}
        self._orders = ORDERS
        self._number = 0
        if self.sales is not None:
            self.sales.cut |= {place for place in self._late if place[0] == ORDERS}

    async def run(self, to: RunningStack) -> None:
        async for record in topic_reader.read(to, list(self.ledgers), by_number=True):
            if record.partition != self._number:
                await self._settle()
                self._number = record.partition
            self._add(record)
        await self._settle()
        await self.tables.find_unsaid()

    def _add(self, record: Record) -> None:
        place = (record.topic, record.partition)
        self.tables.reached[place] = record.offset + 1
        new = self.ledgers[record.topic].add(record, begins_late=place in self._late)
        if self.sales is not None and record.topic == self._orders:
            self.sales.see(record)
            if new:
                self.sales.add(record)

    async def _settle(self) -> None:
        """Compare the orders of the partitions read with the tables, and drop them."""
        await self.tables.compare(self._number, self.ledgers)
        self.many_ends += self.ledgers[self._orders].many_ends()
        for ledger in self.ledgers.values():
            ledger.forget()


async def judge(to: RunningStack) -> list[Finding]:
    from services.schema import SERVICES

    topics = [topic_of(service) for service in SERVICES]
    ends = await topic_reader.ends(to, topics)
    begin = {place: first for place, (first, _) in ends.items()}
    async with database(to) as conn:
        there = [name for name in SERVICES if await conn.fetchval(_EXISTS, TABLES[name])]
        tables = TableVersions(to, conn, there, begin)
        reading = LogReading(tables, begin)
        await reading.run(to)
        differ = [*tables.differ, *await still_missing(to, conn, tables.doubts, tables.reached)]
    return [*_findings(reading, differ), await sales_finding(to, reading.sales)]


def _findings(reading: LogReading, differ: Sequence[str]) -> Iterator[Finding]:
    ledgers = reading.ledgers.values()
    offenders = {
        "facts_without_hole": [hole for ledger in ledgers for hole in ledger.holes],
        "facts_decided_once": [fact for ledger in ledgers for fact in ledger.doubled],
        "one_end": reading.many_ends,
        "log_agrees_with_tables": differ,
    }
    for name, says in _SAYS.items():
        yield Finding(name, says, tuple(offenders[name]))


_EXISTS: Final = "SELECT to_regclass($1) IS NOT NULL"
_SAYS: Final = {
    "facts_without_hole": "a fact about an order was lost, or went out of order",
    "facts_decided_once": "two different facts of one order have the same version",
    "one_end": "an order came to two ends",
    "log_agrees_with_tables": "a service's table counts other facts than the log has",
}
