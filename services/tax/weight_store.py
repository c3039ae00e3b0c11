"""Tax's SQL about the weights of a person's year."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from services.tax.domain.ledger import EntryKind, PersonYear, Quota, Weight, WeightEntry
from shared.database import Connection


async def with_weights(
    conn: Connection, quotas: dict[PersonYear, Quota], keys: Collection[PersonYear]
) -> dict[PersonYear, Quota]:
    """These quotas, with the weights of those persons and years; the caller has locked their quotas, which guard the weights."""
    if not keys:
        return quotas
    rows = await conn.fetch(
        "SELECT w.person_ref, w.year, w.hs, w.reserved_mg, w.posted_mg FROM weight w JOIN unnest($1::uuid[], $2::int[]) AS u(p, y) "
        "ON w.person_ref = u.p AND w.year = u.y",
        [k.person_ref for k in keys], [k.year for k in keys],
    )  # fmt: skip
    found: dict[PersonYear, dict[str, Weight]] = {key: {} for key in keys}
    for row in rows:
        found[PersonYear(row["person_ref"], row["year"])][row["hs"]] = Weight(
            row["reserved_mg"], row["posted_mg"]
        )
    return {
        **quotas,
        **{
            key: quotas.get(key, Quota())._replace(weights=weights)
            for key, weights in found.items()
        },
    }


async def enter(conn: Connection, entries: Sequence[WeightEntry]) -> None:
    """Write the ledger and keep its balances in step, both by one statement; a balance is begun where there is none.

    As with quotas, an entry that is there already is a fault of ours and fails the batch.
    """
    if not entries:
        return
    begun = sorted({(*e.key, e.hs) for e in entries if e.kind is EntryKind.RESERVE})
    if begun:
        await conn.execute(
            "INSERT INTO weight (person_ref, year, hs, reserved_mg, posted_mg) SELECT p, y, h, 0, 0 "
            "FROM unnest($1::uuid[], $2::int[], $3::text[]) AS u(p, y, h) ON CONFLICT DO NOTHING",
            [person_ref for person_ref, _, _ in begun], [year for _, year, _ in begun], [hs for _, _, hs in begun],
        )  # fmt: skip
    await conn.execute(
        """WITH entered AS (
               INSERT INTO weight_entry (order_id, line_no, hs, kind, part, person_ref, year, amount_mg)
               SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::int[], $6::uuid[], $7::int[], $8::bigint[])
               RETURNING person_ref, year, hs, kind, amount_mg),
           change AS (
               SELECT person_ref, year, hs,
                   sum(CASE kind WHEN 'reserve' THEN amount_mg WHEN 'post' THEN -amount_mg WHEN 'void' THEN -amount_mg
                       ELSE 0 END) AS reserved,
                   sum(CASE kind WHEN 'post' THEN amount_mg WHEN 'restore' THEN -amount_mg ELSE 0 END) AS posted
               FROM entered GROUP BY person_ref, year, hs)
           UPDATE weight AS w SET reserved_mg = w.reserved_mg + c.reserved, posted_mg = w.posted_mg + c.posted
           FROM change c WHERE w.person_ref = c.person_ref AND w.year = c.year AND w.hs = c.hs""",
        [e.order_id for e in entries], [e.line_no for e in entries], [e.hs for e in entries], [e.kind for e in entries],
        [e.part for e in entries], [e.key.person_ref for e in entries], [e.key.year for e in entries],
        [e.amount_mg for e in entries],
    )  # fmt: skip
