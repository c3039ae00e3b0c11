"""What an order owes on a day, computed from the rules alone, or why it is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal

from services.tax.domain.assessable import (
    NOTHING,
    Assessable,
    AssessableLine,
    AssessedLine,
    Assessment,
    OverLimit,
    Refusal,
    Refused,
    Weighed,
    dutiable_values,
)
from services.tax.domain.limits import are_listed, check_limits, within_parcel_limit
from services.tax.domain.line_taxes import goods_of_lines, is_taxed, short_code, taxes_of_lines
from services.tax.rulebook.book import Rulebook
from services.tax.rulebook.effective_regime import EffectiveRegime, Parcel
from services.tax.rulebook.exchange import RateMissing
from services.tax.rulebook.ratios import Ratio, fen
from services.tax.rulebook.rows import GeneralTrade, ParcelTax, RetailImport
from services.tax.rulebook.tariff import longer, longest_prefix
from shared.money import Money

__all__ = [
    "NOTHING",
    "Assessable",
    "AssessableLine",
    "AssessedLine",
    "Assessment",
    "Refusal",
    "assess",
    "dutiable_values",
]


def assess(
    order: Assessable,
    on: date,
    used: Money,
    rules: Rulebook,
    used_kg: Mapping[str, Decimal] = NOTHING,
) -> Assessment | Refusal:
    """Return what the order owes if its declaration is completed on that Beijing day.

    `used` is the buyer's purchases of the year so far, in CNY. `used_kg` is their weight by HS
    prefix of the positive list. The order of checks: positive list, yearly limit, limit of one
    order (财税[2018]49号), then the lines. Amounts of another currency are converted to CNY at the
    rate of that day.
    """
    in_force = rules.on(order.direction, order.mode, on)
    if in_force is None:
        return _unregulated(order, on, rules)
    if in_force.regime.kind == "exempt":
        lines = [
            AssessedLine(x.line_no, v, 0, 0, 0)
            for x, v in zip(order.lines, dutiable_values(order), strict=True)
        ]
        return _assessed(in_force, rules, order.currency, lines, {})
    return _import(order, in_force, on, used, rules, used_kg)


def _import(
    order: Assessable,
    in_force: EffectiveRegime,
    on: date,
    used: Money,
    rules: Rulebook,
    used_kg: Mapping[str, Decimal],
) -> Assessment | Refusal:
    regime = in_force.regime
    named: dict[str, None] = {}
    if order.currency != "CNY":
        try:
            order = _in_cny(order, on, rules, named)
        except RateMissing as missing:
            return _without_rate(order, in_force, missing)
    values = dutiable_values(order)
    try:
        if regime.kind == "retail-import":
            return _retail(order, values, in_force, regime, on, used, used_kg, rules, named)
        if regime.kind == "parcel-tax":
            return _parcel(order, values, in_force, regime, on, rules, named)
        assert regime.kind == "general-trade"
        return _general(order, values, in_force, regime, on, rules, named)
    except Refused as refused:
        fallback = (
            _as_general_trade(order, values, in_force, on, rules, named)
            if isinstance(refused, OverLimit)
            else None
        )
        value = Money(sum(values), "CNY")
        return Refusal(*refused.refusal, regime.id, value, (*in_force.rules, *named), fallback)


def _without_rate(order: Assessable, in_force: EffectiveRegime, missing: RateMissing) -> Refusal:
    return Refusal(
        code="rate_missing",
        reason=str(missing),
        limit="an exchange rate of the day of the declaration",
        value=missing.currency,
        regime=in_force.regime.id,
        dutiable_value=Money(sum(dutiable_values(order)), order.currency),
        rules=in_force.rules,
    )


def _unregulated(order: Assessable, on: date, rules: Rulebook) -> Refusal:
    known = ", ".join(rules.modes(order.direction))
    reason = (
        f"no regime in force on {on} for {order.direction} by mode {order.mode} (modes that have "
        f"rules: {known})"
    )
    value = Money(sum(dutiable_values(order)), order.currency)
    return Refusal("no_regime_in_force", reason, "a regime in force", str(on), dutiable_value=value)


def _in_cny(order: Assessable, on: date, rules: Rulebook, named: dict[str, None]) -> Assessable:
    """Return the order in CNY, each amount rounded half up to the fen."""
    rate = rules.exchange.rate(order.currency, on)
    named[rate.rule] = None
    lines = tuple(replace(line, total=rate.convert(line.total)) for line in order.lines)
    goods = Money.total((line.total for line in lines), "CNY")
    freight, insurance, discount = (
        rate.convert(amount) for amount in (order.freight, order.insurance, order.discount)
    )
    return replace(
        order,
        currency="CNY",
        lines=lines,
        goods_value=goods,
        freight=freight,
        insurance=insurance,
        discount=discount,
    )


def _retail(
    order: Assessable,
    values: Sequence[int],
    in_force: EffectiveRegime,
    regime: RetailImport,
    on: date,
    used: Money,
    used_kg: Mapping[str, Decimal],
    rules: Rulebook,
    named: dict[str, None],
) -> Assessment:
    """Return reduced duty and a share of the other taxes inside the limits, all taxes in full
    beyond."""
    goods = goods_of_lines(order, in_force, on)
    weighed = (
        () if all(kind.free for kind in goods) else are_listed(order, goods, used_kg, regime, on)
    )
    full, counted = check_limits(order, sum(values), used, in_force)
    lines = taxes_of_lines(order, values, goods, in_force, full=full, on=on, named=named)
    return _assessed(in_force, rules, "CNY", lines, named, counted=counted, weighed=weighed)


def _general(
    order: Assessable,
    values: Sequence[int],
    in_force: EffectiveRegime,
    regime: GeneralTrade,
    on: date,
    rules: Rulebook,
    named: dict[str, None],
) -> Assessment:
    """Return all taxes in full.

    Duty up to a small amount is waived (Regulations on import and export duties, art. 45).
    """
    lines = taxes_of_lines(
        order, values, goods_of_lines(order, in_force, on), in_force, full=True, on=on, named=named
    )
    duty = sum(line.duty for line in lines)
    waived = duty if duty <= fen(regime.duty_waiver.tax_at_most) else 0
    return _assessed(in_force, rules, "CNY", lines, named, waived=waived)


def _as_general_trade(
    order: Assessable,
    values: Sequence[int],
    in_force: EffectiveRegime,
    on: date,
    rules: Rulebook,
    named: dict[str, None],
) -> Assessment | None:
    regime = in_force.regime
    general = rules.by_id(regime.fallback_regime, on) if isinstance(regime, RetailImport) else None
    if general is None or not isinstance(general.regime, GeneralTrade):
        return None
    try:
        return _general(order, values, general, general.regime, on, rules, dict(named))
    except Refused:
        return None


def _parcel(
    order: Assessable,
    values: Sequence[int],
    in_force: EffectiveRegime,
    regime: ParcelTax,
    on: date,
    rules: Rulebook,
    named: dict[str, None],
) -> Assessment:
    """Return the one tax by the class of the articles.

    The limit depends on where the parcel comes from (GACC 2010 No. 43).
    """
    within_parcel_limit(order, sum(values), regime, named)
    lines = []
    for line, value in zip(order.lines, values, strict=True):
        parcel = longest_prefix(in_force.parcels, line.hs_code)
        if parcel is None:
            reason = (
                f"no class of parcel articles is known for HS code {line.hs_code} of line "
                f"{line.line_no} on {on}"
            )
            raise Refused("tariff_unknown", reason, "a heading with a known class", line.hs_code)
        rate = _rate(parcel, line, value)
        if any(
            other is None or _rate(other, line, value) != rate
            for other in longer(in_force.parcels, line.hs_code)
        ):
            raise short_code(line)
        lines.append(AssessedLine(line.line_no, value, 0, 0, 0, rate.of(value)))
        named.update(dict.fromkeys(parcel.rules))
    total = sum(line.parcel_tax for line in lines)
    waived = total if total <= fen(regime.waiver.tax_at_most) else 0
    return _assessed(in_force, rules, "CNY", lines, named, waived=waived)


def _rate(parcel: Parcel, line: AssessableLine, value: int) -> Ratio:
    return (
        parcel.other if parcel.other is not None and _is_dear(parcel, line, value) else parcel.rate
    )


def _is_dear(parcel: Parcel, line: AssessableLine, value: int) -> bool:
    if parcel.dear_from is not None:
        return value >= parcel.dear_from * line.quantity
    return parcel.goods is not None and is_taxed(parcel.goods, line, value)


def _assessed(
    in_force: EffectiveRegime,
    rules: Rulebook,
    currency: str,
    lines: list[AssessedLine],
    named: Mapping[str, None],
    *,
    waived: int = 0,
    counted: bool = False,
    weighed: tuple[Weighed, ...] = (),
) -> Assessment:
    duty, consumption, vat = (
        sum(x.duty for x in lines),
        sum(x.consumption_tax for x in lines),
        sum(x.vat for x in lines),
    )
    parcel = sum(x.parcel_tax for x in lines)
    total = duty + consumption + vat + parcel
    value = Money(sum(x.dutiable_value for x in lines), currency)
    if in_force.limits is not None and total <= in_force.limits.waived:
        waived = total
    return Assessment(
        regime=in_force.regime.id,
        version=in_force.regime.version,
        edition=rules.edition,
        dutiable_value=value,
        duty=Money(duty, currency),
        consumption_tax=Money(consumption, currency),
        vat=Money(vat, currency),
        parcel_tax=Money(parcel, currency),
        total=Money(total, currency),
        payable=Money(total - waived, currency),
        counted=value if counted else None,
        lines=tuple(lines),
        rules=(*in_force.rules, *named),
        weighed=weighed,
    )
