"""Documents of orders: joined, matched and queued as declaration lists, or taken back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from services.customs import metrics as customs_metrics
from services.customs import (
    store,
    waybill,
    waybill_numbers,
)
from services.customs.deps import Deps
from services.customs.domain import cancellation, documents
from services.customs.domain import declaration as domain
from services.customs.domain.declaration import Declaration
from services.customs.fold import Fold
from services.customs.legacy_digests import match_in_one_form
from services.customs.match_input import number_taken
from shared.database import Connection
from shared.envelope import Message
from shared.events import Event
from shared.events.customs import Mismatch
from shared.events.logistics import WaybillIssued
from shared.events.orders import OrderPlaced, OrderUnwinding, WithdrawalAsked
from shared.events.payments import PaymentCaptured
from shared.subscriptions import Outcome

Incoming = list[tuple[Message, Event]]


async def handle_documents(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
    incoming = _digested(batch, deps)
    events = [event for _, event in incoming]
    locked = await store.lock(conn, {m.order_id for m, _ in incoming})
    _require_room(events, locked)
    locked |= await store.with_documents(
        conn, _completed(locked, events) | _corrected(locked, events)
    )
    locked |= await store.with_returns(conn, _cleared_and_withdrawn(locked, events))
    match = await match_in_one_form(conn, deps.match, locked, events, deps.sealing)
    match = _one_number_one_order(match, await _hold_numbers(conn, locked, events))
    fold = Fold.of(locked)
    for m, event in incoming:
        decision = _apply(fold.declarations.get(m.order_id), event, m.at, deps, match)
        fold.apply(decision, m.event_id, m.at, m.traceparent)
        fold.record_document(m, event)
    await waybill_numbers.correct_waybills(
        conn, fold.take_corrections(), _free_numbers(locked, fold.declarations)
    )
    outcome = await fold.save(conn, deps.authority)
    placed = [event.order_id for event in events if isinstance(event, OrderPlaced)]
    shipped = [event.order_id for event in events if isinstance(event, WaybillIssued)]
    if placed or shipped:
        outcome.after_commit.append(partial(customs_metrics.record_documents, placed, shipped))
    return outcome


def _digested(batch: Sequence[Message], deps: Deps) -> Incoming:
    """Return the messages with digests in place of personal data, without the deliveries."""
    return [
        (m, m.event.digested(deps.sealing) if isinstance(m.event, waybill.WireWaybill) else m.event)
        for m in batch
        if not isinstance(m.event, waybill.WireDelivered)
    ]


def _require_room(events: Sequence[Event], locked: Mapping[UUID, Declaration]) -> None:
    directions = {e.order_id: e.direction for e in events if isinstance(e, OrderPlaced)}
    for event in events:
        if isinstance(event, WaybillIssued):
            stored = locked.get(event.order_id, domain.BLANK)
            waybill.require_room(event, directions.get(event.order_id) or stored.direction)


def _cleared_and_withdrawn(
    locked: Mapping[UUID, Declaration], events: Sequence[Event]
) -> dict[UUID, Declaration]:
    withdrawn = {event.order_id for event in events if isinstance(event, WithdrawalAsked)}
    return {o: d for o, d in locked.items() if o in withdrawn and d.state in domain.CLEARED}


def _coming(events: Sequence[Event]) -> dict[UUID, set[str]]:
    """Return the names of the documents that arrive for each order."""
    coming: dict[UUID, set[str]] = {}
    for event in events:
        if name := documents.DOCUMENTS.get(type(event)):
            coming.setdefault(event.order_id, set()).add(name)
    return coming


def _completed(
    locked: Mapping[UUID, Declaration], events: Sequence[Event]
) -> dict[UUID, Declaration]:
    """Return the declarations that these events complete: they are matched now, so their documents
    are read.
    """
    return {
        order_id: locked[order_id]
        for order_id, names in _coming(events).items()
        if order_id in locked
        and locked[order_id].present
        and locked[order_id].present | names == documents.ALL_DOCUMENTS
    }


def _corrected(
    locked: Mapping[UUID, Declaration], events: Sequence[Event]
) -> dict[UUID, Declaration]:
    shipped = {event.order_id for event in events if isinstance(event, WaybillIssued)}
    return {o: locked[o] for o in shipped if o in locked and documents.may_be_corrected(locked[o])}


async def _hold_numbers(
    conn: Connection, locked: Mapping[UUID, Declaration], events: Sequence[Event]
) -> set[UUID]:
    """Reserve the numbers of arriving waybills. Return the orders about to be matched whose number
    another live order holds.
    """
    waybills = {order_id: d.waybill for order_id, d in locked.items()}
    waybills |= {event.order_id: event for event in events if isinstance(event, WaybillIssued)}
    fresh, wanted, live = [], [], {}
    for order_id, names in _coming(events).items():
        d = locked.get(order_id, domain.BLANK)
        live[order_id] = d.state not in domain.OVER and "order" in d.present | names
        sent = waybills.get(order_id)
        if sent is None or not _is_matched_now(d):
            continue
        number = sent.logistics_code, sent.logistics_no, order_id
        if "waybill" in names:
            fresh.append(number)
        if d.present | names == documents.ALL_DOCUMENTS:
            wanted.append(number)
    await waybill_numbers.note_numbers(conn, fresh)
    return await waybill_numbers.claim_numbers(conn, wanted, live)


def _is_matched_now(d: Declaration) -> bool:
    return d.state is domain.DeclarationState.COLLECTING or documents.may_be_corrected(d)


def _one_number_one_order(match: documents.Match, refused: Collection[UUID]) -> documents.Match:
    if not refused:
        return match

    def match_with_numbers(
        order: OrderPlaced, payment: PaymentCaptured, sent: WaybillIssued
    ) -> Sequence[Mismatch]:
        return [
            *match(order, payment, sent),
            *([number_taken(sent)] if order.order_id in refused else []),
        ]

    return match_with_numbers


def _free_numbers(
    locked: Mapping[UUID, Declaration], now: Mapping[UUID, Declaration]
) -> set[tuple[str, str, UUID]]:
    numbers = {
        (was.waybill.logistics_code, was.waybill.logistics_no, order_id)
        for order_id, was in locked.items()
        if was.waybill is not None and documents.may_be_corrected(was)
    }
    held = {
        (d.waybill.logistics_code, d.waybill.logistics_no, o)
        for o, d in now.items()
        if d.waybill is not None
    }
    return numbers - held


def _apply(
    existing: Declaration | None, event: Event, at: datetime, deps: Deps, match: documents.Match
) -> domain.Decision:
    match event:
        case OrderUnwinding():
            return cancellation.apply_unwinding(existing, event)
        case WithdrawalAsked():
            return cancellation.apply_withdrawal(existing, event, at, deps.policy)
        case _:
            return documents.apply_document(existing, event, match)  # type: ignore[arg-type]
