"""Lists in the register: lodged, matched with their documents, and answered receipt by receipt."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.authority import bills
from sandbox.authority.document_match import MissingDocument, Refusal, match
from sandbox.authority.intake import Intake
from sandbox.authority.messages import Document
from sandbox.authority.policy import (
    CLEARED,
    SLOW_S,
    AuthorityPolicy,
    admission_refusal,
    e_port_refusal,
    invt_no,
    pre_no,
    script_of,
    scripted_refusal,
)
from sandbox.authority.receipts import TEXTS, Receipt, receipt_of
from sandbox.authority.register import PlannedReceipt, Register, RegisterEntry
from sandbox.authority.session import Session
from sandbox.documents import words_of


class Lists:
    """Decisions about lists; every method runs inside the caller's transaction."""

    def __init__(self, register: Register, policy: AuthorityPolicy, intake: Intake) -> None:
        self._register = register
        self._policy = policy
        self._intake = intake

    def lodge(self, session: Session, documents: Sequence[Document]) -> None:
        if not documents:
            return
        drafts = [self._register.new_entry(document, "") for document in documents]
        latest = self._register.latest_of({draft.order_id for draft in drafts})
        serial = self._register.serials(len(drafts))
        admitted: list[RegisterEntry] = []
        for number, (draft, document) in enumerate(
            zip(drafts, documents, strict=True), start=serial
        ):
            last = latest.get(draft.order_id)
            last = session.changed.get(last.id, last) if last else None
            if refusal := admission_refusal(document, last):
                self._intake.refuse(session, document, refusal)
                continue
            entry = self._enter(session, document, draft, last, number)
            latest[entry.order_id] = session.changed[entry.id] = entry
            if self._e_port_takes(session, entry, last):
                admitted.append(entry)
        self.decide(session, admitted, first=True)

    def _enter(
        self,
        session: Session,
        document: Document,
        draft: RegisterEntry,
        last: RegisterEntry | None,
        serial: int,
    ) -> RegisterEntry:
        if last and document.head["appType"] == "2":
            self._repeat_return(session, last)
            self._register.amend(last, document)
            return last
        draft.pre_no = pre_no("B", serial, session.now)
        draft.returns = last.returns if last else 0
        return draft

    def _e_port_takes(
        self, session: Session, entry: RegisterEntry, last: RegisterEntry | None
    ) -> bool:
        if "silent" in words_of(entry.order_no):
            entry.state = "silent"
            session.tally["list", "silent"] += 1
            return False
        refusal = e_port_refusal(entry, last, session.now, self._policy)
        if refusal:
            entry.state = "refused"
            self.answer(session, entry, refusal.status, refusal.text)
            session.tally["list", "refused"] += 1
        return refusal is None

    def decide(self, session: Session, entries: Sequence[RegisterEntry], *, first: bool) -> None:
        """Match each list with its documents and begin to answer it.

        A list without a document waits; a difference refuses it. `first` also confirms the lodging.
        """
        if not entries:
            return
        orders, payments, waybills = self._register.documents.of_orders(
            [entry.order_id for entry in entries]
        )
        serial = self._register.serials(len(entries))
        for number, entry in enumerate(entries, start=serial):
            verdict = match(
                entry.body,
                orders.get(entry.order_id),
                payments.get(entry.order_id),
                waybills.get((entry.order_id, *entry.body["waybill"])),
            )
            slow = SLOW_S * self._policy.pace if "slow" in words_of(entry.order_no) else 0.0
            if first:
                missing = f"，{verdict.text}" if isinstance(verdict, MissingDocument) else ""
                self._plan(session, entry, slow, 2, TEXTS[2] + missing)
            if isinstance(verdict, MissingDocument):
                session.tally["list", "waits"] += 1
            elif refusal := verdict or scripted_refusal(entry, entry.returns):
                self._refuse(session, entry, refusal, slow)
            else:
                self._accept(session, entry, number, slow)

    def _refuse(
        self, session: Session, entry: RegisterEntry, refusal: Refusal, slow: float
    ) -> None:
        entry.state = "returned" if refusal.status == 100 else "refused"
        entry.returns += refusal.status == 100
        self._plan(session, entry, slow, refusal.status, refusal.text)
        session.tally["list", entry.state] += 1

    def _accept(self, session: Session, entry: RegisterEntry, serial: int, slow: float) -> None:
        entry.state = "declared"
        entry.invt_no = entry.invt_no or invt_no(entry, serial, session.now)
        session.tally["list", "accepted"] += 1
        for after, status in script_of(entry, self._policy):
            self._plan(session, entry, slow + after, status, TEXTS[status])

    def _plan(
        self, session: Session, entry: RegisterEntry, after: float, status: int, text: str
    ) -> None:
        if after > 0:
            session.planned.append(PlannedReceipt(session.now + after, entry.id, status, text))
        else:
            self.answer(session, entry, status, text)

    def answer(self, session: Session, entry: RegisterEntry, status: int, text: str) -> None:
        """Give a receipt and note its status; a release also plans the tax bill."""
        # An examination after the release contradicts the register and does not change it.
        # Neither does the e-port's answer to a message that it received again.
        is_contradiction = entry.status in CLEARED and status not in CLEARED
        is_repetition = status < 0 and entry.state == "declared"
        if not is_contradiction and not is_repetition:
            entry.status = status
        if status == 800 and entry.released_at is None:
            entry.released_at = session.now
            days = bills.days_until_billed(entry)
            if days is not None:
                session.to_bill.append((entry.id, self._policy.day_after(session.now, days)))
        session.give(entry, _receipt(session, entry, status, text))

    def _repeat_return(self, session: Session, entry: RegisterEntry) -> None:
        """By the word `again`: repeat the return of the list before the amendment, in a receipt of
        its own.
        """
        refusal = scripted_refusal(entry, returns=0)
        if "again" in words_of(entry.order_no) and refusal:
            session.receipts.append(_receipt(session, entry, refusal.status, refusal.text))


def _receipt(session: Session, entry: RegisterEntry, status: int, text: str) -> Receipt:
    fields = {
        **entry.body["fields"],
        "copNo": entry.cop_no,
        "preNo": entry.pre_no,
        "orderNo": entry.order_no,
    }
    if entry.invt_no and status >= 120:
        fields["invtNo"] = entry.invt_no
    moment = session.moment()
    return receipt_of("list", entry.family, entry.message_guid, fields, status, text, moment)
