"""Pauses of lodging: their reasons, and when a trial list is sent. Pure."""

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
"""A pause so long was an outage: when it ends, everything that waits for a pause of its own is
lodged at once.
"""
# Waits grow with the pause. After half an hour a free way is noticed within ten seconds: the lists
# need most of the minute in which everything waiting must leave.
_SHARE: Final[dict[Reason, float]] = {"wait": 180.0, "ours": 10.0}
_LEAST_S: Final[dict[Reason, float]] = {"wait": 2.0, "ours": 30.0}
_MOST_S: Final[dict[Reason, float]] = {"wait": 60.0, "ours": 300.0}


def next_trial(reason: Reason, paused: timedelta) -> timedelta:
    share = paused.total_seconds() / _SHARE[reason]
    return timedelta(seconds=max(_LEAST_S[reason], min(share, _MOST_S[reason])))


def reason_to_pause(reply: AuthorityReply, own_pace: Collection[str]) -> Reason | None:
    """Return why a reply stops all lodging: the way is blocked, or our signature is refused.

    `own_pace` are codes about the pace of one list only.
    """
    if reply.meaning != "returned" or (reply.code or reply.status) in own_pace:
        return None
    return reply.way if reply.way in ("wait", "ours") else None


def shows_lodging_works(reply: AuthorityReply) -> bool:
    """Return whether a reply proves that messages reach customs or are read at the e-port."""
    return reply.meaning not in ("waiting", "unknown") and reply.way not in ("wait", "ours")
