"""Reads the rule files once, at start: a bad one is refused with its file, line and reason."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from services.tax.domain.rulebook import Rulebook
from services.tax.domain.rules import Exempt, Regime, RetailImport, RuleFault, Tariff
from shared.errors import Misconfigured

RULES: Final = Path(__file__).with_name("rules")
"""The rule sets that come with this release."""

KINDS: Final[dict[str, type[RetailImport | Exempt]]] = {"retail-import": RetailImport, "exempt": Exempt}
"""What a file may be, by its `kind`; a file with headings is a tariff."""

ELSEWHERE: Final = ("dest-", "cn-export-")
"""Names of files that may be another module's to read: destinations, and what an export is refunded. Those of a kind above are ours."""

Model = TypeVar("Model", bound=BaseModel)


class RuleError(Misconfigured):
    """A rule file cannot be used: file, line and reason."""

    def __init__(self, path: Path, line: int | None, reason: str) -> None:
        where = path.name if line is None else f"{path.name}:{line}"
        super().__init__(f"{where}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


def load(folder: Path = RULES) -> Rulebook:
    """The rules of every `*.toml` of a folder: regimes, and one tariff. Raises RuleError; nothing is half used."""
    regimes: list[Regime] = []
    regime_files: list[Path] = []
    tariffs: list[tuple[Path, Tariff]] = []
    for path in sorted(folder.glob("*.toml")):
        found = _read(path)
        if path.name.startswith(ELSEWHERE) and found.get("kind") not in KINDS:
            continue
        if "heading" in found:
            tariffs.append((path, _valid(path, found, Tariff)))
        else:
            regimes.append(_valid(path, found, _kind_of(path, found)))
            regime_files.append(path)
    if len(tariffs) != 1:
        named = ", ".join(path.name for path, _ in tariffs) or "none"
        raise RuleError(folder, None, f"there must be one tariff, found {named}")
    tariff_file, tariff = tariffs[0]
    _distinct(regimes, regime_files)
    try:
        return Rulebook(regimes, tariff)
    except RuleFault as fault:
        path = regime_files[fault.index] if fault.table == "regime" else tariff_file
        raise RuleError(path, _line_of(path, (fault.table, fault.index)), str(fault)) from None


def _distinct(regimes: Sequence[Regime], files: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for regime, path in zip(regimes, files, strict=True):
        if regime.id in seen:
            raise RuleError(path, None, f"the id {regime.id} is that of {seen[regime.id].name} too")
        seen[regime.id] = path


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise RuleError(path, int(line[1]) if line else None, f"not TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(path, None, f"cannot be read: {error}") from None


def _kind_of(path: Path, found: dict[str, Any]) -> type[RetailImport | Exempt]:
    kind = KINDS.get(str(found.get("kind")))
    if kind is None:
        raise RuleError(path, _line_of(path, ["kind"]), f"kind: it must be one of {', '.join(KINDS)}, or the file holds headings")
    return kind


def _valid(path: Path, found: dict[str, Any], shape: type[Model]) -> Model:
    try:
        return shape.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = first["loc"]
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")
        raise RuleError(path, _line_of(path, at), f"{field or 'the file'}: {first['msg']}") from None


def _line_of(path: Path, at: Sequence[Any]) -> int | None:
    """The line where the row or key stands, as far as its text tells."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(at) > 1 and isinstance(at[1], int):
        starts = [number for number, line in enumerate(lines, 1) if line.strip() == f"[[{at[0]}]]"]
        return starts[at[1]] if at[1] < len(starts) else None
    for key in (at[-1], at[0]) if at else ():
        found = [
            n for n, line in enumerate(lines, 1) if re.match(rf"\s*(\[{re.escape(str(key))}\]|{re.escape(str(key))}\s*=)", line)
        ]
        if found:
            return found[0]
    return None
