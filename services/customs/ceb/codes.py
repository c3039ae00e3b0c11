"""The authority's codes and their meanings. A value without a code is refused by name, never
guessed.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, Literal

StatusClass = Literal[
    "waiting",
    "accepted",
    "review",
    "examination",
    "held",
    "released",
    "closed",
    "granted",
    "returned",
    "detained",
    "shipback",
    "technical",
]
Table = Literal["country", "currency", "unit"]
_WHAT: Final[dict[Table, str]] = {
    "country": "country (ISO 3166-1 alpha-2)",
    "currency": "currency (ISO 4217)",
    "unit": "unit of quantity",
}


class UnknownCode(ValueError):
    """The authority's code lists here have no such value."""


@dataclass(frozen=True, slots=True)
class Status:
    """A returnStatus: its meaning, and what the declarant does about it (`meaning_class`)."""

    code: str
    meaning_class: StatusClass
    meaning: str
    chinese: str
    confidence: str


Way = Literal["decision", "there", "wait", "ours"]
"""What follows from a code of the e-port or the exchange platform, which decide nothing for customs
(codes.toml).
"""


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A code that gives the reason of a return; `way` where no officer of customs gave it."""

    code: str
    meaning: str
    confidence: str
    source: str
    way: Way | None = None


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    return tomllib.loads(
        files("services.customs.ceb").joinpath("codes.toml").read_text(encoding="utf-8")
    )


@lru_cache(maxsize=1)
def _statuses() -> dict[str, Status]:
    return {row[0]: Status(row[0], row[1], row[2], row[3], row[4]) for row in _data()["status"]}


@lru_cache(maxsize=1)
def _errors() -> dict[str, ErrorCode]:
    return {row[0]: ErrorCode(*row) for row in _data()["error"]}


@lru_cache(maxsize=8)
def _codes_by_name(table: Table) -> dict[str, str]:
    return {row[0]: row[1] for row in _data()[table]}


@lru_cache(maxsize=8)
def _names_by_code(table: Table) -> dict[str, str]:
    # Reversed, so that the first name of a code wins.
    return {row[1]: row[0] for row in reversed(_data()[table])}


def _code(table: Table, value: str) -> str:
    try:
        return _codes_by_name(table)[value]
    except KeyError:
        raise UnknownCode(
            f"{_WHAT[table]} {value!r} has no code in the authority's list here"
        ) from None


def _name(table: Table, code: str) -> str:
    try:
        return _names_by_code(table)[code]
    except KeyError:
        raise UnknownCode(
            f"the authority's code {code!r} names no {_WHAT[table]} known here"
        ) from None


def country_code(iso: str) -> str:
    """Return the authority's 3-digit code of an ISO 3166-1 alpha-2 country. Raises UnknownCode."""
    return _code("country", iso)


def country_of(code: str) -> str:
    return _name("country", code)


def currency_code(iso: str) -> str:
    """Return the authority's 3-digit code of an ISO 4217 currency. Raises UnknownCode."""
    return _code("currency", iso)


def currency_of(code: str) -> str:
    return _name("currency", code)


def unit_code(name: str) -> str:
    """Return the authority's 3-digit code of a unit (`kg`, `ml`, `piece` …). Raises UnknownCode."""
    return _code("unit", name)


def unit_of(code: str) -> str:
    return _name("unit", code)


def status(code: str) -> Status:
    known = find_status(code)
    if known is None:
        raise UnknownCode(f"returnStatus {code!r} is not in the authority's list here")
    return known


def find_status(code: str) -> Status | None:
    """Return the meaning of a returnStatus, None where no list here has it.

    Any value below zero is a technical failure at the e-port [202205].
    """
    listed = _statuses().get(code)
    if listed is not None:
        return listed
    if code.startswith("-") and code[1:].isascii() and code[1:].isdecimal():
        error = _errors().get(code)
        return Status(
            code,
            "technical",
            error.meaning if error else "technical failure at the e-port",
            "电子口岸异常",
            "spec",
        )
    return None


def decided() -> dict[str, StatusClass]:
    return {code: known.meaning_class for code, known in _statuses().items()}


def status_label(code: str) -> str:
    """Return the status as a metric's label: itself if listed, `-n` for any other technical
    failure.
    """
    return code if code in _statuses() or code in _errors() else "-n"


DecState = Literal["waiting", "declared", "returned", "finished", "unknown"]


@lru_cache(maxsize=1)
def _dec_states() -> dict[str, DecState]:
    return {row[0]: row[1] for row in _data()["dec_state"]}


def dec_state(code: str) -> DecState:
    """Return the meaning of a CEB792's decState; `unknown` if unlisted, since customs alone
    determines the values.
    """
    return _dec_states().get(code, "unknown")


@lru_cache(maxsize=1)
def _passed() -> frozenset[str]:
    return frozenset(_data()["passed"])


def is_passed(code: str) -> bool:
    """Return whether an inner code reports a passed check, which is no reason for a refusal."""
    return code in _passed()


def error(code: str) -> ErrorCode | None:
    return _errors().get(code)


@lru_cache(maxsize=1)
def _failures() -> tuple[tuple[re.Pattern[str], Way], ...]:
    return tuple((_form(row[0]), row[1]) for row in _data()["failure"])


_ANY: Final = re.compile("-[0-9]+")


def _form(form: str) -> re.Pattern[str]:
    return _ANY if form == "-*" else re.compile(form.replace("n", "[0-9]"))


@lru_cache(maxsize=1024)
def way_of(code: str) -> Way | None:
    """Return what follows from a code of the e-port or the exchange platform; None for a decision
    of customs.
    """
    return listed_way_of(code) or next(
        (way for form, way in _failures() if form.fullmatch(code)), None
    )


@lru_cache(maxsize=1024)
def listed_way_of(code: str) -> Way | None:
    """Return what follows from a code by itself or its form; None for one that is only a number
    below zero.
    """
    known = _errors().get(code) or _errors().get(code.removeprefix("-").zfill(4))
    if known is not None and known.way is not None:
        return known.way
    return next(
        (way for form, way in _failures() if form is not _ANY and form.fullmatch(code)), None
    )
