"""Makes handling exactly-once: a transaction moves stored offsets and notes the ids of events."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Final
from uuid import UUID

from shared import metrics
from shared.database import Connection, copied

Partition = tuple[str, int]
"""A topic's plain name, and the number of the partition."""
Content = tuple[UUID, int]
"""The id of an event, and the digest of its content (`digest_of`)."""


class Fenced(Exception):
    """A batch does not begin at the stored offset.

    Another process was faster, or records are missing. `partitions`: the differing stored offsets.
    """

    def __init__(self, partitions: Mapping[Partition, int]) -> None:
        super().__init__(f"{len(partitions)} partitions")
        self.partitions = partitions


async def known_offsets(conn: Connection, begin: Mapping[Partition, int]) -> dict[Partition, int]:
    """Return the offset at which to read on, by partition.

    `begin`: where the log of each partition begins. A new partition starts there.
    """
    topics, parts = [t for t, _ in begin], [p for _, p in begin]
    await conn.execute(
        "INSERT INTO consumer_offset (topic, part, next) SELECT * FROM unnest($1::text[], "
        "$2::int[], $3::bigint[]) "
        "ON CONFLICT DO NOTHING",
        topics,
        parts,
        list(begin.values()),
    )
    rows = await conn.fetch(
        "SELECT topic, part, next FROM consumer_offset JOIN unnest($1::text[], $2::int[]) AS "
        "w(topic, part) USING (topic, part)",
        topics,
        parts,
    )
    return {(row["topic"], row["part"]): row["next"] for row in rows}


async def advance(conn: Connection, moves: Mapping[Partition, tuple[int, int]]) -> None:
    """Move the stored offset of each partition from the first to the second offset of `moves`.

    Raises Fenced if any stored offset differs from the first. One statement moves all of them,
    since Fenced rolls the transaction back. All processes lock the rows in the same order. So two
    processes that briefly read the same partitions wait, and never deadlock.
    """
    ordered = sorted(moves)
    rows = await conn.fetch(
        "WITH stood AS MATERIALIZED (SELECT topic, part, o.next, w.next AS onward FROM "
        "consumer_offset AS o "
        "JOIN unnest($1::text[], $2::int[], $3::bigint[]) AS w(topic, part, next) USING (topic, "
        "part) "
        "ORDER BY topic, part FOR UPDATE OF o) "
        "UPDATE consumer_offset AS o SET next = stood.onward FROM stood WHERE o.topic = "
        "stood.topic AND o.part = stood.part "
        "RETURNING o.topic, o.part, stood.next",
        [t for t, _ in ordered],
        [p for _, p in ordered],
        [moves[p][1] for p in ordered],
    )
    there = {(row["topic"], row["part"]): row["next"] for row in rows}
    if any(there.get(partition) != moves[partition][0] for partition in ordered):
        raise Fenced({p: there.get(p, moves[p][0]) for p in ordered if there.get(p) != moves[p][0]})


async def accept_gap(conn: Connection, partition: Partition, found: int) -> None:
    """Move the stored offset to `found`.

    The log has no record between the two offsets any more, or never had one to handle.
    """
    await conn.execute(
        "UPDATE consumer_offset SET next = $3 WHERE topic = $1 AND part = $2 AND next < $3",
        *partition,
        found,
    )


class Reused(Exception):
    """Two different contents came under one id: one would be lost unnoticed."""

    def __init__(self, event_ids: Collection[UUID]) -> None:
        super().__init__(f"{len(event_ids)} ids")
        self.event_ids = frozenset(event_ids)


def digest_of(event_type: str, value: bytes | None) -> int:
    """Return 64 bits of BLAKE2b over type and value, as a signed integer for the database.

    The digest finds mistakes, not forgeries: the access list decides who may write the topics.
    """
    found = _of_type(event_type).copy()
    found.update(value or b"")
    return int.from_bytes(found.digest(), "big", signed=True)


@lru_cache(maxsize=1024)
def _of_type(event_type: str) -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=8, person=zlib.crc32(event_type.encode()).to_bytes(4, "big"))


async def unseen(
    conn: Connection, events: Sequence[Content], *, repeats: bool = False
) -> set[UUID]:
    """Note the events as handled. Return the ids that were not noted before.

    `repeats`: the events come from outside, where repetitions are ordinary. Raises Reused for an id
    that came with other content.
    """
    return await _marked(conn, "inbox", events, repeats=repeats)


async def unseen_for_good(conn: Connection, events: Sequence[Content]) -> set[UUID]:
    """Note the events for good. Return the ids that were not noted before.

    These ids are never deleted: outsiders may repeat such an event at any time. Other content under
    a known id is not an error here.
    """
    digests = dict(events)
    rows = (
        await conn.fetch(_MARK_FOR_GOOD, list(digests), list(digests.values())) if digests else ()
    )
    return {row["event_id"] for row in rows}


async def claim(conn: Connection, facts: Sequence[Content]) -> None:
    """Note the events that this service emits.

    Raises Reused for an id under which the service emits, or has emitted, other content.
    """
    await _marked(conn, "said", facts)


async def require_unsaid(conn: Connection, facts: Sequence[Content]) -> None:
    """Raise Reused for an id under which this service has emitted other content. Note nothing."""
    if facts and (reused := await _other(conn, "said", dict(facts))):
        raise Reused(reused)


async def _other(conn: Connection, table: str, digests: Mapping[UUID, int]) -> set[UUID]:
    rows = await conn.fetch(_MARKED.format(table), list(digests))
    return {row["event_id"] for row in rows if row["digest"] != digests[row["event_id"]]}


async def _marked(
    conn: Connection, table: str, events: Sequence[Content], *, repeats: bool = False
) -> set[UUID]:
    if not events:
        return set()
    digests = dict(events)
    if len(digests) < len(events) and (
        twice := {i for i, digest in events if digests[i] != digest}
    ):
        raise Reused(twice)
    if not repeats and await copied(conn, table, ("event_id", "digest"), list(digests.items())):
        return set(digests)
    rows = await conn.fetch(_MARK.format(table), list(digests), list(digests.values()))
    fresh = {row["event_id"] for row in rows}
    if len(fresh) == len(digests):
        return fresh
    if reused := await _other(
        conn, table, {i: digest for i, digest in digests.items() if i not in fresh}
    ):
        raise Reused(reused)
    return fresh


_MARK: Final = (
    "INSERT INTO {0} (event_id, digest) SELECT * FROM unnest($1::uuid[], $2::bigint[]) "
    "ON CONFLICT DO NOTHING RETURNING event_id"
)
_MARK_FOR_GOOD: Final = (
    "INSERT INTO inbox (event_id, digest, seen_at) SELECT *, 'infinity'::timestamptz FROM "
    "unnest($1::uuid[], $2::bigint[]) "
    "ON CONFLICT DO NOTHING RETURNING event_id"
)
_MARKED: Final = (
    "SELECT event_id, digest FROM {0} WHERE event_id = ANY($1::uuid[]) AND digest IS NOT NULL"
)
"""Rows that an earlier release noted have no digest."""


async def forget_before(conn: Connection, days: int) -> None:
    """Delete the ids of handled and emitted events that are older than `days`.

    The topics keep records for less time, so no record can be delivered after its id is deleted.
    The database refuses fewer than 15 days. Ids noted for good stay.
    """
    await conn.execute("SELECT forget_inbox($1)", days)


async def lock_orders(conn: Connection, service: str, order_ids: Collection[UUID]) -> None:
    """Lock these orders in this service until the transaction ends.

    A row lock alone is too little. The first two records of an order may reach two replicas at once
    by two topics, before the order has a row. The later transaction would then overwrite a row that
    it never saw. All processes lock in the same order, so none deadlocks.
    """
    salt = zlib.crc32(service.encode()) << 31
    keys = sorted(
        int.from_bytes(order_id.bytes[:8], "big", signed=True) ^ salt for order_id in order_ids
    )
    await conn.execute(
        "SELECT count(pg_advisory_xact_lock(k)) FROM (SELECT k FROM unnest($1::bigint[]) AS k "
        "ORDER BY k OFFSET 0) AS s",
        keys,
    )


async def held_among(conn: Connection, order_ids: Collection[UUID]) -> set[UUID]:
    """Return the held orders among these."""
    rows = await conn.fetch(
        "SELECT order_id FROM held_order WHERE order_id = ANY($1::uuid[])", list(order_ids)
    )
    return {row["order_id"] for row in rows}


async def hold(conn: Connection, order_id: UUID, reason: str) -> None:
    """Hold the order: its later records are parked. An order held before keeps its reason."""
    await conn.execute(
        "INSERT INTO held_order (order_id, reason) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        order_id,
        reason,
    )


async def unhold(conn: Connection, order_ids: Collection[UUID]) -> None:
    """Release the orders. The caller takes their records out with `unpark`."""
    await conn.execute("DELETE FROM held_order WHERE order_id = ANY($1::uuid[])", list(order_ids))


async def park(conn: Connection, rows: Sequence[tuple[UUID, bytes]]) -> None:
    """Park sealed records, each with the id of its held order."""
    await conn.execute(
        "INSERT INTO parked (order_id, record) SELECT * FROM unnest($1::uuid[], $2::bytea[])",
        [o for o, _ in rows],
        [r for _, r in rows],
    )


async def unpark(conn: Connection, order_ids: Collection[UUID]) -> list[bytes]:
    """Take out the parked records of these orders. Return them sealed, in the order of arrival."""
    rows = await conn.fetch(
        "DELETE FROM parked WHERE order_id = ANY($1::uuid[]) RETURNING id, record", list(order_ids)
    )
    return [row["record"] for row in sorted(rows, key=lambda row: row["id"])]


async def measure(conn: Connection, service: str, heard: Collection[str]) -> None:
    """Set the gauges of dead letters by topic, held orders and parked records.

    All of these wait for a person. `heard`: the topics that the service reads.
    """
    rows = await conn.fetch(
        "SELECT topic, count(*) AS count, min(at) AS oldest FROM dead_letter GROUP BY topic"
    )
    owed = {row["topic"]: row["count"] for row in rows}
    for topic in (*heard, *owed):
        metrics.DEAD_LETTER_DEBT.labels(service, topic).set(owed.get(topic, 0))
    oldest = min((row["oldest"].timestamp() for row in rows), default=0.0)
    metrics.DEAD_LETTER_OLDEST.labels(service).set(oldest)
    held = await conn.fetchrow("SELECT count(*) AS count, min(held_at) AS oldest FROM held_order")
    metrics.HELD_ORDERS.labels(service).set(held["count"])
    metrics.HELD_OLDEST.labels(service).set(held["oldest"].timestamp() if held["oldest"] else 0)
    metrics.PARKED.labels(service).set(await conn.fetchval("SELECT count(*) FROM parked"))
