"""What customs hears, and which reaction answers it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from services.customs import metrics as customs_metrics
from services.customs import refused_messages, store, tax_bills, waybill
from services.customs.ceb.entries import Bill, Notice, SummaryReceipt, SummaryResult
from services.customs.ceb.parse import alone
from services.customs.consolidation import handlers as consolidation_handlers
from services.customs.consolidation import store as consolidation_store
from services.customs.contradiction_cases import Odd, open_cases
from services.customs.deps import Deps
from services.customs.domain import declaration as domain
from services.customs.domain.contradictions import Kind, contradiction
from services.customs.domain.declaration import Declaration
from services.customs.gateway import Authority, Entry, decode_receipts
from services.customs.legacy_digests import match_in_one_form
from services.customs.lodging import pauses
from services.customs.lodging.domain import reason_to_pause, shows_the_way_free
from services.customs.lodging.pauses import Told
from services.customs.match_input import number_taken
from services.customs.refused_messages import Named
from services.customs.store import Waiting
from shared import topics
from shared.database import Connection
from shared.envelope import Message
from shared.events import Event
from shared.events.customs import Mismatch
from shared.events.logistics import WaybillIssued
from shared.events.orders import OrderPlaced, OrderUnwinding, WithdrawalAsked
from shared.events.payments import PaymentCaptured
from shared.events.tax import TaxAssessed
from shared.subscriptions import EmittedEvent, Outcome, Subscription
from shared.values import replace

log = structlog.get_logger(__name__)


@dataclass
class Folded:
    """Declarations on their way through a batch: what is saved, said and queued at its end. `found`: as they were locked."""

    declarations: dict[UUID, Declaration]
    touched: dict[UUID, datetime]
    papers: dict[UUID, dict[str, bytes]]
    facts: list[EmittedEvent]
    found: Mapping[UUID, Declaration]

    @classmethod
    def of(cls, declarations: Mapping[UUID, Declaration]) -> Folded:
        return cls(dict(declarations), {}, {}, [], declarations)

    def keep(self, m: Message, event: Event) -> None:
        """Note a document that was followed, to be written as it came; a waybill without the particulars it came with."""
        if isinstance(event, WaybillIssued):
            if self.declarations[m.order_id].waybill is event:
                self.papers.setdefault(m.order_id, {})["waybill"] = event.to_json()
        elif name := domain.DOCUMENTS.get(type(event)):
            self.papers.setdefault(m.order_id, {}).setdefault(name, m.value or event.to_json())

    def corrections(self) -> list[tuple[UUID, bytes]]:
        """The waybills noted in the place of ones that are written already; they are no first documents."""
        later = [
            order_id
            for order_id in self.papers
            if order_id in self.found and "waybill" in self.found[order_id].present
        ]
        return [(o, self.papers[o].pop("waybill")) for o in later if "waybill" in self.papers[o]]

    def fold(
        self, followed: domain.Followed, cause: UUID, at: datetime, traceparent: bytes | None = None
    ) -> bool:
        """Keep the new state and number its facts; tells whether anything changed."""
        after, facts = followed
        if not facts and self.declarations.get(after.order_id) == after:
            return False
        self.declarations[after.order_id] = after
        self.touched[after.order_id] = at
        first = after.version - len(facts) + 1
        self.facts += [
            EmittedEvent(fact, cause, first + i, traceparent) for i, fact in enumerate(facts)
        ]
        return True

    async def save(self, conn: Connection, authority: Authority) -> Outcome:
        changed = [
            _grouped(self.declarations[order_id], authority) for order_id in sorted(self.touched)
        ]
        if changed:
            await store.save(conn, changed, self.papers, self.found.keys())
            await store.save_returns(
                conn, [(d.order_id, each) for d in changed for each in d.returns]
            )
            waiting = [Waiting(d.order_id, d.waiting, d.group_key or "", self.touched[d.order_id] + timedelta(seconds=d.waiting_s), d.part)
                       for d in changed if d.waiting is not None]  # fmt: skip
            await store.queue(
                conn,
                waiting,
                [d.order_id for d in changed if d.waiting is None and self._waits_no_more(d)],
            )
        return Outcome(facts=self.facts)

    def _waits_no_more(self, d: Declaration) -> bool:
        """Whether nothing of it is to be lodged any more: it is over, or customs goes on with the list that was to be corrected.
        A list that is lodged was taken out of its batch already.
        """
        found = self.found.get(d.order_id)
        was_matched = found is not None and found.state is domain.State.MATCHED
        return d.state in domain.OVER or (
            was_matched and d.state not in (domain.State.MATCHED, domain.State.LODGED)
        )


def _grouped(d: Declaration, authority: Authority) -> Declaration:
    """With the key of the batches it joins, fixed when its order document comes."""
    if d.group_key is not None or d.order is None:
        return d
    return replace(d, group_key=authority.group_of(d.order))


async def collect_documents(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
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
    folded = Folded.of(found)
    for m, event in heard:
        folded.fold(
            _follow(folded.declarations.get(m.order_id), event, m.at, deps, match),
            m.event_id,
            m.at,
            m.traceparent,
        )
        folded.keep(m, event)
    await store.correct_waybills(conn, folded.corrections(), _given_up(found, folded.declarations))
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
        if name := domain.DOCUMENTS.get(type(event)):
            coming.setdefault(event.order_id, set()).add(name)
    return {
        order_id: found[order_id]
        for order_id, names in coming.items()
        if order_id in found
        and found[order_id].present
        and found[order_id].present | names == domain.ALL_DOCUMENTS
    }


def _corrected(
    found: Mapping[UUID, Declaration], events: Sequence[Event]
) -> dict[UUID, Declaration]:
    """The declarations whose waybill another one of these events may take the place of: it must be read too."""
    shipped = {event.order_id for event in events if isinstance(event, WaybillIssued)}
    return {o: found[o] for o in shipped if o in found and domain.may_be_corrected(found[o])}


async def _hold_numbers(
    conn: Connection, found: Mapping[UUID, Declaration], events: Sequence[Event]
) -> set[UUID]:
    """Let orders hold the numbers of the waybills that come; of those about to be matched, which may not have theirs."""
    coming: dict[UUID, set[str]] = {}
    waybills = {order_id: d.waybill for order_id, d in found.items()}
    for event in events:
        if name := domain.DOCUMENTS.get(type(event)):
            coming.setdefault(event.order_id, set()).add(name)
        if isinstance(event, WaybillIssued):
            waybills[event.order_id] = event
    fresh, wanted, live = [], [], {}
    for order_id, names in coming.items():
        d = found.get(order_id, domain.BLANK)
        live[order_id] = d.state not in domain.OVER and "order" in d.present | names
        sent = waybills.get(order_id)
        if sent is None or not (d.state is domain.State.COLLECTING or domain.may_be_corrected(d)):
            continue
        number = sent.logistics_code, sent.logistics_no, order_id
        fresh += [number] if "waybill" in names else []
        wanted += [number] if d.present | names == domain.ALL_DOCUMENTS else []
    await store.note_numbers(conn, fresh)
    return await store.claim_numbers(conn, wanted, live)


def _one_number_one_order(match: domain.Match, refused: Collection[UUID]) -> domain.Match:
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
        for order_id, was in found.items() if was.waybill is not None and domain.may_be_corrected(was)
    }  # fmt: skip
    kept = {
        (d.waybill.logistics_code, d.waybill.logistics_no, o)
        for o, d in now.items()
        if d.waybill is not None
    }
    return numbers - kept


def _follow(
    found: Declaration | None, event: Event, at: datetime, deps: Deps, match: domain.Match
) -> domain.Followed:
    match event:
        case OrderUnwinding():
            return domain.stop(found, event)
        case WithdrawalAsked():
            return domain.withdraw(found, event, at, deps.policy)
        case _:
            return domain.collect(found, event, match)  # type: ignore[arg-type]


async def follow_receipts(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
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
    going_back = (domain.State.WITHDRAWING, domain.State.RETURNING)
    found_all |= await store.with_returns(
        conn, {o: d for o, d in found_all.items() if d.state in going_back}
    )
    folded = Folded.of(found_all)
    heard = [
        (answer.on, folded.declarations[order_id].message_guid) for _, order_id, answer in named
    ]
    kept: list[tuple[UUID, str, domain.Answer, bool, datetime]] = []
    odd: list[Odd] = []
    for m, order_id, answer in named:
        found = folded.declarations[order_id]
        followed = folded.fold(
            domain.answer(found, answer, deps.policy, m.at), m.event_id, m.at, m.traceparent
        )
        if kind := contradiction(found, answer, deps.policy) or _of_another(m, answer):
            said, after = (
                replace(answer, invt_no=m.event.answer.invt_no),
                folded.declarations[order_id].state,
            )
            odd.append(Odd(kind, found, m.event.message_type, said, after))
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
        await store.add_receipts(conn, kept)
    await pauses.hear(conn, _of_pauses(named, folded, deps), deps.authority.certificate)
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


def _of_pauses(named: Sequence[Named], folded: Folded, deps: Deps) -> list[Told]:
    """What tells that the way is blocked or free, once for each message answered."""
    own_pace, told = deps.policy.too_soon, {}
    for m, order_id, answer in named:
        found = folded.found[order_id]
        reason = reason_to_pause(answer, own_pace)
        if reason is None and (not shows_the_way_free(answer) or m.event.message_guid is not None):
            continue
        told[found.group_key, found.message_guid, reason] = Told(
            found.group_key or "", found.message_guid, reason, answer.code or answer.status
        )
    return list(told.values())


async def _without_bills_and_summaries(
    conn: Connection, batch: Sequence[Message], deps: Deps
) -> Sequence[Message]:
    """Keeps tax bills, what is said of summary requests, and what needs nothing; returns the other entries."""
    if notices := [m.event for m in batch if isinstance(m.event, Notice)]:
        await store.add_notices(conn, notices)
    if bills := [m for m in batch if isinstance(m.event, Bill)]:
        await tax_bills.keep(conn, [(m.event, m.at) for m in bills])
    for m in batch:
        if isinstance(m.event, SummaryReceipt | SummaryResult):
            await consolidation_handlers.hear(conn, [m.event], m.at, deps.consolidating)
    return [m for m in batch if isinstance(m.event, Entry)]


async def _refuse_requests(conn: Connection, refused: Sequence[Message], deps: Deps) -> set[UUID]:
    """Summary requests in messages that were refused whole are refused; returns which of the entries were about one."""
    about_one = set()
    for m in refused:
        answer = m.event.answer
        at = answer.at or m.at
        on_the_way = domain.way_of(answer, deps.policy) in ("wait", "ours")
        guids = [m.event.message_guid]
        if await consolidation_handlers.refuse_whole(
            conn, guids, answer.status, answer.info, at, deps.consolidating, on_the_way=on_the_way
        ):
            about_one.add(m.event_id)
    return about_one


def _of_another(m: Message, answer: domain.Answer) -> Kind | None:
    return "number_of_another" if answer.invt_no != m.event.answer.invt_no else None


def _unread(
    batch: Sequence[Message], named: Sequence[Named], elsewhere: Collection[UUID]
) -> list[domain.Kind]:
    """What was asked where the answer is of no use: a status in no list here, or about nothing known here. Said in the log."""
    somebodys = {m.event_id for m, _, _ in named} | set(elsewhere)
    unread = []
    for m in batch:
        entry: Entry = m.event
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
    conn: Connection, named: Sequence[Named], folded: Folded, deps: Deps
) -> None:
    """Export lists that were closed (899) under statisticsFlag B are to be consolidated with those of their month.

    One that was refused or withdrawn is not, whatever is said of it afterwards; nor is one whose cancellation is granted after.
    """
    withdrawn = [
        o
        for o, d in folded.declarations.items()
        if d.state is domain.State.WITHDRAWN and folded.found[o].release_waits
    ]
    if withdrawn:
        await consolidation_store.drop_closed(conn, withdrawn)
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
        await consolidation_store.add_closed(conn, closed)


async def _named(conn: Connection, batch: Sequence[Message]) -> list[Named]:
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
    found: list[Named] = await refused_messages.read(conn, batch)
    for m in batch:
        answer = m.event.answer
        if order_id := by_cop.get(m.event.cop_no):
            of_another = by_invt.get(answer.invt_no, order_id) != order_id
            found.append((m, order_id, replace(answer, invt_no=None) if of_another else answer))
        elif order_id := by_invt.get(answer.invt_no) or by_pre.get(answer.pre_no):
            found.append((m, order_id, replace(answer, attempt=None)))
    return found


SUBSCRIPTIONS: Final = {
    topics.ORDERS: Subscription(collect_documents, (OrderPlaced, WithdrawalAsked, OrderUnwinding)),
    topics.WAYBILLS: Subscription(
        collect_documents,
        decode=waybill.decode,
        intake=True,
        speaks_for=waybill.carrier_of,
        once=(waybill.WireWaybill,),
    ),
    topics.TAX: Subscription(collect_documents, (TaxAssessed,)),
    topics.PAYMENTS: Subscription(collect_documents, (PaymentCaptured,)),
    topics.RECEIPTS: Subscription(
        follow_receipts, decode=decode_receipts, intake=True, alone=alone
    ),
}
