"""An order as tax sees it, and its two possible results: an assessment or a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final, NamedTuple

from shared.events.orders import Direction, NetContent, OrderPlaced
from shared.money import CurrencyMismatch, Money, share_by_largest_remainder

NOTHING: Final[Mapping[str, Decimal]] = MappingProxyType({})
"""Kilograms by HS prefix of a buyer who bought no goods with a weight limit."""


@dataclass(frozen=True, slots=True)
class AssessableLine:
    """The part of an order line that matters to tax; `total` is its price without freight and
    tax."""

    line_no: int
    hs_code: str
    quantity: Decimal
    total: Money
    net_content: NetContent | None = None
    net_weight_kg: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Assessable:
    """The part of an order that matters to tax; all amounts are in `currency`.

    The goods value is the sum of the lines' totals. `sent_from` is the country the seller sends
    from (ISO 3166-1); the limit of a parcel depends on it.
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
        lines = tuple(
            AssessableLine(
                x.line_no, x.hs_code, x.quantity, x.total, x.net_content, x.net_weight_kg
            )
            for x in order.lines
        )
        return cls(
            order.direction,
            order.mode,
            order.currency,
            lines,
            order.goods_value,
            order.freight,
            order.insurance,
            order.discount,
            order.merchant.country,
        )


class AssessedLine(NamedTuple):
    """What one line owes, in minor units of the assessment's currency."""

    line_no: int
    dutiable_value: int
    duty: int
    consumption_tax: int
    vat: int
    parcel_tax: int = 0


class Weighed(NamedTuple):
    """The share of a yearly weight that a line takes; `hs` is the limited prefix of the positive
    list."""

    line_no: int
    hs: str
    kilograms: Decimal


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the order owes under a regime, and by which rules.

    `payable` is the total less what is waived. `counted` is what the order takes of the buyer's
    yearly limit, None where the regime has none. `weighed` is what it takes of yearly weights.
    `edition` is the digest of all rules used. Order, day, use of the year and edition together give
    the same result again.
    """

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
    """The order may not go through this channel; `code` is customs' own code, or the rule's name.

    `fallback` is what the order would owe as general trade, where that channel may take it.
    """

    code: str
    reason: str
    limit: str
    value: str
    regime: str | None = None
    dutiable_value: Money | None = None
    rules: tuple[str, ...] = ()
    fallback: Assessment | None = None


class Refused(Exception):
    """A line cannot be assessed; carries the refusal out of the loop over the lines."""

    def __init__(self, code: str, reason: str, limit: str, value: str) -> None:
        super().__init__(reason)
        self.refusal = (code, reason, limit, value)


class OverLimit(Refused):
    """The goods are over a limit of value or weight, so they go by general trade."""


def dutiable_values(order: Assessable) -> list[int]:
    """Return the dutiable value of each line in minor units: price plus a share of freight and
    insurance.

    DV = actual transaction price = retail price + freight + insurance (财税[2016]18号 art. 3).
    `goodsValue` of the order message holds what was paid with vouchers and points (CEB311 field
    note, edition 202205), so a discount does not reduce it. A seller's own price cut is in the
    price already. Freight and insurance together are shared by price with the largest remainder,
    ties to the lower line number. That is a choice: no text says how.

    Raises ValueError if the goods value is not the sum of the lines, CurrencyMismatch if an amount
    has another currency.
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
