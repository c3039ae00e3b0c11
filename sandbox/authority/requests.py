"""Requests about registered lists: cancellation, return and consolidation.

And the goods that come back.
"""

from __future__ import annotations

from sandbox.authority.bill_cycle import BillCycle
from sandbox.authority.consolidation import Consolidation
from sandbox.authority.document_match import Refusal
from sandbox.authority.messages import Document
from sandbox.authority.policy import (
    JOURNEY_S,
    AuthorityPolicy,
    arrival_time,
    cancellation_refusal,
    exempt,
    is_all_taken_back,
    is_late,
    pre_no,
    record_return,
    return_refusal,
)
from sandbox.authority.receipts import TEXTS, Receipt, receipt_of
from sandbox.authority.register import Register, RegisterEntry
from sandbox.authority.session import Session
from sandbox.documents import words_of


class Requests:
    """Decisions about requests; every method runs inside the caller's transaction."""

    def __init__(
        self,
        register: Register,
        policy: AuthorityPolicy,
        consolidation: Consolidation,
        bill_cycle: BillCycle,
    ) -> None:
        self._register = register
        self._policy = policy
        self._consolidation = consolidation
        self._bill_cycle = bill_cycle

    def decide(self, session: Session, document: Document) -> None:
        """Answer one request. Changed entries are saved first, so that the queries see them."""
        self._register.save(session.changed.values())
        match document.kind:
            case "cancel":
                self._cancel(session, document)
            case "summary":
                receipts = self._consolidation.take_in(document, session.moment())
                add_summary_receipts(session, receipts)
            case _:
                self._return(session, document)

    def _cancel(self, session: Session, document: Document) -> None:
        """Grant a cancellation unless the goods are cleared or gone.

        The list gets no more receipts then.
        """
        entry = self._entry_of(session, document)
        refusal = cancellation_refusal(entry)
        if entry and not refusal:
            entry.state = "cancelled"
            self._register.drop_planned(entry.id)
            session.planned = [each for each in session.planned if each.list_id != entry.id]
        self._answer(session, document, entry, refusal, "C")

    def _return(self, session: Session, document: Document) -> None:
        """Grant a return of released goods within the term, up to the list's quantities.

        The goods travel then.
        """
        entry = self._entry_of(session, document)
        refusal = return_refusal(document, entry, session.now, self._policy)
        fields = self._answer(session, document, entry, refusal, "T")
        if entry is None or refusal:
            return
        record_return(entry, document)
        if "back_never" not in words_of(entry.order_no):
            application = {
                "family": document.family,
                "origin": document.message_guid,
                "fields": fields,
                "lines": {line["gnum"]: line["qty"] for line in document.lines},
            }
            arrives_at = session.now + JOURNEY_S * self._policy.pace
            session.going_back.append((arrives_at, entry.id, application))

    def arrive(self, session: Session, limit: int) -> None:
        """Examine and release (800) returned goods that have arrived, dated by the day
        of arrival.
        """
        arrivals = self._register.take_arrivals(session.now, limit)
        if not arrivals:
            return
        self._register.save(session.changed.values())
        ids = {list_id for list_id, _ in arrivals}
        entries = {**self._register.by_ids(ids), **session.changed}
        for list_id, application in arrivals:
            entry = session.changed[list_id] = entries[list_id]
            if is_all_taken_back(entry):
                entry.state = "taken_back"
            at = arrival_time(entry, session.moment())
            if not is_late(entry, at, self._policy):
                exempt(entry, application["lines"])
                self._bill_cycle.correct(session, entry)
            named = (application["family"], application["origin"], application["fields"])
            session.give(entry, receipt_of("return", *named, 800, TEXTS[800], at))
            session.tally["return", "arrived"] += 1

    def _answer(
        self,
        session: Session,
        document: Document,
        entry: RegisterEntry | None,
        refusal: Refusal | None,
        letter: str,
    ) -> dict[str, str]:
        """Give the receipt of a request.

        Return the fields by which later receipts name the request.
        """
        number = pre_no(letter, self._register.serials(1), session.now)
        fields = {**document.head, "preNo": number, _number_field(document): document.cop_no}
        status, text = (refusal.status, refusal.text) if refusal else (399, TEXTS[399])
        receipt = receipt_of(
            document.kind,
            document.family,
            document.message_guid,
            fields,
            status,
            text,
            session.moment(),
        )
        session.tally[document.kind, "refused" if refusal else "granted"] += 1
        if entry is None:
            session.receipts.append(receipt)
            return fields
        session.changed[entry.id] = entry
        session.give(entry, receipt)
        return fields

    def _entry_of(self, session: Session, document: Document) -> RegisterEntry | None:
        entry = self._register.find(document)
        return session.changed.get(entry.id, entry) if entry else None


def add_summary_receipts(session: Session, receipts: list[Receipt]) -> None:
    session.receipts += receipts
    for receipt in receipts:
        session.tally["summary", f"ceb{receipt.code}.{receipt.status}".lower()] += 1


def _number_field(document: Document) -> str:
    is_export_return = document.kind == "return" and document.family == "603"
    return "coElNo" if is_export_return else "copNo"
