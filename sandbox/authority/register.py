"""The authority's register of lists, and what is planned for them: rows read and
written in bulk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from sandbox.authority.bodies import Bodies
from sandbox.authority.document_store import DocumentStore
from sandbox.authority.message_forms import Family
from sandbox.authority.messages import Document
from sandbox.storage import KAFKA_TABLES, File
from shared.identity import order_id_of

LIVE: Final = frozenset({"silent", "waiting", "declared"})
_SELECT: Final = (
    "SELECT id, order_id, guid, family, message_guid, order_no, cop_no, pre_no, invt_no, state,"
    " status, returns, app_time, released_at, body FROM register "
)
_BY_IDS: Final = _SELECT + "WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608
_BY_ORDERS: Final = _SELECT + "WHERE order_id IN (SELECT value FROM json_each(?)) ORDER BY id"  # noqa: S608
_WAITING: Final = (
    _SELECT + "WHERE state = 'waiting' AND order_id IN (SELECT value FROM json_each(?))"  # noqa: S608
)
_BY_INVT_NO: Final = _SELECT + "WHERE invt_no = ? ORDER BY id DESC LIMIT 1"
_BY_INVT_NOS: Final = _SELECT + "WHERE invt_no IN (SELECT value FROM json_each(?)) ORDER BY id"  # noqa: S608
_BY_COP_NO: Final = _SELECT + "WHERE cop_no = ? ORDER BY id DESC LIMIT 1"


@dataclass(slots=True)
class RegisterEntry:
    """One list in the register."""

    id: int
    order_id: str
    guid: str
    family: Family
    message_guid: str
    order_no: str
    cop_no: str
    pre_no: str
    invt_no: str | None
    state: str
    status: int
    returns: int
    app_time: str
    released_at: float | None
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PlannedReceipt:
    """A receipt to be given at `at`, in seconds since the epoch."""

    at: float
    list_id: int
    status: int
    text: str


@dataclass(slots=True)
class TaxBill:
    """The tax bill of one released list.

    `state` is the last status given: 0 none yet, 1 issued, 2 consolidated, 3 void.
    `next_at` is when the next message about the bill is due, None for never.
    """

    list_id: int
    state: int
    next_at: float | None
    tax_no: str | None = None
    book: str | None = None


class Register:
    """Rows of the authority's file; every method runs inside the caller's transaction."""

    def __init__(self, path: Path | None = None) -> None:
        self.file = File(
            path,
            KAFKA_TABLES + Path(__file__).with_name("authority.sql").read_text(encoding="utf-8"),
        )
        self._db = self.file.db
        (digest_key,) = self._db.execute(
            "SELECT value FROM meta WHERE name = 'digest_key'"
        ).fetchone()
        self._bodies = Bodies(digest_key)
        self.documents = DocumentStore(self.file, self._bodies)
        self._last_id: int = self._db.execute(
            "SELECT coalesce(max(id), 0) FROM register"
        ).fetchone()[0]

    # --- messages and lists

    def is_new_message(self, guid: str, kind: str) -> bool:
        """Record the message; return False if it was recorded before."""
        return (
            self._db.execute("INSERT OR IGNORE INTO message VALUES (?, ?)", (guid, kind)).rowcount
            == 1
        )

    def latest_of(self, order_ids: Iterable[str]) -> dict[str, RegisterEntry]:
        """Return the live list of each order, or else its last one."""
        return {row[1]: _entry(row) for row in self.file.by_key(_BY_ORDERS, order_ids)}

    def by_ids(self, ids: Iterable[int]) -> dict[int, RegisterEntry]:
        return {row[0]: _entry(row) for row in self.file.by_key(_BY_IDS, ids)}

    def by_invt_nos(self, numbers: Iterable[str]) -> dict[str, RegisterEntry]:
        return {row[8]: _entry(row) for row in self.file.by_key(_BY_INVT_NOS, numbers)}

    def waiting(self, order_ids: Iterable[str]) -> list[RegisterEntry]:
        return [_entry(row) for row in self.file.by_key(_WAITING, order_ids)]

    def find(self, document: Document) -> RegisterEntry | None:
        """Return the list of a request: by customs' number, else by the enterprise's, else by the
        order.
        """
        for query, value in (
            (_BY_INVT_NO, document.head.get("invtNo")),
            (_BY_COP_NO, document.cop_no),
        ):
            row = self._db.execute(query, (value,)).fetchone()
            if row:
                return _entry(row)
        if "orderNo" not in document.head:
            return None
        order_id = str(order_id_of(document.head["ebpCode"], document.head["orderNo"]))
        return self.latest_of([order_id]).get(order_id)

    def new_entry(self, document: Document, pre_no: str) -> RegisterEntry:
        head = document.head
        self._last_id += 1
        return RegisterEntry(
            self._last_id,
            str(order_id_of(head["ebpCode"], head["orderNo"])),
            head["guid"],
            document.family,
            document.message_guid,
            head["orderNo"],
            document.cop_no,
            pre_no,
            None,
            "waiting",
            0,
            0,
            head["appTime"],
            None,
            self._bodies.list(document),
        )

    def amend(self, entry: RegisterEntry, document: Document) -> None:
        entry.message_guid, entry.guid = document.message_guid, document.head["guid"]
        entry.app_time, entry.cop_no = document.head["appTime"], document.cop_no
        entry.body, entry.state = self._bodies.list(document), "waiting"

    def save(self, entries: Iterable[RegisterEntry]) -> None:
        # Ended lists first: `register_live` allows one live list per order at any time.
        ordered = sorted(entries, key=lambda entry: entry.state in LIVE)
        self._db.executemany(
            "INSERT OR REPLACE INTO register VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    e.id,
                    e.order_id,
                    e.guid,
                    e.family,
                    e.message_guid,
                    e.order_no,
                    e.cop_no,
                    e.pre_no,
                    e.invt_no,
                    e.state,
                    e.status,
                    e.returns,
                    e.app_time,
                    e.released_at,
                    orjson.dumps(e.body),
                )
                for e in ordered
            ],
        )

    # --- planned receipts, returned goods

    def plan(self, due: Sequence[PlannedReceipt]) -> None:
        self._db.executemany(
            "INSERT INTO due (at, list_id, status, text) VALUES (?, ?, ?, ?)",
            [(d.at, d.list_id, d.status, d.text) for d in due],
        )

    def take_planned(self, now: float, limit: int) -> list[PlannedReceipt]:
        rows = self._db.execute(
            "SELECT id, at, list_id, status, text FROM due WHERE at <= ? ORDER BY at, id LIMIT ?",
            (now, limit),
        ).fetchall()
        self._db.executemany("DELETE FROM due WHERE id = ?", [(row[0],) for row in rows])
        return [PlannedReceipt(*row[1:]) for row in rows]

    def add_going_back(self, rows: Sequence[tuple[float, int, Mapping[str, Any]]]) -> None:
        """Record goods on their way: time of arrival, list, and what the receipt needs of the
        application.
        """
        self._db.executemany(
            "INSERT INTO going_back (at, list_id, application) VALUES (?, ?, ?)",
            [(at, list_id, orjson.dumps(application)) for at, list_id, application in rows],
        )

    def take_arrivals(self, now: float, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Remove and return list and application of the goods that have arrived by `now`, oldest
        first.
        """
        rows = self._db.execute(
            "SELECT id, list_id, application FROM going_back WHERE at <= ? ORDER BY at, id LIMIT ?",
            (now, limit),
        ).fetchall()
        self._db.executemany("DELETE FROM going_back WHERE id = ?", [(row[0],) for row in rows])
        return [(row[1], orjson.loads(row[2])) for row in rows]

    def drop_planned(self, list_id: int) -> None:
        self._db.execute("DELETE FROM due WHERE list_id = ?", (list_id,))

    # --- tax bills

    def add_bills(self, bills: Sequence[tuple[int, float]]) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO bill (list_id, state, next_at) VALUES (?, 0, ?)", bills
        )

    def bills_due(self, now: float, limit: int) -> list[TaxBill]:
        rows = self._db.execute(
            "SELECT list_id, state, next_at, tax_no, book FROM bill"
            " WHERE next_at <= ? ORDER BY next_at, list_id LIMIT ?",
            (now, limit),
        ).fetchall()
        return [TaxBill(*row) for row in rows]

    def bill_of(self, list_id: int) -> TaxBill | None:
        """Return the bill of a list, None if there will be none."""
        row = self._db.execute(
            "SELECT list_id, state, next_at, tax_no, book FROM bill WHERE list_id = ?", (list_id,)
        ).fetchone()
        return TaxBill(*row) if row else None

    def save_bills(self, bills: Sequence[TaxBill]) -> None:
        self._db.executemany(
            "UPDATE bill SET state = ?, next_at = ?, tax_no = ?, book = ? WHERE list_id = ?",
            [(b.state, b.next_at, b.tax_no, b.book, b.list_id) for b in bills],
        )

    def serials(self, count: int) -> int:
        """Reserve `count` serial numbers and return the first."""
        row = self._db.execute(
            "UPDATE meta SET value = value + ? WHERE name = 'serial' RETURNING value", (count,)
        ).fetchone()
        return int(row[0]) - count + 1


def _entry(row: Sequence[Any]) -> RegisterEntry:
    return RegisterEntry(*[*row[:14], orjson.loads(row[14])])
