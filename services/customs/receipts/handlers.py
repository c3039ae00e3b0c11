"""Receipts of the authority applied to the lists they name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

import structlog

from services.customs import metrics as customs_metrics
from services.customs import (
    store,
)
from services.customs.ceb.bills import TaxBill
from services.customs.ceb.notices import Notice
from services.customs.ceb.summaries import SummaryReceipt, SummaryResult
from services.customs.consolidation import handlers as consolidation_handlers
from services.customs.consolidation import list_store
from services.customs.contradiction_cases import Contradiction, open_cases
from services.customs.deps import Deps
from services.customs.domain import declaration as domain
from services.customs.domain import replies, retries
from services.customs.domain.contradictions import ContradictionKind, find_contradiction
from services.customs.fold import Fold
from services.customs.lodging import pauses
from services.customs.lodging.domain import reason_to_pause, shows_lodging_works
from services.customs.lodging.pauses import LodgingSignal
from services.customs.receipts import refusals
from services.customs.receipts import store as receipts_store
from services.customs.receipts.decoding import ListReceipt
from services.customs.receipts.refusals import RequestReply
from services.customs.tax_bills import handlers
from shared.database import Connection
from shared.envelope import Message
from shared.subscriptions import Outcome
from shared.values import replace

log = structlog.get_logger(__name__)


async def handle_receipts(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
    """Apply each entry to the list it names, or to every list of the message it names.

    Tax bills and replies to summary requests are stored here and announced by timers.
    """
    batch = await _without_bills_and_summaries(conn, batch, deps)
    if not batch:
        return Outcome()
    named = await _named(conn, batch)
    found_all = await store.lock(conn, {order_id for _, order_id, _ in named})
    # What may turn into a return, or is one; everything else needs none of its past.
    going_back = (domain.DeclarationState.WITHDRAWING, domain.DeclarationState.RETURNING)
    found_all |= await store.with_returns(
        conn, {o: d for o, d in found_all.items() if d.state in going_back}
    )
    fold = Fold.of(found_all)
    answered = [
        (answer.on, fold.declarations[order_id].message_guid) for _, order_id, answer in named
    ]
    receipts: list[tuple[UUID, str, domain.AuthorityReply, bool, datetime]] = []
    contradictions: list[Contradiction] = []
    for m, order_id, answer in named:
        before = fold.declarations[order_id]
        changed = fold.apply(
            replies.apply_reply(before, answer, deps.policy, m.at), m.event_id, m.at, m.traceparent
        )
        if kind := find_contradiction(before, answer, deps.policy) or _of_another(m, answer):
            reply_with_number, after = (
                replace(answer, invt_no=m.event.answer.invt_no),
                fold.declarations[order_id].state,
            )
            contradictions.append(
                Contradiction(kind, before, m.event.message_type, reply_with_number, after)
            )
        # "We have it" promises nothing, so it is in order even where it changes nothing.
        receipts.append(
            (
                order_id,
                m.event.message_type,
                answer,
                changed or answer.meaning == "waiting",
                answer.at or m.at,
            )
        )
    outcome = await fold.save(conn, deps.authority)
    if receipts:
        await receipts_store.add_receipts(conn, receipts)
    await pauses.apply_signals(conn, _of_pauses(named, fold, deps), deps.authority.certificate)
    if contradictions:
        await open_cases(conn, contradictions)
    await _note_closed(conn, named, fold, deps)
    refused = [m for m in batch if m.event.message_guid is not None]
    of_summaries = await _refuse_requests(conn, refused, deps)
    unread = _unread(batch, named, of_summaries)
    outcome.after_commit.append(
        partial(customs_metrics.record_receipts, answered, len(refused), unread)
    )
    return outcome


def _of_pauses(named: Sequence[RequestReply], fold: Fold, deps: Deps) -> list[LodgingSignal]:
    own_pace, signals = deps.policy.too_soon, {}
    for m, order_id, answer in named:
        before = fold.locked[order_id]
        reason = reason_to_pause(answer, own_pace)
        if reason is None and (not shows_lodging_works(answer) or m.event.message_guid is not None):
            continue
        signals[before.group_key, before.message_guid, reason] = LodgingSignal(
            before.group_key or "", before.message_guid, reason, answer.code or answer.status
        )
    return list(signals.values())


async def _without_bills_and_summaries(
    conn: Connection, batch: Sequence[Message], deps: Deps
) -> Sequence[Message]:
    if notices := [m.event for m in batch if isinstance(m.event, Notice)]:
        await receipts_store.add_notices(conn, notices)
    if bills := [m for m in batch if isinstance(m.event, TaxBill)]:
        await handlers.handle_bills(conn, [(m.event, m.at) for m in bills])
    for m in batch:
        if isinstance(m.event, SummaryReceipt | SummaryResult):
            await consolidation_handlers.hear(conn, [m.event], m.at, deps.consolidation)
    return [m for m in batch if isinstance(m.event, ListReceipt)]


async def _refuse_requests(conn: Connection, refused: Sequence[Message], deps: Deps) -> set[UUID]:
    """Refuse the summary requests of messages refused whole. Return the entries that were about
    one.
    """
    about_one = set()
    for m in refused:
        answer = m.event.answer
        at = answer.at or m.at
        on_the_way = retries.remedy_of(answer, deps.policy) in ("wait", "ours")
        guids = [m.event.message_guid]
        if await consolidation_handlers.refuse_messages(
            conn, guids, answer.status, answer.info, at, deps.consolidation, on_the_way=on_the_way
        ):
            about_one.add(m.event_id)
    return about_one


def _of_another(m: Message, answer: domain.AuthorityReply) -> ContradictionKind | None:
    return "number_of_another" if answer.invt_no != m.event.answer.invt_no else None


def _unread(
    batch: Sequence[Message], named: Sequence[RequestReply], elsewhere: Collection[UUID]
) -> list[domain.RequestKind]:
    """Log the entries that lead to nothing, and return what they answer: an unknown status or an
    unknown number.
    """
    somebodys = {m.event_id for m, _, _ in named} | set(elsewhere)
    unread = []
    for m in batch:
        entry: ListReceipt = m.event
        if entry.answer.meaning == "unknown":
            why = "its status is in none of the authority's lists here"
        elif m.event_id not in somebodys:
            why = "it names nothing known here"
        else:
            continue
        unread.append(entry.answer.on)
        # The numbers are no person's; the authority's own text stays out, for it may quote one.
        log.warning(
            "look at this receipt, nothing follows from it",
            why=why,
            message=entry.message_type,
            status=entry.answer.status,
            cop_no=entry.cop_no,
            invt_no=entry.answer.invt_no,
            guid=entry.message_guid,
        )
    return unread


async def _note_closed(
    conn: Connection, named: Sequence[RequestReply], fold: Fold, deps: Deps
) -> None:
    """Note closed export lists (899) under statisticsFlag B for consolidation with those of their
    month.

    A refused or withdrawn list is not consolidated, nor one whose cancellation is granted later.
    """
    withdrawn = [
        o
        for o, d in fold.declarations.items()
        if d.state is domain.DeclarationState.WITHDRAWN and fold.locked[o].release_waits
    ]
    if withdrawn:
        await list_store.drop_closed(conn, withdrawn)
    closed = {}
    for m, order_id, _ in named:
        entry, d = m.event, fold.declarations[order_id]
        if not (d.released or d.release_waits):
            continue
        if (
            entry.message_type == "CEB604"
            and entry.answer.meaning == "closed"
            and entry.statistics_flag == "B"
        ):
            at = entry.answer.at or m.at
            closed[order_id] = (at, deps.consolidation.month_of(at).label)
    if closed:
        await list_store.add_closed(conn, closed)


async def _named(conn: Connection, batch: Sequence[Message]) -> list[RequestReply]:
    """Return each entry with its order and reply; entries with unknown numbers are left out.

    Where a whole message is answered, its requests tell which reply each gets. A number of another
    list is removed from the reply.
    """
    entries = [m.event for m in batch]
    by_cop, by_invt = await store.orders_of(
        conn,
        {e.cop_no for e in entries if e.cop_no},
        {e.answer.invt_no for e in entries if e.answer.invt_no},
    )
    # Under a number that is not ours a list is still known by those that customs gave it.
    strange = {
        e.answer.pre_no
        for e in entries
        if e.answer.pre_no and not (e.cop_no in by_cop or e.answer.invt_no in by_invt)
    }
    by_pre = await store.orders_numbered(conn, strange) if strange else {}
    named: list[RequestReply] = await refusals.read_refusals(conn, batch)
    for m in batch:
        answer = m.event.answer
        if order_id := by_cop.get(m.event.cop_no):
            of_another = by_invt.get(answer.invt_no, order_id) != order_id
            named.append((m, order_id, replace(answer, invt_no=None) if of_another else answer))
        elif order_id := by_invt.get(answer.invt_no) or by_pre.get(answer.pre_no):
            named.append((m, order_id, replace(answer, attempt=None)))
    return named
