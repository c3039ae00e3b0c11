"""SQL for the numbers of waybills: customs takes each number of a carrier once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import Final
from uuid import UUID

from services.customs.domain.declaration import (
    OVER,
)
from shared.database import Connection

Number = tuple[str, str, UUID]
"""Carrier, waybill number, and the order it is for."""


async def correct_waybills(
    conn: Connection, later: Sequence[tuple[UUID, bytes]], given_up: Collection[Number]
) -> None:
    """Write waybills that replace stored ones, and release the numbers that are free now."""
    if later:
        await conn.execute(
            "INSERT INTO later_waybill (order_id, doc) SELECT * FROM unnest($1::uuid[], "
            "$2::bytea[])",
            *map(list, zip(*later, strict=True)),
        )
    if given_up:
        await conn.execute(
            "DELETE FROM waybill_number AS w USING unnest($1::text[], $2::text[], $3::uuid[]) AS "
            "x(logistics_code, logistics_no, order_id) WHERE w.logistics_code = x.logistics_code "
            "AND w.logistics_no = x.logistics_no AND w.order_id = x.order_id",
            *map(list, zip(*sorted(given_up), strict=True)),
        )


async def note_numbers(conn: Connection, numbers: Sequence[Number]) -> None:
    """Reserve numbers for the first order that uses them. Sorted, so that two replicas wait and
    never deadlock.
    """
    if numbers:
        await conn.execute(
            "INSERT INTO waybill_number (logistics_code, logistics_no, order_id) "
            "SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[]) ON CONFLICT DO NOTHING",
            *map(list, zip(*sorted(numbers, key=_NUMBER), strict=True)),
        )


async def claim_numbers(
    conn: Connection, wanted: Sequence[Number], live: Mapping[UUID, bool]
) -> set[UUID]:
    """Reserve numbers for orders about to be matched. Return the orders whose number another live
    order holds.

    An order is live from placement until it is over. `live` tells it for the orders in hand.
    """
    if not wanted:
        return set()
    rows = await conn.fetch(
        "SELECT x.*, w.order_id AS holder, coalesce(d.state <> ALL($4::text[]) AND "
        "'order' = ANY(d.present), false) AS is_live FROM unnest($1::text[], $2::text[], "
        "$3::uuid[]) AS x(logistics_code, logistics_no, order_id) LEFT JOIN waybill_number AS w "
        "ON w.logistics_code = x.logistics_code AND w.logistics_no = x.logistics_no "
        "LEFT JOIN declaration AS d ON d.order_id = w.order_id AND w.order_id <> x.order_id "
        "WHERE w.order_id IS DISTINCT FROM x.order_id",
        *map(list, zip(*wanted, strict=True)),
        list(OVER),
    )
    refused = set()
    for row in sorted(rows, key=itemgetter("logistics_code", "logistics_no")):
        holder = row["holder"]
        if holder is not None and live.get(holder, row["is_live"]):
            refused.add(row["order_id"])
            continue
        taken = await conn.fetchval(
            "INSERT INTO waybill_number AS w (logistics_code, logistics_no, order_id) VALUES ($1, "
            "$2, $3) ON CONFLICT (logistics_code, logistics_no) DO UPDATE SET order_id = "
            "excluded.order_id WHERE w.order_id IN ($3, $4) RETURNING order_id",
            row["logistics_code"],
            row["logistics_no"],
            row["order_id"],
            holder or row["order_id"],
        )
        refused |= set() if taken else {row["order_id"]}
    return refused


_NUMBER: Final = itemgetter(0, 1)
