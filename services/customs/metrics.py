"""What customs counts: batches, receipts, mismatches, and how carrier and authority are doing."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from typing import Final
from uuid import UUID

from services.customs import store
from services.customs.ceb import codes
from services.customs.consolidation import declaration_store, list_store
from services.customs.consolidation import store as consolidation_store
from services.customs.consolidation.terms import ConsolidationRules
from services.customs.domain import match
from services.customs.domain.declaration import RequestKind
from services.customs.lodging import pauses
from services.customs.lodging import store as lodging_store
from shared import metrics
from shared.database import Connection
from shared.events.customs import DocumentsMismatched, ReceiptEvent
from shared.subscriptions import EmittedEvent

LATE_S: Final = 30.0
"""An open batch so long past its age is late: lodging looks many times a second."""
_SAMPLE: Final = 0xF
"""Of the orders, one in sixteen is timed until its waybill comes."""


class LatencyTracker:
    """When something was asked, until its answer is heard. Beyond `most` the oldest is forgotten, so it never grows."""

    def __init__(self, most: int = 5000) -> None:
        self._since: OrderedDict[Hashable, float] = OrderedDict()
        self._most = most

    def ask(self, key: Hashable) -> None:
        self._since.setdefault(key, time.monotonic())
        if len(self._since) > self._most:
            self._since.popitem(last=False)

    def hear(self, key: Hashable) -> float | None:
        """Seconds since it was asked; None if it was heard before, forgotten, or asked by another process."""
        since = self._since.pop(key, None)
        return None if since is None else time.monotonic() - since


TOLD: Final[Mapping[codes.StatusClass, str]] = {
    "accepted": "ListAccepted", "review": "ListInReview", "examination": "ExaminationOrdered", "held": "GoodsHeld",
    "released": "GoodsReleased", "closed": "ListClosed", "returned": "ListReturned", "detained": "GoodsDetained",
    "shipback": "ReturnShipmentOrdered",
}  # fmt: skip
"""The fact that a status of a list is told by; the others tell none, or one that depends on what was asked."""

MESSAGES: Final = LatencyTracker()
WAYBILLS: Final = LatencyTracker()


def begin() -> None:
    """Make the children that are known beforehand, at 0, and show the metrics without labels."""
    metrics.export(metrics.BATCH_LISTS, metrics.LAST_LODGED, metrics.CONSOLIDATION_DUE)
    metrics.SUMMARIES.begin(metrics.SUMMARY_STATES)
    metrics.CONSOLIDATED.begin(metrics.CONSOLIDATED_STAGES)
    metrics.LISTS_UNCONSOLIDATED.begin(metrics.UNCONSOLIDATED)
    metrics.RECEIPTS.among(status=codes.status_label)
    for code, told in codes.decided().items():
        if told in TOLD:
            metrics.RECEIPTS.begin((TOLD[told],), (code,))
    metrics.MATCH_FAILURES.begin(match.CODES)
    kinds = metrics.OPERATIONS["authority"]
    for gauge in (
        metrics.BATCHES_OPEN,
        metrics.BATCHES_LATE,
        metrics.LISTS_WAITING,
        metrics.BATCH_OLDEST,
    ):
        gauge.begin(kinds)
    metrics.LISTS_NOT_PRINTED.begin(kinds)
    metrics.BATCHES.begin(("lodged", "refused"))
    metrics.BATCH_SECONDS.begin(("size", "age", "part", "trial"))
    metrics.LODGING_PAUSED.begin(pauses.REASONS)
    for party in ("carrier", "authority"):
        metrics.PARTY_CALLS.begin((party,), metrics.OPERATIONS[party], ("ok", "unreadable"))
        metrics.PARTY_SECONDS.begin((party,), metrics.OPERATIONS[party])
        for gauge in (
            metrics.PARTY_LAST_SUCCESS,
            metrics.PARTY_PENDING,
            metrics.PARTY_PENDING_OLDEST,
        ):
            gauge.begin((party,))


def observe(facts: Sequence[EmittedEvent]) -> None:
    """Count what was said: receipts by status, mismatches by code."""
    for fact in facts:
        event = fact.event
        if isinstance(event, ReceiptEvent) and event.status:
            metrics.RECEIPTS.labels(type(event).__name__, event.status).inc()
        elif isinstance(event, DocumentsMismatched):
            for mismatch in event.mismatches:
                metrics.MATCH_FAILURES.labels(mismatch.code).inc()


def not_printed(kinds: Sequence[RequestKind]) -> None:
    """Requests could not be printed: the authority never had them, so they are no receipts of it."""
    for kind in kinds:
        metrics.LISTS_NOT_PRINTED.labels(kind).inc()


def lodged(guid: str, lists: int, closed_by: str, open_s: float) -> None:
    """A collective message is on its way."""
    metrics.BATCHES.labels("lodged").inc()
    metrics.BATCH_LISTS.observe(lists)
    metrics.BATCH_SECONDS.labels(closed_by).observe(max(0.0, open_s))
    metrics.LAST_LODGED.set_to_current_time()
    MESSAGES.ask(guid)


def record_receipts(
    entries: Collection[tuple[RequestKind, str | None]],
    refused: int,
    unread: Collection[RequestKind],
) -> None:
    """The authority answered: of each entry what was asked and in which message; `refused`: messages refused whole.

    `unread`: entries of which nothing follows, since their status or what they are about is not known here.
    """
    for kind, count in Counter(kind for kind, _ in entries).items():
        metrics.PARTY_CALLS.labels("authority", kind, "ok").inc(count)
    for kind, guid in entries:
        seconds = MESSAGES.hear(guid) if guid else None
        if seconds is not None:
            metrics.PARTY_SECONDS.labels("authority", kind).observe(seconds)
    for kind in unread:
        metrics.PARTY_CALLS.labels("authority", kind, "unreadable").inc()
    metrics.BATCHES.labels("refused").inc(refused)
    metrics.PARTY_LAST_SUCCESS.labels("authority").set_to_current_time()


def record_documents(placed: Collection[UUID], shipped: Collection[UUID]) -> None:
    """Orders were placed, which the carrier is to book, and waybills came."""
    for order_id in placed:
        if not order_id.int & _SAMPLE:
            WAYBILLS.ask(order_id)
    if not shipped:
        return
    for order_id in shipped:
        seconds = None if order_id.int & _SAMPLE else WAYBILLS.hear(order_id)
        if seconds is not None:
            metrics.PARTY_SECONDS.labels("carrier", "waybill").observe(seconds)
    metrics.PARTY_CALLS.labels("carrier", "waybill", "ok").inc(len(shipped))
    metrics.PARTY_LAST_SUCCESS.labels("carrier").set_to_current_time()


async def measure_summaries(conn: Connection, rules: ConsolidationRules) -> None:
    """Sets the gauges of consolidation. Lists of the month that goes on are not owed yet."""
    states = await consolidation_store.count_states(conn)
    for state in metrics.SUMMARY_STATES:
        metrics.SUMMARIES.labels(state).set(states.get(state, 0))
    stages = await declaration_store.count_stages(conn)
    for stage in metrics.CONSOLIDATED_STAGES:
        metrics.CONSOLIDATED.labels(stage).set(stages.get(stage, 0))
    owed = await list_store.list_unconsolidated(conn, rules.month_of(rules.now()).begins)
    for state in metrics.UNCONSOLIDATED:
        metrics.LISTS_UNCONSOLIDATED.labels(state).set(
            sum(each.lists for each in owed if each.state == state)
        )
    due = [at for each in owed if (at := rules.due_at(rules.month_of(each.closed_at))) is not None]
    metrics.CONSOLIDATION_DUE.set(min(due).timestamp() if due else 0)


def gauges(age_s: float, rules: ConsolidationRules) -> Callable[[Connection], Awaitable[None]]:
    """Sets the gauges of open batches, which close at the age of `age_s`, of consolidation, and of what carrier and authority owe."""

    async def measure(conn: Connection) -> None:
        found: dict[str, lodging_store.OpenBatches] = {
            batches.kind: batches
            for batches in await lodging_store.count_waiting(conn, age_s + LATE_S)
        }
        for kind in metrics.OPERATIONS["authority"]:
            there = found.get(kind)
            metrics.BATCHES_OPEN.labels(kind).set(there.groups if there else 0)
            metrics.BATCHES_LATE.labels(kind).set(there.late if there else 0)
            metrics.LISTS_WAITING.labels(kind).set(there.lists if there else 0)
            metrics.BATCH_OLDEST.labels(kind).set(there.oldest.timestamp() if there else 0)
        for party, count, oldest in await store.count_owed(conn):
            metrics.PARTY_PENDING.labels(party).set(count)
            metrics.PARTY_PENDING_OLDEST.labels(party).set(oldest.timestamp() if oldest else 0)
        await pauses.measure(conn)
        await measure_summaries(conn, rules)

    return measure
