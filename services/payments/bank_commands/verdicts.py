"""The reply of the bank that a person's verdict stands for."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from services.payments.bank_commands.store import Attempt
from services.payments.bank_commands.talk import RecordedReply, TalkEntry
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
    Voided,
)
from shared.effects import Effect
from shared.money import Money

NOT_DONE: Final = "not_done"
CAPTURED: Final = "captured"
_REASON: Final = "a person found that the bank did not do it"
NOBODY: Final = UUID(int=0)
"""The payer of a capture that only a person knows of.

The match finds another payer than the buyer, so the money goes back."""
WRITTEN_OFF: Final = "written-off"
"""Stands for the number of a refund that was not made."""


def reply_of_verdict(
    effect: Effect, command: BankCommand, attempt: Attempt, now: datetime
) -> RecordedReply:
    """Return the reply for a verdict given by `now`.

    Raises ValueError if it does not fit the command.
    """
    amount = _amount(command, attempt)
    entry = TalkEntry(
        command.order_id,
        attempt.intent_id,
        attempt.number,
        command.kind,
        getattr(command, "amount", None),
        command.about,
        attempt.state,
        number=attempt.bank_no,
        amount=amount,
        by="person",
    )
    return RecordedReply(effect, _event(command, attempt, amount, now), entry)


def _amount(command: BankCommand, attempt: Attempt) -> Money | None:
    if attempt.state == CAPTURED and attempt.minor is not None:
        return Money(attempt.minor, attempt.currency or "")
    requested: Money | None = getattr(command, "amount", None)
    if requested is None or attempt.state == NOT_DONE:
        return None
    if attempt.state == "written_off":
        return Money.zero(requested.currency)
    return requested if attempt.minor is None else Money(attempt.minor, requested.currency)


def _event(
    command: BankCommand, attempt: Attempt, amount: Money | None, now: datetime
) -> BankEvent | Transferred:
    if isinstance(command, Refund | RefundTax | Transfer):
        return _paid_out(command, attempt, amount)
    if attempt.state == CAPTURED and amount is not None:
        return _captured(command, attempt, amount, now)
    if attempt.state == "done":
        return _done(command, attempt, amount, now)
    return _not_done(command)


def _done(command: BankCommand, attempt: Attempt, amount: Money | None, now: datetime) -> BankEvent:
    match command:
        case Authorise():
            return Authorised(command.order_id, attempt.bank_no or "")
        case Capture() if amount is not None:
            return _captured(command, attempt, amount, now)
        case _:
            return Voided(command.order_id)


def _captured(command: BankCommand, attempt: Attempt, amount: Money, now: datetime) -> Captured:
    number, paid_at = attempt.bank_no or "", attempt.began_at or now
    return Captured(command.order_id, amount, number, "", NOBODY, "", paid_at)


def _not_done(command: BankCommand) -> BankEvent:
    match command:
        case Authorise():
            return AuthorisationDeclined(command.order_id, NOT_DONE, _REASON)
        case Capture():
            return CaptureDeclined(command.order_id, NOT_DONE, _REASON)
        case _:
            return HoldGone(command.order_id)


def _paid_out(
    command: Refund | RefundTax | Transfer, attempt: Attempt, amount: Money | None
) -> BankEvent | Transferred:
    number = attempt.bank_no or WRITTEN_OFF
    if amount is None or (isinstance(command, Transfer) and attempt.state != "done"):
        raise ValueError(f"the verdict {attempt.state} does not fit {command.kind}")
    match command:
        case Transfer():
            return Transferred(command.order_id, number)
        case Refund():
            return Refunded(command.order_id, number, amount=amount, account=attempt.account)
        case RefundTax():
            return ExcessRefunded(
                command.order_id,
                command.amount,
                number,
                command.revision,
                written_off=command.amount - amount,
                account=attempt.account,
            )
