"""A consolidated declaration: its stages and the results (CEB792) that move it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from shared.transitions import Transitions
from shared.values import replace


class DeclarationStage(StrEnum):
    GENERATED = "generated"
    DECLARED = "declared"
    RETURNED = "returned"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class NumberGiven:
    """The declaration has an entryId."""


@dataclass(frozen=True, slots=True)
class SentBack:
    """Customs returned the declaration to the broker, who must correct it."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The decState says that the declaration is closed."""


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
        # Nothing changes a closed declaration.
        **{
            (DeclarationStage.CLOSED, event): DeclarationStage.CLOSED
            for event in (NumberGiven, SentBack, Finished)
        },
    }
)


@dataclass(frozen=True, slots=True)
class DeclarationResult:
    """One entry of a CEB792: the state of a declaration that customs made, in message `seq` of
    `count`.
    """

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
    """A declaration that customs made of a request's lists. `received_parts` are the
    messages with lines received, of `count`.
    """

    decl_seq_no: str
    sum_no: str
    count: int = 1
    received_parts: frozenset[int] = frozenset()
    lines: int = 0
    stage: DeclarationStage = DeclarationStage.GENERATED
    published_stage: DeclarationStage = DeclarationStage.GENERATED
    dec_state: str = ""
    entry_id: str | None = None
    tmp_no: str | None = None
    pre_no: str | None = None

    @property
    def complete(self) -> bool:
        # Not by a set of all numbers: the sender chooses the count.
        return all(seq in self.received_parts for seq in range(1, self.count + 1))


def apply_result(
    existing: SummaryDeclaration | None, result: DeclarationResult, lines: int
) -> SummaryDeclaration:
    """Apply one result with so many lines. A closed declaration stays closed, and a number stays
    until another replaces it.
    """
    d = existing or SummaryDeclaration(result.decl_seq_no, result.sum_no)
    if lines and result.seq not in d.received_parts:
        d = replace(
            d,
            received_parts=d.received_parts | {result.seq},
            lines=d.lines + lines,
            count=result.count,
        )
    if d.stage is DeclarationStage.CLOSED:
        return d
    d = replace(
        d,
        dec_state=result.dec_state,
        tmp_no=result.tmp_no or d.tmp_no,
        pre_no=result.pre_no or d.pre_no,
        entry_id=result.entry_id or d.entry_id,
    )
    return replace(d, stage=_stage_after(d, result))


def _stage_after(d: SummaryDeclaration, result: DeclarationResult) -> DeclarationStage:
    if result.meaning == "returned":
        return DECLARATION.next(d.stage, SentBack())
    if d.entry_id is None:
        return d.stage
    stage = DECLARATION.next(d.stage, NumberGiven())
    return DECLARATION.next(stage, Finished()) if result.meaning == "finished" else stage


def take_unpublished_stages(
    d: SummaryDeclaration,
) -> tuple[SummaryDeclaration, tuple[DeclarationStage, ...]]:
    """Return the stages not announced yet: numbered, once all lines arrived; closed."""
    if (
        not d.complete
        or d.stage not in (DeclarationStage.DECLARED, DeclarationStage.CLOSED)
        or d.published_stage is d.stage
        or d.published_stage is DeclarationStage.CLOSED
    ):
        return d, ()
    stages = (
        (DeclarationStage.DECLARED, DeclarationStage.CLOSED)
        if d.published_stage is DeclarationStage.GENERATED and d.stage is DeclarationStage.CLOSED
        else (d.stage,)
    )
    return replace(d, published_stage=d.stage), stages
