"""The authority's register: rows read and written in bulk; particulars become keyed digests on the way in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import orjson

from sandbox.authority.declarations import Document, Family
from sandbox.documents import Payment, Submission, Waybill
from sandbox.storage import KAFKA_TABLES, File
from shared.identity import order_id_of

_OF_EXPORTS: Final = ("ownerCode", "country", "tradeMode", "trafMode", "grossWeight", "netWeight")
"""What lists are consolidated by."""
LIVE: Final = frozenset({"silent", "waiting", "declared"})
_ID_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_SELECT: Final = (
    "SELECT id, order_id, guid, family, message_guid, order_no, cop_no, pre_no, invt_no, state, status,"
    " returns, app_time, released_at, body FROM register "
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
class Entry:
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
class Due:
    """A receipt to be given at a time."""

    at: float
    list_id: int
    status: int
    text: str


@dataclass(slots=True)
class Bill:
    """The tax bill of one released list; `state` is the status last told (0 none yet, 1 issued, 2 consolidated, 3 void).

    `next_at`: when the next word on it is due, None for never.
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
        self._digest_key: bytes = self._db.execute(
            "SELECT value FROM meta WHERE name = 'digest_key'"
        ).fetchone()[0]
        self._last_id: int = self._db.execute(
            "SELECT coalesce(max(id), 0) FROM register"
        ).fetchone()[0]

    # --- documents

    def add_orders(self, submissions: Iterable[Submission]) -> list[str]:
        """Record order documents that add up; returns the ids of the orders.

        The first of an order counts, also where two come together: another order of the same number changes nothing.
        """
        rows = [
            (str(s.order_id), orjson.dumps(self._order_body(s))) for s in submissions if s.adds_up
        ]
        self._db.executemany("INSERT OR IGNORE INTO order_document VALUES (?, ?)", rows)
        return list(dict.fromkeys(order_id for order_id, _ in rows))

    def add_payments(self, payments: Sequence[Payment]) -> list[str]:
        self._db.executemany(
            "INSERT OR IGNORE INTO payment_document VALUES (?, ?, ?)",
            [(p.reference, p.payment_no, orjson.dumps(self._payment_body(p))) for p in payments],
        )
        return [payment.reference for payment in payments]

    def add_waybills(self, waybills: Sequence[Waybill]) -> list[str]:
        self._db.executemany(
            "INSERT OR IGNORE INTO waybill_document VALUES (?, ?, ?, ?)",
            [
                (w.logistics_code, w.logistics_no, w.order_id, orjson.dumps(self._waybill_body(w)))
                for w in waybills
            ],
        )
        return [waybill.order_id for waybill in waybills]

    def documents_of(
        self, entries: Sequence[Entry]
    ) -> tuple[dict[str, Any], dict[str, Any], dict[tuple[str, str, str], Any]]:
        """Order and payment documents by order id, waybill documents by order id, carrier and number."""
        ids = [entry.order_id for entry in entries]
        orders = self.file.by_key(
            "SELECT order_id, body FROM order_document WHERE order_id IN (SELECT value FROM json_each(?))",
            ids,
        )
        payments = self.file.by_key(
            "SELECT reference, body FROM payment_document WHERE reference IN (SELECT value FROM json_each(?))",
            ids,
        )
        waybills = self.file.by_key(
            "SELECT order_id, logistics_code, logistics_no, body FROM waybill_document"
            " WHERE order_id IN (SELECT value FROM json_each(?))",
            ids,
        )
        return (
            {row[0]: orjson.loads(row[1]) for row in orders},
            {row[0]: orjson.loads(row[1]) for row in payments},
            {(row[0], row[1], row[2]): orjson.loads(row[3]) for row in waybills},
        )

    # --- messages and lists

    def is_new_message(self, guid: str, kind: str) -> bool:
        """Record the message; False if it was recorded before."""
        return (
            self._db.execute("INSERT OR IGNORE INTO message VALUES (?, ?)", (guid, kind)).rowcount
            == 1
        )

    def latest_of(self, order_ids: Iterable[str]) -> dict[str, Entry]:
        """The live list of each order, or else its last one."""
        return {row[1]: _entry(row) for row in self.file.by_key(_BY_ORDERS, order_ids)}

    def by_ids(self, ids: Iterable[int]) -> dict[int, Entry]:
        return {row[0]: _entry(row) for row in self.file.by_key(_BY_IDS, ids)}

    def by_invt_nos(self, numbers: Iterable[str]) -> dict[str, Entry]:
        """The lists of these numbers."""
        return {row[8]: _entry(row) for row in self.file.by_key(_BY_INVT_NOS, numbers)}

    def waiting(self, order_ids: Iterable[str]) -> list[Entry]:
        """Lists of these orders that wait for a document."""
        return [_entry(row) for row in self.file.by_key(_WAITING, order_ids)]

    def find(self, document: Document) -> Entry | None:
        """The list a request speaks of: by its number, else by the enterprise's own, else by the order."""
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

    def new_entry(self, document: Document, pre_no: str) -> Entry:
        head = document.head
        self._last_id += 1
        return Entry(
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
            self._list_body(document),
        )

    def amend(self, entry: Entry, document: Document) -> None:
        entry.message_guid, entry.guid = document.message_guid, document.head["guid"]
        entry.app_time, entry.cop_no = document.head["appTime"], document.cop_no
        entry.body, entry.state = self._list_body(document), "waiting"

    def save(self, entries: Iterable[Entry]) -> None:
        # Lists that end are written first: an order's new live list must find the old one ended.
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

    # --- later receipts, numbers

    def add_due(self, due: Sequence[Due]) -> None:
        self._db.executemany(
            "INSERT INTO due (at, list_id, status, text) VALUES (?, ?, ?, ?)",
            [(d.at, d.list_id, d.status, d.text) for d in due],
        )

    def take_due(self, now: float, limit: int) -> list[Due]:
        """What is due by now, oldest first, removed."""
        rows = self._db.execute(
            "SELECT id, at, list_id, status, text FROM due WHERE at <= ? ORDER BY at, id LIMIT ?",
            (now, limit),
        ).fetchall()
        self._db.executemany("DELETE FROM due WHERE id = ?", [(row[0],) for row in rows])
        return [Due(*row[1:]) for row in rows]

    def add_going_back(self, rows: Sequence[tuple[float, int, Mapping[str, Any]]]) -> None:
        """Goods on their way: when they arrive, their list, and what their application's receipt needs."""
        self._db.executemany(
            "INSERT INTO going_back (at, list_id, application) VALUES (?, ?, ?)",
            [(at, list_id, orjson.dumps(application)) for at, list_id, application in rows],
        )

    def take_back_due(self, now: float, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """The goods that have arrived by now, oldest first, removed: their list and application."""
        rows = self._db.execute(
            "SELECT id, list_id, application FROM going_back WHERE at <= ? ORDER BY at, id LIMIT ?",
            (now, limit),
        ).fetchall()
        self._db.executemany("DELETE FROM going_back WHERE id = ?", [(row[0],) for row in rows])
        return [(row[1], orjson.loads(row[2])) for row in rows]

    def drop_due(self, list_id: int) -> None:
        self._db.execute("DELETE FROM due WHERE list_id = ?", (list_id,))

    # --- tax bills

    def add_bills(self, bills: Sequence[tuple[int, float]]) -> None:
        """Lists to bill, each with the time at which its bill falls due."""
        self._db.executemany(
            "INSERT OR IGNORE INTO bill (list_id, state, next_at) VALUES (?, 0, ?)", bills
        )

    def bills_due(self, now: float, limit: int) -> list[Bill]:
        """Bills of which the next word is due, oldest first."""
        rows = self._db.execute(
            "SELECT list_id, state, next_at, tax_no, book FROM bill WHERE next_at <= ? ORDER BY next_at, list_id LIMIT ?",
            (now, limit),
        ).fetchall()
        return [Bill(*row) for row in rows]

    def bill_of(self, list_id: int) -> Bill | None:
        """The bill of a list, None if there will be none."""
        row = self._db.execute(
            "SELECT list_id, state, next_at, tax_no, book FROM bill WHERE list_id = ?", (list_id,)
        ).fetchone()
        return Bill(*row) if row else None

    def save_bills(self, bills: Sequence[Bill]) -> None:
        self._db.executemany(
            "UPDATE bill SET state = ?, next_at = ?, tax_no = ?, book = ? WHERE list_id = ?",
            [(b.state, b.next_at, b.tax_no, b.book, b.list_id) for b in bills],
        )

    def serials(self, count: int) -> int:
        """The first of `count` serial numbers never given before."""
        row = self._db.execute(
            "UPDATE meta SET value = value + ? WHERE name = 'serial' RETURNING value", (count,)
        ).fetchone()
        return int(row[0]) - count + 1

    # --- digests

    def _digest(self, text: str | None) -> str:
        if not text:
            return ""
        return blake2b(
            text.strip().upper().encode(), key=self._digest_key, digest_size=12
        ).hexdigest()

    def _order_body(self, order: Submission) -> Mapping[str, Any]:
        to = order.consignee
        return {
            "amount_paid": str(order.amount_paid),
            "currency": order.currency,
            "enterprise": order.enterprise,
            "buyer_name": self._digest(order.buyer_name),
            "buyer_id": self._digest(order.buyer_id),
            "buyer_phone": self._digest(order.buyer_phone),
            "payer_id": self._digest(order.payer_id),
            "any_payer": not order.payer_id and is_resident_id(order.buyer_id),
            "consignee_name": self._digest(to.name),
            "consignee_phone": self._digest(to.phone),
            "consignee_address": self._digest(to.address),
            "lines": [
                {
                    "number": line.number,
                    "name": line.name.strip(),
                    "quantity": str(line.quantity),
                    "price": str(line.price),
                    "total": str(line.total),
                    "origin": line.origin,
                }
                for line in order.lines
            ],
        }

    def _payment_body(self, payment: Payment) -> Mapping[str, Any]:
        return {
            "amount": payment.amount,
            "currency": payment.currency,
            "enterprise": payment.enterprise,
            "payer_id": self._digest(payment.payer_id),
        }

    def _waybill_body(self, waybill: Waybill) -> Mapping[str, Any]:
        return {
            "consignee_name": self._digest(waybill.consignee_name),
            "consignee_phone": self._digest(waybill.consignee_phone),
            "consignee_address": self._digest(waybill.consignee_address),
        }

    def _list_body(self, document: Document) -> dict[str, Any]:
        head = document.head
        exported = document.family == "603"
        fields = (
            "customsCode",
            "ebpCode",
            "ebcCode",
            "agentCode",
            "statisticsFlag",
            "assureCode",
            *(_OF_EXPORTS if exported else ()),
        )
        return {
            "family": document.family,
            "waybill": [head["logisticsCode"], head["logisticsNo"]],
            "fields": {name: head[name] for name in fields if name in head},
            "buyer_name": self._digest(head.get("buyerName")),
            "buyer_id": self._digest(head.get("buyerIdNumber")),
            "buyer_phone": self._digest(head.get("buyerTelephone")),
            "freight": head["freight"],
            "insured": head["insuredFee"],
            "lines": [
                {
                    "number": int(line["gnum"]),
                    "code": line["gcode"],
                    "name": line["gname"],
                    "model": line["gmodel"],
                    "quantity": line["qty"],
                    "price": line["price"],
                    "total": line["totalPrice"],
                    "country": line["country"],
                }
                | ({"currency": line["currency"], "unit": line["unit"]} if exported else {})
                for line in document.lines
            ],
        }


def _entry(row: Sequence[Any]) -> Entry:
    return Entry(*[*row[:14], orjson.loads(row[14])])


def is_resident_id(number: str) -> bool:
    """The check digit and the birth date of a resident identity number are right [GB 11643-1999]."""
    if len(number) != 18 or not number[:17].isdigit() or not number.isascii():
        return False
    try:
        datetime.strptime(number[6:14], "%Y%m%d")  # noqa: DTZ007  a date without a zone
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number, _ID_WEIGHTS, strict=False))
    return "10X98765432"[total % 11] == number[17].upper()
