"""What payments does on tax's facts: owe what was assessed, settle the bill's difference, gather payment books and pay them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID, uuid5

from services.payments import store
from services.payments.customs_debt import deposit
from services.payments.customs_debt import domain as customs_debt
from services.payments.customs_debt import store as debt_store
from services.payments.customs_debt.domain import LedgerPosition, TaxDue
from services.payments.deps import Deps
from services.payments.domain import ledger
from services.payments.domain.bank import BankCommand, Transfer, Transferred
from services.payments.domain.ledger import JournalEntry, Movement
from services.payments.domain.payment import Payment, refund_excess
from shared.database import Connection
from shared.effects import Reply
from shared.envelope import Message
from shared.events.payments import TaxPaid
from shared.events.tax import TaxBillCorrected, TaxBillDue, TaxBillSettled, TaxPosted, TaxRestored
from shared.money import Money
from shared.subscriptions import EmittedEvent, OutboundCommand, Outcome
from shared.transitions import IllegalTransition

TAX_FACTS: Final = (TaxPosted, TaxRestored, TaxBillSettled, TaxBillCorrected, TaxBillDue)


@dataclass
class Folded:
    """Tax's facts on their way through a batch: what is saved, booked and asked at its end."""

    payments: dict[UUID, Payment]
    dues: dict[UUID, TaxDue]
    held: dict[UUID, LedgerPosition] = field(default_factory=dict)
    entries: list[JournalEntry] = field(default_factory=list)
    demands: dict[UUID, Money] = field(default_factory=dict)
    freed: list[UUID] = field(default_factory=list)
    asks: list[tuple[BankCommand, bytes | None]] = field(default_factory=list)
    gathered: dict[tuple[UUID, str, int], list[Money]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def book(self, cause: UUID, order_id: UUID, movements: Sequence[Movement]) -> None:
        for movement in movements:
            entries = ledger.entries(cause, order_id, movement)
            self.entries += entries
            if (held := self.held.get(order_id)) is not None:
                for entry in entries:
                    held.add(entry)

    def follow(self, m: Message) -> None:
        """Follow one fact; raises IllegalTransition for an order whose money was never asked for."""
        if m.order_id not in self.payments:
            raise IllegalTransition("no payment", type(m.event))
        match m.event:
            case TaxPosted():
                self._post(m, m.event)
            case TaxRestored():
                self._restore(m, m.event)
            case TaxBillSettled():
                self._settle(m, m.event)
            case TaxBillCorrected():
                self._correct(m, m.event)
            case TaxBillDue():
                self._hand_over(m.event)

    def _withheld(self, order_id: UUID, currency: str) -> Money:
        """The tax office's part of what was captured; none of what never was."""
        payment = self.payments[order_id]
        if payment.captured is None or payment.terms is None:
            return Money.zero(currency)
        return ledger.shares(payment.captured, payment.terms.tax_withheld)[1]

    def _post(self, m: Message, event: TaxPosted) -> None:
        if event.total.currency != "CNY":
            return  # an export owes nothing here
        self.book(
            m.event_id,
            m.order_id,
            customs_debt.owe_assessed(event, self._withheld(m.order_id, event.total.currency)),
        )
        if event.total.minor:
            self.demands[m.order_id] = event.total

    def _restore(self, m: Message, event: TaxRestored) -> None:
        due = self.dues.get(m.order_id)
        if event.total.currency != "CNY":
            return  # an export owes nothing here
        if due is None:
            self.book(m.event_id, m.order_id, customs_debt.restore_unbilled(event))
            if not event.remaining.minor:
                self.freed.append(m.order_id)
            return
        followed = customs_debt.restore(due, event)
        self.dues[m.order_id] = followed.due
        self.book(m.event_id, m.order_id, followed.movements)
        self.even_out(m.event_id, m.order_id, m.traceparent)
        if followed.due.state is customs_debt.TaxDueState.RESTORED:
            self.freed.append(m.order_id)

    def even_out(self, cause: UUID, order_id: UUID, traceparent: bytes | None) -> None:
        """Share out the difference of an order of which goods came back, once both the refund and tax's word on it are heard."""
        due, payment = self.dues.get(order_id), self.payments[order_id]
        if due is None or payment.returns < due.returns:
            return
        evened = customs_debt.allocate_difference(
            due, self.held.setdefault(order_id, LedgerPosition())
        )
        due = evened.due
        if evened.excess.minor:
            decision = refund_excess(payment, evened.excess, due.turn)
            self.payments[order_id] = decision.payment
            self.asks += [(ask, traceparent) for ask in decision.asks]
            due = replace(due, refunded=due.refunded + evened.excess) if decision.asks else due
        self.dues[order_id] = due
        self.book(cause, order_id, evened.movements)

    def _correct(self, m: Message, event: TaxBillCorrected) -> None:
        due = self.dues.get(m.order_id)
        if due is None:
            raise IllegalTransition("no bill", type(event))
        self.dues[m.order_id], moved = customs_debt.correct(due, event)
        self.book(m.event_id, m.order_id, moved)
        self.even_out(m.event_id, m.order_id, m.traceparent)

    def _settle(self, m: Message, event: TaxBillSettled) -> None:
        if m.order_id in self.dues:
            raise IllegalTransition("settled", type(event))
        withheld = self._withheld(m.order_id, event.billed.currency)
        if (held := self.held.get(m.order_id)) is not None:
            self.dues[m.order_id], moved = customs_debt.open_due(
                event, withheld, max(held.restored, event.returns)
            )
            self.book(m.event_id, m.order_id, moved)
            self.even_out(m.event_id, m.order_id, m.traceparent)
            return
        followed = customs_debt.settle(event, withheld)
        due = followed.due
        if excess := customs_debt.excess_of(due):
            decision = refund_excess(self.payments[m.order_id], excess)
            self.payments[m.order_id] = decision.payment
            self.asks += [(ask, m.traceparent) for ask in decision.asks]
            due = replace(due, refunded=excess) if decision.asks else due
        self.dues[m.order_id] = due
        self.book(m.event_id, m.order_id, followed.movements)

    def _hand_over(self, event: TaxBillDue) -> None:
        due = self.dues.get(event.order_id)
        if due is None:
            raise IllegalTransition("no bill", type(event))
        self.dues[event.order_id] = customs_debt.hand_over(due, event)
        self.gathered[event.payment_id, event.payment_book, event.bills].append(event.amount)


async def handle_tax_events(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
    """Follow what tax says: in the books what was assessed, then what was billed, then what is to be paid.

    The deposit's one row is locked last and for the rest of the transaction only.
    """
    ids = {m.order_id for m in batch}
    before = await store.lock(conn, ids)
    billed = {m.order_id for m in batch if not isinstance(m.event, TaxPosted)}
    dues_before = await debt_store.lock(conn, billed) if billed else {}
    folded = Folded(dict(before), dict(dues_before), await _held(conn, batch, before))
    for m in batch:
        folded.follow(m)
    await store.save(
        conn, before, [p for p in folded.payments.values() if before.get(p.order_id) != p]
    )
    await debt_store.save(
        conn, [due for order_id, due in folded.dues.items() if due != dues_before.get(order_id)]
    )
    await store.book(conn, folded.entries)
    outcome = Outcome(commands=[outbound(ask, traceparent) for ask, traceparent in folded.asks])
    for (payment_id, book, bills), amounts in sorted(folded.gathered.items()):
        came = Money.total(amounts, amounts[0].currency)
        if total := await debt_store.gather(conn, payment_id, book, bills, came, len(amounts)):
            outcome.commands.append(
                outbound(Transfer(order_id=payment_id, payment_book=book, amount=total), None)
            )
    # Freed first: what was posted and came back in one batch must find its own reservation.
    demands = {
        order_id: amount
        for order_id, amount in folded.demands.items()
        if order_id not in folded.freed
    }
    await deposit.reserve(conn, deps, list(demands.items()))
    if folded.freed:
        await deposit.release(conn, folded.freed)
    return outcome


async def _of_returns(
    conn: Connection, batch: Sequence[Message], payments: Mapping[UUID, Payment]
) -> set[UUID]:
    """The orders of a batch whose difference is worked out from the books: goods of them came back, or their bill was corrected."""
    found = {m.order_id for m in batch if isinstance(m.event, (TaxRestored, TaxBillCorrected))}
    found |= {order_id for order_id, payment in payments.items() if payment.returns}
    found |= {m.order_id for m in batch if isinstance(m.event, TaxBillSettled) and m.event.returns}
    # Tax may say that goods came back before orders does.
    settled = {m.order_id for m in batch if isinstance(m.event, TaxBillSettled)} - found
    return found | (await debt_store.restored_among(conn, settled) if settled else set())


async def _held(
    conn: Connection, batch: Sequence[Message], payments: Mapping[UUID, Payment]
) -> dict[UUID, LedgerPosition]:
    wanted = await _of_returns(conn, batch, payments)
    return {order_id: LedgerPosition() for order_id in wanted} | await debt_store.held(conn, wanted)


async def reallocate(
    conn: Connection,
    returned: Mapping[UUID, tuple[UUID, bytes | None]],
    payments: dict[UUID, Payment],
) -> Folded:
    """After refunds of returns were decided: share out what is between withheld and billed of those orders that have a bill.

    `returned` names each order's cause and trace. The orders' payments are locked and what was decided on them is booked.
    """
    before = await debt_store.lock(conn, list(returned))
    folded = Folded(payments, dict(before), await debt_store.held(conn, list(before)))
    for order_id in before:
        folded.even_out(*_caused(order_id, returned))
    await debt_store.save(
        conn, [due for order_id, due in folded.dues.items() if due != before[order_id]]
    )
    return folded


def _caused(
    order_id: UUID, causes: Mapping[UUID, tuple[UUID, bytes | None]]
) -> tuple[UUID, UUID, bytes | None]:
    cause, traceparent = causes[order_id]
    return cause, order_id, traceparent


def outbound(ask: BankCommand, traceparent: bytes | None) -> OutboundCommand:
    if traceparent is not None:
        ask = ask.model_copy(update={"traceparent": traceparent.decode("latin-1")})
    # What follows a hold goes ahead of new holds: a burst of orders is then paid one by one, not held all and captured last.
    return OutboundCommand(
        ask.intent_id,
        ask.order_id,
        ask.kind,
        ask.model_dump_json().encode(),
        priority=ask.kind != "authorise",
    )


async def handle_transfers(conn: Connection, answered: Sequence[Reply]) -> Outcome:
    """The bank paid customs: every bill of the payment is paid, and its part of the deposit is free again."""
    transfers = {a.answer.order_id: a.answer for a in answered if isinstance(a.answer, Transferred)}
    # Payments, then dues, then transfers, then the deposit: the order of `follow_tax`.
    payments = await store.lock(conn, await debt_store.orders_of(conn, transfers))
    locked = await debt_store.lock(conn, payments)
    made = await debt_store.payments_made(
        conn, {payment_id: t.transfer_no for payment_id, t in transfers.items()}
    )
    found = {order_id: due for order_id, due in locked.items() if due.payment_id in made}
    outcome, entries, after = Outcome(), list[JournalEntry](), list[TaxDue]()
    told: list[Payment] = []
    for order_id, due in found.items():
        assert due.payment_id is not None
        answer = transfers[due.payment_id]
        followed = customs_debt.pay(due, answer)
        after.append(followed.due)
        for movement in followed.movements:
            # One transfer pays many bills: each order's part of it is a transaction of its own.
            entries += ledger.entries(uuid5(due.payment_id, str(order_id)), order_id, movement)
        payment = payments[order_id]
        told.append(replace(payment, version=payment.version + 1))
        fact = TaxPaid(
            order_id=order_id, tax_no=due.tax_no, payment_book=due.payment_book or "", amount=due.billed,
            transfer_no=answer.transfer_no,
        )  # fmt: skip
        outcome.facts.append(EmittedEvent(fact, due.payment_id, payment.version + 1))
    await debt_store.save(conn, after)
    await store.save(conn, payments, told)
    await store.book(conn, entries)
    await deposit.release(conn, list(found))
    return outcome
