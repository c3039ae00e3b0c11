"""Code lists: countries from pycountry, the authority's numbers for units and countries from
gacc.toml."""

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
"""The name of a unit in a submission (`kg`) to the authority's number (`035`)."""

UNIT_OF_CODE: Final[dict[str, str]] = {code: names[0] for code, names in _DATA["unit"].items()}
COUNTRY_OF_CODE: Final[dict[str, str]] = dict(_DATA["country"])
CURRENCY_OF_CODE: Final[dict[str, str]] = dict(_DATA["currency"])

DECLARABLE_COUNTRIES: Final = frozenset(COUNTRY_OF_CODE.values())
DECLARABLE_CURRENCIES: Final = frozenset(CURRENCY_OF_CODE.values())
"""Countries and currencies that a list can name.

Customs has its own table; a test compares the two.
"""


@cache
def _countries() -> frozenset[str]:
    return frozenset(country.alpha_2 for country in pycountry.countries)


def is_country(code: str) -> bool:
    return code in _countries()
