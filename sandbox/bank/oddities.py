"""What tokens make the bank do beside its books: stumble, answer late, answer wrongly, cut the
line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sandbox.bank.ledger import (
    BankAnswer,
    BulkLedger,
    Item,
    Operation,
    answer_to,
    number_of,
    token_of,
)

LINE_FAULTS: Final = {"tok_hangup": "hangup", "tok_null": "null", "tok_hang": "hang"}
"""How the answer to a whole bulk is lost on its way, once per key, though its effects stand."""
OTHER_REFERENCE: Final = "5f0c2c1e-0000-4000-8000-000000000000"
_FIRST_ATTEMPTS: Final = {
    ("capture", "tok_flaky"): ("retry", "error"),
    ("refund", "tok_refund_flaky"): ("retry", "error"),
    ("capture", "tok_unknown_lost"): ("lost", "pending"),
    ("capture", "tok_slow"): ("running", "pending"),
}
"""State and answer of a first attempt, by operation and token."""


class BulkFailure(Exception):
    """An item fails its whole bulk, and nothing of the bulk is done."""


def busy_keys(ledger: BulkLedger, kind: str, items: Sequence[Item]) -> list[str]:
    """Return the keys for which a bulk is refused as busy, once each.

    Raise BulkFailure for `tok_poison`.
    """
    if any(item.get("token") == "tok_poison" for item in items):
        raise BulkFailure("an item of the bulk")
    if kind != "capture":
        return []
    return [
        item["key"]
        for item in items
        if isinstance(item.get("key"), str)
        and item["key"] not in ledger.operations
        and token_of(ledger, kind, item) == "tok_busy"
    ]


def first_attempt(
    ledger: BulkLedger, operation: Operation, item: Item, slow_s: float
) -> BankAnswer | None:
    """Return the answer of a first attempt that does nothing, or nothing yet, by the payment's
    token.
    """
    token = token_of(ledger, operation.kind, item)
    attempt = _FIRST_ATTEMPTS.get((operation.kind, token))
    if attempt is None:
        return None
    operation.state, status = attempt
    if operation.state == "running":
        authorisation = ledger.authorisations[item["authorisation_no"]]
        if authorisation.state != "authorised":
            return None
        authorisation.state = "capturing"
        operation.due = ledger.now + slow_s
    ledger.write(operation)
    if status == "error":
        return answer_to(item, status, code="500", reason="try again, nothing was done")
    return answer_to(item, status, code=None, reason=None)


def remember(
    ledger: BulkLedger, operation: Operation, item: Item, answer: BankAnswer, *, is_first: bool
) -> BankAnswer:
    """Record an answer under its key and return what the shop gets; some tokens lose or swap it."""
    token = token_of(ledger, operation.kind, item) if answer["status"] == "captured" else ""
    if token == "tok_forgotten":
        return answer_to(item, "pending")
    operation.answer = answer = _swapped(answer) if token == "tok_swapped" else answer
    ledger.write(operation)
    return _first_answer(ledger, operation.kind, item, answer) if is_first else answer


def _first_answer(ledger: BulkLedger, kind: str, item: Item, answer: BankAnswer) -> BankAnswer:
    """Return the first answer of a capture, which some tokens lose on its way though the effect
    stands.
    """
    if kind != "capture":
        return answer
    token = token_of(ledger, kind, item)
    if token == "tok_unknown":
        return answer_to(item, "pending")
    ledger.line = LINE_FAULTS.get(token, ledger.line)
    return answer


def _swapped(answer: BankAnswer) -> BankAnswer:
    """Return an answer that names another payment's reference and number, as by mistake."""
    return answer | {"reference": OTHER_REFERENCE, "payment_no": "P" + number_of(OTHER_REFERENCE)}
