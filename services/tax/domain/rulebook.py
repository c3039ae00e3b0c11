"""The rules compiled for speed: for a direction, mode and day, what each heading owes as exact ratios of its value."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple, TypeVar

from services.tax.domain.rules import Consumption, Exempt, Heading, Regime, RetailImport, Tariff, Vat, check_periods, check_tariff

PREFIX_DIGITS: Final = (10, 8, 6, 4)

Classed = TypeVar("Classed", Vat, Consumption)


class Ratio(NamedTuple):
    """An exact share of a dutiable value."""

    numerator: int
    denominator: int

    def of(self, minor: int) -> int:
        """The share in minor units, the half rounded up; values are never negative."""
        return (2 * minor * self.numerator + self.denominator) // (2 * self.denominator)


class Owed(NamedTuple):
    """What a line owes, each as a share of its dutiable value."""

    duty: Ratio
    consumption_tax: Ratio
    vat: Ratio


class Threshold(NamedTuple):
    """The dutiable value, in fen, from which the consumption tax of a class is due: by content, or by unit of goods."""

    per_content: Mapping[str, int] | None
    per_unit: int | None


@dataclass(frozen=True, slots=True)
class Basis:
    """What a line of a heading owes at one level of rates, and by which rules; `taxed` is with consumption tax."""

    plain: Owed
    taxed: Owed
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Goods:
    """A heading on a day: its rates inside the limits, at full rate where its duty is known, and its threshold."""

    hs: str
    within: Basis
    full: Basis | None
    has_consumption_tax: bool
    threshold: Threshold | None


class Limits(NamedTuple):
    """The limits of a regime in fen, both inside themselves, and the names of their rules."""

    single: int
    yearly: int
    waived: int
    single_rule: str
    yearly_rule: str


@dataclass(frozen=True, slots=True)
class InForce:
    """A regime on a day, with the tariff of that day. A heading that is listed but not in force is None."""

    regime: Regime
    limits: Limits | None
    goods: Mapping[str, Goods | None]
    rules: tuple[str, ...]

    def find(self, hs_code: str) -> Goods | None:
        """The goods of the longest prefix; None if no rate is known."""
        for digits in PREFIX_DIGITS:
            prefix = hs_code[:digits]
            if prefix in self.goods:
                return self.goods[prefix]
        return None


class Rulebook:
    """All rules, checked and compiled once; what was in force on a day is found by bisection."""

    def __init__(self, regimes: Sequence[Regime], tariff: Tariff) -> None:
        """Raises RuleFault where rules overlap, leave a gap, or name what is not there."""
        check_tariff(tariff)
        self.regimes: Final = tuple(sorted(regimes, key=lambda regime: regime.valid_from))
        self.tariff: Final = tariff
        self.sources: Final = _sources(regimes, tariff)
        self._starts: dict[tuple[str, str], list[date]] = {}
        self._in_force: dict[tuple[str, str], list[InForce | None]] = {}
        for direction, mode in sorted({(r.direction, mode) for r in regimes for mode in r.modes}):
            own = [(i, r) for i, r in enumerate(regimes) if r.direction == direction and mode in r.modes]
            check_periods("regime", f"{direction} by mode {mode}", own)
        self._compile()

    def _compile(self) -> None:
        for regime in self.regimes:
            for start in _boundaries(regime, self.tariff):
                compiled = _in_force(regime, self.tariff, start)
                for mode in regime.modes:
                    self._starts.setdefault((regime.direction, mode), []).append(start)
                    self._in_force.setdefault((regime.direction, mode), []).append(compiled)
            if regime.valid_to is not None:
                for mode in regime.modes:
                    self._starts[regime.direction, mode].append(regime.valid_to + timedelta(days=1))
                    self._in_force[regime.direction, mode].append(None)

    def on(self, direction: str, mode: str, day: date) -> InForce | None:
        """The regime in force that day for that way of trading, None if there is none."""
        starts = self._starts.get((direction, mode))
        if starts is None:
            return None
        at = bisect_right(starts, day)
        return self._in_force[direction, mode][at - 1] if at else None


def _boundaries(regime: Regime, tariff: Tariff) -> list[date]:
    """The days within the regime from which something differs."""
    days = {regime.valid_from}
    duties = [duty for heading in tariff.heading for duty in heading.duty]
    for row in (*tariff.vat, *tariff.consumption, *tariff.heading, *duties):
        days.add(row.valid_from)
        if row.valid_to is not None:
            days.add(row.valid_to + timedelta(days=1))
    return sorted(day for day in days if regime.is_on(day))


def _in_force(regime: Regime, tariff: Tariff, day: date) -> InForce:
    name = f"{regime.id}@{regime.version}"
    if isinstance(regime, Exempt):
        return InForce(regime, None, {}, (name,))
    goods: dict[str, Goods | None] = {heading.hs: None for heading in tariff.heading}
    goods |= {heading.hs: _goods(regime, tariff, heading, day) for heading in tariff.heading if heading.is_on(day)}
    single_rule, yearly_rule = f"{regime.id}/single", f"{regime.id}/yearly"
    limits = Limits(
        _fen(regime.single.amount), _fen(regime.yearly.amount), _fen(regime.waiver.tax_at_most), single_rule, yearly_rule
    )
    rules = (name, f"{tariff.id}@{tariff.version}", single_rule, yearly_rule, f"{regime.id}/waiver", f"{regime.id}/rounding")
    return InForce(regime, limits, goods, rules)


def _goods(regime: RetailImport, tariff: Tariff, heading: Heading, day: date) -> Goods:
    vat = _on_day(tariff.vat, heading.vat, day)
    consumption = None if heading.consumption is None else _on_day(tariff.consumption, heading.consumption, day)
    c = Decimal(0) if consumption is None else consumption.rate
    rules = [f"{tariff.id}/heading/{heading.hs}", f"{tariff.id}/vat/{vat.class_}/{vat.valid_from}"]
    if consumption is not None:
        rules.append(f"{tariff.id}/consumption/{consumption.class_}/{consumption.valid_from}")
    shares = (regime.within.consumption_share, regime.within.vat_share)
    within = Basis(
        owed(regime.within.duty, Decimal(0), vat.rate, *shares), owed(regime.within.duty, c, vat.rate, *shares),
        (*rules, f"{regime.id}/within"),
    )  # fmt: skip
    full = None
    for duty in heading.duty:
        if duty.is_on(day):
            whole = (Decimal(1), Decimal(1))
            full = Basis(
                owed(duty.rate, Decimal(0), vat.rate, *whole), owed(duty.rate, c, vat.rate, *whole),
                (*rules, f"{tariff.id}/duty/{heading.hs}/{duty.valid_from}"),
            )  # fmt: skip
    return Goods(heading.hs, within, full, consumption is not None, None if consumption is None else _threshold(consumption))


def owed(duty: Decimal, consumption: Decimal, vat: Decimal, consumption_share: Decimal, vat_share: Decimal) -> Owed:
    """Shares of a dutiable value, exact, from the rates d, c and v (Import tax law; 财税[2016]18号 for the shares).

    duty = DV d; consumption tax = (DV + duty) c / (1 - c), since it is part of its own base; VAT = (DV + duty +
    consumption tax) v, whose base holds the whole consumption tax even where only a share of it is levied.
    """
    d, c, v = Fraction(duty), Fraction(consumption), Fraction(vat)
    base = (1 + d) / (1 - c)
    return Owed(
        *(Ratio(x.numerator, x.denominator) for x in (d, base * c * Fraction(consumption_share), base * v * Fraction(vat_share)))
    )


def _on_day(rows: Iterable[Classed], cls: str, day: date) -> Classed:
    return next(row for row in rows if row.class_ == cls and row.is_on(day))


def _threshold(consumption: Consumption) -> Threshold | None:
    if consumption.per_content is not None:
        return Threshold({unit: _fen(amount) for unit, amount in consumption.per_content.items()}, None)
    return None if consumption.per_unit is None else Threshold(None, _fen(consumption.per_unit))


def _fen(amount: Decimal) -> int:
    return int(amount * 100)


def _sources(regimes: Iterable[Regime], tariff: Tariff) -> Mapping[str, str]:
    """Where each rule an assessment may name comes from, and how sure that is."""
    rows: dict[str, tuple[str, str]] = {f"{tariff.id}@{tariff.version}": (tariff.source, tariff.confidence)}
    for regime in regimes:
        rows[f"{regime.id}@{regime.version}"] = (regime.source, regime.confidence)
        if isinstance(regime, RetailImport):
            for part in ("single", "yearly", "within", "waiver", "rounding"):
                row = getattr(regime, part)
                rows[f"{regime.id}/{part}"] = (row.source, row.confidence)
    for kind, classes in (("vat", tariff.vat), ("consumption", tariff.consumption)):
        rows |= {f"{tariff.id}/{kind}/{c.class_}/{c.valid_from}": (c.source, c.confidence) for c in classes}
    for heading in tariff.heading:
        rows[f"{tariff.id}/heading/{heading.hs}"] = (heading.source, heading.confidence)
        rows |= {f"{tariff.id}/duty/{heading.hs}/{d.valid_from}": (d.source, d.confidence) for d in heading.duty}
    return {name: f"{source} ({confidence})" for name, (source, confidence) in rows.items()}
