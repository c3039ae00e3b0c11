"""What must be true of the logs: facts about an order have no hole and agree with the tables."""

from __future__ import annotations

from collections.abc import Mapping

from services.cli import topic_reader
from services.cli.connect import RunningStack, database
from services.cli.verify.findings import Finding
from services.cli.verify.in_flight import TABLES, still_missing
from services.cli.verify.ledger import Ledger
from services.cli.verify.sales import new_sales_count, sales_finding
from services.cli.verify.table_versions import TableVersions, topic_of


async def judge(to: RunningStack) -> list[Finding]:
    from services.schema import SERVICES
    from shared.topics import ORDERS

    topics = {topic_of(service): service for service in SERVICES}
    begin = {
        place: first for place, (first, _) in (await topic_reader.ends(to, list(topics))).items()
    }
    late = {place for place, first in begin.items() if first > 0}
    sales = new_sales_count()
    if sales is not None:
        sales.cut |= {place for place in late if place[0] == ORDERS}
    ledgers = {service: Ledger() for service in SERVICES}
    many_ends: list[str] = []
    async with database(to) as conn:
        there = [
            s
            for s in SERVICES
            if await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", TABLES[s])
        ]
        tables = TableVersions(to, conn, there, begin)
        # All facts of an order have one partition number: one number is in memory at a time.
        number = 0
        async for record in topic_reader.read(to, list(topics), by_number=True):
            if record.partition != number:
                many_ends += await _settle(number, ledgers, tables)
                number = record.partition
            place = (record.topic, record.partition)
            tables.reached[place] = record.offset + 1
            new = ledgers[topics[record.topic]].add(record, begins_late=place in late)
            if sales is not None and record.topic == ORDERS:
                sales.see(record)
                if new:
                    sales.add(record)
        many_ends += await _settle(number, ledgers, tables)
        await tables.find_unsaid()
        differ = [*tables.differ, *await still_missing(to, conn, tables.doubts, tables.reached)]
    holes = [hole for ledger in ledgers.values() for hole in ledger.holes]
    doubled = [one for ledger in ledgers.values() for one in ledger.doubled]
    return [
        Finding(
            "facts_without_hole",
            "a fact about an order was lost, or went out of order",
            tuple(holes),
        ),
        Finding(
            "facts_decided_once",
            "two different facts of one order have the same version",
            tuple(doubled),
        ),
        Finding("one_end", "an order came to two ends", tuple(many_ends)),
        Finding(
            "log_agrees_with_tables",
            "a service's table counts other facts than the log has",
            tuple(differ),
        ),
        await sales_finding(to, sales),
    ]


async def _settle(number: int, ledgers: Mapping[str, Ledger], tables: TableVersions) -> list[str]:
    """Compare the orders of these partitions with the tables, and drop them; return many ends."""
    await tables.compare(number, ledgers)
    many_ends = ledgers["orders"].many_ends()
    for ledger in ledgers.values():
        ledger.forget()
    return many_ends
