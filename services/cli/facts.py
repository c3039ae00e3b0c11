"""What must be true of the logs: facts about an order have no hole and agree with the tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from services.cli import reading
from services.cli.connect import Target, database
from services.cli.verify import Finding
from shared.envelope import Record, first_headers, uuid_or_none

ENDS: Final = frozenset({b"order.rejected.v1", b"order.cancelled.v1", b"order.returned.v1", b"order.fulfilled.v1"})
TABLES: Final = {
    "orders": "SELECT order_id, version FROM orders.orders",
    "payments": "SELECT order_id, version FROM payments.payment",
    "tax": "SELECT order_id, version FROM tax.tax_case",
    "customs": "SELECT order_id, version FROM customs.declaration",
}


@dataclass
class Ledger:
    """What one service said, by order: the ids of its facts at versions 1, 2, 3 …; and what is wrong with
    it.
    """

    ids: dict[UUID, list[bytes]] = field(default_factory=dict)
    holes: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    ends: dict[UUID, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    fulfilled: list[bytes] = field(default_factory=list)

    def add(self, record: Record, *, begins_late: bool) -> None:
        """One more record in the order of the log. `begins_late`: the log has forgotten its beginning."""
        heads = first_headers(record.headers)
        order_id, ce_id = uuid_or_none(record.key), heads.get("ce_id", b"")
        version = int(heads.get("order_version", b"0"))
        if order_id is None or version < 1:
            self.holes.append(f"{record.topic}/{record.partition}/{record.offset} has no order or no order_version")
            return
        seen = self.ids.setdefault(order_id, [])
        if begins_late and not seen:
            seen += [b""] * (version - 1)
        if version <= len(seen):
            if seen[version - 1] not in (ce_id, b""):
                self.doubled.append(f"{order_id} {record.topic} version {version}")
            return
        if version > len(seen) + 1:
            self.holes.append(f"{order_id} {record.topic} version {len(seen) + 1} is missing before {version}")
            seen += [b""] * (version - 1 - len(seen))
        seen.append(ce_id)
        self._end(order_id, heads.get("ce_type", b""), record)

    def _end(self, order_id: UUID, wire_type: bytes, record: Record) -> None:
        if wire_type in ENDS:
            self.ends[order_id].append(wire_type)
        if wire_type == b"order.fulfilled.v1":
            self.fulfilled.append(record.value or b"")

    def many_ends(self) -> list[str]:
        """Orders with more than one end; a fulfilled order may still come back, and then is returned (or
        cancelled late).
        """
        lawful = ([b"order.fulfilled.v1", b"order.returned.v1"],)
        return [str(order_id) for order_id, ends in self.ends.items() if len(ends) > 1 and ends not in lawful]


async def judge(to: Target) -> list[Finding]:
    """Every invariant of the logs."""
    from services.schema import SERVICES

    ledgers = {service: Ledger() for service in SERVICES}
    topics = {f"{service}.events": service for service in SERVICES}
    begin = {place: first for place, (first, _) in (await reading.ends(to, list(topics))).items()}
    async for record in reading.read(to, list(topics)):
        ledgers[topics[record.topic]].add(record, begins_late=begin.get((record.topic, record.partition), 0) > 0)
    holes = [hole for ledger in ledgers.values() for hole in ledger.holes]
    doubled = [one for ledger in ledgers.values() for one in ledger.doubled]
    return [
        Finding("facts_without_hole", "a fact about an order was lost, or went out of order", tuple(holes)),
        Finding("facts_decided_once", "two different facts of one order have the same version", tuple(doubled)),
        Finding("one_end", "an order came to two ends", tuple(ledgers["orders"].many_ends())),
        Finding(
            "log_agrees_with_tables",
            "a service's table counts other facts than the log has",
            tuple(await _versions(to, ledgers)),
        ),
        await _sales(to, ledgers["orders"]),
    ]


async def _versions(to: Target, ledgers: dict[str, Ledger]) -> list[str]:
    """Orders for which the table's version is not the number of facts in the log."""
    found = []
    async with database(to) as conn:
        for service, ledger in ledgers.items():
            table = TABLES[service].rpartition(" ")[2]
            if not await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
                continue
            there = {row["order_id"]: row["version"] for row in await conn.fetch(TABLES[service])}
            for order_id in ledger.ids.keys() | {i for i, version in there.items() if version}:
                said = len(ledger.ids.get(order_id, ()))
                # A log that has forgotten an old order says nothing against the table.
                if there.get(order_id, 0) != said and (said or order_id not in there):
                    found.append(f"{order_id} {table} has {there.get(order_id, 0)}, the log {said}")
    return found


async def _sales(to: Target, ledger: Ledger) -> Finding:
    """The verified sales of the stream are the fulfilled orders of the log but the synthetic ones, by corridor and currency."""
    import orjson

    from shared.money import Money
    from shared.topics import SALES

    name, says = (
        "sales_are_fulfilled_orders",
        "the stream of verified sales counts other orders than were fulfilled",
    )
    if "streams" not in to.known.get("programs", {}):
        return Finding(name, says, skipped="no streams worker is known to run")
    try:
        from services.orders.sales import totals_of
        from services.orders.submission import PROBE
    except ModuleNotFoundError:
        return Finding(name, says, skipped="the streams are not part of this installation")
    expected: Counter[tuple[str, str]] = Counter()
    minor: Counter[tuple[str, str]] = Counter()
    for value in ledger.fulfilled:
        event = orjson.loads(value)
        if event["corridor"] == PROBE:
            continue
        goods = Money.of(event["goods_value"]["amount"], event["goods_value"]["currency"])
        expected[event["corridor"], goods.currency] += 1
        minor[event["corridor"], goods.currency] += goods.minor
    totals = totals_of([(r.key, r.value) async for r in reading.read(to, [SALES])])
    return Finding(name, says, tuple(_differences(expected, minor, totals)))


def _differences(expected: Counter[tuple[str, str]], minor: Counter[tuple[str, str]], totals: dict[str, Any]) -> list[str]:
    found = []
    for corridor in sorted({c for c, _ in expected} | set(totals)):
        count = sum(n for (c, _), n in expected.items() if c == corridor)
        streamed = totals[corridor].counts["fulfilled"] if corridor in totals else 0
        if count != streamed:
            found.append(f"corridor {corridor}: {count} orders fulfilled, {streamed} in the stream")
        sums = {currency: m for (c, currency), m in minor.items() if c == corridor}
        seen = {currency: m for currency, m in totals[corridor].verified_minor.items() if m} if corridor in totals else {}
        if sums != seen:
            found.append(f"corridor {corridor}: goods of {sums} minor units fulfilled, {seen} in the stream")
    return found
