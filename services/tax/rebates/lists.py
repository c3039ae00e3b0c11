"""Released export lists and their lines, as claims take them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from shared.money import Money

UNDECLARED: Final = "no closed consolidated declaration is given"


class Declared(NamedTuple):
    """The closed consolidated declaration of a line, and its line there; None where a file does not
    name it."""

    entry_id: str
    line: int | None


class ExportedLine(NamedTuple):
    """A line of a released export list; `total` is its price FOB.

    `waits` is the reason why it is in no closed declaration yet.
    """

    line_no: int
    sku: str
    hs_code: str
    quantity: Decimal
    unit: str
    total: Money
    declared: Declared | None = None
    waits: str = UNDECLARED


@dataclass(frozen=True, slots=True)
class ReleasedList:
    """A released export list; one under summary `statistics` never goes into a declaration."""

    list_no: str
    merchant: str
    mode: str
    released_on: date
    lines: tuple[ExportedLine, ...]
    order_no: str = ""
    statistics: bool = False
    paid: bool = True
    came_back: bool = False
