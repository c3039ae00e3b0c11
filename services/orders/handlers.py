"""The subscriptions of orders and their handlers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter
from types import ModuleType
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.orders import store
from services.orders.batch import OrderBatch
from services.orders.deps import Deps
from services.orders.domain.order import InvalidSubmission, ValidSubmission
from services.orders.intake.decoding import with_only_order
from services.orders.intake.fingerprint import fingerprint, version_of
from services.orders.intake.persons import persons_of, seal_persons
from services.orders.intake.placed_order import corridor_of, order_placed
from services.orders.intake.submission import CancelRequested, ReturnRequested, Submitted
from services.orders.intake.validation import validate
from services.orders.records import decode
from shared import metrics, topics
from shared.database import Connection
from shared.envelope import Message
from shared.events import EVENT_TYPES, Event, customs, payments, tax
from shared.events.base import Fault
from shared.subscriptions import Outcome, Source, Subscriptions, on


async def handle_submissions(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
    """Validate submissions, seal their persons, place or reject; apply cancellations and
    returns."""
    orders = OrderBatch.begin(
        await store.lock(conn, {m.order_id for m in batch}, fingerprints=True)
    )
    submissions = [m for m in batch if isinstance(m.event, Submitted)]
    faults = {m.event_id: validate(m.event, m.at) for m in submissions}
    keys = await _keys_of_valid(conn, submissions, faults, deps)
    for m in batch:
        if not isinstance(m.event, Submitted):
            orders.apply(m, m.event)
            continue
        digests = fingerprint(
            m.event, deps.sealing.digest_exact, version_of(orders.fingerprint_of(m.order_id))
        )
        if faults[m.event_id]:
            orders.apply(m, _invalid(m.event, faults[m.event_id], digests, deps))
        else:
            sealed = seal_persons(m.event, keys, deps.sealing)
            placed = order_placed(m.event, *sealed, deps.probe_platform, m.at)
            orders.apply(m, ValidSubmission(placed, digests))
    outcome = await orders.save(conn)
    if ignored := sum(len(m.event.ignored) for m in submissions):
        outcome.after_commit.append(partial(metrics.IGNORED_FIELDS.labels("orders").inc, ignored))
    return outcome


async def _keys_of_valid(
    conn: Connection,
    submissions: Sequence[Message],
    faults: Mapping[UUID, Sequence[Fault]],
    deps: Deps,
) -> Mapping[UUID, AESGCM]:
    persons = {
        person
        for m in submissions
        if not faults[m.event_id]
        for person in persons_of(m.event.submission, deps.sealing)
    }
    return await deps.sealing.keys_of(conn, persons, make=True)


def _invalid(
    submitted: Submitted, faults: tuple[Fault, ...], digests: Mapping[str, str], deps: Deps
) -> InvalidSubmission:
    corridor = corridor_of(submitted, deps.probe_platform)
    return InvalidSubmission(
        submitted.order_id, submitted.order_no, submitted.platform_code, corridor, faults, digests
    )


async def handle_events(conn: Connection, batch: Sequence[Message], _deps: Deps) -> Outcome:
    orders = OrderBatch(await store.lock(conn, {m.order_id for m in batch}))
    locked = frozenset(orders.orders)
    for m in batch:
        orders.apply(m, m.event)
    return await orders.save(conn, locked)


BILL_EVENTS: Final = frozenset(
    {
        customs.TaxBilled,
        customs.TaxBillCorrected,
        customs.TaxBillContradicted,
        customs.TaxBillConsolidated,
        customs.TaxBillVoided,
        tax.TaxBillSettled,
        tax.TaxBillCorrected,
        tax.TaxBillDisputed,
        tax.TaxBillDue,
        payments.TaxPaid,
        payments.TaxRefunded,
    }
)
"""Events about tax bills. They come days after an order's end and change nothing of the order."""


def events_of(module: ModuleType) -> tuple[type[Event], ...]:
    kinds = (kind for kind in EVENT_TYPES.values() if kind.__module__ == module.__name__)
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
