"""Goods of a cleared list that come back: what may be returned, by when, and what has come. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

from shared.clock import beijing_date
from shared.events import customs as said
from shared.events.orders import OrderPlaced, ReturnPart
from shared.events.tax import TaxAssessed
from shared.money import Money

ReturnState = Literal["asked", "granted", "refused", "back", "late"]
OPEN: Final = ("asked", "granted")
"""The goods are on their way, or nobody has said yet that they may be."""
BACK: Final = ("back", "late")


@dataclass(frozen=True)
class Return:
    """One return of a list. `parts`: the lines asked for, none for all that is left; `lines` what came back, once it has.

    `pre_no` is the authority's number of the application, by which its later words are told from those on another.
    """

    return_no: int
    state: ReturnState
    parts: tuple[ReturnPart, ...]
    refund_if_late: bool
    applied_at: datetime
    pre_no: str | None = None
    back_at: datetime | None = None
    lines: tuple[said.ReturnedLine, ...] = ()


@dataclass(frozen=True, slots=True)
class ReturnTerms:
    """Within how many days after the release a return is applied for and its goods are back, for what is released on a day
    of the term's validity; `valid_to` is the last.

    `given_up_days` is ours and no law: goods may come back late, but so many days past the term nobody waits any longer.
    """

    direction: str
    valid_from: date
    valid_to: date | None
    apply_days_max: int
    back_days_max: int
    source: str
    given_up_days: int


def days_between(start: datetime, stop: datetime) -> int:
    """Calendar days in Beijing; the day of the release is not counted, the last one counts until its midnight.

    "Within 30 days from the date of release" (GACC 2020 No. 45, art. 3); a term of days begins on the day after
    (Civil Code of China, art. 201), in Beijing as everywhere in China.
    """
    return (beijing_date(stop) - beijing_date(start)).days


def terms_on(terms: Sequence[ReturnTerms], direction: str, day: date) -> ReturnTerms | None:
    """The terms for goods released on a day, None where none are known."""
    for term in terms:
        if (
            term.direction == direction
            and term.valid_from <= day
            and (term.valid_to is None or day <= term.valid_to)
        ):
            return term
    return None


def given_up_after(term: ReturnTerms, released_at: datetime) -> date:
    """The last day on which goods released then are waited for."""
    return beijing_date(released_at) + timedelta(days=term.back_days_max + term.given_up_days)


def quantities_back(returns: Sequence[Return]) -> dict[int, Decimal]:
    """How many of each line are back already."""
    found: dict[int, Decimal] = {}
    for each in returns:
        if each.state in BACK:
            for line in each.lines:
                found[line.line_no] = found.get(line.line_no, Decimal(0)) + line.quantity
    return found


def quantities(
    order: OrderPlaced, parts: Sequence[ReturnPart], before: Mapping[int, Decimal]
) -> dict[int, Decimal]:
    """How many of which lines these parts mean: all that is left where nothing else is said."""
    left = {
        line.line_no: line.quantity - before.get(line.line_no, Decimal(0)) for line in order.lines
    }
    if not parts:
        return {number: quantity for number, quantity in left.items() if quantity > 0}
    return {
        part.line_no: left[part.line_no] if part.quantity is None else part.quantity
        for part in parts
    }


def unreturnable(
    order: OrderPlaced, parts: Sequence[ReturnPart], before: Mapping[int, Decimal]
) -> str | None:
    """Why these parts cannot come back: a line that is none, twice, or more of it than is left (CEB625: qty <= original)."""
    left = {
        line.line_no: line.quantity - before.get(line.line_no, Decimal(0)) for line in order.lines
    }
    named = [part.line_no for part in parts]
    for part in parts:
        if part.line_no not in left:
            return f"line {part.line_no}: found none of that number, expected one of {', '.join(map(str, sorted(left)))}"
        if named.count(part.line_no) > 1:
            return f"line {part.line_no}: found twice, expected once"
        wanted = left[part.line_no] if part.quantity is None else part.quantity
        if not 0 < wanted <= left[part.line_no]:
            return f"line {part.line_no}: found quantity {wanted}, expected more than 0 and at most {left[part.line_no]}"
    if not any(left.values()):
        return "nothing of the order is left to return"
    return None


def lines_back(
    order: OrderPlaced,
    tax: TaxAssessed | None,
    parts: Sequence[ReturnPart],
    returns: Sequence[Return],
) -> tuple[said.ReturnedLine, ...]:
    """Every line of the order with what of it is back now and was before."""
    before = quantities_back(returns)
    now = quantities(order, parts, before)
    owed = (
        {x.line_no: x.duty + x.consumption_tax + x.vat for x in tax.lines}
        if tax is not None
        else {}
    )
    return tuple(
        said.ReturnedLine(
            line_no=line.line_no, quantity=now.get(line.line_no, Decimal(0)), returned_before=before.get(line.line_no, Decimal(0)),
            ordered=line.quantity, total=line.total, tax=owed.get(line.line_no, Money.zero(line.total.currency)),
        )
        for line in order.lines
    )  # fmt: skip
