"""Where each rule that an assessment may name comes from, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from services.tax.rulebook.rows import GeneralTrade, ParcelTax, Regime, RetailImport, Row

if TYPE_CHECKING:
    from services.tax.rulebook.compile import RuleSet


def sources(found: RuleSet) -> Mapping[str, str]:
    """Every rule by its name: its source, with the confidence in brackets."""
    named = {name: f"{row.source} ({row.confidence})" for name, row in rows(found)}
    return named | {
        f"edition@{found.edition}": "digest of all rule files together (by it an assessment is worked out again)"
    }


def rows(found: RuleSet) -> Iterator[tuple[str, Row]]:
    """Every rule by its name."""
    for regime in found.regimes:
        yield f"{regime.id}@{regime.version}", regime
        yield from _of_regime(regime)
    tariff = found.tariff
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
    for articles in found.articles:
        yield f"{articles.id}@{articles.version}", articles
        yield from (
            (f"{articles.id}/{article.hs}/{article.valid_from}", article)
            for article in articles.article
        )
    for positive in found.positive_lists:
        yield f"{positive.id}@{positive.version}", positive
        yield from ((f"{positive.id}/{row.hs}/{row.valid_from}", row) for row in positive.goods)
    if found.rates is not None:
        yield f"{found.rates.id}@{found.rates.version}", found.rates
        for period in found.rates.period:
            yield from (
                (f"{found.rates.id}/{currency}/{period.valid_from}", period)
                for currency in period.per_100
            )
    if found.nomenclature is not None:
        yield f"{found.nomenclature.id}@{found.nomenclature.version}", found.nomenclature


def _of_regime(regime: Regime) -> Iterator[tuple[str, Row]]:
    if isinstance(regime, RetailImport):
        yield from (
            (f"{regime.id}/{part}", getattr(regime, part))
            for part in ("single", "yearly", "within", "waiver", "rounding")
        )
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
