"""The content of all rule files of a folder together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from services.tax.rulebook.exchange import ExchangeRates
from services.tax.rulebook.rows import Regime
from services.tax.rulebook.tariff import (
    Articles,
    Nomenclature,
    PositiveList,
    Tariff,
)


class RuleSet(NamedTuple):
    """The content of all rule files; `edition` is its digest, `texts` the files by name."""

    regimes: Sequence[Regime]
    tariff: Tariff
    articles: Sequence[Articles] = ()
    positive_lists: Sequence[PositiveList] = ()
    rates: ExchangeRates | None = None
    nomenclature: Nomenclature | None = None
    edition: str = "unnamed"
    texts: Mapping[str, str] = MappingProxyType({})
