"""Documents and JSON lines from files or stdin, and one line of JSON for each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from json import dumps, loads
from pathlib import Path
from typing import Any, Final

from services.cli.connect import Exit, UsageError
from services.cli.fault_sentences import FieldFault

BYTES_MAX: Final = 256 * 1024 * 1024


FAULTS_MAX: Final = 1000
"""The most faults of one document that are listed; of further ones only the number."""


class Unread(UsageError):
    """A malformed document; `faults` has one entry for each wrong field."""

    def __init__(self, name: str, faults: Sequence[FieldFault]) -> None:
        more = (
            [f"{name}: and {len(faults) - FAULTS_MAX} faults more"]
            if len(faults) > FAULTS_MAX
            else []
        )
        super().__init__("\n".join([*(f"{name}: {fault}" for fault in faults[:FAULTS_MAX]), *more]))
        self.faults: Final = tuple(faults[:FAULTS_MAX])


def error_document(error: UsageError) -> dict[str, Any]:
    """Return an error for scripts: its text, and each fault of a document."""
    faults = (
        {"faults": [fault._asdict() for fault in error.faults]} if isinstance(error, Unread) else {}
    )
    return {"error": str(error), **faults}


def bytes_of(file: Path) -> bytes:
    """Return a file's bytes, or those of stdin for `-`; raises UsageError."""
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read()
        if file.stat().st_size > BYTES_MAX:
            raise UsageError(f"{file} is over {BYTES_MAX} bytes: split it")
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None


def text_of(name: str, raw: bytes) -> str:
    """Return UTF-8 text without byte order mark; raises UsageError, which names UTF-16."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{name} is UTF-16 text: write it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text, from byte {error.start} on") from None


def is_many(file: Path, raw: bytes) -> bool:
    """Return whether these are JSON lines, by file name or because only single lines are
    documents."""
    if file.suffix in {".jsonl", ".ndjson"}:
        return True
    lines = [line for line in raw.split(b"\n") if line.strip()]
    return len(lines) > 1 and not _is_json(raw) and any(_is_json(line) for line in lines)


def _is_json(raw: bytes) -> bool:
    try:
        return isinstance(loads(raw.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def lines_of(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each line that is not empty, with its number; only line feeds end a line."""
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.strip():
            yield number, line


def answer_many(
    raw: bytes,
    answer: Callable[[str, str], dict[str, Any]],
    refused: Callable[[dict[str, Any]], bool],
) -> Exit:
    """Print one line of JSON for each line: its answer with the line's number, or its faults.

    The exit status is 2 if a line was wrong, else 1 if an answer is a refusal.
    """
    status = Exit.DONE
    for number, line in lines_of(raw):
        name = f"line {number}"
        try:
            reply = answer(name, text_of(name, line))
        except UsageError as error:
            status, reply = Exit.WRONG, error_document(error)
        else:
            if status is Exit.DONE and refused(reply):
                status = Exit.NO
        print(dumps({"line": number, **reply}, ensure_ascii=False))
    return status
