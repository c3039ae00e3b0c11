"""DOC."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from services.customs.ceb.notices import Notice
from services.customs.domain.declaration import (
    AuthorityReply,
    RequestKind,
)
from shared.database import Connection


@dataclass(frozen=True, slots=True)
class LodgedRequest:
    """One request in a message of ours. `lists`: how many the message left with; `part`: as what of a message refused before;
    `tried`: the order that was named then, and whether it was refused alone."""

    order_id: UUID
    message_guid: str
    kind: RequestKind
    invt_no: str | None
    lists: int
    part: UUID | None
    tried: UUID | None
    tried_refused: bool | None


async def requests_in(conn: Connection, guids: Collection[str]) -> dict[str, list[LodgedRequest]]:
    """The latest requests of orders that left in these messages, as they stand in them."""
    rows = await conn.fetch(
        "SELECT d.order_id, d.message_guid, b.kind, d.invt_no, b.lists, b.part, "
        "p.tried, t.state = 'refused' AS tried_refused "
        "FROM declaration AS d JOIN batch AS b USING (message_guid) LEFT JOIN part AS p ON p.part = b.part "
        "LEFT JOIN declaration AS t ON t.order_id = p.tried WHERE d.message_guid = ANY($1::text[]) ORDER BY d.order_id",
        list(guids),
    )
    found: dict[str, list[LodgedRequest]] = {}
    for row in rows:
        found.setdefault(row["message_guid"], []).append(LodgedRequest(**row))
    return found


async def order_nos(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, str]:
    """The numbers of these orders, by their documents."""
    rows = await conn.fetch(
        "SELECT order_id, convert_from(doc, 'UTF8')::jsonb ->> 'order_no' AS order_no FROM document "
        "WHERE kind = 'order' AND order_id = ANY($1::uuid[])",
        list(order_ids),
    )
    return {row["order_id"]: row["order_no"] for row in rows}


async def add_parts(
    conn: Connection, guid: str, parts: Mapping[UUID, int], tried: UUID | None
) -> None:
    """Note what a message is divided into: each part with its number of lists."""
    await conn.executemany(
        "INSERT INTO part (part, message_guid, lists, tried) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        [(part, guid, lists, tried) for part, lists in parts.items()],
    )


async def add_receipts(
    conn: Connection, rows: Sequence[tuple[UUID, str, AuthorityReply, bool, datetime]]
) -> None:
    """Keep what the authority said: order, message type, answer, whether it changed anything, when."""
    await conn.copy_records_to_table(
        "receipt", columns=("order_id", "message_type", "status", "code", "info", "followed", "at", "invt_no"),
        records=[(order_id, kind, a.status, a.code, a.info, followed, at, a.invt_no) for order_id, kind, a, followed, at in rows],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """One entry of a receipt as it was kept."""

    order_id: UUID
    message_type: str
    status: str
    code: str | None
    invt_no: str | None
    followed: bool
    at: datetime


async def list_receipts(conn: Connection, order_ids: Collection[UUID]) -> list[StoredReceipt]:
    """All that the authority said of these orders' lists, in the order it came."""
    rows = await conn.fetch(
        "SELECT order_id, message_type, status, code, invt_no, followed, at FROM receipt WHERE order_id = ANY($1::uuid[]) ORDER BY id",
        list(order_ids),
    )
    return [StoredReceipt(**row) for row in rows]


async def close_numbered_cases(conn: Connection) -> None:
    """Close the open cases of lists without a number whose number came."""
    await conn.execute(
        "UPDATE cases AS c SET closed_at = now(), verdict = 'closed', note = 'customs gave the list its number', "
        "closed_by = 'customs' FROM declaration AS d WHERE c.kind = 'declared_unnumbered' AND c.closed_at IS NULL "
        "AND d.order_id = c.order_id AND d.invt_no IS NOT NULL"
    )


async def add_notices(conn: Connection, notices: Sequence[Notice]) -> None:
    """Keep receipts about documents that are not lodged here."""
    await conn.copy_records_to_table(
        "notice", columns=("message_type", "status", "code", "numbers", "at"),
        records=[(n.message_type, n.status, n.code, orjson.dumps(n.numbers).decode(), n.at) for n in notices],
    )  # fmt: skip
