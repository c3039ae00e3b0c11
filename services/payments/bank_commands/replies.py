"""What a reply of the bank means: an event, a refusal, a contradiction, or nothing yet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from services.payments.cases import ANOTHER_AMOUNT, ANOTHER_CURRENCY, ANOTHER_PAYMENT, IMPOSSIBLE
from services.payments.domain.bank import (
    AuthorisationDeclined,
    Authorise,
    Authorised,
    BankCommand,
    BankEvent,
    Capture,
    Captured,
    CaptureDeclined,
    ExcessRefunded,
    HoldGone,
    Refund,
    Refunded,
    RefundTax,
    Transfer,
    Transferred,
    Void,
    Voided,
)
from services.payments.domain.bank_replies import BankRecord, BankReply
from shared.money import Money, MoneyError
from shared.sealing import Sealing

UNDECIDED: Final = frozenset({"pending", "error", "unknown_key"})
"""Statuses of which nothing follows: nothing is decided yet, or nothing was done."""
_REFUSED: Final = frozenset({"declined", "invalid"})
_GONE: Final = frozenset({"AC04", "NOOR"})
"""Codes of a void that found no hold: it is closed, for example run out, or unknown.

Nothing follows from any other code, above all not from that of a captured hold."""
DUPLICATION: Final = frozenset({"AM05", "DU01", "DU02", "DU03", "DU04", "DU05"})
"""ISO 20022: duplication of a message, payment, transaction, end-to-end id or instruction.

A bank that forgot a key answers so to what it did under it. Its books decide, not this reply."""


class ImplausibleReply(Exception):
    """The reply lacks a required field: it counts as no reply."""


class ContradictoryReply(Exception):
    """The reply is about something else than the command: a case, and the bank's books are
    looked up."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class BankRefusal:
    """The bank refuses this attempt for good; `code` is the bank's (ISO 20022 reason)."""

    code: str
    reason: str


Meaning = BankEvent | Transferred | BankRefusal


def interpret(command: BankCommand, reply: BankReply, sealing: Sealing) -> Meaning | None:
    """Return what the reply means for the command; None if the bank has not decided.

    Raises ImplausibleReply and ContradictoryReply.
    """
    if reply.status in UNDECIDED:
        return None
    _is_ours(command, reply)
    if reply.status in _REFUSED:
        return _refused(command, reply)
    return _done(command, reply, sealing)


def _is_ours(command: BankCommand, reply: BankReply) -> None:
    """Require our reference, and the payment that was asked about."""
    if reply.reference is None:
        raise ImplausibleReply("the answer lacks our reference")
    if reply.reference != command.reference:
        raise ContradictoryReply(
            ANOTHER_PAYMENT, f"reference must be {command.reference}, found {reply.reference}"
        )
    if (name := command.about_field) is not None:
        requested, answered = command.about, getattr(reply, name)
        if answered is not None and requested != answered:
            raise ContradictoryReply(
                ANOTHER_PAYMENT, f"{name} must be {requested}, found {answered}"
            )


def _refused(command: BankCommand, reply: BankReply) -> HoldGone | BankRefusal:
    code, reason = reply.code or "unspecified", reply.reason or "the bank gave no reason"
    if isinstance(command, Void) and reply.status == "declined" and code in _GONE:
        return HoldGone(command.order_id)
    return BankRefusal(code, reason)


def as_declined(
    command: Authorise | Capture, refused: BankRefusal
) -> AuthorisationDeclined | CaptureDeclined:
    kind = AuthorisationDeclined if isinstance(command, Authorise) else CaptureDeclined
    return kind(command.order_id, refused.code, refused.reason)


def _done(command: BankCommand, reply: BankReply, sealing: Sealing) -> Meaning:
    match command:
        case Authorise() if reply.status == "authorised":
            _named(command.amount, reply, at_most=False, must=False)
            return Authorised(command.order_id, _number(reply.authorisation_no, "authorisation_no"))
        case Capture() if reply.status == "captured":
            return _captured(command, reply, sealing)
        case Void() if reply.status == "voided":
            return Voided(command.order_id)
        case Refund() | RefundTax() if reply.status == "refunded":
            return _refunded(command, reply)
        case Transfer() if reply.status == "transferred":
            _named(command.amount, reply)
            return Transferred(
                command.order_id, _number(reply.transfer_no, "transfer_no"), reply.paid_at
            )
    raise ContradictoryReply(IMPOSSIBLE, f"{reply.status} is no answer to {command.kind}")


def _refunded(command: Refund | RefundTax, reply: BankReply) -> Refunded | ExcessRefunded:
    _number(reply.payment_no, "payment_no")
    _named(command.amount, reply)
    number = _number(reply.refund_no, "refund_no")
    if isinstance(command, Refund):
        return Refunded(command.order_id, number, reply.paid_at)
    return ExcessRefunded(command.order_id, command.amount, number, command.revision, reply.paid_at)


def _captured(command: Capture, reply: BankReply, sealing: Sealing) -> Captured:
    number = _number(reply.payment_no, "payment_no")
    enterprise = _number(reply.enterprise_code, "enterprise_code")
    # Less than was held may be captured: it is booked as it is, and the match detects it.
    amount = _named(command.amount, reply, at_most=True)
    if reply.paid_at is None or reply.payer is None:
        raise ImplausibleReply("the capture lacks its time or its payer")
    payer = reply.payer
    return Captured(
        command.order_id,
        amount,
        number,
        enterprise,
        sealing.person_ref(payer.id_type, payer.id_number),
        sealing.digest(payer.name),
        reply.paid_at,
        len(payer.name),
        len(payer.id_number),
    )


def _named(
    requested: Money, reply: BankReply, *, at_most: bool = False, must: bool = True
) -> Money:
    """Return the amount of the reply: the one asked for, or with `at_most` no more than that.

    Without an amount: raise ImplausibleReply, or return the one asked for unless `must`.
    """
    if (reply.amount is None or reply.currency is None) and not must:
        return requested
    amount = _money(reply, requested.currency)
    if amount.minor <= 0 or amount > requested or (amount != requested and not at_most):
        most = "at most " if at_most else ""
        raise ContradictoryReply(
            ANOTHER_AMOUNT,
            f"amount must be {most}{requested} {requested.currency}, "
            f"found {amount} {amount.currency}",
        )
    return amount


def _money(reply: BankReply, currency: str) -> Money:
    if reply.amount is None or reply.currency is None:
        raise ImplausibleReply("the answer lacks its amount or currency")
    if reply.currency != currency:
        raise ContradictoryReply(
            ANOTHER_CURRENCY, f"currency must be {currency}, found {reply.currency}"
        )
    try:
        return Money.of(reply.amount, reply.currency)
    except MoneyError as error:
        raise ImplausibleReply(str(error)) from None


def _number(value: str | None, name: str) -> str:
    if value is None:
        raise ImplausibleReply(f"the answer lacks its {name}")
    return value


_DONE: Final = {
    "authorise": ("authorise", "authorised"),
    "capture": ("capture", "captured"),
    "void": ("void", "voided"),
    "refund": ("refund", "refunded"),
    "refund_tax": ("refund", "refunded"),
    "transfer": ("transfer", "transferred"),
}
"""Operation and status that a record has once a command was done."""


def record_of_command(
    command: BankCommand,
    keys: Collection[UUID],
    records: Sequence[BankRecord],
    known: Collection[str],
) -> BankRecord | None:
    """Return the bank's record of doing `command`; None if the bank did nothing.

    A payment may have several refunds. Ours has a key of one of our attempts. Without a key, ours
    has the same amount and a number not among `known`, the numbers of our other refunds.
    """
    for record in records:
        if (record.operation, record.status) != _DONE[command.kind]:
            continue
        if record.key is not None and record.key not in keys:
            continue
        if not isinstance(command, Refund | RefundTax) or _is_refund(command, record, known):
            return record
    return None


def _is_refund(command: Refund | RefundTax, record: BankRecord, known: Collection[str]) -> bool:
    return (
        record.refund_no not in known
        and record.payment_no == command.payment_no
        and _is_amount(command.amount, record)
    )


def _is_amount(requested: Money, reply: BankReply) -> bool:
    try:
        return reply.money == requested
    except MoneyError:
        return False


def refunds_elsewhere(
    command: BankCommand,
    keys: Collection[UUID],
    records: Sequence[BankRecord],
    known: Collection[str],
) -> list[BankRecord]:
    """Return refunds of this payment that are not ours: they were made at a bank desk."""
    if not isinstance(command, Refund | RefundTax):
        return []
    return [
        record
        for record in records
        if record.operation == "refund"
        and record.payment_no == command.payment_no
        and record.refund_no not in known
        and record.key not in keys
    ]
