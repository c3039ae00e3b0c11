"""The rule files of destinations, lists of goods and exports, each checked by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.tax.exports.domain import ExportRoutes, RebateRates
from services.tax.exports.files import load_exports
from services.tax.landed.files import read_destination, read_destinations, read_lists
from services.tax.rule_validity import Document, End, OtherDocument, ends_of, part_ends_of
from services.tax.rulebook.files import REGIMES
from services.tax.rulebook.files import read as read_imports
from services.tax.rulebook.toml_files import RuleError, line_of, read_toml, validated

EXPORTS: Final[dict[str, type[ExportRoutes | RebateRates]]] = {
    "export-routes": ExportRoutes,
    "export-rebates": RebateRates,
}


@dataclass
class Others:
    """What a folder holds besides the rules of imports."""

    documents: dict[Path, OtherDocument] = field(default_factory=dict)
    faults: list[RuleError] = field(default_factory=list)


def read_others(folder: Path) -> Others:
    """Read every such file of a folder, with the first fault of each.

    A folder may have none of them: the rules of imports can stand alone.
    """
    others = Others()
    try:
        lists = read_lists(folder)
        others.documents |= lists
    except RuleError as fault:
        others.faults.append(fault)
        lists = {}
    for path in sorted(folder.glob("dest-*.toml")):
        try:
            others.documents[path] = read_destination(
                path, {goods.id: goods for goods in lists.values()}
            )
        except RuleError as fault:
            others.faults.append(fault)
    _exports(folder, others)
    if not others.faults and any(folder.glob("dest-*.toml")):
        try:
            read_destinations(folder)
        except RuleError as fault:
            others.faults.append(fault)
    return others


def _exports(folder: Path, others: Others) -> None:
    try:
        if any(folder.glob("cn-export-r*.toml")):
            load_exports(folder)
        for path in sorted(folder.glob("cn-export-*.toml")):
            text = read_toml(path)
            kind = str(text.get("kind"))
            shape = EXPORTS.get(kind)
            if shape is None and kind not in REGIMES:
                known = ", ".join((*EXPORTS, "exempt"))
                raise RuleError(
                    path,
                    line_of(path, ["kind"]),
                    f"kind: it must be one of {known}, found {text.get('kind')!r}",
                )
            if shape is not None:
                others.documents[path] = validated(path, text, shape)
    except RuleError as fault:
        others.faults.append(fault)


def faults_of_others(folder: Path) -> Sequence[RuleError]:
    return read_others(folder).faults


def every_document(folder: Path) -> dict[Path, Document]:
    """Return all readable rule files of a folder, sorted by path; `validate` reports their
    faults."""
    documents: dict[Path, Document] = {
        **read_imports(folder).documents,
        **read_others(folder).documents,
    }
    return dict(sorted(documents.items()))


def part_ends_in(folder: Path) -> list[End]:
    return part_ends_of(every_document(folder).values())


def ends_in(folder: Path) -> list[End]:
    return ends_of(every_document(folder).values())
