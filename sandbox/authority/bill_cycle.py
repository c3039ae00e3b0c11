"""The life of a tax bill: issued days after the release, corrected by returns, consolidated or void
after the term.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import structlog

from sandbox.authority import bills
from sandbox.authority.duties import NoRate
from sandbox.authority.policy import AuthorityPolicy, is_taxed, payment_book, taxed_shares
from sandbox.authority.receipts import new_guid
from sandbox.authority.register import Register, RegisterEntry, TaxBill
from sandbox.authority.session import Session
from sandbox.documents import words_of

_log = structlog.get_logger()
BILLS_MAX: Final = 1000
"""Bills handled in one transaction; a message holds up to 100."""


class BillCycle:
    """Decisions about tax bills; every method runs inside the caller's transaction."""

    def __init__(self, register: Register, policy: AuthorityPolicy) -> None:
        self._register = register
        self._policy = policy

    def fall_due(self, session: Session) -> None:
        due = self._register.bills_due(session.now, BILLS_MAX)
        if not due:
            return
        # The query below must see what this transaction changed.
        self._register.save(session.changed.values())
        entries = self._register.by_ids({bill.list_id for bill in due})
        origin = new_guid()
        books: dict[tuple[str, str], str] = {}
        for bill in due:
            entry = entries[bill.list_id]
            if bill.state == 0:
                self._issue(session, entry, bill, origin)
            else:
                self._settle(session, entry, bill, origin, books)
        self._register.save_bills(due)

    def _issue(self, session: Session, entry: RegisterEntry, bill: TaxBill, origin: str) -> None:
        bill.next_at = None
        if not is_taxed(entry):
            return
        try:
            lines = bills.lines_of(entry, taxed_shares(entry))
        except NoRate as missing:
            _log.warning("no bill: the tariff has no rate", list=entry.guid, code=str(missing))
            return
        bill.state, bill.tax_no = 1, f"{entry.invt_no}_0"
        released_at = entry.released_at or session.now
        bill.next_at = self._policy.day_after(released_at, bills.CONSOLIDATED_AFTER_DAYS)
        session.receipts += bills.issued(entry, bill, lines, origin, session.moment())
        session.tally["bill", "issued"] += 1

    def correct(self, session: Session, entry: RegisterEntry) -> None:
        """Void the bill of a list of which some goods are back in time, and issue another for the
        rest.

        Where all goods are back, the bill becomes void after the term. A bill in a payment book
        stays: that one is paid, and the tax is claimed back.
        """
        bill = self._register.bill_of(entry.id)
        if bill is None or bill.state != 1 or not is_taxed(entry):
            return
        if "uncorrected" in words_of(entry.order_no):
            return
        origin = new_guid()
        void = replace(bill, state=3)
        session.receipts.append(bills.status_of(entry, void, origin, session.moment()))
        number, _, edition = str(bill.tax_no).rpartition("_")
        bill.tax_no = f"{number}_{int(edition) + 1}"
        lines = bills.lines_of(entry, taxed_shares(entry))
        session.receipts += bills.issued(entry, bill, lines, origin, session.moment())
        session.tally["bill", "corrected"] += 1
        self._register.save_bills([bill])

    def _settle(
        self,
        session: Session,
        entry: RegisterEntry,
        bill: TaxBill,
        origin: str,
        books: dict[tuple[str, str], str],
    ) -> None:
        """After the term for returns: enter the bill into a payment book, or void it if all goods
        are back.

        `books` has the payment book of each office and guarantor in this transaction.
        """
        bill.next_at = None
        if is_taxed(entry):
            fields = entry.body["fields"]
            key = (fields["customsCode"], fields.get("assureCode", ""))
            if key not in books:
                books[key] = payment_book(key[0], self._register.serials(1), session.now)
            bill.state, bill.book = 2, books[key]
        else:
            bill.state = 3
        session.receipts.append(bills.status_of(entry, bill, origin, session.moment()))
        session.tally["bill", "consolidated" if bill.state == 2 else "void"] += 1
