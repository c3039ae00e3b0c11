"""The files of destinations, of lists of goods and of exports, beside those that imports are assessed by: each with its faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.tax.exports.domain import ExportRoutes, RebateRates
from services.tax.exports.files import load_exports
from services.tax.landed.files import read_destination, read_destinations, read_lists
from services.tax.rule_validity import Document, Elsewhere, End, ends_of, part_ends_of
from services.tax.rulebook.files import REGIMES, RuleError
from services.tax.rulebook.files import read as read_imports
from services.tax.rulebook.toml_files import line_of, read_toml, shaped

EXPORTS: Final[dict[str, type[ExportRoutes | RebateRates]]] = {
    "export-routes": ExportRoutes,
    "export-rebates": RebateRates,
}


@dataclass
class Others:
    """What a folder holds besides the rules of imports."""

    documents: dict[Path, Elsewhere] = field(default_factory=dict)
    faults: list[RuleError] = field(default_factory=list)


def read_elsewhere(folder: Path) -> Others:
    """Every such file of a folder, with the first fault of each; a folder without them has none: rules of imports may stand alone."""
    found = Others()
    try:
        lists = read_lists(folder)
        found.documents |= lists
    except RuleError as fault:
        found.faults.append(fault)
        lists = {}
    for path in sorted(folder.glob("dest-*.toml")):
        try:
            found.documents[path] = read_destination(
                path, {goods.id: goods for goods in lists.values()}
            )
        except RuleError as fault:
            found.faults.append(fault)
    _exports(folder, found)
    if not found.faults and any(folder.glob("dest-*.toml")):
        try:
            read_destinations(folder)
        except RuleError as fault:
            found.faults.append(fault)
    return found


def _exports(folder: Path, found: Others) -> None:
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
                found.documents[path] = shaped(path, text, shape)
    except RuleError as fault:
        found.faults.append(fault)


def faults_elsewhere(folder: Path) -> Sequence[RuleError]:
    """The first fault of each of these files."""
    return read_elsewhere(folder).faults


def every_document(folder: Path) -> dict[Path, Document]:
    """All files of a folder that can be read, by path in the order of their names; faults are for `validate` to tell."""
    found: dict[Path, Document] = {
        **read_imports(folder).documents,
        **read_elsewhere(folder).documents,
    }
    return dict(sorted(found.items()))


def part_ends_in(folder: Path) -> list[End]:
    """The parts of a folder's destinations that end before the whole does, the next to end first."""
    return part_ends_of(every_document(folder).values())


def ends_in(folder: Path) -> list[End]:
    """The tables of a folder that say nothing after some day, the next to end first."""
    return ends_of(every_document(folder).values())
