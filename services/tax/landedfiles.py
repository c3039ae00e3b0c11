"""Reads the rule files of destinations (`dest-*.toml`): all are good together, or they are refused with file, line and reason."""

from __future__ import annotations

from pathlib import Path

from services.tax.domain.destination import Destination
from services.tax.domain.exchange import Exchange, ExchangeRates
from services.tax.domain.rules import RuleFault
from services.tax.rulefiles import RULES, RuleError
from services.tax.ruletext import line_of, read_toml, shaped

KIND = "destination"


def load_destinations(folder: Path = RULES) -> tuple[Destination, ...]:
    """The destinations of a folder. Raises RuleError: no file, a bad one, or two that name the same country or id."""
    found: dict[str, tuple[Path, Destination]] = {}
    countries: dict[str, Path] = {}
    for path in sorted(folder.glob("dest-*.toml")):
        text = read_toml(path)
        if text.get("kind") != KIND:
            raise RuleError(
                path, line_of(path, ["kind"]), f"kind: it must be {KIND!r} in a file named dest-*, found {text.get('kind')!r}"
            )
        destination = shaped(path, text, Destination)
        if destination.id in found:
            other = found[destination.id][0].name
            raise RuleError(path, line_of(path, ["id"]), f"the id {destination.id} is that of {other} too")
        for country in destination.countries:
            if country in countries:
                reason = f"country {country} overlaps: {countries[country].name} has it too"
                raise RuleError(path, line_of(path, ["countries"]), reason)
            countries[country] = path
        found[destination.id] = (path, destination)
    if not found:
        raise RuleError(folder, None, "there must be rule files of destinations (dest-*.toml), found none")
    return tuple(destination for _, destination in found.values())


def load_rates(folder: Path = RULES) -> ExchangeRates:
    """The exchange rates of a folder, those of this release if it has none; raises RuleError."""
    for path in sorted(folder.glob("rates-*.toml")):
        text = read_toml(path)
        if text.get("kind") == "exchange-rates":
            rates = shaped(path, text, ExchangeRates)
            try:
                Exchange(rates)
            except RuleFault as fault:
                raise RuleError(path, line_of(path, (fault.table, fault.index)), str(fault)) from None
            return rates
    if folder == RULES:
        raise RuleError(folder, None, "there must be a rule file of exchange rates (rates-*.toml), found none")
    return load_rates(RULES)
