"""DOC."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from services.customs.domain.declaration import (
    AuthorityReply,
    Declaration,
    DeclarationPolicy,
    Remedy,
)
from shared.values import replace


def remedy_of(heard: AuthorityReply, policy: DeclarationPolicy) -> Remedy:
    """What follows from a refusal: of the authority's own lists, or what the declarant's policy says of its code."""
    code = heard.code or heard.status
    way = heard.way or (
        (policy.way_of(code) or policy.way_of(heard.status)) if heard.technical else None
    )
    if way is not None and way != "decision":
        return way
    if code in policy.there_already and heard.technical:
        return "there"
    return "wait" if code in policy.too_soon else "decision"


def is_out_of_patience(d: Declaration, now: datetime, policy: DeclarationPolicy) -> bool:
    """Patience is a time and never a number of attempts: an outage has as many of these as it lasts."""
    return d.waits_since is not None and (now - d.waits_since).total_seconds() > policy.patience_s


def queue_again(
    d: Declaration, heard: AuthorityReply, way: Remedy, now: datetime, policy: DeclarationPolicy
) -> Declaration:
    """The same request waits to be lodged again. The pause grows with the time that it has waited already."""
    pause_s = heard.pause_s
    if way == "wait" and d.waits_since is not None:
        pause_s = max(
            policy.too_soon_wait_s, min((now - d.waits_since).total_seconds(), policy.wait_max_s)
        )
    return replace(d, waiting=heard.on, waiting_s=pause_s, part=heard.part)


def failed_in_transit(status: str | None, policy: DeclarationPolicy) -> bool:
    """Whether a list that waits to be lodged again was never returned by customs: the e-port said no to it (4, below zero)."""
    return status is not None and (status.startswith("-") or policy.way_of(status) is not None)


def count_attempt(d: Declaration) -> Declaration:
    """Customs has the list that failed on the way, or had it: its own word on it counts, and the wait is over."""
    return replace(d, spared=max(0, d.spared - 1), waiting_s=0.0, part=None)


RETRIED: Final = ("wait", "ours", "again")
