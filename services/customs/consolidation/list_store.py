"""SQL for closed export lists that wait to be consolidated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.customs.consolidation.grouping import Head, LinePlace, ListLine
from services.customs.domain.declaration import CLEARED, OVER
from shared.database import Connection
from shared.money import Money


async def add_closed(conn: Connection, closed: Mapping[UUID, tuple[datetime, str]]) -> None:
    closed_lists = sorted(closed.items())
    await conn.execute(
        "INSERT INTO export_list (order_id, invt_no, month, customs_code, consignor, closed_at, "
        "state) SELECT d.order_id, d.invt_no, u.month, split_part(d.group_key, '|', 3), "
        "convert_from(o.doc, 'UTF8')::jsonb #>> '{merchant,code}', u.closed_at, 'open' FROM "
        "unnest($1::uuid[], $2::timestamptz[], $3::text[]) AS u(order_id, closed_at, month) JOIN "
        "declaration d ON d.order_id = u.order_id JOIN document o ON o.order_id = d.order_id AND "
        "o.kind = 'order' WHERE d.invt_no IS NOT NULL ON CONFLICT DO NOTHING",
        [order_id for order_id, _ in closed_lists],
        [at for _, (at, _) in closed_lists],
        [month for _, (_, month) in closed_lists],
    )


async def drop_closed(conn: Connection, order_ids: Collection[UUID]) -> None:
    await conn.execute(
        "DELETE FROM export_list WHERE order_id = ANY($1::uuid[]) AND state = 'open'",
        list(order_ids),
    )


@dataclass(frozen=True, slots=True)
class ListGroup:
    """Open lists of a month, an office and a consignor, which may share a request. `closed_at` is
    the first list's.
    """

    month: str
    customs_code: str
    consignor: str
    lists: int
    closed_at: datetime


async def list_groups(conn: Connection, before: datetime) -> list[ListGroup]:
    """Return groups of open lists closed before a moment, or of a month that a person requested;
    oldest first.
    """
    # The time alone uses its index. Lists of the current month are many, and read on request only.
    any_requested = await conn.fetchval("SELECT EXISTS (SELECT FROM month_asked)")
    rows = await conn.fetch(
        "SELECT month, customs_code, consignor, count(*) AS lists, min(closed_at) AS closed_at "
        "FROM export_list WHERE state = 'open' AND (closed_at < $1 OR month IN (SELECT month FROM "
        "month_asked)) GROUP BY month, customs_code, consignor ORDER BY min(closed_at), "
        "customs_code, consignor"
        if any_requested
        else "SELECT month, customs_code, consignor, count(*) AS lists, min(closed_at) AS "
        "closed_at FROM export_list WHERE state = 'open' AND closed_at < $1 GROUP BY month, "
        "customs_code, consignor ORDER BY min(closed_at), customs_code, consignor",
        before,
    )
    return [ListGroup(*row) for row in rows]


async def delete_month_requests(conn: Connection) -> None:
    await conn.execute(
        "DELETE FROM month_asked a WHERE NOT EXISTS (SELECT FROM export_list e WHERE e.state = "
        "'open' AND e.month = a.month)"
    )


async def take(conn: Connection, group: ListGroup, most: int) -> list[tuple[UUID, str, int]]:
    """Lock up to `most` lists of a group: order, number, and how often requested.

    Lists whose goods came back whole are marked and left out; those on their way back wait. A list
    that another transaction holds is skipped.
    """
    rows = await conn.fetch(
        "SELECT e.order_id, e.invt_no, e.requests, d.state FROM export_list e JOIN declaration d "
        "USING (order_id) WHERE e.state = 'open' AND e.month = $1 AND e.customs_code = $2 AND "
        "e.consignor = $3 AND d.state <> 'returning' AND e.order_id <> ALL (ARRAY(SELECT "
        "subject::uuid FROM aside WHERE source = 'summaries' AND retry_at > now())) ORDER BY "
        "e.closed_at, e.order_id LIMIT $4 FOR UPDATE OF e, d SKIP LOCKED",
        group.month,
        group.customs_code,
        group.consignor,
        most,
    )
    gone = [row["order_id"] for row in rows if row["state"] in OVER]
    if gone:
        await conn.execute(
            "UPDATE export_list SET state = 'returned' WHERE order_id = ANY($1::uuid[])", gone
        )
    return [
        (row["order_id"], row["invt_no"], row["requests"])
        for row in rows
        if row["state"] in CLEARED
    ]


async def list_lines(
    conn: Connection, invt_nos: Collection[str], traf_mode: Callable[[str, str], str]
) -> list[ListLine]:
    rows = await conn.fetch(
        "SELECT e.invt_no, e.customs_code, e.consignor, o.j ->> 'mode' AS mode, o.j #>> "
        "'{consignee,country}' AS country, (l ->> 'line_no')::int AS line_no, l ->> 'hs_code' AS "
        "hs_code, l ->> 'name' AS name, (l ->> 'quantity')::numeric AS quantity, l ->> 'unit' AS "
        "unit, l #>> '{total,amount}' AS amount, l #>> '{total,currency}' AS currency FROM "
        "export_list e JOIN document p ON p.order_id = e.order_id AND p.kind = 'order', LATERAL "
        "(SELECT convert_from(p.doc, 'UTF8')::jsonb AS j) o, LATERAL jsonb_array_elements(o.j -> "
        "'lines') l WHERE e.invt_no = ANY($1::text[]) ORDER BY e.invt_no, line_no",
        list(invt_nos),
    )
    return [_read_line(row, traf_mode(row["mode"], row["country"])) for row in rows]


def _read_line(r: Mapping[str, Any], traf_mode: str) -> ListLine:
    # In our lists the merchant is consignor and producer, and the country of arrival is the
    # destination.
    head = Head(
        r["customs_code"], r["consignor"], r["consignor"], r["country"], r["mode"], traf_mode
    )
    total = Money.of(r["amount"], r["currency"])
    return ListLine(
        LinePlace(r["invt_no"], r["line_no"]),
        head,
        r["country"],
        r["hs_code"],
        r["name"],
        r["quantity"],
        r["unit"],
        total,
    )


async def merchant_name(conn: Connection, order_id: UUID) -> str:
    name: str = await conn.fetchval(
        "SELECT convert_from(doc, 'UTF8')::jsonb #>> '{merchant,name}' FROM document WHERE "
        "order_id = $1 AND kind = 'order'",
        order_id,
    )
    return name


async def set_aside_open(conn: Connection, order_ids: Collection[UUID]) -> None:
    await conn.execute(
        "UPDATE export_list SET state = 'set_aside' WHERE order_id = ANY($1::uuid[])",
        list(order_ids),
    )


async def first_closed(conn: Connection, summary_id: UUID) -> datetime | None:
    closed_at: datetime | None = await conn.fetchval(
        "SELECT min(closed_at) FROM export_list WHERE summary_id = $1", summary_id
    )
    return closed_at


async def filter_lists(conn: Connection, summary_id: UUID, invt_nos: Collection[str]) -> set[str]:
    rows = await conn.fetch(
        "SELECT invt_no FROM export_list WHERE summary_id = $1 AND invt_no = ANY($2::text[])",
        summary_id,
        list(invt_nos),
    )
    return {row["invt_no"] for row in rows}


async def free_lists(conn: Connection, summary_id: UUID) -> None:
    await conn.execute(
        "UPDATE export_list SET state = 'open', summary_id = NULL, part = NULL WHERE summary_id = "
        "$1",
        summary_id,
    )


@dataclass(frozen=True, slots=True)
class UnconsolidatedLists:
    """Lists of a month that are in no numbered declaration yet."""

    month: str
    state: str
    lists: int
    closed_at: datetime


async def list_unconsolidated(conn: Connection, before: datetime) -> list[UnconsolidatedLists]:
    rows = await conn.fetch(
        "SELECT month, state, count(*) AS lists, min(closed_at) AS closed_at FROM export_list "
        "WHERE state IN ('open', 'requested', 'set_aside') AND closed_at < $1 GROUP BY month, "
        "state ORDER BY min(closed_at)",
        before,
    )
    return [UnconsolidatedLists(*row) for row in rows]
