"""Structured logs that redact by type: an unknown value appears only as the name of its type."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from uuid import UUID

import structlog
from aiokafka.errors import KafkaError

from shared.errors import Misconfigured, Unavailable, Unprocessable
from shared.money import Money

_SUSPECT: Final = re.compile(
    r"(?<![0-9A-Za-z-])(\d{17}[\dXx]|\+?\d{0,3}1[3-9]\d{9})(?![0-9A-Za-z-])"
)
"""Text that looks like an identity number or a phone. It is masked, whoever let it through."""
_PERSONAL_KEYS: Final = frozenset(
    {"name", "phone", "id_number", "address", "buyer", "payer", "consignee", "particulars"}
)
_PLAIN: Final = (UUID, Decimal, date, time, timedelta, Path, Money)
_ITEMS_MAX: Final = 20
_OWN: Final = (Misconfigured, Unavailable, Unprocessable, KafkaError, OSError, TimeoutError)
"""Errors whose texts carry no value of a record: ours name a rule, the network's an address."""


def _redact(
    _logger: Any, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in entry.items():
        if key != "exc_info":
            entry[key] = "…" if key in _PERSONAL_KEYS else harmless(value)
    return entry


def harmless(value: Any) -> Any:  # noqa: PLR0911  one line for each type
    """Return a value as it may be logged.

    A plain value stays, and suspicious text in it is masked. A sequence keeps its first 20 items,
    each treated so. Anything else, such as an order or a person, becomes the name of its type or
    its size.
    """
    match value:
        case None | bool() | int() | float():
            return value
        case Enum():
            return harmless(value.value)
        case str():
            return _SUSPECT.sub("…", value)
        case BaseException():
            return text_of(value)
        case list() | tuple() | set() | frozenset():
            return [harmless(each) for each in list(value)[:_ITEMS_MAX]]
        case _ if isinstance(value, _PLAIN):
            return str(value)
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case Mapping():
            return f"<{len(value)} entries>"
    return f"<{type(value).__name__}>"


def text_of(error: BaseException) -> str:
    """Return the error in one line, without values of a record.

    Only our own errors and the network's keep their text. Another error may quote the refused
    value.
    """
    name = type(error).__name__
    if isinstance(error, _OWN):
        return harmless(f"{name}: {error}") if str(error) else name
    # A database error also names its code, table and constraint, which are harmless.
    place = [
        str(found)
        for part in ("sqlstate", "table_name", "constraint_name")
        if (found := getattr(error, part, None))
    ]
    return f"{name} ({', '.join(place)})" if place else name


def _trace(error: BaseException | None, frames: TracebackType | None = None) -> str:
    lines: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        lines += [line.rstrip("\n") for line in traceback.format_tb(frames or error.__traceback__)]
        lines.append(text_of(error))
        frames = None
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if error is not None:
            lines.append("… which came of:")
    return "\n".join(lines)


def _exception(
    _logger: Any, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    given = entry.pop("exc_info", None)
    if given:
        error = (
            given
            if isinstance(given, BaseException)
            else given[1]
            if isinstance(given, tuple)
            else sys.exc_info()[1]
        )
        entry["exception"] = _trace(error)
    return entry


class _Line(logging.Formatter):
    """Redacts the lines of libraries in the same way."""

    def format(self, record: logging.LogRecord) -> str:
        # Redact the arguments before they become part of a text. Plain ones keep their type for the
        # %-format.
        if isinstance(record.args, tuple):
            record.args = tuple(harmless(each) for each in record.args)
        elif record.args:
            record.args = {name: harmless(each) for name, each in record.args.items()}
        return str(harmless(super().format(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's own name
        return _trace(ei[1], ei[2])


def configure(service: str, level: str = "INFO", style: str = "json") -> None:
    """Write one line per entry to standard error, as `json` or for the `console`.

    Loggers of libraries write from WARNING on, and no payloads.
    """
    renderer = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            _redact,
            _exception,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=service)
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_Line("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[lines], force=True)
