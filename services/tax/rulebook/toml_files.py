"""Rule files read as TOML: every fault names file, line and reason."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from services.tax.rulebook.rows import RuleFault
from shared.errors import Misconfigured

FILE_BYTES_MAX: Final = 4 * 1024 * 1024

Model = TypeVar("Model", bound=BaseModel)


class RuleError(Misconfigured):
    """A rule file cannot be used: file, line and reason."""

    def __init__(self, path: Path, line: int | None, reason: str) -> None:
        where = path.name if line is None else f"{path.name}:{line}"
        super().__init__(f"{where}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


def text_of(path: Path) -> str:
    """Return the text of a rule file without byte order mark.

    Raises RuleError where it is too large, unreadable or not UTF-8.
    """
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
        reason = f"cannot be read: byte {error.start} is not UTF-8 text, write it as UTF-8"
        raise RuleError(path, line, reason) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a file; raises RuleError where it is unreadable or not TOML."""
    return parse(path, text_of(path))


def parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line ([0-9]+)", str(error))
        raise RuleError(path, int(line[1]) if line else None, f"not TOML: {error}") from None


def validated(path: Path, content: dict[str, Any], shape: type[Model]) -> Model:
    """Return the validated document; raises RuleError with the first fault."""
    try:
        return shape.model_validate(content)
    except ValidationError as error:
        raise next(faults_in(path, error)) from None


def faults_in(path: Path, error: ValidationError) -> Iterator[RuleError]:
    for each in error.errors(include_url=False):
        yield _fault(path, each)


def _fault(path: Path, error: ErrorDetails) -> RuleError:
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, RuleFault):
        return RuleError(path, line_of(path, (cause.table, cause.index)), str(cause))
    at, value = error["loc"], error["input"]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")
    reason = error["msg"].removeprefix("Value error, ")
    line = line_of(path, at or reason.split()[:1])
    if error["type"] != "missing" and isinstance(value, str | int | float | date):
        reason = f"{reason}, found {value!r}"
    return RuleError(path, line, f"{where or 'the file'}: {reason}")


def line_of(path: Path, at: Sequence[Any]) -> int:
    """Return the line of a row, of a row within a row, or of a key.

    A missing one has the line of its table, or the first line with content.
    """
    lines = text_of(path).splitlines()
    if len(at) > 1 and isinstance(at[1], int):
        return _row(lines, at) or _first(lines)
    return (_key_line(lines, at) if at else None) or _first(lines)


def _row(lines: Sequence[str], at: Sequence[Any]) -> int | None:
    starts = _lines_with(lines, f"[[{at[0]}]]", 1, len(lines) + 1)
    if at[1] >= len(starts):
        return None
    begins: int = starts[at[1]]
    if len(at) < 4 or not isinstance(at[3], int):
        return begins
    ends = starts[at[1] + 1] if at[1] + 1 < len(starts) else len(lines) + 1
    inside = _lines_with(lines, f"[[{at[0]}.{at[2]}]]", begins, ends)
    return inside[at[3]] if at[3] < len(inside) else begins


def _lines_with(lines: Sequence[str], content: str, begin: int, end: int) -> list[int]:
    return [number for number in range(begin, end) if lines[number - 1].strip() == content]


def _key_line(lines: Sequence[str], at: Sequence[Any]) -> int | None:
    tables = [number for number, line in enumerate(lines, 1) if line.startswith("[")]
    for begin in tables:
        if lines[begin - 1].strip() == f"[{at[0]}]":
            end = next((number for number in tables if number > begin), len(lines) + 1)
            return _key(lines, at[-1], begin, end) or begin
    return _key(lines, at[0], 0, tables[0] if tables else len(lines) + 1)


def _key(lines: Sequence[str], key: Any, after: int, before: int) -> int | None:
    pattern = re.compile(rf"\s*{re.escape(str(key))}\s*=")
    numbers = range(after + 1, before)
    return next((number for number in numbers if pattern.match(lines[number - 1])), None)


def _first(lines: Sequence[str]) -> int:
    written = (n for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#"))
    return next(written, 1)
