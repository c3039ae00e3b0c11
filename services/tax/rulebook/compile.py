"""A regime and its tables turned into what each heading owes on a day, as exact ratios of its value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cache
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from services.tax.rulebook.exchange import ExchangeRates
from services.tax.rulebook.rows import Dated, Exempt, ParcelTax, Regime, RetailImport, day_after
from services.tax.rulebook.tariff import (
    Article,
    Articles,
    Consumption,
    Heading,
    Listed,
    Nomenclature,
    PositiveList,
    Tariff,
    Vat,
    in_force_by_prefix,
    longer,
    longest_prefix,
)  # fmt: skip

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
    """A heading on a day: its rates inside the limits and at full rate where these are known, its threshold, and its row of the
    positive list; `free` says that this row leaves nothing to ask.
    """

    hs: str
    within: Basis | None
    full: Basis | None
    has_consumption_tax: bool
    threshold: Threshold | None
    consumption_rule: str | None = None
    listed: Listed | None = None
    list_rule: str | None = None
    free: bool = True


@dataclass(frozen=True, slots=True)
class Parcel:
    """A class of parcel articles on a day: its rate, and another one from a value a piece on or where consumption tax is due."""

    hs: str
    rate: Ratio
    other: Ratio | None
    dear_from: int | None
    goods: Goods | None
    rules: tuple[str, ...]


class Limits(NamedTuple):
    """The limits of a regime in fen, both inside themselves."""

    single: int
    yearly: int
    waived: int


@dataclass(frozen=True, slots=True)
class EffectiveRegime:
    """A regime on a day, with the tariff of that day. A heading that is listed but not in force is None."""

    regime: Regime
    limits: Limits | None
    goods: Mapping[str, Goods | None]
    rules: tuple[str, ...]
    parcels: Mapping[str, Parcel | None]

    def find(self, hs_code: str) -> Goods | None:
        """The goods of the longest prefix; None if no rate is known."""
        return longest_prefix(self.goods, hs_code)

    def others(self, hs_code: str) -> list[Goods | None]:
        """What else the goods of a short code may be."""
        return longer(self.goods, hs_code)


class RuleSet(NamedTuple):
    """All that the rule files say; `edition` is a digest of it, the same for the same content only, `texts` the files by name."""

    regimes: Sequence[Regime]
    tariff: Tariff
    articles: Sequence[Articles] = ()
    positive_lists: Sequence[PositiveList] = ()
    rates: ExchangeRates | None = None
    nomenclature: Nomenclature | None = None
    edition: str = "unnamed"
    texts: Mapping[str, str] = MappingProxyType({})


def _tables(regime: Regime, found: RuleSet) -> Iterable[Dated]:
    yield from (*found.tariff.vat, *found.tariff.consumption, *found.tariff.heading)
    yield from (duty for heading in found.tariff.heading for duty in heading.duty)
    if isinstance(regime, RetailImport):
        yield from (
            row
            for positive in found.positive_lists
            if positive.id == regime.positive_list
            for row in positive.goods
        )
    if isinstance(regime, ParcelTax):
        yield from (
            row for table in found.articles if table.id == regime.articles for row in table.article
        )


def boundaries(regime: Regime, found: RuleSet) -> list[date]:
    """The days within the regime from which something differs."""
    days = {regime.valid_from}
    for row in () if isinstance(regime, Exempt) else _tables(regime, found):
        days.add(row.valid_from)
        after = None if row.valid_to is None else day_after(row.valid_to)
        if after is not None:
            days.add(after)
    return sorted(day for day in days if regime.is_on(day))


def in_force_on(regime: Regime, found: RuleSet, day: date) -> EffectiveRegime:
    name, edition = f"{regime.id}@{regime.version}", f"edition@{found.edition}"
    if isinstance(regime, Exempt):
        return EffectiveRegime(regime, None, {}, (name, edition), {})
    tariff = f"{found.tariff.id}@{found.tariff.version}"
    if isinstance(regime, RetailImport):
        positive = next(
            positive for positive in found.positive_lists if positive.id == regime.positive_list
        )
        limits = Limits(
            fen(regime.single.amount), fen(regime.yearly.amount), fen(regime.waiver.tax_at_most)
        )
        parts = tuple(f"{regime.id}/{part}" for part in ("single", "yearly", "waiver", "rounding"))
        return EffectiveRegime(
            regime,
            limits,
            _all_goods(regime, found.tariff, positive, day),
            (name, edition, tariff, *parts),
            {},
        )
    goods = _all_goods(regime, found.tariff, None, day)
    if isinstance(regime, ParcelTax):
        articles = next(table for table in found.articles if table.id == regime.articles)
        parcels = _all_parcels(regime, articles, goods, day)
        parts = (f"{regime.id}/waiver", f"{regime.id}/rounding")
        return EffectiveRegime(
            regime, None, {}, (name, edition, f"{articles.id}@{articles.version}", *parts), parcels
        )
    parts = (f"{regime.id}/duty-waiver", f"{regime.id}/rounding")
    return EffectiveRegime(regime, None, goods, (name, edition, tariff, *parts), {})


def _all_goods(
    regime: Regime, tariff: Tariff, positive: PositiveList | None, day: date
) -> dict[str, Goods | None]:
    """Every prefix that tariff or positive list has a row for, with the longest row of both."""
    headings = in_force_by_prefix(tariff.heading, day)
    listed = {} if positive is None else in_force_by_prefix(positive.goods, day)
    goods: dict[str, Goods | None] = {}
    for prefix in {*headings, *listed}:
        heading = longest_prefix(headings, prefix)
        if heading is not None:
            row = longest_prefix(listed, prefix)
            goods[prefix] = _goods(regime, tariff, heading, day, positive, row)
        elif prefix in headings:
            goods[prefix] = None
    return goods


def _goods(
    regime: Regime,
    tariff: Tariff,
    heading: Heading,
    day: date,
    positive: PositiveList | None,
    listed: Listed | None,
) -> Goods:
    vat = _on_day(tariff.vat, heading.vat, day)
    consumption = (
        None
        if heading.consumption is None
        else _on_day(tariff.consumption, heading.consumption, day)
    )
    c = Decimal(0) if consumption is None else consumption.rate
    rules = [
        f"{tariff.id}/heading/{heading.hs}/{heading.valid_from}",
        f"{tariff.id}/vat/{vat.class_}/{vat.valid_from}",
    ]
    taxed_by = (
        None
        if consumption is None
        else f"{tariff.id}/consumption/{consumption.class_}/{consumption.valid_from}"
    )
    if taxed_by is not None:
        rules.append(taxed_by)
    within = None
    if isinstance(regime, RetailImport):
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
    threshold = None if consumption is None else _threshold(consumption)
    list_rule = (
        None
        if positive is None or listed is None
        else f"{positive.id}/{listed.hs}/{listed.valid_from}"
    )
    free = positive is None or (
        listed is not None and listed.listed and not listed.modes and listed.kg_a_year is None
    )
    return Goods(
        heading.hs,
        within,
        full,
        consumption is not None,
        threshold,
        taxed_by,
        listed,
        list_rule,
        free,
    )


def _all_parcels(
    regime: ParcelTax, articles: Articles, goods: Mapping[str, Goods | None], day: date
) -> dict[str, Parcel | None]:
    rates = {rate.class_: rate.rate for rate in regime.rate}
    rows = in_force_by_prefix(articles.article, day)
    # A prefix of the tariff alone is there too, so that its own consumption tax is asked for and not its heading's.
    parcels: dict[str, Parcel | None] = {}
    for prefix in {*rows, *goods}:
        row = longest_prefix(rows, prefix)
        if row is not None:
            parcels[prefix] = _parcel(regime, articles, row, rates, longest_prefix(goods, prefix))
        elif prefix in rows:
            parcels[prefix] = None
    return parcels


def _parcel(
    regime: ParcelTax,
    articles: Articles,
    row: Article,
    rates: Mapping[str, Decimal],
    goods: Goods | None,
) -> Parcel | None:
    other = row.dear_class or row.taxed_class
    if row.taxed_class is not None and goods is None:
        return None
    rules = [
        f"{articles.id}/{row.hs}/{row.valid_from}",
        *(f"{regime.id}/rate/{name}" for name in row.classes),
    ]
    asks = goods if row.taxed_class is not None else None
    if asks is not None and asks.consumption_rule is not None:
        rules.append(asks.consumption_rule)
    return Parcel(
        row.hs, _ratio(rates[row.class_]), None if other is None else _ratio(rates[other]),
        None if row.dear_from is None else fen(row.dear_from), asks, tuple(rules),
    )  # fmt: skip


def _ratio(rate: Decimal) -> Ratio:
    exact = Fraction(rate)
    return Ratio(exact.numerator, exact.denominator)


@cache
def owed(
    duty: Decimal,
    consumption: Decimal,
    vat: Decimal,
    consumption_share: Decimal,
    vat_share: Decimal,
) -> Owed:
    """Shares of a dutiable value, exact, from the rates d, c and v (Import tax law; 财税[2016]18号 for the shares).

    duty = DV d; consumption tax = (DV + duty) c / (1 - c), since it is part of its own base; VAT = (DV + duty +
    consumption tax) v, whose base holds the whole consumption tax even where only a share of it is levied.
    """
    d, c, v = Fraction(duty), Fraction(consumption), Fraction(vat)
    base = (1 + d) / (1 - c)
    return Owed(
        *(
            Ratio(x.numerator, x.denominator)
            for x in (d, base * c * Fraction(consumption_share), base * v * Fraction(vat_share))
        )
    )


def _on_day(rows: Iterable[Classed], cls: str, day: date) -> Classed:
    return next(row for row in rows if row.class_ == cls and row.is_on(day))


def _threshold(consumption: Consumption) -> Threshold | None:
    if consumption.per_content is not None:
        return Threshold(
            {unit: fen(amount) for unit, amount in consumption.per_content.items()}, None
        )
    return None if consumption.per_unit is None else Threshold(None, fen(consumption.per_unit))


def fen(amount: Decimal) -> int:
    """An amount of a rule file in fen; it has at most two decimals."""
    return int(amount * 100)
