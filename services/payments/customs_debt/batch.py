"""The orders of one batch of tax's events: what is saved, booked, asked and reserved at its end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from services.payments.customs_debt.allocation import LedgerPosition
from services.payments.customs_debt.domain import DebtDecision, DebtState, decide, reallocate
from services.payments.customs_debt.tax_due import TaxDue
from services.payments.domain import ledger
from services.payments.domain.bank import BankCommand
from services.payments.domain.ledger import JournalEntry
from services.payments.domain.payment import Payment
from shared.envelope import Message
from shared.money import Money
from shared.transitions import IllegalTransition

PaymentBook = tuple[UUID, str, int]
"""Payment id, number of the payment book, and how many bills it has."""


@dataclass
class DebtBatch:
    """`positions` has the orders with a return or a corrected bill, and no others."""

    payments: dict[UUID, Payment]
    dues: dict[UUID, TaxDue]
    positions: dict[UUID, LedgerPosition] = field(default_factory=dict)
    entries: list[JournalEntry] = field(default_factory=list)
    commands: list[tuple[BankCommand, bytes | None]] = field(default_factory=list)
    demands: dict[UUID, Money] = field(default_factory=dict)
    freed: list[UUID] = field(default_factory=list)
    handed_over: dict[PaymentBook, list[Money]] = field(default_factory=lambda: defaultdict(list))

    def apply(self, m: Message) -> None:
        """Apply one event. Raises IllegalTransition, also for an order without a payment."""
        if m.order_id not in self.payments:
            raise IllegalTransition("no payment", type(m.event))
        decision = decide(self._state(m.order_id), m.event)
        self._take(m.event_id, m.order_id, m.traceparent, decision)

    def reallocate(self, cause: UUID, order_id: UUID, traceparent: bytes | None) -> None:
        self._take(cause, order_id, traceparent, reallocate(self._state(order_id)))

    def _state(self, order_id: UUID) -> DebtState:
        return DebtState(
            self.payments[order_id], self.dues.get(order_id), self.positions.get(order_id)
        )

    def _take(
        self, cause: UUID, order_id: UUID, traceparent: bytes | None, decision: DebtDecision
    ) -> None:
        state = decision.state
        self.payments[order_id] = state.payment
        if state.due is not None:
            self.dues[order_id] = state.due
        if state.position is not None:
            self.positions[order_id] = state.position
        for movement in decision.movements:
            self.entries += ledger.entries(cause, order_id, movement)
        self.commands += [(command, traceparent) for command in decision.commands]
        if decision.demand is not None:
            self.demands[order_id] = decision.demand
        if decision.frees:
            self.freed.append(order_id)
        if (bill := decision.handed_over) is not None:
            book = (bill.payment_id, bill.payment_book, bill.bills)
            self.handed_over[book].append(bill.amount)

    def changed_payments(self, before: Mapping[UUID, Payment]) -> list[Payment]:
        return [p for p in self.payments.values() if before.get(p.order_id) != p]

    def changed_dues(self, before: Mapping[UUID, TaxDue]) -> list[TaxDue]:
        return [due for due in self.dues.values() if before.get(due.order_id) != due]

    def uncovered_demands(self) -> Sequence[tuple[UUID, Money]]:
        """Return what is to be reserved: nothing for orders that were posted and freed in one
        batch."""
        return [(o, amount) for o, amount in self.demands.items() if o not in self.freed]
