"""Receipts of the authority applied to the lists they name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from services.customs import metrics as customs_metrics
from services.customs import store
from services.customs.consolidation import handlers as consolidation_handlers
from services.customs.contradiction_cases import Contradiction, open_cases
from services.customs.deps import Deps
from services.customs.domain.contradictions import find_contradiction
from services.customs.domain.declaration import DeclarationPolicy, DeclarationState, RequestKind
from services.customs.domain.replies import apply_reply
from services.customs.domain.retries import remedy_of
from services.customs.fold import Fold
from services.customs.lodging import pauses
from services.customs.lodging.domain import reason_to_pause, shows_lodging_works
from services.customs.lodging.pauses import LodgingSignal
from services.customs.receipts import store as receipts_store
from services.customs.receipts.attribution import RequestReply, attribute
from services.customs.receipts.closed_lists import note_closed_lists
from services.customs.receipts.decoding import ListReceipt
from services.customs.receipts.store import ReceiptRow
from shared.database import Connection
from shared.envelope import Message
from shared.subscriptions import Outcome
from shared.values import replace

log = structlog.get_logger(__name__)

_MAY_RETURN = (DeclarationState.WITHDRAWING, DeclarationState.RETURNING)
"""A reply may open or change a return here, so earlier returns are read; other states need none."""


async def handle_notices(conn: Connection, batch: Sequence[Message], _deps: Any) -> Outcome:
    await receipts_store.add_notices(conn, [m.event for m in batch])
    return Outcome()


async def handle_receipts(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
    """Apply each entry to the list it names, or to every list of the message it names."""
    replies = await attribute(conn, batch)
    locked = await store.lock(conn, {order_id for _, order_id, _ in replies})
    locked |= await store.with_returns(
        conn, {o: d for o, d in locked.items() if d.state in _MAY_RETURN}
    )
    fold = Fold.of(locked)
    applied = _apply(fold, replies, deps.policy)
    outcome = await fold.save(conn, deps.authority)
    if applied.rows:
        await receipts_store.add_receipts(conn, applied.rows)
    signals = _lodging_signals(fold, replies, deps.policy)
    await pauses.apply_signals(conn, signals, deps.authority.certificate)
    if applied.contradictions:
        await open_cases(conn, applied.contradictions)
    await note_closed_lists(conn, fold, replies, deps.consolidation)
    refused = [m for m in batch if m.event.message_guid is not None]
    of_summaries = await _refuse_summaries(conn, refused, deps)
    unread = _log_unread(batch, {m.event_id for m, _, _ in replies} | of_summaries)
    outcome.after_commit.append(
        partial(customs_metrics.record_receipts, applied.answered, len(refused), unread)
    )
    return outcome


@dataclass(slots=True)
class _Applied:
    """What a batch of replies leads to beside the declarations: rows, contradictions, timings."""

    rows: list[ReceiptRow] = field(default_factory=list)
    contradictions: list[Contradiction] = field(default_factory=list)
    answered: list[tuple[RequestKind, str | None]] = field(default_factory=list)


def _apply(fold: Fold, replies: Sequence[RequestReply], policy: DeclarationPolicy) -> _Applied:
    applied = _Applied()
    for m, order_id, reply in replies:
        entry: ListReceipt = m.event
        before = fold.declarations[order_id]
        applied.answered.append((reply.on, fold.locked[order_id].message_guid))
        decision = apply_reply(before, reply, policy, m.at)
        changed = fold.apply(decision, m.event_id, m.at, m.traceparent)
        kind = find_contradiction(before, reply, policy)
        if kind is None and reply.invt_no != entry.reply.invt_no:
            kind = "number_of_another"
        if kind is not None:
            numbered = replace(reply, invt_no=entry.reply.invt_no)
            after = fold.declarations[order_id].state
            applied.contradictions.append(
                Contradiction(kind, before, entry.message_type, numbered, after)
            )
        # A "received" promises nothing, so it counts as followed though it changes nothing.
        followed = changed or reply.meaning == "waiting"
        applied.rows.append((order_id, entry.message_type, reply, followed, reply.at or m.at))
    return applied


def _lodging_signals(
    fold: Fold, replies: Sequence[RequestReply], policy: DeclarationPolicy
) -> list[LodgingSignal]:
    """Return what the replies tell of blocked or free ways, once per message answered."""
    signals = {}
    for m, order_id, reply in replies:
        before = fold.locked[order_id]
        reason = reason_to_pause(reply, policy.too_soon)
        if reason is None and (m.event.message_guid is not None or not shows_lodging_works(reply)):
            continue
        signals[before.group_key, before.message_guid, reason] = LodgingSignal(
            before.group_key or "", before.message_guid, reason, reply.code or reply.status
        )
    return list(signals.values())


async def _refuse_summaries(conn: Connection, refused: Sequence[Message], deps: Deps) -> set[UUID]:
    """Refuse the summary requests of messages refused whole. Return the ids of these entries."""
    of_summaries = set()
    for m in refused:
        reply = m.event.reply
        in_transit = remedy_of(reply, deps.policy) in ("wait", "ours")
        if await consolidation_handlers.refuse_message(
            conn,
            m.event.message_guid,
            reply,
            reply.at or m.at,
            deps.consolidation,
            in_transit=in_transit,
        ):
            of_summaries.add(m.event_id)
    return of_summaries


def _log_unread(batch: Sequence[Message], attributed: Collection[UUID]) -> list[RequestKind]:
    """Log the entries that lead to nothing, and return the kind of request they answer."""
    unread = []
    for m in batch:
        entry: ListReceipt = m.event
        if entry.reply.meaning == "unknown":
            why = "its status is in none of the authority's lists here"
        elif m.event_id not in attributed:
            why = "it names nothing known here"
        else:
            continue
        unread.append(entry.reply.on)
        # The authority's own text may quote a person, so only numbers are logged.
        log.warning(
            "look at this receipt, nothing follows from it",
            why=why,
            message=entry.message_type,
            status=entry.reply.status,
            cop_no=entry.cop_no,
            invt_no=entry.reply.invt_no,
            guid=entry.message_guid,
        )
    return unread
