"""What tax hears, and which reaction answers it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import orjson

from services.tax import store, weight_store
from services.tax.bills.decisions import BILL_FACTS
from services.tax.bills.handlers import handle_bills, open_claims_for_returns
from services.tax.deps import Deps
from services.tax.domain.case import PersonYear, TaxCase, decide_all, quota_key_of
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
    """Follow releases as orders are followed, then what is said of their tax bills, which come days later."""
    billed = [m for m in batch if isinstance(m.event, BILL_FACTS)]
    if not billed:
        return await handle_orders(conn, batch, deps)
    rest = [m for m in batch if not isinstance(m.event, BILL_FACTS)]
    outcome = await handle_orders(conn, rest, deps) if rest else Outcome()
    outcome.extend(await handle_bills(conn, billed, deps.billing))
    return outcome


async def handle_orders(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
    """Assess what was placed, post what was released, void what is undone, restore what came back; quotas locked meanwhile."""
    cases = await store.lock(conn, {m.order_id for m in batch})
    drawn = {
        quota_key_of(m.event)
        for m in batch
        if isinstance(m.event, OrderPlaced) and m.event.direction == "import"
    }
    held = {case.quota_key for case in cases.values() if case.quota_key is not None}
    quotas = await store.lock_quotas(conn, drawn, held)
    quotas = await weight_store.with_weights(
        conn, quotas, _weighed(cases.values(), batch, deps.rules)
    )
    assessed = await store.assessments(
        conn, {m.order_id for m in batch if isinstance(m.event, ReturnAccepted)}
    )
    after = decide_all(cases, quotas, [m.event for m in batch], deps.rules, assessed)
    assessments = {
        f.order_id: f.to_json().decode()
        for facts in after.facts
        for f in facts
        if isinstance(f, TaxAssessed)
    }
    records = {
        order_id: orjson.dumps(record.as_document()).decode()
        for order_id, record in after.records.items()
    }
    changed = [case for order_id, case in after.cases.items() if case != cases.get(order_id)]
    await store.save(conn, changed, assessments, records)
    await store.enter(conn, after.entries)
    await weight_store.enter(conn, after.weighed)
    if back := {
        m.order_id for m in batch if isinstance(m.event, ReturnAccepted) and m.event.in_time
    }:
        await open_claims_for_returns(conn, back)
    return Outcome(
        facts=list(
            _announced(
                batch, after.facts, {order_id: case.version for order_id, case in cases.items()}
            )
        )
    )


def _weighed(
    cases: Iterable[TaxCase], batch: Sequence[Message], rules: Rulebook
) -> set[PersonYear]:
    """Whose weights of a year matter: of goods that the positive list limits some are placed, or held already."""
    held = {case.quota_key for case in cases if case.weights and case.quota_key is not None}
    return held | {
        quota_key_of(m.event)
        for m in batch
        if isinstance(m.event, OrderPlaced) and is_weighed(m.event, rules)
    }


def _announced(
    batch: Sequence[Message], facts: Sequence[Sequence[TaxEvent]], versions: dict[UUID, int]
) -> Sequence[EmittedEvent]:
    """Facts with their numbers: each order's continue where its case stood before the batch."""
    found = []
    for m, said in zip(batch, facts, strict=True):
        for fact in said:
            versions[fact.order_id] = versions.get(fact.order_id, 0) + 1
            found.append(EmittedEvent(fact, m.event_id, versions[fact.order_id], m.traceparent))
    return found


TAX_KINDS: Final = ("duty", "consumption_tax", "vat", "parcel_tax")


SUBSCRIPTIONS: Final = Subscriptions(
    on(topics.ORDERS, OrderPlaced, OrderUnwinding, ReturnAccepted, do=handle_orders),
    on(topics.CUSTOMS, GoodsReleased, *BILL_FACTS, do=handle_customs),
)
