"""`crossborder tax rules list`: every rule file, and what no file knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.connect import as_json, print_err, stdout
from services.cli.tax.rule_options import AsJson, Folder, table_of
from services.tax.rule_check import (
    Others,
    every_document,
    read_others,
)
from services.tax.rule_validity import (
    Document,
    first_day,
    last_day,
    rows_of_other,
    unknown_in,
)
from services.tax.rulebook.exchange import ExchangeRates
from services.tax.rulebook.files import RULES, load
from services.tax.rulebook.rows import Dated, Row
from services.tax.rulebook.sources import rows

Unknown = Annotated[
    bool,
    typer.Option(
        "--unknown",
        help="What no file knows instead: each rule by which a landed cost is refused.",
    ),
]


def list_rules(folder: Folder = RULES, unknown: Unknown = False, json: AsJson = False) -> None:
    """List every rule file, destinations and exports too.

    Shown are id, kind, first and last day, and how sure its rules are.
    """
    book, others = load(folder), read_others(folder)
    if others.faults:
        raise others.faults[0]
    if unknown:
        _list_unknown(others, json)
        return
    named = [*rows(book.rule_set)]
    for document in others.documents.values():
        named += rows_of_other(document)
    listed = [_listed(path, document, named) for path, document in every_document(folder).items()]
    if json:
        as_json({"edition": book.edition, "files": listed})
        return
    columns = ("file", "id", "version", "kind", "from", "to", "rules by confidence", "unknown")
    table = table_of(*columns)
    for row in listed:
        table.add_row(*_cells(row))
    stdout().print(table)
    print(f"edition {book.edition}")
    if any(row["unknown"] for row in listed):
        print_err("what is unknown is refused by name: crossborder tax rules list --unknown")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    confidence = ", ".join(f"{count} {name}" for name, count in row["confidence"].items())
    last = (row["last_day"] or "") + (" carried over" if row["carried_over"] else "")
    head = (row["file"], row["id"], str(row["version"]), row["kind"], row["first_day"] or "")
    return (*head, last, confidence, str(row["unknown"] or ""))


def _list_unknown(others: Others, json: bool) -> None:
    unknown = unknown_in(others.documents.values())
    if json:
        as_json(
            [
                {
                    **row._asdict(),
                    "first": str(row.first),
                    "last": None if row.last is None else str(row.last),
                }
                for row in unknown
            ]
        )
        return
    for row in unknown:
        print(
            f"{row.rule} from {row.first}{'' if row.last is None else f' to {row.last}'}: {row.why}"
        )


def _listed(path: Path, d: Document, named: Sequence[tuple[str, Row]]) -> dict[str, Any]:
    first, last = first_day(d), last_day(d)
    return {
        "file": path.name,
        "id": d.id,
        "version": d.version,
        "kind": d.kind,
        "valid_from": str(d.valid_from) if isinstance(d, Dated) else None,
        "valid_to": str(d.valid_to) if isinstance(d, Dated) and d.valid_to else None,
        "first_day": None if first is None else str(first),
        "last_day": None if last is None else str(last),
        "carried_over": isinstance(d, ExchangeRates)
        and any(period.carried_over for period in d.period),
        "confidence": _confidence(d.id, named),
        "unknown": len(unknown_in([d])),
    }


def _confidence(of: str, named: Sequence[tuple[str, Row]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, row in named:
        if name.startswith((f"{of}@", f"{of}/")):
            counts[row.confidence] = counts.get(row.confidence, 0) + 1
    return counts
