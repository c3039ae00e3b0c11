"""The yearly weights that an order holds under the positive list. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from services.tax.domain.assessable import Weighed
from services.tax.domain.ledger import milligrams
from services.tax.rulebook.book import Rulebook
from shared.clock import beijing_date
from shared.events.customs import ReturnedLine
from shared.events.orders import OrderPlaced
from shared.money import part_between


class LineWeight(NamedTuple):
    """The weight of an order line, and the part of it that the order holds now, in milligrams.

    `hs` is the limited prefix of the positive list.
    """

    line_no: int
    hs: str
    whole_mg: int
    held_mg: int


def is_weighed(order: OrderPlaced, rules: Rulebook) -> bool:
    """Return whether a line has a yearly weight limit on the day the order counts on."""
    in_force = rules.on(order.direction, order.mode, beijing_date(order.counts_at))
    if in_force is None or in_force.regime.kind != "retail-import":
        return False
    goods_of_lines = (in_force.find(line.hs_code) for line in order.lines)
    return any(
        goods is not None and goods.listed is not None and goods.listed.kg_a_year is not None
        for goods in goods_of_lines
    )


def hold(weighed: Iterable[Weighed]) -> tuple[LineWeight, ...]:
    whole = ((x.line_no, x.hs, milligrams(x.kilograms)) for x in weighed)
    return tuple(LineWeight(line_no, hs, mg, mg) for line_no, hs, mg in whole)


def free(weights: Iterable[LineWeight]) -> tuple[LineWeight, ...]:
    return tuple(weight._replace(held_mg=0) for weight in weights)


def give_back(
    weights: Sequence[LineWeight], lines: Iterable[ReturnedLine]
) -> tuple[tuple[LineWeight, ...], tuple[LineWeight, ...]]:
    """Return what is held after goods came back in time, and what is given back.

    The returns of a line sum to its whole weight.
    """
    by_number = {line.line_no: line for line in lines}
    stays, back = [], []
    for weight in weights:
        line, part = by_number.get(weight.line_no), 0
        if line is not None:
            part = part_between(weight.whole_mg, line.returned_before, line.returned, line.ordered)
        stays.append(weight._replace(held_mg=weight.held_mg - part))
        back.append(weight._replace(held_mg=part))
    return tuple(stays), tuple(back)
