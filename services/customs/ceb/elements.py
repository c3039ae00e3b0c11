"""Values written as the text of an element, checked against the schema's lengths and
forms. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from services.customs.ceb import codes
from shared.clock import BEIJING
from shared.money import Money

"""The authority's clock: no daylight saving since 1991."""

Write = Callable[[Any], str]

_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"}
# XML 1.0 cannot write control characters, halves of a surrogate pair, U+FFFE and U+FFFF.
_NO_XML: Final = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
_UNWRITABLE: Final = re.compile(f"[{_NO_XML}]")
# One character set is searched four times as fast as a choice of two, and every text is searched.
_CAREFUL: Final = re.compile(f"[&<>\r{_NO_XML}]")
_PLAIN_NUMBER: Final = re.compile(r"-?[0-9]{1,14}(\.[0-9]{1,5})?")


class NotDeclarable(ValueError):
    """A document cannot be written: which one, which field, which rule. Values are never quoted."""

    def __init__(self, cop_no: str, field: str, element: str, rule: str) -> None:
        super().__init__(f"{cop_no}: {field} ({element}) {rule}")
        self.cop_no = cop_no
        self.field = field
        self.element = element
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Column:
    """One element of a message: its name, the attribute it comes from, and how it is written.

    Without a source, `write` needs no value.
    """

    element: str
    source: str | None
    write: Write
    optional: bool = False


def escape(value: str) -> str:
    """Return text for an element. Raises ValueError for characters XML cannot carry.

    Carriage returns become references: a reader would turn bare ones into line feeds and break the
    signature.
    """
    if not _CAREFUL.search(value):
        return value
    if _UNWRITABLE.search(value):
        raise ValueError("holds a character that XML cannot carry")
    return _CAREFUL.sub(lambda m: _ESCAPES[m[0]], value)


def text(longest: int, shortest: int = 1) -> Write:
    def write(value: str) -> str:
        if not shortest <= len(value) <= longest:
            raise ValueError(
                f"has {len(value)} characters, the message takes {shortest} to {longest}"
            )
        return escape(value)

    return write


def exactly(length: int) -> Write:
    return text(length, length)


def fixed(value: str) -> Write:
    return lambda _: value


def number(value: Decimal) -> str:
    """Write N19,5: at most 19 digits, 5 of them decimals; never an exponent, never rounded."""
    if _PLAIN_NUMBER.fullmatch(plain := str(value)):  # as nearly all are
        return plain
    if not value.is_finite():
        raise ValueError("is not a finite number")
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if exponent < -5:
        # By digits: arithmetic would silently round a long number to the context's precision.
        if any(digits[exponent + 5 :]):
            raise ValueError("has more than 5 decimals")
        digits, exponent = digits[: exponent + 5] or (0,), -5
        value = Decimal((sign, digits, exponent))
    if max(len(digits), len(digits) + exponent, -exponent) > 19:
        raise ValueError("has more than 19 digits")
    return f"{value:f}"


def amount(value: Money) -> str:
    return number(value.major)


def yuan(value: Money) -> str:
    """Write an amount of an import message, where every amount is CNY [202205: currency
    fixed 142].
    """
    if value.currency != "CNY":
        raise ValueError(f"is in {value.currency}, an import message has CNY only")
    return amount(value)


def currency(value: Money) -> str:
    return codes.currency_code(value.currency)


def whole(value: int) -> str:
    return str(value)


def bar_code(value: str | None) -> str:
    """Write a bar code; `无` stands for none [202205]."""
    return "无" if value is None else text(50)(value)


@lru_cache(maxsize=256)
def moment(value: datetime) -> str:
    """Write yyyyMMddHHmmss, Beijing."""
    if value.tzinfo is None:
        raise ValueError("has no time zone")
    return value.astimezone(BEIJING).strftime("%Y%m%d%H%M%S")


def day(value: date) -> str:
    return moment(value)[:8] if isinstance(value, datetime) else value.strftime("%Y%m%d")


Compiled = tuple[tuple[str, str, str, Callable[[Any], Any] | None, Write, bool], ...]


def compiled(table: tuple[Column, ...]) -> Compiled:
    return tuple(
        (c.source or "", f"<{c.element}>", f"</{c.element}>", _getter(c), c.write, c.optional)
        for c in table
    )


def _getter(column: Column) -> Callable[[Any], Any] | None:
    if column.source is None:
        return None
    head, _, tail = column.source.partition(".")
    if not tail:
        return attrgetter(head)
    outer, inner = attrgetter(head), attrgetter(tail)

    def get(document: Any) -> Any:
        part = outer(document)
        return None if part is None else inner(part)

    return get


def write_row(table: Compiled, document: Any, cop_no: str, into: list[str]) -> None:
    for source, opening, closing, get, write, optional in table:
        value = get(document) if get is not None else None
        try:
            if value is None and get is not None and write is not bar_code:
                if optional:
                    continue
                raise ValueError("is missing")
            into += (opening, write(value), closing)
        except ValueError as error:
            raise NotDeclarable(cop_no, source, opening[1:-1], str(error)) from None


def address_line(region: str | None, city: str | None, address: str) -> str:
    return " ".join(part for part in (region, city, address) if part)
