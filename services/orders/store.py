"""Orders' SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from services.orders.domain.decisions import ENDED, Order
from services.orders.domain.external_states import BorderStatus, PaymentStatus, Stage, TaxStatus
from services.orders.domain.order import OpenReturn
from shared.database import Connection, copied
from shared.events.base import Fault
from shared.money import Money


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order as the table has it, and when it was first heard of."""

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


_COLUMNS: Final = (
    "order_id, order_no, platform_code, corridor, direction, mode, state, doc, version, currency, goods_value_minor, "
    "amount_paid_minor, placed_at, received_at"
)
_LOCK: Final = (
    f"SELECT {_COLUMNS} FROM orders WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE"  # noqa: S608
)
_LOCK_WITH_FINGERPRINT: Final = (
    f"SELECT {_COLUMNS}, fingerprint FROM orders LEFT JOIN submission USING (order_id) "  # noqa: S608
    "WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE OF orders"
)


async def lock(
    conn: Connection, order_ids: Collection[UUID], *, fingerprints: bool = False
) -> dict[UUID, StoredOrder]:
    """These orders, locked in one order; one that never came is not in the answer.

    Fingerprints are read only where a submission has to be compared.
    """
    rows = await conn.fetch(_LOCK_WITH_FINGERPRINT if fingerprints else _LOCK, list(order_ids))
    return {
        row["order_id"]: StoredOrder(_order(row, fingerprints=fingerprints), row["received_at"])
        for row in rows
    }


def _order(row: Mapping[str, Any], *, fingerprints: bool) -> Order:
    doc = orjson.loads(row["doc"])
    currency = row["currency"]
    return Order(
        order_id=row["order_id"], order_no=row["order_no"], platform_code=row["platform_code"], stage=Stage(row["state"]),
        version=row["version"], payment=PaymentStatus(doc["payment"]), tax=TaxStatus(doc["tax"]), border=BorderStatus(doc["border"]),
        towards=doc["towards"], reason=doc["reason"], faults=tuple(Fault.model_validate(f) for f in doc["faults"]),
        released=doc["released"], fulfilled=doc["fulfilled"], corridor=row["corridor"], direction=row["direction"],
        mode=row["mode"], placed_at=row["placed_at"],
        goods_value=Money(row["goods_value_minor"], currency) if currency else None,
        amount_paid=Money(row["amount_paid_minor"], currency) if currency else None,
        fingerprint=orjson.loads(row["fingerprint"] or "{}") if fingerprints else {}, **_of_returns(doc, currency),
    )  # fmt: skip


def _doc(order: Order) -> str:
    return orjson.dumps({
        "payment": order.payment, "tax": order.tax, "border": order.border, "towards": order.towards, "reason": order.reason,
        "faults": [fault.model_dump() for fault in order.faults], "released": order.released, "fulfilled": order.fulfilled,
        **_returns_doc(order),
    }).decode()  # fmt: skip


def _returns_doc(order: Order) -> dict[str, Any]:
    """What returns left behind: nothing for nearly every order, so that its document stays small."""
    found: dict[str, Any] = {}
    if order.refunded is not None:
        found |= {"refunded_minor": order.refunded.minor, "tax_kept": order.tax_kept}
    if (r := order.returning) is not None:
        found["returning"] = {
            "return_no": r.return_no, "in_time": r.in_time, "whole": r.whole, "goods_value_minor": r.goods_value.minor,
            "refunded_minor": None if r.refunded is None else r.refunded.minor,
            "tax_not_levied_minor": None if r.tax_not_levied is None else r.tax_not_levied.minor,
        }  # fmt: skip
    return found


def _of_returns(doc: Mapping[str, Any], currency: str) -> dict[str, Any]:
    if "refunded_minor" not in doc and "returning" not in doc:
        return {}

    def money(minor: int | None) -> Money | None:
        return None if minor is None else Money(minor, currency)

    r = doc.get("returning")
    returning = None
    if r is not None:
        returning = OpenReturn(
            r["return_no"], r["in_time"], r["whole"], Money(r["goods_value_minor"], currency), money(r["refunded_minor"]),
            money(r["tax_not_levied_minor"]),
        )  # fmt: skip
    return {
        "returning": returning,
        "refunded": money(doc.get("refunded_minor")),
        "tax_kept": doc.get("tax_kept", False),
    }


async def save(
    conn: Connection, orders: Sequence[tuple[Order, datetime]], printed: Collection[UUID] = ()
) -> None:
    """Write orders as submissions and commands leave them, each with the time of what changed it; a fingerprint once kept stays.

    `printed`: orders whose fingerprint was there when the caller locked them. It is not written again.
    """
    if not orders:
        return
    o = [order for order, _ in orders]
    at = [moment for _, moment in orders]
    await conn.execute(
        """INSERT INTO orders AS t (order_id, order_no, platform_code, corridor, direction, mode, state, doc, version,
               currency, goods_value_minor, amount_paid_minor, placed_at, received_at, updated_at, ended_at)
           SELECT i, n, p, c, d, m, s, j::json, v, cu, g, a, pl, u, u, e
           FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
               $9::int[], $10::text[], $11::bigint[], $12::bigint[], $13::timestamptz[], $14::timestamptz[], $15::timestamptz[])
               AS x(i, n, p, c, d, m, s, j, v, cu, g, a, pl, u, e)
           ON CONFLICT (order_id) DO UPDATE SET state = excluded.state, doc = excluded.doc, version = excluded.version,
               corridor = excluded.corridor, direction = excluded.direction, mode = excluded.mode, currency = excluded.currency,
               goods_value_minor = excluded.goods_value_minor, amount_paid_minor = excluded.amount_paid_minor,
               placed_at = excluded.placed_at, updated_at = excluded.updated_at,
               ended_at = CASE WHEN t.state = excluded.state THEN t.ended_at ELSE excluded.ended_at END""",
        [x.order_id for x in o], [x.order_no for x in o], [x.platform_code for x in o], [x.corridor for x in o],
        [x.direction for x in o], [x.mode for x in o], [x.stage for x in o], [_doc(x) for x in o], [x.version for x in o],
        [x.amount_paid.currency if x.amount_paid else None for x in o],
        [x.goods_value.minor if x.goods_value else None for x in o], [x.amount_paid.minor if x.amount_paid else None for x in o],
        [x.placed_at for x in o], at, [moment if x.stage in ENDED else None for x, moment in orders],
    )  # fmt: skip
    told = [
        (x.order_id, orjson.dumps(dict(x.fingerprint)))
        for x in o
        if x.fingerprint and x.order_id not in printed
    ]
    if told and not await copied(conn, "submission", ("order_id", "fingerprint"), told):
        await conn.execute(
            "INSERT INTO submission (order_id, fingerprint) SELECT * FROM unnest($1::uuid[], $2::bytea[]) ON CONFLICT DO NOTHING",
            *map(list, zip(*told, strict=True)),
        )


async def update_progress(conn: Connection, orders: Sequence[tuple[Order, datetime]]) -> None:
    """Write what a fact can change of orders that the caller has locked: no terms, which are as they were placed.

    An order has ended when it came to where it ended: what is heard of it afterwards does not move that.
    """
    if not orders:
        return
    o = [order for order, _ in orders]
    await conn.execute(
        """UPDATE orders AS t SET state = x.s, doc = x.j::json, version = x.v, updated_at = x.u,
               ended_at = CASE WHEN t.state = x.s THEN t.ended_at ELSE x.e END
           FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::timestamptz[], $6::timestamptz[]) AS x(i, s, j, v, u, e)
           WHERE t.order_id = x.i""",
        [x.order_id for x in o], [x.stage for x in o], [_doc(x) for x in o], [x.version for x in o],
        [moment for _, moment in orders], [moment if x.stage in ENDED else None for x, moment in orders],
    )  # fmt: skip


async def append_timeline(conn: Connection, moments: Sequence[TimelineEntry]) -> None:
    """Append to the timelines, in this order."""
    if not moments:
        return
    await conn.copy_records_to_table(
        "timeline", columns=("order_id", "at", "source", "type", "summary"),
        records=[(m.order_id, m.at, m.source, m.type, orjson.dumps(m.summary).decode()) for m in moments],
    )  # fmt: skip


async def count_open(conn: Connection) -> list[tuple[str, int, datetime]]:
    """Per state that is no end: how many orders, and when the oldest of them came."""
    rows = await conn.fetch(
        "SELECT state, count(*) AS count, min(received_at) AS oldest FROM orders WHERE ended_at IS NULL GROUP BY state"
    )
    return [(row["state"], row["count"], row["oldest"]) for row in rows]
