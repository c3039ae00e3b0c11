"""What is owed to customs for an order, set against what was withheld, until it is paid or not levied. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from services.payments.domain import ledger
from services.payments.domain.bank import Transferred
from services.payments.domain.ledger import Account, JournalEntry, Movement, Purpose
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
        # Handed over for payment: customs keeps its tax, whoever has the goods.
        (TaxDueState.DUE, TaxRestored): TaxDueState.DUE,
        (TaxDueState.PAID, TaxRestored): TaxDueState.PAID,
        (TaxDueState.SETTLED, TaxBillCorrected): TaxDueState.SETTLED,
        (TaxDueState.RESTORED, TaxBillCorrected): TaxDueState.RESTORED,
    }
)
"""How a due moves once there is one; TaxBillSettled makes it and is not in the table."""


@dataclass(frozen=True, slots=True)
class TaxDue:
    """One order's tax bill as payments has it. `withheld` is the tax office's part of what was captured; `refunded` what of it
    went, or is on its way, back to the buyer.

    `booked_at_most` (minor units) is the difference that we bear; `returns` the last return of which tax said that its goods are
    not levied; `turn` counts how often what was between withheld and billed was shared out anew.
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
    turn: int = 0


@dataclass(slots=True)
class LedgerPosition:
    """What the books have of one order between withheld and billed, in minor units, debits positive.

    `refunded`: tax that went back to the buyer because it was withheld too much; `restored`: the last return whose tax was
    taken back before there was a bill.
    """

    suspense: int = 0
    difference: int = 0
    claim: int = 0
    refunded: int = 0
    restored: int = 0

    def add(self, entry: JournalEntry) -> None:
        match entry.account:
            case Account.TAX_SUSPENSE:
                self.suspense += entry.amount_minor
                if entry.purpose is Purpose.REFUND_TAX:
                    self.refunded += entry.amount_minor
            case Account.TAX_DIFFERENCE:
                self.difference += entry.amount_minor
            case Account.MERCHANT_CLAIM:
                self.claim += entry.amount_minor
        if entry.purpose is Purpose.RESTORE_TAX:
            self.restored = max(self.restored, entry.part)


class DebtDecision(NamedTuple):
    """The due afterwards, and what moves."""

    due: TaxDue
    movements: tuple[Movement, ...]


def owe_assessed(event: TaxPosted, withheld: Money) -> tuple[Movement, ...]:
    """At the release the books owe customs what was assessed, whatever the shop withheld; between the two is suspense."""
    return _owe(Purpose.ASSESS, event.total.minor - withheld.minor, event.total.currency)


def _owe(purpose: Purpose, minor: int, currency: str) -> tuple[Movement, ...]:
    return ledger.shift(purpose, ledger.SUSPENSE, ledger.TAX_OFFICE, minor, currency)


def settle(event: TaxBillSettled, withheld: Money) -> DebtDecision:
    """From the bill on the books owe what customs billed; what stands in suspense goes to whoever bears it.

    A refund moves when the bank has made it.
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
    return DebtDecision(due, movements)


def open_due(event: TaxBillSettled, withheld: Money, returns: int = 0) -> DebtDecision:
    """The bill alone, where goods came back already: who bears the difference is said by `even_out`."""
    currency = event.billed.currency
    due = TaxDue(
        event.order_id, event.tax_no, TaxDueState.SETTLED, withheld, event.billed, event.outcome, event.merchant_code,
        Money.zero(currency), booked_at_most=event.booked_at_most.minor if event.booked_at_most else 0, returns=returns,
    )  # fmt: skip
    return DebtDecision(
        due, _owe(Purpose.BILL, event.billed.minor - event.assessed.minor, currency)
    )


def correct(due: TaxDue, event: TaxBillCorrected) -> DebtDecision:
    """Customs took its bill back and made another: from now on that is owed."""
    state = TAX_DUE.next(due.state, event)
    if state is TaxDueState.RESTORED:
        return DebtDecision(replace(due, tax_no=event.tax_no, billed=event.billed), ())
    due = replace(due, returns=max(due.returns, event.returns))
    change = event.billed.minor - due.billed.minor
    moved = ledger.shift(
        Purpose.BILL, ledger.SUSPENSE, ledger.TAX_OFFICE, change, due.billed.currency, event.number
    )
    return DebtDecision(replace(due, tax_no=event.tax_no, billed=event.billed), moved)


class Allocation(NamedTuple):
    """The due afterwards, what moves, and what is to go back to the buyer besides."""

    due: TaxDue
    movements: tuple[Movement, ...]
    excess: Money


def allocate_difference(due: TaxDue, held: LedgerPosition) -> Allocation:
    """After a return or a corrected bill: what is between billed and what is still withheld goes to whoever bears it.

    It is worked out from the books, so in whatever order return, tax's word on it and the bill are heard, it ends alike. Up to
    `booked_at_most` we bear it; what was withheld too little is the merchant's, and so is what customs bills for goods that
    he took back and has not corrected; what was withheld too much is the buyer's. What we bear already we go on bearing.
    """
    currency, pending = due.billed.currency, due.refunded.minor - held.refunded
    between = held.suspense + held.difference + held.claim + pending
    ours = theirs = excess = 0
    if due.state is TaxDueState.RESTORED:
        pass  # nothing is owed, so nobody bears anything; what is in suspense goes back with the goods
    elif abs(between) <= due.booked_at_most:
        ours = between
    elif between > 0:
        # As tax said of the first bill, so that it matters not which of bill and return is heard first.
        ours = (
            min(max(due.billed.minor - due.withheld.minor, 0), between)
            if due.outcome == "booked"
            else 0
        )
        theirs = between - ours
    else:
        excess = -between
    turn = due.turn + 1
    moved = ledger.shift(
        Purpose.BOOK_DIFFERENCE,
        ledger.DIFFERENCE,
        ledger.SUSPENSE,
        ours - held.difference,
        currency,
        turn,
    )
    holder = ledger.claim_on(due.merchant_code)
    moved += ledger.shift(
        Purpose.CLAIM, holder, ledger.SUSPENSE, theirs - held.claim, currency, turn
    )
    if not moved and not excess:
        return Allocation(due, (), Money.zero(currency))
    return Allocation(replace(due, turn=turn), moved, Money(excess, currency))


def excess_of(due: TaxDue) -> Money | None:
    """What is to go back to the buyer, None if nothing is."""
    excess = due.withheld - due.billed
    return excess if due.outcome == "refund" and excess.minor > 0 else None


def hand_over(due: TaxDue, event: TaxBillDue) -> TaxDue:
    return replace(
        due,
        state=TAX_DUE.next(due.state, event),
        payment_id=event.payment_id,
        payment_book=event.payment_book,
    )


def pay(due: TaxDue, answer: Transferred) -> DebtDecision:
    """The bank paid customs."""
    moved = ledger.shift(
        Purpose.PAY_TAX, ledger.TAX_OFFICE, ledger.BANK, due.billed.minor, due.billed.currency
    )
    return DebtDecision(replace(due, state=TAX_DUE.next(due.state, answer)), moved)


def restore(due: TaxDue, event: TaxRestored) -> DebtDecision:
    """Goods came back in time. Of some of them the bill stands until customs corrects it; if nothing is owed any more, what
    was billed goes into suspense, out of which the refund takes what was withheld (`even_out` does the rest).

    Once the bill was handed over the tax stays levied, and the merchant bears it: he took the goods back too late.
    """
    due = replace(due, returns=max(due.returns, event.return_no))
    if event.remaining.minor:
        return DebtDecision(due, ())
    after = replace(due, state=TAX_DUE.next(due.state, event))
    if after.state is not TaxDueState.RESTORED:
        return DebtDecision(after, ())
    billed = due.billed
    moved = ledger.shift(
        Purpose.RESTORE_TAX,
        ledger.TAX_OFFICE,
        ledger.SUSPENSE,
        billed.minor,
        billed.currency,
        event.return_no,
    )
    return DebtDecision(after, moved)


def restore_unbilled(event: TaxRestored) -> tuple[Movement, ...]:
    """Goods came back before there was a bill: what was assessed on them is owed no more."""
    total = event.total
    return ledger.shift(
        Purpose.RESTORE_TAX,
        ledger.TAX_OFFICE,
        ledger.SUSPENSE,
        total.minor,
        total.currency,
        event.return_no,
    )


def cover(
    free: Money, demands: Sequence[tuple[UUID, Money]]
) -> tuple[list[tuple[UUID, Money]], list[tuple[UUID, Money]]]:
    """Split demands on the deposit into those that fit into what is free of it and those that wait.

    The oldest come first and are served first: behind one that does not fit all wait, however small.
    """
    for at, (_, amount) in enumerate(demands):
        if amount.minor > free.minor:
            return list(demands[:at]), list(demands[at:])
        free -= amount
    return list(demands), []
