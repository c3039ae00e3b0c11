"""The methods of charges: each returns the amount of every line, and how it was computed."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

from services.tax.landed.calculation import Calculation, ShippedLine
from services.tax.landed.charge_rules import (
    Charge,
)
from services.tax.landed.conversion import NotKnown
from services.tax.landed.rate_lookup import (
    duty_rate,
    percent,
    vat_rate,
)


def _none(_: Calculation, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    return [Fraction(0)] * len(lines), row.note or "not charged"


def _share(work: Calculation, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    assert row.rate is not None
    parts = [_base(work, row, i) * Fraction(row.rate) for i in lines]
    how = f"{percent(row.rate)} of {' + '.join(row.base)}"
    if row.per_kg is None:
        return parts, how
    kilograms = [_weight(work, work.lines[i]) for i in lines]
    least = [weight * work.minor(row.per_kg) for weight in kilograms]
    return (
        least if sum(least) > sum(parts) else parts
    ), f"{how}, at least {row.per_kg} {work.of.currency} a kilogram"


def _top_up(work: Calculation, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    assert row.rate is not None
    parts = [
        max(_base(work, row, i) * Fraction(row.rate) - work.part(i, "duty"), Fraction(0))
        for i in lines
    ]
    return parts, f"what the duty is below {percent(row.rate)} of {' + '.join(row.base)}"


def _excess(work: Calculation, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    """Return a share of the value over its limit, at least an amount for each kilogram over the
    weight limit.

    A value or weight equal to its limit is inside it.
    """
    assert row.rate is not None
    assert row.per_kg is not None
    assert row.limit is not None
    assert row.limit_kg is not None
    limit, limit_kg = work.minor(row.limit), Fraction(row.limit_kg)
    value = _over(Fraction(work.earlier), Fraction(sum(work.goods[i] for i in lines)), limit)
    weight = _over(
        Fraction(work.earlier_kg),
        sum((_weight(work, work.lines[i]) for i in lines), Fraction(0)),
        limit_kg,
    )
    owed = max(value * Fraction(row.rate), weight * work.minor(row.per_kg))
    how = (
        f"{percent(row.rate)} of what is over {row.limit} {work.of.currency}, at least "
        f"{row.per_kg} a kilogram over {row.limit_kg} kg"
    )
    return _spread(work, lines, owed), how


def _weight(work: Calculation, line: ShippedLine) -> Fraction:
    """Return a line's kilograms; raises NotKnown without them: weightless goods would owe too
    little."""
    if line.weight_kg <= 0:
        reason = f"line {line.line_no} needs its weight: {work.of.name} charges by the kilogram"
        raise NotKnown("net_weight_missing", reason, "give net_weight_kg in the line")
    return Fraction(line.weight_kg)


def _over(earlier: Fraction, now: Fraction, limit: Fraction) -> Fraction:
    return max(earlier + now - limit, Fraction(0)) - max(earlier - limit, Fraction(0))


def _flat(work: Calculation, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    assert row.amount is not None
    times = (
        1 if row.method == "per-consignment" else len(subheadings([work.lines[i] for i in lines]))
    )
    what = (
        "consignment" if row.method == "per-consignment" else f"tariff sub-heading, {times} of them"
    )
    return _spread(
        work, lines, times * work.minor(row.amount)
    ), f"{row.amount} {work.of.currency} a {what}"


def subheadings(lines: Sequence[ShippedLine]) -> set[str]:
    for line in lines:
        if len(line.hs_code) < 6:
            reason = (
                f"HS code {line.hs_code} of line {line.line_no} names no tariff sub-heading, by "
                "which this is charged"
            )
            raise NotKnown("subheading_missing", reason, "give at least six digits")
    return {line.hs_code[:6] for line in lines}


def _tariff(work: Calculation, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    parts, notes = [], []
    for i in lines:
        rate = duty_rate(work, work.lines[i])
        parts.append(_base(work, row, i) * Fraction(rate))
        notes.append(f"{percent(rate)} on line {work.lines[i].line_no}")
    return parts, f"of {' + '.join(row.base)}: {', '.join(notes)}"


def _vat(work: Calculation, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    parts, rates = [], set[Decimal]()
    for i in lines:
        rate = vat_rate(work, work.lines[i])
        parts.append(_base(work, row, i) * Fraction(rate))
        rates.add(rate)
    return parts, f"{', '.join(percent(rate) for rate in sorted(rates))} of {' + '.join(row.base)}"


METHODS: Final = {
    "none": _none,
    "share": _share,
    "top-up": _top_up,
    "excess": _excess,
    "tariff": _tariff,
    "vat": _vat,
    "per-subheading": _flat,
    "per-consignment": _flat,
}


def _base(work: Calculation, row: Charge, i: int) -> Fraction:
    return sum((work.part(i, name) for name in row.base), Fraction(0))


def _spread(work: Calculation, lines: list[int], whole: Fraction) -> list[Fraction]:
    total = sum(work.goods[i] for i in lines)
    return [whole * work.goods[i] / total if total else whole / len(lines) for i in lines]
