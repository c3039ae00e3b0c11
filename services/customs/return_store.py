"""SQL for the returns of goods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter

from services.customs.domain.returns import Return
from shared.database import Connection
from shared.events.customs import ReturnedLine
from shared.events.orders import ReturnPart


async def list_open_returns(conn: Connection, applied_before: datetime, most: int) -> list[UUID]:
    rows = await conn.fetch(
        "SELECT order_id FROM goods_return WHERE state IN ('asked', 'granted') AND applied_at < "
        "$1 AND order_id <> ALL (ARRAY(SELECT subject::uuid FROM aside WHERE source = 'returns' "
        "AND retry_at > now())) ORDER BY applied_at LIMIT $2",
        applied_before,
        most,
    )
    return [row["order_id"] for row in rows]


_PARTS: Final = TypeAdapter(tuple[ReturnPart, ...])


_LINES: Final = TypeAdapter(tuple[ReturnedLine, ...])


def read_return(row: Mapping[str, Any]) -> Return:
    return Return(
        row["return_no"],
        row["state"],
        _PARTS.validate_json(row["parts"]),
        row["refund_if_late"],
        row["applied_at"],
        row["pre_no"],
        row["back_at"],
        _LINES.validate_json(row["lines"]),
    )


async def save_returns(conn: Connection, returns_of_orders: Sequence[tuple[UUID, Return]]) -> None:
    if not returns_of_orders:
        return
    rows = [_row(order_id, each) for order_id, each in returns_of_orders]
    await conn.execute(_SAVE, *map(list, zip(*rows, strict=True)))


def _row(order_id: UUID, each: Return) -> tuple[Any, ...]:
    return (
        order_id,
        each.return_no,
        each.state,
        _PARTS.dump_json(each.parts).decode(),
        each.refund_if_late,
        each.applied_at,
        each.pre_no,
        each.back_at,
        _LINES.dump_json(each.lines).decode(),
    )


_SAVE: Final = """
    INSERT INTO goods_return AS t (
        order_id, return_no, state, parts, refund_if_late, applied_at, pre_no, back_at, lines)
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::jsonb[], $5::bool[],
        $6::timestamptz[], $7::text[], $8::timestamptz[], $9::jsonb[])
    ON CONFLICT (order_id, return_no) DO UPDATE SET state = excluded.state,
        pre_no = excluded.pre_no, back_at = excluded.back_at, lines = excluded.lines"""
