"""A tax bill of customs: its states, and what each fact or decision does to it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

from services.tax.bills.terms import (
    DAY_S,
    BillOutcome,
    BillPolicy,
    bearer_of,
    day_begins,
    outcome_of,
)
from shared.clock import beijing_date
from shared.events.customs import TaxBillConsolidated, TaxBillContradicted, TaxBilled, TaxBillVoided
from shared.events.customs import TaxBillCorrected as Corrected
from shared.events.tax import (
    TaxBillDisputed,
    TaxBillDue,
    TaxBillSettled,
    TaxEvent,
)
from shared.money import Money
from shared.transitions import Transitions


class BillState(StrEnum):
    """Where a tax bill stands; it ends DUE (handed over for payment), RETURNED or VOIDED."""

    DISPUTED = "disputed"
    SETTLED = "settled"
    CONSOLIDATED = "consolidated"
    DUE = "due"
    RETURNED = "returned"
    VOIDED = "voided"


class CaseReason(StrEnum):
    """Why a person must look at an order's tax bill."""

    FAR_OFF = "far_off"
    MISSING = "missing"
    CONTRADICTED = "contradicted"
    VOIDED = "voided"
    OVERDUE = "overdue"
    UNCORRECTED = "uncorrected"


Verdict = Literal["accept", "bear", "close"]
"""A person's decision on a case.

`accept`: the bill is right, and buyer or merchant bears the difference. `bear`: the house bears it.
`close`: there is nothing to do.
"""


@dataclass(frozen=True, slots=True)
class CaseDecided:
    """A person accepted a disputed bill; `ours`: the house bears the difference.

    `owed` is the tax assessed by now, where goods came back since.
    """

    ours: bool
    owed: Money | None = None


@dataclass(frozen=True, slots=True)
class PaymentDue:
    """The day of payment has come: `payment_id` pays the `bills` bills of a payment book."""

    payment_id: UUID
    bills: int


@dataclass(frozen=True, slots=True)
class GoodsReturned:
    """The goods came back in time, so no tax is levied."""


BILL: Final = Transitions[BillState](
    {
        (BillState.SETTLED, TaxBillConsolidated): BillState.CONSOLIDATED,
        (BillState.DISPUTED, CaseDecided): BillState.SETTLED,
        (BillState.CONSOLIDATED, PaymentDue): BillState.DUE,
        # The book is known and the dispute is not over: once decided, the bill is consolidated.
        (BillState.DISPUTED, TaxBillConsolidated): BillState.DISPUTED,
        **{
            (s, GoodsReturned): BillState.RETURNED
            for s in (BillState.DISPUTED, BillState.SETTLED, BillState.CONSOLIDATED)
        },
        **{
            (s, TaxBillVoided): BillState.VOIDED
            for s in (BillState.DISPUTED, BillState.SETTLED, BillState.CONSOLIDATED)
        },
        # A bill handed over for payment is paid; a later fact contradicts it and needs a person.
        (BillState.DUE, TaxBillVoided): BillState.DUE,
        (BillState.DUE, GoodsReturned): BillState.DUE,
        **{(s, TaxBillVoided): s for s in (BillState.RETURNED, BillState.VOIDED)},
        **{(s, GoodsReturned): s for s in (BillState.RETURNED, BillState.VOIDED)},
        **{
            (s, TaxBillConsolidated): s
            for s in (BillState.CONSOLIDATED, BillState.DUE, BillState.RETURNED, BillState.VOIDED)
        },
        # Goods came back, so customs made another bill; it is not in a payment book yet.
        **{
            (s, Corrected): BillState.SETTLED
            for s in (BillState.SETTLED, BillState.CONSOLIDATED, BillState.VOIDED)
        },
        **{(s, Corrected): s for s in (BillState.DISPUTED, BillState.DUE, BillState.RETURNED)},
        **{(s, TaxBilled): s for s in BillState},
        **{(s, TaxBillContradicted): s for s in BillState},
    }
)
"""How a bill moves once there is one; the first TaxBilled makes it and is not in the table."""


@dataclass(frozen=True, slots=True)
class Bill:
    """One order's tax bill.

    It is handed over for payment at `pay_at`. Payment is too late from `pay_until` on.
    """

    order_id: UUID
    tax_no: str
    state: BillState
    withheld: Money
    assessed: Money
    billed: Money
    merchant_code: str
    pay_at: datetime
    pay_until: datetime
    outcome: BillOutcome | None = None
    payment_book: str | None = None
    payment_id: UUID | None = None
    corrections: int = 0


@dataclass(frozen=True, slots=True)
class BillDecision:
    """A bill after an input, the events that tax publishes, and the cases that open and close."""

    bill: Bill
    events: tuple[TaxEvent, ...] = ()
    opened: tuple[CaseReason, ...] = ()
    closed: tuple[CaseReason, ...] = ()


def begin(
    event: TaxBilled,
    assessed: Money,
    policy: BillPolicy,
    day_s: float = DAY_S,
    *,
    withheld: Money | None = None,
) -> BillDecision:
    """Settle a new bill by rule, or leave it to a person. Days count from the release of the goods.

    `assessed` is the tax owed now. `withheld` is what was withheld for it, where goods came back
    before the bill.
    """
    withheld = event.withheld if withheld is None else withheld
    terms = policy.on(beijing_date(event.released_at))
    outcome = outcome_of(withheld, assessed, event.total, terms)
    bill = Bill(
        order_id=event.order_id,
        tax_no=event.tax_no,
        state=BillState.SETTLED if outcome else BillState.DISPUTED,
        withheld=withheld,
        assessed=assessed,
        billed=event.total,
        merchant_code=event.merchant_code,
        pay_at=day_begins(event.released_at, terms.pay_on_day, day_s),
        pay_until=day_begins(event.released_at, terms.pay_to_day + 1, day_s),
        outcome=outcome,
    )
    if outcome is not None:
        return settled(bill, terms.booked_at_most, event.returns)
    disputed = TaxBillDisputed(
        order_id=bill.order_id,
        tax_no=bill.tax_no,
        withheld=bill.withheld,
        assessed=assessed,
        billed=bill.billed,
    )
    return BillDecision(bill, (disputed,), opened=(CaseReason.FAR_OFF,))


def settled(bill: Bill, booked_at_most: int, returns: int = 0) -> BillDecision:
    assert bill.outcome is not None
    settled = TaxBillSettled(
        order_id=bill.order_id,
        tax_no=bill.tax_no,
        withheld=bill.withheld,
        assessed=bill.assessed,
        billed=bill.billed,
        outcome=bill.outcome,
        merchant_code=bill.merchant_code,
        booked_at_most=Money(booked_at_most, bill.billed.currency),
        returns=returns,
    )
    return BillDecision(bill, (settled,))


BillInput = (
    TaxBilled
    | TaxBillContradicted
    | TaxBillConsolidated
    | TaxBillVoided
    | CaseDecided
    | PaymentDue
    | GoodsReturned
)


def decide(bill: Bill, event: BillInput) -> BillDecision:
    """Decide what becomes of a bill; raises IllegalTransition for a pair that is not in the
    table."""
    before, state = bill.state, BILL.next(bill.state, event)
    bill = replace(bill, state=state)
    match event:
        case TaxBillContradicted():
            return BillDecision(bill, opened=(CaseReason.CONTRADICTED,))
        case TaxBillConsolidated():
            return BillDecision(replace(bill, payment_book=bill.payment_book or event.payment_book))
        case TaxBillVoided() if before is BillState.DUE:
            return BillDecision(bill, opened=(CaseReason.VOIDED,))
        case CaseDecided():
            return _decided(bill, event)
        case PaymentDue():
            return _due(bill, event)
    return BillDecision(bill)


def _decided(bill: Bill, decided: CaseDecided) -> BillDecision:
    bill = replace(bill, assessed=bill.assessed if decided.owed is None else decided.owed)
    outcome = bearer_of(bill.billed.minor - bill.withheld.minor, 0)
    if decided.ours and outcome != "exact":
        outcome = "booked"
    state = BillState.SETTLED if bill.payment_book is None else BillState.CONSOLIDATED
    difference = abs(bill.billed.minor - bill.withheld.minor)
    return settled(replace(bill, outcome=outcome, state=state), difference if decided.ours else 0)


def _due(bill: Bill, payment: PaymentDue) -> BillDecision:
    assert bill.payment_book is not None, "only what is in a payment book is paid"
    if not bill.billed.minor:
        return BillDecision(bill)
    due = TaxBillDue(
        order_id=bill.order_id,
        tax_no=bill.tax_no,
        payment_book=bill.payment_book,
        payment_id=payment.payment_id,
        bills=payment.bills,
        amount=bill.billed,
    )
    return BillDecision(replace(bill, payment_id=payment.payment_id), (due,))
