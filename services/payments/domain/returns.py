"""What of a payment belongs to goods that came back; pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.payments import ledger
from shared.events.customs import ReturnedLine
from shared.money import Money, part_between, share_by_largest_remainder


def refundable(captured: Money, tax_withheld: Money, lines: Sequence[ReturnedLine]) -> tuple[Money, Money]:
    """The merchant's and the tax office's part of what was captured that belong to the goods of one return.

    What the buyer paid for the goods, with freight, insurance and discount, is shared over the lines by their prices; what
    was withheld as tax by what was assessed on each, by price where nothing was: both by largest remainder, a line by its
    quantity, each return from where the last one ended. So the returns of an order sum to what was captured, to the fen.
    """
    goods, tax = ledger.shares(captured, tax_withheld)
    return _part(goods, [line.total.minor for line in lines], lines), tax_of(tax, lines)


def tax_of(tax: Money, lines: Sequence[ReturnedLine]) -> Money:
    """What of an amount of tax belongs to the goods of one return."""
    taxes = [line.tax.minor for line in lines]
    return _part(tax, taxes if sum(taxes) else [line.total.minor for line in lines], lines)


def _part(whole: Money, weights: Sequence[int], lines: Sequence[ReturnedLine]) -> Money:
    shares = share_by_largest_remainder(whole.minor, weights)
    back = sum(
        part_between(share, line.returned_before, line.returned, line.ordered) for share, line in zip(shares, lines, strict=True)
    )
    return Money(back, whole.currency)
