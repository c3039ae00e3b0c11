"""Rule files of destinations and exports read as TOML; a fault says file, line and reason."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from services.tax.rulebook.files import RuleError, text_of
from services.tax.rulebook.rows import RuleFault

Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """What a file says; raises RuleError where it is too large, unreadable or not TOML."""
    return parsed(path, text_of(path))


def parsed(path: Path, text: str) -> dict[str, Any]:
    """What a text that is to stand in a file says; raises RuleError where it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line ([0-9]+)", str(error))
        raise RuleError(path, int(line[1]) if line else None, f"not TOML: {error}") from None


def shaped(path: Path, found: dict[str, Any], shape: type[Model]) -> Model:
    """The document of that shape, its dates and bands checked; raises RuleError with the first fault and its line."""
    try:
        return shape.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, RuleFault):
            raise RuleError(path, line_of(path, (cause.table, cause.index)), str(cause)) from None
        where = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]
        ).lstrip(".")
        reason = first["msg"].removeprefix("Value error, ")
        raise RuleError(
            path, line_of(path, first["loc"]), f"{where or 'the file'}: {reason}"
        ) from None


def line_of(path: Path, at: Sequence[Any]) -> int | None:
    """The line where a row begins, be it one within a row, or where a key stands; None where the text does not tell."""
    lines = text_of(path).splitlines()
    if len(at) > 1 and isinstance(at[1], int):
        return _row(lines, at)
    for key in at[:1]:
        for number, line in enumerate(lines, 1):
            if re.match(rf"\s*(\[{re.escape(str(key))}\]|{re.escape(str(key))}\s*=)", line):
                return number
    return None


def _row(lines: Sequence[str], at: Sequence[Any]) -> int | None:
    starts = [number for number, line in enumerate(lines, 1) if line.strip() == f"[[{at[0]}]]"]
    if at[1] >= len(starts):
        return None
    begins: int = starts[at[1]]
    if len(at) < 4 or not isinstance(at[3], int):
        return begins
    ends = starts[at[1] + 1] if at[1] + 1 < len(starts) else len(lines) + 1
    inside = [
        number
        for number in range(begins, ends)
        if lines[number - 1].strip() == f"[[{at[0]}.{at[2]}]]"
    ]
    return inside[at[3]] if at[3] < len(inside) else begins
