"""Structured logs; a last net masks what looks like an identity number or a phone, whoever let it through."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

_SUSPECT: Final = re.compile(r"(?<![0-9A-Za-z-])(\d{17}[\dXx]|\+?\d{0,3}1[3-9]\d{9})(?![0-9A-Za-z-])")
_PERSONAL_KEYS: Final = frozenset({"name", "phone", "id_number", "address", "buyer", "payer", "consignee", "particulars"})


def _mask(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in entry.items():
        if key in _PERSONAL_KEYS:
            entry[key] = "…"
        elif isinstance(value, str) and _SUSPECT.search(value):
            entry[key] = _SUSPECT.sub("…", value)
    return entry


def configure(service: str, level: str = "INFO", style: str = "json") -> None:
    """Write one line per entry to standard error; libraries' own loggers only from WARNING, and without payloads."""
    renderer = (
        structlog.processors.JSONRenderer() if style == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.format_exc_info,
            _mask,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=service)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s", force=True)
