"""Rule files of a folder, read together: a single fault refuses all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from services.tax.rulebook.book import Rulebook
from services.tax.rulebook.exchange import ExchangeRates
from services.tax.rulebook.rows import Exempt, GeneralTrade, ParcelTax, RetailImport, RuleFault
from services.tax.rulebook.rule_set import RuleSet
from services.tax.rulebook.tariff import Articles, Nomenclature, PositiveList, Tariff
from services.tax.rulebook.toml_files import (
    RuleError,
    faults_in,
    line_of,
    parse,
    read_toml,
    text_of,
    validated,
)

RULES: Final = Path(__file__).parents[1] / "rules"
"""The rule sets that come with this release."""

REGIMES: Final[dict[str, type[RetailImport | ParcelTax | GeneralTrade | Exempt]]] = {
    "retail-import": RetailImport,
    "parcel-tax": ParcelTax,
    "general-trade": GeneralTrade,
    "exempt": Exempt,
}
TABLES: Final[dict[str, type[Tariff | Articles | PositiveList | ExchangeRates | Nomenclature]]] = {
    "tariff": Tariff,
    "parcel-articles": Articles,
    "positive-list": PositiveList,
    "exchange-rates": ExchangeRates,
    "hs-nomenclature": Nomenclature,
}
"""What a file may be, by its `kind`: a regime, or a table that regimes read."""

OTHER_FILES: Final = ("dest-", "goods-", "cn-export-")
"""Files that other modules read: destinations, their lists of goods, and exports.

A file of a kind above is read here all the same.
"""

FILES_MAX: Final = 200

Document = (
    RetailImport
    | ParcelTax
    | GeneralTrade
    | Exempt
    | Tariff
    | Articles
    | PositiveList
    | ExchangeRates
    | Nomenclature
)
Model = TypeVar("Model", bound=BaseModel)


@dataclass
class FolderContent:
    """The documents of a folder by file, their parsed text, and the faults of single files."""

    folder: Path
    documents: dict[Path, Document] = field(default_factory=dict)
    texts: dict[Path, Mapping[str, Any]] = field(default_factory=dict)
    others: list[Mapping[str, Any]] = field(default_factory=list)
    """What the files say that are another module's to read: they are of the edition too."""
    written: dict[str, str] = field(default_factory=dict)
    faults: list[RuleError] = field(default_factory=list)


def load(folder: Path = RULES) -> Rulebook:
    content = read(folder)
    if content.faults:
        raise content.faults[0]
    return compile_rules(content)


def validate(folder: Path) -> tuple[Rulebook | None, Sequence[RuleError]]:
    """Return the rules of a folder, or all faults of its files.

    Faults between files are searched once every file is good.
    """
    content = read(folder)
    if content.faults:
        return None, content.faults
    try:
        return compile_rules(content), ()
    except RuleError as fault:
        return None, (fault,)


def read(folder: Path) -> FolderContent:
    content = FolderContent(folder)
    paths = sorted(folder.glob("*.toml"))
    if not paths or len(paths) > FILES_MAX:
        content.faults.append(
            RuleError(
                folder,
                None,
                f"there must be 1 to {FILES_MAX} rule files (*.toml), found {len(paths)}",
            )
        )
        return content
    for path in paths:
        try:
            written = text_of(path)
            text = parse(path, written)
            if path.name.startswith(OTHER_FILES) and str(text.get("kind")) not in REGIMES:
                content.others.append(text)
                content.written[path.name] = written
                continue
            content.documents[path] = _kind_of(path, text).model_validate(text)
            content.texts[path] = text
            content.written[path.name] = written
        except RuleError as fault:
            content.faults.append(fault)
        except ValidationError as error:
            content.faults += faults_in(path, error)
    return content


def compile_rules(content: FolderContent) -> Rulebook:
    _distinct(content.documents)
    tariff = _one(content, Tariff)
    if tariff is None:
        raise RuleError(
            content.folder, None, 'there must be one tariff (kind = "tariff"), found none'
        )
    rules = RuleSet(
        regimes=_all(content, RetailImport, ParcelTax, GeneralTrade, Exempt),
        tariff=tariff,
        articles=_all(content, Articles),
        positive_lists=_all(content, PositiveList),
        rates=_one(content, ExchangeRates),
        nomenclature=_one(content, Nomenclature),
        edition=edition_of([*content.texts.values(), *content.others]),
        texts=content.written,
    )
    try:
        return Rulebook(rules)
    except RuleFault as fault:
        path = next(path for path, document in content.documents.items() if document.id == fault.of)
        at = ("valid_from",) if fault.table == "regime" else (fault.table, fault.index)
        raise RuleError(path, line_of(path, at), str(fault)) from None


def load_nomenclature(folder: Path = RULES) -> Nomenclature | None:
    """Return the headings of each chapter by a folder's file, else by this release's.

    Raises RuleError.
    """
    for path in sorted(folder.glob("hs-*.toml")):
        text = read_toml(path)
        if text.get("kind") == "hs-nomenclature":
            return validated(path, text, Nomenclature)
    return None if folder == RULES else load_nomenclature(RULES)


def edition_of(texts: Any) -> str:
    """Return a digest of the content of rule files: 12 hexadecimal digits.

    Names, comments and order of the files do not change it.
    """
    documents = sorted(
        json.dumps(text, sort_keys=True, ensure_ascii=False, default=str) for text in texts
    )
    return hashlib.sha256("\n".join(documents).encode()).hexdigest()[:12]


def _all(content: FolderContent, *kinds: type[Model]) -> tuple[Model, ...]:
    return tuple(each for each in content.documents.values() if isinstance(each, kinds))


def _one(content: FolderContent, kind: type[Model]) -> Model | None:
    those = {
        path: document for path, document in content.documents.items() if isinstance(document, kind)
    }
    if len(those) > 1:
        *_, last = those
        raise RuleError(
            last,
            line_of(last, ["kind"]),
            f"there must be one file of this kind, found {', '.join(p.name for p in those)}",
        )
    return next(iter(those.values()), None)


def _distinct(documents: Mapping[Path, Document]) -> None:
    seen: dict[str, Path] = {}
    for path, document in documents.items():
        if document.id in seen:
            raise RuleError(
                path,
                line_of(path, ["id"]),
                f"the id {document.id} is that of {seen[document.id].name} too",
            )
        seen[document.id] = path


def _kind_of(path: Path, parsed: dict[str, Any]) -> type[Document]:
    known: dict[str, type[Document]] = {**REGIMES, **TABLES}
    kind = known.get(str(parsed.get("kind")))
    if kind is None:
        raise RuleError(
            path,
            line_of(path, ["kind"]),
            f"kind: it must be one of {', '.join(known)}, found {parsed.get('kind')!r}",
        )
    return kind
