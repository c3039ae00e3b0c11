"""Metrics of customs: batches, receipts, mismatches, consolidation, and the parties outside."""

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
"""An open batch is late so long past its age. Lodging looks many times a second."""
_SAMPLE: Final = 0xF
"""One order in sixteen is timed until its waybill arrives."""


class LatencyTracker:
    """Time between requests and replies. Beyond `most` the oldest entry is dropped, so it never
    grows.
    """

    def __init__(self, most: int = 5000) -> None:
        self._since: OrderedDict[Hashable, float] = OrderedDict()
        self._most = most

    def start(self, key: Hashable) -> None:
        self._since.setdefault(key, time.monotonic())
        if len(self._since) > self._most:
            self._since.popitem(last=False)

    def stop(self, key: Hashable) -> float | None:
        """Return the seconds since `start`; None if stopped before, dropped, or started by another
        process.
        """
        since = self._since.pop(key, None)
        return None if since is None else time.monotonic() - since


EVENT_OF_STATUS: Final[Mapping[codes.StatusClass, str]] = {
    "accepted": "ListAccepted",
    "review": "ListInReview",
    "examination": "ExaminationOrdered",
    "held": "GoodsHeld",
    "released": "GoodsReleased",
    "closed": "ListClosed",
    "returned": "ListReturned",
    "detained": "GoodsDetained",
    "shipback": "ReturnShipmentOrdered",
}
"""The event that announces a status of a list. Other statuses announce none, or one that depends on
the request.
"""

MESSAGES: Final = LatencyTracker()
WAYBILLS: Final = LatencyTracker()


def begin() -> None:
    metrics.export(metrics.BATCH_LISTS, metrics.LAST_LODGED, metrics.CONSOLIDATION_DUE)
    metrics.SUMMARIES.begin(metrics.SUMMARY_STATES)
    metrics.CONSOLIDATED.begin(metrics.CONSOLIDATED_STAGES)
    metrics.LISTS_UNCONSOLIDATED.begin(metrics.UNCONSOLIDATED)
    metrics.RECEIPTS.restrict_labels(status=codes.status_label)
    for code, meaning in codes.decided().items():
        if meaning in EVENT_OF_STATUS:
            metrics.RECEIPTS.begin((EVENT_OF_STATUS[meaning],), (code,))
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
    for fact in facts:
        event = fact.event
        if isinstance(event, ReceiptEvent) and event.status:
            metrics.RECEIPTS.labels(type(event).__name__, event.status).inc()
        elif isinstance(event, DocumentsMismatched):
            for mismatch in event.mismatches:
                metrics.MATCH_FAILURES.labels(mismatch.code).inc()


def record_unprinted(kinds: Sequence[RequestKind]) -> None:
    """Count requests that could not be printed. The authority never saw them, so they are no
    receipts.
    """
    for kind in kinds:
        metrics.LISTS_NOT_PRINTED.labels(kind).inc()


def record_lodged(guid: str, lists: int, closed_by: str, open_s: float) -> None:
    metrics.BATCHES.labels("lodged").inc()
    metrics.BATCH_LISTS.observe(lists)
    metrics.BATCH_SECONDS.labels(closed_by).observe(max(0.0, open_s))
    metrics.LAST_LODGED.set_to_current_time()
    MESSAGES.start(guid)


def record_receipts(
    entries: Collection[tuple[RequestKind, str | None]],
    refused: int,
    unread: Collection[RequestKind],
) -> None:
    """Count replies by request kind and message. `refused` counts messages refused whole; `unread`
    entries were not understood.
    """
    for kind, count in Counter(kind for kind, _ in entries).items():
        metrics.PARTY_CALLS.labels("authority", kind, "ok").inc(count)
    for kind, guid in entries:
        seconds = MESSAGES.stop(guid) if guid else None
        if seconds is not None:
            metrics.PARTY_SECONDS.labels("authority", kind).observe(seconds)
    for kind in unread:
        metrics.PARTY_CALLS.labels("authority", kind, "unreadable").inc()
    metrics.BATCHES.labels("refused").inc(refused)
    metrics.PARTY_LAST_SUCCESS.labels("authority").set_to_current_time()


def record_documents(placed: Collection[UUID], shipped: Collection[UUID]) -> None:
    for order_id in placed:
        if not order_id.int & _SAMPLE:
            WAYBILLS.start(order_id)
    if not shipped:
        return
    for order_id in shipped:
        seconds = None if order_id.int & _SAMPLE else WAYBILLS.stop(order_id)
        if seconds is not None:
            metrics.PARTY_SECONDS.labels("carrier", "waybill").observe(seconds)
    metrics.PARTY_CALLS.labels("carrier", "waybill", "ok").inc(len(shipped))
    metrics.PARTY_LAST_SUCCESS.labels("carrier").set_to_current_time()


async def measure_summaries(conn: Connection, rules: ConsolidationRules) -> None:
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
    async def measure(conn: Connection) -> None:
        batches_by_kind: dict[str, lodging_store.OpenBatches] = {
            batches.kind: batches
            for batches in await lodging_store.count_waiting(conn, age_s + LATE_S)
        }
        for kind in metrics.OPERATIONS["authority"]:
            open_batches = batches_by_kind.get(kind)
            metrics.BATCHES_OPEN.labels(kind).set(open_batches.groups if open_batches else 0)
            metrics.BATCHES_LATE.labels(kind).set(open_batches.late if open_batches else 0)
            metrics.LISTS_WAITING.labels(kind).set(open_batches.lists if open_batches else 0)
            metrics.BATCH_OLDEST.labels(kind).set(
                open_batches.oldest.timestamp() if open_batches else 0
            )
        for party, count, oldest in await store.count_owed(conn):
            metrics.PARTY_PENDING.labels(party).set(count)
            metrics.PARTY_PENDING_OLDEST.labels(party).set(oldest.timestamp() if oldest else 0)
        await pauses.measure(conn)
        await measure_summaries(conn, rules)

    return measure
