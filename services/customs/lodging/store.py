"""SQL for open batches: requests waiting to be lodged, and the messages they leave in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.customs.domain.declaration import (
    Declaration,
    RequestKind,
)
from services.customs.store import SELECT_DECLARATION, read_declaration
from shared.database import Connection


@dataclass(frozen=True, slots=True)
class QueuedRequest:
    """One entry of the open batches."""

    order_id: UUID
    kind: RequestKind
    group_key: str
    since: datetime
    part: UUID | None = None


async def queue(conn: Connection, waiting: Sequence[QueuedRequest], gone: Collection[UUID]) -> None:
    if gone:
        await conn.execute("DELETE FROM waiting WHERE order_id = ANY($1::uuid[])", list(gone))
    if waiting:
        await conn.execute(
            "INSERT INTO waiting (order_id, kind, group_key, since, part) SELECT * FROM "
            "unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::uuid[]) ON "
            "CONFLICT (order_id) DO UPDATE SET kind = excluded.kind, group_key = "
            "excluded.group_key, since = excluded.since, part = excluded.part",
            [w.order_id for w in waiting],
            [w.kind for w in waiting],
            [w.group_key for w in waiting],
            [w.since for w in waiting],
            [w.part for w in waiting],
        )


@dataclass(frozen=True, slots=True)
class DueBatch:
    """A group whose open batch must close, by size or age. `part`: one part of a message that was
    refused whole.
    """

    kind: RequestKind
    group_key: str
    count: int
    opened_at: datetime
    part: UUID | None = None


async def list_due(conn: Connection, size: int, age_s: float) -> list[DueBatch]:
    """Return the groups with `size` requests waiting or one waiting for `age_s` seconds, and every
    part of a message.
    """
    rows = await conn.fetch(
        "SELECT kind, group_key, count(*) AS count, min(since) AS opened_at, part FROM waiting "
        "WHERE since <= now() GROUP BY kind, group_key, part HAVING part IS NOT NULL OR count(*) "
        ">= $1 OR min(since) <= now() - make_interval(secs => $2) ORDER BY min(since), group_key, "
        "part",
        size,
        age_s,
    )
    return [
        DueBatch(row["kind"], row["group_key"], row["count"], row["opened_at"], row["part"])
        for row in rows
    ]


async def find_trial(conn: Connection, group_key: str | None) -> DueBatch | None:
    row = await conn.fetchrow(
        "SELECT kind, group_key, since, part FROM waiting WHERE $1::text IS NULL OR group_key = "
        "$1 ORDER BY since LIMIT 1",
        group_key,
    )
    return (
        None
        if row is None
        else DueBatch(row["kind"], row["group_key"], 1, row["since"], row["part"])
    )


@dataclass(frozen=True, slots=True)
class OpenBatches:
    """The open batches of a kind: groups, late groups, their lists, and the start of the oldest."""

    kind: RequestKind
    groups: int
    late: int
    lists: int
    oldest: datetime


async def count_waiting(conn: Connection, late_s: float) -> list[OpenBatches]:
    """Return the open batches by kind. A batch is late once its first list waits over `late_s`
    seconds without a pause.
    """
    rows = await conn.fetch(
        "SELECT kind, count(*) AS groups, count(*) FILTER (WHERE oldest < now() - "
        "make_interval(secs => $1) AND NOT EXISTS (SELECT FROM pause WHERE scope IN ('*', "
        "group_key))) AS late, sum(lists)::bigint AS lists, min(oldest) AS oldest FROM (SELECT "
        "kind, group_key, count(*) AS lists, min(since) AS oldest FROM waiting WHERE since <= "
        "now() GROUP BY kind, group_key) AS g GROUP BY kind",
        late_s,
    )
    return [OpenBatches(r["kind"], r["groups"], r["late"], r["lists"], r["oldest"]) for r in rows]


async def take(conn: Connection, due: DueBatch, most: int) -> dict[UUID, Declaration]:
    """Take the longest waiting requests of a group or part, up to `most`, and lock their
    declarations.

    Declarations that another transaction holds are skipped. A declaration is always locked before
    its entry.
    """
    rows = await conn.fetch(
        "SELECT order_id FROM waiting WHERE kind = $1 AND group_key = $2 AND part IS NOT DISTINCT "
        "FROM $4 AND since <= greatest(now(), $5) ORDER BY since LIMIT $3",
        due.kind,
        due.group_key,
        most,
        due.part,
        due.opened_at,
    )
    locked = await conn.fetch(
        SELECT_DECLARATION + "FOR UPDATE SKIP LOCKED", [row["order_id"] for row in rows]
    )
    declarations = {row["order_id"]: read_declaration(row) for row in locked}
    gone = await conn.fetch(
        "DELETE FROM waiting WHERE order_id = ANY($1::uuid[]) AND kind = $2 RETURNING order_id",
        list(declarations),
        due.kind,
    )
    return {row["order_id"]: declarations[row["order_id"]] for row in gone}


async def add_batch(
    conn: Connection,
    batch_id: UUID,
    due: DueBatch,
    guid: str,
    message_type: str,
    lists: int,
    closed_by: str,
    at: datetime,
) -> None:
    await conn.execute(
        "INSERT INTO batch (batch_id, kind, group_key, message_guid, message_type, lists, "
        "closed_by, opened_at, lodged_at, part) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        batch_id,
        due.kind,
        due.group_key,
        guid,
        message_type,
        lists,
        closed_by,
        due.opened_at,
        at,
        due.part,
    )
