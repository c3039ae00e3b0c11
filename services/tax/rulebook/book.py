"""The rules checked and compiled for speed: for a direction, mode and day, the regime in force with its goods."""

from __future__ import annotations

from bisect import bisect_right
from datetime import date
from typing import Final

from services.tax.rulebook.compile import EffectiveRegime, RuleSet, boundaries, in_force_on
from services.tax.rulebook.exchange import Exchange
from services.tax.rulebook.rows import (
    ParcelTax,
    Regime,
    RetailImport,
    RuleFault,
    check_periods,
    day_after,
    faults_of,
)
from services.tax.rulebook.sources import sources
from services.tax.rulebook.tariff import check_articles, check_list, check_tariff


class Rulebook:
    """All rules, checked and compiled once; what was in force on a day is found by bisection."""

    def __init__(self, found: RuleSet) -> None:
        """Raises RuleFault where rules overlap, leave a gap, or name what is not there."""
        _check(found)
        self.found: Final = found
        self.edition: Final = found.edition
        self.texts: Final = dict(found.texts)
        self.regimes: Final = tuple(sorted(found.regimes, key=lambda regime: regime.valid_from))
        self.tariff: Final = found.tariff
        self.exchange: Final = Exchange(found.rates)
        self.sources: Final = sources(found)
        self._starts: dict[tuple[str, str], list[date]] = {}
        self._in_force: dict[tuple[str, str], list[EffectiveRegime | None]] = {}
        self._by_id: dict[str, tuple[list[date], list[EffectiveRegime]]] = {}
        self._compile()

    def _compile(self) -> None:
        for regime in self.regimes:
            starts = boundaries(regime, self.found)
            compiled = [in_force_on(regime, self.found, start) for start in starts]
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
        """The regime in force that day for that way of trading, None if there is none."""
        starts = self._starts.get((direction, mode))
        if starts is None:
            return None
        at = bisect_right(starts, day)
        return self._in_force[direction, mode][at - 1] if at else None

    def by_id(self, regime: str, day: date) -> EffectiveRegime | None:
        """A regime by its id as it is that day, None if it is not in force then."""
        starts, compiled = self._by_id[regime]
        at = bisect_right(starts, day)
        return compiled[at - 1] if at and compiled[at - 1].regime.is_on(day) else None

    def modes(self, direction: str) -> tuple[str, ...]:
        """The modes of a direction that some regime knows."""
        return tuple(sorted(mode for way, mode in self._starts if way == direction))


def _check(found: RuleSet) -> None:
    with faults_of(found.tariff.id):
        check_tariff(found.tariff, found.nomenclature)
    for articles in found.articles:
        check_articles(articles, found.nomenclature)
    for positive in found.positive_lists:
        check_list(positive, found.nomenclature)
    for index, regime in enumerate(found.regimes):
        with faults_of(regime.id):
            _check_names(found, index, regime)
    for direction, mode in sorted({(r.direction, mode) for r in found.regimes for mode in r.modes}):
        own = [
            (i, r)
            for i, r in enumerate(found.regimes)
            if r.direction == direction and mode in r.modes
        ]
        try:
            check_periods("regime", f"{direction} by mode {mode}", own)
        except RuleFault as fault:
            fault.of = found.regimes[fault.index].id
            raise


def _check_names(found: RuleSet, index: int, regime: Regime) -> None:
    """What a regime names is there."""
    if isinstance(regime, RetailImport):
        if regime.otherwise not in {
            other.id for other in found.regimes if other.kind == "general-trade"
        }:
            raise RuleFault(
                "regime",
                index,
                f"otherwise names the regime {regime.otherwise!r} of general trade, which is not there",
            )
        if regime.positive_list not in {positive.id for positive in found.positive_lists}:
            raise RuleFault(
                "regime", index, f"positive_list names {regime.positive_list!r}, which is not there"
            )
    elif isinstance(regime, ParcelTax):
        articles = next((table for table in found.articles if table.id == regime.articles), None)
        if articles is None:
            raise RuleFault(
                "regime", index, f"articles names {regime.articles!r}, which is not there"
            )
        classes = {rate.class_ for rate in regime.rate}
        for row, article in enumerate(articles.article):
            for name in article.classes:
                if name not in classes:
                    fault = RuleFault(
                        "article",
                        row,
                        f"hs {article.hs} names the class {name!r}, which {regime.id} has no rate of",
                    )
                    fault.of = articles.id
                    raise fault
