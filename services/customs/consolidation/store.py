"""SQL for summary requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.customs.consolidation.domain import (
    Summary,
    SummaryState,
)
from services.customs.consolidation.event_store import queue_events_of_lists
from services.customs.consolidation.list_store import ListGroup
from shared.database import Connection


@dataclass(frozen=True, slots=True)
class RequestDetails:
    """What a new request is about, beside the request itself."""

    group: ListGroup
    expected: int
    due_at: datetime
    at: datetime


async def add(
    conn: Connection,
    s: Summary,
    details: RequestDetails,
    parts: Sequence[tuple[str, Sequence[UUID]]],
) -> None:
    lists = [order_id for _, part in parts for order_id in part]
    await conn.execute(
        "INSERT INTO summary (summary_id, cop_no, month, customs_code, consignor, state, attempt, "
        "parts, lists, lines, expected, due_at, requested_at, changed_at) VALUES ($1, $2, $3, $4, "
        "$5, $6, $7, $8, $9, $10, $11, $12, $13, $13)",
        s.summary_id,
        s.cop_no,
        details.group.month,
        details.group.customs_code,
        details.group.consignor,
        s.state,
        s.attempt,
        s.parts,
        len(lists),
        s.lines,
        details.expected,
        details.due_at,
        details.at,
    )
    await conn.executemany(
        "INSERT INTO summary_part (summary_id, seq, message_guid, lists) VALUES ($1, $2, $3, $4)",
        [(s.summary_id, seq, guid, len(part)) for seq, (guid, part) in enumerate(parts, 1)],
    )
    await conn.execute(
        "UPDATE export_list e SET state = 'requested', summary_id = $1, part = u.part, requests = "
        "e.requests + 1 FROM unnest($2::uuid[], $3::int[]) AS u(order_id, part) WHERE e.order_id "
        "= u.order_id",
        s.summary_id,
        lists,
        [seq for seq, (_, part) in enumerate(parts, 1) for _ in part],
    )
    await queue_events_of_lists(conn, "requested", s.summary_id)


async def lock_by_number(
    conn: Connection, cop_nos: Collection[str], sum_nos: Collection[str]
) -> list[Summary]:
    rows = await conn.fetch(
        _SUMMARY
        + (
            "WHERE cop_no = ANY($1::text[]) OR sum_no = ANY($2::text[]) ORDER BY summary_id FOR "
            "UPDATE"
        ),
        list(cop_nos),
        list(sum_nos),
    )
    return [_read_summary(row) for row in rows]


async def lock_of_list(conn: Connection, invt_no: str) -> Summary | None:
    """Lock and return the live request of a list; the receipt with its number may be
    still to come.
    """
    row = await conn.fetchrow(
        _SUMMARY  # noqa: S608
        + "WHERE summary_id = (SELECT summary_id FROM export_list WHERE invt_no = $1) FOR UPDATE",
        invt_no,
    )
    return _read_summary(row) if row else None


async def lock_in_message(conn: Connection, guids: Collection[str]) -> list[tuple[Summary, int]]:
    rows = await conn.fetch(
        "SELECT summary_id, seq FROM summary_part WHERE message_guid = ANY($1::text[])", list(guids)
    )
    seqs = {row["summary_id"]: row["seq"] for row in rows}
    summaries = await conn.fetch(
        _SUMMARY + "WHERE summary_id = ANY($1::uuid[]) ORDER BY summary_id FOR UPDATE", list(seqs)
    )
    return [(_read_summary(row), seqs[row["summary_id"]]) for row in summaries]


async def lock_to_free(conn: Connection, now: datetime) -> list[Summary]:
    rows = await conn.fetch(
        _SUMMARY + "WHERE state = 'refused' AND again_at <= $1 "  # noqa: S608
        "AND summary_id <> ALL (ARRAY(SELECT subject::uuid FROM aside "
        "WHERE source = 'summaries' AND retry_at > now())) "
        "ORDER BY again_at LIMIT 100 FOR UPDATE SKIP LOCKED",
        now,
    )
    return [_read_summary(row) for row in rows]


_SUMMARY = (
    "SELECT summary_id, cop_no, parts, lines, attempt, state, accepted, sum_no, status, code, "
    "info, again_at FROM summary "
)


def _read_summary(row: Mapping[str, Any]) -> Summary:
    return Summary(
        row["summary_id"],
        row["cop_no"],
        row["parts"],
        row["lines"],
        row["attempt"],
        SummaryState(row["state"]),
        frozenset(row["accepted"]),
        row["sum_no"],
        row["status"],
        row["code"],
        row["info"],
        row["again_at"],
    )


async def save(conn: Connection, s: Summary, at: datetime) -> None:
    await conn.execute(
        "UPDATE summary SET state = $2, accepted = $3, sum_no = $4, status = $5, code = $6, info "
        "= $7, again_at = $8, changed_at = $9 WHERE summary_id = $1",
        s.summary_id,
        s.state,
        sorted(s.accepted),
        s.sum_no,
        s.status,
        s.code,
        s.info,
        s.again_at,
        at,
    )
    if s.state in (SummaryState.DECLARED, SummaryState.CLOSED):
        await conn.execute(
            "UPDATE export_list SET state = 'consolidated' WHERE summary_id = $1 AND state = "
            "'requested'",
            s.summary_id,
        )


async def set_aside(conn: Connection, summary_id: UUID, invt_nos: Collection[str]) -> None:
    await conn.execute(
        "INSERT INTO summary_word (order_id, kind, summary_id) SELECT order_id, 'set_aside', "
        "summary_id FROM export_list WHERE summary_id = $1 AND invt_no = ANY($2::text[]) ORDER BY "
        "order_id",
        summary_id,
        list(invt_nos),
    )
    await conn.execute(
        "UPDATE export_list SET state = 'set_aside', summary_id = NULL, part = NULL WHERE "
        "summary_id = $1 AND invt_no = ANY($2::text[])",
        summary_id,
        list(invt_nos),
    )


async def count_states(conn: Connection) -> dict[str, int]:
    rows = await conn.fetch("SELECT state, count(*) AS n FROM summary GROUP BY state")
    return {row["state"]: row["n"] for row in rows}
