"""What must be true of the logs: facts about an order have no hole and agree with the tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import orjson

from services.cli import topic_reader
from services.cli.connect import RunningStack, database
from services.cli.verify.findings import Finding
from services.cli.verify.in_flight import TABLES, still_missing
from shared.envelope import Record, first_headers, uuid_or_none
from shared.money import Money
from shared.outbox import partition_of

HOUR_S: Final = 3600

ENDS: Final = frozenset(
    {b"order.rejected.v1", b"order.cancelled.v1", b"order.returned.v1", b"order.fulfilled.v1"}
)
ROWS_AT_ONCE: Final = 5000


@dataclass
class Ledger:
    """What one service said, by order: the ids of its facts at versions 1, 2, 3 …; and what is wrong with
    it.
    """

    ids: dict[UUID, list[bytes]] = field(default_factory=dict)
    holes: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    ends: dict[UUID, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def add(self, record: Record, *, begins_late: bool) -> bool:
        """One more record in the order of the log; tells whether it is a new fact. `begins_late`: the log has forgotten its
        beginning.
        """
        heads = first_headers(record.headers)
        order_id, ce_id = uuid_or_none(record.key), heads.get("ce_id", b"")
        version = int(heads.get("order_version", b"0"))
        if order_id is None or version < 1:
            self.holes.append(
                f"{record.topic}/{record.partition}/{record.offset} has no order or no order_version"
            )
            return False
        seen = self.ids.setdefault(order_id, [])
        if begins_late and not seen:
            seen += [b""] * (version - 1)
        if version <= len(seen):
            if seen[version - 1] not in (ce_id, b""):
                self.doubled.append(f"{order_id} {record.topic} version {version}")
            return False
        if version > len(seen) + 1:
            self.holes.append(
                f"{order_id} {record.topic} version {len(seen) + 1} is missing before {version}"
            )
            seen += [b""] * (version - 1 - len(seen))
        seen.append(ce_id)
        if (wire_type := heads.get("ce_type", b"")) in ENDS:
            self.ends[order_id].append(wire_type)
        return True

    def forget(self) -> None:
        """Nothing more comes of the orders so far; what is wrong with them stays."""
        self.ids.clear()
        self.ends.clear()

    def many_ends(self) -> list[str]:
        """Orders with more than one end; a fulfilled order may still come back, and then is returned (or
        cancelled late).
        """
        lawful = ([b"order.fulfilled.v1", b"order.returned.v1"],)
        return [
            str(order_id)
            for order_id, ends in self.ends.items()
            if len(ends) > 1 and ends not in lawful
        ]


@dataclass
class Sold:
    """What the log of orders says of each hour, for the stream of sales to agree with: by the hour's begin (seconds since 1970
    UTC), corridor and stage how many orders, by hour, corridor and currency the goods of the fulfilled in minor units.

    `cut`: partitions that have forgotten their beginning, and of which no record was seen yet. `whole_from_s`: the begin of the
    first hour of which nothing is forgotten.
    """

    stages: Mapping[bytes, str]
    synthetic: str
    orders: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    minor: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    cut: set[topic_reader.Place] = field(default_factory=set)
    whole_from_s: int = 0

    def see(self, record: Record) -> None:
        """A record of a log that is compared, in its order: where the log is cut, the hour of the first is not whole."""
        place = (record.topic, record.partition)
        if place in self.cut:
            self.cut.discard(place)
            self.forgets_before(record.timestamp_ms)

    def add(self, record: Record) -> None:
        """One more fact; a synthetic order counts nowhere, and what is not what its type says is skipped, as the stream does."""
        wire_type = first_headers(record.headers).get("ce_type", b"")
        stage = self.stages.get(wire_type)
        if stage is None:
            return
        try:
            event = orjson.loads(record.value or b"")
            corridor, value = (
                event["corridor"],
                event["goods_value"] if stage == "fulfilled" else None,
            )
            goods = None if value is None else Money.of(value["amount"], value["currency"])
        except (ArithmeticError, KeyError, TypeError, ValueError):
            return
        if corridor == self.synthetic:
            return
        hour = record.timestamp_ms // 1000 // HOUR_S * HOUR_S
        self.orders[hour, corridor, stage] += 1
        if goods is not None:
            self.minor[hour, corridor, goods.currency] += goods.minor

    def forgets_before(self, first_ms: int) -> None:
        """A log of which something is gone begins at this time: the hour it stands in is cut."""
        self.whole_from_s = max(self.whole_from_s, (first_ms // 1000 // HOUR_S + 1) * HOUR_S)


def sold() -> Sold | None:
    """Nothing counted yet; None where the streams are no part of this installation."""
    try:
        from services.orders.domain.sales import SALE_STAGES
        from services.orders.intake.submission import PROBE
    except ModuleNotFoundError:
        return None
    return Sold(SALE_STAGES, PROBE)


async def judge(to: RunningStack) -> list[Finding]:
    """Every invariant of the logs."""
    from services.schema import SERVICES
    from shared.topics import ORDERS

    topics = {_topic_of(service): service for service in SERVICES}
    begin = {
        place: first for place, (first, _) in (await topic_reader.ends(to, list(topics))).items()
    }
    late = {place for place, first in begin.items() if first > 0}
    sales = sold()
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
        tables = Tables(to, conn, there, begin)
        # All that is said of an order stands in partitions of one number: only the orders of one number are remembered at a time.
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
        await _sales(to, sales),
    ]


async def _settle(number: int, ledgers: Mapping[str, Ledger], tables: Tables) -> list[str]:
    """All partitions of this number were read: compare their orders with the tables, and forget them; returns those with many ends."""
    await tables.compare(number, ledgers)
    many_ends = ledgers["orders"].many_ends()
    for ledger in ledgers.values():
        ledger.forget()
    return many_ends


class Tables:
    """Orders for which a service's table has another version than there are facts in its log, read before it.

    `services`: those whose tables are there. `begin`: where the logs begin; one that has forgotten an old order says nothing
    against the table. `reached`: up to where each log was read. In `differ` are those of which the log says more than the
    table; in `doubts` those of which it says less (and how much), which may be on its way: see `onway.still_missing`.
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
        """Those that are in the partitions of this number."""
        for service in self._services:
            said = ledgers[service].ids
            told = list(said)
            for ids in (told[i : i + ROWS_AT_ONCE] for i in range(0, len(told), ROWS_AT_ONCE)):
                query = f"SELECT order_id, version FROM {TABLES[service]} WHERE order_id = ANY($1::uuid[])"  # noqa: S608  a constant
                there = {
                    row["order_id"]: row["version"] for row in await self._conn.fetch(query, ids)
                }
                self._said[_topic_of(service), number] += sum(
                    version > 0 for version in there.values()
                )
                for order_id in ids:
                    self._differs(service, order_id, there.get(order_id, 0), len(said[order_id]))

    async def find_unsaid(self) -> None:
        """Those of which a log says nothing at all, though it has forgotten nothing. Called when all has been compared."""
        for service in self._services:
            topic = _topic_of(service)
            numbers = {number for name, number in self._begin if name == topic}
            whole = {number for number in numbers if not self._begin[topic, number]}
            told = sum(count for (name, _), count in self._said.items() if name == topic)
            counted = f"SELECT count(*) FROM {TABLES[service]} WHERE version > 0"  # noqa: S608  a constant
            if (numbers and not whole) or await self._conn.fetchval(counted) <= told:
                continue
            there: Counter[int] = Counter()
            async for order_id, _ in self._rows(service):
                there[_number(order_id, numbers)] += 1
            for number in [
                n
                for n, count in there.items()
                if count > self._said[topic, n] and (n in whole or not numbers)
            ]:
                all_rows = self._rows(service)
                rows = {
                    order_id: version
                    async for order_id, version in all_rows
                    if _number(order_id, numbers) == number
                }
                async for record in topic_reader.read(self._to, [topic], numbers={number}):
                    if (said := uuid_or_none(record.key)) is not None:
                        rows.pop(said, None)
                for order_id, version in rows.items():
                    self._differs(service, order_id, version, 0)

    async def _rows(self, service: str) -> AsyncIterator[tuple[UUID, int]]:
        async with self._conn.transaction(readonly=True):
            query = f"SELECT order_id, version FROM {TABLES[service]} WHERE version > 0"  # noqa: S608  a constant
            async for row in self._conn.cursor(query, prefetch=ROWS_AT_ONCE):
                yield row["order_id"], row["version"]

    def _differs(self, service: str, order_id: UUID, version: int, said: int) -> None:
        if version > said:
            self.doubts[service][order_id] = said
        elif version < said:
            self.differ.append(f"{order_id} {TABLES[service]} has {version}, the log {said}")


def _topic_of(service: str) -> str:
    return f"{service}.events"


def _number(order_id: UUID, numbers: Collection[int]) -> int:
    """The partition in which everything about an order stands; 0 where the topic is not there."""
    return partition_of(str(order_id).encode(), len(numbers)) if numbers else 0


async def _sales(to: RunningStack, sold: Sold | None) -> Finding:
    """The stream of sales counts what the log of orders says, stage by stage, by corridor and currency, but for synthetic orders.

    Both logs forget their old records, and not at the same moment: hours that are cut in one of them are left out.
    """
    from shared.topics import SALES

    name, says = (
        "sales_are_fulfilled_orders",
        "the stream of verified sales counts other orders than were fulfilled",
    )
    # One that is down counts what it missed when it runs again; that it is down is told first.
    if to.known.get("programs", {}).get("streams", {}).get("state") != "running":
        return Finding(name, says, skipped="no streams worker is known to run")
    if sold is None:
        return Finding(name, says, skipped="the streams are not part of this installation")
    from services.orders.domain.sales import totals_of

    sold.cut |= {
        place for place, (first, _) in (await topic_reader.ends(to, [SALES])).items() if first > 0
    }
    rows = []
    async for record in topic_reader.read(to, [SALES]):
        sold.see(record)
        rows.append((record.key, record.value))
    return Finding(
        name, says, tuple(_differences(sold, totals_of(rows, since_s=sold.whole_from_s)))
    )


def _differences(sold: Sold, totals: Mapping[str, Any]) -> list[str]:
    found = []
    orders = Counter[tuple[str, str]]()
    minor = Counter[tuple[str, str]]()
    for counted, into in ((sold.orders, orders), (sold.minor, minor)):
        for (hour, corridor, what), n in counted.items():
            if hour >= sold.whole_from_s:
                into[corridor, what] += n
    for corridor in sorted({c for c, _ in orders} | set(totals)):
        seen = totals.get(corridor)
        for stage in dict.fromkeys(sold.stages.values()):
            count, streamed = orders[corridor, stage], seen.counts[stage] if seen else 0
            if count != streamed:
                found.append(
                    f"corridor {corridor}: {count} orders {stage.replace('_', ' ')}, {streamed} in the stream"
                )
        sums = {currency: m for (c, currency), m in minor.items() if c == corridor and m}
        streamed_sums = (
            {currency: m for currency, m in seen.verified_minor.items() if m} if seen else {}
        )
        if sums != streamed_sums:
            found.append(
                f"corridor {corridor}: goods of {sums} minor units fulfilled, {streamed_sums} in the stream"
            )
    return found
