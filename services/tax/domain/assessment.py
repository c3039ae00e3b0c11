"""What an order owes on a day, worked out from the rules alone, or why it may not go through this channel."""

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
)  # fmt: skip
from services.tax.domain.limits import are_listed, check_limits, within_parcel_limit
from services.tax.rulebook.book import Rulebook
from services.tax.rulebook.compile import EffectiveRegime, Goods, Owed, Parcel, Ratio, fen
from services.tax.rulebook.exchange import RateMissing
from services.tax.rulebook.rows import GeneralTrade, ParcelTax, RetailImport
from services.tax.rulebook.tariff import CODE_DIGITS, longer, longest_prefix
from shared.money import Money

__all__ = [
    "NOTHING", "Assessable", "AssessableLine", "AssessedLine", "Assessment", "Refusal", "assess",
    "dutiable_values",
]  # fmt: skip


def assess(
    order: Assessable,
    on: date,
    used: Money,
    rules: Rulebook,
    used_kg: Mapping[str, Decimal] = NOTHING,
) -> Assessment | Refusal:
    """What the order owes if its declaration is completed on that Beijing day.

    `used` is the buyer's purchases of the year so far, in CNY; `used_kg` their kilograms of it by HS prefix of the positive list.
    The positive list speaks first, then the yearly limit, then the limit of one order (财税[2018]49号), then the lines.
    Amounts of another currency are counted in CNY at the rate of that day.
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
            value = Money(sum(dutiable_values(order)), order.currency)
            known = "an exchange rate of the day of the declaration"
            return Refusal(
                "rate_missing",
                str(missing),
                known,
                missing.currency,
                regime.id,
                value,
                in_force.rules,
            )
    values = dutiable_values(order)
    try:
        if regime.kind == "retail-import":
            return _retail(order, values, in_force, regime, on, used, used_kg, rules, named)
        if regime.kind == "parcel-tax":
            return _parcel(order, values, in_force, regime, on, rules, named)
        assert regime.kind == "general-trade"
        return _general(order, values, in_force, regime, on, rules, named)
    except Refused as refused:
        otherwise = (
            _otherwise(order, values, in_force, on, rules, named)
            if isinstance(refused, OverLimit)
            else None
        )
        value = Money(sum(values), "CNY")
        return Refusal(*refused.refusal, regime.id, value, (*in_force.rules, *named), otherwise)


def _unregulated(order: Assessable, on: date, rules: Rulebook) -> Refusal:
    known = ", ".join(rules.modes(order.direction))
    reason = f"no regime in force on {on} for {order.direction} by mode {order.mode} (modes that have rules: {known})"
    value = Money(sum(dutiable_values(order)), order.currency)
    return Refusal("no_regime_in_force", reason, "a regime in force", str(on), dutiable_value=value)


def _in_cny(order: Assessable, on: date, rules: Rulebook, named: dict[str, None]) -> Assessable:
    """The order with each amount in CNY, each half fen rounded up: a line's value is the sum of rounded parts."""
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
    order: Assessable, values: Sequence[int], in_force: EffectiveRegime, regime: RetailImport, on: date, used: Money,
    used_kg: Mapping[str, Decimal], rules: Rulebook, named: dict[str, None],
) -> Assessment:  # fmt: skip
    """Duty at the reduced rate and a share of the other taxes inside the limits; all in full beyond, where the regime takes that."""
    goods = _all_known(order, in_force, on)
    weighed = (
        () if all(kind.free for kind in goods) else are_listed(order, goods, used_kg, regime, on)
    )
    full, counted = check_limits(order, sum(values), used, in_force)
    lines = _lines(order, values, goods, in_force, full=full, on=on, named=named)
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
    """All taxes in full; the duty is waived up to a ticket's small amount (Regulations on import and export duties, art. 45)."""
    lines = _lines(
        order, values, _all_known(order, in_force, on), in_force, full=True, on=on, named=named
    )
    duty = sum(line.duty for line in lines)
    waived = duty if duty <= fen(regime.duty_waiver.tax_at_most) else 0
    return _assessed(in_force, rules, "CNY", lines, named, waived=waived)


def _otherwise(
    order: Assessable,
    values: Sequence[int],
    in_force: EffectiveRegime,
    on: date,
    rules: Rulebook,
    named: dict[str, None],
) -> Assessment | None:
    """What goods over a limit would owe as general trade; None where that cannot be said."""
    regime = in_force.regime
    general = rules.by_id(regime.otherwise, on) if isinstance(regime, RetailImport) else None
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
    """One tax by the class of the articles, up to the limit of where the parcel comes from (GACC 2010 No. 43)."""
    within_parcel_limit(order, sum(values), regime, named)
    lines = []
    for line, value in zip(order.lines, values, strict=True):
        parcel = longest_prefix(in_force.parcels, line.hs_code)
        if parcel is None:
            reason = f"no class of parcel articles is known for HS code {line.hs_code} of line {line.line_no} on {on}"
            raise Refused("tariff_unknown", reason, "a heading with a known class", line.hs_code)
        rate = _rate(parcel, line, value)
        if any(
            other is None or _rate(other, line, value) != rate
            for other in longer(in_force.parcels, line.hs_code)
        ):
            raise _short(line)
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
    return parcel.goods is not None and _is_taxed(parcel.goods, line, value)


def _all_known(order: Assessable, in_force: EffectiveRegime, on: date) -> list[Goods]:
    found = []
    for line in order.lines:
        goods = in_force.find(line.hs_code)
        if goods is None:
            reason = f"no rate is known for HS code {line.hs_code} of line {line.line_no} on {on}"
            raise Refused("tariff_unknown", reason, "a heading with a known rate", line.hs_code)
        found.append(goods)
    return found


def _lines(
    order: Assessable,
    values: Sequence[int],
    goods: Sequence[Goods],
    in_force: EffectiveRegime,
    *,
    full: bool,
    on: date,
    named: dict[str, None],
) -> list[AssessedLine]:
    """Each line's taxes, rounded half up to the fen per tax and line; the rules used join `named` in their first order."""
    assessed = []
    for line, value, kind in zip(order.lines, values, goods, strict=True):
        basis = kind.full if full else kind.within
        if basis is None:
            raise _without_duty(line, on)
        owed = (
            basis.taxed
            if kind.has_consumption_tax and _is_taxed(kind, line, value)
            else basis.plain
        )
        if len(line.hs_code) < CODE_DIGITS and _is_short(
            line, value, kind, owed, in_force, full=full
        ):
            raise _short(line)
        assessed.append(
            AssessedLine(
                line.line_no,
                value,
                owed.duty.of(value),
                owed.consumption_tax.of(value),
                owed.vat.of(value),
            )
        )
        named.update(dict.fromkeys(basis.rules))
        if kind.list_rule is not None:
            named[kind.list_rule] = None
    return assessed


def _owed(goods: Goods, line: AssessableLine, value: int, *, full: bool) -> Owed | None:
    """What goods owe of a value at that level of rates; None where their duty is not known."""
    basis = goods.full if full else goods.within
    if basis is None:
        return None
    return (
        basis.taxed if goods.has_consumption_tax and _is_taxed(goods, line, value) else basis.plain
    )


def _is_short(
    line: AssessableLine,
    value: int,
    kind: Goods,
    owed: Owed,
    in_force: EffectiveRegime,
    *,
    full: bool,
) -> bool:
    """Whether goods that a short code may be as well owe something else, or are on the positive list by other terms."""
    return any(
        other is None
        or _terms(other) != _terms(kind)
        or _owed(other, line, value, full=full) != owed
        for other in in_force.others(line.hs_code)
    )


def _terms(goods: Goods) -> tuple[object, ...] | None:
    return (
        None
        if goods.listed is None
        else (goods.listed.listed, goods.listed.modes, goods.listed.kg_a_year)
    )


def _short(line: AssessableLine) -> Refused:
    reason = f"HS code {line.hs_code} of line {line.line_no} is too short: goods of it owe by different rules"
    return Refused("tariff_unknown", reason, "ten digits", line.hs_code)


def _without_duty(line: AssessableLine, on: date) -> Refused:
    reason = f"no duty rate is known for HS code {line.hs_code} of line {line.line_no} on {on}, which the full rate needs"
    return Refused("tariff_unknown", reason, "a heading with a known duty", line.hs_code)


def _is_taxed(goods: Goods, line: AssessableLine, value: int) -> bool:
    """Whether consumption tax is due, by the threshold of the class.

    Cosmetics and skin care are taxed from 10 yuan per ml or g, or 15 per piece or sheet, of net content (财税[2016]103号),
    watches from 10,000 yuan each (财税[2006]33号): the line's dutiable value over its content or count, compared exactly.
    """
    threshold = goods.threshold
    if threshold is None:
        return goods.has_consumption_tax
    if threshold.per_unit is not None:
        return value >= threshold.per_unit * line.quantity
    content, per_content = line.net_content, threshold.per_content or {}
    if content is None or content.value <= 0 or content.unit not in per_content:
        reason = f"line {line.line_no} needs its net content: the consumption tax of HS code {line.hs_code} depends on it"
        raise Refused(
            "net_content_missing", reason, f"net_content in {', '.join(per_content)}", "none"
        )
    return value >= per_content[content.unit] * line.quantity * content.value


def _assessed(
    in_force: EffectiveRegime, rules: Rulebook, currency: str, lines: list[AssessedLine], named: Mapping[str, None],
    *, waived: int = 0, counted: bool = False, weighed: tuple[Weighed, ...] = (),
) -> Assessment:  # fmt: skip
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
        regime=in_force.regime.id, version=in_force.regime.version, edition=rules.edition, dutiable_value=value,
        duty=Money(duty, currency), consumption_tax=Money(consumption, currency), vat=Money(vat, currency),
        parcel_tax=Money(parcel, currency), total=Money(total, currency), payable=Money(total - waived, currency),
        counted=value if counted else None, lines=tuple(lines), rules=(*in_force.rules, *named), weighed=weighed,
    )  # fmt: skip
