"""The four services: the real domains, with dictionaries for tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid5

from services.orders.domain.order import InvalidSubmission, ValidSubmission
from services.orders.handlers import BILL_EVENTS
from services.orders.intake.submission import CancelRequested, ReturnRequested
from services.payments.customs_debt import tax_due
from services.payments.customs_debt.allocation import LedgerPosition
from services.payments.customs_debt.batch import DebtBatch
from services.payments.customs_debt.cover import cover
from services.payments.customs_debt.handlers import TAX_FACTS
from services.payments.customs_debt.tax_due import TaxDue
from services.payments.domain import ledger
from services.payments.domain.bank import BankCommand, BankEvent, Transfer, Transferred
from services.payments.domain.ledger import Account
from services.payments.domain.payment import PaymentDecision
from services.tax.bills import corrections
from services.tax.bills import domain as bills
from services.tax.bills import policy as bill_policy
from services.tax.bills.decisions import BILL_FACTS
from services.tax.bills.domain import Bill
from services.tax.bills.terms import DAY_S, still_withheld
from services.tax.domain.batch import BatchDecision
from services.tax.domain.case import TaxCase, TaxState
from services.tax.domain.ledger import PersonYear, Quota, QuotaEntry
from services.tax.rulebook.files import load
from shared import topics
from shared.clock import beijing_date
from shared.effects import LEASE_S
from shared.envelope import Message
from shared.events import EVENT_TYPES
from shared.events.base import Event
from shared.events.customs import CustomsEvent, GoodsReleased, TaxBillVoided
from shared.events.customs import TaxBillCorrected as CustomsCorrected
from shared.events.orders import OrderFulfilled, OrderPlaced, OrderUnwinding, ReturnAccepted
from shared.events.payments import PaymentsEvent, TaxPaid
from shared.events.tax import (
    TaxAssessed,
    TaxBillCorrected,
    TaxBillSettled,
    TaxEvent,
    TaxRefused,
    TaxRestored,
)
from shared.money import Money
from tests.simulation.broker import Broker, Record, Said, Service
from tests.simulation.customs import at
from tests.simulation.parties import Bank
from tests.simulation.sabotage import Sabotage
from tests.simulation.world import Violation, World

RULES: Final = load()
BILL_POLICY: Final = bill_policy.load()
YEAR: Final = 2026


def said_by(*bases: type[Event]) -> tuple[type[Event], ...]:
    return tuple(
        kind for kind in EVENT_TYPES.values() if issubclass(kind, bases) and kind not in BILL_EVENTS
    )


class Orders(Service):
    """orders.domain.follow."""

    name, topic = "orders", topics.ORDERS

    def __init__(self, world: World, broker: Broker, sabotage: Sabotage) -> None:
        submissions = (ValidSubmission, InvalidSubmission, CancelRequested, ReturnRequested)
        hears = {
            topics.SUBMISSIONS: submissions,
            topics.PAYMENTS: said_by(PaymentsEvent),
            topics.TAX: said_by(TaxEvent),
        }
        super().__init__(world, broker, sabotage, {**hears, topics.CUSTOMS: said_by(CustomsEvent)})
        self.ends: dict[UUID, list[str]] = {}

    def transact(self, fresh: Sequence[Record]) -> None:
        changed: dict[UUID, Any] = {}
        facts: list[Said] = []
        for event_id, event in fresh:
            order_id = event.order_id
            order, said = self.sabotage.orders(
                changed.get(order_id) or self.state.get(order_id), event
            )
            changed[order_id] = order
            first = order.version - len(said) + 1
            facts += [Said(fact, event_id, first + i) for i, fact in enumerate(said)]
        self.state.update(changed)
        self.announce(facts)

    def said(self, event: Event) -> None:
        if event.type in _ENDS:
            found = self.ends.setdefault(event.order_id, [])
            found.append(event.type)
            # A return that is refused leaves a fulfilled order fulfilled and says nothing anew.
            if len(found) > 1 and found[:-1] != [OrderFulfilled.type]:
                raise Violation(f"order {event.order_id} comes to a second end: {found}")
            if found.count(OrderFulfilled.type) > 1:
                raise Violation(f"order {event.order_id} is fulfilled twice")


_ENDS: Final = frozenset(
    f"order.{end}.v1" for end in ("fulfilled", "rejected", "cancelled", "returned")
)


@dataclass
class Deposit:
    """The deposit at customs: what of it is reserved for whom, and who waits for cover."""

    amount: int
    reserved: dict[UUID, int] = field(default_factory=dict)
    waiting: dict[UUID, Money] = field(default_factory=dict)

    @property
    def free(self) -> int:
        return self.amount - sum(self.reserved.values())


def _as_message(record: Record) -> Message:
    event = record.event
    return Message(
        record.event_id,
        event.type,
        event.order_id,
        event,
        datetime.now(UTC),
        topics.TAX,
        0,
        0,
        None,
        None,
    )


class Payments(Service):
    """payments.domain.follow, its effects, and the books."""

    name, topic = "payments", topics.PAYMENTS

    def __init__(self, world: World, broker: Broker, sabotage: Sabotage, bank: Bank) -> None:
        hears = {
            topics.ORDERS: (OrderPlaced, OrderUnwinding, ReturnAccepted),
            topics.CUSTOMS: (GoodsReleased,),
            topics.TAX: TAX_FACTS,
        }
        super().__init__(world, broker, sabotage, hears)
        self.bank = bank
        self.dues: dict[UUID, TaxDue] = {}
        self.deposit = Deposit(world.dice.choice((0, 5_000, 10**9)))
        self._gathered: dict[UUID, tuple[int, int]] = {}
        self.effects: dict[UUID, list[Any]] = {}
        self.balances: Counter[tuple[UUID, str]] = Counter()
        self.moved: Counter[tuple[UUID, str]] = Counter()
        self._booked: set[UUID] = set()
        self.held: dict[UUID, LedgerPosition] = {}

    def transact(self, fresh: Sequence[Record]) -> None:
        self._follow(
            [
                (record.event_id, record.event)
                for record in fresh
                if not isinstance(record.event, TAX_FACTS)
            ]
        )
        self._follow_tax([record for record in fresh if isinstance(record.event, TAX_FACTS)])

    def _follow_tax(self, fresh: Sequence[Record]) -> None:
        """As in customs_debt.handlers, by the same batch."""
        told = {
            r.event.order_id for r in fresh if isinstance(r.event, (TaxRestored, TaxBillCorrected))
        }
        told |= {
            r.event.order_id
            for r in fresh
            if isinstance(r.event, TaxBillSettled) and r.event.returns
        }
        told |= {o for o, payment in self.state.items() if payment.returns} | {
            o for o, held in self.held.items() if held.restored
        }
        batch = DebtBatch(
            dict(self.state),
            dict(self.dues),
            {o: self.held.get(o, LedgerPosition()) for o in told},
        )
        for record in fresh:
            batch.apply(_as_message(record))
        self.state, self.dues = batch.payments, batch.dues
        entries = self.sabotage.book(batch.entries)
        for debit, credit in zip(entries[::2], entries[1::2], strict=True):
            self._book((debit, credit))
        for ask, _ in batch.commands:
            self._instruct(ask)
        for (payment_id, book, number), amounts in batch.handed_over.items():
            seen, minor = self._gathered.get(payment_id, (0, 0))
            self._gathered[payment_id] = seen + len(amounts), minor + sum(a.minor for a in amounts)
            if self._gathered[payment_id][0] == number:
                total = Money(self._gathered[payment_id][1], "CNY")
                self._instruct(Transfer(order_id=payment_id, payment_book=book, amount=total))
        self._reserve(list(batch.uncovered_demands()))
        self._free(batch.freed)

    def _reserve(self, demands: Sequence[tuple[UUID, Money]]) -> None:
        covered, uncovered = cover(Money(self.deposit.free, "CNY"), demands)
        self.deposit.waiting |= dict(uncovered)
        for order_id, amount in covered:
            self.deposit.reserved[order_id] = amount.minor
            for movement in ledger.reserve(amount):
                self._book(ledger.entries(order_id, order_id, movement))
        if self.deposit.free < 0:
            raise Violation(f"the deposit is overdrawn by {-self.deposit.free}")

    def _free(self, order_ids: Sequence[UUID]) -> None:
        for order_id in order_ids:
            self.deposit.waiting.pop(order_id, None)
            minor = self.deposit.reserved.pop(order_id, 0) if self.sabotage.frees else 0
            for movement in ledger.unreserve(Money(minor, "CNY")):
                self._book(ledger.entries(order_id, order_id, movement))
        # What waited is covered as far as it reaches, the oldest first.
        waiting, self.deposit.waiting = dict(self.deposit.waiting), {}
        self._reserve(list(waiting.items()))

    def _paid(self, answer: Transferred) -> None:
        facts: list[Said] = []
        paid = [due for due in self.dues.values() if due.payment_id == answer.order_id]
        for due in paid:
            followed = tax_due.pay(due, answer)
            self.dues[due.order_id] = followed.due
            for movement in followed.movements:
                self._book(
                    ledger.entries(
                        uuid5(answer.order_id, str(due.order_id)), due.order_id, movement
                    )
                )
            payment = self.state[due.order_id]
            self.state[due.order_id] = replace(payment, version=payment.version + 1)
            fact = TaxPaid(
                order_id=due.order_id,
                tax_no=due.tax_no,
                payment_book="B",
                amount=due.billed,
                transfer_no=answer.transfer_no,
            )
            facts.append(Said(fact, answer.order_id, payment.version + 1))
        self._free([due.order_id for due in paid])
        self.announce(facts)

    def _follow(self, causes: Sequence[tuple[UUID, Any]]) -> None:
        changed: dict[UUID, Any] = {}
        facts: list[Said] = []
        for cause, heard in causes:
            order_id = heard.order_id
            decision: PaymentDecision = self.sabotage.payments(
                changed.get(order_id) or self.state.get(order_id), heard
            )
            changed[order_id] = decision.payment
            first = decision.payment.version - len(decision.facts) + 1
            facts += [Said(fact, cause, first + i) for i, fact in enumerate(decision.facts)]
            for movement in decision.movements:
                self._book(ledger.entries(cause, order_id, movement))
            for ask in decision.asks:
                self._instruct(ask)
        self.state.update(changed)
        for cause, heard in causes:
            if isinstance(heard, ReturnAccepted):
                self._share_out(cause, heard.order_id)
        for order_id in changed:
            self._audit(order_id)
        self.announce(facts)

    def _share_out(self, cause: UUID, order_id: UUID) -> None:
        """As customs_debt.handlers.reallocate does after the refund of a return."""
        folded = DebtBatch(
            self.state,
            dict(self.dues),
            {order_id: self.held.get(order_id, LedgerPosition())},
        )
        if self.sabotage.shares_out:
            folded.reallocate(cause, order_id, None)
        self.dues = folded.dues
        for debit, credit in zip(folded.entries[::2], folded.entries[1::2], strict=True):
            self._book((debit, credit))
        for ask, _ in folded.commands:
            self._instruct(ask)

    def _book(self, entries: Sequence[ledger.JournalEntry]) -> None:
        if sum(e.amount_minor for e in entries):
            raise Violation(f"the entries of {entries[0].purpose} do not balance")
        if entries[0].txn_id in self._booked:
            return
        self._booked.add(entries[0].txn_id)
        for entry in entries:
            self.balances[entry.order_id, entry.account] += entry.amount_minor
            held = self.held.get(entry.order_id, LedgerPosition())
            self.held[entry.order_id] = held.plus(
                entry.account, entry.amount_minor, entry.purpose, entry.part
            )
        self.moved[entries[0].order_id, entries[0].purpose] += entries[0].amount_minor

    def _audit(self, order_id: UUID) -> None:
        """After every step: what is in the bank is what the state says we took and have not given
        back.
        """
        payment = self.state[order_id]
        held = (payment.captured.minor if payment.captured else 0) - (
            payment.refunded.minor if payment.refunded else 0
        )
        booked = self.moved[order_id, "capture"] - self.moved[order_id, "refund"]
        if booked != held:
            raise Violation(f"the books of {order_id} say {booked}, its state {held}")
        if sum(self.balances[order_id, account] for account in Account):
            raise Violation(f"the books of {order_id} do not balance")
        if self.bank.captured(order_id) < self.moved[order_id, "capture"]:
            raise Violation(f"more was booked than the bank captured for {order_id}")

    # --- effects: asked outside any transaction, answered once

    def _instruct(self, ask: BankCommand) -> None:
        if ask.intent_id not in self.effects:
            self.effects[ask.intent_id] = [ask, 0]
            self.world.soon(partial(self._claim, ask.intent_id))

    def _claim(self, intent_id: UUID) -> None:
        effect = self.effects.get(intent_id)
        if effect is None:
            return
        effect[1] += 1
        ask, attempts = effect
        key = intent_id if self.sabotage.same_key else self.world.uuid()
        answer = self.bank.hear(key, ask, again=attempts > 1 and self.sabotage.same_key)
        self.world.note("bank", ask.kind, ask.order_id, attempts, type(answer).__name__)
        crashed = self.world.happens(self.world.weather.crash_before_commit)
        if answer is not None and not crashed:
            self.world.soon(partial(self._settle, intent_id, attempts, answer))
        if answer is None or crashed or self.world.happens(self.world.weather.duplicate_claim):
            # Unknown is not failed: the same key is asked after. So is one whose claimant died or
            # slept.
            self.world.after(LEASE_S if crashed else 1.0, partial(self._claim, intent_id))

    def _settle(self, intent_id: UUID, attempts: int, answer: BankEvent | Transferred) -> None:
        effect = self.effects.get(intent_id)
        stale = effect is None or effect[1] != attempts
        if stale and self.sabotage.lease_fence:
            return
        if self.world.happens(self.world.weather.crash_before_commit):
            self.world.after(LEASE_S, partial(self._claim, intent_id))
            return
        self.effects.pop(intent_id, None)
        if isinstance(answer, Transferred):
            self._paid(answer)
        else:
            self._follow([(intent_id, answer)])

    def at_rest(self) -> None:
        super().at_rest()
        if self.effects:
            raise Violation(
                f"the bank is still asked: {[effect[0].kind for effect in self.effects.values()]}"
            )


class Tax(Service):
    """tax.domain.case.decide_all over the real rulebook, and the quotas."""

    name, topic = "tax", topics.TAX

    def __init__(
        self, world: World, broker: Broker, sabotage: Sabotage, used: Mapping[UUID, int]
    ) -> None:
        hears = {
            topics.ORDERS: (OrderPlaced, OrderUnwinding, ReturnAccepted),
            topics.CUSTOMS: (GoodsReleased, *BILL_FACTS),
        }
        super().__init__(world, broker, sabotage, hears)
        self.assessed: dict[UUID, TaxAssessed] = {}
        self._entered: set[tuple[UUID, str, int]] = set()
        self.bills: dict[UUID, Bill] = {}
        self.day_s = DAY_S
        self._before = {PersonYear(person, YEAR): minor for person, minor in used.items()}
        self.quotas = {key: Quota(0, minor) for key, minor in self._before.items()}
        self.refused: set[UUID] = set()

    def transact(self, fresh: Sequence[Record]) -> None:
        self._follow_orders(
            [record for record in fresh if not isinstance(record.event, BILL_FACTS)]
        )
        for record in fresh:
            if isinstance(record.event, BILL_FACTS):
                self._follow_bill(record.event_id, record.event)

    # --- tax bills, as in bills/decisions.py

    def _follow_bill(self, cause: UUID, event: Any) -> None:
        case, bill = self.state[event.order_id], self.bills.get(event.order_id)
        back = case.state is TaxState.RESTORED
        if bill is None:
            at_first = (
                self.assessed[event.order_id].owed if event.withheld != case.total else case.total
            )
            withheld = still_withheld(event.withheld, at_first, case.total)
            decision = bills.begin(event, case.total, BILL_POLICY, self.day_s, withheld=withheld)
            if back:
                decision = bills.decide(decision.bill, bills.GoodsReturned())
        elif isinstance(event, CustomsCorrected):
            decision = corrections.correct(
                bill, event, case.total, BILL_POLICY.on(beijing_date(bill.pay_at))
            )
        else:
            decision = self.sabotage.bill(
                bill, bills.GoodsReturned() if back and isinstance(event, TaxBillVoided) else event
            )
        self._keep(cause, decision)
        if decision.bill.state is bills.BillState.DISPUTED and (
            bill is None or bill.state is not bills.BillState.DISPUTED
        ):
            self.world.after(
                self.world.dice.random() * 60 * self.day_s, partial(self._decide, event.order_id)
            )
        if decision.bill.state is bills.BillState.CONSOLIDATED:
            self._when_due(decision.bill)

    def _keep(self, cause: UUID, decision: bills.BillDecision) -> None:
        order_id = decision.bill.order_id
        case = self.state[order_id]
        self.bills[order_id] = decision.bill
        self.state[order_id] = replace(case, version=case.version + len(decision.events))
        self.announce(
            [Said(fact, cause, case.version + n) for n, fact in enumerate(decision.events, start=1)]
        )

    def _decide(self, order_id: UUID) -> None:
        """A person looks at a bill that is far off."""
        if self.bills[order_id].state is bills.BillState.DISPUTED:
            back = self.state[order_id].state is TaxState.RESTORED
            word = (
                bills.GoodsReturned()
                if back
                else bills.CaseDecided(self.world.dice.random() < 0.5, self.state[order_id].total)
            )
            cause = uuid5(order_id, f"a person decided on {self.bills[order_id].tax_no}")
            self._keep(cause, self.sabotage.bill(self.bills[order_id], word))
            if self.bills[order_id].state is bills.BillState.CONSOLIDATED:
                self._when_due(self.bills[order_id])

    def _when_due(self, bill: Bill) -> None:
        self.world.after(
            max(0.0, (bill.pay_at - at(self.world)).total_seconds()) + 0.1, self._hand_over
        )

    def _hand_over(self) -> None:
        if self.world.happens(self.world.weather.crash_before_commit):
            self.world.after(1.0, self._hand_over)
            return
        due = [
            b
            for b in self.bills.values()
            if b.state is bills.BillState.CONSOLIDATED and b.pay_at <= at(self.world)
        ]
        back = {b.order_id for b in due if self.state[b.order_id].state is TaxState.RESTORED}
        pay = bills.PaymentDue(
            self.world.uuid(), sum(1 for b in due if b.order_id not in back and b.billed.minor)
        )
        for bill in due:
            heard = bills.GoodsReturned() if bill.order_id in back else pay
            self._keep(
                uuid5(bill.order_id, f"the bill {bill.tax_no} is due"),
                self.sabotage.bill(bill, heard),
            )

    def _follow_orders(self, fresh: Sequence[Record]) -> None:
        events = [record.event for record in fresh]
        cases = {e.order_id: self.state[e.order_id] for e in events if e.order_id in self.state}
        after: BatchDecision = self.sabotage.tax(cases, self.quotas, events, RULES, self.assessed)
        for entry in after.entries:
            self._enter(entry)
        versions = {order_id: case.version for order_id, case in cases.items()}
        facts: list[Said] = []
        for record, said in zip(fresh, after.facts, strict=True):
            for fact in said:
                versions[fact.order_id] = versions.get(fact.order_id, 0) + 1
                facts.append(Said(fact, record.event_id, versions[fact.order_id]))
        self.state.update(after.cases)
        self.quotas = dict(after.quotas)
        self._audit(self.state.values())
        self.announce(facts)

    def said(self, event: Event) -> None:
        if isinstance(event, TaxRefused):
            self.refused.add(event.order_id)
        if isinstance(event, TaxAssessed):
            self.assessed[event.order_id] = event

    def _enter(self, entry: QuotaEntry) -> None:
        """The key of the ledger: each thing once per order, each return once."""
        key = (entry.order_id, entry.kind, entry.part)
        if key in self._entered or entry.amount_minor <= 0:
            raise Violation(f"the ledger of a quota is written twice or with nothing: {entry}")
        self._entered.add(key)

    def _audit(self, cases: Iterable[TaxCase]) -> None:
        """After every step: a quota is what was used before and what orders hold now, and never
        over the limit.
        """
        held = {key: [0, minor] for key, minor in self._before.items()}
        for case in cases:
            if case.quota_key is not None and case.reserved.minor:
                if case.state not in (TaxState.ASSESSED, TaxState.POSTED):
                    raise Violation(f"{case.order_id} is {case.state} and holds quota")
                held[case.quota_key][case.state is TaxState.POSTED] += case.reserved.minor
        for key, quota in self.quotas.items():
            if [quota.reserved_minor, quota.posted_minor] != held[key]:
                raise Violation(f"a quota is {tuple(quota)}, the orders hold {held[key]}")
            if quota.used.minor > 2_600_000:
                raise Violation(f"a quota is over the yearly limit: {quota.used}")
