"""Identifiers with check digits or fixed forms: enterprises, identity cards, bar codes, postal
items."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final

from stdnum import ean
from stdnum.cn import ric, uscc

FOREIGN_PLATFORM: Final = "无"

_REGISTRATION: Final = re.compile(r"[0-9A-Z]{10}")
_RESIDENT_ID: Final = re.compile(r"[0-9]{17}[0-9X]")
_POSTAL_ITEM: Final = re.compile(r"[A-Z]{2}[0-9]{9}[A-Z]{2}")
_TELEPHONE: Final = re.compile(r"\+?[0-9(][0-9 ()./-]{4,28}[0-9]")
_S10_WEIGHTS: Final = (8, 6, 4, 2, 3, 5, 9, 7)
_BORN_EARLIEST: Final = date(1900, 1, 1)


@lru_cache(maxsize=4096)
def enterprise_code_fault(code: str) -> str | None:
    """Return the fault of a customs registration number (10) or social credit code (18, GB
    32100-2015)."""
    if len(code) == 18:
        return None if uscc.is_valid(code) else "check digit or form wrong"
    return None if _REGISTRATION.fullmatch(code) else f"{len(code)} characters"


def resident_id_fault(number: str, today: date) -> str | None:
    """Return the fault of a resident identity number (GB 11643-1999) without quoting the number.

    The area code is not checked: published tables lag behind, and residence permits have 81 to 83.
    """
    if len(number) != 18:
        return f"{len(number)} characters"
    if not _RESIDENT_ID.fullmatch(number):
        return "18 characters, not 17 digits and a check digit"
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return "18 characters, birth date does not exist"
    if not _BORN_EARLIEST <= born <= today:
        return "18 characters, birth date before 1900 or in the future"
    if ric.calc_check_digit(number) != number[17]:
        return "18 characters, check digit wrong"
    return None


@lru_cache(maxsize=4096)
def is_gtin(text: str) -> bool:
    """Return whether this is a GTIN-8, 12, 13 or 14 with a correct check digit."""
    return text.isascii() and text.isdigit() and bool(ean.is_valid(text))


def is_like_postal_item(text: str) -> bool:
    """Return whether the text has the form of an S10 number; the check digit may be wrong."""
    return _POSTAL_ITEM.fullmatch(text) is not None


def is_postal_item(text: str) -> bool:
    """Return whether this is an S10 number (UPU S10) with a correct check digit."""
    if not is_like_postal_item(text):
        return False
    weighted = sum(int(d) * w for d, w in zip(text[2:10], _S10_WEIGHTS, strict=True))
    check = 11 - weighted % 11
    return int(text[10]) == {10: 0, 11: 5}.get(check, check)


def is_telephone(text: str) -> bool:
    """Return whether the text has 6 to 20 digits with the usual signs between; plans differ by
    country."""
    return _TELEPHONE.fullmatch(text) is not None and 6 <= sum(c.isdigit() for c in text) <= 20
