"""`crossborder customs notices`: receipts about documents that others lodge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from services.cli.connect import as_json, database, print_err, run, stdout, target

if TYPE_CHECKING:
    from uuid import UUID

_NOTICES: Final = (
    "SELECT message_type, status, code, numbers, at FROM customs.notice WHERE ($1::text IS NULL "
    "OR message_type = $1) "
    "ORDER BY id DESC LIMIT $2"
)
_OF_NUMBERS: Final = (
    "SELECT message_type, status, code, numbers, at FROM customs.notice WHERE numbers @> "
    "ANY($1::jsonb[]) "
    "AND coalesce(numbers ->> 'ebpCode', $2) = $2 ORDER BY id DESC LIMIT $3"
)
_NUMBERS_OF_ORDER: Final = (
    "SELECT o.order_no, o.platform_code, p.payment_no, w.logistics_code, w.logistics_no FROM "
    "orders.orders o "
    "LEFT JOIN payments.payment p USING (order_id) LEFT JOIN customs.waybill_number w USING "
    "(order_id) WHERE o.order_id = $1"
)
OF_ORDER_MAX: Final = 100


def notices(
    order: str | None = typer.Option(
        None, "--order", help="only those of this order: its number or id, or a beginning of one"
    ),
    message: str | None = typer.Option(
        None, "--message", help="only those of this message, as CEB412"
    ),
    limit: int = typer.Option(
        50, "--limit", min=1, max=100_000, help="most notices, the newest first"
    ),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """List receipts about documents that were not lodged here.

    These are orders, payments, waybills, arrivals and deliveries.
    They change nothing and are kept as they arrived.
    """
    rows = run(_list(order, message.upper().removesuffix("MESSAGE") if message else None, limit))
    if json:
        as_json(rows)
        return
    from rich.table import Table

    table = Table("at", "message", "status", "code", "numbers", "meaning", box=None)
    for each in rows:
        numbers = "  ".join(f"{name}={value}" for name, value in each["numbers"].items())
        at = each["at"].isoformat(timespec="seconds")
        table.add_row(
            at, each["message_type"], each["status"], each["code"] or "", numbers, each["meaning"]
        )
    stdout().print(table)
    print_err(f"{len(rows)} notices")


async def _list(order_ref: str | None, message: str | None, limit: int) -> list[dict[str, Any]]:
    from services.cli.order.lookup import find

    async with database(target()) as conn:
        if order_ref is None:
            return _told(await conn.fetch(_NOTICES, message, limit))
        row = await find(conn, order_ref)
        rows = await of_order(conn, row["order_id"], limit)
    return [each for each in rows if message in (None, each["message_type"])]


async def of_order(conn: Any, order_id: UUID, limit: int = OF_ORDER_MAX) -> list[dict[str, Any]]:
    """Return notices about an order's documents that others lodge, newest first."""
    rows = await conn.fetch(_NUMBERS_OF_ORDER, order_id)
    ways = [way for row in rows for way in _ways(row)]
    return (
        _told(await conn.fetch(_OF_NUMBERS, ways, rows[0]["platform_code"], limit)) if ways else []
    )


def _ways(row: Mapping[str, Any]) -> list[dict[str, str]]:
    ways = [
        {"orderNo": row["order_no"]},
        {"payTransactionId": row["payment_no"]},
        {"logisticsCode": row["logistics_code"], "logisticsNo": row["logistics_no"]},
    ]
    return [way for way in ways if all(way.values())]


def _told(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    from services.customs.ceb import codes

    shown = []
    for row in rows:
        status = codes.find_status(row["status"])
        shown.append(
            {
                **dict(row),
                "meaning": status.meaning if status else "a status that is in no list here",
            }
        )
    return shown
