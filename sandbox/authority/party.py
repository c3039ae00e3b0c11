"""The customs authority: takes declarations, matches them with documents pushed to it, answers per list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import structlog

from sandbox import metrics
from sandbox.authority import bills
from sandbox.authority.consolidation import Consolidation
from sandbox.authority.declarations import Declaration, Document, NotADeclaration, read_declaration
from sandbox.authority.duties import NoRate
from sandbox.authority.matching import Refusal, Wait, match
from sandbox.authority.policy import (
    CLEARED,
    JOURNEY_S,
    SLOW_S,
    Policy,
    arrival,
    inadmissible,
    invt_no,
    is_all_taken_back,
    is_late,
    is_levied,
    not_taken,
    payment_book,
    pre_no,
    refused_whole,
    script_of,
    take_back,
    taxed,
    told_to_refuse,
    untax,
    why_not_cancelled,
    why_not_taken_back,
)
from sandbox.authority.receipts import (
    TEXTS,
    Receipt,
    format_fault,
    messages_of,
    new_guid,
    receipt_of,
)
from sandbox.authority.register import Bill, Due, Entry, Register
from sandbox.authority.signature import Declarants, SignatureFault
from sandbox.documents import Payment, Submission, Waybill, words_of
from sandbox.storage import Offsets, append_outbox, move_offsets

_log = structlog.get_logger()
_MILLISECOND: Final = 0.001
BILLS_MAX: Final = 1000
"""Bills told in one turn, up to 100 of them in a message."""


@dataclass(slots=True)
class _Session:
    """What one transaction has decided so far."""

    now: float
    receipts: list[Receipt] = field(default_factory=list)
    due: list[Due] = field(default_factory=list)
    changed: dict[int, Entry] = field(default_factory=dict)
    going_back: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)
    to_bill: list[tuple[int, float]] = field(default_factory=list)
    tally: Counter[tuple[str, str]] = field(default_factory=Counter)


class Authority:
    """The authority's decisions over its register. Times are seconds since the epoch."""

    def __init__(
        self,
        topic: str,
        declarants: Declarants,
        path: Path | None = None,
        policy: Policy | None = None,
    ) -> None:
        """`topic` is where receipts go; `declarants` checks signatures."""
        self.register = Register(path)
        self._topic = topic
        self._declarants = declarants
        self._policy = policy or Policy()
        self._consolidation = Consolidation(self.register, self._policy)

    # --- what comes in, each in one transaction; the receipts returned are in the outbox already

    def hear_orders(
        self, submissions: Sequence[Submission], now: float, offsets: Offsets | None = None
    ) -> list[Receipt]:
        with self.register.file.transaction():
            order_ids = self.register.add_orders(submissions)
            return self._recheck(order_ids, now, offsets)

    def hear_documents(
        self, payments: Sequence[Payment], waybills: Sequence[Waybill], now: float
    ) -> list[Receipt]:
        """Payment and waybill documents, pushed by bank and carrier; recording one again changes nothing."""
        with self.register.file.transaction():
            ids = [*self.register.add_payments(payments), *self.register.add_waybills(waybills)]
            return self._recheck(ids, now, None)

    def receive(
        self, messages: Iterable[bytes], now: float, offsets: Offsets | None = None
    ) -> list[Receipt]:
        """Take declarations in; what is answered at once is returned, the rest falls due."""
        with self.register.file.transaction():
            session = _Session(now)
            lists: list[Document] = []
            for value in messages:
                declaration = self._take_in(session, value)
                if declaration is None:
                    continue
                if declaration.kind == "list":
                    lists += declaration.documents
                else:
                    # A request must see the lists that came before it.
                    self._lodge(session, lists)
                    lists = []
                    for document in declaration.documents:
                        self._request(session, document)
            self._lodge(session, lists)
            return self._close(session, offsets)

    def fall_due(self, now: float, limit: int = 2000) -> list[Receipt]:
        """Give the receipts whose time has come."""
        with self.register.file.transaction():
            session = _Session(now)
            due = self.register.take_due(now, limit)
            entries = self.register.by_ids({item.list_id for item in due})
            for item in due:
                entry = entries[item.list_id]
                session.changed[entry.id] = entry
                self._answer(session, entry, item.status, item.text)
            self._arrive(session, limit)
            self._bill_due(session)
            self._tell(session, "summary", self._consolidation.fall_due(now, limit))
            return self._close(session, None)

    # --- tax bills: in bulk, days after the release

    def _bill_due(self, session: _Session) -> None:
        due = self.register.bills_due(session.now, BILLS_MAX)
        if not due:
            return
        # What this transaction changed must be seen by the query.
        self.register.save(session.changed.values())
        entries = self.register.by_ids({bill.list_id for bill in due})
        origin = new_guid()
        books: dict[tuple[str, str], str] = {}
        for bill in due:
            entry = entries[bill.list_id]
            if bill.state == 0:
                self._issue(session, entry, bill, origin)
            else:
                self._consolidate(session, entry, bill, origin, books)
        self.register.save_bills(due)

    def _issue(self, session: _Session, entry: Entry, bill: Bill, origin: str) -> None:
        """The bill of a released list; none where the goods are back already, or where the tariff has no rate."""
        bill.next_at = None
        if not is_levied(entry):
            return
        try:
            lines = bills.lines_of(entry, taxed(entry))
        except NoRate as missing:
            _log.warning("no bill: the tariff has no rate", list=entry.guid, code=str(missing))
            return
        bill.state, bill.tax_no = 1, f"{entry.invt_no}_0"
        bill.next_at = self._policy.day_after(
            entry.released_at or session.now, bills.CONSOLIDATED_AFTER_DAYS
        )
        session.receipts += bills.issued(entry, bill, lines, origin, _moment(session))
        session.tally["bill", "issued"] += 1

    def _correct(self, session: _Session, entry: Entry) -> None:
        """Some goods are back in time and the list is billed already: that bill is void, and another is issued for what is left.

        Not where all are back (the bill is void after the term), nor once it is in a payment book: that is paid, and the
        tax is claimed back.
        """
        bill = self.register.bill_of(entry.id)
        if (
            bill is None
            or bill.state != 1
            or not is_levied(entry)
            or "uncorrected" in words_of(entry.order_no)
        ):
            return
        origin = new_guid()
        session.receipts.append(
            bills.status_of(entry, replace(bill, state=3), origin, _moment(session))
        )
        number, _, edition = str(bill.tax_no).rpartition("_")
        bill.tax_no = f"{number}_{int(edition) + 1}"
        session.receipts += bills.issued(
            entry, bill, bills.lines_of(entry, taxed(entry)), origin, _moment(session)
        )
        session.tally["bill", "corrected"] += 1
        self.register.save_bills([bill])

    def _consolidate(
        self,
        session: _Session,
        entry: Entry,
        bill: Bill,
        origin: str,
        books: dict[tuple[str, str], str],
    ) -> None:
        """After the term for returns: into the payment book of office and guarantor, or void if the goods came back."""
        bill.next_at = None
        if is_levied(entry):
            fields = entry.body["fields"]
            key = (fields["customsCode"], fields.get("assureCode", ""))
            if key not in books:
                books[key] = payment_book(key[0], self.register.serials(1), session.now)
            bill.state, bill.book = 2, books[key]
        else:
            bill.state = 3
        session.receipts.append(bills.status_of(entry, bill, origin, _moment(session)))
        session.tally["bill", "consolidated" if bill.state == 2 else "void"] += 1

    # --- messages

    def _take_in(self, session: _Session, value: bytes) -> Declaration | None:
        """The message if it is well formed, new and rightly signed; else its refusals are in the session."""
        try:
            declaration = read_declaration(value)
        except NotADeclaration as fault:
            text = f"[Code:{fault.code};Desc:{fault.text}]"
            session.receipts.append(
                format_fault(fault.guid, fault.message_type, -int(fault.code), text, session.now)
            )
            return None
        if not self.register.is_new_message(declaration.guid, declaration.message_type):
            session.tally[declaration.kind, "seen"] += 1
            return None
        if whole := refused_whole(declaration.documents):
            session.receipts.append(
                format_fault(declaration.guid, declaration.message_type, -2, whole, session.now)
            )
            session.tally[declaration.kind, "refused whole"] += 1
            return None
        try:
            self._declarants.check(declaration.root)
        except SignatureFault as fault:
            status = (
                (-621028 if fault.differs else -621029) if declaration.family == "621" else -601001
            )
            _log.warning("signature refused", message=declaration.guid, fault=str(fault))
            for document in declaration.documents:
                self._refuse_unregistered(
                    session,
                    document,
                    Refusal(status, f"[Code:{status};Desc:数字签名验证失败:{fault}]"),
                )
            return None
        return declaration

    def _refuse_unregistered(self, session: _Session, document: Document, refusal: Refusal) -> None:
        fields = {**document.head, "copNo": document.cop_no}
        fields["preNo"] = fields.get("preNo") or self._pre_no("B", session.now)
        receipt = receipt_of(
            document.kind,
            document.family,
            document.message_guid,
            fields,
            refusal.status,
            refusal.text,
            session.now,
        )
        session.receipts.append(receipt)
        session.tally[document.kind, "refused"] += 1

    # --- lists

    def _lodge(self, session: _Session, documents: Sequence[Document]) -> None:
        if not documents:
            return
        register = self.register
        fresh = [register.new_entry(document, "") for document in documents]
        latest = register.latest_of({entry.order_id for entry in fresh})
        serial = register.serials(len(fresh))
        admitted: list[Entry] = []
        for number, (drafted, document) in enumerate(
            zip(fresh, documents, strict=True), start=serial
        ):
            last = latest.get(drafted.order_id)
            last = session.changed.get(last.id, last) if last else None
            refusal = inadmissible(document, last)
            if refusal:
                self._refuse_unregistered(session, document, refusal)
                continue
            entry = last if last and document.head["appType"] == "2" else drafted
            if entry is last:
                self._say_again(session, entry)
                register.amend(entry, document)
            else:
                entry.pre_no = pre_no("B", number, session.now)
                entry.returns = last.returns if last else 0
            latest[entry.order_id] = session.changed[entry.id] = entry
            if self._e_port_takes(session, entry, last):
                admitted.append(entry)
        self._decide(session, admitted, first=True)

    def _e_port_takes(self, session: _Session, entry: Entry, last: Entry | None) -> bool:
        words = words_of(entry.order_no)
        if "silent" in words:
            entry.state = "silent"
            session.tally["list", "silent"] += 1
            return False
        refusal = not_taken(entry, last, session.now, self._policy)
        if refusal:
            entry.state = "refused"
            self._answer(session, entry, refusal.status, refusal.text)
            session.tally["list", "refused"] += 1
        return refusal is None

    def _recheck(
        self, order_ids: Sequence[str], now: float, offsets: Offsets | None
    ) -> list[Receipt]:
        """Decide the lists that waited for these documents."""
        session = _Session(now)
        entries = self.register.waiting(order_ids)
        session.changed = {entry.id: entry for entry in entries}
        self._decide(session, entries, first=False)
        return self._close(session, offsets)

    def _decide(self, session: _Session, entries: Sequence[Entry], *, first: bool) -> None:
        """Match each list with its documents and begin to answer it; absence waits, inequality refuses."""
        if not entries:
            return
        orders, payments, waybills = self.register.documents_of(entries)
        serial = self.register.serials(len(entries))
        for number, entry in enumerate(entries, start=serial):
            waybill = waybills.get((entry.order_id, *entry.body["waybill"]))
            verdict = match(
                entry.body, orders.get(entry.order_id), payments.get(entry.order_id), waybill
            )
            slow = SLOW_S * self._policy.pace if "slow" in words_of(entry.order_no) else 0.0
            if first:
                waits = f"，{verdict.text}" if isinstance(verdict, Wait) else ""
                self._plan(session, entry, slow, 2, TEXTS[2] + waits)
            if isinstance(verdict, Wait):
                session.tally["list", "waits"] += 1
                continue
            refusal = verdict or told_to_refuse(entry, entry.returns)
            if refusal:
                entry.state = "returned" if refusal.status == 100 else "refused"
                entry.returns += refusal.status == 100
                self._plan(session, entry, slow, refusal.status, refusal.text)
                session.tally["list", entry.state] += 1
                continue
            entry.state = "declared"
            entry.invt_no = entry.invt_no or invt_no(entry, number, session.now)
            session.tally["list", "accepted"] += 1
            for after, status in script_of(entry, self._policy):
                self._plan(session, entry, slow + after, status, TEXTS[status])

    def _plan(self, session: _Session, entry: Entry, after: float, status: int, text: str) -> None:
        if after > 0:
            session.due.append(Due(session.now + after, entry.id, status, text))
        else:
            self._answer(session, entry, status, text)

    def _answer(self, session: _Session, entry: Entry, status: int, text: str) -> None:
        # A late examination after the release contradicts the register and does not change it; nor does what the e-port says
        # to a message that came again.
        if not (entry.status in CLEARED and status not in CLEARED) and not (
            status < 0 and entry.state == "declared"
        ):
            entry.status = status
        if status == 800 and entry.released_at is None:
            entry.released_at = session.now
            days = bills.days_until_billed(entry)
            if days is not None:
                session.to_bill.append((entry.id, self._policy.day_after(session.now, days)))
        self._give(session, entry, self._receipt(session, entry, status, text))

    def _receipt(self, session: _Session, entry: Entry, status: int, text: str) -> Receipt:
        fields = {
            **entry.body["fields"],
            "copNo": entry.cop_no,
            "preNo": entry.pre_no,
            "orderNo": entry.order_no,
        }
        if entry.invt_no and status >= 120:
            fields["invtNo"] = entry.invt_no
        return receipt_of(
            "list", entry.family, entry.message_guid, fields, status, text, _moment(session)
        )

    def _say_again(self, session: _Session, entry: Entry) -> None:
        """The word that returned a list, said once more now that it is corrected: of the list before, in a receipt of its own."""
        refusal = told_to_refuse(entry, returns=0)
        if "again" in words_of(entry.order_no) and refusal:
            session.receipts.append(self._receipt(session, entry, refusal.status, refusal.text))

    def _give(self, session: _Session, entry: Entry, receipt: Receipt) -> None:
        session.receipts += (
            [receipt, receipt] if "dupreceipt" in words_of(entry.order_no) else [receipt]
        )

    # --- requests to cancel, to return or to consolidate

    def _request(self, session: _Session, document: Document) -> None:
        match document.kind:
            case "cancel":
                self._cancel(session, document)
            case "summary":
                # What this transaction changed must be seen by the query.
                self.register.save(session.changed.values())
                self._tell(
                    session, "summary", self._consolidation.take_in(document, _moment(session))
                )
            case _:
                self._take_back(session, document)

    def _tell(self, session: _Session, kind: str, receipts: list[Receipt]) -> None:
        session.receipts += receipts
        for receipt in receipts:
            session.tally[kind, f"ceb{receipt.code}.{receipt.status}".lower()] += 1

    def _cancel(self, session: _Session, document: Document) -> None:
        """Granted unless the goods are cleared or gone another way; no more is said about the list then."""
        entry = self._find(session, document)
        refusal = why_not_cancelled(entry)
        if entry and not refusal:
            entry.state = "cancelled"
            self.register.drop_due(entry.id)
            session.due = [item for item in session.due if item.list_id != entry.id]
        self._answer_request(session, document, entry, refusal, "C")

    def _take_back(self, session: _Session, document: Document) -> None:
        """Granted for released goods within the term, for lines and quantities of the list; then they are on their way."""
        entry = self._find(session, document)
        refusal = why_not_taken_back(document, entry, session.now, self._policy)
        fields = self._answer_request(session, document, entry, refusal, "T")
        if entry is None or refusal:
            return
        take_back(entry, document)
        if "back_never" not in words_of(entry.order_no):
            lines = {line["gnum"]: line["qty"] for line in document.lines}
            application = {
                "family": document.family,
                "origin": document.message_guid,
                "fields": fields,
                "lines": lines,
            }
            session.going_back.append(
                (session.now + JOURNEY_S * self._policy.pace, entry.id, application)
            )

    def _arrive(self, session: _Session, limit: int) -> None:
        """Goods of returns are back: examined and released (800), dated by the day they came."""
        due = self.register.take_back_due(session.now, limit)
        if not due:
            return
        # What this transaction changed must be seen by the query.
        self.register.save(session.changed.values())
        entries = {**self.register.by_ids({list_id for list_id, _ in due}), **session.changed}
        for list_id, application in due:
            entry = session.changed[list_id] = entries[list_id]
            if is_all_taken_back(entry):
                entry.state = "taken_back"
            at = arrival(entry, _moment(session))
            if not is_late(entry, at, self._policy):
                untax(entry, application["lines"])
                self._correct(session, entry)
            family, origin, fields = (
                application["family"],
                application["origin"],
                application["fields"],
            )
            self._give(
                session, entry, receipt_of("return", family, origin, fields, 800, TEXTS[800], at)
            )
            session.tally["return", "arrived"] += 1

    def _answer_request(
        self,
        session: _Session,
        document: Document,
        entry: Entry | None,
        refusal: Refusal | None,
        letter: str,
    ) -> dict[str, str]:
        """Answers, and returns the fields by which the request is named from now on."""
        fields = {**document.head, "preNo": self._pre_no(letter, session.now)} | _own_number(
            document
        )
        status, text = (refusal.status, refusal.text) if refusal else (399, TEXTS[399])
        receipt = receipt_of(
            document.kind,
            document.family,
            document.message_guid,
            fields,
            status,
            text,
            _moment(session),
        )
        session.tally[document.kind, "refused" if refusal else "granted"] += 1
        if entry is None:
            session.receipts.append(receipt)
            return fields
        session.changed[entry.id] = entry
        self._give(session, entry, receipt)
        return fields

    def _find(self, session: _Session, document: Document) -> Entry | None:
        # What this transaction changed must be seen by the query.
        self.register.save(session.changed.values())
        entry = self.register.find(document)
        return session.changed.get(entry.id, entry) if entry else None

    # --- the end of a transaction

    def _close(self, session: _Session, offsets: Offsets | None) -> list[Receipt]:
        for (kind, outcome), number in session.tally.items():
            metrics.OPERATIONS.labels("authority", kind, outcome).inc(number)
        self.register.save(session.changed.values())
        self.register.add_due(session.due)
        self.register.add_going_back(session.going_back)
        self.register.add_bills(session.to_bill)
        db = self.register.file.db
        append_outbox(db, list(messages_of(self._topic, session.receipts, session.now)))
        move_offsets(db, offsets or {})
        return session.receipts

    def _pre_no(self, letter: str, now: float) -> str:
        return pre_no(letter, self.register.serials(1), now)


def _own_number(document: Document) -> dict[str, str]:
    return {
        "coElNo"
        if document.kind == "return" and document.family == "603"
        else "copNo": document.cop_no
    }


def _moment(session: _Session) -> float:
    """The time on a receipt: a millisecond after the one before, so that they sort as they were given."""
    return session.now + (len(session.receipts) % 1000) * _MILLISECOND
