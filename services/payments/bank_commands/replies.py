"""What the bank's words mean: an answer to what it was asked, a refusal, a contradiction, or nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from services.payments.cases import ANOTHER_AMOUNT, ANOTHER_CURRENCY, ANOTHER_PAYMENT, IMPOSSIBLE
from services.payments.domain import bank as said
from services.payments.domain.bank import (
    Authorise,
    BankCommand,
    Capture,
    Refund,
    RefundTax,
    Transfer,
    Void,
)
from services.payments.domain.bank_replies import BankRecord, BankReply
from shared.money import Money, MoneyError
from shared.sealing import Sealing

UNDECIDED: Final = frozenset({"pending", "error", "unknown_key"})
"""Nothing is decided yet, or nothing was done."""
_REFUSED: Final = frozenset({"declined", "invalid"})
_GONE: Final = frozenset({"AC04", "NOOR"})
"""Why the bank declines to void what it no longer holds: the hold is closed, as when it ran out, or no such hold is known. Of any
other reason, above all that it was captured, nothing follows by itself."""
DUPLICATION: Final = frozenset({"AM05", "DU01", "DU02", "DU03", "DU04", "DU05"})
"""ISO 20022: Duplication, of a message, a payment, a transaction, an end-to-end id or an instruction. A bank that forgot a key
says so of what it did under it: its books are asked, not this."""


class ImplausibleReply(Exception):
    """The answer does not name all that it must: it is as if nothing had been heard."""


class ContradictoryReply(Exception):
    """The answer is about something else than what was asked: a person's case, and the money is looked up."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class BankRefusal:
    """The bank refuses for good, under this key; `code` is its own (ISO 20022 reason)."""

    code: str
    reason: str


Meaning = said.BankEvent | said.Transferred | BankRefusal


def interpret(ask: BankCommand, told: BankReply, sealing: Sealing) -> Meaning | None:
    """What the bank says to `ask`; None if it has not decided. Raises NotAnAnswer, Contradiction."""
    if told.status in UNDECIDED:
        return None
    _is_ours(ask, told)
    if told.status in _REFUSED:
        return _refused(ask, told)
    return _done(ask, told, sealing)


def _is_ours(ask: BankCommand, told: BankReply) -> None:
    """Our reference, and no other payment than the one that was asked about."""
    if told.reference is None:
        raise ImplausibleReply("the answer lacks our reference")
    if told.reference != ask.reference:
        raise ContradictoryReply(
            ANOTHER_PAYMENT, f"reference must be {ask.reference}, found {told.reference}"
        )
    if (name := ask.about_field) is not None:
        asked, found = ask.about, getattr(told, name)
        if found is not None and asked != found:
            raise ContradictoryReply(ANOTHER_PAYMENT, f"{name} must be {asked}, found {found}")


def _refused(ask: BankCommand, told: BankReply) -> said.HoldGone | BankRefusal:
    code, reason = told.code or "unspecified", told.reason or "the bank gave no reason"
    if isinstance(ask, Void) and told.status == "declined" and code in _GONE:
        return said.HoldGone(ask.order_id)
    return BankRefusal(code, reason)


def as_declined(
    ask: Authorise | Capture, refused: BankRefusal
) -> said.AuthorisationDeclined | said.CaptureDeclined:
    """The refusal as the answer it is where nothing can be asked anew."""
    kind = said.AuthorisationDeclined if isinstance(ask, Authorise) else said.CaptureDeclined
    return kind(ask.order_id, refused.code, refused.reason)


def _done(ask: BankCommand, told: BankReply, sealing: Sealing) -> Meaning:
    match ask:
        case Authorise() if told.status == "authorised":
            _named(ask.amount, told, at_most=False, must=False)
            return said.Authorised(ask.order_id, _number(told.authorisation_no, "authorisation_no"))
        case Capture() if told.status == "captured":
            return _captured(ask, told, sealing)
        case Void() if told.status == "voided":
            return said.Voided(ask.order_id)
        case Refund() | RefundTax() if told.status == "refunded":
            return _refunded(ask, told)
        case Transfer() if told.status == "transferred":
            _named(ask.amount, told)
            return said.Transferred(
                ask.order_id, _number(told.transfer_no, "transfer_no"), told.paid_at
            )
    raise ContradictoryReply(IMPOSSIBLE, f"{told.status} is no answer to {ask.kind}")


def _refunded(ask: Refund | RefundTax, told: BankReply) -> said.Refunded | said.ExcessRefunded:
    _number(told.payment_no, "payment_no")
    _named(ask.amount, told)
    number = _number(told.refund_no, "refund_no")
    if isinstance(ask, Refund):
        return said.Refunded(ask.order_id, number, told.paid_at)
    return said.ExcessRefunded(ask.order_id, ask.amount, number, ask.turn, told.paid_at)


def _captured(ask: Capture, told: BankReply, sealing: Sealing) -> said.Captured:
    number, enterprise = (
        _number(told.payment_no, "payment_no"),
        _number(told.enterprise_code, "enterprise_code"),
    )
    # Less than was held may be captured: it is booked as it is, and the match finds it.
    amount = _named(ask.amount, told, at_most=True)
    if told.paid_at is None or told.payer is None:
        raise ImplausibleReply("the capture lacks its time or its payer")
    payer = told.payer
    return said.Captured(
        ask.order_id, amount, number, enterprise, sealing.person_ref(payer.id_type, payer.id_number),
        sealing.digest(payer.name), told.paid_at, len(payer.name), len(payer.id_number),
    )  # fmt: skip


def _named(asked: Money, told: BankReply, *, at_most: bool = False, must: bool = True) -> Money:
    """The amount the bank names, which must be the one it was asked for, or, `at_most`, no more than that."""
    if told.amount is None or told.currency is None:
        if must:
            raise ImplausibleReply("the answer lacks its amount or currency")
        return asked
    if told.currency != asked.currency:
        raise ContradictoryReply(
            ANOTHER_CURRENCY, f"currency must be {asked.currency}, found {told.currency}"
        )
    try:
        amount = told.money
    except MoneyError as error:
        raise ImplausibleReply(str(error)) from None
    assert amount is not None, "both its parts are there"
    if amount.minor <= 0 or amount > asked or (amount != asked and not at_most):
        most = "at most " if at_most else ""
        raise ContradictoryReply(
            ANOTHER_AMOUNT,
            f"amount must be {most}{asked} {asked.currency}, found {amount} {amount.currency}",
        )
    return amount


def _number(found: str | None, name: str) -> str:
    if found is None:
        raise ImplausibleReply(f"the answer lacks its {name}")
    return found


_DONE: Final = {
    "authorise": ("authorise", "authorised"), "capture": ("capture", "captured"), "void": ("void", "voided"),
    "refund": ("refund", "refunded"), "refund_tax": ("refund", "refunded"), "transfer": ("transfer", "transferred"),
}  # fmt: skip


def record_of_command(
    ask: BankCommand, keys: Collection[UUID], records: Sequence[BankRecord], known: Collection[str]
) -> BankRecord | None:
    """The record that is the doing of `ask`, of those the bank has under its reference; None if it did nothing.

    Of refunds a payment may have several: ours is the one under a key of any attempt of ours, or, where the bank names no key,
    one of the same amount whose number (`known`) we have from no other answer.
    """
    for record in records:
        if (record.operation, record.status) != _DONE[ask.kind] or (
            record.key is not None and record.key not in keys
        ):
            continue
        if not isinstance(ask, Refund | RefundTax):
            return record
        if (
            record.refund_no not in known
            and record.payment_no == ask.payment_no
            and _is_amount(ask.amount, record)
        ):
            return record
    return None


def _is_amount(asked: Money, told: BankReply) -> bool:
    try:
        return told.money == asked
    except MoneyError:
        return False


def refunds_elsewhere(
    ask: BankCommand, keys: Collection[UUID], records: Sequence[BankRecord], known: Collection[str]
) -> list[BankRecord]:
    """Refunds of this payment that were none of ours: made at the bank's own desk."""
    if not isinstance(ask, Refund | RefundTax):
        return []
    return [
        r for r in records
        if r.operation == "refund" and r.payment_no == ask.payment_no and r.refund_no not in known and r.key not in keys
    ]  # fmt: skip
