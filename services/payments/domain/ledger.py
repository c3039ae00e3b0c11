"""The books: every movement of money is a debit and a credit of the same integer amount of minor units."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from shared.identity import uuid5
from shared.money import Money


class Account(StrEnum):
    """Whose money it is. Debits are positive, so what we owe stands as a negative balance."""

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
    """Why money moved; each at most once per order, those of returns, corrected bills and what they entail once for each."""

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
    """An account, and whose part of it where it has parts (a merchant's code)."""

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
    """An amount from one holder (credited) to another (debited); always more than nothing. `part` counts returns,
    corrections of a bill or turns of sharing out from 1."""

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
    """The bank has the buyer's money for us; it is still the buyer's until the goods are released."""
    return (Movement(Purpose.CAPTURE, BANK, BUYER, amount),)


def refund(amount: Money, part: int = 0) -> tuple[Movement, ...]:
    return (Movement(Purpose.REFUND, BUYER, BANK, amount, part),)


def shares(captured: Money, tax_withheld: Money) -> tuple[Money, Money]:
    """The merchant's and the tax office's part of what was captured; tax comes first if it is too little."""
    tax = min(tax_withheld, captured, key=lambda money: money.minor)
    return captured - tax, tax


def settle(captured: Money, tax_withheld: Money, merchant_code: str) -> tuple[Movement, ...]:
    """The goods were released: the buyer's funds become the merchant's and the tax office's."""
    merchant, tax = shares(captured, tax_withheld)
    parts = (
        (Purpose.SETTLE_MERCHANT, BUYER, Holder(Account.MERCHANT_PAYABLE, merchant_code), merchant),
        (Purpose.SETTLE_TAX, BUYER, TAX_OFFICE, tax),
    )
    return _moved(parts)


def unsettle(goods: Money, tax: Money, merchant_code: str, part: int) -> tuple[Movement, ...]:
    """Goods came back: what belongs to them goes back to the buyer, the price from the merchant, the withheld tax out of
    suspense: what is owed to customs for them is taken back where tax says so (dues.py), whichever is heard first.
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
    """The two rows of a movement. `cause` is the id of what it follows from: booked twice is booked once."""
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


# --- tax: what is owed to customs, what it is set against, and the guarantee that stands for it


def shift(
    purpose: Purpose, debit: Holder, credit: Holder, minor: int, currency: str, part: int = 0
) -> tuple[Movement, ...]:
    """A movement of `minor` units from `credit` to `debit`; of a negative amount the other way, of none nothing."""
    if minor < 0:
        debit, credit = credit, debit
    return (Movement(purpose, debit, credit, Money(abs(minor), currency), part),) if minor else ()


WRITE_OFF_ACCOUNTS: Final = (Account.OWN_FUNDS, Account.TAX_DIFFERENCE)
"""Against which a person may write off what will not go back."""


def write_off(
    purpose: Purpose, owed: Holder, account: str | None, amount: Money, part: int
) -> tuple[Movement, ...]:
    """What is owed and will not be paid, by a person's word, to the account they named."""
    named = Holder(Account(account)) if account else OWN_FUNDS
    return shift(purpose, owed, named, amount.minor, amount.currency, part)


def claim_on(merchant_code: str) -> Holder:
    """What a merchant owes us from his guarantee."""
    return Holder(Account.MERCHANT_CLAIM, merchant_code)


def reserve(amount: Money) -> tuple[Movement, ...]:
    """Part of the deposit at customs stands for a release's tax."""
    return shift(Purpose.RESERVE, RESERVED, FREE, amount.minor, amount.currency)


def unreserve(amount: Money) -> tuple[Movement, ...]:
    """The tax was paid, or is not levied: its part of the deposit is free again."""
    return shift(Purpose.UNRESERVE, FREE, RESERVED, amount.minor, amount.currency)
