"""The customs authority: takes declarations, matches them with pushed documents,
answers each list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sandbox import metrics
from sandbox.authority.bill_cycle import BillCycle
from sandbox.authority.consolidation import Consolidation
from sandbox.authority.intake import Intake
from sandbox.authority.lists import Lists
from sandbox.authority.messages import Document
from sandbox.authority.policy import AuthorityPolicy
from sandbox.authority.receipts import Receipt, messages_of
from sandbox.authority.register import Register
from sandbox.authority.requests import Requests, add_summary_receipts
from sandbox.authority.session import Session
from sandbox.authority.signature import Declarants
from sandbox.documents import PaymentDocument, SubmittedOrder, WaybillDocument
from sandbox.storage import Offsets, append_outbox, move_offsets


class Authority:
    """The authority's decisions over its register. Times are seconds since the epoch.

    Each public method is one transaction and returns the receipts that it put into the outbox.
    """

    def __init__(
        self,
        topic: str,
        declarants: Declarants,
        path: Path | None = None,
        policy: AuthorityPolicy | None = None,
    ) -> None:
        """`topic` is where receipts go; `declarants` checks signatures."""
        policy = policy or AuthorityPolicy()
        self.register = Register(path)
        self._topic = topic
        self._declarants = declarants
        self._consolidation = Consolidation(self.register, policy)
        self._intake = Intake(self.register, declarants)
        self._lists = Lists(self.register, policy, self._intake)
        self._bill_cycle = BillCycle(self.register, policy)
        self._requests = Requests(self.register, policy, self._consolidation, self._bill_cycle)

    def record_orders(
        self, submissions: Sequence[SubmittedOrder], now: float, offsets: Offsets | None = None
    ) -> list[Receipt]:
        with self.register.file.transaction():
            order_ids = self.register.documents.add_orders(submissions)
            return self._recheck(order_ids, now, offsets)

    def record_documents(
        self, payments: Sequence[PaymentDocument], waybills: Sequence[WaybillDocument], now: float
    ) -> list[Receipt]:
        """Record what bank and carrier pushed.

        A document that is recorded already changes nothing.
        """
        with self.register.file.transaction():
            documents = self.register.documents
            ids = [*documents.add_payments(payments), *documents.add_waybills(waybills)]
            return self._recheck(ids, now, None)

    def receive(
        self, messages: Iterable[bytes], now: float, offsets: Offsets | None = None
    ) -> list[Receipt]:
        """Take declarations in; return the immediate receipts. Later ones are planned."""
        with self.register.file.transaction():
            session = Session(now)
            lists: list[Document] = []
            for value in messages:
                message = self._intake.admit(session, value)
                if message is None:
                    continue
                if message.kind == "list":
                    lists += message.documents
                    continue
                # A request must see the lists that stand before it.
                self._lists.lodge(session, lists)
                lists = []
                for document in message.documents:
                    self._requests.decide(session, document)
            self._lists.lodge(session, lists)
            return self._close(session, offsets)

    def fall_due(self, now: float, limit: int = 2000) -> list[Receipt]:
        """Give the receipts whose time has come, at most `limit` of each kind."""
        with self.register.file.transaction():
            session = Session(now)
            planned = self.register.take_planned(now, limit)
            entries = self.register.by_ids({each.list_id for each in planned})
            for each in planned:
                entry = entries[each.list_id]
                session.changed[entry.id] = entry
                self._lists.answer(session, entry, each.status, each.text)
            self._requests.arrive(session, limit)
            self._bill_cycle.fall_due(session)
            add_summary_receipts(session, self._consolidation.fall_due(now, limit))
            return self._close(session, None)

    def _recheck(
        self, order_ids: Sequence[str], now: float, offsets: Offsets | None
    ) -> list[Receipt]:
        session = Session(now)
        entries = self.register.waiting(order_ids)
        session.changed = {entry.id: entry for entry in entries}
        self._lists.decide(session, entries, first=False)
        return self._close(session, offsets)

    def _close(self, session: Session, offsets: Offsets | None) -> list[Receipt]:
        for (kind, outcome), number in session.tally.items():
            metrics.OPERATIONS.labels("authority", kind, outcome).inc(number)
        self.register.save(session.changed.values())
        self.register.plan(session.planned)
        self.register.add_going_back(session.going_back)
        self.register.add_bills(session.to_bill)
        db = self.register.file.db
        append_outbox(db, list(messages_of(self._topic, session.receipts, session.now)))
        move_offsets(db, offsets or {})
        return session.receipts
