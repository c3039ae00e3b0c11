"""The limits of a channel: the positive list, an order, a year, a parcel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from services.tax.domain.assessable import Assessable, AssessableLine, OverLimit, Refused, Weighed
from services.tax.rulebook.effective_regime import EffectiveRegime, Goods, Limits
from services.tax.rulebook.ratios import fen
from services.tax.rulebook.rows import ParcelLimit, ParcelTax, RetailImport
from shared.money import CurrencyMismatch, Money


class LimitCheck(NamedTuple):
    """The result of the limits: whether the full rates apply, and whether the order counts to the
    year."""

    is_full_rate: bool
    is_counted: bool


def check_limits(
    order: Assessable, value: int, used: Money, in_force: EffectiveRegime
) -> LimitCheck:
    """Check the limits of an order and of a year; raises OverLimit beyond one.

    A value equal to a limit is inside it.
    """
    regime, limits = in_force.regime, in_force.limits
    assert isinstance(regime, RetailImport)
    assert limits is not None
    if used.currency != "CNY":
        raise CurrencyMismatch(f"the year's purchases are in CNY, not {used.currency}")
    year = used.minor + value
    if year > limits.yearly:
        if regime.yearly.over == "full-rate":
            return LimitCheck(is_full_rate=True, is_counted=False)
        raise _over_year(regime, limits, year)
    if value <= limits.single:
        return LimitCheck(is_full_rate=False, is_counted=True)
    one_piece = _is_one_piece(order)
    if (regime.single.one_piece if one_piece else regime.single.several) == "full-rate":
        return LimitCheck(is_full_rate=True, is_counted=True)
    limit, worth = Money(limits.single, "CNY"), Money(value, "CNY")
    pieces = "one piece" if one_piece else "several pieces"
    raise OverLimit(
        regime.single.code,
        f"an order of {pieces} worth {worth} is over the limit of {limit} an order",
        str(limit),
        str(worth),
    )


def _over_year(regime: RetailImport, limits: Limits, year: int) -> OverLimit:
    limit, total = Money(limits.yearly, "CNY"), Money(year, "CNY")
    reason = (
        f"with this order the buyer's purchases of the year would be {total}, over the yearly "
        f"limit of {limit}"
    )
    return OverLimit(regime.yearly.code, reason, str(limit), str(total))


def are_listed(
    order: Assessable,
    goods: Sequence[Goods],
    used_kg: Mapping[str, Decimal],
    regime: RetailImport,
    on: date,
) -> tuple[Weighed, ...]:
    """Return the yearly weights the order takes, if the positive list admits every line by this
    mode.

    Raises Refused for the first line that it does not admit.
    """
    weighed: list[Weighed] = []
    for line, kind in zip(order.lines, goods, strict=True):
        row = kind.listed
        if row is None:
            reason = (
                f"whether HS code {line.hs_code} of line {line.line_no} is on the positive list is "
                f"not known on {on}"
            )
            raise Refused(
                "positive_list_unknown", reason, f"a row of {regime.positive_list}", line.hs_code
            )
        if not row.listed:
            reason = (
                f"HS code {line.hs_code} of line {line.line_no} is not on the positive list: "
                f"{row.note or row.source}"
            )
            raise Refused(
                "not_on_positive_list", reason, "goods on the positive list", line.hs_code
            )
        if row.modes and order.mode not in row.modes:
            reason = (
                f"HS code {line.hs_code} of line {line.line_no} may be imported by mode "
                f"{', '.join(row.modes)} only"
            )
            raise Refused("mode_not_on_positive_list", reason, ", ".join(row.modes), order.mode)
        if row.kg_a_year is not None:
            weighed.append(_weighed(line, row.hs, row.kg_a_year, weighed, used_kg))
    return tuple(weighed)


def _weighed(
    line: AssessableLine,
    hs: str,
    most: Decimal,
    before: Sequence[Weighed],
    used_kg: Mapping[str, Decimal],
) -> Weighed:
    """Return the weight a line takes of a year; raises Refused beyond the limit, which is inside
    itself.

    Weights of a shorter or longer prefix of the same goods count too: another edition of the list
    may have named them so.
    """
    if line.net_weight_kg is None or line.net_weight_kg <= 0:
        reason = (
            f"line {line.line_no} needs its net weight: a person may buy {most} kg a year of HS "
            f"{hs}"
        )
        raise Refused(
            "net_weight_missing", reason, "net_weight_kg", str(line.net_weight_kg or "none")
        )
    used = sum(
        (kg for prefix, kg in used_kg.items() if prefix.startswith(hs) or hs.startswith(prefix)),
        Decimal(0),
    )
    year = used + sum((x.kilograms for x in before if x.hs == hs), Decimal(0)) + line.net_weight_kg
    if year > most:
        reason = (
            f"with this order the buyer's year would hold {year} kg of HS {hs}, over the limit of "
            f"{most} kg"
        )
        raise OverLimit("weight_over_yearly", reason, f"{most} kg", f"{year} kg")
    return Weighed(line.line_no, hs, line.net_weight_kg)


def within_parcel_limit(
    order: Assessable, value: int, regime: ParcelTax, named: dict[str, None]
) -> None:
    """Raise OverLimit beyond the limit of a parcel.

    One indivisible piece may be worth more; it is taxed all the same.
    """
    others = next(limit for limit in regime.limit if not limit.sent_from)
    limit = next((limit for limit in regime.limit if order.sent_from in limit.sent_from), others)
    named[f"{regime.id}/limit/{'+'.join(limit.sent_from) or 'other'}"] = None
    if value > fen(limit.amount) and not _is_one_piece(order):
        raise _over(limit, order.sent_from, value)


def _over(limit: ParcelLimit, sent_from: str | None, value: int) -> OverLimit:
    most, worth = Money(fen(limit.amount), "CNY"), Money(value, "CNY")
    place = f" sent from {sent_from}" if limit.sent_from else ""
    reason = (
        f"a parcel of several pieces{place} worth {worth} is over the limit of {most}: it goes "
        "back, or is declared as goods"
    )
    return OverLimit(limit.code, reason, str(most), str(worth))


def _is_one_piece(order: Assessable) -> bool:
    return len(order.lines) == 1 and order.lines[0].quantity == 1
