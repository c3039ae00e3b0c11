"""The consolidation of export lists, both sides: customs' requests, as in consolidating.py and
summaries.py, and the office's word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final
from uuid import UUID

from services.customs.consolidation import domain as consolidation
from services.customs.consolidation import summary_declaration
from services.customs.consolidation.domain import Summary, SummaryReply, SummaryState
from services.customs.consolidation.event_store import PendingEvent
from services.customs.consolidation.handlers import EVENT_KINDS
from services.customs.consolidation.publication import cause_of, event_of
from services.customs.consolidation.summary_declaration import DeclarationResult
from services.customs.domain.declaration import OVER, Declaration
from services.customs.domain.declaration import DeclarationState as Listed
from shared import topics
from tests.simulation.broker import Broker, Reader, Record, Said
from tests.simulation.plan import AT
from tests.simulation.sabotage import Sabotage
from tests.simulation.world import Violation, World

ASKING: Final = consolidation.SummaryPolicy(ask_again={"100"}, attempts_max=3, wait_s=5.0)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to consolidate lists; `order_id` is nobody's."""

    order_id: UUID
    cop_no: str
    invt_nos: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """The office's word on a request, or on a declaration it made of one.

    `invt_nos`: the lists whose lines it tells.
    """

    order_id: UUID
    word: SummaryReply | DeclarationResult
    invt_nos: tuple[str, ...] = ()


@dataclass
class Months:
    """Customs' tables about export lists that are closed."""

    open: dict[UUID, int] = field(default_factory=dict)
    """Lists to be asked for, each with how often it was."""
    requests: dict[str, Summary] = field(default_factory=dict)
    lists: dict[str, dict[str, UUID]] = field(default_factory=dict)
    """Of each request: its lists, each with its order."""
    declarations: dict[str, summary_declaration.SummaryDeclaration] = field(default_factory=dict)
    lines: dict[str, set[UUID]] = field(default_factory=dict)
    words: list[tuple[UUID, str, str, str | None]] = field(default_factory=list)
    """What is to be said: the order, the kind, the request and the declaration."""

    def free(self, now: datetime) -> None:
        """The lists of refused requests whose time has come are open again."""
        for cop_no, s in self.requests.items():
            if s.state is SummaryState.REFUSED and s.again_at is not None and s.again_at <= now:
                self.requests[cop_no] = consolidation.free(s)
                self.open |= dict.fromkeys(self.lists[cop_no].values(), s.attempt)

    def ask(self, summary_id: UUID, declarations: Mapping[UUID, Declaration]) -> Asked | None:
        """A request of all that is open and not on its way back."""
        for order_id in [o for o in self.open if declarations[o].state in OVER]:
            del self.open[order_id]
        taken = [o for o in self.open if declarations[o].state is not Listed.RETURNING]
        if not taken:
            return None
        cop_no, attempt = f"S{summary_id}", max(self.open[o] for o in taken) + 1
        self.lists[cop_no] = {str(declarations[o].invt_no): o for o in taken}
        self.requests[cop_no] = Summary(summary_id, cop_no, 1, len(taken), attempt)
        self.words += [(order_id, "requested", cop_no, None) for order_id in taken]
        for order_id in taken:
            del self.open[order_id]
        return Asked(summary_id, cop_no, tuple(self.lists[cop_no]))

    def hear(self, told: Told) -> None:
        """As in summaries.follow."""
        if isinstance(told.word, SummaryReply):
            self._answer(told.word)
        else:
            self._result(told.word, told.invt_nos)

    def _answer(self, told: SummaryReply) -> None:
        s, lists = self.requests[told.cop_no], self.lists[told.cop_no]
        after, aside = consolidation.apply_reply(s, told, set(told.named) & set(lists), ASKING)
        self.requests[told.cop_no] = after
        if after.state is not s.state and after.state is SummaryState.REFUSED:
            self.words += [
                (lists.pop(invt_no), "set_aside", told.cop_no, None) for invt_no in sorted(aside)
            ]
            self.words += [(order_id, "refused", told.cop_no, None) for order_id in lists.values()]
        if after.sum_no is not None and s.sum_no is None:
            self._progress(after)

    def _result(self, told: DeclarationResult, invt_nos: Sequence[str]) -> None:
        s = next((s for s in self.requests.values() if s.sum_no == told.sum_no), None)
        if s is None and invt_nos:
            s = next(
                self.requests[cop_no]
                for cop_no, lists in self.lists.items()
                if invt_nos[0] in lists and self._live(cop_no)
            )
        before = self.declarations.get(told.decl_seq_no)
        new = bool(invt_nos) and (before is None or told.seq not in before.received_parts)
        self.declarations[told.decl_seq_no] = summary_declaration.apply_result(
            before, told, len(invt_nos) if new else 0
        )
        if s is not None:
            if new:
                orders = {self.lists[s.cop_no][invt_no] for invt_no in invt_nos}
                self.lines.setdefault(told.decl_seq_no, set()).update(orders)
            self._progress(replace(s, sum_no=told.sum_no))

    def _live(self, cop_no: str) -> bool:
        return self.requests[cop_no].state in consolidation.LIVE

    def _progress(self, s: Summary) -> None:
        made = []
        for number, d in self.declarations.items():
            if d.sum_no == s.sum_no:
                self.declarations[number], stages = summary_declaration.take_unpublished_stages(d)
                self.words += [
                    (order_id, EVENT_KINDS[stage], s.cop_no, number)
                    for stage in stages
                    for order_id in sorted(self.lines[number])
                ]
                made.append(self.declarations[number])
        self.requests[s.cop_no] = consolidation.apply_declarations(s, made)

    def say(self, declarations: Mapping[UUID, Declaration], at: datetime) -> list[Said]:
        """What is to be said, each order's numbered on from its declaration."""
        counts: dict[UUID, int] = {}
        facts = []
        for order_id, kind, cop_no, number in self.words:
            counts[order_id] = counts.get(order_id, 0) + 1
            s, d = self.requests[cop_no], declarations[order_id]
            entry_id = self.declarations[number].entry_id if number else None
            parts = json.dumps([[1, 1]] if number else [])
            word = PendingEvent(
                0,
                order_id,
                d.version,
                kind,
                str(d.invt_no),
                cop_no,
                "2026-11",
                at,
                s.status,
                s.info,
                number,
                entry_id,
                parts,
            )
            facts.append(Said(event_of(word), cause_of(word), d.version + counts[order_id]))
        self.words.clear()
        return facts

    def unended(self) -> Iterable[str]:
        """Lists nobody asks for, and requests that come to no end."""
        yield from (f"{order_id} is never asked for" for order_id in self.open)
        ends = (SummaryState.CLOSED, SummaryState.REFUSED, SummaryState.SUPERSEDED)
        yield from (
            f"{s.cop_no} is {s.state}" for s in self.requests.values() if s.state not in ends
        )


class Office(Reader):
    """Decides about a request by dice of its own, and makes declarations of its lists.

    Its words come in any order.
    """

    name = "office"

    def __init__(self, world: World, broker: Broker, sabotage: Sabotage) -> None:
        super().__init__(world, broker, sabotage, {topics.DECLARATIONS: (Asked,)})
        self._asked: set[str] = set()

    def transact(self, fresh: Any) -> None:
        for _, asked in fresh:
            taken = {invt_no for invt_no in asked.invt_nos if invt_no in self._asked}
            if taken:
                raise Violation(f"lists are asked for while they are in a declaration: {taken}")
            self._decide(asked, Random(f"{self.world.seed} {asked.cop_no}"))

    def _decide(self, asked: Asked, dice: Random) -> None:
        drawn = dice.random()
        if drawn < 0.25:
            self._answer(asked, "returned", "100")
        elif drawn < 0.4:
            self._answer(asked, "returned", "-1", named=asked.invt_nos[:1])
        elif drawn < 0.5:
            self._answer(asked, "returned", "-1")
        else:
            self._accept(asked, dice)

    def _accept(self, asked: Asked, dice: Random) -> None:
        sum_no = f"N{asked.cop_no}"
        self._asked.update(asked.invt_nos)
        self._answer(asked, "accepted", "399", sum_no=sum_no)
        half = dice.randrange(len(asked.invt_nos))
        for number, lists in enumerate(
            filter(None, (asked.invt_nos[:half], asked.invt_nos[half:]))
        ):
            head: dict[str, Any] = {
                "sum_no": sum_no,
                "decl_seq_no": f"{sum_no}-{number}",
                "at": self._now(),
                "entry_id": f"E{number}",
            }
            self._tell(asked, DeclarationResult(**head, meaning="declared", dec_state="4"), lists)
            self._tell(
                asked,
                DeclarationResult(**head, meaning="finished", dec_state="10"),
                dice.choice(((), lists)),
            )

    def _answer(self, asked: Asked, meaning: Any, status: str, **more: Any) -> None:
        self._tell(
            asked, SummaryReply(asked.cop_no, 1, meaning, status, "", self._now(), status, **more)
        )

    def _tell(
        self, asked: Asked, word: SummaryReply | DeclarationResult, lists: tuple[str, ...] = ()
    ) -> None:
        self.send(
            [
                (
                    topics.RECEIPTS,
                    self.world.uuid(),
                    Record(self.world.uuid(), Told(asked.order_id, word, lists)),
                )
            ]
        )

    def _now(self) -> datetime:
        return AT + timedelta(seconds=self.world.now)
