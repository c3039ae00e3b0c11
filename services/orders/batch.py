"""The orders of one batch: what is saved, emitted, shown in the timeline and counted at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from services.orders import store
from services.orders.domain import decisions
from services.orders.domain.decisions import Command
from services.orders.domain.external_states import Stage
from services.orders.domain.order import InvalidSubmission, Order, ValidSubmission
from services.orders.domain.stages import ENDED, UNKNOWN_CORRIDOR
from services.orders.store import StoredOrder, TimelineEntry
from services.orders.timeline import summary
from shared import metrics, topics
from shared.database import Connection
from shared.envelope import Message
from shared.events import Event, customs, payments, tax
from shared.subscriptions import EmittedEvent, Outcome

SOURCES: Final = {
    topics.PAYMENTS: "payments",
    topics.TAX: "tax",
    topics.CUSTOMS: "customs",
    topics.SUBMISSIONS: "shop",
}
STAGE_BY_EVENT: Final[dict[type, str]] = {
    payments.PaymentCaptured: "payment",
    tax.TaxAssessed: "tax",
    customs.ListLodged: "declaration",
    customs.GoodsReleased: "release",
}
"""The event that ends each measured stage."""

StageDuration = tuple[float, bytes | None]
"""Seconds from the first record about an order to the end of a stage, and its traceparent."""


@dataclass
class OrderBatch:
    """Orders by id, changed message by message and saved once."""

    orders: dict[UUID, StoredOrder]
    changed: dict[UUID, datetime] = field(default_factory=dict)
    events: list[EmittedEvent] = field(default_factory=list)
    timeline: list[TimelineEntry] = field(default_factory=list)
    reached: Counter[tuple[str, str]] = field(default_factory=Counter)
    durations: dict[tuple[str, str], list[StageDuration]] = field(default_factory=dict)
    fingerprinted: frozenset[UUID] = frozenset()
    """Orders whose fingerprint was stored before the batch."""

    @classmethod
    def begin(cls, locked: dict[UUID, StoredOrder]) -> OrderBatch:
        fingerprinted = frozenset(
            order_id for order_id, stored in locked.items() if stored.order.fingerprint
        )
        return cls(locked, fingerprinted=fingerprinted)

    def fingerprint_of(self, order_id: UUID) -> Mapping[str, str]:
        stored = self.orders.get(order_id)
        return stored.order.fingerprint if stored else {}

    def apply(self, m: Message, trigger: Command | Event) -> None:
        """Decide on one command or event. Raises IllegalTransition."""
        before = self.orders.get(m.order_id)
        order, events = decisions.decide(before.order if before else None, trigger)
        received_at = before.received_at if before else m.at
        self.orders[m.order_id] = StoredOrder(order, received_at)
        self.changed[m.order_id] = m.at
        first = order.version - len(events) + 1
        self.events += [
            EmittedEvent(event, m.event_id, first + i, m.traceparent)
            for i, event in enumerate(events)
        ]
        self._add_timeline(m, trigger, events)
        self._count(m, trigger, before.order if before else None, order, received_at)

    def _add_timeline(self, m: Message, trigger: Command | Event, events: Sequence[Event]) -> None:
        if not isinstance(trigger, ValidSubmission | InvalidSubmission):
            self.timeline.append(
                TimelineEntry(m.order_id, m.at, SOURCES[m.topic], m.type, summary(trigger))
            )
        self.timeline += [
            TimelineEntry(m.order_id, m.at, "orders", event.type, summary(event))
            for event in events
        ]

    def _count(
        self,
        m: Message,
        trigger: Command | Event,
        before: Order | None,
        order: Order,
        received_at: datetime,
    ) -> None:
        corridor = order.corridor or UNKNOWN_CORRIDOR
        duration = (max(0.0, (m.at - received_at).total_seconds()), m.traceparent)
        if stage := STAGE_BY_EVENT.get(type(trigger)):
            self.durations.setdefault((stage, corridor), []).append(duration)
        # A refused or partial return leads back to FULFILLED: the sale is counted once.
        again = before is not None and before.fulfilled and order.stage is Stage.FULFILLED
        if again or (before is not None and before.stage is order.stage):
            return
        self.reached[order.stage, corridor] += 1
        if order.stage in ENDED:
            self.durations.setdefault(("total", corridor), []).append(duration)

    async def save(self, conn: Connection, locked: Collection[UUID] = ()) -> Outcome:
        changed = [
            (self.orders[order_id].order, at) for order_id, at in sorted(self.changed.items())
        ]
        await store.save(
            conn,
            [each for each in changed if each[0].order_id not in locked],
            self.fingerprinted,
        )
        await store.update_progress(conn, [each for each in changed if each[0].order_id in locked])
        await store.append_timeline(conn, self.timeline)
        return Outcome(
            facts=self.events, after_commit=[partial(_observe, self.reached, self.durations)]
        )


def _observe(
    reached: Mapping[tuple[str, str], int],
    durations: Mapping[tuple[str, str], Sequence[StageDuration]],
) -> None:
    for (state, corridor), count in reached.items():
        metrics.ORDERS.labels(state, corridor).inc(count)
    for (stage, corridor), of_stage in durations.items():
        child = metrics.STAGE_SECONDS.labels(stage, corridor)
        # One exemplar a batch is enough to find a slow order; it costs more than the observation.
        *others, (longest, traceparent) = sorted(of_stage, key=lambda duration: duration[0])
        for seconds, _ in others:
            child.observe(seconds)
        child.observe(longest, metrics.exemplar(traceparent))
