"""The enterprise's own numbers of its lists (copNo): one for each list lodged, so that every receipt tells which it is about. Pure."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Final
from uuid import UUID

_LETTERS: Final = "CDEFGHIJKLMNOPQRSTUVWXYZ"
_LENGTH: Final = 20
LISTS_MAX: Final = len(_LETTERS)
"""Lists of one order that can be told apart."""


def last_distinct_list(attempt: int) -> int:
    """The list that a number of this attempt tells: the attempt itself, or the last there is a letter for."""
    return min(max(attempt, 1), LISTS_MAX)


def cop_no_of(order_id: UUID, attempt: int = 1) -> str:
    """The number of the list that is lodged as an order's `attempt`-th: at most 20 characters (CEB621 copNo), from 95 bits
    of the id behind a letter that counts.

    No receipt names the message or the guid it answers (CEB622, CEB604: its own guid, copNo, preNo, invtNo, returnTime), preNo
    and invtNo stay through a correction, and returnTime is of another's clock and, in CEB604, of the receipt and not of the
    decision. copNo alone is chosen by the declarant and repeated by the authority. A list that is lodged more often than there
    are letters, since its way is blocked for hours, keeps the last of them.
    """
    return _LETTERS[last_distinct_list(attempt) - 1] + _behind_letter(order_id)


@lru_cache(maxsize=4096)
def _behind_letter(order_id: UUID) -> str:
    return base64.b32encode(order_id.bytes)[: _LENGTH - 1].decode()


def first_and_attempt(cop_no: str) -> tuple[str, int | None]:
    """The number of the order's first list, by which the declaration is found, and which list this is the number of.

    A number that was not made here is its own first one.
    """
    if len(cop_no) != _LENGTH or cop_no[0] not in _LETTERS:
        return cop_no, None
    return _LETTERS[0] + cop_no[1:], _LETTERS.index(cop_no[0]) + 1
