"""The code lists of intake: countries from pycountry; the authority's numbers for units and countries from a data file."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Final

import pycountry

_DATA: Final = tomllib.loads((Path(__file__).parent / "gacc.toml").read_text(encoding="utf-8"))

UNITS: Final[dict[str, str]] = {
    name: code for code, names in _DATA["unit"].items() for name in names
}
"""A unit's name on the wire (`kg`) to the authority's number (`035`)."""

UNIT_OF_CODE: Final[dict[str, str]] = {code: names[0] for code, names in _DATA["unit"].items()}
COUNTRY_OF_CODE: Final[dict[str, str]] = dict(_DATA["country"])
CURRENCY_OF_CODE: Final[dict[str, str]] = dict(_DATA["currency"])

DECLARABLE_COUNTRIES: Final = frozenset(COUNTRY_OF_CODE.values())
DECLARABLE_CURRENCIES: Final = frozenset(CURRENCY_OF_CODE.values())
"""What a list can be written with. Customs prints from a table of its own; a test holds the two against each other."""


@cache
def _countries() -> frozenset[str]:
    return frozenset(country.alpha_2 for country in pycountry.countries)


def is_country(code: str) -> bool:
    """Whether this is an ISO 3166-1 alpha-2 code in force."""
    return code in _countries()
