"""What payments hears, and the one reaction that answers it all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import orjson

from services.payments import store
from services.payments.bank_commands import store as command_store
from services.payments.bank_commands.store import RecordedReply
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
from services.payments.domain.ledger import JournalEntry
from services.payments.domain.payment import Payment, PaymentDecision, Trigger, decide
from shared import cases, topics
from shared.database import Connection
from shared.effects import Effect, Reply
from shared.envelope import Message
from shared.events.customs import GoodsReleased
from shared.events.orders import OrderPlaced, OrderUnwinding, ReturnAccepted
from shared.subscriptions import EmittedEvent, Outcome, Subscriptions, on

Cause = tuple[UUID, Trigger, bytes | None]
"""The id of what is heard, what is heard, and the trace it belongs to."""


async def handle_events(conn: Connection, batch: Sequence[Message], _deps: Any) -> Outcome:
    """Follow what orders and customs say."""
    return await _apply(conn, [(m.event_id, m.event, m.traceparent) for m in batch])


async def handle_replies(conn: Connection, answered: Sequence[Reply], _deps: Any) -> Outcome:
    """Follow the bank's answers; an answer's cause is the instruction it answers."""
    of_orders = [a for a in answered if not isinstance(a.answer, Transferred)]
    outcome = await _apply(
        conn, [(a.effect.intent_id, a.answer, _traceparent(a.effect)) for a in of_orders]
    )
    if len(of_orders) < len(answered):
        outcome.extend(await handle_transfers(conn, answered))
    asked_again = [a.effect.intent_id for a in answered if a.effect.attempts > 1]
    await command_store.append_talk(
        conn, [a.said for a in answered if isinstance(a, RecordedReply)], repeats=bool(asked_again)
    )
    if asked_again:
        await command_store.close_attempts(conn, asked_again)
        await _close_cases(conn, [a for a in answered if a.effect.attempts > 1])
    return outcome


async def _close_cases(conn: Connection, answered: Sequence[Reply]) -> None:
    """What waited for the bank's word and nothing else is no case any more; what it said wrongly stays one."""
    ours = {str(a.effect.intent_id) for a in answered}
    for case in await cases.open_for(conn, {a.effect.order_id for a in answered}):
        if case.subject in ours and case.kind in ANSWER_ENDS:
            await cases.close(
                conn, case.number, verdict="answered", note="the bank answered", by="payments"
            )


async def _apply(conn: Connection, causes: Sequence[Cause]) -> Outcome:
    before = await store.lock(conn, {heard.order_id for _, heard, _ in causes})
    payments: dict[UUID, Payment] = dict(before)
    outcome = Outcome()
    entries: list[JournalEntry] = []
    for cause, heard, traceparent in causes:
        decision = decide(payments.get(heard.order_id), heard)
        payments[heard.order_id] = decision.payment
        outcome.facts += _emitted(decision, cause, traceparent)
        outcome.commands += [outbound(ask, traceparent) for ask in decision.asks]
        for movement in decision.movements:
            entries += ledger.entries(cause, heard.order_id, movement)
    await store.book(conn, entries)
    if returned := {
        h.order_id: (cause, trace) for cause, h, trace in causes if isinstance(h, ReturnAccepted)
    }:
        shared_out = await reallocate(conn, returned, payments)
        outcome.commands += [outbound(ask, traceparent) for ask, traceparent in shared_out.asks]
        await store.book(conn, shared_out.entries)
    await store.save(conn, before, [p for p in payments.values() if before.get(p.order_id) != p])
    return outcome


def _traceparent(effect: Effect) -> bytes | None:
    found = orjson.loads(effect.request).get("traceparent")
    return found.encode("latin-1") if found else None


def _emitted(
    decision: PaymentDecision, cause: UUID, traceparent: bytes | None
) -> list[EmittedEvent]:
    first = decision.payment.version - len(decision.facts) + 1
    return [
        EmittedEvent(fact, cause, first + i, traceparent) for i, fact in enumerate(decision.facts)
    ]


SUBSCRIPTIONS: Final = Subscriptions(
    # First in the table, so read last: what is owed to customs may wait, a capture may not.
    on(topics.TAX, *TAX_FACTS, do=handle_tax_events),
    on(topics.ORDERS, OrderPlaced, OrderUnwinding, ReturnAccepted, do=handle_events),
    on(topics.CUSTOMS, GoodsReleased, do=handle_events),
)
