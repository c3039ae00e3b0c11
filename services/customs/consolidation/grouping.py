"""How lines of export lists become lines of consolidated declarations. Pure.

The grouping key is general knowledge of GACC 2018 No. 194, whose text was not found. The numbers
are policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from shared.money import Money


class Head(NamedTuple):
    """What all lists of one declaration share."""

    customs_code: str
    consignor: str
    owner: str
    country: str
    trade_mode: str
    traf_mode: str


class Key(NamedTuple):
    """What all list lines in one declared line share; `name` is empty where goods of different
    names may share a line.
    """

    destination: str
    hs_code: str
    currency: str
    unit: str
    name: str


class LinePlace(NamedTuple):
    """A line of a list."""

    invt_no: str
    line_no: int


@dataclass(frozen=True, slots=True)
class ListLine:
    """A line of a list with what it is grouped by and what is added up."""

    place: LinePlace
    head: Head
    destination: str
    hs_code: str
    name: str
    quantity: Decimal
    unit: str
    total: Money


@dataclass(frozen=True, slots=True)
class Grouping:
    """At most so many lines a declaration, told apart by digits of the tariff code and perhaps by
    the goods' name.
    """

    lines_max: int
    hs_digits: int = 10
    by_name: bool = False

    def key_of(self, line: ListLine) -> Key:
        return Key(
            line.destination,
            line.hs_code[: self.hs_digits],
            line.total.currency,
            line.unit,
            line.name if self.by_name else "",
        )


@dataclass(frozen=True, slots=True)
class DeclaredLine:
    """A line of a declaration: its list lines and their sums."""

    key: Key
    places: tuple[LinePlace, ...]
    quantity: Decimal
    total: Money


@dataclass(frozen=True, slots=True)
class PlannedDeclaration:
    """A declaration to expect: its head and lines."""

    head: Head
    lines: tuple[DeclaredLine, ...]


class IncompatibleLines(ValueError):
    """Lines share a declaration, or a line of it, that may not."""


def group_lines(lines: Iterable[ListLine], by: Grouping) -> list[PlannedDeclaration]:
    """Return the declarations that these lines make: every line in exactly one, in the order of
    heads and keys.
    """
    heads: dict[Head, dict[Key, list[ListLine]]] = {}
    for line in sorted(lines, key=lambda each: each.place):
        heads.setdefault(line.head, {}).setdefault(by.key_of(line), []).append(line)
    return [
        PlannedDeclaration(head, tuple(part))
        for head, keys in sorted(heads.items())
        for part in _parts(
            [_declared(key, lines_of_key) for key, lines_of_key in sorted(keys.items())],
            by.lines_max,
        )
    ]


def _declared(key: Key, lines: Sequence[ListLine]) -> DeclaredLine:
    total = Money.total((line.total for line in lines), key.currency)
    return DeclaredLine(
        key,
        tuple(line.place for line in lines),
        sum((line.quantity for line in lines), Decimal(0)),
        total,
    )


def _parts(lines: Sequence[DeclaredLine], most: int) -> Iterator[Sequence[DeclaredLine]]:
    for start in range(0, len(lines), most):
        yield lines[start : start + most]


def check(lines: Iterable[tuple[int, ListLine]], by: Grouping) -> None:
    """Raise IncompatibleLines where list lines may not share a declaration or a line of it, or are
    too many.
    """
    head: Head | None = None
    keys: dict[int, Key] = {}
    for number, line in lines:
        head = head or line.head
        if line.head != head:
            name = next(
                name for name in Head._fields if getattr(line.head, name) != getattr(head, name)
            )
            raise IncompatibleLines(
                f"list {line.place.invt_no} has another {name} than the lists before it"
            )
        key = keys.setdefault(number, by.key_of(line))
        if by.key_of(line) != key:
            name = next(
                name for name in Key._fields if getattr(by.key_of(line), name) != getattr(key, name)
            )
            raise IncompatibleLines(
                f"line {number}: {line.place.invt_no} line {line.place.line_no} has another "
                f"{name} than those before it"
            )
    if len(keys) > by.lines_max:
        raise IncompatibleLines(f"found {len(keys)} lines, expected at most {by.lines_max}")
