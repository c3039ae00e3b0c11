"""`crossborder tax rates …`: exchange rates of the next months, from the European Central Bank."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.connect import Exit, UsageError, as_json, exit_with, print_err
from services.tax.rulebook.files import RULES
from shared.clock import beijing_date

if TYPE_CHECKING:
    from services.tax.rulebook.rate_files import Imported

rates = typer.Typer(
    no_args_is_help=True, help="The exchange rates by which tax counts other currencies in CNY."
)


BankFile = Annotated[
    Path,
    typer.Argument(
        help="The bank's csv: eurofxref-hist.csv, eurofxref.csv, or its data interface's "
        "EXR/D..EUR.SP00.A as csvdata."
    ),
]
RulesFolder = Annotated[
    Path,
    typer.Option(
        "--rules",
        envvar="CROSSBORDER_RULES_DIR",
        help="The folder whose exchange rates are extended.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing: print the periods.")]
AsJson = Annotated[bool, typer.Option("--json", help="The periods as JSON.")]


@rates.command("import")
def import_(
    file: BankFile,
    folder: RulesFolder = RULES,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Write the next periods of the exchange rates into the rule file, each with its source.

    A month has the rates of the third Wednesday of the month before. Exit status 1: the file does
    not reach the next month's day.
    """
    from services.tax.rulebook.ecb import Missing
    from services.tax.rulebook.ecb_files import NotRates
    from services.tax.rulebook.rate_files import import_rates, read_bank, write_file

    try:
        result = import_rates(folder, read_bank(file))
    except NotRates as error:
        raise UsageError(f"{file}: {error}") from None
    except Missing as error:
        if json:
            as_json({"file": rates_name(folder), "periods": [], "missing": str(error)})
        print_err(f"nothing to import: {error}")
        exit_with(Exit.NO)
    if not dry_run:
        write_file(result)
    for sentence in _look_at(result):
        print_err(sentence)
    if json:
        as_json(_document(result, is_written=not dry_run))
    else:
        _show(result, is_written=not dry_run)


def _document(result: Imported, *, is_written: bool) -> dict[str, Any]:
    periods = [
        {
            "valid_from": str(period.month.first),
            "valid_to": str(period.month.last),
            "of": str(period.of),
            "source": period.source,
            "per_100": period.per_100,
            "lacking": list(period.lacking),
        }
        for period in result.periods
    ]
    return {
        "file": result.path.name,
        "periods": periods,
        "replaces": result.replaces,
        "jumps": list(result.jumps),
        "written": is_written,
    }


def _show(result: Imported, *, is_written: bool) -> None:
    from services.tax.rulebook.rate_files import toml_of

    for period in result.periods:
        line = f"{period.month}: euro reference rates of {period.of}"
        print(line if is_written else toml_of(period))
    if is_written:
        last = result.periods[-1].month.last
        print_err(f"{result.path}: {len(result.periods)} periods more, to {last}")


def _look_at(result: Imported) -> Iterator[str]:
    """Yield what a person should check before orders are assessed by these rates."""
    if result.jumps:
        yield f"look at {', '.join(result.jumps)}: a fifth more or less than the month before"
    for period in result.periods:
        if period.lacking:
            lacking = f"{', '.join(period.lacking)}: no rate of {period.of} in the file"
            yield f"{lacking}: orders in it are refused in {period.month}"
    for day in result.future_days(beijing_date(datetime.now(UTC))):
        yield f"look at the file: {day} is yet to come, and no bank has rates of it"


def rates_name(folder: Path) -> str:
    from services.tax.rulebook.rate_files import rates_path

    return rates_path(folder).name
