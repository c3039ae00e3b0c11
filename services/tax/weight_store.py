"""Tax's SQL about the weights of a person's year."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from services.tax.domain.ledger import EntryKind, PersonYear, Quota, Weight, WeightEntry
from shared.database import Connection


async def with_weights(
    conn: Connection, quotas: dict[PersonYear, Quota], keys: Collection[PersonYear]
) -> dict[PersonYear, Quota]:
    """Return these quotas with the weights of those persons and years.

    The caller has locked the quotas, which guard the weights too.
    """
    if not keys:
        return quotas
    rows = await conn.fetch(
        "SELECT w.person_ref, w.year, w.hs, w.reserved_mg, w.posted_mg FROM weight w "
        "JOIN unnest($1::uuid[], $2::int[]) AS u(person_ref, year) "
        "ON w.person_ref = u.person_ref AND w.year = u.year",
        [key.person_ref for key in keys],
        [key.year for key in keys],
    )
    by_person: dict[PersonYear, dict[str, Weight]] = {key: {} for key in keys}
    for row in rows:
        by_person[PersonYear(row["person_ref"], row["year"])][row["hs"]] = Weight(
            row["reserved_mg"], row["posted_mg"]
        )
    return {
        **quotas,
        **{
            key: quotas.get(key, Quota())._replace(weights=weights)
            for key, weights in by_person.items()
        },
    }


_ENTER: Final = """
WITH entered AS (
    INSERT INTO weight_entry (order_id, line_no, hs, kind, part, person_ref, year, amount_mg)
    SELECT * FROM unnest(
        $1::uuid[], $2::int[], $3::text[], $4::text[], $5::int[], $6::uuid[], $7::int[],
        $8::bigint[])
    RETURNING person_ref, year, hs, kind, amount_mg),
change AS (
    SELECT person_ref, year, hs,
        sum(CASE kind WHEN 'reserve' THEN amount_mg WHEN 'post' THEN -amount_mg
            WHEN 'void' THEN -amount_mg ELSE 0 END) AS reserved,
        sum(CASE kind WHEN 'post' THEN amount_mg WHEN 'restore' THEN -amount_mg
            ELSE 0 END) AS posted
    FROM entered GROUP BY person_ref, year, hs)
UPDATE weight AS w
SET reserved_mg = w.reserved_mg + c.reserved, posted_mg = w.posted_mg + c.posted
FROM change c WHERE w.person_ref = c.person_ref AND w.year = c.year AND w.hs = c.hs
"""


async def enter(conn: Connection, entries: Sequence[WeightEntry]) -> None:
    """Write the ledger and its balances in one statement; create a balance where there is none.

    As with quotas, an entry that exists already fails the batch.
    """
    if not entries:
        return
    await _create_balances(conn, entries)
    rows = [(e.order_id, e.line_no, e.hs, e.kind, e.part, *e.key, e.amount_mg) for e in entries]
    await conn.execute(_ENTER, *map(list, zip(*rows, strict=True)))


async def _create_balances(conn: Connection, entries: Sequence[WeightEntry]) -> None:
    keys = sorted({(*e.key, e.hs) for e in entries if e.kind is EntryKind.RESERVE})
    if keys:
        await conn.execute(
            "INSERT INTO weight (person_ref, year, hs, reserved_mg, posted_mg) "
            "SELECT person_ref, year, hs, 0, 0 "
            "FROM unnest($1::uuid[], $2::int[], $3::text[]) AS u(person_ref, year, hs) "
            "ON CONFLICT DO NOTHING",
            *map(list, zip(*keys, strict=True)),
        )
