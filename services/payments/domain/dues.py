"""What is owed to customs for an order, set against what was withheld, until it is paid or not levied. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from services.payments import ledger
from services.payments.domain.bank import Transferred
from services.payments.ledger import Holder, Movement, Purpose
from shared.events.tax import TaxBillDue, TaxBillSettled, TaxPosted, TaxRestored
from shared.money import Money
from shared.transitions import Transitions


class DueState(StrEnum):
    """Where the payment of a tax bill stands; it ends PAID or RESTORED (not levied)."""

    SETTLED = "settled"
    DUE = "due"
    PAID = "paid"
    RESTORED = "restored"


DUE: Final = Transitions[DueState](
    {
        (DueState.SETTLED, TaxBillDue): DueState.DUE,
        (DueState.DUE, Transferred): DueState.PAID,
        (DueState.SETTLED, TaxRestored): DueState.RESTORED,
        # Handed over for payment: customs keeps its tax, whoever has the goods.
        (DueState.DUE, TaxRestored): DueState.DUE,
        (DueState.PAID, TaxRestored): DueState.PAID,
    }
)
"""How a due moves once there is one; TaxBillSettled makes it and is not in the table."""


@dataclass(frozen=True, slots=True)
class Due:
    """One order's tax bill as payments has it. `withheld` is the tax office's part of what was captured; `refunded` what of it
    went, or is on its way, back to the buyer."""

    order_id: UUID
    tax_no: str
    state: DueState
    withheld: Money
    billed: Money
    outcome: str
    merchant_code: str
    refunded: Money
    payment_id: UUID | None = None
    payment_book: str | None = None


class Followed(NamedTuple):
    """The due afterwards, and what moves."""

    due: Due
    movements: tuple[Movement, ...]


def assessed(event: TaxPosted, withheld: Money) -> tuple[Movement, ...]:
    """At the release the books owe customs what was assessed, whatever the shop withheld; between the two is suspense."""
    return _owe(Purpose.ASSESS, event.total.minor - withheld.minor, event.total.currency)


def _owe(purpose: Purpose, minor: int, currency: str) -> tuple[Movement, ...]:
    return ledger.shift(purpose, ledger.SUSPENSE, ledger.TAX_OFFICE, minor, currency)


def settled(event: TaxBillSettled, withheld: Money) -> Followed:
    """From the bill on the books owe what customs billed; what stands in suspense goes to whoever bears it.

    A refund moves when the bank has made it.
    """
    currency = event.billed.currency
    due = Due(
        event.order_id, event.tax_no, DueState.SETTLED, withheld, event.billed, event.outcome, event.merchant_code,
        Money.zero(currency),
    )  # fmt: skip
    movements = _owe(Purpose.BILL, event.billed.minor - event.assessed.minor, currency)
    difference = event.billed.minor - withheld.minor
    if event.outcome == "booked":
        movements += ledger.shift(Purpose.BOOK_DIFFERENCE, ledger.DIFFERENCE, ledger.SUSPENSE, difference, currency)
    if event.outcome == "claim":
        holder = ledger.claim_on(event.merchant_code)
        movements += ledger.shift(Purpose.CLAIM, holder, ledger.SUSPENSE, difference, currency)
    return Followed(due, movements)


def excess_of(due: Due) -> Money | None:
    """What is to go back to the buyer, None if nothing is."""
    excess = due.withheld - due.billed
    return excess if due.outcome == "refund" and excess.minor > 0 else None


def handed_over(due: Due, event: TaxBillDue) -> Due:
    return replace(due, state=DUE.next(due.state, event), payment_id=event.payment_id, payment_book=event.payment_book)


def paid(due: Due, answer: Transferred) -> Followed:
    """The bank paid customs."""
    moved = ledger.shift(Purpose.PAY_TAX, ledger.TAX_OFFICE, ledger.BANK, due.billed.minor, due.billed.currency)
    return Followed(replace(due, state=DUE.next(due.state, answer)), moved)


def restored(due: Due, event: TaxRestored) -> Followed:
    """All goods came back. What was billed is owed no more: what was withheld for it goes into suspense, out of which the
    refund takes it; what was moved beyond that moves back to who bore it.

    Once the bill was handed over the tax stays levied, and the merchant bears it: he took the goods back too late.
    """
    after = replace(due, state=DUE.next(due.state, event))
    kept = due.withheld - due.refunded
    if after.state is not DueState.RESTORED:
        merchant = ledger.claim_on(due.merchant_code)
        moved = ledger.shift(Purpose.LEVY, merchant, ledger.SUSPENSE, kept.minor, kept.currency)
        # What was withheld too much and went back with the whole refund, not by itself, is no part of what he bears.
        left = kept.minor - due.billed.minor if due.outcome == "refund" else 0
        return Followed(after, moved + ledger.shift(Purpose.CLAIM, ledger.SUSPENSE, merchant, left, kept.currency))
    difference = due.billed.minor - kept.minor
    moved = ledger.shift(Purpose.RESTORE_TAX, ledger.TAX_OFFICE, ledger.SUSPENSE, kept.minor, kept.currency)
    moved += ledger.shift(Purpose.RESTORE_DIFFERENCE, ledger.TAX_OFFICE, _bearer(due), difference, kept.currency)
    return Followed(after, moved)


def restored_unbilled(event: TaxRestored) -> tuple[Movement, ...]:
    """Goods came back before there was a bill: what was assessed on them is owed no more."""
    total = event.total
    return ledger.shift(Purpose.RESTORE_TAX, ledger.TAX_OFFICE, ledger.SUSPENSE, total.minor, total.currency, event.return_no)


def _bearer(due: Due) -> Holder:
    if due.outcome == "booked":
        return ledger.DIFFERENCE
    return ledger.claim_on(due.merchant_code) if due.outcome == "claim" else ledger.SUSPENSE


def cover(free: Money, demands: Iterable[tuple[UUID, Money]]) -> tuple[list[tuple[UUID, Money]], list[tuple[UUID, Money]]]:
    """Which demands on the deposit fit into what is free of it, in their order, and which do not: it is never overdrawn."""
    covered: list[tuple[UUID, Money]] = []
    uncovered: list[tuple[UUID, Money]] = []
    for order_id, amount in demands:
        if amount.minor <= free.minor:
            free -= amount
            covered.append((order_id, amount))
        else:
            uncovered.append((order_id, amount))
    return covered, uncovered
