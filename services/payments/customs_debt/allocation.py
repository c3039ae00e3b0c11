"""Who bears the difference between billed and withheld tax after a return or a corrected bill."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from services.payments.customs_debt.tax_due import TaxDue, TaxDueState
from services.payments.domain import ledger
from services.payments.domain.ledger import Account, Movement, Purpose
from shared.money import Money


@dataclass(frozen=True, slots=True)
class LedgerPosition:
    """The balances of one order between withheld and billed, in minor units, debits positive.

    `refunded`: tax that went back to the buyer because too much was withheld. `restored`: the last
    return whose tax was taken back before there was a bill.
    """

    suspense: int = 0
    difference: int = 0
    claim: int = 0
    refunded: int = 0
    restored: int = 0

    def after(self, movements: tuple[Movement, ...]) -> LedgerPosition:
        position = self
        for m in movements:
            position = position.plus(m.debit.account, m.amount.minor, m.purpose, m.part)
            position = position.plus(m.credit.account, -m.amount.minor, m.purpose, m.part)
        return position

    def plus(self, account: Account, minor: int, purpose: Purpose, part: int) -> LedgerPosition:
        restored = max(self.restored, part) if purpose is Purpose.RESTORE_TAX else self.restored
        after = replace(self, restored=restored)
        match account:
            case Account.TAX_SUSPENSE:
                refunded = minor if purpose is Purpose.REFUND_TAX else 0
                return replace(
                    after, suspense=self.suspense + minor, refunded=self.refunded + refunded
                )
            case Account.TAX_DIFFERENCE:
                return replace(after, difference=self.difference + minor)
            case Account.MERCHANT_CLAIM:
                return replace(after, claim=self.claim + minor)
        return after


class Allocation(NamedTuple):
    """The due afterwards, the movements, and the further excess to refund to the buyer."""

    due: TaxDue
    movements: tuple[Movement, ...]
    excess: Money


class _Shares(NamedTuple):
    """Minor units that we bear, that the merchant bears, and that the buyer gets back."""

    ours: int = 0
    merchant: int = 0
    excess: int = 0


def allocate_difference(due: TaxDue, position: LedgerPosition) -> Allocation:
    """Allocate the difference between billed and still withheld tax to whoever bears it.

    Computed from the ledger, so the result does not depend on the order in which return, tax
    decision and bill arrive. Differences that we bear already stay ours.
    """
    currency, pending = due.billed.currency, due.refunded.minor - position.refunded
    between = position.suspense + position.difference + position.claim + pending
    shares = _shares(due, between)
    revision = due.revision + 1
    movements = ledger.shift(
        Purpose.BOOK_DIFFERENCE,
        ledger.DIFFERENCE,
        ledger.SUSPENSE,
        shares.ours - position.difference,
        currency,
        revision,
    )
    movements += ledger.shift(
        Purpose.CLAIM,
        ledger.claim_on(due.merchant_code),
        ledger.SUSPENSE,
        shares.merchant - position.claim,
        currency,
        revision,
    )
    if not movements and not shares.excess:
        return Allocation(due, (), Money.zero(currency))
    return Allocation(replace(due, revision=revision), movements, Money(shares.excess, currency))


def _shares(due: TaxDue, between: int) -> _Shares:
    """Split the difference: small ones are ours, missing tax is the merchant's, excess the buyer's.

    The merchant also bears tax that customs bills for returned goods and has not corrected.
    """
    if due.state is TaxDueState.RESTORED:
        return _Shares()  # nothing is owed; the suspense goes back with the goods
    if abs(between) <= due.booked_at_most:
        return _Shares(ours=between)
    if between < 0:
        return _Shares(excess=-between)
    if due.outcome != "booked":
        return _Shares(merchant=between)
    # As the first bill was booked, so that bill and return may arrive in either order.
    ours = min(max(due.billed.minor - due.withheld.minor, 0), between)
    return _Shares(ours=ours, merchant=between - ours)
