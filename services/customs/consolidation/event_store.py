"""SQL for events about lists that wait to be published."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.database import Connection


async def queue_events_of_lists(conn: Connection, kind: str, summary_id: UUID) -> None:
    await conn.execute(
        "INSERT INTO summary_word (order_id, kind, summary_id) SELECT order_id, $1, summary_id "
        "FROM export_list WHERE summary_id = $2 ORDER BY part, order_id",
        kind,
        summary_id,
    )


async def queue_events_of_declaration(
    conn: Connection, kind: str, summary_id: UUID, decl_seq_no: str
) -> None:
    await conn.execute(
        "INSERT INTO summary_word (order_id, kind, summary_id, decl_seq_no) SELECT DISTINCT "
        "e.order_id, $1, $2::uuid, $3 FROM summary_line l JOIN export_list e USING (invt_no) "
        "WHERE l.decl_seq_no = $3 ORDER BY e.order_id",
        kind,
        summary_id,
        decl_seq_no,
    )


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event about an order to publish. `version` counts the events of its declaration before.

    `parts` is JSON: lines of the list with those of the declaration.
    """

    id: int
    order_id: UUID
    version: int
    kind: str
    invt_no: str
    cop_no: str
    month: str
    due_at: datetime
    status: str | None
    info: str | None
    decl_seq_no: str | None
    entry_id: str | None
    parts: str


async def lock_pending(conn: Connection, most: int) -> list[PendingEvent]:
    """Return the first pending events with their declarations locked. Those that another
    transaction holds are skipped.
    """
    rows = await conn.fetch(
        "SELECT w.id, w.order_id, d.version, w.kind, e.invt_no, s.cop_no, s.month, s.due_at, "
        "s.status, s.info, w.decl_seq_no, c.entry_id, (SELECT "
        "coalesce(jsonb_agg(jsonb_build_array(l.line_no, l.declared_line) ORDER BY l.line_no), "
        "'[]') FROM summary_line l WHERE l.invt_no = e.invt_no AND l.decl_seq_no = "
        "w.decl_seq_no)::text AS parts FROM (SELECT * FROM summary_word WHERE order_id <> ALL "
        "(ARRAY(SELECT subject::uuid FROM aside WHERE source = 'summary words' AND retry_at > "
        "now())) ORDER BY id LIMIT $1) w JOIN summary s USING (summary_id) JOIN export_list e "
        "USING (order_id) LEFT JOIN summary_declaration c USING (decl_seq_no) JOIN declaration d "
        "ON d.order_id = w.order_id ORDER BY w.order_id, w.id FOR UPDATE OF d SKIP LOCKED",
        most,
    )
    return [PendingEvent(**row) for row in rows]


async def delete_pending(
    conn: Connection, ids: Collection[int], counts: Mapping[UUID, int]
) -> None:
    await conn.execute("DELETE FROM summary_word WHERE id = ANY($1::bigint[])", list(ids))
    await conn.execute(
        "UPDATE declaration AS d SET version = d.version + u.events, updated_at = now() FROM "
        "unnest($1::uuid[], $2::int[]) AS u(order_id, events) WHERE d.order_id = u.order_id",
        list(counts),
        list(counts.values()),
    )
