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
    BillTerms,
    bearer_of,
    day_begins,
    outcome_of,
    still_withheld,
)
from shared.clock import beijing_date
from shared.events.customs import TaxBillConsolidated, TaxBillContradicted, TaxBilled, TaxBillVoided
from shared.events.customs import TaxBillCorrected as Corrected
from shared.events.tax import (
    TaxBillCorrected,
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
    """One order's tax bill. It is handed over for payment at `pay_at`; payment is too late from `pay_until` on."""

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
        return _settled(bill, terms.booked_at_most, event.returns)
    disputed = TaxBillDisputed(
        order_id=bill.order_id,
        tax_no=bill.tax_no,
        withheld=bill.withheld,
        assessed=assessed,
        billed=bill.billed,
    )
    return BillDecision(bill, (disputed,), opened=(CaseReason.FAR_OFF,))


def _settled(bill: Bill, booked_at_most: int, returns: int = 0) -> BillDecision:
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
    """Decide what becomes of a bill; raises IllegalTransition for a pair that is not in the table."""
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


def correct(bill: Bill, event: Corrected, owed: Money, terms: BillTerms) -> BillDecision:
    """Replace the amounts of a bill that customs voided and made anew because goods came back.

    What the new bill states is owed, and the difference is allocated anew. A correction upwards is
    no correction: nothing is paid on either number until a person has looked. A bill that was handed
    over for payment is paid, so then the new number is a contradiction.
    """
    state = BILL.next(bill.state, event)
    if state is BillState.DUE:
        return BillDecision(bill, opened=(CaseReason.CONTRADICTED,))
    if state is BillState.RETURNED:
        return BillDecision(replace(bill, tax_no=event.tax_no, billed=event.total))
    after = replace(
        bill,
        state=state,
        tax_no=event.tax_no,
        billed=event.total,
        assessed=owed,
        payment_book=None,
        corrections=bill.corrections + 1,
    )
    if bill.outcome is None:
        return _settled_by_correction(bill, after, event, terms)
    corrected = TaxBillCorrected(
        order_id=bill.order_id,
        tax_no=event.tax_no,
        replaces=event.replaces,
        number=after.corrections,
        billed=event.total,
        returns=event.returns,
    )
    if event.total.minor > max(bill.billed.minor, owed.minor) + terms.person_above:
        after = replace(after, state=BillState.VOIDED)
        return BillDecision(after, (corrected,), opened=(CaseReason.VOIDED,))
    return BillDecision(after, (corrected,))


def _settled_by_correction(
    bill: Bill, after: Bill, event: Corrected, terms: BillTerms
) -> BillDecision:
    """Settle a bill that was never settled before: one in dispute, or one voided while in dispute."""
    withheld = still_withheld(bill.withheld, bill.assessed, after.assessed)
    outcome = outcome_of(withheld, after.assessed, event.total, terms)
    if outcome is None:
        opened = () if after.state is BillState.DISPUTED else (CaseReason.FAR_OFF,)
        return BillDecision(replace(after, state=BillState.DISPUTED), opened=opened)
    after = replace(after, state=BillState.SETTLED, outcome=outcome)
    return _settled(after, terms.booked_at_most, event.returns)


def is_uncorrected(bill: Bill, owed: Money, terms: BillTerms) -> bool:
    """Return whether customs bills goods that came back in time since the bill was settled."""
    return (
        owed.minor < bill.assessed.minor and bill.billed.minor - owed.minor > terms.booked_at_most
    )


def _decided(bill: Bill, decided: CaseDecided) -> BillDecision:
    bill = replace(bill, assessed=bill.assessed if decided.owed is None else decided.owed)
    outcome = bearer_of(bill.billed.minor - bill.withheld.minor, 0)
    if decided.ours and outcome != "exact":
        outcome = "booked"
    state = BillState.SETTLED if bill.payment_book is None else BillState.CONSOLIDATED
    difference = abs(bill.billed.minor - bill.withheld.minor)
    return _settled(replace(bill, outcome=outcome, state=state), difference if decided.ours else 0)


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
