"""What follows from a failure: patience, the same request again, or a decision. Pure."""

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


def remedy_of(reply: AuthorityReply, policy: DeclarationPolicy) -> Remedy:
    code = reply.code or reply.status
    remedy = reply.way or (
        (policy.way_of(code) or policy.way_of(reply.status)) if reply.technical else None
    )
    if remedy is not None and remedy != "decision":
        return remedy
    if code in policy.there_already and reply.technical:
        return "there"
    return "wait" if code in policy.too_soon else "decision"


def is_out_of_patience(d: Declaration, now: datetime, policy: DeclarationPolicy) -> bool:
    """Patience is a time and no number of attempts: a long outage has many attempts."""
    return d.waits_since is not None and (now - d.waits_since).total_seconds() > policy.patience_s


def queue_again(
    d: Declaration, reply: AuthorityReply, remedy: Remedy, now: datetime, policy: DeclarationPolicy
) -> Declaration:
    pause_s = reply.pause_s
    if remedy == "wait" and d.waits_since is not None:
        pause_s = max(
            policy.too_soon_wait_s, min((now - d.waits_since).total_seconds(), policy.wait_max_s)
        )
    return replace(d, waiting=reply.on, waiting_s=pause_s, part=reply.part)


def failed_in_transit(status: str | None, policy: DeclarationPolicy) -> bool:
    return status is not None and (status.startswith("-") or policy.way_of(status) is not None)


def count_attempt(d: Declaration) -> Declaration:
    """Count the attempt as an ordinary one: customs has the list that failed in transit, so its
    decision counts.
    """
    return replace(d, spared=max(0, d.spared - 1), waiting_s=0.0, part=None)


RETRIED: Final = ("wait", "ours", "again")
