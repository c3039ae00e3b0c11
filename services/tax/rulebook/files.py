"""Reads the rule files: all of them are good together, or they are refused with file, line and reason and none is used."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from services.tax.rulebook.book import Rulebook
from services.tax.rulebook.compile import RuleSet
from services.tax.rulebook.exchange import ExchangeRates
from services.tax.rulebook.rows import Exempt, GeneralTrade, ParcelTax, RetailImport, RuleFault
from services.tax.rulebook.tariff import Articles, Nomenclature, PositiveList, Tariff
from shared.errors import Misconfigured

RULES: Final = Path(__file__).parents[1] / "rules"
"""The rule sets that come with this release."""

REGIMES: Final[dict[str, type[RetailImport | ParcelTax | GeneralTrade | Exempt]]] = {
    "retail-import": RetailImport, "parcel-tax": ParcelTax, "general-trade": GeneralTrade, "exempt": Exempt,
}  # fmt: skip
TABLES: Final[dict[str, type[Tariff | Articles | PositiveList | ExchangeRates | Nomenclature]]] = {
    "tariff": Tariff, "parcel-articles": Articles, "positive-list": PositiveList, "exchange-rates": ExchangeRates,
    "hs-nomenclature": Nomenclature,
}  # fmt: skip
"""What a file may be, by its `kind`: a regime, or a table that regimes read."""

ELSEWHERE: Final = ("dest-", "goods-", "cn-export-")
"""Names of files that may be another module's to read: destinations with their lists of goods, and what an export is refunded. Those
of a kind above are ours."""

FILES_MAX: Final = 200
FILE_BYTES_MAX: Final = 4 * 1024 * 1024

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


class RuleError(Misconfigured):
    """A rule file cannot be used: file, line and reason."""

    def __init__(self, path: Path, line: int | None, reason: str) -> None:
        where = path.name if line is None else f"{path.name}:{line}"
        super().__init__(f"{where}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


@dataclass
class Found:
    """What a folder holds: its documents by file, their parsed text, and the faults of single files."""

    folder: Path
    documents: dict[Path, Document] = field(default_factory=dict)
    texts: dict[Path, Mapping[str, Any]] = field(default_factory=dict)
    others: list[Mapping[str, Any]] = field(default_factory=list)
    """What the files say that are another module's to read: they are of the edition too."""
    written: dict[str, str] = field(default_factory=dict)
    faults: list[RuleError] = field(default_factory=list)


def load(folder: Path = RULES) -> Rulebook:
    """The rules of every `*.toml` of a folder. Raises RuleError with the first fault; nothing is half used."""
    found = read(folder)
    if found.faults:
        raise found.faults[0]
    return compiled(found)


def validate(folder: Path) -> tuple[Rulebook | None, Sequence[RuleError]]:
    """The rules of a folder, or all faults of its files one by one; faults between files are looked for once these are good."""
    found = read(folder)
    if found.faults:
        return None, found.faults
    try:
        return compiled(found), ()
    except RuleError as fault:
        return None, (fault,)


def read(folder: Path) -> Found:
    """Every rule file of a folder by itself."""
    found = Found(folder)
    paths = sorted(folder.glob("*.toml"))
    if not paths or len(paths) > FILES_MAX:
        found.faults.append(
            RuleError(
                folder,
                None,
                f"there must be 1 to {FILES_MAX} rule files (*.toml), found {len(paths)}",
            )
        )
        return found
    for path in paths:
        try:
            written = text_of(path)
            text = _parsed(path, written)
            if path.name.startswith(ELSEWHERE) and str(text.get("kind")) not in REGIMES:
                found.others.append(text)
                found.written[path.name] = written
                continue
            found.documents[path] = _kind_of(path, text).model_validate(text)
            found.texts[path] = text
            found.written[path.name] = written
        except RuleError as fault:
            found.faults.append(fault)
        except ValidationError as error:
            found.faults += [_fault(path, each) for each in error.errors(include_url=False)]
    return found


def compiled(found: Found) -> Rulebook:
    """The documents of a folder together; raises RuleError where they contradict each other."""
    _distinct(found.documents)
    regimes = {
        path: d
        for path, d in found.documents.items()
        if isinstance(d, RetailImport | ParcelTax | GeneralTrade | Exempt)
    }
    tariff = _one(found, Tariff)
    if tariff is None:
        raise RuleError(
            found.folder, None, 'there must be one tariff (kind = "tariff"), found none'
        )
    rules = RuleSet(
        tuple(regimes.values()), tariff,
        tuple(d for d in found.documents.values() if isinstance(d, Articles)),
        tuple(d for d in found.documents.values() if isinstance(d, PositiveList)),
        _one(found, ExchangeRates), _one(found, Nomenclature), edition_of([*found.texts.values(), *found.others]), found.written,
    )  # fmt: skip
    try:
        return Rulebook(rules)
    except RuleFault as fault:
        path = next(path for path, document in found.documents.items() if document.id == fault.of)
        line = None if fault.table == "regime" else _line_of(path, (fault.table, fault.index))
        raise RuleError(path, line or _line_of(path, ["valid_from"]), str(fault)) from None


def load_nomenclature(folder: Path = RULES) -> Nomenclature | None:
    """How many headings each chapter has, by a folder's file, else by this release's; raises RuleError."""
    for path in sorted(folder.glob("hs-*.toml")):
        text = _parsed(path, text_of(path))
        if text.get("kind") == "hs-nomenclature":
            try:
                return Nomenclature.model_validate(text)
            except ValidationError as error:
                raise _fault(path, error.errors(include_url=False)[0]) from None
    return None if folder == RULES else load_nomenclature(RULES)


def edition_of(texts: Any) -> str:
    """A digest of what rule files say, whatever their names, comments and order: 12 hexadecimal digits."""
    said = sorted(
        json.dumps(text, sort_keys=True, ensure_ascii=False, default=str) for text in texts
    )
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:12]


def _one(found: Found, kind: type[Model]) -> Model | None:
    those = {
        path: document for path, document in found.documents.items() if isinstance(document, kind)
    }
    if len(those) > 1:
        *_, last = those
        raise RuleError(
            last,
            _line_of(last, ["kind"]),
            f"there must be one file of this kind, found {', '.join(p.name for p in those)}",
        )
    return next(iter(those.values()), None)


def _distinct(documents: Mapping[Path, Document]) -> None:
    seen: dict[str, Path] = {}
    for path, document in documents.items():
        if document.id in seen:
            raise RuleError(
                path,
                _line_of(path, ["id"]),
                f"the id {document.id} is that of {seen[document.id].name} too",
            )
        seen[document.id] = path


def text_of(path: Path) -> str:
    """The text of a rule file, a byte order mark taken off; raises RuleError where it is too large, unreadable or not UTF-8."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise RuleError(path, None, f"is over {FILE_BYTES_MAX} bytes")
        raw = path.read_bytes()
    except OSError as error:
        raise RuleError(path, None, f"cannot be read: {error.strerror}") from None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RuleError(path, None, "cannot be read: it is UTF-16 text, write it as UTF-8")
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise RuleError(
            path, line, f"cannot be read: byte {error.start} is not UTF-8 text, write it as UTF-8"
        ) from None


def _parsed(path: Path, written: str) -> dict[str, Any]:
    try:
        return tomllib.loads(written)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise RuleError(path, int(line[1]) if line else None, f"not TOML: {error}") from None


def _kind_of(path: Path, found: dict[str, Any]) -> type[Document]:
    known: dict[str, type[Document]] = {**REGIMES, **TABLES}
    kind = known.get(str(found.get("kind")))
    if kind is None:
        raise RuleError(
            path,
            _line_of(path, ["kind"]),
            f"kind: it must be one of {', '.join(known)}, found {found.get('kind')!r}",
        )
    return kind


def _fault(path: Path, error: ErrorDetails) -> RuleError:
    at = error["loc"]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")
    value = error["input"]
    found = (
        f", found {value!r}"
        if error["type"] != "missing" and isinstance(value, str | int | float | date)
        else ""
    )
    reason = error["msg"].removeprefix("Value error, ")
    return RuleError(
        path, _line_of(path, at or reason.split()[:1]), f"{where or 'the file'}: {reason}{found}"
    )


def _line_of(path: Path, at: Sequence[Any]) -> int:
    """The line where the row begins, or where the key stands, or where the table or the file that lacks it begins."""
    lines = text_of(path).splitlines()
    if len(at) > 1 and isinstance(at[1], int):
        starts = [number for number, line in enumerate(lines, 1) if line.strip() == f"[[{at[0]}]]"]
        return starts[at[1]] if at[1] < len(starts) else _first(lines)
    tables = [number for number, line in enumerate(lines, 1) if line.startswith("[")]
    for begin in (number for number in tables if at and lines[number - 1].strip() == f"[{at[0]}]"):
        ends = next((number for number in tables if number > begin), len(lines) + 1)
        return _key(lines, at[-1], begin, ends) or begin
    head = _key(lines, at[0], 0, tables[0] if tables else len(lines) + 1) if at else None
    return head or _first(lines)


def _key(lines: Sequence[str], key: Any, after: int, before: int) -> int | None:
    """The line between two others where a key stands."""
    pattern = re.compile(rf"\s*{re.escape(str(key))}\s*=")
    return next(
        (number for number in range(after + 1, before) if pattern.match(lines[number - 1])), None
    )


def _first(lines: Sequence[str]) -> int:
    """The first line that says something."""
    return next(
        (
            number
            for number, line in enumerate(lines, 1)
            if line.strip() and not line.startswith("#")
        ),
        1,
    )
