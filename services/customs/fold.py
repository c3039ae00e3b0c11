"""Declarations of one batch: changed in memory, then saved, queued and announced together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """The declarations of a batch. `locked` holds them as they were read, `documents` what is to be
    written.
    """

    declarations: dict[UUID, Declaration]
    touched: dict[UUID, datetime]
    documents: dict[UUID, dict[str, bytes]]
    events: list[EmittedEvent]
    locked: Mapping[UUID, Declaration]

    @classmethod
    def of(cls, declarations: Mapping[UUID, Declaration]) -> Fold:
        return cls(dict(declarations), {}, {}, [], declarations)

    def record_document(self, m: Message, event: Event) -> None:
        """Note a document to be written as it arrived. A waybill is written without the personal
        data it arrived with.
        """
        if isinstance(event, WaybillIssued):
            if self.declarations[m.order_id].waybill is event:
                self.documents.setdefault(m.order_id, {})["waybill"] = event.to_json()
        elif name := documents.DOCUMENTS.get(type(event)):
            self.documents.setdefault(m.order_id, {}).setdefault(name, m.value or event.to_json())

    def take_corrections(self) -> list[tuple[UUID, bytes]]:
        later = [
            order_id
            for order_id in self.documents
            if order_id in self.locked and "waybill" in self.locked[order_id].present
        ]
        return [
            (o, self.documents[o].pop("waybill")) for o in later if "waybill" in self.documents[o]
        ]

    def apply(
        self, decision: domain.Decision, cause: UUID, at: datetime, traceparent: bytes | None = None
    ) -> bool:
        """Store the new state and number its events. Return whether anything changed."""
        after, events = decision
        if not events and self.declarations.get(after.order_id) == after:
            return False
        self.declarations[after.order_id] = after
        self.touched[after.order_id] = at
        first = after.version - len(events) + 1
        self.events += [
            EmittedEvent(event, cause, first + i, traceparent) for i, event in enumerate(events)
        ]
        return True

    async def save(self, conn: Connection, authority: Authority) -> Outcome:
        changed = [
            _grouped(self.declarations[order_id], authority) for order_id in sorted(self.touched)
        ]
        if changed:
            await store.save(conn, changed, self.documents, self.locked.keys())
            await return_store.save_returns(
                conn, [(d.order_id, each) for d in changed for each in d.returns]
            )
            await self._queue(conn, changed)
        return Outcome(facts=self.events)

    async def _queue(self, conn: Connection, changed: Sequence[Declaration]) -> None:
        waiting, gone = [], []
        for d in changed:
            if d.waiting is not None:
                since = self.touched[d.order_id] + timedelta(seconds=d.waiting_s)
                group_key = d.group_key or ""
                waiting.append(QueuedRequest(d.order_id, d.waiting, group_key, since, d.part))
            elif self._leaves_batch(d):
                gone.append(d.order_id)
        await lodging_store.queue(conn, waiting, gone)

    def _leaves_batch(self, d: Declaration) -> bool:
        """Return whether the declaration must leave its open batch: it is over, or customs
        continues with the uncorrected list. Taking a list for lodging removes it already.
        """
        before = self.locked.get(d.order_id)
        was_matched = before is not None and before.state is domain.DeclarationState.MATCHED
        return d.state in domain.OVER or (
            was_matched
            and d.state not in (domain.DeclarationState.MATCHED, domain.DeclarationState.LODGED)
        )


def _grouped(d: Declaration, authority: Authority) -> Declaration:
    if d.group_key is not None or d.order is None:
        return d
    return replace(d, group_key=authority.group_of(d.order))
