"""Corrections of a tax bill: goods came back, so customs voided the bill and made another. Pure."""

from __future__ import annotations

from dataclasses import replace

from services.tax.bills.domain import BILL, Bill, BillDecision, BillState, CaseReason, settled
from services.tax.bills.terms import (
    BillTerms,
    outcome_of,
    still_withheld,
)
from shared.events.customs import TaxBillCorrected as Corrected
from shared.events.tax import (
    TaxBillCorrected,
)
from shared.money import Money


def correct(bill: Bill, event: Corrected, owed: Money, terms: BillTerms) -> BillDecision:
    """Replace the amounts of a bill that customs voided and made anew because goods came back.

    What the new bill states is owed, and the difference is allocated anew. A correction upwards is
    no correction: nothing is paid on either number until a person has looked. A bill that was
    handed over for payment is paid, so then the new number is a contradiction.
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
    """Settle a bill that was never settled before: one in dispute, or one voided while in
    dispute."""
    withheld = still_withheld(bill.withheld, bill.assessed, after.assessed)
    outcome = outcome_of(withheld, after.assessed, event.total, terms)
    if outcome is None:
        opened = () if after.state is BillState.DISPUTED else (CaseReason.FAR_OFF,)
        return BillDecision(replace(after, state=BillState.DISPUTED), opened=opened)
    after = replace(after, state=BillState.SETTLED, outcome=outcome)
    return settled(after, terms.booked_at_most, event.returns)


def is_uncorrected(bill: Bill, owed: Money, terms: BillTerms) -> bool:
    """Return whether customs bills goods that came back in time since the bill was settled."""
    return (
        owed.minor < bill.assessed.minor and bill.billed.minor - owed.minor > terms.booked_at_most
    )
