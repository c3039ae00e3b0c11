"""What an order holds of the yearly weights of the positive list; pure."""

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
    """What a line of an order weighs, and what of it the order holds now of the buyer's year, in milligrams; `hs` is the prefix of
    the positive list whose note limits the goods."""

    line_no: int
    hs: str
    whole_mg: int
    held_mg: int


def is_weighed(order: OrderPlaced, rules: Rulebook) -> bool:
    """Whether some line is of goods that a person may buy only so many kilograms of in a year, on the day it counts on."""
    in_force = rules.on(order.direction, order.mode, beijing_date(order.counts_at))
    if in_force is None or in_force.regime.kind != "retail-import":
        return False
    found = (in_force.find(line.hs_code) for line in order.lines)
    return any(
        goods is not None and goods.listed is not None and goods.listed.kg_a_year is not None
        for goods in found
    )


def held(weighed: Iterable[Weighed]) -> tuple[LineWeight, ...]:
    """What an order that is assessed begins to hold."""
    whole = ((x.line_no, x.hs, milligrams(x.kilograms)) for x in weighed)
    return tuple(LineWeight(line_no, hs, mg, mg) for line_no, hs, mg in whole)


def freed(weights: Iterable[LineWeight]) -> tuple[LineWeight, ...]:
    """What is left of it when the order is void: nothing."""
    return tuple(weight._replace(held_mg=0) for weight in weights)


def given_back(
    weights: Sequence[LineWeight], lines: Iterable[ReturnedLine]
) -> tuple[tuple[LineWeight, ...], tuple[LineWeight, ...]]:
    """What is held once these goods are back in time, and what is given back; the returns of a line sum to its whole."""
    by_number = {line.line_no: line for line in lines}
    stays, back = [], []
    for weight in weights:
        line, part = by_number.get(weight.line_no), 0
        if line is not None:
            part = part_between(weight.whole_mg, line.returned_before, line.returned, line.ordered)
        stays.append(weight._replace(held_mg=weight.held_mg - part))
        back.append(weight._replace(held_mg=part))
    return tuple(stays), tuple(back)
