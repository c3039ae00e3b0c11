"""`crossborder tax rules …` over orders: compare other rules, and check past assessments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

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
from services.cli.tax.rule_options import AsJson, table_of
from services.cli.tax.rules import day_of, rules
from services.tax.domain.assessment import AssessedLine, Assessment, Refusal, assess
from services.tax.domain.comparison import WhatIf
from services.tax.domain.record import Record, of_document
from services.tax.rulebook.book import Rulebook
from services.tax.rulebook.files import RULES, load
from shared.clock import BEIJING
from shared.money import Money

__all__ = ["rules"]

MONTH: Final = timedelta(days=31)


ProposedFolder = Annotated[Path, typer.Argument(help="A folder with the proposed rule files.")]
OrdersFile = Annotated[
    Path | None,
    typer.Option(help="Submissions as JSON lines instead of the running stack's orders."),
]
FirstDay = Annotated[
    str | None,
    typer.Option(help="The first day of the stack's orders, YYYY-MM-DD; 31 days ago if not given."),
]
CurrentFolder = Annotated[
    Path, typer.Option(help="The rules to compare with; those of this release if not given.")
]
DeclarationDay = Annotated[
    str | None, typer.Option(help="The day of every declaration, as if all were made then.")
]


@rules.command("what-if")
def what_if(
    folder: ProposedFolder,
    orders: OrdersFile = None,
    since: FirstDay = None,
    against: CurrentFolder = RULES,
    at: DeclarationDay = None,
    json: AsJson = False,
) -> None:
    """Say what proposed rules would have changed over last month's orders, or over those of a
    file."""
    proposed, current = load(folder), load(against)
    if orders is None:
        first = day_of(since, "--since") if since is not None else day_of(None) - MONTH
        comparison = run(_over_stack(current, proposed, first, at))
    else:
        comparison = _over_file(orders, current, proposed, at)
    document = {name: asdict(outcome) for name, outcome in comparison.outcomes.items()}
    if json:
        _money(document)
        as_json(
            {
                "old": current.edition,
                "new": proposed.edition,
                **document,
                "changed": [list(row) for row in comparison.changed],
            }
        )
        return
    table = table_of("orders that", "orders", "tax before", "tax after", "difference")
    for name, outcome in comparison.outcomes.items():
        amounts = (outcome.before, outcome.after, outcome.after - outcome.before)
        table.add_row(
            TOLD[name], str(outcome.orders), *[str(Money(minor, "CNY")) for minor in amounts]
        )
    stdout().print(table)
    for row in comparison.changed[:20]:
        print(f"{row[0]}: {row[1]} -> {row[2]}")
    if len(comparison.changed) > 20:
        print_err(f"… and {len(comparison.changed) - 20} more: --json names them")


TOLD: Final = {
    "same": "owe the same",
    "more": "would owe more",
    "less": "would owe less",
    "refused": "would be refused",
    "admitted": "would no longer be refused",
    "otherwise_refused": "would be refused for another reason",
}


def _money(document: dict[str, dict[str, Any]]) -> None:
    for outcome in document.values():
        outcome.update({name: str(Money(outcome[name], "CNY")) for name in ("before", "after")})


def _over_file(file: Path, current: Rulebook, proposed: Rulebook, at: str | None) -> WhatIf:
    """Compare a file's orders; raises Unread with every fault: a sum over some orders says
    nothing."""
    from services.cli.tax.assess import Given, assessable, used_of
    from services.cli.tax.json_lines import Unread, bytes_of, lines_of, text_of

    comparison, faults = WhatIf(), []
    old, new = (Given(book, at, used_of("0"), {}) for book in (current, proposed))
    for number, line in lines_of(bytes_of(file)):
        name = f"line {number}"
        try:
            submission = old.parse(name, text_of(name, line))
        except Unread as error:
            faults += [
                fault._replace(field=f"{name}: {fault.field or 'the line'}")
                for fault in error.faults
            ]
            continue
        order = assessable(submission)
        comparison.add(
            submission.order_no or name,
            old.assess(submission, order),
            new.assess(submission, order),
        )
    if faults:
        raise Unread(str(file), faults)
    return comparison


RECORDED: Final = (
    "SELECT order_id, assessed_from, assessment FROM tax.tax_case "
    "WHERE assessed_from IS NOT NULL AND created_at >= $1"
)


async def _over_stack(current: Rulebook, proposed: Rulebook, since: date, at: str | None) -> WhatIf:
    """Compare the stack's orders by their recorded inputs, in one pass and little memory."""
    comparison = WhatIf()
    async with database(target()) as conn, conn.transaction():
        async for row in conn.cursor(RECORDED, _begin(since)):
            record = of_document(row["assessed_from"])
            on = record.on if at is None else day_of(at)
            before, after = (_again(record._replace(on=on), book) for book in (current, proposed))
            comparison.add(str(row["order_id"]), before, after)
    return comparison


def _begin(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), BEIJING)


@rules.command("recheck")
def recheck(
    since: Annotated[
        str | None, typer.Option(help="The first day of the orders, YYYY-MM-DD; all if not given.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Assess the running stack's orders again, each by its edition of the rules; exit 1 if one
    differs."""
    checked, differ = run(
        _recheck(day_of(since, "--since") if since is not None else date(1, 1, 2))
    )
    if json:
        as_json({"checked": checked, "differ": differ})
    else:
        print("\n".join(differ) if differ else f"{checked} assessments give the same again")
    exit_with(Exit.NO if differ else Exit.DONE)


async def _recheck(since: date) -> tuple[int, list[str]]:
    checked, differ = 0, []
    async with database(target()) as conn, conn.transaction():
        editions = {
            row["edition"]: _archived(row["files"])
            for row in await conn.fetch("SELECT edition, files FROM tax.rule_set")
        }
        async for row in conn.cursor(RECORDED, _begin(since)):
            checked += 1
            record = of_document(row["assessed_from"])
            book = editions.get(record.edition)
            if book is None or not _is_same(_again(record, book), row["assessment"]):
                differ.append(str(row["order_id"]))
    return checked, differ


def _again(record: Record, book: Rulebook) -> Assessment | Refusal:
    return assess(record.order, record.on, record.used, book, record.used_kg)


def _archived(files: Mapping[str, str]) -> Rulebook:
    with TemporaryDirectory() as folder:
        write_files(files, Path(folder))
        return load(Path(folder))


def write_files(files: Mapping[str, str], folder: Path) -> None:
    """Write rule files into a folder; raises UsageError for a name with a path."""
    for name, text in files.items():
        if Path(name).name != name:
            raise UsageError(f"{name!r} is no name of a rule file")
        (folder / name).write_text(text, encoding="utf-8")


def _wire(minor: int, currency: str) -> dict[str, str]:
    return {"amount": str(Money(minor, currency)), "currency": currency}


def _line(line: AssessedLine, currency: str) -> dict[str, Any]:
    amounts = {name: _wire(getattr(line, name), currency) for name in LINES}
    return {"line_no": line.line_no, **amounts}


def _is_same(result: Assessment | Refusal, published: Mapping[str, Any] | None) -> bool:
    """Return whether a result equals the published event; a refused order has none."""
    if isinstance(result, Refusal):
        return published is None
    return published is not None and _equals(result, published)


def _equals(result: Assessment, published: Mapping[str, Any]) -> bool:
    currency = result.total.currency

    lines = [_line(line, currency) for line in result.lines]
    payable = None if result.payable == result.total else _wire(result.payable.minor, currency)
    # An event published before the field existed has no payable.
    owed = published.get("payable", payable) == payable
    heads = [_wire(getattr(result, name).minor, currency) for name in HEADS]
    same_heads = heads == [published[name] for name in HEADS]
    same_rules = published["rules"] == list(result.rules)
    return same_heads and owed and published["lines"] == lines and same_rules


HEADS: Final = ("dutiable_value", "duty", "consumption_tax", "vat", "parcel_tax", "total")
LINES: Final = ("dutiable_value", "duty", "consumption_tax", "vat")


@rules.command("archive")
def archived_editions(
    edition: Annotated[
        str | None, typer.Argument(help="The edition whose files are wanted.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="A new folder for its files.")] = None,
    json: AsJson = False,
) -> None:
    """List the editions of the rules the running stack has used, or write the files of one into
    a folder."""
    editions = run(_editions())
    if edition is None:
        listed = [
            {"edition": name, "used_at": at.isoformat(), "files": len(files)}
            for name, (at, files) in editions.items()
        ]
        if json:
            as_json(listed)
        for row in [] if json else listed:
            print(f"{row['edition']}  since {row['used_at']}  {row['files']} files")
        return
    if edition not in editions:
        raise UsageError(
            f"edition: {edition!r} was never in force here; `crossborder tax rules archive` lists "
            "those that were"
        )
    if to is None or to.exists():
        raise UsageError("--to: name a folder that is not there yet")
    to.mkdir(parents=True)
    write_files(editions[edition][1], to)
    print_err(f"{len(editions[edition][1])} files are in {to}: give it to `tax assess --rules`")


async def _editions() -> dict[str, tuple[datetime, Mapping[str, str]]]:
    async with database(target()) as conn:
        rows = await conn.fetch("SELECT edition, used_at, files FROM tax.rule_set ORDER BY used_at")
    return {row["edition"]: (row["used_at"], row["files"]) for row in rows}
