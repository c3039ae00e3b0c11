"""Facts under way: in an outbox, or in a log and not read yet."""

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
    "orders": "orders.orders",
    "payments": "payments.payment",
    "tax": "tax.tax_case",
    "customs": "customs.declaration",
}
"""By service the table with the number of facts (version) of each order."""
_FACTS: Final = frozenset(f"{service}.events" for service in TABLES)
FactCounts = Mapping[UUID, int]
"""The number of facts of each order in a log."""


async def still_missing(
    to: RunningStack,
    conn: Any,
    doubts: Mapping[str, FactCounts],
    reached: Mapping[topic_reader.Place, int],
) -> list[str]:
    """Return the orders of which a fact is in the table, but neither in log nor outbox.

    `doubts`: facts in the log by service and order, read up to the offsets `reached`.
    Table and outbox are read in one snapshot, then the rest of the log.
    The relay deletes a record only once it is in the log, so none is missed.
    """
    missing: list[str] = []
    for service, fact_counts in doubts.items():
        if not fact_counts:
            continue
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            versions = await _versions(conn, service, list(fact_counts))
            known = await _waiting(conn, service, fact_counts)
        # Records behind an open transaction count: `no_open_transaction` reports those.
        async for record in topic_reader.read(
            to, [f"{service}.events"], since=reached, committed=False
        ):
            order_id = uuid_or_none(record.key)
            if order_id is not None and order_id in fact_counts:
                known[order_id].add(_version(record.headers))
        for order_id, count in fact_counts.items():
            last = count
            while last + 1 in known[order_id]:
                last += 1
            if last < versions.get(order_id, 0):
                missing.append(
                    f"{order_id} {TABLES[service]} has {versions[order_id]}, the log {last}"
                )
    return missing


async def _versions(conn: Any, service: str, orders: list[UUID]) -> dict[UUID, int]:
    versions: dict[UUID, int] = {}
    for at in range(0, len(orders), ROWS_AT_ONCE):
        query = f"SELECT order_id, version FROM {TABLES[service]} WHERE order_id = ANY($1::uuid[])"  # noqa: S608  a constant
        rows = await conn.fetch(query, orders[at : at + ROWS_AT_ONCE])
        versions |= {row["order_id"]: row["version"] for row in rows}
    return versions


async def _waiting(
    conn: Any, service: str, orders: Collection[UUID]
) -> defaultdict[UUID, set[int]]:
    versions: defaultdict[UUID, set[int]] = defaultdict(set)
    query = f"SELECT key, headers FROM {service}.outbox WHERE topic = $1"  # noqa: S608  one of SERVICES
    async for row in conn.cursor(query, f"{service}.events", prefetch=ROWS_AT_ONCE):
        order_id = uuid_or_none(row["key"])
        if order_id is not None and order_id in orders:
            versions[order_id].add(_version(unpack_headers(row["headers"])))
    return versions


def _version(headers: Any) -> int:
    version = first_headers(headers).get("order_version", b"0")
    return int(version) if version.isdigit() else 0


async def read_in_snapshot(
    conn: Any, orders: Collection[str]
) -> tuple[set[str], dict[str, dict[topic_reader.Place, int]]]:
    """Return which of these orders wait in an outbox or are held, and the stored offsets.

    Call it in the snapshot in which the orders were selected; `orders` are ids as text.
    """
    from services.schema import SERVICES

    keys = [order_id.encode() for order_id in orders]
    order_ids: set[str] = set()
    for service in SERVICES:
        if not await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{service}.outbox"):
            continue
        query = (
            f"SELECT DISTINCT convert_from(key, 'UTF8') FROM {service}.outbox WHERE key = "  # noqa: S608
            "ANY($1::bytea[])"
        )
        order_ids |= {row[0] for row in await conn.fetch(query, keys)}
        query = (
            f"SELECT order_id::text FROM {service}.held_order WHERE order_id::text = "  # noqa: S608
            "ANY($1::text[])"
        )
        order_ids |= {row[0] for row in await conn.fetch(query, list(orders))}
    return order_ids, await lag.offsets(conn)


async def unread(
    to: RunningStack,
    orders: Collection[str],
    stored: Mapping[str, Mapping[topic_reader.Place, int]],
) -> set[str]:
    """Return which of these orders have a fact that some service has yet to read."""
    since: dict[topic_reader.Place, int] = {}
    for b in await lag.partition_lags(to, stored):
        if b.topic in _FACTS:
            since[b.place] = min(since.get(b.place, b.end), b.reads_on if b.records else b.end)
    order_ids: set[str] = set()
    if topics := sorted({topic for topic, _ in since}):
        async for record in topic_reader.read(to, topics, since=since):
            if (key := (record.key or b"").decode("utf-8", "replace")) in orders:
                order_ids.add(key)
    return order_ids
