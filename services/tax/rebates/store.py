"""Tax's SQL for rebate claims."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from services.tax.rebates.domain import ClaimedLine, EarlierClaims, LineKey, PreparedClaims
from shared.database import Connection


async def lock_claims(conn: Connection) -> None:
    """Let one transaction at a time prepare a claim: no other takes lines or invoices meanwhile."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('tax.rebate_claim', 0))")


async def load_before(
    conn: Connection, lists: Collection[str], invoices: Collection[str]
) -> EarlierClaims:
    """Return what earlier claims took of these lists and invoices, and the claims of each
    merchant's month."""
    lines = await conn.fetch(
        "SELECT list_no, line_no, claim FROM tax.rebate_line WHERE list_no = ANY($1::text[])",
        list(lists),
    )
    used = await conn.fetch(
        "SELECT invoice_no, sku, sum(quantity) AS quantity FROM tax.rebate_invoice WHERE "
        "invoice_no = ANY($1::text[]) "
        "GROUP BY invoice_no, sku",
        list(invoices),
    )
    claims = await conn.fetch(
        "SELECT merchant_code, month, max(sequence) AS sequence FROM tax.rebate_claim GROUP BY "
        "merchant_code, month"
    )
    return EarlierClaims(
        {LineKey(r["list_no"], r["line_no"]): r["claim"] for r in lines},
        {(r["invoice_no"], r["sku"]): r["quantity"] for r in used},
        {(r["merchant_code"], r["month"]): r["sequence"] for r in claims},
    )


async def save(conn: Connection, prepared: PreparedClaims, edition: str) -> None:
    """Write new claims in three queries; a line that is claimed already fails all of them."""
    claims = prepared.claims
    if not claims:
        return
    heads = [(c.number, c.merchant, c.month, c.sequence, c.refund.minor) for c in claims]
    await conn.execute(
        "INSERT INTO tax.rebate_claim "
        "(number, merchant_code, month, sequence, refund_minor, edition) SELECT *, $6::text "
        "FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[])",
        *map(list, zip(*heads, strict=True)),
        edition,
    )
    lines = [(claim.number, line) for claim in claims for line in claim.lines]
    await _save_lines(conn, lines)
    uses = [
        (*line.line, use.number, use.sku, use.quantity, use.taxable.minor)
        for _, line in lines
        for use in line.uses
    ]
    if uses:
        await conn.execute(
            "INSERT INTO tax.rebate_invoice "
            "(list_no, line_no, invoice_no, sku, quantity, taxable_minor) SELECT * FROM unnest("
            "$1::text[], $2::int[], $3::text[], $4::text[], $5::numeric[], $6::bigint[])",
            *map(list, zip(*uses, strict=True)),
        )


_SAVE_LINES: Final = """
INSERT INTO tax.rebate_line (
    list_no, line_no, claim, declaration, declaration_line, hs_code, quantity, unit, basis_minor,
    rate, refund_minor, rules)
SELECT list_no, line_no, claim, declaration, declaration_line, hs_code, quantity, unit,
    basis_minor, rate, refund_minor, string_to_array(rules, ',')
FROM unnest(
    $1::text[], $2::int[], $3::text[], $4::text[], $5::int[], $6::text[], $7::numeric[], $8::text[],
    $9::bigint[], $10::numeric[], $11::bigint[], $12::text[])
AS u(list_no, line_no, claim, declaration, declaration_line, hs_code, quantity, unit, basis_minor,
    rate, refund_minor, rules)
"""


async def _save_lines(conn: Connection, lines: Sequence[tuple[str, ClaimedLine]]) -> None:
    rows = [
        (
            *(*line.line, claim, line.declared.entry_id, line.declared.line, line.hs_code),
            *(line.quantity, line.unit, line.basis.minor, line.rate, line.refund.minor),
            ",".join(line.rules),
        )
        for claim, line in lines
    ]
    await conn.execute(_SAVE_LINES, *map(list, zip(*rows, strict=True)))


async def list_claims(conn: Connection) -> list[dict[str, Any]]:
    rows = await conn.fetch(
        "SELECT c.number, c.merchant_code AS merchant, c.month, c.refund_minor, c.edition, "
        "c.prepared_at, "
        "l.lines, l.declarations FROM tax.rebate_claim c, LATERAL (SELECT count(*) AS lines, "
        "count(DISTINCT declaration) AS declarations FROM tax.rebate_line WHERE claim = c.number) "
        "l ORDER BY c.prepared_at DESC, c.number"
    )
    return [dict(row) for row in rows]
