"""The bank's rows: read for one bulk, written back together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from sandbox.bank.ledger import Authorisation, BulkLedger, CapturedPayment, Item, Operation
from sandbox.storage import File


def load(file: File, items: Sequence[Item], now: float) -> BulkLedger:
    payments = {
        row[0]: CapturedPayment(*row)
        for row in file.by_key(
            "SELECT payment_no, authorisation_no, reference, minor, currency, refunded_minor,"
            " EXISTS (SELECT 1 FROM declined_once d WHERE d.payment_no = payment.payment_no)"
            " FROM payment WHERE payment_no IN (SELECT value FROM json_each(?))",
            _texts(items, "payment_no"),
        )
    }
    numbers = set(_texts(items, "authorisation_no"))
    numbers.update(payment.authorisation_no for payment in payments.values())
    authorisations = {
        row[0]: Authorisation(*row)
        for row in file.by_key(
            "SELECT authorisation_no, reference, minor, currency, token, payer, enterprise_code,"
            " state FROM authorisation WHERE authorisation_no IN (SELECT value FROM json_each(?))",
            numbers,
        )
    }
    operations = operations_of(file, _texts(items, "key"))
    return BulkLedger(now, operations, authorisations, payments, frozenset(authorisations))


def operations_of(file: File, keys: Iterable[str]) -> dict[str, Operation]:
    rows = file.by_key(
        "SELECT key, kind, fingerprint, item, state, answer, due FROM operation"
        " WHERE key IN (SELECT value FROM json_each(?))",
        keys,
    )
    return {row[0]: _operation(row) for row in rows}


def _operation(row: Sequence[Any]) -> Operation:
    key, kind, fingerprint, item, state, answer, due = row
    recorded = orjson.loads(answer) if answer else None
    return Operation(key, kind, fingerprint, item, state, recorded, due)


def _texts(items: Iterable[Item], name: str) -> list[str]:
    return [item[name] for item in items if isinstance(item.get(name), str)]


def save(file: File, ledger: BulkLedger) -> None:
    """Write what a bulk changed; the caller's transaction is open."""
    file.db.executemany(
        "INSERT OR REPLACE INTO operation (key, kind, fingerprint, item, state, answer, due)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [_operation_row(ledger.operations[key]) for key in ledger.touched],
    )
    _save_authorisations(file, ledger)
    _save_payments(file, ledger)
    file.db.executemany("INSERT INTO refund VALUES (?, ?, ?, ?, ?, ?, ?)", ledger.refunds)
    file.db.executemany(
        "INSERT INTO movement (kind, reference, payment_no, minor, currency, at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        ledger.movements,
    )
    file.db.executemany(
        "INSERT INTO notice (document) VALUES (?)", [(document,) for document in ledger.notices]
    )


def _operation_row(operation: Operation) -> tuple[Any, ...]:
    """Return the row of an operation; an answered one needs its request no longer."""
    return (
        operation.key,
        operation.kind,
        operation.fingerprint,
        b"" if operation.answer else operation.item,
        operation.state,
        orjson.dumps(operation.answer) if operation.answer else None,
        operation.due,
    )


def _save_authorisations(file: File, ledger: BulkLedger) -> None:
    # An update of an existing row costs half of an insert that meets it.
    changed = [
        (a.state, a.number) for a in ledger.authorisations.values() if a.number in ledger.filed
    ]
    file.db.executemany("UPDATE authorisation SET state = ? WHERE authorisation_no = ?", changed)
    file.db.executemany(
        "INSERT INTO authorisation VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (authorisation_no) DO UPDATE SET state = excluded.state",
        [
            (a.number, a.reference, a.minor, a.currency, a.token, a.payer, a.enterprise, a.state)
            for a in ledger.authorisations.values()
            if a.number not in ledger.filed
        ],
    )


def _save_payments(file: File, ledger: BulkLedger) -> None:
    file.db.executemany(
        "INSERT INTO payment VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (payment_no) DO UPDATE SET refunded_minor = excluded.refunded_minor",
        [
            (p.number, p.authorisation_no, p.reference, p.minor, p.currency, p.refunded_minor)
            for p in ledger.payments.values()
        ],
    )
    file.db.executemany(
        "INSERT OR IGNORE INTO declined_once VALUES (?)",
        [(p.number,) for p in ledger.payments.values() if p.declined],
    )
