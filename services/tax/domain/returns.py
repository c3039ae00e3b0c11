"""The share of an assessment that belongs to returned goods. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shared.events.customs import ReturnedLine
from shared.events.tax import TaxAssessed, TaxLine
from shared.money import part_between, share_by_largest_remainder


class Belongs(NamedTuple):
    """The dutiable value and the tax of some goods, in minor units of the assessment's currency."""

    dutiable_value: int
    tax: int


def belongs_to(assessed: TaxAssessed, lines: Sequence[ReturnedLine]) -> Belongs:
    """Return what was assessed on the goods of one return, line by line, by returned quantity.

    Each return starts where the one before it ended, so all returns of an order sum to its tax to
    the fen. Tax of the whole order (parcel tax) is shared over the lines by dutiable value, largest
    remainder. A line that the assessment does not have owes nothing.
    """
    by_number = {line.line_no: line for line in lines}
    levied = [_levied(assessed, x) for x in assessed.lines]
    values = [x.dutiable_value.minor for x in assessed.lines]
    on_head = share_by_largest_remainder(assessed.owed.minor - sum(map(sum, levied)), values)
    value, tax = 0, 0
    for assessed_line, parts, dutiable, shared in zip(
        assessed.lines, levied, values, on_head, strict=True
    ):
        line = by_number.get(assessed_line.line_no)
        if line is not None:
            stretch = (line.returned_before, line.returned, line.ordered)
            value += part_between(dutiable, *stretch)
            tax += sum(part_between(part, *stretch) for part in (*parts, shared))
    return Belongs(value, tax)


def _levied(assessed: TaxAssessed, line: TaxLine) -> tuple[int, ...]:
    """Return the owed taxes of a line.

    A small ticket waives either all taxes or the duty; the regimes have no other waiver.
    """
    if not assessed.owed.minor:
        return ()
    if assessed.owed + assessed.duty == assessed.total:
        return line.consumption_tax.minor, line.vat.minor
    return line.duty.minor, line.consumption_tax.minor, line.vat.minor
