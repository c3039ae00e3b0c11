"""The payment of one order, and what a decision on it consists of."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from services.payments.domain.bank import BankCommand
from services.payments.domain.ledger import Movement
from services.payments.domain.payment_states import PaymentState
from shared.events.payments import PaymentsEvent
from shared.money import Money


@dataclass(frozen=True, slots=True)
class PaymentTerms:
    """What the order asks for; an order that was undone before it was placed has none."""

    amount: Money
    tax_withheld: Money
    merchant_code: str
    enterprise_code: str


@dataclass(frozen=True, slots=True)
class ReturnRefund:
    """The refund of one return: the price from the merchant, the tax out of suspense."""

    return_no: int
    goods: Money
    tax: Money


@dataclass(frozen=True)
class Payment:
    """One order's payment. `version` counts its events; `unwinding`: the order is being undone.

    `refunded`: all that went back so far. `returning`: the refund of a return that the bank owes.
    `excess`: tax withheld too much that the bank was asked to refund; undoing refunds the rest.
    `returns`: the last return. `written_off`: what a person decided not to refund.
    `returned_tax`: the withheld tax of all returned goods, also of those that came too late.
    """

    order_id: UUID
    version: int = 0
    state: PaymentState = PaymentState.UNASKED
    unwinding: bool = False
    terms: PaymentTerms | None = None
    authorisation_no: str | None = None
    payment_no: str | None = None
    captured: Money | None = None
    refund_no: str | None = None
    refunded: Money | None = None
    returning: ReturnRefund | None = None
    excess: Money | None = None
    returns: int = 0
    written_off: Money | None = None
    returned_tax: Money | None = None


@dataclass(frozen=True)
class PaymentDecision:
    """The payment afterwards, and what follows."""

    payment: Payment
    facts: tuple[PaymentsEvent, ...] = ()
    asks: tuple[BankCommand, ...] = ()
    movements: tuple[Movement, ...] = ()


def terms_of(payment: Payment) -> PaymentTerms:
    assert payment.terms is not None, "only an order undone before it was placed has no terms"
    return payment.terms


def captured_of(payment: Payment) -> Money:
    assert payment.captured is not None, "nothing was captured"
    return payment.captured


def excess_of(payment: Payment) -> Money:
    return payment.excess or Money.zero(captured_of(payment).currency)


def left_of(payment: Payment) -> Money:
    return captured_of(payment) - excess_of(payment)


def known(number: str | None) -> str:
    assert number is not None, "the bank gave no number"
    return number
