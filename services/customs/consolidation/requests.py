"""Timer that requests the consolidation of closed export lists once their month is over."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4, uuid5

import structlog

from services.customs.ceb.documents import Enterprise
from services.customs.ceb.elements import NotDeclarable
from services.customs.consolidation import domain, grouping, list_store, months, store
from services.customs.consolidation.domain import Summary
from services.customs.consolidation.list_store import ListGroup
from services.customs.consolidation.store import RequestDetails
from services.customs.consolidation.terms import ConsolidationRules
from services.customs.deps import Deps
from services.customs.gateway import Authority
from shared import topics
from shared.database import Connection
from shared.envelope import CONTENT_TYPE_XML, Outgoing, headers_of
from shared.subscriptions import Outcome
from shared.timer_items import Items, Subject, of_order

log = structlog.get_logger(__name__)

REQUESTS_MAX: Final = 50
LISTS_MAX: Final = 10_000
"""Lists in one turn."""

TakenList = tuple[UUID, str, int]
"""A list to request: its order, its number, and how often it was requested."""
LISTS: Final = Items[TakenList]("customs", "summaries", lambda taken: of_order(taken[0]))
REFUSED: Final = Items[Summary]("customs", "summaries", lambda s: Subject(str(s.summary_id)))


@dataclass(frozen=True)
class RequestTerms:
    """By which terms and when the lists of a group are requested."""

    group: ListGroup
    by: grouping.Grouping
    due_at: datetime
    now: datetime


async def make_requests(conn: Connection, deps: Deps) -> Outcome:
    """Free the lists of refused requests whose wait is over. Request the lists that are due, one
    request a group.

    The number of requests keeps the transaction short; the next turn makes more.
    """
    rules = deps.consolidation
    now = rules.now()

    async def free(some: Sequence[Summary]) -> Outcome:
        for s in some:
            await list_store.free_lists(conn, s.summary_id)
            await store.save(conn, domain.free(s), now)
        return Outcome()

    await REFUSED.each(conn, await store.lock_to_free(conn, now), free)
    before = months.closed_before(now, rules.policy.summaries.from_day, rules.day_s)
    outcome, made, left = Outcome(), 0, LISTS_MAX
    for group in await list_store.list_groups(conn, before):
        if left <= 0 or made >= REQUESTS_MAX:
            break
        request = await _request(conn, deps.authority, rules, group, now)
        if request.records:
            outcome.extend(request)
            made, left = made + 1, left - group.lists
    await list_store.delete_month_requests(conn)
    return outcome


async def _request(
    conn: Connection,
    authority: Authority,
    rules: ConsolidationRules,
    group: ListGroup,
    now: datetime,
) -> Outcome:
    month = rules.month_of(group.closed_at)
    by, due_at, summaries = rules.grouping_of(month), rules.due_at(month), rules.policy.summaries
    if by is None or due_at is None:
        log.error(
            "export lists cannot be consolidated: the policy has no summary.terms for their month",
            month=group.month,
        )
        return Outcome()
    taken = await list_store.take(conn, group, summaries.lists_max * summaries.messages_max)
    if not taken:
        return Outcome()

    async def act(some: Sequence[TakenList]) -> Outcome:
        return await _ask(conn, authority, rules, RequestTerms(group, by, due_at, now), list(some))

    return await LISTS.each(conn, taken, act)


async def _ask(
    conn: Connection,
    authority: Authority,
    rules: ConsolidationRules,
    terms: RequestTerms,
    taken: list[TakenList],
) -> Outcome:
    group, summaries = terms.group, rules.policy.summaries
    summary_id = uuid4()
    cop_no = cop_no_of(summary_id)
    taken, room = await _named(conn, authority, group, cop_no, taken)
    if not taken:
        return Outcome()
    most = min(summaries.lists_max, room)
    taken = taken[: most * summaries.messages_max]
    lines = await list_store.list_lines(conn, [invt_no for _, invt_no, _ in taken], rules.traf_mode)
    parts = [taken[start : start + most] for start in range(0, len(taken), most)]
    attempt = 1 + max(requests for _, _, requests in taken)
    s = Summary(summary_id, cop_no, len(parts), len(lines), attempt)
    merchant = Enterprise(group.consignor, await list_store.merchant_name(conn, taken[0][0]))
    try:
        messages = _messages(authority, s, terms, merchant, parts)
    except NotDeclarable as refused:
        # The head is wrong: the lists of this consignor and office can be in no request.
        log.error("a summary request cannot be printed", month=group.month, error=str(refused))
        await list_store.set_aside_open(conn, [order_id for order_id, _, _ in taken])
        return Outcome()
    expected = len(grouping.group_lines(lines, terms.by))
    details = RequestDetails(group, expected, terms.due_at, terms.now)
    sent = [
        (guid, [order_id for order_id, _, _ in part])
        for (guid, _), part in zip(messages, parts, strict=True)
    ]
    await store.add(conn, s, details, sent)
    lists, month = len(taken), group.month
    log.info(
        "consolidation asked for", month=month, lists=lists, messages=len(parts), attempt=attempt
    )
    return Outcome(records=_records(s, messages, terms.now))


async def _named(
    conn: Connection,
    authority: Authority,
    group: ListGroup,
    cop_no: str,
    taken: list[TakenList],
) -> tuple[list[TakenList], int]:
    """Set aside the lists whose number cannot be written. Return the others, and how many of them
    one message has room for.
    """
    bad, room = authority.summary_lists(cop_no, [invt_no for _, invt_no, _ in taken])
    if not bad:
        return taken, room
    log.error("these lists cannot be named in a summary request", month=group.month, lists=bad)
    unnamed = [order_id for order_id, invt_no, _ in taken if invt_no in bad]
    await list_store.set_aside_open(conn, unnamed)
    return [each for each in taken if each[1] not in bad], room


def _messages(
    authority: Authority,
    s: Summary,
    terms: RequestTerms,
    merchant: Enterprise,
    parts: Sequence[Sequence[TakenList]],
) -> list[tuple[str, bytes]]:
    return [
        authority.summary_request(
            s.cop_no,
            terms.now,
            terms.group.customs_code,
            merchant,
            [invt_no for _, invt_no, _ in part],
            (seq, len(parts)),
        )
        for seq, part in enumerate(parts, 1)
    ]


def _records(s: Summary, messages: Sequence[tuple[str, bytes]], at: datetime) -> list[Outgoing]:
    # The first guid is the key of all messages: a request stays in one partition, in order.
    key = messages[0][0].encode()
    return [
        Outgoing(topics.DECLARATIONS, key, xml, _headers(s.summary_id, seq, at), sealed=True)
        for seq, (_, xml) in enumerate(messages, 1)
    ]


def _headers(summary_id: UUID, seq: int, at: datetime) -> tuple[tuple[str, bytes], ...]:
    return headers_of(
        event_id=uuid5(summary_id, str(seq)),
        event_type="CEB701Message.v1",
        source="customs",
        at=at,
        content_type=CONTENT_TYPE_XML,
    )


def cop_no_of(summary_id: UUID) -> str:
    return "S" + base64.b32encode(summary_id.bytes).decode().rstrip("=")
