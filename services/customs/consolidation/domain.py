"""Consolidation of released export lists: a summary request (CEB701) and the declarations made of
it (CEB792). Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

from services.customs.consolidation.summary_declaration import DeclarationStage, SummaryDeclaration
from shared.transitions import Transitions
from shared.values import replace


class SummaryState(StrEnum):
    REQUESTED = "requested"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    DECLARED = "declared"
    CLOSED = "closed"
    SUPERSEDED = "superseded"


LIVE: Final = (
    SummaryState.REQUESTED,
    SummaryState.ACCEPTED,
    SummaryState.REFUSED,
    SummaryState.DECLARED,
    SummaryState.CLOSED,
)
"""States in which a request holds its lists: no other request may take them."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """399 on every message of the request."""


@dataclass(frozen=True, slots=True)
class Refused:
    """100 or a negative code on one of its messages."""


@dataclass(frozen=True, slots=True)
class Declared:
    """Every line of its lists is in a numbered declaration."""


@dataclass(frozen=True, slots=True)
class Closed:
    """All these declarations are closed."""


@dataclass(frozen=True, slots=True)
class ListsFreed:
    """The lists of a refused request may be requested again."""


SUMMARY: Final = Transitions[SummaryState](
    {
        (SummaryState.REQUESTED, Accepted): SummaryState.ACCEPTED,
        **{
            (s, Refused): SummaryState.REFUSED
            for s in (SummaryState.REQUESTED, SummaryState.ACCEPTED)
        },
        # A result wins over the receipt that it may overtake.
        **{
            (s, Declared): SummaryState.DECLARED
            for s in (SummaryState.REQUESTED, SummaryState.ACCEPTED, SummaryState.REFUSED)
        },
        (SummaryState.DECLARED, Closed): SummaryState.CLOSED,
        (SummaryState.REFUSED, ListsFreed): SummaryState.SUPERSEDED,
    }
)


@dataclass(frozen=True, slots=True)
class SummaryPolicy:
    """Which refusals only ask for patience, how often to request, and the first and longest wait in
    seconds.

    After a failure in transit the request is repeated until the way is free.
    """

    ask_again: Collection[str]
    attempts_max: int
    wait_s: float
    wait_max_s: float = 3600.0


ReplyMeaning = Literal["waiting", "accepted", "returned"]


@dataclass(frozen=True, slots=True)
class SummaryReply:
    """One entry of a CEB702, on message `seq` of a request. `named`: lists in its text.

    `on_the_way`: no officer refused it; the way is blocked or our signature is refused.
    """

    cop_no: str
    seq: int
    meaning: ReplyMeaning
    status: str
    info: str
    at: datetime
    code: str | None = None
    sum_no: str | None = None
    named: tuple[str, ...] = ()
    on_the_way: bool = False


@dataclass(frozen=True)
class Summary:
    """A summary request in `parts` messages. `lines` counts the lines of its lists, `attempt` how
    often they were requested.

    `again_at`: when its lists are free again. None if not refused, or where a person must decide
    first.
    """

    summary_id: UUID
    cop_no: str
    parts: int
    lines: int
    attempt: int = 1
    state: SummaryState = SummaryState.REQUESTED
    accepted: frozenset[int] = frozenset()
    sum_no: str | None = None
    status: str | None = None
    code: str | None = None
    info: str | None = None
    again_at: datetime | None = None


def apply_reply(
    s: Summary, reply: SummaryReply, of_it: Collection[str], policy: SummaryPolicy
) -> tuple[Summary, frozenset[str]]:
    """Apply a receipt and return which lists are set aside for a person. `of_it` are the named
    lists in this request.

    A refusal that names lists sets these aside and frees the others. One that asks for patience
    frees all after a wait, a failure in transit with growing pauses. Any other waits for a person.
    A decided request never changes.
    """
    s = replace(s, sum_no=s.sum_no or reply.sum_no)
    if reply.meaning == "waiting" or s.state not in (SummaryState.REQUESTED, SummaryState.ACCEPTED):
        return s, frozenset()
    s = replace(s, status=reply.status, code=reply.code, info=reply.info)
    if reply.meaning == "accepted":
        s = replace(s, accepted=s.accepted | {reply.seq})
        whole = s.state is SummaryState.REQUESTED and s.accepted >= set(range(1, s.parts + 1))
        return (_step(s, Accepted()) if whole else s), frozenset()
    s = _step(s, Refused())
    aside = frozenset(reply.named) & frozenset(of_it)
    if aside:
        return replace(s, again_at=reply.at), aside
    return replace(s, again_at=_free_again_at(s, reply, policy)), frozenset()


def _free_again_at(s: Summary, reply: SummaryReply, policy: SummaryPolicy) -> datetime | None:
    if reply.on_the_way:
        pause_s = min(policy.wait_s * 2 ** min(s.attempt - 1, 20), policy.wait_max_s)
        return reply.at + timedelta(seconds=pause_s)
    if (reply.code or reply.status) in policy.ask_again and s.attempt < policy.attempts_max:
        return reply.at + timedelta(seconds=policy.wait_s)
    return s.again_at


def free(s: Summary) -> Summary:
    return _step(s, ListsFreed())


def apply_declarations(s: Summary, declarations: Iterable[SummaryDeclaration]) -> Summary:
    made = list(declarations)
    if not _is_covered(s, made):
        return s
    undeclared = (SummaryState.REQUESTED, SummaryState.ACCEPTED, SummaryState.REFUSED)
    if s.state in undeclared and all(d.entry_id is not None for d in made):
        s = replace(_step(s, Declared()), again_at=None)
    if s.state is SummaryState.DECLARED and all(d.stage is DeclarationStage.CLOSED for d in made):
        s = _step(s, Closed())
    return s


def _is_covered(s: Summary, made: Sequence[SummaryDeclaration]) -> bool:
    """Return whether complete declarations have every line of the request's lists."""
    return bool(made) and all(d.complete for d in made) and sum(d.lines for d in made) == s.lines


def _step(s: Summary, event: object) -> Summary:
    return replace(s, state=SUMMARY.next(s.state, event))
