"""The source of each rule that an assessment may name, and its confidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from services.tax.rulebook.exchange import ExchangeRates
from services.tax.rulebook.rows import GeneralTrade, ParcelTax, Regime, RetailImport, Row
from services.tax.rulebook.tariff import Tariff

if TYPE_CHECKING:
    from services.tax.rulebook.rule_set import RuleSet


def sources(content: RuleSet) -> Mapping[str, str]:
    named = {name: f"{row.source} ({row.confidence})" for name, row in rows(content)}
    return named | {
        f"edition@{content.edition}": (
            "digest of all rule files together (by it an assessment is worked out again)"
        )
    }


def rows(content: RuleSet) -> Iterator[tuple[str, Row]]:
    for regime in content.regimes:
        yield f"{regime.id}@{regime.version}", regime
        yield from _of_regime(regime)
    yield from _of_tariff(content.tariff)
    for articles in content.articles:
        yield f"{articles.id}@{articles.version}", articles
        yield from ((f"{articles.id}/{row.hs}/{row.valid_from}", row) for row in articles.article)
    for positive in content.positive_lists:
        yield f"{positive.id}@{positive.version}", positive
        yield from ((f"{positive.id}/{row.hs}/{row.valid_from}", row) for row in positive.goods)
    if content.rates is not None:
        yield from _of_rates(content.rates)
    if content.nomenclature is not None:
        yield f"{content.nomenclature.id}@{content.nomenclature.version}", content.nomenclature


def _of_rates(rates: ExchangeRates) -> Iterator[tuple[str, Row]]:
    yield f"{rates.id}@{rates.version}", rates
    for period in rates.period:
        yield from ((f"{rates.id}/{name}/{period.valid_from}", period) for name in period.per_100)


def _of_tariff(tariff: Tariff) -> Iterator[tuple[str, Row]]:
    yield f"{tariff.id}@{tariff.version}", tariff
    yield from ((f"{tariff.id}/vat/{vat.class_}/{vat.valid_from}", vat) for vat in tariff.vat)
    yield from (
        (f"{tariff.id}/consumption/{tax.class_}/{tax.valid_from}", tax)
        for tax in tariff.consumption
    )
    for heading in tariff.heading:
        yield f"{tariff.id}/heading/{heading.hs}/{heading.valid_from}", heading
        yield from (
            (f"{tariff.id}/duty/{heading.hs}/{duty.valid_from}", duty) for duty in heading.duty
        )


def _of_regime(regime: Regime) -> Iterator[tuple[str, Row]]:
    if isinstance(regime, RetailImport):
        parts: dict[str, Row] = {
            "single": regime.single,
            "yearly": regime.yearly,
            "within": regime.reduced_rates,
            "waiver": regime.waiver,
            "rounding": regime.rounding,
        }
        yield from ((f"{regime.id}/{part}", row) for part, row in parts.items())
    elif isinstance(regime, ParcelTax):
        yield from (
            (f"{regime.id}/{part}", getattr(regime, part)) for part in ("waiver", "rounding")
        )
        yield from (
            (f"{regime.id}/limit/{'+'.join(limit.sent_from) or 'other'}", limit)
            for limit in regime.limit
        )
        yield from ((f"{regime.id}/rate/{rate.class_}", rate) for rate in regime.rate)
    elif isinstance(regime, GeneralTrade):
        yield f"{regime.id}/duty-waiver", regime.duty_waiver
        yield f"{regime.id}/rounding", regime.rounding
