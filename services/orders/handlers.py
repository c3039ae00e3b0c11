"""What orders hears, and which reaction answers it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import Final
from uuid import UUID

from services.orders import store
from services.orders.deps import Deps
from services.orders.domain import decisions
from services.orders.domain.decisions import Command, InvalidSubmission, Order, ValidSubmission
from services.orders.intake.ceb311 import CebEntries
from services.orders.intake.decoding import IntakeItem, read_entries, with_only_order
from services.orders.intake.fingerprint import fingerprint, version_of
from services.orders.intake.persons import persons_of, seal_persons
from services.orders.intake.submission import (
    CancelRequested,
    ReturnRequested,
    Submitted,
    corridor_of,
    order_placed,
)
from services.orders.intake.validation import PLACED_EARLIEST, validate
from services.orders.store import StoredOrder, TimelineEntry
from services.orders.timeline import summary
from shared import metrics, topics
from shared.database import Connection
from shared.decoding import PartlyReadable, UnreadableEntry, intake_id, message
from shared.envelope import Message, Record, first_headers
from shared.events import EVENT_TYPES, Event, customs, payments, tax
from shared.events.base import Fault
from shared.identity import event_id_of
from shared.subscriptions import EmittedEvent, Outcome, Source, Subscriptions, on

SUBMITTED: Final = "order.submitted.v1"
SOURCES: Final = {
    topics.PAYMENTS: "payments",
    topics.TAX: "tax",
    topics.CUSTOMS: "customs",
    topics.SUBMISSIONS: "shop",
}
STAGE_BY_EVENT: Final[dict[type, str]] = {
    payments.PaymentCaptured: "payment", tax.TaxAssessed: "tax", customs.ListLodged: "declaration", customs.GoodsReleased: "release",
}  # fmt: skip


def decode(record: Record) -> Sequence[Message]:
    """The submissions or the command in a record, and which orders of a CEB311 message cannot be read or named.

    Raises Unprocessable where nothing can be.
    """
    by_name = first_headers(record.headers)
    read = read_entries(record.value, record.headers)
    wire_type = by_name.get("ce_type", b"").decode("ascii", "replace") or SUBMITTED
    first_id = intake_id(record, by_name, hashlib.sha256(record.value or b"").hexdigest())
    traceparent = by_name.get("traceparent")
    orders: Sequence[tuple[int, IntakeItem]] = (
        read.orders if isinstance(read, CebEntries) else [(0, read)]
    )
    bad = read.unreadable if isinstance(read, CebEntries) else []
    is_one = len(orders) + len(bad) == 1
    if is_one and bad:
        raise bad[0][1]
    found = []
    for number, each in orders:
        # A CEB311 message holds many orders: each has an id of its own, from the record's and the order's.
        own = first_id if is_one else event_id_of(first_id, str(number - 1), each.order_id)
        said = _check_timestamp(each, record.timestamp_ms)
        found.append(message(record, own, wire_type, each.order_id, said, traceparent, number))
    return (
        PartlyReadable(found, [UnreadableEntry(number, why) for number, why in bad])
        if bad
        else found
    )


def _check_timestamp(found: IntakeItem, stamped_ms: int) -> IntakeItem:
    """A submission in a record that is stamped before there were such orders: the shop counts in seconds, say."""
    if stamped_ms >= _EARLIEST_MS or not isinstance(found, Submitted) or stamped_ms < 0:
        return found
    stamped = datetime.fromtimestamp(stamped_ms / 1000, tz=UTC)
    said = f"the record's own timestamp is {stamped:%Y-%m-%d}"
    fault = Fault(
        field="timestamp",
        rule="is_milliseconds",
        found=said,
        expected="give milliseconds since 1970",
    )
    return replace(found, shape_faults=(*found.shape_faults, fault))


_EARLIEST_MS: Final = PLACED_EARLIEST.timestamp() * 1000

StageDuration = tuple[float, bytes | None]
"""Seconds from the first record about an order to the end of a stage, and the trace it belongs to."""


@dataclass
class OrderBatch:
    """Orders on their way through a batch: what is saved, said, told and counted at its end."""

    kept: dict[UUID, StoredOrder]
    changed: dict[UUID, datetime] = field(default_factory=dict)
    facts: list[EmittedEvent] = field(default_factory=list)
    moments: list[TimelineEntry] = field(default_factory=list)
    reached: Counter[tuple[str, str]] = field(default_factory=Counter)
    stages: dict[tuple[str, str], list[StageDuration]] = field(default_factory=dict)
    printed: frozenset[UUID] = frozenset()
    """Orders whose fingerprint was there before the batch."""

    def fold(self, m: Message, heard: Command | Event) -> None:
        """Follow one thing heard."""
        before = self.kept.get(m.order_id)
        order, facts = decisions.decide(before.order if before else None, heard)
        received_at = before.received_at if before else m.at
        self.kept[m.order_id] = StoredOrder(order, received_at)
        self.changed[m.order_id] = m.at
        first = order.version - len(facts) + 1
        self.facts += [
            EmittedEvent(fact, m.event_id, first + i, m.traceparent) for i, fact in enumerate(facts)
        ]
        self._tell(m, heard, facts)
        self._count(m, heard, before.order if before else None, order, received_at)

    def _tell(self, m: Message, heard: Command | Event, facts: Sequence[Event]) -> None:
        if not isinstance(heard, ValidSubmission | InvalidSubmission):
            self.moments.append(
                TimelineEntry(m.order_id, m.at, SOURCES[m.topic], m.type, summary(heard))
            )
        self.moments += [
            TimelineEntry(m.order_id, m.at, "orders", fact.type, summary(fact)) for fact in facts
        ]

    def _count(
        self,
        m: Message,
        heard: Command | Event,
        before: Order | None,
        order: Order,
        received_at: datetime,
    ) -> None:
        corridor, took = (
            order.corridor or "ZZ-ZZ",
            (max(0.0, (m.at - received_at).total_seconds()), m.traceparent),
        )
        if stage := STAGE_BY_EVENT.get(type(heard)):
            self.stages.setdefault((stage, corridor), []).append(took)
        # Back from a return that was refused or in part, an order is fulfilled as it was before: one sale, one time to the end.
        again = before is not None and before.fulfilled and order.stage is decisions.Stage.FULFILLED
        if (before is None or before.stage is not order.stage) and not again:
            self.reached[order.stage, corridor] += 1
            if order.stage in decisions.ENDED:
                self.stages.setdefault(("total", corridor), []).append(took)

    async def save(self, conn: Connection, known: Collection[UUID] = ()) -> Outcome:
        """Write everything; of `known` orders, which were there before, no fact changes the terms."""
        changed = [(self.kept[order_id].order, at) for order_id, at in sorted(self.changed.items())]
        await store.save(
            conn, [each for each in changed if each[0].order_id not in known], self.printed
        )
        await store.update_progress(conn, [each for each in changed if each[0].order_id in known])
        await store.append_timeline(conn, self.moments)
        return Outcome(
            facts=self.facts, after_commit=[partial(_observe, self.reached, self.stages)]
        )


def _observe(
    reached: Mapping[tuple[str, str], int],
    stages: Mapping[tuple[str, str], Sequence[StageDuration]],
) -> None:
    for (state, corridor), count in reached.items():
        metrics.ORDERS.labels(state, corridor).inc(count)
    for (stage, corridor), all_took in stages.items():
        child = metrics.STAGE_SECONDS.labels(stage, corridor)
        # One exemplar a batch is enough to find a slow order by; each costs more than the observation itself.
        *others, (longest, traceparent) = sorted(all_took, key=lambda took: took[0])
        for seconds, _ in others:
            child.observe(seconds)
        child.observe(longest, metrics.exemplar(traceparent))


async def handle_submissions(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
    """Submissions, cancellations and return requests: validate, seal the persons, place or refuse."""
    found = await store.lock(conn, {m.order_id for m in batch}, fingerprints=True)
    folded = OrderBatch(
        found,
        printed=frozenset(order_id for order_id, each in found.items() if each.order.fingerprint),
    )
    faults = {m.event_id: validate(m.event, m.at) for m in batch if isinstance(m.event, Submitted)}
    valid = [m.event for m in batch if isinstance(m.event, Submitted) and not faults[m.event_id]]
    persons = {
        person for submitted in valid for person in persons_of(submitted.submission, deps.sealing)
    }
    keys = await deps.sealing.keys_of(conn, persons, make=True)
    for m in batch:
        if not isinstance(m.event, Submitted):
            folded.fold(m, m.event)
            continue
        known = folded.kept.get(m.order_id)
        printed = fingerprint(
            m.event, deps.sealing.digest_exact, version_of(known.order.fingerprint if known else {})
        )
        if faults[m.event_id]:
            folded.fold(m, _invalid(m.event, faults[m.event_id], printed, deps))
        else:
            fact = order_placed(
                m.event, *seal_persons(m.event, keys, deps.sealing), deps.probe_platform, m.at
            )
            folded.fold(m, ValidSubmission(fact, printed))
    outcome = await folded.save(conn)
    if ignored := sum(len(m.event.ignored) for m in batch if isinstance(m.event, Submitted)):
        outcome.after_commit.append(partial(metrics.IGNORED_FIELDS.labels("orders").inc, ignored))
    return outcome


def _invalid(
    submitted: Submitted, faults: tuple[Fault, ...], printed: Mapping[str, str], deps: Deps
) -> InvalidSubmission:
    corridor = corridor_of(submitted, deps.probe_platform)
    return InvalidSubmission(
        submitted.order_id, submitted.order_no, submitted.platform_code, corridor, faults, printed
    )


async def handle_events(conn: Connection, batch: Sequence[Message], _deps: Deps) -> Outcome:
    """What payments, tax and customs say of orders."""
    folded = OrderBatch(await store.lock(conn, {m.order_id for m in batch}))
    known = frozenset(folded.kept)
    for m in batch:
        folded.fold(m, m.event)
    return await folded.save(conn, known)


BILL_EVENTS: Final = frozenset(
    {
        customs.TaxBilled, customs.TaxBillCorrected, customs.TaxBillContradicted, customs.TaxBillConsolidated,
        customs.TaxBillVoided, tax.TaxBillSettled, tax.TaxBillCorrected, tax.TaxBillDisputed, tax.TaxBillDue,
        payments.TaxPaid, payments.TaxRefunded,
    }
)  # fmt: skip
"""Facts about tax bills come days after an order's end and change nothing about it: they are tax's and payments' affair."""


def events_of(module: object) -> tuple[type[Event], ...]:
    """Every fact of one publisher about an order itself."""
    kinds = (kind for kind in EVENT_TYPES.values() if kind.__module__ == module.__name__)  # type: ignore[attr-defined]
    return tuple(kind for kind in kinds if kind not in BILL_EVENTS)


FROM_SHOPS: Final = Source(
    topics.SUBMISSIONS,
    decode=decode,
    intake=True,
    alone=with_only_order,
    speaks_for=attrgetter("platform_code"),
    once=(CancelRequested, ReturnRequested),
    for_good=True,
)
SUBSCRIPTIONS: Final = Subscriptions(
    on(FROM_SHOPS, do=handle_submissions),
    on(topics.PAYMENTS, *events_of(payments), do=handle_events),
    on(topics.TAX, *events_of(tax), do=handle_events),
    on(topics.CUSTOMS, *events_of(customs), do=handle_events),
)
