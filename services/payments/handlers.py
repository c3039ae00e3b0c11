"""The subscriptions of payments, the handlers of orders' and customs' events, and of the bank's
replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import orjson

from services.payments import store
from services.payments.bank_commands import store as command_store
from services.payments.bank_commands import talk
from services.payments.bank_commands.talk import RecordedReply
from services.payments.cases import ANSWER_ENDS
from services.payments.customs_debt.handlers import (
    TAX_FACTS,
    handle_tax_events,
    handle_transfers,
    outbound,
    reallocate,
)
from services.payments.domain import ledger
from services.payments.domain.bank import Transferred
from services.payments.domain.decisions import Trigger, decide
from services.payments.domain.ledger import JournalEntry
from services.payments.domain.payment import Payment, PaymentDecision
from shared import cases, topics
from shared.database import Connection
from shared.effects import Effect, Reply
from shared.envelope import Message
from shared.events.customs import GoodsReleased
from shared.events.orders import OrderPlaced, OrderUnwinding, ReturnAccepted
from shared.subscriptions import EmittedEvent, Outcome, Subscriptions, on

Cause = tuple[UUID, Trigger, bytes | None]
"""Id of a message or command, the event or answer, and its traceparent."""


async def handle_events(conn: Connection, batch: Sequence[Message], _deps: Any) -> Outcome:
    return await _apply(conn, [(m.event_id, m.event, m.traceparent) for m in batch])


async def handle_replies(conn: Connection, replies: Sequence[Reply], _deps: Any) -> Outcome:
    """Apply the bank's replies; the cause of a reply is the command that it answers."""
    causes = [
        (r.effect.intent_id, r.answer, _traceparent(r.effect))
        for r in replies
        if not isinstance(r.answer, Transferred)
    ]
    outcome = await _apply(conn, causes)
    if len(causes) < len(replies):
        outcome.extend(await handle_transfers(conn, replies))
    await _record_talk(conn, replies)
    return outcome


async def _record_talk(conn: Connection, replies: Sequence[Reply]) -> None:
    repeated = [r for r in replies if r.effect.attempts > 1]
    entries = [r.entry for r in replies if isinstance(r, RecordedReply)]
    await talk.append_talk(conn, entries, repeats=bool(repeated))
    if repeated:
        await command_store.close_attempts(conn, [r.effect.intent_id for r in repeated])
        await _close_cases(conn, repeated)


async def _close_cases(conn: Connection, replies: Sequence[Reply]) -> None:
    """Close the cases that only waited for a reply; those of a contradictory reply stay open."""
    ours = {str(r.effect.intent_id) for r in replies}
    for case in await cases.open_for(conn, {r.effect.order_id for r in replies}):
        if case.subject in ours and case.kind in ANSWER_ENDS:
            await cases.close(
                conn, case.number, verdict="answered", note="the bank answered", by="payments"
            )


async def _apply(conn: Connection, causes: Sequence[Cause]) -> Outcome:
    before = await store.lock(conn, {trigger.order_id for _, trigger, _ in causes})
    payments: dict[UUID, Payment] = dict(before)
    outcome = Outcome()
    entries: list[JournalEntry] = []
    for cause, trigger, traceparent in causes:
        decision = decide(payments.get(trigger.order_id), trigger)
        payments[trigger.order_id] = decision.payment
        outcome.facts += _emitted(decision, cause, traceparent)
        outcome.commands += [outbound(command, traceparent) for command in decision.asks]
        for movement in decision.movements:
            entries += ledger.entries(cause, trigger.order_id, movement)
    await store.book(conn, entries)
    await _reallocate(conn, causes, payments, outcome)
    await store.save(conn, before, [p for p in payments.values() if before.get(p.order_id) != p])
    return outcome


async def _reallocate(
    conn: Connection, causes: Sequence[Cause], payments: dict[UUID, Payment], outcome: Outcome
) -> None:
    returned = {
        trigger.order_id: (cause, traceparent)
        for cause, trigger, traceparent in causes
        if isinstance(trigger, ReturnAccepted)
    }
    if returned:
        debts = await reallocate(conn, returned, payments)
        outcome.commands += [outbound(command, trace) for command, trace in debts.commands]
        await store.book(conn, debts.entries)


def _traceparent(effect: Effect) -> bytes | None:
    traceparent = orjson.loads(effect.request).get("traceparent")
    return traceparent.encode("latin-1") if traceparent else None


def _emitted(
    decision: PaymentDecision, cause: UUID, traceparent: bytes | None
) -> list[EmittedEvent]:
    first = decision.payment.version - len(decision.facts) + 1
    return [
        EmittedEvent(event, cause, first + i, traceparent) for i, event in enumerate(decision.facts)
    ]


SUBSCRIPTIONS: Final = Subscriptions(
    # First in the table, so read last: tax debts may wait, a capture may not.
    on(topics.TAX, *TAX_FACTS, do=handle_tax_events),
    on(topics.ORDERS, OrderPlaced, OrderUnwinding, ReturnAccepted, do=handle_events),
    on(topics.CUSTOMS, GoodsReleased, do=handle_events),
)
