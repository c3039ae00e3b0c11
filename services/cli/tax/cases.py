"""`crossborder tax cases …`: tax bills that a person must look at, and the person's decision."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

import typer

from services.cli.connect import (
    Exit,
    UsageError,
    as_json,
    database,
    exit_with,
    print_err,
    run,
    stdout,
    target,
)
from services.cli.id_prefixes import order_of

cases = typer.Typer(no_args_is_help=True, help="Tax bills that a person must look at.")

VERDICTS: Final = {
    "accept": "the bill is right: the buyer gets back what was withheld too much, the merchant "
    "owes what was withheld too little",
    "bear": "the bill is right and the house bears the difference",
    "close": "there is nothing to do, or it was done elsewhere",
}
OF_FAR_OFF: Final = ("accept", "bear")
"""The verdicts on a far-off bill. Closing its case would leave the bill unpaid for ever."""

_CASES: Final = (
    "SELECT o.order_no, k.order_id, k.reason, k.opened_at, k.verdict, k.note, k.closed_at, "
    "b.tax_no, b.state, b.currency, "
    "b.withheld_minor, b.assessed_minor, b.billed_minor FROM tax.bill_case k LEFT JOIN "
    "tax.tax_bill b USING (order_id) "
    "LEFT JOIN orders.orders o ON o.order_id = k.order_id "
)


@cases.command("list")
def list_(
    everything: bool = typer.Option(False, "--all", help="closed ones too"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """List the cases that wait for a person, the oldest first."""
    rows = run(_list(everything=everything))
    if json:
        as_json(rows)
        return
    from rich.table import Table

    table = Table(
        "order_no",
        "reason",
        "tax bill",
        "withheld",
        "assessed",
        "billed",
        "since",
        "verdict",
        box=None,
    )
    for row in rows:
        amounts = [row[name] or "" for name in ("withheld", "assessed", "billed")]
        table.add_row(
            row["order_no"],
            row["reason"],
            row["tax_no"] or "none",
            *amounts,
            row["opened_at"],
            row["verdict"] or "",
        )
    stdout().print(table)
    print_err(
        f"{len(rows)} cases; `crossborder tax cases settle NO_OR_ID {'|'.join(VERDICTS)} --note …`"
    )


@cases.command()
def settle(
    order_ref: str = typer.Argument(
        ..., metavar="NO_OR_ID", help="the order's number or id, or a beginning of one"
    ),
    verdict: str = typer.Argument(
        ..., help=", ".join(f"{name}: {says}" for name, says in VERDICTS.items())
    ),
    note: str = typer.Option(
        ..., "--note", help="why, for whoever looks later; no personal particulars"
    ),
    reason: str | None = typer.Option(
        None, "--reason", help="which case, where the order has several"
    ),
) -> None:
    """Decide a case. The tax service acts on it within a second or two; a case is decided once."""
    if verdict not in VERDICTS:
        raise UsageError(f"choose a verdict of {', '.join(VERDICTS)}: {verdict!r} is none")
    if not note.strip():
        raise UsageError("--note: say why in a few words")
    outcome = run(_settle(order_ref, verdict, note.strip(), reason))
    print_err(f"{outcome} {order_ref}")
    if outcome != "decided":
        exit_with(Exit.NO)


async def _list(*, everything: bool) -> list[dict[str, Any]]:
    query = (
        _CASES
        + ("" if everything else "WHERE k.closed_at IS NULL ")
        + "ORDER BY k.opened_at, k.order_id"
    )
    async with database(target()) as conn:
        return [_row(dict(row)) for row in await conn.fetch(query)]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    from shared.money import Money

    currency = row.pop("currency")
    for name in ("withheld", "assessed", "billed"):
        minor = row.pop(f"{name}_minor")
        row[name] = None if minor is None else str(Money(minor, currency))
    times = {
        name: value.isoformat(timespec="seconds")
        for name, value in row.items()
        if isinstance(value, datetime)
    }
    return row | times | {"order_id": str(row["order_id"]), "currency": currency}


async def _settle(
    order_ref: str, verdict: str, note: str, reason: str | None
) -> Literal["decided", "no open case of", "already decided:"]:
    """Write a verdict; raises UsageError if the case is ambiguous or the verdict does not fit
    it."""
    async with database(target(), write=True) as conn, conn.transaction():
        rows = await conn.fetch(
            "SELECT k.order_id, k.reason, k.verdict FROM tax.bill_case k "
            "WHERE k.order_id = $1 AND k.closed_at IS NULL AND ($2::text IS NULL OR k.reason = "
            "$2) FOR UPDATE OF k",
            await order_of(conn, order_ref, to_change=True),
            reason,
        )
        if len(rows) > 1:
            raise UsageError(
                f"name the case by --reason: {order_ref} has "
                f"{', '.join(sorted(row['reason'] for row in rows))}"
            )
        if not rows:
            return "no open case of"
        row = rows[0]
        if row["verdict"] is not None:
            return "already decided:"
        if (row["reason"] == "far_off") != (verdict in OF_FAR_OFF):
            fitting = OF_FAR_OFF if row["reason"] == "far_off" else ("close",)
            raise UsageError(f"choose {' or '.join(fitting)}: the case is {row['reason']}")
        await conn.execute(
            "UPDATE tax.bill_case SET verdict = $3, note = $4, decided_at = now() WHERE order_id "
            "= $1 AND reason = $2",
            row["order_id"],
            row["reason"],
            verdict,
            note,
        )
    return "decided"
