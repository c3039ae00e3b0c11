"""`crossborder tax rates …`: the exchange rates of the next months, from the European Central Bank's public csv."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.connect import Exit, UsageError, as_json, exit_with, print_err
from services.tax.rulebook.files import RULES
from shared.clock import beijing_date

if TYPE_CHECKING:
    from services.tax.rulebook.rate_files import Imported

rates = typer.Typer(
    no_args_is_help=True, help="The exchange rates by which tax counts other currencies in CNY."
)


@rates.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="The bank's csv: eurofxref-hist.csv, eurofxref.csv, or its data interface's "
            "EXR/D..EUR.SP00.A as csvdata."
        ),
    ],
    folder: Annotated[
        Path,
        typer.Option(
            "--rules", envvar="CROSSBORDER_RULES_DIR", help="The folder whose table is to grow."
        ),
    ] = RULES,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing: print the periods.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The periods as JSON.")] = False,
) -> None:
    """Write the next periods of the table, each with its source: a month has the rates of the third Wednesday of the month before.

    Exit 1 where the file does not reach the next month's day.
    """
    from services.tax.rulebook.ecb import Missing
    from services.tax.rulebook.ecb_files import NotRates
    from services.tax.rulebook.rate_files import imported, put, read_bank, toml_of

    try:
        result = imported(folder, read_bank(file))
    except NotRates as error:
        raise UsageError(f"{file}: {error}") from None
    except Missing as error:
        if json:
            as_json({"file": rates_name(folder), "periods": [], "missing": str(error)})
        print_err(f"nothing to import: {error}")
        exit_with(Exit.NO)
    if not dry_run:
        put(result)
    for sentence in _look_at(result):
        print_err(sentence)
    if json:
        notes = [
            {
                "valid_from": str(p.month.first),
                "valid_to": str(p.month.last),
                "of": str(p.of),
                "source": p.source,
                "per_100": p.per_100,
                "lacking": list(p.lacking),
            }
            for p in result.periods
        ]
        as_json(
            {
                "file": result.path.name,
                "periods": notes,
                "replaces": result.replaces,
                "jumps": list(result.jumps),
                "written": not dry_run,
            }
        )
        return
    for period in result.periods:
        print(
            toml_of(period) if dry_run else f"{period.month}: euro reference rates of {period.of}"
        )
    if not dry_run:
        print_err(
            f"{result.path}: {len(result.periods)} periods more, to {result.periods[-1].month.last}"
        )


def _look_at(result: Imported) -> Iterator[str]:
    """What a person should know before orders are assessed by these rates."""
    if result.jumps:
        yield f"look at {', '.join(result.jumps)}: a fifth more or less than the month before"
    for period in result.periods:
        if period.lacking:
            yield f"{', '.join(period.lacking)}: no rate of {period.of} in the file: orders in it are refused in {period.month}"
    for day in result.future_days(beijing_date(datetime.now(UTC))):
        yield f"look at the file: {day} is yet to come, and no bank has rates of it"


def rates_name(folder: Path) -> str:
    """The name of the file of exchange rates of a folder."""
    from services.tax.rulebook.rate_files import rates_path

    return rates_path(folder).name
