"""The outcome of a run: money by currency, tax by regime, declarations by message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

SECTIONS: Final = {
    "money": (
        "payments.payment",
        (
            "SELECT currency, count(*) FILTER (WHERE captured_minor > 0) AS captures, "
            "sum(captured_minor)::bigint AS captured_minor, "
            "sum(refunded_minor)::bigint AS refunded_minor, "
            "coalesce(sum(captured_minor) FILTER (WHERE state = 'settled'), 0)::bigint AS "
            "settled_minor "
            "FROM payments.payment WHERE currency IS NOT NULL GROUP BY currency ORDER BY currency"
        ),
    ),
    "tax": (
        "tax.tax_case",
        (
            "SELECT coalesce(regime, '-') AS regime, currency, state, count(*) AS orders, "
            "sum(total_minor)::bigint AS total_minor "
            "FROM tax.tax_case GROUP BY regime, currency, state ORDER BY regime, state"
        ),
    ),
    "tax bills": (
        "payments.tax_due",
        (
            "SELECT currency, state, outcome, count(*) AS bills, sum(withheld_minor)::bigint AS "
            "withheld_minor, "
            "sum(billed_minor)::bigint AS billed_minor "
            "FROM payments.tax_due GROUP BY currency, state, outcome ORDER BY currency, state, "
            "outcome"
        ),
    ),
    "declarations": (
        "customs.batch",
        (
            "SELECT message_type AS message, count(*) AS batches, sum(lists)::bigint AS lists, "
            "max(lists) AS "
            "largest "
            "FROM customs.batch GROUP BY message_type ORDER BY message_type"
        ),
    ),
    "lists": (
        "customs.declaration",
        "SELECT state, count(*) AS lists FROM customs.declaration GROUP BY state ORDER BY state",
    ),
    "consolidation": (
        "customs.summary",
        (
            "SELECT s.state, count(*) AS requests, sum(s.lists)::bigint AS lists, "
            "sum(d.declarations)::bigint AS declarations, "
            "sum(d.lines)::bigint AS declared_lines FROM customs.summary s LEFT JOIN LATERAL "
            "(SELECT count(DISTINCT x.decl_seq_no) "
            "AS declarations, count(DISTINCT (l.decl_seq_no, l.declared_line)) AS lines FROM "
            "customs.summary_declaration x "
            "LEFT JOIN customs.summary_line l USING (decl_seq_no) WHERE x.sum_no = s.sum_no) d "
            "ON true GROUP BY s.state ORDER BY s.state"
        ),
    ),
    "receipts": (
        "customs.receipt",
        (
            "SELECT status, count(*) AS receipts, count(*) FILTER (WHERE NOT followed) AS "
            "changed_nothing "
            "FROM customs.receipt GROUP BY status ORDER BY status"
        ),
    ),
}
"""By title the table and the query; amounts in minor units end in `_minor`."""


def end_of(seconds: float, home: Path, *, well: bool, keeps_running: bool) -> list[str]:
    here = f"CROSSBORDER_HOME={home} crossborder"
    lines = [f"{'done' if well else 'NOT as expected'} in {seconds:.0f} s"]
    if keeps_running:
        lines.append(f"next: `{here} order list` shows the orders, `{here} down` stops the stack")
    elif well:
        lines.append("next: `crossborder up --detach`, then `crossborder publish --follow`")
    else:
        lines.append(
            f"next: `crossborder demo --keep` leaves the stack up; logs are in {home / 'logs'}"
        )
    return lines


async def of_run(conn: Any) -> dict[str, list[dict[str, Any]]]:
    """Return every section whose table exists; amounts are decimal strings in major units."""
    sections = {}
    for title, (table, query) in SECTIONS.items():
        if await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
            sections[title] = [_majors(dict(row)) for row in await conn.fetch(query)]
    return sections


def _majors(row: Mapping[str, Any]) -> dict[str, Any]:
    from services.cli.order.lookup import major

    return {
        k.removesuffix("_minor"): major(v, row.get("currency")) if k.endswith("_minor") else v
        for k, v in row.items()
    }


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    from rich.table import Table

    page = Table(*(rows[0] if rows else ("",)), title=title, title_justify="left", box=None)
    for row in rows:
        page.add_row(*("" if v is None else str(v) for v in row.values()))
    return page
