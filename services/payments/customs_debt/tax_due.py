"""The tax due to customs for one order: billed, compared with what was withheld, paid or not
levied."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from services.payments.domain import ledger
from services.payments.domain.bank import Transferred
from services.payments.domain.ledger import Movement, Purpose
from shared.events.tax import TaxBillCorrected, TaxBillDue, TaxBillSettled, TaxPosted, TaxRestored
from shared.money import Money
from shared.transitions import Transitions


class TaxDueState(StrEnum):
    """Where the payment of a tax bill stands; it ends PAID or RESTORED (not levied)."""

    SETTLED = "settled"
    DUE = "due"
    PAID = "paid"
    RESTORED = "restored"


TAX_DUE: Final = Transitions[TaxDueState](
    {
        (TaxDueState.SETTLED, TaxBillDue): TaxDueState.DUE,
        (TaxDueState.DUE, Transferred): TaxDueState.PAID,
        (TaxDueState.SETTLED, TaxRestored): TaxDueState.RESTORED,
        # Once handed over for payment, customs keeps the tax, whoever has the goods.
        (TaxDueState.DUE, TaxRestored): TaxDueState.DUE,
        (TaxDueState.PAID, TaxRestored): TaxDueState.PAID,
        (TaxDueState.SETTLED, TaxBillCorrected): TaxDueState.SETTLED,
        (TaxDueState.RESTORED, TaxBillCorrected): TaxDueState.RESTORED,
    }
)
"""The states of an existing due; TaxBillSettled creates it and is not in the table."""


@dataclass(frozen=True, slots=True)
class TaxDue:
    """One order's tax bill. `withheld` is the tax office's share of what was captured.

    `refunded`: the part of it that went, or is on its way, back to the buyer. `booked_at_most`: the
    largest difference that we bear, in minor units. `returns`: the last return whose tax is not
    levied. `revision` counts allocations of the difference between withheld and billed.
    """

    order_id: UUID
    tax_no: str
    state: TaxDueState
    withheld: Money
    billed: Money
    outcome: str
    merchant_code: str
    refunded: Money
    payment_id: UUID | None = None
    payment_book: str | None = None
    booked_at_most: int = 0
    returns: int = 0
    revision: int = 0


class DueChange(NamedTuple):
    """The due afterwards, and the movements in the ledger."""

    due: TaxDue
    movements: tuple[Movement, ...]


def owe_assessed(event: TaxPosted, withheld: Money) -> tuple[Movement, ...]:
    """Owe customs the assessed tax from the release on; the difference to `withheld` is in
    suspense."""
    return _owe(Purpose.ASSESS, event.total.minor - withheld.minor, event.total.currency)


def _owe(purpose: Purpose, minor: int, currency: str) -> tuple[Movement, ...]:
    return ledger.shift(purpose, ledger.SUSPENSE, ledger.TAX_OFFICE, minor, currency)


def settle(event: TaxBillSettled, withheld: Money) -> DueChange:
    """Owe customs the billed tax; move the suspense to whoever bears the difference.

    A refund moves later, when the bank has made it.
    """
    currency = event.billed.currency
    due, movements = open_due(event, withheld)
    difference = event.billed.minor - withheld.minor
    if event.outcome == "booked":
        movements += ledger.shift(
            Purpose.BOOK_DIFFERENCE, ledger.DIFFERENCE, ledger.SUSPENSE, difference, currency
        )
    if event.outcome == "claim":
        holder = ledger.claim_on(event.merchant_code)
        movements += ledger.shift(Purpose.CLAIM, holder, ledger.SUSPENSE, difference, currency)
    return DueChange(due, movements)


def open_due(event: TaxBillSettled, withheld: Money, returns: int = 0) -> DueChange:
    """Create the due of a bill without allocating the difference (`domain.reallocate` does)."""
    currency = event.billed.currency
    due = TaxDue(
        event.order_id,
        event.tax_no,
        TaxDueState.SETTLED,
        withheld,
        event.billed,
        event.outcome,
        event.merchant_code,
        Money.zero(currency),
        booked_at_most=event.booked_at_most.minor if event.booked_at_most else 0,
        returns=returns,
    )
    return DueChange(due, _owe(Purpose.BILL, event.billed.minor - event.assessed.minor, currency))


def correct(due: TaxDue, event: TaxBillCorrected) -> DueChange:
    """Owe the corrected bill instead of the first.

    Raises IllegalTransition once it was handed over.
    """
    state = TAX_DUE.next(due.state, event)
    if state is TaxDueState.RESTORED:
        return DueChange(replace(due, tax_no=event.tax_no, billed=event.billed), ())
    due = replace(due, returns=max(due.returns, event.returns))
    change = event.billed.minor - due.billed.minor
    moved = ledger.shift(
        Purpose.BILL, ledger.SUSPENSE, ledger.TAX_OFFICE, change, due.billed.currency, event.number
    )
    return DueChange(replace(due, tax_no=event.tax_no, billed=event.billed), moved)


def excess_of(due: TaxDue) -> Money | None:
    excess = due.withheld - due.billed
    return excess if due.outcome == "refund" and excess.minor > 0 else None


def hand_over(due: TaxDue, event: TaxBillDue) -> TaxDue:
    return replace(
        due,
        state=TAX_DUE.next(due.state, event),
        payment_id=event.payment_id,
        payment_book=event.payment_book,
    )


def pay(due: TaxDue, transfer: Transferred) -> DueChange:
    moved = ledger.shift(
        Purpose.PAY_TAX, ledger.TAX_OFFICE, ledger.BANK, due.billed.minor, due.billed.currency
    )
    return DueChange(replace(due, state=TAX_DUE.next(due.state, transfer)), moved)


def restore(due: TaxDue, event: TaxRestored) -> DueChange:
    """Apply a return of goods in time.

    If tax remains owed, the bill stands until customs corrects it. Otherwise the billed tax goes to
    suspense, and the refund takes what was withheld out of suspense. Once the bill was handed over,
    the tax stays levied and the merchant bears it: the goods came back too late.
    """
    due = replace(due, returns=max(due.returns, event.return_no))
    if event.remaining.minor:
        return DueChange(due, ())
    after = replace(due, state=TAX_DUE.next(due.state, event))
    if after.state is not TaxDueState.RESTORED:
        return DueChange(after, ())
    billed = due.billed
    moved = ledger.shift(
        Purpose.RESTORE_TAX,
        ledger.TAX_OFFICE,
        ledger.SUSPENSE,
        billed.minor,
        billed.currency,
        event.return_no,
    )
    return DueChange(after, moved)


def restore_unbilled(event: TaxRestored) -> tuple[Movement, ...]:
    """Owe no longer the tax assessed on goods that came back before there was a bill."""
    total = event.total
    return ledger.shift(
        Purpose.RESTORE_TAX,
        ledger.TAX_OFFICE,
        ledger.SUSPENSE,
        total.minor,
        total.currency,
        event.return_no,
    )
