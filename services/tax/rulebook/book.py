"""All rules, checked and compiled: for a direction, mode and day, the regime in force with its
goods."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date
from typing import Final

from services.tax.rulebook.compile import boundaries, in_force_on
from services.tax.rulebook.effective_regime import EffectiveRegime
from services.tax.rulebook.exchange import Exchange
from services.tax.rulebook.rows import ParcelTax, Regime, RetailImport, RuleFault, day_after
from services.tax.rulebook.rule_periods import check_periods, faults_of
from services.tax.rulebook.rule_set import RuleSet
from services.tax.rulebook.sources import sources
from services.tax.rulebook.tariff import Articles, check_articles, check_list, check_tariff


class Rulebook:
    """All rules, checked and compiled once; the regime of a day is searched by bisection."""

    def __init__(self, content: RuleSet) -> None:
        """Raise RuleFault where rules overlap, leave a gap, or name what does not exist."""
        _check(content)
        self.rule_set: Final = content
        self.edition: Final = content.edition
        self.texts: Final = dict(content.texts)
        self.regimes: Final = tuple(sorted(content.regimes, key=lambda regime: regime.valid_from))
        self.tariff: Final = content.tariff
        self.exchange: Final = Exchange(content.rates)
        self.sources: Final = sources(content)
        self._starts: dict[tuple[str, str], list[date]] = {}
        self._in_force: dict[tuple[str, str], list[EffectiveRegime | None]] = {}
        self._by_id: dict[str, tuple[list[date], list[EffectiveRegime]]] = {}
        self._compile()

    def _compile(self) -> None:
        for regime in self.regimes:
            starts = boundaries(regime, self.rule_set)
            compiled = [in_force_on(regime, self.rule_set, start) for start in starts]
            self._by_id[regime.id] = (starts, compiled)
            for mode in regime.modes:
                of_mode = self._starts.setdefault((regime.direction, mode), [])
                in_force = self._in_force.setdefault((regime.direction, mode), [])
                of_mode += starts
                in_force += compiled
                after = None if regime.valid_to is None else day_after(regime.valid_to)
                if after is not None:
                    of_mode.append(after)
                    in_force.append(None)

    def on(self, direction: str, mode: str, day: date) -> EffectiveRegime | None:
        starts = self._starts.get((direction, mode))
        if starts is None:
            return None
        at = bisect_right(starts, day)
        return self._in_force[direction, mode][at - 1] if at else None

    def by_id(self, regime: str, day: date) -> EffectiveRegime | None:
        starts, compiled = self._by_id[regime]
        at = bisect_right(starts, day)
        return compiled[at - 1] if at and compiled[at - 1].regime.is_on(day) else None

    def modes(self, direction: str) -> tuple[str, ...]:
        return tuple(sorted(mode for way, mode in self._starts if way == direction))


def _check(content: RuleSet) -> None:
    with faults_of(content.tariff.id):
        check_tariff(content.tariff, content.nomenclature)
    for articles in content.articles:
        check_articles(articles, content.nomenclature)
    for positive in content.positive_lists:
        check_list(positive, content.nomenclature)
    for index, regime in enumerate(content.regimes):
        with faults_of(regime.id):
            _check_names(content, index, regime)
    _check_regime_periods(content.regimes)


def _check_regime_periods(regimes: Sequence[Regime]) -> None:
    by_way: dict[tuple[str, str], list[tuple[int, Regime]]] = {}
    for index, regime in enumerate(regimes):
        for mode in regime.modes:
            by_way.setdefault((regime.direction, mode), []).append((index, regime))
    for (direction, mode), dated in sorted(by_way.items()):
        try:
            check_periods("regime", f"{direction} by mode {mode}", dated)
        except RuleFault as fault:
            fault.of = regimes[fault.index].id
            raise


def _check_names(content: RuleSet, index: int, regime: Regime) -> None:
    if isinstance(regime, RetailImport):
        fallbacks = _general_trade(content.regimes)
        if regime.fallback_regime not in fallbacks:
            named = f"otherwise names the regime {regime.fallback_regime!r} of general trade"
            raise RuleFault("regime", index, f"{named}, which is not there")
        if regime.positive_list not in {positive.id for positive in content.positive_lists}:
            named = f"positive_list names {regime.positive_list!r}"
            raise RuleFault("regime", index, f"{named}, which is not there")
    elif isinstance(regime, ParcelTax):
        articles = next((table for table in content.articles if table.id == regime.articles), None)
        if articles is None:
            named = f"articles names {regime.articles!r}"
            raise RuleFault("regime", index, f"{named}, which is not there")
        with faults_of(articles.id):
            _check_classes(regime, articles)


def _general_trade(regimes: Sequence[Regime]) -> set[str]:
    return {regime.id for regime in regimes if regime.kind == "general-trade"}


def _check_classes(regime: ParcelTax, articles: Articles) -> None:
    classes = {rate.class_ for rate in regime.rate}
    for row, article in enumerate(articles.article):
        for name in article.classes:
            if name not in classes:
                reason = (
                    f"hs {article.hs} names the class {name!r}, which {regime.id} has no rate of"
                )
                raise RuleFault("article", row, reason)
