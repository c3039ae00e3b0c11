"""`crossborder tax rebate …`: claims for the refund of VAT on exports."""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

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
from services.cli.tax.rebate_files import invoices_of, lists_in, lists_of
from services.cli.tax.rule_options import RulesFolder
from services.tax.exports.decisions import ExportBook
from services.tax.exports.domain import Merchants
from services.tax.exports.files import load_exports, load_merchants
from services.tax.rebates.domain import Claim, ClaimedLine, PreparedClaims, prepare
from services.tax.rebates.invoices import Invoice
from services.tax.rebates.lists import ReleasedList
from services.tax.rulebook.files import RULES
from shared.money import Money

rebate = typer.Typer(
    no_args_is_help=True, help="Claims for the refund of VAT on exports, by merchant and month."
)


Month = Annotated[
    str, typer.Option(help="The calendar month of the release, Beijing time, as 2026-10.")
]
InvoicesFile = Annotated[
    Path, typer.Option(help="Lines of VAT special invoices as JSON lines, the oldest first.")
]
MerchantsFile = Annotated[Path, typer.Option(help="Facts of each exporter, by date (TOML).")]
ListsFile = Annotated[
    Path | None,
    typer.Argument(
        help="Released export lists as JSON lines; those of the running stack if not given."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing: show the claims only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Claims, and the lines left out, as JSON.")]


@rebate.command("prepare")
def prepare_(
    month: Month,
    invoices: InvoicesFile,
    merchants: MerchantsFile,
    file: ListsFile = None,
    rules: RulesFolder = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Prepare the claims of a month, of lines in closed consolidated declarations.

    A line is claimed once: from a stack claims are stored, and a second run adds none. Exit status
    1: there is nothing to claim and nothing was claimed before.
    """
    first = _first_of(month)
    book, exporters, bought = (
        load_exports(rules or RULES),
        load_merchants(merchants),
        invoices_of(invoices),
    )
    if file is None:
        prepared = run(_over_stack(first, bought, exporters, book, write=not dry_run))
    else:
        prepared = _prepared(lists_of(file), month, bought, exporters, book)
    if json:
        as_json(_document(prepared, book))
    else:
        _show(prepared, is_stored=file is None and not dry_run)
    if not prepared.claims and not prepared.already:
        exit_with(Exit.NO)


@rebate.command("list")
def list_(json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """List the stored claims of the stack, the newest first."""
    rows = run(_list())
    if json:
        as_json(rows)
        return
    from rich.table import Table

    table = Table(
        "claim", "merchant", "month", "lines", "refund CNY", "declarations", "prepared", box=None
    )
    for row in rows:
        names = ("number", "merchant", "month", "lines", "refund", "declarations", "prepared_at")
        table.add_row(*[str(row[name]) for name in names])
    stdout().print(table)


def _first_of(month: str) -> date:
    if re.fullmatch(r"20[0-9]{2}-(0[1-9]|1[0-2])", month) is None or month < "2014":
        raise UsageError(f"--month: {month!r} is not a month like 2026-10, from 2014 on")
    return date(int(month[:4]), int(month[5:]), 1)


def _prepared(
    lists: list[ReleasedList],
    month: str,
    invoices: list[Invoice],
    exporters: Merchants,
    book: ExportBook,
    *before: Any,
) -> PreparedClaims:
    try:
        return prepare(lists, month, invoices, exporters.facts_of, book, *before)
    except ValueError as error:
        raise UsageError(str(error)) from None


async def _over_stack(
    first: date, invoices: list[Invoice], exporters: Merchants, book: ExportBook, *, write: bool
) -> PreparedClaims:
    from services.tax.rebates import store as rebate_store

    async with database(target(), write=write) as conn, conn.transaction():
        if write:
            await rebate_store.lock_claims(conn)
        lists = await lists_in(conn, first)
        before = await rebate_store.load_before(
            conn, [x.list_no for x in lists], [x.number for x in invoices]
        )
        prepared = _prepared(lists, f"{first:%Y-%m}", invoices, exporters, book, before)
        if write:
            await rebate_store.save(conn, prepared, book.edition)
    return prepared


async def _list() -> list[dict[str, Any]]:
    from services.tax.rebates import store as rebate_store

    async with database(target()) as conn:
        rows = await rebate_store.list_claims(conn)
    for row in rows:
        row["refund"] = str(Money(row.pop("refund_minor"), "CNY"))
        at: datetime = row["prepared_at"]
        row["prepared_at"] = at.isoformat(timespec="seconds")
    return rows


def _document(prepared: PreparedClaims, book: ExportBook) -> dict[str, Any]:
    return {
        "edition": book.edition,
        "claims": [_claim(claim) for claim in prepared.claims],
        "already_claimed": [
            {**line._asdict(), "claim": number} for line, number in prepared.already
        ],
        "left_out": [
            {
                **out.line._asdict(),
                "merchant": out.merchant,
                "regime": out.regime,
                "reason": out.reason,
            }
            for out in prepared.left_out
        ],
        "to_repay": [{**line._asdict(), "claim": number} for line, number in prepared.to_repay],
    }


def _claim(claim: Claim) -> dict[str, Any]:
    return {
        "number": claim.number,
        "merchant": claim.merchant,
        "month": claim.month,
        "declarations": claim.declarations,
        "currency": "CNY",
        "refund": str(claim.refund),
        "lines": [_line(line) for line in claim.lines],
    }


def _line(line: ClaimedLine) -> dict[str, Any]:
    uses = [
        {
            "invoice": x.number,
            "sku": x.sku,
            "quantity": f"{x.quantity:f}",
            "taxable": str(x.taxable),
        }
        for x in line.uses
    ]
    return {
        **line.line._asdict(),
        "declaration": line.declared.entry_id,
        "declaration_line": line.declared.line,
        "hs_code": line.hs_code,
        "quantity": f"{line.quantity:f}",
        "unit": line.unit,
        "fob": str(line.total),
        "fob_currency": line.total.currency,
        "invoices": uses,
        "basis": str(line.basis),
        "rate": str(line.rate),
        "refund": str(line.refund),
        "rules": list(line.rules),
    }


def _show(prepared: PreparedClaims, *, is_stored: bool) -> None:
    from rich.table import Table

    table = Table(
        "claim",
        "lines",
        "basis CNY",
        "refund CNY",
        "declarations",
        title="Claims" if is_stored else "Claims, not kept",
    )
    for claim in prepared.claims:
        basis = Money.total((line.basis for line in claim.lines), "CNY")
        table.add_row(
            claim.number,
            str(len(claim.lines)),
            str(basis),
            str(claim.refund),
            str(len(claim.declarations)),
        )
    stdout().print(table)
    if prepared.already:
        print_err(
            f"{len(prepared.already)} lines are claimed already: "
            f"{', '.join(sorted({number for _, number in prepared.already}))}"
        )
    for out in prepared.left_out:
        regime = "" if out.regime is None else f" ({out.regime})"
        print(f"left out: {out.line.list_no} line {out.line.line_no}: {out.reason}{regime}")
    for line, number in prepared.to_repay:
        print(f"to repay: {line.list_no} line {line.line_no} of {number}: the goods came back")
