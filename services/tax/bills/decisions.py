"""What customs' facts about tax bills mean for a batch of orders: bills, events and cases. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from services.tax.bills.corrections import correct, is_uncorrected
from services.tax.bills.domain import (
    Bill,
    BillDecision,
    BillState,
    CaseDecided,
    CaseReason,
    GoodsReturned,
    PaymentDue,
    Verdict,
    begin,
    decide,
)
from services.tax.bills.terms import BillPolicy, still_withheld
from services.tax.domain.case import TaxCase, TaxState
from shared.clock import beijing_date
from shared.events.customs import (
    TaxBillConsolidated,
    TaxBillContradicted,
    TaxBillCorrected,
    TaxBilled,
    TaxBillVoided,
)
from shared.money import Money
from shared.transitions import IllegalTransition

BillFact = TaxBilled | TaxBillCorrected | TaxBillContradicted | TaxBillConsolidated | TaxBillVoided
BILL_FACTS: Final = (
    TaxBilled,
    TaxBillCorrected,
    TaxBillContradicted,
    TaxBillConsolidated,
    TaxBillVoided,
)
OrderCase = tuple[UUID, CaseReason]


def decide_fact(
    case: TaxCase | None,
    bill: Bill | None,
    event: BillFact,
    first_owed: Money | None,
    policy: BillPolicy,
    day_s: float,
) -> BillDecision:
    """Decide what a fact of customs does to an order's bill; the order's first TaxBilled makes it.

    `first_owed` is the tax as it was assessed, where goods may have come back since.
    Raises IllegalTransition for an order without tax case, and for another fact before the bill.
    """
    if case is None:
        raise IllegalTransition("no bill", type(event))
    returned = case.state is TaxState.RESTORED
    if bill is None:
        if not isinstance(event, TaxBilled):
            raise IllegalTransition("no bill", type(event))
        decision = _first_bill(case, event, first_owed or case.total, policy, day_s)
    elif isinstance(event, TaxBillCorrected):
        decision = _correction(case, bill, event, policy)
    elif isinstance(event, TaxBillVoided) and returned:
        decision = decide(bill, GoodsReturned())
    else:
        decision = decide(bill, event)
    if decision.bill.state is BillState.VOIDED:
        return replace(decision, opened=(*decision.opened, CaseReason.VOIDED))
    return decision


def _first_bill(
    case: TaxCase, event: TaxBilled, first_owed: Money, policy: BillPolicy, day_s: float
) -> BillDecision:
    withheld = still_withheld(event.withheld, first_owed, case.total)
    decision = begin(event, case.total, policy, day_s, withheld=withheld)
    if case.state is TaxState.RESTORED:
        decision = decide(decision.bill, GoodsReturned())
    return replace(decision, closed=(CaseReason.MISSING,))


def _correction(
    case: TaxCase, bill: Bill, event: TaxBillCorrected, policy: BillPolicy
) -> BillDecision:
    decision = correct(bill, event, case.total, policy.on(beijing_date(bill.pay_at)))
    closed: tuple[CaseReason, ...] = ()
    if bill.state not in (BillState.DUE, BillState.RETURNED):
        closed = (CaseReason.CONTRADICTED, CaseReason.VOIDED)
    if decision.bill.state is BillState.SETTLED:
        closed = (*closed, CaseReason.FAR_OFF)
    return replace(decision, closed=closed)


@dataclass
class BillBatch:
    """The bills of a batch's orders, each decision on top of those before it."""

    cases: Mapping[UUID, TaxCase]
    before: Mapping[UUID, Bill]
    first_owed: Mapping[UUID, Money]
    policy: BillPolicy
    day_s: float
    bills: dict[UUID, Bill] = field(default_factory=dict)
    events: Counter[UUID] = field(default_factory=Counter)
    opened: set[OrderCase] = field(default_factory=set)
    closed: set[OrderCase] = field(default_factory=set)

    def decide(self, event: BillFact) -> tuple[BillDecision, int]:
        """Decide one fact; return the decision and the version of the tax case before it."""
        order_id = event.order_id
        case, bill = self.cases.get(order_id), self.bills.get(order_id, self.before.get(order_id))
        decision = decide_fact(
            case, bill, event, self.first_owed.get(order_id), self.policy, self.day_s
        )
        assert case is not None
        self.bills[order_id] = decision.bill
        closed = {(order_id, reason) for reason in decision.closed}
        self.closed |= closed
        self.opened = (self.opened - closed) | {(order_id, each) for each in decision.opened}
        version = case.version + self.events[order_id]
        self.events[order_id] += len(decision.events)
        return decision, version

    def changed(self) -> list[Bill]:
        return [bill for bill in self.bills.values() if bill != self.before.get(bill.order_id)]


def goods_returned_before_bill(
    events: Iterable[BillFact], cases: Mapping[UUID, TaxCase], bills: Mapping[UUID, Bill]
) -> set[UUID]:
    """Return the orders of whose goods some may have come back before their first bill.

    Such an order owes something else than was withheld.
    """
    return {
        event.order_id
        for event in events
        if isinstance(event, TaxBilled)
        and event.order_id not in bills
        and event.order_id in cases
        and event.withheld != cases[event.order_id].total
    }


class LockedBill(NamedTuple):
    """A bill locked with its tax case: the case's state and version, and the tax owed now."""

    bill: Bill
    case_state: str
    version: int
    owed: Money

    @property
    def is_returned(self) -> bool:
        return self.case_state == TaxState.RESTORED


def decide_verdict(locked: LockedBill | None, verdict: Verdict | None) -> BillDecision | None:
    """Decide what a person's verdict on a far-off bill does; None where nothing waits for one."""
    if locked is None or verdict is None or locked.bill.state is not BillState.DISPUTED:
        return None
    if locked.is_returned:
        # Decided while the goods came back: there is nothing left to settle.
        return decide(locked.bill, GoodsReturned())
    return decide(locked.bill, CaseDecided(verdict == "bear", locked.owed))


def decide_due(due: Sequence[LockedBill], policy: BillPolicy) -> list[BillDecision]:
    """Decide the bills that are due together, in their order.

    The bills of one payment book are one payment. Bills whose goods came back are left out of it.
    A bill that still charges goods which came back is paid as it is, within the term. A case is
    opened, so that a person claims the tax back.
    """
    books: dict[str, list[Bill]] = {}
    for locked in due:
        if not locked.is_returned and locked.bill.billed.minor:
            books.setdefault(locked.bill.payment_book or "", []).append(locked.bill)
    payments = {
        book: PaymentDue(_payment_id(book, bills), len(bills)) for book, bills in books.items()
    }
    nothing = PaymentDue(uuid5(NAMESPACE_URL, "nothing to pay"), 0)
    return [
        _decide_due(locked, payments.get(locked.bill.payment_book or "", nothing), policy)
        for locked in due
    ]


def _decide_due(locked: LockedBill, payment: PaymentDue, policy: BillPolicy) -> BillDecision:
    if locked.is_returned:
        return decide(locked.bill, GoodsReturned())
    decision = decide(locked.bill, payment)
    if is_uncorrected(locked.bill, locked.owed, policy.on(beijing_date(locked.bill.pay_at))):
        return replace(decision, opened=(*decision.opened, CaseReason.UNCORRECTED))
    return decision


def _payment_id(book: str, bills: Sequence[Bill]) -> UUID:
    return uuid5(NAMESPACE_URL, f"tax payment:{book}:{min(bill.order_id for bill in bills)}")
