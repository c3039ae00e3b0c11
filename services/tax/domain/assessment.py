"""What an order owes on a day, worked out from the rules alone, or why it may not go through this channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Final, NamedTuple

from services.tax.domain.rulebook import Basis, Goods, InForce, Limits, Owed, Rulebook
from shared.events.orders import Direction, NetContent, OrderPlaced
from shared.money import CurrencyMismatch, Money, share_by_largest_remainder

BEIJING: Final = timezone(timedelta(hours=8))
"""China has one time zone and no summer time; the customs day and the quota's year turn at its midnight."""


def beijing_date(at: datetime) -> date:
    """The calendar day in Beijing of a moment."""
    return at.astimezone(BEIJING).date()


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
    """What of an order matters to tax. The goods value is the sum of the lines' totals; all amounts are of `currency`."""

    direction: Direction
    mode: str
    currency: str
    lines: tuple[AssessableLine, ...]
    goods_value: Money
    freight: Money
    insurance: Money
    discount: Money

    @classmethod
    def of(cls, order: OrderPlaced) -> Assessable:
        """The tax side of a placed order."""
        lines = tuple(
            AssessableLine(x.line_no, x.hs_code, x.quantity, x.total, x.net_content, x.net_weight_kg) for x in order.lines
        )
        return cls(
            order.direction, order.mode, order.currency, lines, order.goods_value, order.freight, order.insurance, order.discount
        )


class AssessedLine(NamedTuple):
    """What one line owes, in minor units of the assessment's currency."""

    line_no: int
    dutiable_value: int
    duty: int
    consumption_tax: int
    vat: int


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the order owes under a regime, by which rules. `payable` is the total less what is waived; `counted` is
    what the order takes of the buyer's yearly limit, None where the regime has none."""

    regime: str
    version: int
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


@dataclass(frozen=True, slots=True)
class Refusal:
    """The order may not go through this channel: customs' own code where there is one, else the rule's name."""

    code: str
    reason: str
    limit: str
    value: str
    regime: str | None = None
    dutiable_value: Money | None = None
    rules: tuple[str, ...] = ()


class _Refused(Exception):
    """A line cannot be assessed; carries the refusal out of the loop over the lines."""

    def __init__(self, code: str, reason: str, limit: str, value: str) -> None:
        super().__init__(reason)
        self.refusal = (code, reason, limit, value)


def dutiable_values(order: Assessable) -> list[int]:
    """The dutiable value of each line in minor units: its price with its part of freight and insurance.

    DV = actual transaction price = retail price + freight + insurance (财税[2016]18号 art. 3). `goodsValue` of the order
    message holds what was paid with vouchers and points (CEB311 field note, edition 202205), so a discount does not
    reduce it; a seller's own price cut is in the price already. Freight and insurance together are shared by price with
    the largest remainder, ties to the lower line number (a choice: no text says how). Raises ValueError if the goods value
    is not the sum of the lines, CurrencyMismatch if an amount is of another currency.
    """
    if {order.currency} != {
        m.currency for m in (order.goods_value, order.freight, order.insurance, *(x.total for x in order.lines))
    }:
        raise CurrencyMismatch(f"the order is in {order.currency}, some amounts are not")
    prices = [line.total.minor for line in order.lines]
    if sum(prices) != order.goods_value.minor:
        raise ValueError("goods_value is not the sum of the lines' totals")
    carriage = order.freight.minor + order.insurance.minor
    if not carriage:
        return prices
    by_number = sorted(range(len(prices)), key=lambda i: order.lines[i].line_no)
    for i, part in zip(by_number, share_by_largest_remainder(carriage, [prices[i] for i in by_number]), strict=True):
        prices[i] += part
    return prices


def assess(order: Assessable, on: date, used: Money, rules: Rulebook) -> Assessment | Refusal:
    """What the order owes if it is declared on that Beijing day, `used` being the buyer's purchases of the year so far.

    The yearly limit speaks first, then the limit of one order (domain table of 财税[2018]49号), then the lines.
    """
    values = dutiable_values(order)
    in_force = rules.on(order.direction, order.mode, on)
    if in_force is None:
        reason = f"no regime in force on {on} for {order.direction} by mode {order.mode}"
        return Refusal(
            "no_regime_in_force", reason, "a regime in force", str(on), dutiable_value=Money(sum(values), order.currency)
        )
    limits = in_force.limits
    if limits is None:
        return _assessed(
            order, in_force, [AssessedLine(x.line_no, v, 0, 0, 0) for x, v in zip(order.lines, values, strict=True)], {}
        )
    try:
        if order.currency != "CNY":
            raise _Refused("currency_not_cny", "an import is declared and taxed in CNY", "CNY", order.currency)
        lines, named = _lines(order, values, in_force, full=_is_full_rate(order, sum(values), used, in_force, limits), on=on)
    except _Refused as refused:
        return Refusal(*refused.refusal, in_force.regime.id, Money(sum(values), order.currency), in_force.rules)
    return _assessed(order, in_force, lines, named)


def _is_full_rate(order: Assessable, value: int, used: Money, in_force: InForce, limits: Limits) -> bool:
    """Whether the full rate applies; raises _Refused beyond a limit. A value equal to the limit is inside it."""
    regime = in_force.regime
    assert regime.kind == "retail-import"
    year = used.minor + value
    if used.currency != "CNY":
        raise CurrencyMismatch(f"the year's purchases are in CNY, not {used.currency}")
    if year > limits.yearly:
        limit = Money(limits.yearly, "CNY")
        reason = (
            f"with this order the buyer's purchases of the year would be {Money(year, 'CNY')}, over the yearly limit of {limit}"
        )
        raise _Refused(regime.yearly.code, reason, str(limit), str(Money(year, "CNY")))
    if value <= limits.single:
        return False
    one_piece = len(order.lines) == 1 and order.lines[0].quantity == 1
    if (regime.single.one_piece if one_piece else regime.single.several) == "full-rate":
        return True
    limit, found = Money(limits.single, "CNY"), Money(value, "CNY")
    pieces = "one piece" if one_piece else "several pieces"
    raise _Refused(
        regime.single.code, f"an order of {pieces} worth {found} is over the limit of {limit} an order", str(limit), str(found)
    )


def _lines(
    order: Assessable, values: Sequence[int], in_force: InForce, *, full: bool, on: date
) -> tuple[list[AssessedLine], dict[str, None]]:
    """Each line's taxes, rounded half up to the fen per tax and line, and the rules used in their first order."""
    assessed = []
    named: dict[str, None] = {}
    for line, value in zip(order.lines, values, strict=True):
        goods = in_force.find(line.hs_code)
        if goods is None:
            reason = f"no rate is known for HS code {line.hs_code} of line {line.line_no} on {on}"
            raise _Refused("tariff_unknown", reason, "a heading with a known rate", line.hs_code)
        basis = _basis(goods, line, full=full, on=on)
        owed = _owed(goods, basis, line, value)
        assessed.append(
            AssessedLine(line.line_no, value, owed.duty.of(value), owed.consumption_tax.of(value), owed.vat.of(value))
        )
        named.update(dict.fromkeys(basis.rules))
    return assessed, named


def _basis(goods: Goods, line: AssessableLine, *, full: bool, on: date) -> Basis:
    if not full:
        return goods.within
    if goods.full is None:
        reason = f"no duty rate is known for HS code {line.hs_code} of line {line.line_no} on {on}, which the full rate needs"
        raise _Refused("tariff_unknown", reason, "a heading with a known duty", line.hs_code)
    return goods.full


def _owed(goods: Goods, basis: Basis, line: AssessableLine, value: int) -> Owed:
    """With or without consumption tax, by the threshold of the class.

    Cosmetics and skin care are taxed from 10 yuan per ml or g, or 15 per piece or sheet, of net content (财税[2016]103号),
    watches from 10,000 yuan each (财税[2006]33号): the line's dutiable value over its content or count, compared exactly.
    """
    threshold = goods.threshold
    if threshold is None:
        return basis.taxed if goods.has_consumption_tax else basis.plain
    if threshold.per_unit is not None:
        return basis.taxed if value >= threshold.per_unit * line.quantity else basis.plain
    content, per_content = line.net_content, threshold.per_content or {}
    if content is None or content.value <= 0 or content.unit not in per_content:
        reason = f"line {line.line_no} needs its net content: the consumption tax of HS code {line.hs_code} depends on it"
        raise _Refused("net_content_missing", reason, f"net_content in {', '.join(per_content)}", "none")
    return basis.taxed if value >= per_content[content.unit] * line.quantity * content.value else basis.plain


def _assessed(order: Assessable, in_force: InForce, lines: list[AssessedLine], named: dict[str, None]) -> Assessment:
    currency = order.currency
    duty, consumption, vat = sum(x.duty for x in lines), sum(x.consumption_tax for x in lines), sum(x.vat for x in lines)
    total = duty + consumption + vat
    value = Money(sum(x.dutiable_value for x in lines), currency)
    limits = in_force.limits
    waived = limits is not None and total <= limits.waived
    return Assessment(
        regime=in_force.regime.id, version=in_force.regime.version, dutiable_value=value,
        duty=Money(duty, currency), consumption_tax=Money(consumption, currency), vat=Money(vat, currency),
        parcel_tax=Money(0, currency), total=Money(total, currency), payable=Money(0 if waived else total, currency),
        counted=None if limits is None else value, lines=tuple(lines), rules=(*in_force.rules, *named),
    )  # fmt: skip
