"""The bank's books under a reference: holds, captures, refunds and transfers, for who asks after a key it has forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from sandbox.bank.ledger import OTHER_PAYER, Answer, china_time
from sandbox.storage import File
from shared.money import Money

_HOLDS: Final = (
    "SELECT a.reference, a.authorisation_no, a.minor, a.currency, a.token, a.payer, a.enterprise_code, a.state,"
    " p.payment_no, p.minor, (SELECT at FROM movement m WHERE m.kind = 'capture' AND m.payment_no = p.payment_no)"
    " FROM authorisation a LEFT JOIN payment p USING (authorisation_no) WHERE a.reference IN (SELECT value FROM json_each(?))"
)
_REFUNDS: Final = (
    "SELECT reference, refund_no, key, payment_no, minor, currency, at FROM refund"
    " WHERE reference IN (SELECT value FROM json_each(?))"
)
_TRANSFERS: Final = (
    "SELECT reference, payment_no, minor, currency, at FROM movement WHERE kind = 'transfer'"
    " AND reference IN (SELECT value FROM json_each(?))"
)


def find(file: File, references: Sequence[str]) -> list[Answer]:
    """Each operation as it was answered, with its name and without the keys the bank forgets."""
    found: list[Answer] = []
    for row in file.by_key(_HOLDS, references):
        found += _hold(*row)
    for reference, refund_no, key, payment_no, minor, currency, at in file.by_key(
        _REFUNDS, references
    ):
        numbers = {"key": key, "refund_no": refund_no, "payment_no": payment_no}
        found.append(
            _record(
                "refund", reference, "refunded", minor, currency, **numbers, paid_at=china_time(at)
            )
        )
    for reference, transfer_no, minor, currency, at in file.by_key(_TRANSFERS, references):
        found.append(
            _record(
                "transfer",
                reference,
                "transferred",
                minor,
                currency,
                transfer_no=transfer_no,
                paid_at=china_time(at),
            )
        )
    return found


def _hold(
    reference: str, number: str, minor: int, currency: str, token: str, payer: bytes, enterprise: str, state: str,
    payment_no: str | None, captured: int | None, at: float | None,
) -> list[Answer]:  # fmt: skip
    held = "authorised" if state in {"authorised", "capturing", "captured"} else state
    found = [_record("authorise", reference, held, minor, currency, authorisation_no=number)]
    if state == "voided":
        found.append(
            {
                "operation": "void",
                "reference": reference,
                "status": "voided",
                "authorisation_no": number,
            }
        )
    if payment_no is not None and captured is not None and at is not None:
        who = OTHER_PAYER if token == "tok_other_payer" else orjson.loads(payer)
        more = {
            "payment_no": payment_no,
            "authorisation_no": number,
            "enterprise_code": enterprise,
            "payer": who,
        }
        found.append(
            _record(
                "capture", reference, "captured", captured, currency, **more, paid_at=china_time(at)
            )
        )
    return found


def _record(
    operation: str, reference: str, status: str, minor: int, currency: str, **more: Any
) -> Answer:
    named = {"operation": operation, "reference": reference, "status": status}
    return named | {"amount": str(Money(minor, currency)), "currency": currency} | more
