"""DOC."""

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


async def handle_documents(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
    """A document came, or the order is being undone: join, match, make the list, or take it back."""
    heard = [
        (m, m.event.digested(deps.sealing) if isinstance(m.event, waybill.WireWaybill) else m.event)
        for m in batch
    ]
    heard = [(m, event) for m, event in heard if not isinstance(event, waybill.WireDelivered)]
    found = await store.lock(conn, {m.order_id for m, _ in heard})
    directions = {
        event.order_id: event.direction for _, event in heard if isinstance(event, OrderPlaced)
    }
    for _, event in heard:
        if isinstance(event, WaybillIssued):
            known = found.get(event.order_id)
            waybill.require_room(
                event, directions.get(event.order_id) or (known.direction if known else None)
            )
    events = [event for _, event in heard]
    found |= await store.with_documents(conn, _completed(found, events) | _corrected(found, events))
    asked = {m.order_id for m, event in heard if isinstance(event, WithdrawalAsked)}
    found |= await store.with_returns(
        conn, {o: d for o, d in found.items() if o in asked and d.state in domain.CLEARED}
    )
    match = await match_in_one_form(conn, deps.match, found, events, deps.sealing)
    match = _one_number_one_order(match, await _hold_numbers(conn, found, events))
    folded = Fold.of(found)
    for m, event in heard:
        folded.fold(
            _follow(folded.declarations.get(m.order_id), event, m.at, deps, match),
            m.event_id,
            m.at,
            m.traceparent,
        )
        folded.keep(m, event)
    await waybill_numbers.correct_waybills(
        conn, folded.corrections(), _given_up(found, folded.declarations)
    )
    outcome = await folded.save(conn, deps.authority)
    placed = [event.order_id for _, event in heard if isinstance(event, OrderPlaced)]
    shipped = [event.order_id for _, event in heard if isinstance(event, WaybillIssued)]
    if placed or shipped:
        outcome.after_commit.append(partial(customs_metrics.record_documents, placed, shipped))
    return outcome


def _completed(
    found: Mapping[UUID, Declaration], events: Sequence[Event]
) -> dict[UUID, Declaration]:
    """The declarations whose last document comes with these events: those are matched, so what is there must be read."""
    coming: dict[UUID, set[str]] = {}
    for event in events:
        if name := documents.DOCUMENTS.get(type(event)):
            coming.setdefault(event.order_id, set()).add(name)
    return {
        order_id: found[order_id]
        for order_id, names in coming.items()
        if order_id in found
        and found[order_id].present
        and found[order_id].present | names == documents.ALL_DOCUMENTS
    }


def _corrected(
    found: Mapping[UUID, Declaration], events: Sequence[Event]
) -> dict[UUID, Declaration]:
    """The declarations whose waybill another one of these events may take the place of: it must be read too."""
    shipped = {event.order_id for event in events if isinstance(event, WaybillIssued)}
    return {o: found[o] for o in shipped if o in found and documents.may_be_corrected(found[o])}


async def _hold_numbers(
    conn: Connection, found: Mapping[UUID, Declaration], events: Sequence[Event]
) -> set[UUID]:
    """Let orders hold the numbers of the waybills that come; of those about to be matched, which may not have theirs."""
    coming: dict[UUID, set[str]] = {}
    waybills = {order_id: d.waybill for order_id, d in found.items()}
    for event in events:
        if name := documents.DOCUMENTS.get(type(event)):
            coming.setdefault(event.order_id, set()).add(name)
        if isinstance(event, WaybillIssued):
            waybills[event.order_id] = event
    fresh, wanted, live = [], [], {}
    for order_id, names in coming.items():
        d = found.get(order_id, domain.BLANK)
        live[order_id] = d.state not in domain.OVER and "order" in d.present | names
        sent = waybills.get(order_id)
        if sent is None or not (
            d.state is domain.DeclarationState.COLLECTING or documents.may_be_corrected(d)
        ):
            continue
        number = sent.logistics_code, sent.logistics_no, order_id
        fresh += [number] if "waybill" in names else []
        wanted += [number] if d.present | names == documents.ALL_DOCUMENTS else []
    await waybill_numbers.note_numbers(conn, fresh)
    return await waybill_numbers.claim_numbers(conn, wanted, live)


def _one_number_one_order(match: documents.Match, refused: Collection[UUID]) -> documents.Match:
    """The match, which also refuses an order whose waybill has the number of another order."""
    if not refused:
        return match

    def found(
        order: OrderPlaced, payment: PaymentCaptured, sent: WaybillIssued
    ) -> Sequence[Mismatch]:
        return [
            *match(order, payment, sent),
            *([number_taken(sent)] if order.order_id in refused else []),
        ]

    return found


def _given_up(
    found: Mapping[UUID, Declaration], now: Mapping[UUID, Declaration]
) -> set[tuple[str, str, UUID]]:
    """The numbers that orders no longer hold, since their waybills were corrected."""
    numbers = {
        (was.waybill.logistics_code, was.waybill.logistics_no, order_id)
        for order_id, was in found.items() if was.waybill is not None and documents.may_be_corrected(was)
    }  # fmt: skip
    kept = {
        (d.waybill.logistics_code, d.waybill.logistics_no, o)
        for o, d in now.items()
        if d.waybill is not None
    }
    return numbers - kept


def _follow(
    found: Declaration | None, event: Event, at: datetime, deps: Deps, match: documents.Match
) -> domain.Decision:
    match event:
        case OrderUnwinding():
            return cancellation.apply_unwinding(found, event)
        case WithdrawalAsked():
            return cancellation.apply_withdrawal(found, event, at, deps.policy)
        case _:
            return documents.apply_document(found, event, match)  # type: ignore[arg-type]
