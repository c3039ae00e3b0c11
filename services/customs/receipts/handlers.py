"""DOC."""

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
    """The authority spoke: follow each entry on the list it names, or on every list of the message it names.

    Tax bills come after the release and in bulk: they are only kept here, and announced by a timer (billing.py). So is what
    becomes of summary requests (summaries.py).
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
    folded = Fold.of(found_all)
    heard = [
        (answer.on, folded.declarations[order_id].message_guid) for _, order_id, answer in named
    ]
    kept: list[tuple[UUID, str, domain.AuthorityReply, bool, datetime]] = []
    odd: list[Contradiction] = []
    for m, order_id, answer in named:
        found = folded.declarations[order_id]
        followed = folded.fold(
            replies.apply_reply(found, answer, deps.policy, m.at), m.event_id, m.at, m.traceparent
        )
        if kind := find_contradiction(found, answer, deps.policy) or _of_another(m, answer):
            said, after = (
                replace(answer, invt_no=m.event.answer.invt_no),
                folded.declarations[order_id].state,
            )
            odd.append(Contradiction(kind, found, m.event.message_type, said, after))
        # "We have it" promises nothing, so it is in order even where it changes nothing.
        kept.append(
            (
                order_id,
                m.event.message_type,
                answer,
                followed or answer.meaning == "waiting",
                answer.at or m.at,
            )
        )
    outcome = await folded.save(conn, deps.authority)
    if kept:
        await receipts_store.add_receipts(conn, kept)
    await pauses.apply_signals(conn, _of_pauses(named, folded, deps), deps.authority.certificate)
    if odd:
        await open_cases(conn, odd)
    await _note_closed(conn, named, folded, deps)
    refused = [m for m in batch if m.event.message_guid is not None]
    of_summaries = await _refuse_requests(conn, refused, deps)
    unread = _unread(batch, named, of_summaries)
    outcome.after_commit.append(
        partial(customs_metrics.record_receipts, heard, len(refused), unread)
    )
    return outcome


def _of_pauses(named: Sequence[RequestReply], folded: Fold, deps: Deps) -> list[LodgingSignal]:
    """What tells that the way is blocked or free, once for each message answered."""
    own_pace, told = deps.policy.too_soon, {}
    for m, order_id, answer in named:
        found = folded.found[order_id]
        reason = reason_to_pause(answer, own_pace)
        if reason is None and (not shows_lodging_works(answer) or m.event.message_guid is not None):
            continue
        told[found.group_key, found.message_guid, reason] = LodgingSignal(
            found.group_key or "", found.message_guid, reason, answer.code or answer.status
        )
    return list(told.values())


async def _without_bills_and_summaries(
    conn: Connection, batch: Sequence[Message], deps: Deps
) -> Sequence[Message]:
    """Keeps tax bills, what is said of summary requests, and what needs nothing; returns the other entries."""
    if notices := [m.event for m in batch if isinstance(m.event, Notice)]:
        await receipts_store.add_notices(conn, notices)
    if bills := [m for m in batch if isinstance(m.event, TaxBill)]:
        await handlers.handle_bills(conn, [(m.event, m.at) for m in bills])
    for m in batch:
        if isinstance(m.event, SummaryReceipt | SummaryResult):
            await consolidation_handlers.hear(conn, [m.event], m.at, deps.consolidating)
    return [m for m in batch if isinstance(m.event, ListReceipt)]


async def _refuse_requests(conn: Connection, refused: Sequence[Message], deps: Deps) -> set[UUID]:
    """Summary requests in messages that were refused whole are refused; returns which of the entries were about one."""
    about_one = set()
    for m in refused:
        answer = m.event.answer
        at = answer.at or m.at
        on_the_way = retries.remedy_of(answer, deps.policy) in ("wait", "ours")
        guids = [m.event.message_guid]
        if await consolidation_handlers.refuse_messages(
            conn, guids, answer.status, answer.info, at, deps.consolidating, on_the_way=on_the_way
        ):
            about_one.add(m.event_id)
    return about_one


def _of_another(m: Message, answer: domain.AuthorityReply) -> ContradictionKind | None:
    return "number_of_another" if answer.invt_no != m.event.answer.invt_no else None


def _unread(
    batch: Sequence[Message], named: Sequence[RequestReply], elsewhere: Collection[UUID]
) -> list[domain.RequestKind]:
    """What was asked where the answer is of no use: a status in no list here, or about nothing known here. Said in the log."""
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
        log.warning("look at this receipt, nothing follows from it", why=why, message=entry.message_type,
                    status=entry.answer.status, cop_no=entry.cop_no, invt_no=entry.answer.invt_no, guid=entry.message_guid)  # fmt: skip
    return unread


async def _note_closed(
    conn: Connection, named: Sequence[RequestReply], folded: Fold, deps: Deps
) -> None:
    """Export lists that were closed (899) under statisticsFlag B are to be consolidated with those of their month.

    One that was refused or withdrawn is not, whatever is said of it afterwards; nor is one whose cancellation is granted after.
    """
    withdrawn = [
        o
        for o, d in folded.declarations.items()
        if d.state is domain.DeclarationState.WITHDRAWN and folded.found[o].release_waits
    ]
    if withdrawn:
        await list_store.drop_closed(conn, withdrawn)
    closed = {}
    for m, order_id, _ in named:
        entry, d = m.event, folded.declarations[order_id]
        if not (d.released or d.release_waits):
            continue
        if (
            entry.message_type == "CEB604"
            and entry.answer.meaning == "closed"
            and entry.statistics_flag == "B"
        ):
            at = entry.answer.at or m.at
            closed[order_id] = (at, deps.consolidating.month_of(at).label)
    if closed:
        await list_store.add_closed(conn, closed)


async def _named(conn: Connection, batch: Sequence[Message]) -> list[RequestReply]:
    """Each entry with the order it speaks of and what it says; entries about numbers nobody here knows are left out.

    Where a whole message of ours is answered, what was asked in it tells which request is meant. A number that is another list's
    is left out of the answer.
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
    found: list[RequestReply] = await refusals.read_refusals(conn, batch)
    for m in batch:
        answer = m.event.answer
        if order_id := by_cop.get(m.event.cop_no):
            of_another = by_invt.get(answer.invt_no, order_id) != order_id
            found.append((m, order_id, replace(answer, invt_no=None) if of_another else answer))
        elif order_id := by_invt.get(answer.invt_no) or by_pre.get(answer.pre_no):
            found.append((m, order_id, replace(answer, attempt=None)))
    return found
