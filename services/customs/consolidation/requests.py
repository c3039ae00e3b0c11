"""Closed export lists of a month that is over are asked to be consolidated, by a timer; so is what there is to say of them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import orjson
import structlog

from services.customs.ceb.documents import Enterprise
from services.customs.ceb.writing import NotDeclarable
from services.customs.consolidation import domain, grouping, months, store
from services.customs.consolidation.domain import Summary
from services.customs.consolidation.store import Asked, Group, PendingEvent
from services.customs.consolidation.terms import Consolidating
from services.customs.domain.returns import BEIJING
from shared import topics
from shared.database import Connection
from shared.envelope import CONTENT_TYPE_XML, Outgoing, headers_of
from shared.events import customs as said
from shared.subscriptions import EmittedEvent, Outcome
from shared.timer_items import Items, Subject, of_order

if TYPE_CHECKING:
    from services.customs.deps import Deps
    from services.customs.gateway import Authority

log = structlog.get_logger(__name__)

REQUESTS_MAX: Final = 50
LISTS_MAX: Final = 10_000
"""In one turn."""
WORDS_EVERY_S: Final = 0.5
WORDS_MAX: Final = 500
"""Facts in one transaction: the timer must never hold up the receipts that come beside it."""

Taken = tuple[UUID, str, int]
"""A list to ask for: its order, its number, and how often it was asked for."""
LISTS: Final = Items[Taken]("customs", "summaries", lambda taken: of_order(taken[0]))
REFUSED: Final = Items[Summary]("customs", "summaries", lambda s: Subject(str(s.summary_id)))
WORDS: Final = Items[UUID]("customs", "summary words", of_order)


@dataclass(frozen=True)
class Asking:
    """What the lists of a group are asked for by."""

    group: Group
    by: grouping.Grouping
    due_at: datetime
    now: datetime


async def make_requests(conn: Connection, deps: Deps) -> Outcome:
    """Free the lists of refused requests whose wait is over, and ask for the lists that are due, a request for each group.

    So many in a turn that its transaction stays short; the next turn makes the next.
    """
    rules = deps.consolidating
    now = rules.now()

    async def free(some: Sequence[Summary]) -> Outcome:
        for s in some:
            await store.free_lists(conn, s.summary_id)
            await store.save(conn, domain.free(s), now)
        return Outcome()

    await REFUSED.each(conn, await store.lock_to_free(conn, now), free)
    before = months.closed_before(now, rules.policy.summaries.from_day, rules.day_s)
    outcome, made, left = Outcome(), 0, LISTS_MAX
    for group in await store.list_groups(conn, before):
        if left <= 0 or made >= REQUESTS_MAX:
            break
        asked = await _request(conn, deps.authority, rules, group, now)
        if asked.records:
            outcome.extend(asked)
            made, left = made + 1, left - group.lists
    await store.forget_asked(conn)
    return outcome


async def _request(
    conn: Connection, authority: Authority, rules: Consolidating, group: Group, now: datetime
) -> Outcome:
    """Ask for the lists of a group, as many as one request takes; those that cannot be taken now wait."""
    month = rules.month_of(group.closed_at)
    by, due_at, summaries = rules.grouping_of(month), rules.due_at(month), rules.policy.summaries
    if by is None or due_at is None:
        log.error(
            "export lists cannot be consolidated: the policy has no summary.terms for their month",
            month=group.month,
        )
        return Outcome()
    taken = await store.take(conn, group, summaries.lists_max * summaries.messages_max)
    if not taken:
        return Outcome()

    async def act(some: Sequence[Taken]) -> Outcome:
        return await _ask(conn, authority, rules, Asking(group, by, due_at, now), list(some))

    return await LISTS.each(conn, taken, act)


async def _ask(
    conn: Connection, authority: Authority, rules: Consolidating, asking: Asking, taken: list[Taken]
) -> Outcome:
    group, now, summaries = asking.group, asking.now, rules.policy.summaries
    summary_id = uuid4()
    cop_no = cop_no_of(summary_id)
    bad, room = authority.summary_lists(cop_no, [invt_no for _, invt_no, _ in taken])
    most = min(summaries.lists_max, room)
    if bad:
        log.error("these lists cannot be named in a summary request", month=group.month, lists=bad)
        await store.set_aside_open(
            conn, [order_id for order_id, invt_no, _ in taken if invt_no in bad]
        )
        taken = [each for each in taken if each[1] not in bad]
    if not taken:
        return Outcome()
    taken = taken[: most * summaries.messages_max]
    lines = await store.list_lines(conn, [invt_no for _, invt_no, _ in taken], rules.traf_mode)
    parts = [taken[start : start + most] for start in range(0, len(taken), most)]
    s = Summary(
        summary_id, cop_no, len(parts), len(lines), 1 + max(requests for _, _, requests in taken)
    )
    merchant = Enterprise(group.consignor, await store.merchant_name(conn, taken[0][0]))
    outcome = Outcome()
    sent: list[tuple[str, Sequence[UUID]]] = []
    for seq, part in enumerate(parts, 1):
        numbers = [invt_no for _, invt_no, _ in part]
        try:
            guid, xml = authority.summary_request(
                s.cop_no, now, group.customs_code, merchant, numbers, (seq, len(parts))
            )
        except NotDeclarable as refused:
            # Its head: the lists of this consignor and office can be in no request.
            log.error("a summary request cannot be printed", month=group.month, error=str(refused))
            await store.set_aside_open(conn, [order_id for order_id, _, _ in taken])
            return Outcome()
        sent.append((guid, [order_id for order_id, _, _ in part]))
        headers = headers_of(
            event_id=uuid5(summary_id, str(seq)),
            event_type="CEB701Message.v1",
            source="customs",
            at=now,
            content_type=CONTENT_TYPE_XML,
        )
        # Under the first message's guid, so that all of a request comes down one partition, in order.
        outcome.records.append(
            Outgoing(topics.DECLARATIONS, sent[0][0].encode(), xml, headers, sealed=True)
        )
    await store.add(
        conn, s, Asked(group, len(grouping.grouped(lines, asking.by)), asking.due_at, now), sent
    )
    log.info(
        "consolidation asked for",
        month=group.month,
        lists=len(taken),
        messages=len(parts),
        attempt=s.attempt,
    )
    return outcome


def cop_no_of(summary_id: UUID) -> str:
    """The enterprise's own number of a request: 27 of the 30 characters there are."""
    return "S" + base64.b32encode(summary_id.bytes).decode().rstrip("=")


async def publish_pending(conn: Connection, _deps: Deps) -> Outcome:
    """Say what was decided about the lists of requests and their declarations, a portion at a time."""
    words: dict[UUID, list[PendingEvent]] = {}
    for word in await store.lock_words(conn, WORDS_MAX):
        words.setdefault(word.order_id, []).append(word)

    async def act(orders: Sequence[UUID]) -> Outcome:
        return await _announce(conn, [word for order_id in orders for word in words[order_id]])

    return await WORDS.each(conn, list(words), act)


async def _announce(conn: Connection, words: Sequence[PendingEvent]) -> Outcome:
    facts: list[EmittedEvent] = []
    counts: dict[UUID, int] = {}
    for word in words:
        counts[word.order_id] = counts.get(word.order_id, 0) + 1
        cause = cause_of(word)
        facts.append(EmittedEvent(fact_of(word), cause, word.version + counts[word.order_id]))
    await store.words_said(conn, [word.id for word in words], counts)
    return Outcome(facts=facts)


def cause_of(word: PendingEvent) -> UUID:
    """The id that a word follows from: the request, the declaration where it is about one, and what is said."""
    return uuid5(NAMESPACE_URL, f"summary:{word.cop_no}:{word.decl_seq_no or ''}:{word.kind}")


def fact_of(word: PendingEvent) -> said.SummaryEvent:
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
