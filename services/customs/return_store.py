"""DOC."""

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
    """The orders with a return applied for before then that is still open, the oldest first."""
    rows = await conn.fetch(
        "SELECT order_id FROM goods_return WHERE state IN ('asked', 'granted') AND applied_at < $1 AND order_id <> ALL "
        "(ARRAY(SELECT subject::uuid FROM aside WHERE source = 'returns' AND retry_at > now())) ORDER BY applied_at LIMIT $2",
        applied_before, most,
    )  # fmt: skip
    return [row["order_id"] for row in rows]


_PARTS: Final = TypeAdapter(tuple[ReturnPart, ...])


_LINES: Final = TypeAdapter(tuple[ReturnedLine, ...])


def read_return(row: Mapping[str, Any]) -> Return:
    return Return(
        row["return_no"], row["state"], _PARTS.validate_json(row["parts"]), row["refund_if_late"], row["applied_at"], row["pre_no"],
        row["back_at"], _LINES.validate_json(row["lines"]),
    )  # fmt: skip


async def save_returns(conn: Connection, found: Sequence[tuple[UUID, Return]]) -> None:
    """Write returns; what was asked for stays, what became of it is new."""
    if not found:
        return
    r = [each for _, each in found]
    await conn.execute(
        """INSERT INTO goods_return AS t (order_id, return_no, state, parts, refund_if_late, applied_at, pre_no, back_at, lines)
           SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::jsonb[], $5::bool[], $6::timestamptz[], $7::text[],
               $8::timestamptz[], $9::jsonb[])
           ON CONFLICT (order_id, return_no) DO UPDATE SET state = excluded.state, pre_no = excluded.pre_no,
               back_at = excluded.back_at, lines = excluded.lines""",
        [order_id for order_id, _ in found], [x.return_no for x in r], [x.state for x in r],
        [_PARTS.dump_json(x.parts).decode() for x in r], [x.refund_if_late for x in r], [x.applied_at for x in r],
        [x.pre_no for x in r], [x.back_at for x in r], [_LINES.dump_json(x.lines).decode() for x in r],
    )  # fmt: skip
