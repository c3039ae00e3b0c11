"""An order as tax sees it, and the two answers it may get: what it owes, or why it may not go through this channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final, NamedTuple

from shared.events.orders import Direction, NetContent, OrderPlaced
from shared.money import CurrencyMismatch, Money, share_by_largest_remainder

NOTHING: Final[Mapping[str, Decimal]] = MappingProxyType({})
"""Kilograms by HS prefix of a buyer who had nothing of what is limited by weight."""


@dataclass(frozen=True, slots=True)
class AssessableLine:
    """What of an order line matters to tax; `total` is its price without freight, insurance and tax."""

    line_no: int
    hs_code: str
    quantity: Decimal
    total: Money
    net_content: NetContent | None = None
    net_weight_kg: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Assessable:
    """What of an order matters to tax. The goods value is the sum of the lines' totals; all amounts are of `currency`.

    `sent_from` is the country the seller sends from (ISO 3166-1), by which the limit of a parcel is found.
    """

    direction: Direction
    mode: str
    currency: str
    lines: tuple[AssessableLine, ...]
    goods_value: Money
    freight: Money
    insurance: Money
    discount: Money
    sent_from: str | None = None

    @classmethod
    def of(cls, order: OrderPlaced) -> Assessable:
        """The tax side of a placed order."""
        lines = tuple(
            AssessableLine(
                x.line_no, x.hs_code, x.quantity, x.total, x.net_content, x.net_weight_kg
            )
            for x in order.lines
        )
        return cls(
            order.direction, order.mode, order.currency, lines, order.goods_value, order.freight, order.insurance, order.discount,
            order.merchant.country,
        )  # fmt: skip


class AssessedLine(NamedTuple):
    """What one line owes, in minor units of the assessment's currency."""

    line_no: int
    dutiable_value: int
    duty: int
    consumption_tax: int
    vat: int
    parcel_tax: int = 0


class Weighed(NamedTuple):
    """What a line takes of a yearly weight; `hs` is the prefix of the positive list whose note limits the goods."""

    line_no: int
    hs: str
    kilograms: Decimal


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the order owes under a regime, by which rules. `payable` is the total less what is waived; `counted` is
    what the order takes of the buyer's yearly limit, None where the regime has none; `weighed` what it takes of yearly weights.
    `edition` is the digest of all rules it was worked out by; with the same order, day and use of the year it gives the same
    again."""

    regime: str
    version: int
    edition: str
    dutiable_value: Money
    duty: Money
    consumption_tax: Money
    vat: Money
    parcel_tax: Money
    total: Money
    payable: Money
    counted: Money | None
    lines: tuple[AssessedLine, ...]
    rules: tuple[str, ...]
    weighed: tuple[Weighed, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """The order may not go through this channel: customs' own code where there is one, else the rule's name.

    `otherwise` is what it would owe as general trade, where that may take it.
    """

    code: str
    reason: str
    limit: str
    value: str
    regime: str | None = None
    dutiable_value: Money | None = None
    rules: tuple[str, ...] = ()
    otherwise: Assessment | None = None


class Refused(Exception):
    """A line cannot be assessed; carries the refusal out of the loop over the lines."""

    def __init__(self, code: str, reason: str, limit: str, value: str) -> None:
        super().__init__(reason)
        self.refusal = (code, reason, limit, value)


class OverLimit(Refused):
    """The goods are worth, or weigh, more than this channel takes: they go by general trade."""


def dutiable_values(order: Assessable) -> list[int]:
    """The dutiable value of each line in minor units: its price with its part of freight and insurance.

    DV = actual transaction price = retail price + freight + insurance (财税[2016]18号 art. 3). `goodsValue` of the order
    message holds what was paid with vouchers and points (CEB311 field note, edition 202205), so a discount does not
    reduce it; a seller's own price cut is in the price already. Freight and insurance together are shared by price with
    the largest remainder, ties to the lower line number (a choice: no text says how). Raises ValueError if the goods value
    is not the sum of the lines, CurrencyMismatch if an amount is of another currency.
    """
    if {order.currency} != {
        m.currency
        for m in (
            order.goods_value,
            order.freight,
            order.insurance,
            *(x.total for x in order.lines),
        )
    }:
        raise CurrencyMismatch(f"the order is in {order.currency}, some amounts are not")
    prices = [line.total.minor for line in order.lines]
    if sum(prices) != order.goods_value.minor:
        raise ValueError("goods_value is not the sum of the lines' totals")
    carriage = order.freight.minor + order.insurance.minor
    if not carriage:
        return prices
    by_number = sorted(range(len(prices)), key=lambda i: order.lines[i].line_no)
    for i, part in zip(
        by_number, share_by_largest_remainder(carriage, [prices[i] for i in by_number]), strict=True
    ):
        prices[i] += part
    return prices
