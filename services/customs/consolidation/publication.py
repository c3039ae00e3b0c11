"""Timer that publishes events about consolidated lists."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson

from services.customs.consolidation import event_store
from services.customs.consolidation.event_store import PendingEvent
from services.customs.deps import Deps
from shared.clock import BEIJING
from shared.database import Connection
from shared.events import customs as customs_events
from shared.subscriptions import EmittedEvent, Outcome
from shared.timer_items import Items, of_order

PUBLISH_EVERY_S: Final = 0.5


EVENTS_MAX: Final = 500
"""Events in one transaction: the timer must not delay the receipts that arrive beside it."""


ORDERS: Final = Items[UUID]("customs", "summary words", of_order)


async def publish_pending(conn: Connection, _deps: Deps) -> Outcome:
    pending_events: dict[UUID, list[PendingEvent]] = {}
    for pending in await event_store.lock_pending(conn, EVENTS_MAX):
        pending_events.setdefault(pending.order_id, []).append(pending)

    async def act(orders: Sequence[UUID]) -> Outcome:
        return await _announce(
            conn, [pending for order_id in orders for pending in pending_events[order_id]]
        )

    return await ORDERS.each(conn, list(pending_events), act)


async def _announce(conn: Connection, pending_events: Sequence[PendingEvent]) -> Outcome:
    emitted: list[EmittedEvent] = []
    counts: dict[UUID, int] = {}
    for pending in pending_events:
        counts[pending.order_id] = counts.get(pending.order_id, 0) + 1
        cause = cause_of(pending)
        emitted.append(
            EmittedEvent(event_of(pending), cause, pending.version + counts[pending.order_id])
        )
    await event_store.delete_pending(conn, [pending.id for pending in pending_events], counts)
    return Outcome(facts=emitted)


def cause_of(pending: PendingEvent) -> UUID:
    return uuid5(
        NAMESPACE_URL, f"summary:{pending.cop_no}:{pending.decl_seq_no or ''}:{pending.kind}"
    )


def event_of(pending: PendingEvent) -> customs_events.SummaryEvent:
    common: dict[str, Any] = {
        "order_id": pending.order_id,
        "invt_no": pending.invt_no,
        "summary_no": pending.cop_no,
    }
    if pending.kind == "requested":
        # `due_at` is the end of the last day, which is the beginning of the next.
        last = (pending.due_at.astimezone(BEIJING) - timedelta(microseconds=1)).date()
        return customs_events.SummaryRequested(**common, month=pending.month, due_by=last)
    if pending.kind in ("refused", "set_aside"):
        return customs_events.SummaryRefused(
            **common,
            status=pending.status or "",
            info=pending.info or "",
            set_aside=pending.kind == "set_aside",
        )
    parts = tuple(
        customs_events.DeclaredPart(line_no=line, declared_line=declared)
        for line, declared in orjson.loads(pending.parts)
    )
    kind = (
        customs_events.ListConsolidated
        if pending.kind == "declared"
        else customs_events.ConsolidatedDeclarationClosed
    )
    return kind(
        **common,
        decl_seq_no=pending.decl_seq_no or "",
        entry_id=pending.entry_id or "",
        parts=parts,
    )
