"""The consolidation of released export lists: a summary request (CEB701), and the declarations customs makes of it (CEB792). Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

from shared.transitions import Transitions
from shared.values import replace


class SummaryState(StrEnum):
    """Where a summary request stands."""

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
"""It holds its lists: no other request may take them up."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """399 on every message of the request."""


@dataclass(frozen=True, slots=True)
class Refused:
    """100 or a negative code on one of them."""


@dataclass(frozen=True, slots=True)
class Declared:
    """Every line of its lists is in a declaration that has a number."""


@dataclass(frozen=True, slots=True)
class Closed:
    """And every one of these declarations is closed."""


@dataclass(frozen=True, slots=True)
class ListsFreed:
    """A refused request's lists are free to be asked for anew."""


SUMMARY: Final = Transitions[SummaryState](
    {
        (SummaryState.REQUESTED, Accepted): SummaryState.ACCEPTED,
        **{
            (s, Refused): SummaryState.REFUSED
            for s in (SummaryState.REQUESTED, SummaryState.ACCEPTED)
        },
        # A result speaks louder than the receipt that it may overtake.
        **{
            (s, Declared): SummaryState.DECLARED
            for s in (SummaryState.REQUESTED, SummaryState.ACCEPTED, SummaryState.REFUSED)
        },
        (SummaryState.DECLARED, Closed): SummaryState.CLOSED,
        (SummaryState.REFUSED, ListsFreed): SummaryState.SUPERSEDED,
    }
)


class DeclarationStage(StrEnum):
    """Where a declaration that customs made stands."""

    GENERATED = "generated"
    DECLARED = "declared"
    RETURNED = "returned"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class NumberGiven:
    """It has an entryId."""


@dataclass(frozen=True, slots=True)
class SentBack:
    """Customs returned it to the broker, who must correct it."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Its decState says that it is closed."""


DECLARATION: Final = Transitions[DeclarationStage](
    {
        **{
            (s, NumberGiven): DeclarationStage.DECLARED
            for s in (
                DeclarationStage.GENERATED,
                DeclarationStage.RETURNED,
                DeclarationStage.DECLARED,
            )
        },
        **{
            (s, SentBack): DeclarationStage.RETURNED
            for s in (
                DeclarationStage.GENERATED,
                DeclarationStage.DECLARED,
                DeclarationStage.RETURNED,
            )
        },
        (DeclarationStage.DECLARED, Finished): DeclarationStage.CLOSED,
        # A lesser word after the last changes nothing.
        **{
            (DeclarationStage.CLOSED, event): DeclarationStage.CLOSED
            for event in (NumberGiven, SentBack, Finished)
        },
    }
)


@dataclass(frozen=True, slots=True)
class SummaryPolicy:
    """What the declarant decides: which refusals ask for patience only, how often to ask, and how long to wait first; at most so
    long after a failure on the way, which is asked again until the way is free."""

    ask_again: Collection[str]
    attempts_max: int
    wait_s: float
    wait_max_s: float = 3600.0


ReplyMeaning = Literal["waiting", "accepted", "returned"]


@dataclass(frozen=True, slots=True)
class SummaryReply:
    """One entry of a CEB702, on message `seq` of a request. `named`: the lists its text names; `on_the_way`: no officer of customs
    refused it, the way is blocked or our own signature is refused."""

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
    """A summary request in `parts` messages. `lines`: those of its lists, all in all; `attempt`: how often its lists were asked for.

    `again_at`: when its lists are free again; None while it is not refused, or where a person must say so first.
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
    s: Summary, told: SummaryReply, of_it: Collection[str], policy: SummaryPolicy
) -> tuple[Summary, frozenset[str]]:
    """Follow a receipt; `of_it` are the named lists that are the request's. Also tells which lists are set aside for a person.

    A refusal that names lists sets these aside and frees the others; one that asks for patience frees all after a wait, and so
    does a failure on the way, with growing pauses; any other waits for a person. What a decided request is told changes nothing.
    """
    s = replace(s, sum_no=s.sum_no or told.sum_no)
    if told.meaning == "waiting" or s.state not in (SummaryState.REQUESTED, SummaryState.ACCEPTED):
        return s, frozenset()
    s = replace(s, status=told.status, code=told.code, info=told.info)
    if told.meaning == "accepted":
        s = replace(s, accepted=s.accepted | {told.seq})
        whole = s.state is SummaryState.REQUESTED and s.accepted >= set(range(1, s.parts + 1))
        return (_step(s, Accepted()) if whole else s), frozenset()
    s = _step(s, Refused())
    aside = frozenset(told.named) & frozenset(of_it)
    if aside:
        return replace(s, again_at=told.at), aside
    if told.on_the_way:
        pause_s = min(policy.wait_s * 2 ** min(s.attempt - 1, 20), policy.wait_max_s)
        return replace(s, again_at=told.at + timedelta(seconds=pause_s)), frozenset()
    if (told.code or told.status) in policy.ask_again and s.attempt < policy.attempts_max:
        s = replace(s, again_at=told.at + timedelta(seconds=policy.wait_s))
    return s, frozenset()


def free(s: Summary) -> Summary:
    """Its time has come: the lists that were not set aside may be asked for anew."""
    return _step(s, ListsFreed())


@dataclass(frozen=True, slots=True)
class DeclarationResult:
    """One entry of a CEB792: what customs says of a declaration it made. `lines` are in message `seq` of `count`, None: no lines told."""

    sum_no: str
    decl_seq_no: str
    meaning: Literal["waiting", "declared", "returned", "finished", "unknown"]
    dec_state: str
    at: datetime
    entry_id: str | None = None
    tmp_no: str | None = None
    pre_no: str | None = None
    count: int = 1
    seq: int = 1


@dataclass(frozen=True)
class SummaryDeclaration:
    """A declaration customs made of a request's lists; `told` are the messages whose lines came, of `count`.

    `said`: the last stage that was announced of it.
    """

    decl_seq_no: str
    sum_no: str
    count: int = 1
    told: frozenset[int] = frozenset()
    lines: int = 0
    stage: DeclarationStage = DeclarationStage.GENERATED
    said: DeclarationStage = DeclarationStage.GENERATED
    dec_state: str = ""
    entry_id: str | None = None
    tmp_no: str | None = None
    pre_no: str | None = None

    @property
    def complete(self) -> bool:
        """All of its lines came."""
        # Not by a set of all numbers: the count is the sender's word.
        return all(seq in self.told for seq in range(1, self.count + 1))


def apply_result(
    found: SummaryDeclaration | None, told: DeclarationResult, lines: int
) -> SummaryDeclaration:
    """Follow one result, with so many lines. A declaration never goes back from closed, and its number once given stays till another."""
    d = found or SummaryDeclaration(told.decl_seq_no, told.sum_no)
    if lines and told.seq not in d.told:
        d = replace(d, told=d.told | {told.seq}, lines=d.lines + lines, count=told.count)
    if d.stage is DeclarationStage.CLOSED:
        return d
    d = replace(d, dec_state=told.dec_state, tmp_no=told.tmp_no or d.tmp_no, pre_no=told.pre_no or d.pre_no,
                entry_id=told.entry_id or d.entry_id)  # fmt: skip
    if told.meaning == "returned":
        return replace(d, stage=DECLARATION.next(d.stage, SentBack()))
    if d.entry_id is not None:
        d = replace(d, stage=DECLARATION.next(d.stage, NumberGiven()))
        if told.meaning == "finished":
            d = replace(d, stage=DECLARATION.next(d.stage, Finished()))
    return d


def take_unpublished_stages(
    d: SummaryDeclaration,
) -> tuple[SummaryDeclaration, tuple[DeclarationStage, ...]]:
    """What is to be announced of a declaration and was not yet: that it has a number, once all its lines came; that it is closed."""
    if (
        not d.complete
        or d.stage not in (DeclarationStage.DECLARED, DeclarationStage.CLOSED)
        or d.said is d.stage
        or d.said is DeclarationStage.CLOSED
    ):
        return d, ()
    stages = (
        (DeclarationStage.DECLARED, DeclarationStage.CLOSED)
        if d.said is DeclarationStage.GENERATED and d.stage is DeclarationStage.CLOSED
        else (d.stage,)
    )
    return replace(d, said=d.stage), stages


def apply_declarations(s: Summary, declarations: Iterable[SummaryDeclaration]) -> Summary:
    """Where the request stands by what was made of it."""
    made = list(declarations)
    covered = bool(made) and all(d.complete for d in made) and sum(d.lines for d in made) == s.lines
    if not covered:
        return s
    if s.state in (SummaryState.REQUESTED, SummaryState.ACCEPTED, SummaryState.REFUSED) and all(
        d.entry_id is not None for d in made
    ):
        s = replace(_step(s, Declared()), again_at=None)
    if s.state is SummaryState.DECLARED and all(d.stage is DeclarationStage.CLOSED for d in made):
        s = _step(s, Closed())
    return s


def _step(s: Summary, event: object) -> Summary:
    return replace(s, state=SUMMARY.next(s.state, event))
