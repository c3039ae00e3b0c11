"""Tax's SQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from services.tax.domain.case import TaxCase, TaxState
from services.tax.domain.ledger import PersonYear, Quota, QuotaEntry
from services.tax.domain.weights import LineWeight
from shared.database import Connection
from shared.events.tax import TaxAssessed
from shared.money import Money


async def lock(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, TaxCase]:
    """Lock and return the cases of these orders, in one order; orders without a case are left
    out."""
    rows = await conn.fetch(
        "SELECT order_id, state, version, person_ref, year, regime, currency, reserved_minor, "
        "total_minor, weights FROM tax_case WHERE order_id = ANY($1::uuid[]) "
        "ORDER BY order_id FOR UPDATE",
        list(order_ids),
    )
    return {row["order_id"]: _case(row) for row in rows}


def _case(row: Mapping[str, Any]) -> TaxCase:
    weights = () if row["weights"] is None else json.loads(row["weights"])
    return TaxCase(
        order_id=row["order_id"],
        state=TaxState(row["state"]),
        version=row["version"],
        person_ref=row["person_ref"],
        year=row["year"],
        regime=row["regime"],
        reserved=Money(row["reserved_minor"], row["currency"]),
        total=Money(row["total_minor"], row["currency"]),
        weights=tuple(LineWeight(*weight) for weight in weights),
    )


async def assessments(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, TaxAssessed]:
    if not order_ids:
        return {}
    rows = await conn.fetch(
        "SELECT order_id, assessment FROM tax_case "
        "WHERE order_id = ANY($1::uuid[]) AND assessment IS NOT NULL",
        list(order_ids),
    )
    return {row["order_id"]: TaxAssessed.model_validate_json(row["assessment"]) for row in rows}


async def lock_quotas(
    conn: Connection, drawn: Collection[PersonYear], held: Collection[PersonYear]
) -> dict[PersonYear, Quota]:
    """Lock and return the quotas of these persons and years, in one order.

    Quotas that orders draw on are created where they are missing. Quotas that orders already hold
    exist. The rows are created first, so that two replicas that meet a new person wait for each
    other.
    """
    if drawn:
        ordered = sorted(drawn)
        await conn.execute(
            "INSERT INTO quota (person_ref, year, reserved_minor, posted_minor) "
            "SELECT person_ref, year, 0, 0 "
            "FROM unnest($1::uuid[], $2::int[]) AS u(person_ref, year) ON CONFLICT DO NOTHING",
            [key.person_ref for key in ordered],
            [key.year for key in ordered],
        )
    keys = {*drawn, *held}
    if not keys:
        return {}
    rows = await conn.fetch(
        "SELECT q.person_ref, q.year, q.reserved_minor, q.posted_minor FROM quota q "
        "JOIN unnest($1::uuid[], $2::int[]) AS u(person_ref, year) "
        "ON q.person_ref = u.person_ref AND q.year = u.year "
        "ORDER BY q.person_ref, q.year FOR UPDATE OF q",
        [key.person_ref for key in keys],
        [key.year for key in keys],
    )
    return {
        PersonYear(r["person_ref"], r["year"]): Quota(r["reserved_minor"], r["posted_minor"])
        for r in rows
    }


_SAVE: Final = """
INSERT INTO tax_case AS t (
    order_id, state, version, person_ref, year, regime, currency, reserved_minor, total_minor,
    assessment, assessed_from, weights)
SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::int[], $4::uuid[], $5::int[], $6::text[], $7::text[], $8::bigint[],
    $9::bigint[], $10::jsonb[], $11::jsonb[], $12::jsonb[])
ON CONFLICT (order_id) DO UPDATE SET
    state = excluded.state, version = excluded.version,
    reserved_minor = excluded.reserved_minor, total_minor = excluded.total_minor,
    weights = excluded.weights, assessment = coalesce(t.assessment, excluded.assessment),
    assessed_from = coalesce(t.assessed_from, excluded.assessed_from), updated_at = now()
"""


async def save(
    conn: Connection,
    cases: Sequence[TaxCase],
    assessments: Mapping[UUID, str],
    records: Mapping[UUID, str],
) -> None:
    """Write the cases in one query; an assessment and its inputs are never replaced once
    written."""
    if not cases:
        return
    rows = [_row(c, assessments.get(c.order_id), records.get(c.order_id)) for c in cases]
    await conn.execute(_SAVE, *map(list, zip(*rows, strict=True)))


def _row(case: TaxCase, assessment: str | None, record: str | None) -> tuple[object, ...]:
    """Return a case's columns in the order of _SAVE."""
    weights = json.dumps(case.weights) if case.weights else None
    return (
        *(case.order_id, case.state, case.version, case.person_ref, case.year, case.regime),
        *(case.total.currency, case.reserved.minor, case.total.minor),
        *(assessment, record, weights),
    )


_ENTER: Final = """
WITH entered AS (
    INSERT INTO quota_entry (order_id, kind, part, person_ref, year, amount_minor)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[], $4::uuid[], $5::int[], $6::bigint[])
    RETURNING person_ref, year, kind, amount_minor),
change AS (
    SELECT person_ref, year,
        sum(CASE kind WHEN 'reserve' THEN amount_minor WHEN 'post' THEN -amount_minor
            WHEN 'void' THEN -amount_minor ELSE 0 END) AS reserved,
        sum(CASE kind WHEN 'post' THEN amount_minor WHEN 'restore' THEN -amount_minor
            ELSE 0 END) AS posted
    FROM entered GROUP BY person_ref, year)
UPDATE quota AS q
SET reserved_minor = q.reserved_minor + c.reserved, posted_minor = q.posted_minor + c.posted
FROM change c WHERE q.person_ref = c.person_ref AND q.year = c.year
"""


async def enter(conn: Connection, entries: Sequence[QuotaEntry]) -> None:
    """Write the ledger and its balances in one statement; the caller has locked the balances.

    An entry that exists already fails the batch: a quota never changes twice for one reason.
    """
    if not entries:
        return
    rows = [(e.order_id, e.kind, e.part, *e.key, e.amount_minor) for e in entries]
    await conn.execute(_ENTER, *map(list, zip(*rows, strict=True)))


async def archive(conn: Connection, edition: str, files: str) -> None:
    """Keep the rule files of an edition, as JSON text by file name; an existing edition stays as it
    is."""
    await conn.execute(
        "INSERT INTO rule_set (edition, files) VALUES ($1, $2::jsonb) ON CONFLICT DO NOTHING",
        edition,
        files,
    )
