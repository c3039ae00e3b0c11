"""The SQL of orders."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from services.orders.documents import order_of, progress_json
from services.orders.domain.order import Order
from services.orders.domain.stages import ENDED
from shared.database import Connection, copied


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order as stored, and the time of the first record about it."""

    order: Order
    received_at: datetime


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of an order's timeline."""

    order_id: UUID
    at: datetime
    source: str
    type: str
    summary: Mapping[str, Any]


ChangedOrder = tuple[Order, datetime]
"""An order, and the time of the message that changed it."""

_COLUMNS: Final = (
    "order_id, order_no, platform_code, corridor, direction, mode, state, doc, version, currency, "
    "goods_value_minor, amount_paid_minor, placed_at, received_at"
)
_LOCK: Final = (
    f"SELECT {_COLUMNS} FROM orders "  # noqa: S608
    "WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE"
)
_LOCK_WITH_FINGERPRINT: Final = (
    f"SELECT {_COLUMNS}, fingerprint "  # noqa: S608
    "FROM orders LEFT JOIN submission USING (order_id) "
    "WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE OF orders"
)


async def lock(
    conn: Connection, order_ids: Collection[UUID], *, fingerprints: bool = False
) -> dict[UUID, StoredOrder]:
    """Lock these orders in the order of their ids; an unknown order is missing from the result.

    `fingerprints`: read them too; only a submission needs them.
    """
    rows = await conn.fetch(_LOCK_WITH_FINGERPRINT if fingerprints else _LOCK, list(order_ids))
    return {
        row["order_id"]: StoredOrder(order_of(row, fingerprints=fingerprints), row["received_at"])
        for row in rows
    }


_SAVE: Final = """
    INSERT INTO orders AS t (order_id, order_no, platform_code, corridor, direction, mode, state,
        doc, version, currency, goods_value_minor, amount_paid_minor, placed_at, received_at,
        updated_at, ended_at)
    SELECT order_id, order_no, platform_code, corridor, direction, mode, state, doc::json, version,
        currency, goods_value_minor, amount_paid_minor, placed_at, changed_at, changed_at, ended_at
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::int[], $10::text[], $11::bigint[], $12::bigint[], $13::timestamptz[],
        $14::timestamptz[], $15::timestamptz[])
        AS x(order_id, order_no, platform_code, corridor, direction, mode, state, doc, version,
        currency, goods_value_minor, amount_paid_minor, placed_at, changed_at, ended_at)
    ON CONFLICT (order_id) DO UPDATE SET state = excluded.state, doc = excluded.doc,
        version = excluded.version, corridor = excluded.corridor, direction = excluded.direction,
        mode = excluded.mode, currency = excluded.currency,
        goods_value_minor = excluded.goods_value_minor,
        amount_paid_minor = excluded.amount_paid_minor, placed_at = excluded.placed_at,
        updated_at = excluded.updated_at,
        ended_at = CASE WHEN t.state = excluded.state THEN t.ended_at ELSE excluded.ended_at END"""


async def save(
    conn: Connection, orders: Sequence[ChangedOrder], fingerprinted: Collection[UUID] = ()
) -> None:
    """Write orders as submissions and commands leave them; a stored fingerprint never changes.

    `fingerprinted`: orders whose fingerprint was stored when the caller locked them.
    """
    if not orders:
        return
    await conn.execute(_SAVE, *map(list, zip(*map(_row, orders), strict=True)))
    await _save_fingerprints(
        conn,
        [
            (order.order_id, orjson.dumps(dict(order.fingerprint)))
            for order, _ in orders
            if order.fingerprint and order.order_id not in fingerprinted
        ],
    )


def _row(changed: ChangedOrder) -> tuple[Any, ...]:
    order, at = changed
    paid, goods = order.amount_paid, order.goods_value
    return (
        order.order_id,
        order.order_no,
        order.platform_code,
        order.corridor,
        order.direction,
        order.mode,
        order.stage,
        progress_json(order),
        order.version,
        paid.currency if paid else None,
        goods.minor if goods else None,
        paid.minor if paid else None,
        order.placed_at,
        at,
        at if order.stage in ENDED else None,
    )


async def _save_fingerprints(conn: Connection, rows: Sequence[tuple[UUID, bytes]]) -> None:
    if rows and not await copied(conn, "submission", ("order_id", "fingerprint"), rows):
        await conn.execute(
            "INSERT INTO submission (order_id, fingerprint) "
            "SELECT * FROM unnest($1::uuid[], $2::bytea[]) ON CONFLICT DO NOTHING",
            *map(list, zip(*rows, strict=True)),
        )


async def update_progress(conn: Connection, orders: Sequence[ChangedOrder]) -> None:
    """Write what an event can change of locked orders; their terms stay as they were placed.

    `ended_at` is when an order reached its end: events that change no state do not move it.
    """
    if not orders:
        return
    rows = [
        (
            order.order_id,
            order.stage,
            progress_json(order),
            order.version,
            at,
            at if order.stage in ENDED else None,
        )
        for order, at in orders
    ]
    await conn.execute(
        """UPDATE orders AS t SET state = x.state, doc = x.doc::json, version = x.version,
               updated_at = x.changed_at,
               ended_at = CASE WHEN t.state = x.state THEN t.ended_at ELSE x.ended_at END
           FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::timestamptz[],
               $6::timestamptz[]) AS x(order_id, state, doc, version, changed_at, ended_at)
           WHERE t.order_id = x.order_id""",
        *map(list, zip(*rows, strict=True)),
    )


async def append_timeline(conn: Connection, entries: Sequence[TimelineEntry]) -> None:
    if not entries:
        return
    await conn.copy_records_to_table(
        "timeline",
        columns=("order_id", "at", "source", "type", "summary"),
        records=[
            (e.order_id, e.at, e.source, e.type, orjson.dumps(e.summary).decode()) for e in entries
        ],
    )


async def count_open(conn: Connection) -> list[tuple[str, int, datetime]]:
    rows = await conn.fetch(
        "SELECT state, count(*) AS count, min(received_at) AS oldest FROM orders "
        "WHERE ended_at IS NULL GROUP BY state"
    )
    return [(row["state"], row["count"], row["oldest"]) for row in rows]
