"""The bank: authorises, captures, voids, refunds and transfers once per idempotency key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import orjson

from sandbox import metrics
from sandbox.bank import history, store
from sandbox.bank.item_form import item_fault
from sandbox.bank.ledger import (
    DO,
    BankAnswer,
    BulkLedger,
    Item,
    Operation,
    answer_to,
    capture,
    recorded_answer,
)
from sandbox.bank.oddities import busy_keys, first_attempt, remember
from sandbox.storage import File

SLOW_S: Final = 2.0
HANG_S: Final = 6.0


class Bank:
    """The bank's decisions over its file. Times are seconds since the epoch."""

    def __init__(self, path: Path | None = None, pace: float = 1.0) -> None:
        self.file = File(path, Path(__file__).with_name("bank.sql").read_text(encoding="utf-8"))
        self._slow_s = SLOW_S * pace
        self.hang_s = HANG_S * pace

    def perform(self, kind: str, items: Sequence[Item], now: float) -> tuple[list[BankAnswer], str]:
        """Return the answers to a bulk in its order, committed, and their fate on the way.

        That fate is "", `hangup`, `null`, `hang`, or `busy` for a bulk of which nothing was done.
        Raises BulkFailure, after which nothing was done either.
        """
        with self.file.transaction():
            self._finish_due(now)
            ledger = store.load(self.file, items, now)
            if keys := busy_keys(ledger, kind, items):
                for key in keys:
                    ledger.write(Operation(key, kind, b"", b"", "retry", None, None))
                store.save(self.file, ledger)
                return [], "busy"
            answers = [self._answer(ledger, kind, item) for item in items]
            store.save(self.file, ledger)
        for status, number in Counter(answer["status"] for answer in answers).items():
            metrics.OPERATIONS.labels("bank", kind, status).inc(number)
        return answers, ledger.line

    def ask(self, keys: Sequence[str], now: float) -> list[BankAnswer]:
        """Return the fate of each key: `unknown_key`, `pending`, or the recorded answer."""
        with self.file.transaction():
            self._finish_due(now)
            operations = store.operations_of(self.file, keys)
        return [recorded_answer(key, operations.get(key)) for key in keys]

    def find(self, references: Sequence[str], now: float) -> list[BankAnswer]:
        """Return the books under each reference, also of operations whose key is forgotten."""
        with self.file.transaction():
            self._finish_due(now)
            return history.find(self.file, references)

    def finish_due(self, now: float) -> bool:
        """Finish the running operations that are due; return whether there was one."""
        with self.file.transaction():
            return self._finish_due(now)

    def _answer(self, ledger: BulkLedger, kind: str, item: Item) -> BankAnswer:
        if fault := item_fault(kind, item):
            named = {"key": item.get("key"), "reference": item.get("reference")}
            return {**named, "status": "invalid", "code": "FF01", "reason": fault}
        key = item["key"]
        raw = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
        fingerprint = blake2b(raw, digest_size=16).digest()
        known = ledger.operations.get(key)
        if known is not None and (answer := _repeated(known, kind, fingerprint, item)):
            return answer
        # Only a capture may be finished later: other requests, which name a payer, are not stored.
        request = raw if kind == "capture" else b""
        operation = Operation(key, kind, fingerprint, request, "done", None, None)
        if known is None and (answer := first_attempt(ledger, operation, item, self._slow_s)):
            return answer
        answer = DO[kind](ledger, item)
        if answer["status"] == "error":
            return answer
        return remember(ledger, operation, item, answer, is_first=known is None)

    def _finish_due(self, now: float) -> bool:
        rows = self.file.db.execute(
            "SELECT item FROM operation WHERE state = 'running' AND due <= ?"
            " ORDER BY due LIMIT 500",
            (now,),
        ).fetchall()
        if not rows:
            return False
        items = [orjson.loads(row[0]) for row in rows]
        ledger = store.load(self.file, items, now)
        for item in items:
            operation = ledger.operations[item["key"]]
            operation.answer = capture(ledger, item)
            operation.state, operation.due = "done", None
            ledger.write(operation)
        store.save(self.file, ledger)
        return True


def _repeated(known: Operation, kind: str, fingerprint: bytes, item: Item) -> BankAnswer | None:
    """Return the answer to a key that was used before.

    None where the operation may be tried again.
    """
    if known.kind != kind or known.fingerprint not in {b"", fingerprint}:
        return answer_to(
            item, "conflict", code="DUPL", reason="the key was used for another request"
        )
    if known.state in {"done", "running"}:
        return known.answer or answer_to(item, "pending")
    return None
