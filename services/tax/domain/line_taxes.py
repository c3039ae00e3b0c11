"""The taxes of an order's lines by a regime, and why a line cannot be taxed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from services.tax.domain.assessable import (
    Assessable,
    AssessableLine,
    AssessedLine,
    Refused,
)
from services.tax.rulebook.effective_regime import EffectiveRegime, Goods
from services.tax.rulebook.ratios import Owed
from services.tax.rulebook.tariff import CODE_DIGITS


def goods_of_lines(order: Assessable, in_force: EffectiveRegime, on: date) -> list[Goods]:
    known = []
    for line in order.lines:
        goods = in_force.find(line.hs_code)
        if goods is None:
            reason = f"no rate is known for HS code {line.hs_code} of line {line.line_no} on {on}"
            raise Refused("tariff_unknown", reason, "a heading with a known rate", line.hs_code)
        known.append(goods)
    return known


def taxes_of_lines(
    order: Assessable,
    values: Sequence[int],
    goods: Sequence[Goods],
    in_force: EffectiveRegime,
    *,
    full: bool,
    on: date,
    named: dict[str, None],
) -> list[AssessedLine]:
    """Return each line's taxes, rounded half up to the fen per tax and line; add the rules to
    `named`."""
    assessed = []
    for line, value, kind in zip(order.lines, values, goods, strict=True):
        basis = kind.full if full else kind.reduced
        if basis is None:
            raise _without_duty(line, on)
        owed = (
            basis.taxed if kind.has_consumption_tax and is_taxed(kind, line, value) else basis.plain
        )
        if len(line.hs_code) < CODE_DIGITS and _is_short(
            line, value, kind, owed, in_force, full=full
        ):
            raise short_code(line)
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
    basis = goods.full if full else goods.reduced
    if basis is None:
        return None
    return (
        basis.taxed if goods.has_consumption_tax and is_taxed(goods, line, value) else basis.plain
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
    """Return whether a short code also covers goods with other taxes or other terms of the list."""
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


def short_code(line: AssessableLine) -> Refused:
    reason = (
        f"HS code {line.hs_code} of line {line.line_no} is too short: goods of it owe by different "
        "rules"
    )
    return Refused("tariff_unknown", reason, "ten digits", line.hs_code)


def _without_duty(line: AssessableLine, on: date) -> Refused:
    reason = (
        f"no duty rate is known for HS code {line.hs_code} of line {line.line_no} on {on}, which "
        "the full rate needs"
    )
    return Refused("tariff_unknown", reason, "a heading with a known duty", line.hs_code)


def is_taxed(goods: Goods, line: AssessableLine, value: int) -> bool:
    """Return whether consumption tax is due, by the threshold of the class.

    Cosmetics and skin care are taxed from 10 yuan per ml or g of net content, or 15 per
    piece or sheet (财税[2016]103号). Watches are taxed from 10,000 yuan each (财税[2006]33号).
    The line's dutiable value over its content or count is compared exactly.
    """
    threshold = goods.threshold
    if threshold is None:
        return goods.has_consumption_tax
    if threshold.per_unit is not None:
        return value >= threshold.per_unit * line.quantity
    content, per_content = line.net_content, threshold.per_content or {}
    if content is None or content.value <= 0 or content.unit not in per_content:
        reason = (
            f"line {line.line_no} needs its net content: the consumption tax of HS code "
            f"{line.hs_code} depends on it"
        )
        raise Refused(
            "net_content_missing", reason, f"net_content in {', '.join(per_content)}", "none"
        )
    return value >= per_content[content.unit] * line.quantity * content.value
