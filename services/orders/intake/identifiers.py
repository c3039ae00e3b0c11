"""Numbers that prove themselves: enterprise codes, identity cards, bar codes, postal items, telephones; pure."""

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
_BORN_EARLIEST: Final = date(1900, 1, 1)


@lru_cache(maxsize=4096)
def enterprise_code_fault(code: str) -> str | None:
    """What is wrong with a customs registration number (10) or unified social credit code (18, GB 32100-2015)."""
    if len(code) == 18:
        return None if uscc.is_valid(code) else "check digit or form wrong"
    return None if _REGISTRATION.fullmatch(code) else f"{len(code)} characters"


def resident_id_fault(number: str, today: date) -> str | None:
    """What is wrong with a resident identity number (GB 11643-1999), never quoting it.

    The area is not looked up: published area tables lag behind, and residence permits (81..83) would be refused.
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
    """GTIN-8, 12, 13 or 14 with its check digit."""
    return text.isascii() and text.isdigit() and bool(ean.is_valid(text))


def is_like_postal_item(text: str) -> bool:
    """Has the form of an S10 number, so its check digit can be asked for."""
    return _POSTAL_ITEM.fullmatch(text) is not None


def is_postal_item(text: str) -> bool:
    """S10 with its check digit (UPU S10; the `s10` package's vectors in the tests)."""
    if not is_like_postal_item(text):
        return False
    check = (
        11
        - sum(
            int(digit) * weight
            for digit, weight in zip(text[2:10], (8, 6, 4, 2, 3, 5, 9, 7), strict=True)
        )
        % 11
    )
    return int(text[10]) == {10: 0, 11: 5}.get(check, check)


def is_telephone(text: str) -> bool:
    """6 to 20 digits with the usual signs between; numbering plans differ too much between countries for more."""
    return _TELEPHONE.fullmatch(text) is not None and 6 <= sum(c.isdigit() for c in text) <= 20
