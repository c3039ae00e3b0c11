"""Rule files of destinations (`dest-*.toml`) and the lists of goods they name (`goods-*.toml`).

All are good together, or they are refused with file, line and reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.tax.landed.destination import Destination
from services.tax.rulebook.exchange import Exchange, ExchangeRates
from services.tax.rulebook.files import RULES
from services.tax.rulebook.goods_lists import GoodsList
from services.tax.rulebook.rows import RuleFault
from services.tax.rulebook.toml_files import RuleError, line_of, read_toml, validated

KIND = "destination"
LIST_KIND = "goods-list"


def load_destinations(folder: Path = RULES) -> tuple[Destination, ...]:
    """Return the destinations of a folder; raises RuleError also where two name one country or
    id."""
    return tuple(read_destinations(folder).values())


def read_destinations(folder: Path) -> dict[Path, Destination]:
    lists = {goods.id: goods for goods in read_lists(folder).values()}
    destinations: dict[Path, Destination] = {}
    ids: dict[str, Path] = {}
    countries: dict[str, Path] = {}
    for path in sorted(folder.glob("dest-*.toml")):
        destination = read_destination(path, lists)
        if destination.id in ids:
            raise RuleError(
                path,
                line_of(path, ["id"]),
                f"the id {destination.id} is that of {ids[destination.id].name} too",
            )
        for country in destination.countries:
            if country in countries:
                reason = f"country {country} overlaps: {countries[country].name} has it too"
                raise RuleError(path, line_of(path, ["countries"]), reason)
            countries[country] = path
        ids[destination.id] = path
        destinations[path] = destination
    if not destinations:
        raise RuleError(
            folder, None, "there must be rule files of destinations (dest-*.toml), found none"
        )
    return destinations


def read_lists(folder: Path) -> dict[Path, GoodsList]:
    lists: dict[Path, GoodsList] = {}
    for path in sorted(folder.glob("goods-*.toml")):
        goods = validated(path, _of_kind(path, LIST_KIND, "goods-*"), GoodsList)
        other = next((other for other, known in lists.items() if known.id == goods.id), None)
        if other is not None:
            raise RuleError(
                path, line_of(path, ["id"]), f"the id {goods.id} is that of {other.name} too"
            )
        lists[path] = goods
    return lists


def read_destination(path: Path, lists: dict[str, GoodsList]) -> Destination:
    destination = validated(path, _of_kind(path, KIND, "dest-*"), Destination)
    try:
        return destination.with_lists(lists)
    except RuleFault as fault:
        raise RuleError(path, line_of(path, (fault.table, fault.index)), str(fault)) from None


def _of_kind(path: Path, kind: str, pattern: str) -> dict[str, Any]:
    text = read_toml(path)
    if text.get("kind") != kind:
        reason = f"kind: it must be {kind!r} in a file named {pattern}, found {text.get('kind')!r}"
        raise RuleError(path, line_of(path, ["kind"]), reason)
    return text


def load_rates(folder: Path = RULES) -> ExchangeRates:
    """Return the exchange rates of a folder, those of this release if it has none; raises
    RuleError."""
    for path in sorted(folder.glob("rates-*.toml")):
        text = read_toml(path)
        if text.get("kind") == "exchange-rates":
            rates = validated(path, text, ExchangeRates)
            try:
                Exchange(rates)
            except RuleFault as fault:
                raise RuleError(
                    path, line_of(path, (fault.table, fault.index)), str(fault)
                ) from None
            return rates
    if folder == RULES:
        raise RuleError(
            folder, None, "there must be a rule file of exchange rates (rates-*.toml), found none"
        )
    return load_rates(RULES)
