"""DOC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.customs import (
    return_store,
    store,
)
from services.customs.domain import declaration as domain
from services.customs.domain import documents
from services.customs.domain.declaration import Declaration
from services.customs.gateway import Authority
from services.customs.lodging import store as lodging_store
from services.customs.lodging.store import QueuedRequest
from shared.database import Connection
from shared.envelope import Message
from shared.events import Event
from shared.events.logistics import WaybillIssued
from shared.subscriptions import EmittedEvent, Outcome
from shared.values import replace


@dataclass
class Fold:
    """Declarations on their way through a batch: what is saved, said and queued at its end. `found`: as they were locked."""

    declarations: dict[UUID, Declaration]
    touched: dict[UUID, datetime]
    papers: dict[UUID, dict[str, bytes]]
    facts: list[EmittedEvent]
    found: Mapping[UUID, Declaration]

    @classmethod
    def of(cls, declarations: Mapping[UUID, Declaration]) -> Fold:
        return cls(dict(declarations), {}, {}, [], declarations)

    def keep(self, m: Message, event: Event) -> None:
        """Note a document that was followed, to be written as it came; a waybill without the particulars it came with."""
        if isinstance(event, WaybillIssued):
            if self.declarations[m.order_id].waybill is event:
                self.papers.setdefault(m.order_id, {})["waybill"] = event.to_json()
        elif name := documents.DOCUMENTS.get(type(event)):
            self.papers.setdefault(m.order_id, {}).setdefault(name, m.value or event.to_json())

    def corrections(self) -> list[tuple[UUID, bytes]]:
        """The waybills noted in the place of ones that are written already; they are no first documents."""
        later = [
            order_id
            for order_id in self.papers
            if order_id in self.found and "waybill" in self.found[order_id].present
        ]
        return [(o, self.papers[o].pop("waybill")) for o in later if "waybill" in self.papers[o]]

    def fold(
        self, followed: domain.Decision, cause: UUID, at: datetime, traceparent: bytes | None = None
    ) -> bool:
        """Keep the new state and number its facts; tells whether anything changed."""
        after, facts = followed
        if not facts and self.declarations.get(after.order_id) == after:
            return False
        self.declarations[after.order_id] = after
        self.touched[after.order_id] = at
        first = after.version - len(facts) + 1
        self.facts += [
            EmittedEvent(fact, cause, first + i, traceparent) for i, fact in enumerate(facts)
        ]
        return True

    async def save(self, conn: Connection, authority: Authority) -> Outcome:
        changed = [
            _grouped(self.declarations[order_id], authority) for order_id in sorted(self.touched)
        ]
        if changed:
            await store.save(conn, changed, self.papers, self.found.keys())
            await return_store.save_returns(
                conn, [(d.order_id, each) for d in changed for each in d.returns]
            )
            waiting = [QueuedRequest(d.order_id, d.waiting, d.group_key or "", self.touched[d.order_id] + timedelta(seconds=d.waiting_s), d.part)
                       for d in changed if d.waiting is not None]  # fmt: skip
            await lodging_store.queue(
                conn,
                waiting,
                [d.order_id for d in changed if d.waiting is None and self._waits_no_more(d)],
            )
        return Outcome(facts=self.facts)

    def _waits_no_more(self, d: Declaration) -> bool:
        """Whether nothing of it is to be lodged any more: it is over, or customs goes on with the list that was to be corrected.
        A list that is lodged was taken out of its batch already.
        """
        found = self.found.get(d.order_id)
        was_matched = found is not None and found.state is domain.DeclarationState.MATCHED
        return d.state in domain.OVER or (
            was_matched
            and d.state not in (domain.DeclarationState.MATCHED, domain.DeclarationState.LODGED)
        )


def _grouped(d: Declaration, authority: Authority) -> Declaration:
    """With the key of the batches it joins, fixed when its order document comes."""
    if d.group_key is not None or d.order is None:
        return d
    return replace(d, group_key=authority.group_of(d.order))
