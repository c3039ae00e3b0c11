"""Tax's SQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from services.tax.domain.case import PersonYear, Quota, QuotaEntry, TaxCase, TaxState
from services.tax.domain.weights import LineWeight
from shared.database import Connection
from shared.events.tax import TaxAssessed
from shared.money import Money


async def lock(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, TaxCase]:
    """The cases of these orders, locked in one order; an order without one is not in the answer."""
    rows = await conn.fetch(
        "SELECT order_id, state, version, person_ref, year, regime, currency, reserved_minor, total_minor, weights FROM tax_case "
        "WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE",
        list(order_ids),
    )
    return {
        r["order_id"]: TaxCase(
            r["order_id"], TaxState(r["state"]), r["version"], r["person_ref"], r["year"], r["regime"],
            Money(r["reserved_minor"], r["currency"]), Money(r["total_minor"], r["currency"]),
            () if r["weights"] is None else tuple(LineWeight(*weight) for weight in json.loads(r["weights"])),
        )
        for r in rows
    }  # fmt: skip


async def assessments(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, TaxAssessed]:
    """The assessments of these orders as they were published."""
    if not order_ids:
        return {}
    rows = await conn.fetch(
        "SELECT order_id, assessment FROM tax_case WHERE order_id = ANY($1::uuid[]) AND assessment IS NOT NULL",
        list(order_ids),
    )
    return {row["order_id"]: TaxAssessed.model_validate_json(row["assessment"]) for row in rows}


async def lock_quotas(
    conn: Connection, drawn: Collection[PersonYear], held: Collection[PersonYear]
) -> dict[PersonYear, Quota]:
    """The quotas of these persons and years, locked in one order: those that orders draw on, made where they are missing,
    and those that orders hold something of, which are there.

    Made first, so that there is a row to lock: two replicas that meet a new person wait for one another.
    """
    if drawn:
        ordered = sorted(drawn)
        await conn.execute(
            "INSERT INTO quota (person_ref, year, reserved_minor, posted_minor) SELECT p, y, 0, 0 FROM unnest($1::uuid[], $2::int[]) "
            "AS u(p, y) ON CONFLICT DO NOTHING",
            [k.person_ref for k in ordered], [k.year for k in ordered],
        )  # fmt: skip
    keys = {*drawn, *held}
    if not keys:
        return {}
    rows = await conn.fetch(
        "SELECT q.person_ref, q.year, q.reserved_minor, q.posted_minor FROM quota q JOIN unnest($1::uuid[], $2::int[]) AS u(p, y) "
        "ON q.person_ref = u.p AND q.year = u.y ORDER BY q.person_ref, q.year FOR UPDATE OF q",
        [k.person_ref for k in keys], [k.year for k in keys],
    )  # fmt: skip
    return {
        PersonYear(r["person_ref"], r["year"]): Quota(r["reserved_minor"], r["posted_minor"])
        for r in rows
    }


async def save(
    conn: Connection,
    cases: Sequence[TaxCase],
    assessments: Mapping[UUID, str],
    records: Mapping[UUID, str],
) -> None:
    """Write the cases in one query; an assessment is kept as it was published, with what it came from, and never replaced."""
    if not cases:
        return
    await conn.execute(
        """INSERT INTO tax_case AS t (order_id, state, version, person_ref, year, regime, currency, reserved_minor, total_minor, assessment,
               assessed_from, weights)
           SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[], $4::uuid[], $5::int[], $6::text[], $7::text[], $8::bigint[],
               $9::bigint[], $10::jsonb[], $11::jsonb[], $12::jsonb[])
           ON CONFLICT (order_id) DO UPDATE SET state = excluded.state, version = excluded.version,
               reserved_minor = excluded.reserved_minor, total_minor = excluded.total_minor, weights = excluded.weights,
               assessment = coalesce(t.assessment, excluded.assessment),
               assessed_from = coalesce(t.assessed_from, excluded.assessed_from), updated_at = now()""",
        [c.order_id for c in cases], [c.state for c in cases], [c.version for c in cases], [c.person_ref for c in cases],
        [c.year for c in cases], [c.regime for c in cases], [c.total.currency for c in cases],
        [c.reserved.minor for c in cases], [c.total.minor for c in cases], [assessments.get(c.order_id) for c in cases],
        [records.get(c.order_id) for c in cases], [json.dumps(c.weights) if c.weights else None for c in cases],
    )  # fmt: skip


async def enter(conn: Connection, entries: Sequence[QuotaEntry]) -> None:
    """Write the ledger and keep its balances in step, both by one statement; the caller has locked the balances.

    An entry that is there already is a fault of ours and fails the batch: a quota is never changed twice for one reason.
    """
    if not entries:
        return
    await conn.execute(
        """WITH entered AS (
               INSERT INTO quota_entry (order_id, kind, part, person_ref, year, amount_minor)
               SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[], $4::uuid[], $5::int[], $6::bigint[])
               RETURNING person_ref, year, kind, amount_minor),
           change AS (
               SELECT person_ref, year,
                   sum(CASE kind WHEN 'reserve' THEN amount_minor WHEN 'post' THEN -amount_minor WHEN 'void' THEN -amount_minor
                       ELSE 0 END) AS reserved,
                   sum(CASE kind WHEN 'post' THEN amount_minor WHEN 'restore' THEN -amount_minor ELSE 0 END) AS posted
               FROM entered GROUP BY person_ref, year)
           UPDATE quota AS q SET reserved_minor = q.reserved_minor + c.reserved, posted_minor = q.posted_minor + c.posted
           FROM change c WHERE q.person_ref = c.person_ref AND q.year = c.year""",
        [e.order_id for e in entries], [e.kind for e in entries], [e.part for e in entries],
        [e.key.person_ref for e in entries], [e.key.year for e in entries], [e.amount_minor for e in entries],
    )  # fmt: skip


async def archive(conn: Connection, edition: str, files: str) -> None:
    """Keep the rule files of an edition, as JSON text by file name; one that is there stays as it is."""
    await conn.execute(
        "INSERT INTO rule_set (edition, files) VALUES ($1, $2::jsonb) ON CONFLICT DO NOTHING",
        edition,
        files,
    )
