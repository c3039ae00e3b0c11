"""When lodging pauses, and when one list is tried to see whether the way is free again. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final, Literal

from services.customs.domain.declaration import AuthorityReply

Reason = Literal["wait", "ours"]
ALL: Final = "*"
"""The scope of a pause for everything this declarant lodges."""
FIRST_S: Final = 1.0
OUTAGE_S: Final = 60.0
"""A pause so long was an outage: what waits for its own pause need wait no more when it is over."""
# Growing, and so short that a way that was blocked for half an hour is found free within ten seconds: of the minute in which
# all that waits is to be through, the lists need most.
_SHARE: Final[dict[Reason, float]] = {"wait": 180.0, "ours": 10.0}
_LEAST_S: Final[dict[Reason, float]] = {"wait": 2.0, "ours": 30.0}
_MOST_S: Final[dict[Reason, float]] = {"wait": 60.0, "ours": 300.0}


def next_trial(reason: Reason, paused: timedelta) -> timedelta:
    """How long after a trial the next is made, by how long lodging has paused."""
    share = paused.total_seconds() / _SHARE[reason]
    return timedelta(seconds=max(_LEAST_S[reason], min(share, _MOST_S[reason])))


def reason_to_pause(told: AuthorityReply, own_pace: Collection[str]) -> Reason | None:
    """Why a word stops all lodging: the way is blocked, or our own signature is refused.

    `own_pace` are codes that speak of one list's pace and nothing else.
    """
    if told.meaning != "returned" or (told.code or told.status) in own_pace:
        return None
    return told.way if told.way in ("wait", "ours") else None


def shows_lodging_works(told: AuthorityReply) -> bool:
    """Whether a word tells that what was lodged reached customs, or was read at the e-port and refused for its own sake."""
    return told.meaning not in ("waiting", "unknown") and told.way not in ("wait", "ours")
