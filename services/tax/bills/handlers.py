"""Handlers and timers of tax bills: customs' facts, persons' verdicts, and the days of payment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID, uuid5

from services.tax import store
from services.tax.bills import policy as bill_policy
from services.tax.bills import store as bill_store
from services.tax.bills.decisions import (
    BillBatch,
    LockedBill,
    decide_due,
    decide_verdict,
    goods_returned_before_bill,
)
from services.tax.bills.domain import BillDecision, BillState, CaseReason
from services.tax.bills.store import BillRow, OrderVerdicts
from services.tax.bills.terms import DAY_S, BillPolicy, day_begins
from shared.clock import utc_now
from shared.database import Connection
from shared.envelope import Message
from shared.subscriptions import EmittedEvent, Outcome
from shared.timer_items import Items, of_order

DUE_MAX: Final = 500
"""Bills handed over in one transaction, so that it stays short however many fall due at
midnight."""
DUE: Final = Items[BillRow]("tax", "bills", lambda row: of_order(row["order_id"]))
VERDICTS: Final = Items[OrderVerdicts]("tax", "bills", lambda verdicts: of_order(verdicts.order_id))


@dataclass(frozen=True)
class Billing:
    """What the handling of bills needs: the policy, the length of a day, and the clock."""

    policy: BillPolicy = field(default_factory=bill_policy.load)
    day_s: float = DAY_S
    now: Callable[[], datetime] = utc_now


class HasBilling(Protocol):
    """The part of the service's wiring that bills need."""

    @property
    def billing(self) -> Billing: ...


async def handle_bills(conn: Connection, batch: Sequence[Message], billing: Billing) -> Outcome:
    """Handle customs' facts about tax bills.

    They follow the release they are about, in the same partition.
    """
    ids = {m.order_id for m in batch}
    cases = await store.lock(conn, ids)
    bills = await bill_store.lock(conn, ids)
    returned = goods_returned_before_bill([m.event for m in batch], cases, bills)
    assessed = await store.assessments(conn, returned)
    first_owed = {order_id: fact.owed for order_id, fact in assessed.items()}
    decided = BillBatch(cases, bills, first_owed, billing.policy, billing.day_s)
    outcome = Outcome()
    for m in batch:
        decision, version = decided.decide(m.event)
        outcome.facts += _emitted(decision, m.event_id, version)
    await bill_store.save(conn, decided.changed())
    await bill_store.advance_versions(conn, +decided.events)
    await bill_store.close_cases(conn, decided.closed)
    await bill_store.open_cases(conn, decided.opened)
    return outcome


async def open_claims_for_returns(conn: Connection, order_ids: Collection[UUID]) -> None:
    """Open a case where goods came back in time after their bill was handed over for payment.

    A person then claims the tax back from the authority. The orders' tax cases are locked.
    """
    bills = await bill_store.lock(conn, order_ids)
    paid = {
        bill.order_id
        for bill in bills.values()
        if bill.state is BillState.DUE and bill.billed.minor
    }
    await bill_store.open_cases(conn, {(order_id, CaseReason.UNCORRECTED) for order_id in paid})


def _emitted(decision: BillDecision, cause: UUID, version: int) -> list[EmittedEvent]:
    return [
        EmittedEvent(event, cause, number)
        for number, event in enumerate(decision.events, start=version + 1)
    ]


async def settle_and_hand_over(conn: Connection, deps: HasBilling) -> Outcome:
    outcome = await _act_on_verdicts(conn)
    outcome.extend(await _hand_over_due(conn, deps.billing))
    return outcome


async def _act_on_verdicts(conn: Connection) -> Outcome:
    async def act(some: Sequence[OrderVerdicts]) -> Outcome:
        return await _settle(conn, some)

    return await VERDICTS.each(conn, await bill_store.lock_decided(conn, DUE_MAX), act)


async def _settle(conn: Connection, verdicts: Sequence[OrderVerdicts]) -> Outcome:
    outcome = Outcome()
    decisions: list[BillDecision] = []
    for each in verdicts:
        locked = None if each.bill is None else bill_store.locked_bill(each.bill)
        decision = decide_verdict(locked, dict(each.decided).get(CaseReason.FAR_OFF))
        if locked is None or decision is None:
            continue
        cause = uuid5(locked.bill.order_id, f"a person decided on {locked.bill.tax_no}")
        outcome.facts += _emitted(decision, cause, locked.version)
        decisions.append(decision)
    await _save(conn, decisions)
    await bill_store.close_cases(
        conn, [(each.order_id, reason) for each in verdicts for reason, _ in each.decided]
    )
    return outcome


async def _hand_over_due(conn: Connection, billing: Billing) -> Outcome:
    async def act(rows: Sequence[BillRow]) -> Outcome:
        return await _hand_over(conn, billing, [bill_store.locked_bill(row) for row in rows])

    return await DUE.each(conn, await bill_store.lock_due(conn, billing.now(), DUE_MAX), act)


async def _hand_over(conn: Connection, billing: Billing, due: Sequence[LockedBill]) -> Outcome:
    outcome = Outcome()
    decisions = decide_due(due, billing.policy)
    for locked, decision in zip(due, decisions, strict=True):
        cause = uuid5(locked.bill.order_id, f"the bill {locked.bill.tax_no} is due")
        outcome.facts += _emitted(decision, cause, locked.version)
    await bill_store.open_cases(conn, _cases_of(decisions))
    await _save(conn, decisions)
    return outcome


def _cases_of(decisions: Sequence[BillDecision]) -> set[tuple[UUID, CaseReason]]:
    return {(each.bill.order_id, reason) for each in decisions for reason in each.opened}


async def _save(conn: Connection, decisions: Sequence[BillDecision]) -> None:
    await bill_store.save(conn, [each.bill for each in decisions])
    events: Mapping[UUID, int] = {
        each.bill.order_id: len(each.events) for each in decisions if each.events
    }
    await bill_store.advance_versions(conn, events)


async def open_overdue_cases(conn: Connection, deps: HasBilling) -> Outcome:
    billing = deps.billing
    now = billing.now()
    terms = billing.policy.on(now.date())
    await bill_store.open_overdue(conn, now)
    await bill_store.open_missing(conn, day_begins(now, -terms.missing_on_day, billing.day_s))
    return Outcome()
