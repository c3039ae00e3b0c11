"""The topics tax subscribes to, and the handler of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

import orjson

from services.tax import store, weight_store
from services.tax.bills.decisions import BILL_FACTS
from services.tax.bills.handlers import handle_bills, open_claims_for_returns
from services.tax.deps import Deps
from services.tax.domain.batch import BatchDecision, decide_all
from services.tax.domain.case import TaxCase, quota_key_of
from services.tax.domain.ledger import PersonYear, Quota
from services.tax.domain.weights import is_weighed
from services.tax.rulebook.book import Rulebook
from shared import topics
from shared.database import Connection
from shared.envelope import Message
from shared.events.customs import GoodsReleased
from shared.events.orders import OrderPlaced, OrderUnwinding, ReturnAccepted
from shared.events.tax import TaxAssessed, TaxEvent
from shared.subscriptions import EmittedEvent, Outcome, Subscriptions, on


async def handle_customs(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
    billed = [m for m in batch if isinstance(m.event, BILL_FACTS)]
    if not billed:
        return await handle_orders(conn, batch, deps)
    rest = [m for m in batch if not isinstance(m.event, BILL_FACTS)]
    outcome = await handle_orders(conn, rest, deps) if rest else Outcome()
    outcome.extend(await handle_bills(conn, billed, deps.billing))
    return outcome


async def handle_orders(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
    """Assess placed orders, post released ones, void undone ones, restore returned ones; lock
    quotas."""
    cases = await store.lock(conn, {m.order_id for m in batch})
    quotas = await _lock_quotas(conn, cases, batch, deps.rules)
    returns = [m.event for m in batch if isinstance(m.event, ReturnAccepted)]
    assessed = await store.assessments(conn, {event.order_id for event in returns})
    after = decide_all(cases, quotas, [m.event for m in batch], deps.rules, assessed)
    await _save(conn, cases, after)
    if in_time := {event.order_id for event in returns if event.in_time}:
        await open_claims_for_returns(conn, in_time)
    versions = {order_id: case.version for order_id, case in cases.items()}
    return Outcome(facts=_emitted(batch, after.facts, versions))


async def _lock_quotas(
    conn: Connection, cases: Mapping[UUID, TaxCase], batch: Sequence[Message], rules: Rulebook
) -> dict[PersonYear, Quota]:
    placed = [m.event for m in batch if isinstance(m.event, OrderPlaced)]
    drawn = {quota_key_of(order) for order in placed if order.direction == "import"}
    held = {case.quota_key for case in cases.values() if case.quota_key is not None}
    quotas = await store.lock_quotas(conn, drawn, held)
    return await weight_store.with_weights(conn, quotas, _weighed(cases.values(), placed, rules))


async def _save(conn: Connection, before: Mapping[UUID, TaxCase], after: BatchDecision) -> None:
    facts = (fact for facts in after.facts for fact in facts)
    assessments = {f.order_id: f.to_json().decode() for f in facts if isinstance(f, TaxAssessed)}
    records = {
        order_id: orjson.dumps(record.as_document()).decode()
        for order_id, record in after.records.items()
    }
    changed = [case for order_id, case in after.cases.items() if case != before.get(order_id)]
    await store.save(conn, changed, assessments, records)
    await store.enter(conn, after.entries)
    await weight_store.enter(conn, after.weighed)


def _weighed(
    cases: Iterable[TaxCase], placed: Iterable[OrderPlaced], rules: Rulebook
) -> set[PersonYear]:
    """Return whose yearly weights matter: new or held goods have a weight limit of the positive
    list."""
    held = {case.quota_key for case in cases if case.weights and case.quota_key is not None}
    return held | {quota_key_of(order) for order in placed if is_weighed(order, rules)}


def _emitted(
    batch: Sequence[Message], facts: Sequence[Sequence[TaxEvent]], versions: dict[UUID, int]
) -> list[EmittedEvent]:
    emitted = []
    for m, events in zip(batch, facts, strict=True):
        for fact in events:
            versions[fact.order_id] = versions.get(fact.order_id, 0) + 1
            emitted.append(EmittedEvent(fact, m.event_id, versions[fact.order_id], m.traceparent))
    return emitted


TAX_KINDS: Final = ("duty", "consumption_tax", "vat", "parcel_tax")


SUBSCRIPTIONS: Final = Subscriptions(
    on(topics.ORDERS, OrderPlaced, OrderUnwinding, ReturnAccepted, do=handle_orders),
    on(topics.CUSTOMS, GoodsReleased, *BILL_FACTS, do=handle_customs),
)
