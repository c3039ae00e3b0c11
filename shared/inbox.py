"""The part of a batch's transaction that makes delivery exactly-once: offsets by compare-and-swap, ids seen before."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from shared import metrics
from shared.database import Connection, copied

Partition = tuple[str, int]


class Fenced(Exception):
    """The database holds another offset than this batch begins at: someone else was faster, or records are missing."""

    def __init__(self, partitions: Mapping[Partition, int]) -> None:
        super().__init__(f"{len(partitions)} partitions")
        self.partitions = partitions


async def known_offsets(conn: Connection, begin: Mapping[Partition, int]) -> dict[Partition, int]:
    """Where to read on, per partition; one never seen before starts at its beginning in the log."""
    topics, parts = [t for t, _ in begin], [p for _, p in begin]
    await conn.execute(
        "INSERT INTO consumer_offset (topic, part, next) SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[]) "
        "ON CONFLICT DO NOTHING",
        topics, parts, list(begin.values()),
    )  # fmt: skip
    rows = await conn.fetch(
        "SELECT topic, part, next FROM consumer_offset JOIN unnest($1::text[], $2::int[]) AS w(topic, part) USING (topic, part)",
        topics, parts,
    )  # fmt: skip
    return {(row["topic"], row["part"]): row["next"] for row in rows}


async def advance(conn: Connection, moves: Mapping[Partition, tuple[int, int]]) -> None:
    """Move each partition from its first offset to behind its last; raises Fenced if any stands elsewhere.

    Rows are locked in one order, so that two processes that briefly read the same partitions wait and never deadlock. All are
    moved in the same question, for Fenced rolls the transaction back.
    """
    ordered = sorted(moves)
    rows = await conn.fetch(
        "WITH stood AS MATERIALIZED (SELECT topic, part, o.next, w.next AS onward FROM consumer_offset AS o "
        "JOIN unnest($1::text[], $2::int[], $3::bigint[]) AS w(topic, part, next) USING (topic, part) "
        "ORDER BY topic, part FOR UPDATE OF o) "
        "UPDATE consumer_offset AS o SET next = stood.onward FROM stood WHERE o.topic = stood.topic AND o.part = stood.part "
        "RETURNING o.topic, o.part, stood.next",
        [t for t, _ in ordered], [p for _, p in ordered], [moves[p][1] for p in ordered],
    )  # fmt: skip
    there = {(row["topic"], row["part"]): row["next"] for row in rows}
    if any(there.get(partition) != moves[partition][0] for partition in ordered):
        raise Fenced({p: there.get(p, moves[p][0]) for p in ordered if there.get(p) != moves[p][0]})


async def accept_gap(conn: Connection, partition: Partition, found: int) -> None:
    """Records between the stored offset and `found` are gone from the log for good: read on behind the hole."""
    await conn.execute("UPDATE consumer_offset SET next = $3 WHERE topic = $1 AND part = $2 AND next < $3", *partition, found)


async def unseen(conn: Connection, event_ids: Sequence[UUID]) -> set[UUID]:
    """Mark the events as handled; returns those that had not been."""
    if not event_ids:
        return set()
    ids = set(event_ids)
    if await copied(conn, "inbox", ("event_id",), [(event_id,) for event_id in ids]):
        return ids
    rows = await conn.fetch(
        "INSERT INTO inbox (event_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING RETURNING event_id", list(ids)
    )
    return {row["event_id"] for row in rows}


async def forget_before(conn: Connection, days: int) -> None:
    """Delete inbox rows older than any record that could still be delivered (the topics keep less than this)."""
    await conn.execute("SELECT forget_inbox($1)", days)


async def lock_orders(conn: Connection, service: str, order_ids: Collection[UUID]) -> None:
    """Let nobody else decide on these orders in this service until the transaction ends.

    A row lock cannot do it alone: an order's first two records may come by two topics to two replicas at once, when there
    is no row to lock yet, and the later one would overwrite what it never saw. Locked in one order, so nobody deadlocks.
    """
    salt = zlib.crc32(service.encode()) << 31
    keys = sorted(int.from_bytes(order_id.bytes[:8], "big", signed=True) ^ salt for order_id in order_ids)
    await conn.execute(
        "SELECT count(pg_advisory_xact_lock(k)) FROM (SELECT k FROM unnest($1::bigint[]) AS k ORDER BY k OFFSET 0) AS s", keys
    )


async def held_among(conn: Connection, order_ids: Collection[UUID]) -> set[UUID]:
    rows = await conn.fetch("SELECT order_id FROM held_order WHERE order_id = ANY($1::uuid[])", list(order_ids))
    return {row["order_id"] for row in rows}


async def hold(conn: Connection, order_id: UUID, reason: str) -> None:
    await conn.execute("INSERT INTO held_order (order_id, reason) VALUES ($1, $2) ON CONFLICT DO NOTHING", order_id, reason)


async def unhold(conn: Connection, order_ids: Collection[UUID]) -> None:
    await conn.execute("DELETE FROM held_order WHERE order_id = ANY($1::uuid[])", list(order_ids))


async def park(conn: Connection, rows: Sequence[tuple[UUID, bytes]]) -> None:
    await conn.execute(
        "INSERT INTO parked (order_id, record) SELECT * FROM unnest($1::uuid[], $2::bytea[])",
        [o for o, _ in rows],
        [r for _, r in rows],
    )


async def unpark(conn: Connection, order_ids: Collection[UUID]) -> list[bytes]:
    """Take the parked records of these orders out, in the order they came."""
    rows = await conn.fetch("DELETE FROM parked WHERE order_id = ANY($1::uuid[]) RETURNING id, record", list(order_ids))
    return [row["record"] for row in sorted(rows, key=lambda row: row["id"])]


async def note_dead_letter(conn: Connection, place: tuple[str, int, int], reason: str, entry: int = 0) -> None:
    """Remember that the record of this topic, partition and offset was given up, until its replay is handled.

    `entry` is the number of the one entry that was, from 1; 0 means the whole record.
    """
    await conn.execute(
        "INSERT INTO dead_letter (topic, part, at_offset, reason, entry) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        *place, reason, entry,
    )  # fmt: skip


async def given_up_within(conn: Connection, seconds: float, reasons: Sequence[str]) -> int:
    """How many records were given up for one of these reasons in so many seconds, and are still owed."""
    count: int = await conn.fetchval(
        "SELECT count(*) FROM dead_letter WHERE reason = ANY($2::text[]) AND at > clock_timestamp() - make_interval(secs => $1)",
        seconds, list(reasons),
    )  # fmt: skip
    return count


async def forget_dead_letters(conn: Connection, places: Sequence[tuple[str, int, int]]) -> None:
    """Their replays came. One that is given up again is remembered anew, by its own place."""
    await conn.execute(
        "DELETE FROM dead_letter AS d USING unnest($1::text[], $2::int[], $3::bigint[]) AS w(topic, part, at_offset) "
        "WHERE (d.topic, d.part, d.at_offset, d.entry) = (w.topic, w.part, w.at_offset, 0)",
        [p[0] for p in places], [p[1] for p in places], [p[2] for p in places],
    )  # fmt: skip


async def forget_entry(conn: Connection, place: tuple[str, int, int], entry: int) -> None:
    """The replay of one entry of a record came; the letters of its other entries stay."""
    await conn.execute("DELETE FROM dead_letter WHERE topic = $1 AND part = $2 AND at_offset = $3 AND entry = $4", *place, entry)


async def expire_dead_letters(conn: Connection, topic: str, kept_s: float) -> int:
    """Forget those of a topic whose bytes the log no longer has; returns how many there were."""
    done = await conn.execute(
        "DELETE FROM dead_letter WHERE topic = $1 AND at < now() - make_interval(secs => $2)", topic, kept_s
    )
    return int(done.split()[-1])


async def measure(conn: Connection, service: str, heard: Collection[str]) -> None:
    """Set the gauges of what waits for a person: dead letters by topic, held orders, parked records."""
    rows = await conn.fetch("SELECT topic, count(*) AS count, min(at) AS oldest FROM dead_letter GROUP BY topic")
    owed = {row["topic"]: row["count"] for row in rows}
    for topic in (*heard, *owed):
        metrics.DEAD_LETTER_DEBT.labels(service, topic).set(owed.get(topic, 0))
    oldest = min((row["oldest"].timestamp() for row in rows), default=0.0)
    metrics.DEAD_LETTER_OLDEST.labels(service).set(oldest)
    held = await conn.fetchrow("SELECT count(*) AS count, min(held_at) AS oldest FROM held_order")
    metrics.HELD_ORDERS.labels(service).set(held["count"])
    metrics.HELD_OLDEST.labels(service).set(held["oldest"].timestamp() if held["oldest"] else 0)
    metrics.PARKED.labels(service).set(await conn.fetchval("SELECT count(*) FROM parked"))
