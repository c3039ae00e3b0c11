"""SQL for receipts, and for the requests of messages they answer."""

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
    """One request of a lodged message. `lists`: how many the message left with. `part`: which part
    of a refused message it was.

    `tried`: the order named by that refusal, and whether it was refused alone since.
    """

    order_id: UUID
    message_guid: str
    kind: RequestKind
    invt_no: str | None
    lists: int
    part: UUID | None
    tried: UUID | None
    tried_refused: bool | None


async def requests_in(conn: Connection, guids: Collection[str]) -> dict[str, list[LodgedRequest]]:
    rows = await conn.fetch(
        "SELECT d.order_id, d.message_guid, b.kind, d.invt_no, b.lists, b.part, p.tried, t.state "
        "= 'refused' AS tried_refused FROM declaration AS d JOIN batch AS b USING (message_guid) "
        "LEFT JOIN part AS p ON p.part = b.part LEFT JOIN declaration AS t ON t.order_id = "
        "p.tried WHERE d.message_guid = ANY($1::text[]) ORDER BY d.order_id",
        list(guids),
    )
    requests: dict[str, list[LodgedRequest]] = {}
    for row in rows:
        requests.setdefault(row["message_guid"], []).append(LodgedRequest(**row))
    return requests


async def order_nos(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, str]:
    rows = await conn.fetch(
        "SELECT order_id, convert_from(doc, 'UTF8')::jsonb ->> 'order_no' AS order_no FROM "
        "document WHERE kind = 'order' AND order_id = ANY($1::uuid[])",
        list(order_ids),
    )
    return {row["order_id"]: row["order_no"] for row in rows}


async def add_parts(
    conn: Connection, guid: str, parts: Mapping[UUID, int], tried: UUID | None
) -> None:
    await conn.executemany(
        "INSERT INTO part (part, message_guid, lists, tried) VALUES ($1, $2, $3, $4) ON CONFLICT "
        "DO NOTHING",
        [(part, guid, lists, tried) for part, lists in parts.items()],
    )


ReceiptRow = tuple[UUID, str, AuthorityReply, bool, datetime]
"""Order, message type, reply, whether it changed anything, and the authority's time."""


async def add_receipts(conn: Connection, rows: Sequence[ReceiptRow]) -> None:
    await conn.copy_records_to_table(
        "receipt",
        columns=("order_id", "message_type", "status", "code", "info", "followed", "at", "invt_no"),
        records=[
            (order_id, kind, a.status, a.code, a.info, followed, at, a.invt_no)
            for order_id, kind, a, followed, at in rows
        ],
    )


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """One stored entry of a receipt."""

    order_id: UUID
    message_type: str
    status: str
    code: str | None
    invt_no: str | None
    followed: bool
    at: datetime


async def list_receipts(conn: Connection, order_ids: Collection[UUID]) -> list[StoredReceipt]:
    rows = await conn.fetch(
        "SELECT order_id, message_type, status, code, invt_no, followed, at FROM receipt WHERE "
        "order_id = ANY($1::uuid[]) ORDER BY id",
        list(order_ids),
    )
    return [StoredReceipt(**row) for row in rows]


async def close_numbered_cases(conn: Connection) -> None:
    await conn.execute(
        "UPDATE cases AS c SET closed_at = now(), verdict = 'closed', note = 'customs gave the "
        "list its number', closed_by = 'customs' FROM declaration AS d WHERE c.kind = "
        "'declared_unnumbered' AND c.closed_at IS NULL AND d.order_id = c.order_id AND d.invt_no "
        "IS NOT NULL"
    )


async def add_notices(conn: Connection, notices: Sequence[Notice]) -> None:
    await conn.copy_records_to_table(
        "notice",
        columns=("message_type", "status", "code", "numbers", "at"),
        records=[
            (n.message_type, n.status, n.code, orjson.dumps(n.numbers).decode(), n.at)
            for n in notices
        ],
    )
