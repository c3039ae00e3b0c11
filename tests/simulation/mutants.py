"""Ways to break the system that the simulation must see; each is a bug somebody could write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from services.customs.domain import cancellation, declaration, documents, replies
from services.customs.domain.declaration import Declaration, DeclarationState
from services.orders.domain import decisions as orders
from services.orders.domain.external_states import Stage, TaxStatus
from services.orders.domain.order import Order
from services.payments.domain import decisions
from services.payments.domain.ledger import JournalEntry, Purpose
from services.payments.domain.payment import Payment, PaymentDecision
from services.payments.domain.payment_states import PaymentState as Paid
from services.tax.bills import domain as bills
from services.tax.domain import batch, case
from services.tax.domain.batch import BatchDecision
from services.tax.domain.ledger import EntryKind
from shared.events.customs import (
    GoodsPartlyReturned,
    GoodsReleased,
    GoodsReturned,
    TaxBillConsolidated,
)
from shared.events.orders import OrderUnwinding, ReturnAccepted, WithdrawalAsked
from shared.events.payments import PaymentsEvent
from shared.events.tax import TaxRestored
from shared.transitions import IllegalTransition
from tests.simulation.sabotage import Sabotage


def _ends_without_waiting(order: Order | None, heard: Any) -> Any:
    """Orders takes the first answer to an unwinding for both."""
    if order is not None and order.stage is Stage.UNWINDING and isinstance(heard, PaymentsEvent):
        order = replace(order, tax=TaxStatus.VOIDED)
    return orders.decide(order, heard)


def _forgets_the_refusal(order: Order | None, heard: Any) -> Any:
    """Orders does not start an unwinding when the goods are sent back."""
    if order is not None and type(heard).__name__ == "ReturnShipmentOrdered":
        return order, ()
    return orders.decide(order, heard)


def _does_not_wait_for_the_bank(found: Payment | None, heard: Any) -> PaymentDecision:
    """Payments takes a capture that is under way for one that never was."""
    if found is not None and found.state is Paid.AUTHORISED and isinstance(heard, OrderUnwinding):
        return PaymentDecision(replace(found, unwinding=True))
    decision = decisions.decide(found, heard)
    return (
        replace(decision, asks=())
        if found is not None and found.state is Paid.AUTHORISED and found.unwinding
        else decision
    )


def _leaves_the_merchant_its_share(found: Payment | None, heard: Any) -> PaymentDecision:
    """Payments refunds what came back out of nobody's account."""
    decision = decisions.decide(found, heard)
    if isinstance(heard, ReturnAccepted):
        return replace(
            decision,
            movements=tuple(m for m in decision.movements if not m.purpose.startswith("unsettle")),
        )
    return decision


def _refunds_the_tax_of_late_goods(found: Payment | None, heard: Any) -> PaymentDecision:
    """Payments gives the withheld tax back though it stays levied."""
    return decisions.decide(
        found,
        heard.model_copy(update={"in_time": True}) if isinstance(heard, ReturnAccepted) else heard,
    )


def _forgets_what_came_back_before(found: Payment | None, heard: Any) -> PaymentDecision:
    """Payments refunds every part of a line as if it were its first."""
    if isinstance(heard, ReturnAccepted):
        lines = tuple(
            line.model_copy(update={"returned_before": Decimal(0)}) for line in heard.lines
        )
        heard = heard.model_copy(update={"lines": lines})
    return decisions.decide(found, heard)


Cases = Mapping[Any, Any]


def _keeps_the_quota(
    cases: Cases, quotas: Cases, events: Sequence[Any], rules: Any, assessed: Any
) -> BatchDecision:
    """Tax forgets to give back the quota of what was released and came back."""
    after = batch.decide_all(cases, quotas, events, rules, assessed)
    restored = any(isinstance(fact, TaxRestored) for facts in after.facts for fact in facts)
    return after._replace(quotas=quotas) if restored else after


def _restores_twice(
    cases: Cases, quotas: Cases, events: Sequence[Any], rules: Any, assessed: Any
) -> BatchDecision:
    """Tax gives the quota of what came back to the buyer's year, and once more."""
    after = batch.decide_all(cases, quotas, events, rules, assessed)
    found = dict(after.quotas)
    for entry in after.entries:
        if entry.kind is EntryKind.RESTORE:
            found[entry.key] = entry.apply(found[entry.key])
    return after._replace(quotas=found)


def _restores_late_returns(
    cases: Cases, quotas: Cases, events: Sequence[Any], rules: Any, assessed: Any
) -> BatchDecision:
    """Tax does not ask whether the goods came back in time."""
    events = [
        e.model_copy(update={"in_time": True}) if isinstance(e, ReturnAccepted) else e
        for e in events
    ]
    return batch.decide_all(cases, quotas, events, rules, assessed)


def _overlooks_a_late_release(
    cases: Cases, quotas: Cases, events: Sequence[Any], rules: Any, assessed: Any
) -> BatchDecision:
    """Tax has no row for a release that is heard of after the return."""
    for event in events:
        found = cases.get(event.order_id)
        if (
            isinstance(event, GoodsReleased)
            and found is not None
            and found.state is case.TaxState.RESTORED
        ):
            raise IllegalTransition(found.state, type(event))
    return batch.decide_all(cases, quotas, events, rules, assessed)


def _follows_a_word_on_an_earlier_list(d: Declaration, heard: Any, policy: Any) -> Any:
    """Customs takes what is said again of the list it corrected for a word on the correction."""
    return replies.apply_reply(d, replace(heard, attempt=None), policy)


def _follows_the_e_port(
    found: Declaration, heard: declaration.AuthorityReply, policy: declaration.DeclarationPolicy
) -> declaration.Decision:
    """Customs takes what the e-port could not pass on for a decision on the list."""
    return replies.apply_reply(found, replace(heard, technical=False), policy)


def _takes_the_first_return_for_all(d: Declaration, heard: Any, policy: Any) -> Any:
    """Customs says all is back when the first part is."""
    after, facts = replies.apply_reply(d, heard, policy)
    if any(type(fact) is GoodsPartlyReturned for fact in facts):
        facts = tuple(
            GoodsReturned(**dict(f)) if type(f) is GoodsPartlyReturned else f for f in facts
        )
        after = replace(after, state=DeclarationState.RETURNED)
    return after, facts


def _takes_the_last_document(found: Declaration | None, document: Any, match: Any) -> Any:
    """Customs makes the list anew when a waybill is repeated."""
    if (
        found is not None
        and found.state is DeclarationState.LODGED
        and type(document).__name__ == "WaybillIssued"
    ):
        return replace(found, state=DeclarationState.MATCHED, waiting="declare"), ()
    return documents.apply_document(found, document, match)


def _withdraws_what_is_lodged(
    found: Declaration | None, event: WithdrawalAsked, at: Any, policy: Any
) -> Any:
    """Customs says a list is withdrawn without asking the authority."""
    if found is not None and found.state in declaration.PENDING:
        found = replace(found, state=DeclarationState.MATCHED)
    return cancellation.apply_withdrawal(found, event, at, policy)


def _follows_every_word(d: Declaration, heard: Any, policy: Any) -> Any:
    """Customs lets a word after the release undo it."""
    if d.state in declaration.CLEARED and heard.meaning == "detained":
        d = replace(d, state=DeclarationState.ACCEPTED)
    return replies.apply_reply(d, heard, policy)


def _ignores_the_stop(found: Declaration | None, event: OrderUnwinding) -> Any:
    """Customs keeps collecting for an order that is being undone."""
    return found or Declaration(event.order_id), ()


def _hands_over_twice(bill: bills.Bill, heard: Any) -> Any:
    """Tax takes a bill that it handed over for one that waits."""
    if isinstance(heard, TaxBillConsolidated) and bill.state is bills.BillState.DISPUTED:
        bill = replace(bill, state=bills.BillState.SETTLED, outcome="booked")
    return bills.decide(bill, heard)


def _books_the_wrong_way(entries: Sequence[JournalEntry]) -> list[JournalEntry]:
    """Payments takes what was billed too much for what was billed too little."""
    wrong = (Purpose.BOOK_DIFFERENCE, Purpose.CLAIM)
    return [replace(e, amount_minor=-e.amount_minor) if e.purpose in wrong else e for e in entries]


def _pays_what_came_back(bill: bills.Bill, heard: Any) -> Any:
    """Tax pays a bill although the goods came back in time."""
    if isinstance(heard, bills.GoodsReturned) and bill.state is bills.BillState.CONSOLIDATED:
        return bills.decide(bill, bills.PaymentDue(bill.order_id, 1))
    return bills.decide(bill, heard)


def _books_each_bill_under_one_id(entries: Sequence[JournalEntry]) -> list[JournalEntry]:
    """Payments books what was billed under one id for all orders, so that only the
    first is booked.
    """
    return [replace(e, txn_id=UUID(int=1)) if e.purpose is Purpose.BILL else e for e in entries]


MUTANTS: Final[dict[str, Sabotage]] = {
    "no inbox": Sabotage(inbox=False),
    "no outbox": Sabotage(outbox=False),
    "a new key at every try": Sabotage(same_key=False),
    "no fence for a lease that ran out": Sabotage(lease_fence=False),
    "orders ends without waiting": Sabotage(orders=_ends_without_waiting),
    "orders forgets a refusal": Sabotage(orders=_forgets_the_refusal),
    "payments does not wait for the bank": Sabotage(payments=_does_not_wait_for_the_bank),
    "payments leaves the merchant its share": Sabotage(payments=_leaves_the_merchant_its_share),
    "payments refunds the tax of late goods": Sabotage(payments=_refunds_the_tax_of_late_goods),
    "payments forgets what came back before": Sabotage(payments=_forgets_what_came_back_before),
    "tax keeps the quota": Sabotage(tax=_keeps_the_quota),
    "tax restores a quota twice": Sabotage(tax=_restores_twice),
    "tax restores what came back late": Sabotage(tax=_restores_late_returns),
    "tax has no row for a late release": Sabotage(tax=_overlooks_a_late_release),
    "customs lodges again for a second waybill": Sabotage(collect=_takes_the_last_document),
    "customs withdraws without asking": Sabotage(withdraw=_withdraws_what_is_lodged),
    "customs follows a contradiction": Sabotage(answer=_follows_every_word),
    "customs follows a word on an earlier list": Sabotage(
        answer=_follows_a_word_on_an_earlier_list
    ),
    "customs follows the e-port's no to a message that came twice": Sabotage(
        answer=_follows_the_e_port
    ),
    "customs takes the first part for all": Sabotage(answer=_takes_the_first_return_for_all),
    "customs does not stop": Sabotage(stop=_ignores_the_stop),
    "tax settles a dispute without a person": Sabotage(bill=_hands_over_twice),
    "a difference booked the wrong way": Sabotage(book=_books_the_wrong_way),
    "a bill paid though the goods came back": Sabotage(bill=_pays_what_came_back),
    "bills booked under one id": Sabotage(book=_books_each_bill_under_one_id),
    "the deposit is never freed": Sabotage(frees=False),
    "a return leaves its tax in suspense": Sabotage(shares_out=False),
}
