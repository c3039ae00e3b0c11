"""Tax bills followed: what customs says of them, what a person decided, and the days on which they fall due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import NAMESPACE_URL, UUID, uuid5

from services.tax import store
from services.tax.bills import policy as bill_policy
from services.tax.bills import store as bill_store
from services.tax.bills.domain import (
    DAY_S,
    Bill,
    BillPolicy,
    BillState,
    CameBack,
    CaseReason,
    Decided,
    Followed,
    TimeToPay,
    begin,
    correct,
    day_begins,
    follow,
    is_uncorrected,
    still_withheld,
)
from services.tax.bills.store import InHand, Row, Verdicts
from services.tax.domain.assessment import beijing_date
from services.tax.domain.case import TaxState
from shared.database import Connection
from shared.envelope import Message
from shared.events.customs import (
    TaxBillConsolidated,
    TaxBillContradicted,
    TaxBillCorrected,
    TaxBilled,
    TaxBillVoided,
)
from shared.subscriptions import EmittedEvent, Outcome
from shared.timer_items import Items, of_order
from shared.transitions import IllegalTransition

BILL_FACTS: Final = (
    TaxBilled,
    TaxBillCorrected,
    TaxBillContradicted,
    TaxBillConsolidated,
    TaxBillVoided,
)
DUE_MAX: Final = 500
"""Bills handed over in one transaction, so that it stays short however many fall due at midnight."""
DUE: Final = Items[Row]("tax", "bills", lambda row: of_order(row["order_id"]))
VERDICTS: Final = Items[Verdicts]("tax", "bills", lambda verdicts: of_order(verdicts.order_id))


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Billing:
    """What bills are followed by: the policy, the length of a day, and the time."""

    policy: BillPolicy = field(default_factory=bill_policy.load)
    day_s: float = DAY_S
    now: Callable[[], datetime] = _utc_now


class HasBilling(Protocol):
    """The part of the service's wiring that is needed here."""

    @property
    def billing(self) -> Billing: ...


async def follow_bills(conn: Connection, batch: Sequence[Message], billing: Billing) -> Outcome:
    """Follow what customs says of tax bills; it comes behind the release it is about, in the same partition."""
    ids = {m.order_id for m in batch}
    cases = await store.lock(conn, ids)
    before = await bill_store.lock(conn, ids)
    bills = dict(before)
    # Of an order that owes something else than was withheld goods may have come back before the bill.
    unlike = {m.order_id for m in batch if isinstance(m.event, TaxBilled) and m.order_id not in before and m.order_id in cases
              and m.event.withheld != cases[m.order_id].total}  # fmt: skip
    assessed = await store.assessments(conn, unlike)
    said: Counter[UUID] = Counter()
    outcome, opened, closed = (
        Outcome(),
        set[tuple[UUID, CaseReason]](),
        set[tuple[UUID, CaseReason]](),
    )
    for m in batch:
        case, bill = cases.get(m.order_id), bills.get(m.order_id)
        if case is None or (bill is None and not isinstance(m.event, TaxBilled)):
            raise IllegalTransition("no bill", type(m.event))
        restored = case.state is TaxState.RESTORED
        if bill is None:
            at_first = assessed[m.order_id].owed if m.order_id in assessed else case.total
            withheld = still_withheld(m.event.withheld, at_first, case.total)
            followed = begin(m.event, case.total, billing.policy, billing.day_s, withheld=withheld)
            closed.add((m.order_id, CaseReason.MISSING))
            if restored:
                followed = follow(followed.bill, CameBack())
        elif isinstance(m.event, TaxBillCorrected):
            terms = billing.policy.on(beijing_date(bill.pay_at))
            followed = correct(bill, m.event, case.total, terms)
            if bill.state not in (BillState.DUE, BillState.RETURNED):
                over = {(m.order_id, CaseReason.CONTRADICTED), (m.order_id, CaseReason.VOIDED)}
                opened, closed = opened - over, closed | over
            if followed.bill.state is BillState.SETTLED:
                closed.add((m.order_id, CaseReason.FAR_OFF))
        elif isinstance(m.event, TaxBillVoided) and restored:
            followed = follow(bill, CameBack())
        else:
            followed = follow(bill, m.event)
        bills[m.order_id] = followed.bill
        opened |= {(m.order_id, reason) for reason in followed.cases}
        if followed.bill.state is BillState.VOIDED:
            opened.add((m.order_id, CaseReason.VOIDED))
        outcome.facts += _announced(followed, m.event_id, case.version + said[m.order_id])
        said[m.order_id] += len(followed.facts)
    await bill_store.save(
        conn, [bill for order_id, bill in bills.items() if bill != before.get(order_id)]
    )
    await bill_store.say(conn, +said)
    await bill_store.close_cases(conn, closed)
    await bill_store.open_cases(conn, opened)
    return outcome


async def look_at_returns(conn: Connection, order_ids: Collection[UUID]) -> None:
    """Goods came back in time after their bill was handed over for payment: a person claims the tax back from the authority.

    The orders' tax cases are locked.
    """
    bills = await bill_store.lock(conn, order_ids)
    paid = {
        bill.order_id
        for bill in bills.values()
        if bill.state is BillState.DUE and bill.billed.minor
    }
    await bill_store.open_cases(conn, {(order_id, CaseReason.UNCORRECTED) for order_id in paid})


def _announced(followed: Followed, cause: UUID, version: int) -> list[EmittedEvent]:
    return [
        EmittedEvent(fact, cause, version + number)
        for number, fact in enumerate(followed.facts, start=1)
    ]


async def tend_bills(conn: Connection, deps: HasBilling) -> Outcome:
    """Act on what persons decided, then hand over for payment what has fallen due."""
    outcome = await _act_on_verdicts(conn)
    outcome.extend(await _hand_over(conn, deps.billing))
    return outcome


async def _act_on_verdicts(conn: Connection) -> Outcome:
    async def act(some: Sequence[Verdicts]) -> Outcome:
        return await _follow_verdicts(conn, some)

    return await VERDICTS.each(conn, await bill_store.lock_decided(conn, DUE_MAX), act)


async def _follow_verdicts(conn: Connection, decided: Sequence[Verdicts]) -> Outcome:
    outcome = Outcome()
    changed: list[InHand] = []
    after: list[Followed] = []
    for each in decided:
        found = None if each.bill is None else bill_store.in_hand(each.bill)
        verdict = dict(each.decided).get(CaseReason.FAR_OFF)
        if found is None or verdict is None or found.bill.state is not BillState.DISPUTED:
            continue
        changed.append(found)
        # Decided while the goods came back: there is nothing left to settle.
        after.append(
            follow(
                found.bill,
                CameBack() if _came_back(found) else Decided(verdict == "bear", found.owed),
            )
        )
        outcome.facts += _announced(
            after[-1],
            uuid5(found.bill.order_id, f"a person decided on {found.bill.tax_no}"),
            found.version,
        )
    await _write(conn, changed, after)
    await bill_store.close_cases(
        conn, [(each.order_id, reason) for each in decided for reason, _ in each.decided]
    )
    return outcome


async def _hand_over(conn: Connection, billing: Billing) -> Outcome:
    async def act(some: Sequence[Row]) -> Outcome:
        return await _hand_over_together(conn, billing, [bill_store.in_hand(row) for row in some])

    return await DUE.each(conn, await bill_store.lock_due(conn, billing.now(), DUE_MAX), act)


async def _hand_over_together(conn: Connection, billing: Billing, due: Sequence[InHand]) -> Outcome:
    """All bills of a payment book that are due together are one payment; those whose goods came back are taken out.

    A bill that still says goods which came back is paid as it is, within the term, and a person claims the tax back.
    """
    outcome = Outcome()
    await bill_store.open_cases(conn, {
        (found.bill.order_id, CaseReason.UNCORRECTED) for found in due
        if not _came_back(found) and is_uncorrected(found.bill, found.owed, billing.policy.on(beijing_date(found.bill.pay_at)))
    })  # fmt: skip
    books: dict[str, list[Bill]] = {}
    for found in due:
        if not _came_back(found) and found.bill.billed.minor:
            books.setdefault(found.bill.payment_book or "", []).append(found.bill)
    pays = {book: TimeToPay(_payment_id(book, bills), len(bills)) for book, bills in books.items()}
    after: list[Followed] = []
    for found in due:
        pay = pays.get(found.bill.payment_book or "") or TimeToPay(
            uuid5(NAMESPACE_URL, "nothing to pay"), 0
        )
        after.append(follow(found.bill, CameBack() if _came_back(found) else pay))
        outcome.facts += _announced(
            after[-1],
            uuid5(found.bill.order_id, f"the bill {found.bill.tax_no} is due"),
            found.version,
        )
    await _write(conn, due, after)
    return outcome


def _came_back(found: InHand) -> bool:
    return found.case_state == TaxState.RESTORED


def _payment_id(book: str, bills: Sequence[Bill]) -> UUID:
    return uuid5(NAMESPACE_URL, f"tax payment:{book}:{min(bill.order_id for bill in bills)}")


async def _write(conn: Connection, before: Iterable[InHand], after: Sequence[Followed]) -> None:
    await bill_store.save(conn, [followed.bill for followed in after])
    pairs = zip(before, after, strict=True)
    await bill_store.say(
        conn,
        {found.bill.order_id: len(followed.facts) for found, followed in pairs if followed.facts},
    )


async def look_for_lapses(conn: Connection, deps: HasBilling) -> Outcome:
    """Open a case for every bill that never came and every one that was not paid in time."""
    billing = deps.billing
    now = billing.now()
    terms = billing.policy.on(now.date())
    await bill_store.open_overdue(conn, now)
    await bill_store.open_missing(conn, day_begins(now, -terms.missing_on_day, billing.day_s))
    return Outcome()
