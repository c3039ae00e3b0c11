"""DOC."""

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
"""A carrier, the number of one of its waybills, and the order that it is for."""


async def correct_waybills(
    conn: Connection, later: Sequence[tuple[UUID, bytes]], given_up: Collection[Number]
) -> None:
    """Write waybills that take the place of others; the numbers (of which carrier, by which order) that are free with it."""
    if later:
        await conn.execute(
            "INSERT INTO later_waybill (order_id, doc) SELECT * FROM unnest($1::uuid[], $2::bytea[])",
            *map(list, zip(*later, strict=True)),
        )
    if given_up:
        await conn.execute(
            "DELETE FROM waybill_number AS w USING unnest($1::text[], $2::text[], $3::uuid[]) AS x(c, n, o) "
            "WHERE w.logistics_code = x.c AND w.logistics_no = x.n AND w.order_id = x.o",
            *map(list, zip(*sorted(given_up), strict=True)),
        )  # fmt: skip


async def note_numbers(conn: Connection, numbers: Sequence[Number]) -> None:
    """The first order whose waybill has a number holds it; sorted, so that two replicas wait for one another and never deadlock."""
    if numbers:
        await conn.execute(
            "INSERT INTO waybill_number (logistics_code, logistics_no, order_id) "
            "SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[]) ON CONFLICT DO NOTHING",
            *map(list, zip(*sorted(numbers, key=_NUMBER), strict=True)),
        )


async def claim_numbers(
    conn: Connection, wanted: Sequence[Number], live: Mapping[UUID, bool]
) -> set[UUID]:
    """Let orders that are about to be matched hold their numbers; returns those that may not: another live order holds it.

    An order is live once it is placed and until it is over; of those in hand the caller knows it by `live`.
    """
    if not wanted:
        return set()
    rows = await conn.fetch(
        "SELECT x.o, x.c, x.n, w.order_id AS holder, coalesce(d.state <> ALL($4::text[]) AND 'order' = ANY(d.present), false) AS is_live "
        "FROM unnest($1::text[], $2::text[], $3::uuid[]) AS x(c, n, o) "
        "LEFT JOIN waybill_number AS w ON w.logistics_code = x.c AND w.logistics_no = x.n "
        "LEFT JOIN declaration AS d ON d.order_id = w.order_id AND w.order_id <> x.o WHERE w.order_id IS DISTINCT FROM x.o",
        *map(list, zip(*wanted, strict=True)), list(OVER),
    )  # fmt: skip
    refused = set()
    for row in sorted(rows, key=itemgetter("c", "n")):
        holder = row["holder"]
        if holder is not None and live.get(holder, row["is_live"]):
            refused.add(row["o"])
            continue
        taken = await conn.fetchval(
            "INSERT INTO waybill_number AS w (logistics_code, logistics_no, order_id) VALUES ($1, $2, $3) "
            "ON CONFLICT (logistics_code, logistics_no) DO UPDATE SET order_id = excluded.order_id "
            "WHERE w.order_id IN ($3, $4) RETURNING order_id",
            row["c"], row["n"], row["o"], holder or row["o"],
        )  # fmt: skip
        refused |= set() if taken else {row["o"]}
    return refused


_NUMBER: Final = itemgetter(0, 1)
