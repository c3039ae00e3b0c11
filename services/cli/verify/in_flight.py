"""What is on its way between two places, and so is missing at neither: facts in an outbox, records a service has yet to read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import UUID

from services.cli import lag, topic_reader
from services.cli.connect import RunningStack
from shared.envelope import first_headers, uuid_or_none
from shared.outbox import unpack_headers

ROWS_AT_ONCE: Final = 5000
TABLES: Final = {
    "orders": "orders.orders", "payments": "payments.payment", "tax": "tax.tax_case", "customs": "customs.declaration",
}  # fmt: skip
"""Where each service keeps how many facts it has decided of an order."""
_FACTS: Final = frozenset(f"{service}.events" for service in TABLES)
FactCounts = Mapping[UUID, int]
"""How many facts of each order a log has."""


async def still_missing(
    to: RunningStack,
    conn: Any,
    doubts: Mapping[str, FactCounts],
    reached: Mapping[topic_reader.Place, int],
) -> list[str]:
    """The orders of which a table has a fact that is neither in the log nor in the outbox, one sentence each.

    `doubts`: by service, how many facts its log had, read up to the offsets `reached` before the table was read. What was
    decided since then is no break, and neither is what waits to be published. So table and outbox are read in one snapshot
    first, and the rest of the log after them: the relay deletes a record only when the log has it.
    """
    found: list[str] = []
    for service, said in doubts.items():
        if not said:
            continue
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            versions = await _versions(conn, service, list(said))
            known = await _waiting(conn, service, said)
        # What lies behind an open transaction is in the log, though it may not be read yet: `no_open_transaction` tells of it.
        async for record in topic_reader.read(
            to, [f"{service}.events"], since=reached, committed=False
        ):
            order_id = uuid_or_none(record.key)
            if order_id is not None and order_id in said:
                known[order_id].add(_version(record.headers))
        for order_id, count in said.items():
            last = count
            while last + 1 in known[order_id]:
                last += 1
            if last < versions.get(order_id, 0):
                found.append(
                    f"{order_id} {TABLES[service]} has {versions[order_id]}, the log {last}"
                )
    return found


async def _versions(conn: Any, service: str, orders: list[UUID]) -> dict[UUID, int]:
    found: dict[UUID, int] = {}
    for at in range(0, len(orders), ROWS_AT_ONCE):
        query = f"SELECT order_id, version FROM {TABLES[service]} WHERE order_id = ANY($1::uuid[])"  # noqa: S608  a constant
        rows = await conn.fetch(query, orders[at : at + ROWS_AT_ONCE])
        found |= {row["order_id"]: row["version"] for row in rows}
    return found


async def _waiting(
    conn: Any, service: str, orders: Collection[UUID]
) -> defaultdict[UUID, set[int]]:
    """The versions of the facts of these orders that wait in the service's outbox. Called within a transaction."""
    found: defaultdict[UUID, set[int]] = defaultdict(set)
    query = f"SELECT key, headers FROM {service}.outbox WHERE topic = $1"  # noqa: S608  one of SERVICES
    async for row in conn.cursor(query, f"{service}.events", prefetch=ROWS_AT_ONCE):
        order_id = uuid_or_none(row["key"])
        if order_id is not None and order_id in orders:
            found[order_id].add(_version(unpack_headers(row["headers"])))
    return found


def _version(headers: Any) -> int:
    said = first_headers(headers).get("order_version", b"0")
    return int(said) if said.isdigit() else 0


async def read_in_snapshot(
    conn: Any, orders: Collection[str]
) -> tuple[set[str], dict[str, dict[topic_reader.Place, int]]]:
    """Of these orders those of which a record waits in an outbox, or behind a dead letter; and up to where each service has read.

    Called within the snapshot in which the orders were found. `orders` are ids as text.
    """
    from services.schema import SERVICES

    keys = [order_id.encode() for order_id in orders]
    found: set[str] = set()
    for service in SERVICES:
        if not await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{service}.outbox"):
            continue
        query = f"SELECT DISTINCT convert_from(key, 'UTF8') FROM {service}.outbox WHERE key = ANY($1::bytea[])"  # noqa: S608
        found |= {row[0] for row in await conn.fetch(query, keys)}
        query = f"SELECT order_id::text FROM {service}.held_order WHERE order_id::text = ANY($1::text[])"  # noqa: S608
        found |= {row[0] for row in await conn.fetch(query, list(orders))}
    return found, await lag.offsets(conn)


async def unread(
    to: RunningStack,
    orders: Collection[str],
    stored: Mapping[str, Mapping[topic_reader.Place, int]],
) -> set[str]:
    """Of these orders those of which a fact lies in a log that some service, by the offsets `stored`, has yet to read."""
    since: dict[topic_reader.Place, int] = {}
    for b in await lag.partition_lags(to, stored):
        if b.topic in _FACTS:
            since[b.place] = min(since.get(b.place, b.end), b.reads_on if b.records else b.end)
    found: set[str] = set()
    if topics := sorted({topic for topic, _ in since}):
        async for record in topic_reader.read(to, topics, since=since):
            if (key := (record.key or b"").decode("utf-8", "replace")) in orders:
                found.add(key)
    return found
