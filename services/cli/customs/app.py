"""`crossborder customs …`.

Documents and messages of the customs family from files, and the consolidation of export lists.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from services.cli.cases import add_close, group_of
from services.cli.connect import Exit, UsageError, as_json, exit_with, print_err, stdout
from services.cli.customs.notices import notices
from services.cli.customs.summaries import summaries

SCHEMAS: Final = "CROSSBORDER_CEB_XSD"
WHERE: Final = (
    "name the folder of the authority's schemas "
    "(import-business-node.xsd, export-business-node.xsd, xmldsig-core-schema.xsd; "
    f"they come with the enterprise message specification, edition 202205) by --schema or {SCHEMAS}"
)

customs = typer.Typer(
    no_args_is_help=True,
    help="Documents and messages of the customs family, from files; consolidation of export lists.",
)
customs.add_typer(summaries, name="summaries")
cases = group_of("customs")
add_close(cases, "customs")
customs.add_typer(cases, name="cases")
customs.command("notices")(notices)

File = Annotated[Path | None, typer.Option(help="A submission as JSON, or the CEB message as XML.")]
AsJson = Annotated[bool, typer.Option("--json", help="The answer as JSON.")]


@customs.command("match")
def match_documents(
    order: File = None,
    payment: File = None,
    waybill: File = None,
    declared: Annotated[
        Path | None,
        typer.Option("--list", help="The declaration list, as JSON or CEB621 or CEB603 XML."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Compare the three documents, and the list with them.

    Exit 0 they match, 1 they do not or one is missing.
    """
    from services.cli.customs import documents as read
    from services.customs.domain.match import match

    if not (order or payment or waybill or declared):
        raise UsageError("give at least one of --order, --payment, --waybill, --list")
    ordered = read.order_of(order) if order else None
    waybilled, listed = read.compared(
        ordered,
        read.waybill_of(waybill) if waybill else None,
        read.list_of(declared) if declared else None,
    )
    verdict = match(ordered, read.payment_of(payment) if payment else None, waybilled, listed)
    mismatches = [mismatch.model_dump(mode="json") for mismatch in verdict.mismatches]
    if json:
        as_json(
            {"matched": verdict.matched, "missing": list(verdict.missing), "mismatches": mismatches}
        )
    else:
        _show_verdict(verdict.matched, mismatches)
    given = {"order": order, "payment": payment, "waybill": waybill}
    for name in verdict.missing:
        wrong = "of another order than the rest"
        print_err(f"{name}: {wrong if given[name] else 'not given, the match waits for it'}")
    exit_with(Exit.DONE if verdict.matched else Exit.NO)


def _show_verdict(matched: bool, mismatches: Sequence[Mapping[str, Any]]) -> None:
    from rich.table import Table

    from services.customs.ceb import codes

    print("matched" if matched else "not matched")
    if not mismatches:
        return
    table = Table("code", "field", "left", "right", "meaning")
    for each in mismatches:
        known = codes.error(each["code"])
        sides = [f"{each[side]['document']}: {each[side]['value']}" for side in ("left", "right")]
        table.add_row(each["code"], each["field"], *sides, known.meaning if known else "")
    stdout().print(table)


@customs.command("parse")
def parse_message(
    file: Annotated[Path, typer.Argument(help="A message of the family, as XML.")],
    json: AsJson = False,
) -> None:
    """Show any message of the family: as an outline, or as JSON."""
    from services.cli.customs.documents import content_of
    from services.customs.ceb.parse import to_json
    from shared.errors import Unprocessable

    try:
        document = to_json(content_of(file))
    except Unprocessable as error:
        raise UsageError(f"{file}: {error}") from None
    if json:
        as_json(document)
    else:
        _outline(document)


def _outline(document: Mapping[str, Any], depth: int = 0) -> None:
    indent = "  " * depth
    for name, value in document.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                print(f"{indent}{name}")
                _outline(each, depth + 1)
            else:
                print(f"{indent}{name}: {each}")


@customs.command("validate")
def validate_message(
    file: Annotated[Path, typer.Argument(help="A message of the family, as XML.")],
    schema: Annotated[
        Path | None, typer.Option(help=f"Folder of the schemas; else {SCHEMAS}.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Check a message against the authority's schemas.

    Exit 0 valid, 1 not valid, 2 no schemas or no message.
    """
    from services.cli.customs.documents import content_of
    from services.customs.ceb.validate import SchemasMissing, validate
    from shared.errors import Unprocessable

    folder = schema or (Path(os.environ[SCHEMAS]) if os.environ.get(SCHEMAS) else None)
    if folder is None:
        raise UsageError(WHERE)
    try:
        faults = validate(content_of(file), folder)
    except SchemasMissing as error:
        raise UsageError(f"{WHERE}: {error}") from None
    except Unprocessable as error:
        raise UsageError(f"{file}: {error}") from None
    if json:
        as_json({"valid": not faults, "faults": [asdict(fault) for fault in faults]})
    else:
        print(
            "valid"
            if not faults
            else "\n".join(f"line {f.line}: {f.element}: {f.rule}" for f in faults)
        )
    exit_with(Exit.DONE if not faults else Exit.NO)
