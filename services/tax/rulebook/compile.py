"""What each heading owes by a regime on a day, as exact ratios of its value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeVar

from services.tax.rulebook.effective_regime import (
    Basis,
    EffectiveRegime,
    Goods,
    Limits,
    Parcel,
    Threshold,
)
from services.tax.rulebook.ratios import fen, owed, ratio
from services.tax.rulebook.rows import Dated, Exempt, ParcelTax, Regime, RetailImport, day_after
from services.tax.rulebook.rule_set import RuleSet
from services.tax.rulebook.tariff import (
    Article,
    Articles,
    Consumption,
    Heading,
    Listed,
    PositiveList,
    Tariff,
    Vat,
    in_force_by_prefix,
    longest_prefix,
)

Classed = TypeVar("Classed", Vat, Consumption)


def _tables(regime: Regime, content: RuleSet) -> Iterable[Dated]:
    yield from (*content.tariff.vat, *content.tariff.consumption, *content.tariff.heading)
    for heading in content.tariff.heading:
        yield from heading.duty
    if isinstance(regime, RetailImport):
        yield from _list_of(regime, content).goods
    if isinstance(regime, ParcelTax):
        yield from _articles_of(regime, content).article


def _list_of(regime: RetailImport, content: RuleSet) -> PositiveList:
    return next(each for each in content.positive_lists if each.id == regime.positive_list)


def _articles_of(regime: ParcelTax, content: RuleSet) -> Articles:
    return next(each for each in content.articles if each.id == regime.articles)


def boundaries(regime: Regime, content: RuleSet) -> list[date]:
    days = {regime.valid_from}
    for row in () if isinstance(regime, Exempt) else _tables(regime, content):
        days.add(row.valid_from)
        after = None if row.valid_to is None else day_after(row.valid_to)
        if after is not None:
            days.add(after)
    return sorted(day for day in days if regime.is_on(day))


def in_force_on(regime: Regime, content: RuleSet, day: date) -> EffectiveRegime:
    name, edition = f"{regime.id}@{regime.version}", f"edition@{content.edition}"
    if isinstance(regime, Exempt):
        return EffectiveRegime(regime, None, {}, (name, edition), {})
    tariff = f"{content.tariff.id}@{content.tariff.version}"
    if isinstance(regime, RetailImport):
        positive = _list_of(regime, content)
        amounts = (regime.single.amount, regime.yearly.amount, regime.waiver.tax_at_most)
        parts = tuple(f"{regime.id}/{part}" for part in ("single", "yearly", "waiver", "rounding"))
        goods = _all_goods(regime, content.tariff, positive, day)
        rules = (name, edition, tariff, *parts)
        return EffectiveRegime(regime, Limits(*map(fen, amounts)), goods, rules, {})
    goods = _all_goods(regime, content.tariff, None, day)
    if isinstance(regime, ParcelTax):
        articles = _articles_of(regime, content)
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
    consumption = None
    rules = [
        f"{tariff.id}/heading/{heading.hs}/{heading.valid_from}",
        f"{tariff.id}/vat/{vat.class_}/{vat.valid_from}",
    ]
    consumption_rule = None
    if heading.consumption is not None:
        consumption = _on_day(tariff.consumption, heading.consumption, day)
        consumption_rule = f"{tariff.id}/consumption/{consumption.class_}/{consumption.valid_from}"
        rules.append(consumption_rule)
    c = Decimal(0) if consumption is None else consumption.rate
    return Goods(
        hs=heading.hs,
        reduced=_reduced(regime, c, vat.rate, rules),
        full=_full(tariff, heading, day, c, vat.rate, rules),
        has_consumption_tax=consumption is not None,
        threshold=None if consumption is None else _threshold(consumption),
        consumption_rule=consumption_rule,
        listed=listed,
        list_rule=_list_rule(positive, listed),
        free=positive is None or _is_free(listed),
    )


def _reduced(regime: Regime, c: Decimal, v: Decimal, rules: Sequence[str]) -> Basis | None:
    if not isinstance(regime, RetailImport):
        return None
    rates = regime.reduced_rates
    shares = (rates.consumption_share, rates.vat_share)
    return Basis(
        plain=owed(rates.duty, Decimal(0), v, *shares),
        taxed=owed(rates.duty, c, v, *shares),
        rules=(*rules, f"{regime.id}/within"),
    )


def _full(
    tariff: Tariff, heading: Heading, day: date, c: Decimal, v: Decimal, rules: Sequence[str]
) -> Basis | None:
    duty = next((each for each in heading.duty if each.is_on(day)), None)
    if duty is None:
        return None
    whole = (Decimal(1), Decimal(1))
    return Basis(
        plain=owed(duty.rate, Decimal(0), v, *whole),
        taxed=owed(duty.rate, c, v, *whole),
        rules=(*rules, f"{tariff.id}/duty/{heading.hs}/{duty.valid_from}"),
    )


def _list_rule(positive: PositiveList | None, listed: Listed | None) -> str | None:
    if positive is None or listed is None:
        return None
    return f"{positive.id}/{listed.hs}/{listed.valid_from}"


def _is_free(listed: Listed | None) -> bool:
    return listed is not None and listed.listed and not listed.modes and listed.kg_a_year is None


def _all_parcels(
    regime: ParcelTax, articles: Articles, goods: Mapping[str, Goods | None], day: date
) -> dict[str, Parcel | None]:
    rates = {rate.class_: rate.rate for rate in regime.rate}
    rows = in_force_by_prefix(articles.article, day)
    # A prefix of the tariff alone is included: its own consumption tax counts, not its heading's.
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
        row.hs,
        ratio(rates[row.class_]),
        None if other is None else ratio(rates[other]),
        None if row.dear_from is None else fen(row.dear_from),
        asks,
        tuple(rules),
    )


def _on_day(rows: Iterable[Classed], cls: str, day: date) -> Classed:
    return next(row for row in rows if row.class_ == cls and row.is_on(day))


def _threshold(consumption: Consumption) -> Threshold | None:
    if consumption.per_content is not None:
        return Threshold(
            {unit: fen(amount) for unit, amount in consumption.per_content.items()}, None
        )
    return None if consumption.per_unit is None else Threshold(None, fen(consumption.per_unit))
