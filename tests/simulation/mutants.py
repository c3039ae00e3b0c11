"""Ways to break the system that the simulation must see; each is a bug somebody could write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from services.customs.domain import declaration
from services.customs.domain.declaration import Declaration, State
from services.orders import domain as orders
from services.orders.legs import Tax
from services.payments.domain import payment
from services.payments.domain.payment import Decision, Payment
from services.payments.domain.payment import State as Paid
from services.payments.ledger import Entry, Purpose
from services.tax.domain import bills, case
from services.tax.domain.case import FollowedAll
from shared.events.customs import GoodsReleased, TaxBillConsolidated
from shared.events.orders import OrderUnwinding, WithdrawalAsked
from shared.events.payments import PaymentsEvent
from shared.events.tax import TaxRestored
from shared.transitions import IllegalTransition
from tests.simulation.sabotage import Sabotage


def _ends_without_waiting(order: orders.Order | None, heard: Any) -> Any:
    """Orders takes the first answer to an unwinding for both."""
    if order is not None and order.stage is orders.Stage.UNWINDING and isinstance(heard, PaymentsEvent):
        order = replace(order, tax=Tax.VOIDED)
    return orders.follow(order, heard)


def _forgets_the_refusal(order: orders.Order | None, heard: Any) -> Any:
    """Orders does not start an unwinding when the goods are sent back."""
    if order is not None and type(heard).__name__ == "ReturnShipmentOrdered":
        return order, ()
    return orders.follow(order, heard)


def _does_not_wait_for_the_bank(found: Payment | None, heard: Any) -> Decision:
    """Payments takes a capture that is under way for one that never was."""
    if found is not None and found.state is Paid.AUTHORISED and isinstance(heard, OrderUnwinding):
        return Decision(replace(found, unwinding=True))
    decision = payment.follow(found, heard)
    return replace(decision, asks=()) if found is not None and found.state is Paid.AUTHORISED and found.unwinding else decision


def _settles_twice(found: Payment | None, heard: Any) -> Decision:
    """Payments books the merchant's share at every release it hears of."""
    if found is not None and found.state is Paid.SETTLED and isinstance(heard, OrderUnwinding):
        return payment.follow(replace(found, state=Paid.CAPTURED), heard)
    return payment.follow(found, heard)


def _keeps_the_quota(cases: Mapping[Any, Any], quotas: Mapping[Any, Any], events: Sequence[Any], rules: Any) -> FollowedAll:
    """Tax forgets to give back the quota of what was released and came back."""
    after = case.follow_all(cases, quotas, events, rules)
    restored = any(isinstance(fact, TaxRestored) for facts in after.facts for fact in facts)
    return after._replace(quotas=quotas) if restored else after


def _overlooks_a_late_release(
    cases: Mapping[Any, Any], quotas: Mapping[Any, Any], events: Sequence[Any], rules: Any
) -> FollowedAll:
    """Tax has no row for a release that comes after the unwinding."""
    for event in events:
        found = cases.get(event.order_id)
        if isinstance(event, GoodsReleased) and found is not None and found.state is case.TaxState.RESTORED:
            raise IllegalTransition(found.state, type(event))
    return case.follow_all(cases, quotas, events, rules)


def _takes_the_last_document(found: Declaration | None, document: Any, match: Any) -> Any:
    """Customs makes the list anew when a waybill is repeated."""
    if found is not None and found.state is State.LODGED and type(document).__name__ == "WaybillIssued":
        return replace(found, state=State.MATCHED, waiting="declare"), ()
    return declaration.collect(found, document, match)


def _withdraws_what_is_lodged(found: Declaration | None, event: WithdrawalAsked) -> Any:
    """Customs says a list is withdrawn without asking the authority."""
    if found is not None and found.state in declaration.PENDING:
        found = replace(found, state=State.MATCHED)
    return declaration.withdraw(found, event)


def _follows_every_word(d: Declaration, heard: Any, policy: Any) -> Any:
    """Customs lets a word after the release undo it."""
    if d.state in declaration.CLEARED and heard.meaning == "detained":
        d = replace(d, state=State.ACCEPTED)
    return declaration.answer(d, heard, policy)


def _ignores_the_stop(found: Declaration | None, event: OrderUnwinding) -> Any:
    """Customs keeps collecting for an order that is being undone."""
    return found or Declaration(event.order_id), ()


def _hands_over_twice(bill: bills.Bill, heard: Any) -> Any:
    """Tax takes a bill that it handed over for one that waits."""
    if isinstance(heard, TaxBillConsolidated) and bill.state is bills.BillState.DISPUTED:
        bill = replace(bill, state=bills.BillState.SETTLED, outcome="booked")
    return bills.follow(bill, heard)


def _books_the_wrong_way(entries: Sequence[Entry]) -> list[Entry]:
    """Payments takes what was billed too much for what was billed too little."""
    wrong = (Purpose.BOOK_DIFFERENCE, Purpose.CLAIM)
    return [replace(e, amount_minor=-e.amount_minor) if e.purpose in wrong else e for e in entries]


def _pays_what_came_back(bill: bills.Bill, heard: Any) -> Any:
    """Tax pays a bill although the goods came back in time."""
    if isinstance(heard, bills.CameBack) and bill.state is bills.BillState.CONSOLIDATED:
        return bills.follow(bill, bills.TimeToPay(bill.order_id, 1))
    return bills.follow(bill, heard)


def _books_each_bill_under_one_id(entries: Sequence[Entry]) -> list[Entry]:
    """Payments books what was billed under one id for all orders, so that only the first is booked."""
    return [replace(e, txn_id=UUID(int=1)) if e.purpose is Purpose.BILL else e for e in entries]


MUTANTS: Final[dict[str, Sabotage]] = {
    "no inbox": Sabotage(inbox=False),
    "no outbox": Sabotage(outbox=False),
    "a new key at every try": Sabotage(same_key=False),
    "no fence for a lease that ran out": Sabotage(lease_fence=False),
    "orders ends without waiting": Sabotage(orders=_ends_without_waiting),
    "orders forgets a refusal": Sabotage(orders=_forgets_the_refusal),
    "payments does not wait for the bank": Sabotage(payments=_does_not_wait_for_the_bank),
    "payments leaves the merchant its share": Sabotage(payments=_settles_twice),
    "tax keeps the quota": Sabotage(tax=_keeps_the_quota),
    "tax has no row for a late release": Sabotage(tax=_overlooks_a_late_release),
    "customs lodges again for a second waybill": Sabotage(collect=_takes_the_last_document),
    "customs withdraws without asking": Sabotage(withdraw=_withdraws_what_is_lodged),
    "customs follows a contradiction": Sabotage(answer=_follows_every_word),
    "customs does not stop": Sabotage(stop=_ignores_the_stop),
    "tax settles a dispute without a person": Sabotage(bill=_hands_over_twice),
    "a difference booked the wrong way": Sabotage(book=_books_the_wrong_way),
    "a bill paid though the goods came back": Sabotage(bill=_pays_what_came_back),
    "bills booked under one id": Sabotage(book=_books_each_bill_under_one_id),
    "the deposit is never freed": Sabotage(frees=False),
}
