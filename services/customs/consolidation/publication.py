"""DOC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson

from services.customs.consolidation import event_store
from services.customs.consolidation.event_store import PendingEvent
from shared.clock import BEIJING
from shared.database import Connection
from shared.events import customs as said
from shared.subscriptions import EmittedEvent, Outcome
from shared.timer_items import Items, of_order

if TYPE_CHECKING:
    from services.customs.deps import Deps


PUBLISH_EVERY_S: Final = 0.5


EVENTS_MAX: Final = 500
"""Facts in one transaction: the timer must never hold up the receipts that come beside it."""


ORDERS: Final = Items[UUID]("customs", "summary words", of_order)


async def publish_pending(conn: Connection, _deps: Deps) -> Outcome:
    """Say what was decided about the lists of requests and their declarations, a portion at a time."""
    words: dict[UUID, list[PendingEvent]] = {}
    for word in await event_store.lock_pending(conn, EVENTS_MAX):
        words.setdefault(word.order_id, []).append(word)

    async def act(orders: Sequence[UUID]) -> Outcome:
        return await _announce(conn, [word for order_id in orders for word in words[order_id]])

    return await ORDERS.each(conn, list(words), act)


async def _announce(conn: Connection, words: Sequence[PendingEvent]) -> Outcome:
    facts: list[EmittedEvent] = []
    counts: dict[UUID, int] = {}
    for word in words:
        counts[word.order_id] = counts.get(word.order_id, 0) + 1
        cause = cause_of(word)
        facts.append(EmittedEvent(event_of(word), cause, word.version + counts[word.order_id]))
    await event_store.delete_pending(conn, [word.id for word in words], counts)
    return Outcome(facts=facts)


def cause_of(word: PendingEvent) -> UUID:
    """The id that a word follows from: the request, the declaration where it is about one, and what is said."""
    return uuid5(NAMESPACE_URL, f"summary:{word.cop_no}:{word.decl_seq_no or ''}:{word.kind}")


def event_of(word: PendingEvent) -> said.SummaryEvent:
    """What a word says."""
    common: dict[str, Any] = {
        "order_id": word.order_id,
        "invt_no": word.invt_no,
        "summary_no": word.cop_no,
    }
    if word.kind == "requested":
        # Due at the end of the last day, which is the beginning of the next.
        last = (word.due_at.astimezone(BEIJING) - timedelta(microseconds=1)).date()
        return said.SummaryRequested(**common, month=word.month, due_by=last)
    if word.kind in ("refused", "set_aside"):
        return said.SummaryRefused(
            **common,
            status=word.status or "",
            info=word.info or "",
            set_aside=word.kind == "set_aside",
        )
    parts = tuple(
        said.DeclaredPart(line_no=line, declared_line=declared)
        for line, declared in orjson.loads(word.parts)
    )
    kind = said.ListConsolidated if word.kind == "declared" else said.ConsolidatedDeclarationClosed
    return kind(
        **common, decl_seq_no=word.decl_seq_no or "", entry_id=word.entry_id or "", parts=parts
    )
