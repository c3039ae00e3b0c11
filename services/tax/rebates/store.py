"""Tax's SQL for rebate claims."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from services.tax.rebates.domain import Before, Claim, Line, Prepared
from shared.database import Connection


async def lock_claims(conn: Connection) -> None:
    """One claim is prepared at a time: until the transaction ends no other takes lines or invoices."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('tax.rebate_claim', 0))")


async def load_before(
    conn: Connection, lists: Collection[str], invoices: Collection[str]
) -> Before:
    """What earlier claims took of these lists and invoices, and how many claims each merchant's month has."""
    lines = await conn.fetch(
        "SELECT list_no, line_no, claim FROM tax.rebate_line WHERE list_no = ANY($1::text[])",
        list(lists),
    )
    used = await conn.fetch(
        "SELECT invoice_no, sku, sum(quantity) AS quantity FROM tax.rebate_invoice WHERE invoice_no = ANY($1::text[]) "
        "GROUP BY invoice_no, sku",
        list(invoices),
    )
    claims = await conn.fetch(
        "SELECT merchant_code, month, max(sequence) AS sequence FROM tax.rebate_claim GROUP BY merchant_code, month"
    )
    return Before(
        {Line(r["list_no"], r["line_no"]): r["claim"] for r in lines},
        {(r["invoice_no"], r["sku"]): r["quantity"] for r in used},
        {(r["merchant_code"], r["month"]): r["sequence"] for r in claims},
    )


async def save(conn: Connection, prepared: Prepared, edition: str) -> None:
    """Write new claims in three queries; a line that is claimed already fails them all."""
    claims = prepared.claims
    if not claims:
        return
    await conn.execute(
        "INSERT INTO tax.rebate_claim (number, merchant_code, month, sequence, refund_minor, edition) "
        "SELECT *, $6::text FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[])",
        [c.number for c in claims], [c.merchant for c in claims], [c.month for c in claims], [c.sequence for c in claims],
        [c.refund.minor for c in claims], edition,
    )  # fmt: skip
    await _save_lines(conn, claims)
    uses = [(line.line, use) for claim in claims for line in claim.lines for use in line.uses]
    await conn.execute(
        "INSERT INTO tax.rebate_invoice (list_no, line_no, invoice_no, sku, quantity, taxable_minor) "
        "SELECT * FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::numeric[], $6::bigint[])",
        [key.list_no for key, _ in uses], [key.line_no for key, _ in uses], [use.number for _, use in uses],
        [use.sku for _, use in uses], [use.quantity for _, use in uses], [use.taxable.minor for _, use in uses],
    )  # fmt: skip


async def _save_lines(conn: Connection, claims: Sequence[Claim]) -> None:
    lines = [(claim.number, line) for claim in claims for line in claim.lines]
    await conn.execute(
        "INSERT INTO tax.rebate_line (list_no, line_no, claim, declaration, declaration_line, hs_code, quantity, unit, basis_minor, "
        "rate, refund_minor, rules) SELECT a, b, c, d, l, e, f, g, h, i, j, string_to_array(k, ',') "
        "FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::text[], $6::numeric[], $7::text[], $8::bigint[], "
        "$9::numeric[], $10::bigint[], $11::text[], $12::int[]) AS u(a, b, c, d, e, f, g, h, i, j, k, l)",
        [x.line.list_no for _, x in lines], [x.line.line_no for _, x in lines], [number for number, _ in lines],
        [x.declared.entry_id for _, x in lines], [x.hs_code for _, x in lines], [x.quantity for _, x in lines],
        [x.unit for _, x in lines], [x.basis.minor for _, x in lines], [x.rate for _, x in lines],
        [x.refund.minor for _, x in lines], [",".join(x.rules) for _, x in lines],
        [x.declared.line for _, x in lines],
    )  # fmt: skip


async def list_claims(conn: Connection) -> list[dict[str, Any]]:
    """Every claim with its numbers of lines and of declarations, the newest first."""
    rows = await conn.fetch(
        "SELECT c.number, c.merchant_code AS merchant, c.month, c.refund_minor, c.edition, c.prepared_at, "
        "l.lines, l.declarations FROM tax.rebate_claim c, LATERAL (SELECT count(*) AS lines, "
        "count(DISTINCT declaration) AS declarations FROM tax.rebate_line WHERE claim = c.number) l ORDER BY c.prepared_at DESC, c.number"
    )
    return [dict(row) for row in rows]
