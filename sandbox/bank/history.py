"""The bank's books under a reference, for a key that the bank has forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson

from sandbox.bank.ledger import OTHER_PAYER, BankAnswer, china_time
from sandbox.storage import File
from shared.money import Money

_HOLDS: Final = (
    "SELECT a.reference, a.authorisation_no, a.minor, a.currency, a.token, a.payer,"
    " a.enterprise_code, a.state, p.payment_no, p.minor,"
    " (SELECT at FROM movement m WHERE m.kind = 'capture' AND m.payment_no = p.payment_no)"
    " FROM authorisation a LEFT JOIN payment p USING (authorisation_no)"
    " WHERE a.reference IN (SELECT value FROM json_each(?))"
)
_REFUNDS: Final = (
    "SELECT reference, refund_no, key, payment_no, minor, currency, at FROM refund"
    " WHERE reference IN (SELECT value FROM json_each(?))"
)
_TRANSFERS: Final = (
    "SELECT reference, payment_no, minor, currency, at FROM movement WHERE kind = 'transfer'"
    " AND reference IN (SELECT value FROM json_each(?))"
)


class _Hold(NamedTuple):
    """An authorisation with its payment, if it was captured."""

    reference: str
    number: str
    minor: int
    currency: str
    token: str
    payer: bytes
    enterprise: str
    state: str
    payment_no: str | None
    captured: int | None
    at: float | None


def find(file: File, references: Sequence[str]) -> list[BankAnswer]:
    """Return each operation as it was answered; authorisations and captures lack their keys."""
    answers: list[BankAnswer] = []
    for row in file.by_key(_HOLDS, references):
        answers += _answers_of(_Hold(*row))
    for reference, refund_no, key, payment_no, minor, currency, at in file.by_key(
        _REFUNDS, references
    ):
        numbers = {"key": key, "refund_no": refund_no, "payment_no": payment_no}
        answer = _answer("refund", reference, "refunded", minor, currency)
        answers.append(answer | numbers | {"paid_at": china_time(at)})
    for reference, transfer_no, minor, currency, at in file.by_key(_TRANSFERS, references):
        answer = _answer("transfer", reference, "transferred", minor, currency)
        answers.append(answer | {"transfer_no": transfer_no, "paid_at": china_time(at)})
    return answers


def _answers_of(hold: _Hold) -> list[BankAnswer]:
    is_granted = hold.state in {"authorised", "capturing", "captured"}
    state = "authorised" if is_granted else hold.state
    number = {"authorisation_no": hold.number}
    answer = _answer("authorise", hold.reference, state, hold.minor, hold.currency)
    answers = [answer | number]
    if hold.state == "voided":
        void = {"operation": "void", "reference": hold.reference, "status": "voided"}
        answers.append(void | number)
    if hold.payment_no is not None and hold.captured is not None and hold.at is not None:
        is_other_payer = hold.token == "tok_other_payer"
        answer = _answer("capture", hold.reference, "captured", hold.captured, hold.currency)
        answers.append(
            answer
            | number
            | {
                "payment_no": hold.payment_no,
                "enterprise_code": hold.enterprise,
                "payer": OTHER_PAYER if is_other_payer else orjson.loads(hold.payer),
                "paid_at": china_time(hold.at),
            }
        )
    return answers


def _answer(operation: str, reference: str, status: str, minor: int, currency: str) -> BankAnswer:
    return {
        "operation": operation,
        "reference": reference,
        "status": status,
        "amount": str(Money(minor, currency)),
        "currency": currency,
    }
