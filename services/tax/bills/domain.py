"""What becomes of a tax bill: set against what was withheld and assessed, consolidated, paid or taken back. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final, Literal, NamedTuple
from uuid import UUID

from services.tax.domain.assessment import beijing_date
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

Outcome = Literal["exact", "booked", "refund", "claim"]
DAY_S: Final = 86_400.0
_BEIJING_S: Final = 8 * 3600.0


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
"""A person's word on a case: take the bill as right and let buyer or merchant bear it; bear the difference; or nothing to do."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A person took a disputed bill as right; `ours`: the house bears the difference. `owed`: what is assessed by now, where
    goods came back since."""

    ours: bool
    owed: Money | None = None


@dataclass(frozen=True, slots=True)
class TimeToPay:
    """The day of payment has come: `payment_id` pays the `bills` bills of a payment book."""

    payment_id: UUID
    bills: int


@dataclass(frozen=True, slots=True)
class CameBack:
    """The goods came back in time, so no tax is levied."""


BILL: Final = Transitions[BillState](
    {
        (BillState.SETTLED, TaxBillConsolidated): BillState.CONSOLIDATED,
        (BillState.DISPUTED, Decided): BillState.SETTLED,
        (BillState.CONSOLIDATED, TimeToPay): BillState.DUE,
        # The book is known and the dispute is not over: what is decided then is consolidated at once.
        (BillState.DISPUTED, TaxBillConsolidated): BillState.DISPUTED,
        **{
            (s, CameBack): BillState.RETURNED
            for s in (BillState.DISPUTED, BillState.SETTLED, BillState.CONSOLIDATED)
        },
        **{
            (s, TaxBillVoided): BillState.VOIDED
            for s in (BillState.DISPUTED, BillState.SETTLED, BillState.CONSOLIDATED)
        },
        # What is handed over for payment is paid; a later word on it is a contradiction, for a person.
        (BillState.DUE, TaxBillVoided): BillState.DUE,
        (BillState.DUE, CameBack): BillState.DUE,
        **{(s, TaxBillVoided): s for s in (BillState.RETURNED, BillState.VOIDED)},
        **{(s, CameBack): s for s in (BillState.RETURNED, BillState.VOIDED)},
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
class Terms:
    """The policy of a day: amounts in fen, days counted from the release."""

    booked_at_most: int
    person_above: int
    pay_on_day: int
    pay_to_day: int
    missing_on_day: int


@dataclass(frozen=True, slots=True)
class BillPolicy:
    """Terms by the day from which they hold, in order."""

    rows: tuple[tuple[date, Terms], ...]

    def on(self, day: date) -> Terms:
        """The terms of a day; the first row's before it."""
        return next(
            (terms for valid_from, terms in reversed(self.rows) if valid_from <= day),
            self.rows[0][1],
        )


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
    outcome: Outcome | None = None
    payment_book: str | None = None
    payment_id: UUID | None = None
    corrections: int = 0


class Followed(NamedTuple):
    """The bill afterwards, what tax says of it, and what becomes a person's case."""

    bill: Bill
    facts: tuple[TaxEvent, ...] = ()
    cases: tuple[CaseReason, ...] = ()


def day_begins(at: datetime, days: int, day_s: float = DAY_S) -> datetime:
    """The beginning, Beijing time, of the calendar day that is `days` days after that of `at`.

    A day lasts `day_s` seconds: 86,400 by law, less only to rehearse the law's periods.
    """
    day = (at.timestamp() + _BEIJING_S) // day_s
    return datetime.fromtimestamp((day + days) * day_s - _BEIJING_S, UTC)


def outcome_of(withheld: Money, assessed: Money, billed: Money, terms: Terms) -> Outcome | None:
    """Who bears what was billed less what was withheld; None where only a person may say.

    The buyer is the taxpayer and the shop withholds for him (财税[2016]18号 art. 1), so what was withheld too much is his; what
    was withheld too little is the withholding merchant's, whose guarantee stands for it. Amounts: house policy.
    """
    amounts = (withheld.minor, assessed.minor, billed.minor)
    if max(amounts) - min(amounts) > terms.person_above:
        return None
    return _bearer(billed.minor - withheld.minor, terms.booked_at_most)


def _bearer(difference: int, booked_at_most: int) -> Outcome:
    if difference == 0:
        return "exact"
    if abs(difference) <= booked_at_most:
        return "booked"
    return "claim" if difference > 0 else "refund"


def still_withheld(withheld: Money, assessed: Money, owed: Money) -> Money:
    """What of the withheld tax belongs to goods that did not come back, in the proportion in which tax is still owed.

    Payments knows it to the fen; here it decides only whether a person must look.
    """
    if not assessed.minor or owed == assessed:
        return withheld
    return Money(withheld.minor * owed.minor // assessed.minor, withheld.currency)


def begin(
    event: TaxBilled,
    assessed: Money,
    policy: BillPolicy,
    day_s: float = DAY_S,
    *,
    withheld: Money | None = None,
) -> Followed:
    """A bill came: settle it by rule, or leave it to a person. Days count from the release, whenever the bill came.

    `assessed` is what is owed now and `withheld` what was withheld for it, where goods came back before the bill.
    """
    withheld = event.withheld if withheld is None else withheld
    terms = policy.on(beijing_date(event.released_at))
    pay_at = day_begins(event.released_at, terms.pay_on_day, day_s)
    pay_until = day_begins(event.released_at, terms.pay_to_day + 1, day_s)
    bill = Bill(
        event.order_id, event.tax_no, BillState.SETTLED, withheld, assessed, event.total, event.merchant_code, pay_at,
        pay_until,
    )  # fmt: skip
    outcome = outcome_of(withheld, assessed, event.total, terms)
    if outcome is None:
        fact = TaxBillDisputed(
            order_id=bill.order_id,
            tax_no=bill.tax_no,
            withheld=bill.withheld,
            assessed=assessed,
            billed=bill.billed,
        )
        return Followed(replace(bill, state=BillState.DISPUTED), (fact,), (CaseReason.FAR_OFF,))
    return _settled(replace(bill, outcome=outcome), terms.booked_at_most, event.returns)


def _settled(bill: Bill, booked_at_most: int, returns: int = 0) -> Followed:
    assert bill.outcome is not None
    fact = TaxBillSettled(
        order_id=bill.order_id, tax_no=bill.tax_no, withheld=bill.withheld, assessed=bill.assessed, billed=bill.billed,
        outcome=bill.outcome, merchant_code=bill.merchant_code, booked_at_most=Money(booked_at_most, bill.billed.currency),
        returns=returns,
    )  # fmt: skip
    return Followed(bill, (fact,))


Heard = (
    TaxBilled
    | TaxBillContradicted
    | TaxBillConsolidated
    | TaxBillVoided
    | Decided
    | TimeToPay
    | CameBack
)


def follow(bill: Bill, heard: Heard) -> Followed:
    """What becomes of a bill; raises IllegalTransition for a pair that is not in the table."""
    before, state = bill.state, BILL.next(bill.state, heard)
    bill = replace(bill, state=state)
    match heard:
        case TaxBillContradicted():
            return Followed(bill, cases=(CaseReason.CONTRADICTED,))
        case TaxBillConsolidated():
            return Followed(replace(bill, payment_book=bill.payment_book or heard.payment_book))
        case TaxBillVoided() if before is BillState.DUE:
            return Followed(bill, cases=(CaseReason.VOIDED,))
        case Decided():
            return _decided(bill, heard)
        case TimeToPay():
            return _due(bill, heard)
    return Followed(bill)


def correct(bill: Bill, event: Corrected, owed: Money, terms: Terms) -> Followed:
    """Goods came back, so customs voided its bill and made another: what it says is owed, and the difference is shared out anew.

    A correction upwards is no correction: nothing is paid on either number until a person has looked. What was handed over
    for payment is paid; then the new number is a contradiction.
    """
    state = BILL.next(bill.state, event)
    if state in (BillState.DUE, BillState.RETURNED):
        cases = (CaseReason.CONTRADICTED,) if state is BillState.DUE else ()
        return Followed(replace(bill, tax_no=bill.tax_no if cases else event.tax_no, billed=bill.billed if cases else event.total),
                        cases=cases)  # fmt: skip
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
        # It was never settled, nor said to be: a dispute that goes on, or one whose bill was void before it was over.
        outcome = outcome_of(
            still_withheld(bill.withheld, bill.assessed, owed), owed, event.total, terms
        )
        if outcome is None:
            cases = () if state is BillState.DISPUTED else (CaseReason.FAR_OFF,)
            return Followed(replace(after, state=BillState.DISPUTED), cases=cases)
        return _settled(
            replace(after, state=BillState.SETTLED, outcome=outcome),
            terms.booked_at_most,
            event.returns,
        )
    fact = TaxBillCorrected(
        order_id=bill.order_id,
        tax_no=event.tax_no,
        replaces=event.replaces,
        number=after.corrections,
        billed=event.total,
        returns=event.returns,
    )
    if event.total.minor > max(bill.billed.minor, owed.minor) + terms.person_above:
        return Followed(replace(after, state=BillState.VOIDED), (fact,), (CaseReason.VOIDED,))
    return Followed(after, (fact,))


def is_uncorrected(bill: Bill, owed: Money, terms: Terms) -> bool:
    """Whether customs bills goods that came back in time since the bill was settled."""
    return (
        owed.minor < bill.assessed.minor and bill.billed.minor - owed.minor > terms.booked_at_most
    )


def _decided(bill: Bill, heard: Decided) -> Followed:
    bill = replace(bill, assessed=bill.assessed if heard.owed is None else heard.owed)
    outcome = _bearer(bill.billed.minor - bill.withheld.minor, 0)
    if heard.ours and outcome != "exact":
        outcome = "booked"
    state = BillState.SETTLED if bill.payment_book is None else BillState.CONSOLIDATED
    difference = abs(bill.billed.minor - bill.withheld.minor)
    return _settled(replace(bill, outcome=outcome, state=state), difference if heard.ours else 0)


def _due(bill: Bill, heard: TimeToPay) -> Followed:
    assert bill.payment_book is not None, "only what is in a payment book is paid"
    if not bill.billed.minor:
        return Followed(bill)
    fact = TaxBillDue(
        order_id=bill.order_id, tax_no=bill.tax_no, payment_book=bill.payment_book, payment_id=heard.payment_id, bills=heard.bills,
        amount=bill.billed,
    )  # fmt: skip
    return Followed(replace(bill, payment_id=heard.payment_id), (fact,))
