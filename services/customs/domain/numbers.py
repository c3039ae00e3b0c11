"""The enterprise's numbers of its lists (copNo): one for each list lodged, so that a receipt tells
which list it means. Pure.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Final
from uuid import UUID

_LETTERS: Final = "CDEFGHIJKLMNOPQRSTUVWXYZ"
_LENGTH: Final = 20
LISTS_MAX: Final = len(_LETTERS)
"""Lists of one order that have numbers of their own."""


def last_distinct_list(attempt: int) -> int:
    """Return the attempt that a number tells: the attempt itself, or the last that has a letter."""
    return min(max(attempt, 1), LISTS_MAX)


def cop_no_of(order_id: UUID, attempt: int = 1) -> str:
    """Return the number of an order's list by `attempt`: a letter that counts and 95 bits of the
    id, 20 characters (CEB621 copNo).

    No receipt names the message or guid it answers. preNo and invtNo survive a correction, and
    returnTime is another's clock. Only copNo is chosen by the declarant and repeated by the
    authority. A list lodged more often than there are letters keeps the last letter.
    """
    return _LETTERS[last_distinct_list(attempt) - 1] + _behind_letter(order_id)


@lru_cache(maxsize=4096)
def _behind_letter(order_id: UUID) -> str:
    return base64.b32encode(order_id.bytes)[: _LENGTH - 1].decode()


def first_and_attempt(cop_no: str) -> tuple[str, int | None]:
    """Return the number of the order's first list, which finds the declaration, and which list this
    number means.

    A number that was not made here is its own first one.
    """
    if len(cop_no) != _LENGTH or cop_no[0] not in _LETTERS:
        return cop_no, None
    return _LETTERS[0] + cop_no[1:], _LETTERS.index(cop_no[0]) + 1
