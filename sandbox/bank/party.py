"""The bank: authorises, captures, voids and refunds, once per idempotency key, and remembers its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import orjson

from sandbox import metrics
from sandbox.bank import history as bank_history
from sandbox.bank.ledger import (
    DO,
    Answer,
    Authorisation,
    CapturedPayment,
    Desk,
    Item,
    Operation,
    capture,
    fault_of,
    say,
    swapped,
    token_of,
    told,
    turned_away,
    withheld,
)
from sandbox.storage import File

SLOW_S: Final = 2.0
HANG_S: Final = 6.0
_MOMENTS: Final = {
    ("capture", "tok_flaky"): ("retry", "error"),
    ("refund", "tok_refund_flaky"): ("retry", "error"),
    ("capture", "tok_unknown_lost"): ("lost", "pending"),
    ("capture", "tok_slow"): ("running", "pending"),
}
"""What the first attempt comes to by the payment's token: the state it is kept in, and what is answered."""


class Bank:
    """The bank's decisions over its file. Times are seconds since the epoch."""

    def __init__(self, path: Path | None = None, pace: float = 1.0) -> None:
        self.file = File(path, Path(__file__).with_name("bank.sql").read_text(encoding="utf-8"))
        self._slow_s = SLOW_S * pace
        self.hang_s = HANG_S * pace

    def perform(self, kind: str, items: Sequence[Item], now: float) -> tuple[list[Answer], str]:
        """Answers to a bulk, in its order, committed; and what becomes of them on the way: `hangup`, `null`, `hang`, `busy`.

        Of a bulk that is turned away as `busy` nothing was done. Raises Unable, and did nothing.
        """
        with self.file.transaction():
            self._finish_due(now)
            desk = self._desk(items, now)
            if keys := turned_away(desk, kind, list(items)):
                desk.operations |= {
                    key: Operation(key, kind, b"", b"", "retry", None, None) for key in keys
                }
                desk.touched |= set(keys)
                self._save(desk)
                return [], "busy"
            answers = [self._answer(desk, kind, item) for item in items]
            self._save(desk)
        for status, number in Counter(answer["status"] for answer in answers).items():
            metrics.OPERATIONS.labels("bank", kind, status).inc(number)
        return answers, desk.line

    def ask(self, keys: Sequence[str], now: float) -> list[Answer]:
        """What became of each key: `unknown_key`, `pending`, or the recorded answer."""
        with self.file.transaction():
            self._finish_due(now)
            found = self._operations(keys)
        return [told(key, found.get(key)) for key in keys]

    def find(self, references: Sequence[str], now: float) -> list[Answer]:
        """What is in the books under each reference, whether or not its key is still known."""
        with self.file.transaction():
            self._finish_due(now)
            return bank_history.find(self.file, references)

    def finish_due(self, now: float) -> bool:
        """Finish what was running and is due; True if there was something."""
        with self.file.transaction():
            return self._finish_due(now)

    # --- one item

    def _answer(self, desk: Desk, kind: str, item: Item) -> Answer:
        fault = fault_of(kind, item)
        if fault:
            who = {"key": item.get("key"), "reference": item.get("reference")}
            return {**who, "status": "invalid", "code": "FF01", "reason": fault}
        key = item["key"]
        raw = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
        fingerprint = blake2b(raw, digest_size=16).digest()
        known = desk.operations.get(key)
        if known is not None and (
            known.kind != kind or known.fingerprint not in {b"", fingerprint}
        ):
            return say(item, "conflict", code="DUPL", reason="the key was used for another request")
        if known is not None and known.state in {"done", "running"}:
            return known.answer or say(item, "pending")
        # Only what must be finished later keeps the request: a payer's particulars need no second place.
        operation = Operation(
            key, kind, fingerprint, raw if kind == "capture" else b"", "done", None, None
        )
        if known is None and (unfinished := self._stumble(desk, operation, item)):
            return unfinished
        answer = DO[kind](desk, item)
        if answer["status"] == "error":
            return answer
        return self._remember(desk, operation, item, answer, known is None)

    def _remember(
        self, desk: Desk, operation: Operation, item: Item, answer: Answer, is_first: bool
    ) -> Answer:
        """Write the answer under its key, unless it is one that the bank forgets, and give it, unless it gets lost."""
        token = token_of(desk, operation.kind, item) if answer["status"] == "captured" else ""
        if token == "tok_forgotten":
            return say(item, "pending")
        operation.answer = answer = swapped(answer) if token == "tok_swapped" else answer
        desk.operations[operation.key] = operation
        desk.touched.add(operation.key)
        return withheld(desk, operation.kind, item, answer) if is_first else answer

    def _stumble(self, desk: Desk, operation: Operation, item: Item) -> Answer | None:
        """The first attempts that come to nothing, or to nothing yet, by the payment's token."""
        token = token_of(desk, operation.kind, item)
        moment = _MOMENTS.get((operation.kind, token))
        if moment is None:
            return None
        operation.state, status = moment
        if operation.state == "running":
            authorisation = desk.authorisations[item["authorisation_no"]]
            if authorisation.state != "authorised":
                return None
            authorisation.state = "capturing"
            operation.due = desk.now + self._slow_s
        desk.operations[operation.key] = operation
        desk.touched.add(operation.key)
        reason = "try again, nothing was done" if status == "error" else None
        return say(item, status, code="500" if status == "error" else None, reason=reason)

    def _finish_due(self, now: float) -> bool:
        rows = self.file.db.execute(
            "SELECT item FROM operation WHERE state = 'running' AND due <= ? ORDER BY due LIMIT 500",
            (now,),
        ).fetchall()
        if not rows:
            return False
        items = [orjson.loads(row[0]) for row in rows]
        desk = self._desk(items, now)
        for item in items:
            operation = desk.operations[item["key"]]
            operation.answer = capture(desk, item)
            operation.state, operation.due = "done", None
            desk.touched.add(operation.key)
        self._save(desk)
        return True

    # --- rows

    def _desk(self, items: Sequence[Item], now: float) -> Desk:
        operations = self._operations([item.get("key") for item in items])
        payments = {
            row[0]: CapturedPayment(*row)
            for row in self.file.by_key(
                "SELECT payment_no, authorisation_no, reference, minor, currency, refunded_minor,"
                " EXISTS (SELECT 1 FROM declined_once d WHERE d.payment_no = payment.payment_no) FROM payment"
                " WHERE payment_no IN (SELECT value FROM json_each(?))",
                [item["payment_no"] for item in items if isinstance(item.get("payment_no"), str)],
            )
        }
        numbers = {
            item["authorisation_no"]
            for item in items
            if isinstance(item.get("authorisation_no"), str)
        }
        numbers.update(payment.authorisation_no for payment in payments.values())
        authorisations = {
            row[0]: Authorisation(*row)
            for row in self.file.by_key(
                "SELECT authorisation_no, reference, minor, currency, token, payer, enterprise_code, state"
                " FROM authorisation"
                " WHERE authorisation_no IN (SELECT value FROM json_each(?))",
                numbers,
            )
        }
        return Desk(now, operations, authorisations, payments, frozenset(authorisations))

    def _operations(self, keys: Sequence[Any]) -> dict[str, Operation]:
        rows = self.file.by_key(
            "SELECT key, kind, fingerprint, item, state, answer, due FROM operation"
            " WHERE key IN (SELECT value FROM json_each(?))",
            [key for key in keys if isinstance(key, str)],
        )
        return {
            r[0]: Operation(
                r[0], r[1], r[2], r[3], r[4], orjson.loads(r[5]) if r[5] else None, r[6]
            )
            for r in rows
        }

    def _save(self, desk: Desk) -> None:
        db = self.file.db
        db.executemany(
            "INSERT OR REPLACE INTO operation (key, kind, fingerprint, item, state, answer, due) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    o.key,
                    o.kind,
                    o.fingerprint,
                    b"" if o.answer else o.item,
                    o.state,
                    orjson.dumps(o.answer) if o.answer else None,
                    o.due,
                )
                for o in (desk.operations[key] for key in desk.touched)
            ],
        )
        # An update of what is there costs half of an insert that finds it there.
        there = [
            (a.state, a.number) for a in desk.authorisations.values() if a.number in desk.filed
        ]
        db.executemany("UPDATE authorisation SET state = ? WHERE authorisation_no = ?", there)
        db.executemany(
            "INSERT INTO authorisation VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (authorisation_no) DO UPDATE SET state = excluded.state",
            [
                (a.number, a.reference, a.minor, a.currency, a.token, a.payer, a.enterprise, a.state)
                for a in desk.authorisations.values() if a.number not in desk.filed
            ],
        )  # fmt: skip
        db.executemany(
            "INSERT INTO payment VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (payment_no) DO UPDATE SET refunded_minor = excluded.refunded_minor",
            [
                (p.number, p.authorisation_no, p.reference, p.minor, p.currency, p.refunded_minor)
                for p in desk.payments.values()
            ],
        )
        db.executemany(
            "INSERT OR IGNORE INTO declined_once VALUES (?)",
            [(p.number,) for p in desk.payments.values() if p.declined],
        )
        db.executemany("INSERT INTO refund VALUES (?, ?, ?, ?, ?, ?, ?)", desk.refunds)
        db.executemany(
            "INSERT INTO movement (kind, reference, payment_no, minor, currency, at) VALUES (?, ?, ?, ?, ?, ?)",
            desk.movements,
        )
        db.executemany(
            "INSERT INTO notice (document) VALUES (?)", [(document,) for document in desk.notices]
        )
