"""The ledger: each movement is a debit and a credit of the same integer amount of minor units."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from shared.identity import uuid5
from shared.money import Money


class Account(StrEnum):
    """The accounts. Debits are positive, so what we owe is a negative balance."""

    BANK_CLEARING = "bank_clearing"
    BUYER_FUNDS = "buyer_funds"
    MERCHANT_PAYABLE = "merchant_payable"
    TAX_PAYABLE = "tax_payable"
    TAX_SUSPENSE = "tax_suspense"
    TAX_DIFFERENCE = "tax_difference"
    MERCHANT_CLAIM = "merchant_claim"
    GUARANTEE_FREE = "guarantee_free"
    GUARANTEE_RESERVED = "guarantee_reserved"
    OWN_FUNDS = "own_funds"


class Purpose(StrEnum):
    """Why money moved: once an order, or once for each return, corrected bill or revision
    (`part`)."""

    CAPTURE = "capture"
    SETTLE_MERCHANT = "settle_merchant"
    SETTLE_TAX = "settle_tax"
    UNSETTLE_MERCHANT = "unsettle_merchant"
    UNSETTLE_TAX = "unsettle_tax"
    REFUND = "refund"
    ASSESS = "assess"
    BILL = "bill"
    BOOK_DIFFERENCE = "book_difference"
    CLAIM = "claim"
    REFUND_TAX = "refund_tax"
    PAY_TAX = "pay_tax"
    RESTORE_TAX = "restore_tax"
    RESERVE = "reserve"
    UNRESERVE = "unreserve"
    DEPOSIT = "deposit"
    WRITE_OFF = "write_off"
    WRITE_OFF_TAX = "write_off_tax"


@dataclass(frozen=True, slots=True)
class Holder:
    """An account, and for the accounts of merchants the merchant's code."""

    account: Account
    party: str = ""


BANK = Holder(Account.BANK_CLEARING)
BUYER = Holder(Account.BUYER_FUNDS)
TAX_OFFICE = Holder(Account.TAX_PAYABLE)
SUSPENSE = Holder(Account.TAX_SUSPENSE)
DIFFERENCE = Holder(Account.TAX_DIFFERENCE)
FREE = Holder(Account.GUARANTEE_FREE)
RESERVED = Holder(Account.GUARANTEE_RESERVED)
OWN_FUNDS = Holder(Account.OWN_FUNDS)


@dataclass(frozen=True, slots=True)
class Movement:
    """An amount above zero from `credit` to `debit`.

    `part` counts returns, corrections of a bill or revisions of an allocation from 1.
    Raises ValueError for an amount of zero or below.
    """

    purpose: Purpose
    debit: Holder
    credit: Holder
    amount: Money
    part: int = 0

    def __post_init__(self) -> None:
        if self.amount.minor <= 0:
            raise ValueError(
                f"a {self.purpose} moves {self.amount.minor} minor units: not more than none"
            )


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One row of the journal."""

    txn_id: UUID
    seq: int
    order_id: UUID
    purpose: Purpose
    account: Account
    party: str
    currency: str
    amount_minor: int
    part: int = 0


def capture(amount: Money) -> tuple[Movement, ...]:
    """Book a capture: the money is the buyer's until the goods are released."""
    return (Movement(Purpose.CAPTURE, BANK, BUYER, amount),)


def refund(amount: Money, part: int = 0) -> tuple[Movement, ...]:
    return (Movement(Purpose.REFUND, BUYER, BANK, amount, part),)


def shares(captured: Money, tax_withheld: Money) -> tuple[Money, Money]:
    """Return the merchant's and the tax office's share; tax comes first if too little was
    captured."""
    tax = min(tax_withheld, captured, key=lambda money: money.minor)
    return captured - tax, tax


def settle(captured: Money, tax_withheld: Money, merchant_code: str) -> tuple[Movement, ...]:
    """Book a release: the buyer's funds become the merchant's and the tax office's."""
    merchant, tax = shares(captured, tax_withheld)
    parts = (
        (Purpose.SETTLE_MERCHANT, BUYER, Holder(Account.MERCHANT_PAYABLE, merchant_code), merchant),
        (Purpose.SETTLE_TAX, BUYER, TAX_OFFICE, tax),
    )
    return _moved(parts)


def unsettle(goods: Money, tax: Money, merchant_code: str, part: int) -> tuple[Movement, ...]:
    """Book a return: the price goes back from the merchant, the withheld tax out of suspense.

    The debt to customs is reduced separately, on tax's event (customs_debt); either may come first.
    """
    parts = (
        (Purpose.UNSETTLE_MERCHANT, Holder(Account.MERCHANT_PAYABLE, merchant_code), BUYER, goods),
        (Purpose.UNSETTLE_TAX, SUSPENSE, BUYER, tax),
    )
    return _moved(parts, part)


def _moved(
    parts: tuple[tuple[Purpose, Holder, Holder, Money], ...], part: int = 0
) -> tuple[Movement, ...]:
    return tuple(Movement(*each, part) for each in parts if each[3].minor > 0)


def entries(cause: UUID, order_id: UUID, movement: Movement) -> tuple[JournalEntry, JournalEntry]:
    """Return the two rows of a movement; with the same `cause`, booking twice is booking once."""
    txn_id = uuid5(cause, movement.purpose)
    currency, minor = movement.amount.currency, movement.amount.minor
    debit, credit = movement.debit, movement.credit
    return (
        JournalEntry(
            txn_id,
            0,
            order_id,
            movement.purpose,
            debit.account,
            debit.party,
            currency,
            minor,
            movement.part,
        ),
        JournalEntry(
            txn_id,
            1,
            order_id,
            movement.purpose,
            credit.account,
            credit.party,
            currency,
            -minor,
            movement.part,
        ),
    )


# --- tax owed to customs, and the deposit that guarantees it


def shift(
    purpose: Purpose, debit: Holder, credit: Holder, minor: int, currency: str, part: int = 0
) -> tuple[Movement, ...]:
    """Return a movement of `minor` units; a negative amount moves the other way, zero does not
    move."""
    if minor < 0:
        debit, credit = credit, debit
    return (Movement(purpose, debit, credit, Money(abs(minor), currency), part),) if minor else ()


WRITE_OFF_ACCOUNTS: Final = (Account.OWN_FUNDS, Account.TAX_DIFFERENCE)
"""Accounts against which a person may write off a refund."""


def write_off(
    purpose: Purpose, owed: Holder, account: str | None, amount: Money, part: int
) -> tuple[Movement, ...]:
    named = Holder(Account(account)) if account else OWN_FUNDS
    return shift(purpose, owed, named, amount.minor, amount.currency, part)


def claim_on(merchant_code: str) -> Holder:
    return Holder(Account.MERCHANT_CLAIM, merchant_code)


def reserve(amount: Money) -> tuple[Movement, ...]:
    return shift(Purpose.RESERVE, RESERVED, FREE, amount.minor, amount.currency)


def unreserve(amount: Money) -> tuple[Movement, ...]:
    return shift(Purpose.UNRESERVE, FREE, RESERVED, amount.minor, amount.currency)
