"""What of an assessment belongs to goods that came back; pure."""

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
    """What was assessed on the goods of one return, exactly as it was assessed: each line by the quantity that came back,
    starting where the return before it ended, so that the returns of an order sum to its assessment to the fen.

    Tax that is on the head alone (parcel tax) is shared over the lines by dutiable value, largest remainder. A line the
    assessment does not know has nothing.
    """
    by_number = {line.line_no: line for line in lines}
    of_lines = [(x.duty + x.consumption_tax + x.vat).minor for x in assessed.lines]
    values = [x.dutiable_value.minor for x in assessed.lines]
    on_head = share_by_largest_remainder(assessed.total.minor - sum(of_lines), values)
    value, tax = 0, 0
    for assessed_line, dutiable, shared in zip(assessed.lines, values, on_head, strict=True):
        line = by_number.get(assessed_line.line_no)
        if line is not None:
            stretch = (line.returned_before, line.returned, line.ordered)
            value += part_between(dutiable, *stretch)
            tax += sum(part_between(part, *stretch) for part in _taxes(assessed_line)) + part_between(shared, *stretch)
    return Belongs(value, tax)


def _taxes(line: TaxLine) -> tuple[int, int, int]:
    return line.duty.minor, line.consumption_tax.minor, line.vat.minor
