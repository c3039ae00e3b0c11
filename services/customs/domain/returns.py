"""The terms and quantities of returns: what may come back, by when, and what is back. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

from shared.clock import beijing_date
from shared.events import customs as events
from shared.events.orders import OrderPlaced, ReturnPart
from shared.events.tax import TaxAssessed
from shared.money import Money

ReturnState = Literal["asked", "granted", "refused", "back", "late"]
OPEN: Final = ("asked", "granted")
"""The goods are on their way, or the return is not answered yet."""
BACK: Final = ("back", "late")


@dataclass(frozen=True)
class Return:
    """One return of a list. `parts` are the lines applied for, none for all that is left; `lines`
    what came back.

    `pre_no` is the authority's number of the application. It tells replies on this return from
    those on another.
    """

    return_no: int
    state: ReturnState
    parts: tuple[ReturnPart, ...]
    refund_if_late: bool
    applied_at: datetime
    pre_no: str | None = None
    back_at: datetime | None = None
    lines: tuple[events.ReturnedLine, ...] = ()


@dataclass(frozen=True, slots=True)
class ReturnTerms:
    """Days after the release to apply for a return and to have the goods back, for releases from
    `valid_from` to `valid_to`.

    `given_up_days` is ours and no law: so many days past the term nobody waits for the goods.
    """

    direction: str
    valid_from: date
    valid_to: date | None
    apply_days_max: int
    back_days_max: int
    source: str
    given_up_days: int


def days_between(start: datetime, stop: datetime) -> int:
    """Return calendar days in Beijing. The day of release does not count; the last day counts until
    its midnight.

    "Within 30 days from the date of release" (GACC 2020 No. 45, art. 3); a term of days begins on
    the day after (Civil Code of China, art. 201).
    """
    return (beijing_date(stop) - beijing_date(start)).days


def terms_on(terms: Sequence[ReturnTerms], direction: str, day: date) -> ReturnTerms | None:
    for term in terms:
        if (
            term.direction == direction
            and term.valid_from <= day
            and (term.valid_to is None or day <= term.valid_to)
        ):
            return term
    return None


def given_up_after(term: ReturnTerms, released_at: datetime) -> date:
    return beijing_date(released_at) + timedelta(days=term.back_days_max + term.given_up_days)


def quantities_back(returns: Sequence[Return]) -> dict[int, Decimal]:
    back: dict[int, Decimal] = {}
    for each in returns:
        if each.state in BACK:
            for line in each.lines:
                back[line.line_no] = back.get(line.line_no, Decimal(0)) + line.quantity
    return back


def quantities(
    order: OrderPlaced, parts: Sequence[ReturnPart], before: Mapping[int, Decimal]
) -> dict[int, Decimal]:
    """Return the quantity of each line that these parts mean: all that is left where no quantity is
    given.
    """
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
    """Return why these parts cannot come back: an unknown line, a line named twice, or more than is
    left (CEB625: qty <= original).
    """
    left = {
        line.line_no: line.quantity - before.get(line.line_no, Decimal(0)) for line in order.lines
    }
    named = [part.line_no for part in parts]
    for part in parts:
        if part.line_no not in left:
            return (
                f"line {part.line_no}: found none of that number, expected one of "
                f"{', '.join(map(str, sorted(left)))}"
            )
        if named.count(part.line_no) > 1:
            return f"line {part.line_no}: found twice, expected once"
        wanted = left[part.line_no] if part.quantity is None else part.quantity
        if not 0 < wanted <= left[part.line_no]:
            return (
                f"line {part.line_no}: found quantity {wanted}, expected more than 0 and at most "
                f"{left[part.line_no]}"
            )
    if not any(left.values()):
        return "nothing of the order is left to return"
    return None


def lines_back(
    order: OrderPlaced,
    tax: TaxAssessed | None,
    parts: Sequence[ReturnPart],
    returns: Sequence[Return],
) -> tuple[events.ReturnedLine, ...]:
    before = quantities_back(returns)
    now = quantities(order, parts, before)
    owed = (
        {x.line_no: x.duty + x.consumption_tax + x.vat for x in tax.lines}
        if tax is not None
        else {}
    )
    return tuple(
        events.ReturnedLine(
            line_no=line.line_no,
            quantity=now.get(line.line_no, Decimal(0)),
            returned_before=before.get(line.line_no, Decimal(0)),
            ordered=line.quantity,
            total=line.total,
            tax=owed.get(line.line_no, Money.zero(line.total.currency)),
        )
        for line in order.lines
    )
