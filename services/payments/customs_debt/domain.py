"""What payments decides on tax's events: one table of (state of the due, event) to rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from services.payments.customs_debt import tax_due
from services.payments.customs_debt.allocation import LedgerPosition, allocate_difference
from services.payments.customs_debt.tax_due import TaxDue, TaxDueState
from services.payments.domain import ledger
from services.payments.domain.bank import BankCommand
from services.payments.domain.ledger import Movement
from services.payments.domain.payment import Payment
from services.payments.domain.payment_returns import refund_excess
from shared.events.tax import TaxBillCorrected, TaxBillDue, TaxBillSettled, TaxPosted, TaxRestored
from shared.money import Money
from shared.transitions import IllegalTransition
from shared.values import replace

TaxTrigger = TaxPosted | TaxRestored | TaxBillSettled | TaxBillCorrected | TaxBillDue
LEVIED_IN: Final = "CNY"
"""Tax in another currency is of an export, which owes nothing here."""


@dataclass(frozen=True)
class DebtState:
    """What the rules read of one order.

    `position` is None for orders without a return or correction: their difference needs no ledger.
    """

    payment: Payment
    due: TaxDue | None = None
    position: LedgerPosition | None = None


@dataclass(frozen=True)
class HandedOver:
    """One bill of a payment book; customs is paid once all `bills` of the book are there."""

    payment_id: UUID
    payment_book: str
    bills: int
    amount: Money


@dataclass(frozen=True)
class DebtDecision:
    """The state afterwards, and what follows.

    `demand`: tax to reserve from the deposit. `frees`: what is reserved for the order is free
    again.
    """

    state: DebtState
    movements: tuple[Movement, ...] = ()
    commands: tuple[BankCommand, ...] = ()
    demand: Money | None = None
    frees: bool = False
    handed_over: HandedOver | None = None


def decide(state: DebtState, event: TaxTrigger) -> DebtDecision:
    """Decide on one event of tax.

    Raises IllegalTransition if the order's bill does not allow it.
    """
    due_state = state.due.state if state.due is not None else None
    rule = RULES.get((due_state, type(event)))
    if rule is None:
        raise IllegalTransition(due_state or "no bill", type(event))
    return rule(state, event)


def _moved(state: DebtState, movements: tuple[Movement, ...]) -> DebtState:
    if state.position is None:
        return state
    return replace(state, position=state.position.after(movements))


def _withheld(payment: Payment, currency: str) -> Money:
    if payment.captured is None or payment.terms is None:
        return Money.zero(currency)
    return ledger.shares(payment.captured, payment.terms.tax_withheld)[1]


def _post(state: DebtState, event: TaxPosted) -> DebtDecision:
    if event.total.currency != LEVIED_IN:
        return DebtDecision(state)
    withheld = _withheld(state.payment, event.total.currency)
    movements = tax_due.owe_assessed(event, withheld)
    demand = event.total if event.total.minor else None
    return DebtDecision(_moved(state, movements), movements, demand=demand)


def _restore_unbilled(state: DebtState, event: TaxRestored) -> DebtDecision:
    if event.total.currency != LEVIED_IN:
        return DebtDecision(state)
    movements = tax_due.restore_unbilled(event)
    frees = not event.remaining.minor
    return DebtDecision(_moved(state, movements), movements, frees=frees)


def _restore(state: DebtState, event: TaxRestored) -> DebtDecision:
    if event.total.currency != LEVIED_IN:
        return DebtDecision(state)
    due, movements = tax_due.restore(_due(state), event)
    decision = _then_reallocate(state, due, movements)
    return replace(decision, frees=due.state is TaxDueState.RESTORED)


def _settle(state: DebtState, event: TaxBillSettled) -> DebtDecision:
    withheld = _withheld(state.payment, event.billed.currency)
    if state.position is not None:
        returns = max(state.position.restored, event.returns)
        return _then_reallocate(state, *tax_due.open_due(event, withheld, returns))
    due, movements = tax_due.settle(event, withheld)
    excess = tax_due.excess_of(due)
    if excess is None:
        return DebtDecision(replace(state, due=due), movements)
    refund = refund_excess(state.payment, excess)
    if refund.asks:
        due = replace(due, refunded=excess)
    after = replace(state, payment=refund.payment, due=due)
    return DebtDecision(after, movements, refund.asks)


def _correct(state: DebtState, event: TaxBillCorrected) -> DebtDecision:
    return _then_reallocate(state, *tax_due.correct(_due(state), event))


def _hand_over(state: DebtState, event: TaxBillDue) -> DebtDecision:
    due = tax_due.hand_over(_due(state), event)
    bill = HandedOver(event.payment_id, event.payment_book, event.bills, event.amount)
    return DebtDecision(replace(state, due=due), handed_over=bill)


def _then_reallocate(
    state: DebtState, due: TaxDue, movements: tuple[Movement, ...]
) -> DebtDecision:
    after = reallocate(_moved(replace(state, due=due), movements))
    return replace(after, movements=movements + after.movements)


def reallocate(state: DebtState) -> DebtDecision:
    """Allocate the difference anew, once both the refund and tax's decision on a return are
    there."""
    due, payment = state.due, state.payment
    if due is None or payment.returns < due.returns:
        return DebtDecision(state)
    position = state.position or LedgerPosition()
    allocation = allocate_difference(due, position)
    due, commands = allocation.due, tuple[BankCommand, ...]()
    if allocation.excess.minor:
        refund = refund_excess(payment, allocation.excess, due.revision)
        payment, commands = refund.payment, refund.asks
        if commands:
            due = replace(due, refunded=due.refunded + allocation.excess)
    after = DebtState(payment, due, position.after(allocation.movements))
    return DebtDecision(after, allocation.movements, commands)


def _due(state: DebtState) -> TaxDue:
    assert state.due is not None, "the table has this rule for orders with a bill only"
    return state.due


Rule = Callable[[DebtState, Any], DebtDecision]

RULES: Final[dict[tuple[TaxDueState | None, type], Rule]] = {
    (None, TaxPosted): _post,
    (None, TaxRestored): _restore_unbilled,
    (None, TaxBillSettled): _settle,
    **{(state, TaxPosted): _post for state in TaxDueState},
    **{(state, TaxRestored): _restore for state in TaxDueState},
    **{(state, TaxBillCorrected): _correct for state in TaxDueState},
    **{(state, TaxBillDue): _hand_over for state in TaxDueState},
}
"""None: the order has no bill yet. The rules refuse what `tax_due.TAX_DUE` does not allow."""
