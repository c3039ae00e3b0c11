"""A person's word on what the bank did, as the answer that the bank owes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from services.payments.bank_commands.store import Attempt, RecordedReply, TalkEntry
from services.payments.domain import bank as said
from services.payments.domain.bank import (
    Authorise,
    BankCommand,
    Capture,
    Refund,
    RefundTax,
    Transfer,
)
from shared.effects import Effect
from shared.money import Money

NOT_DONE: Final = "not_done"
CAPTURED: Final = "captured"
_FOUND: Final = "a person found that the bank did not do it"
NOBODY: Final = UUID(int=0)
"""Who paid where a person knows of the capture only: the match finds another payer than the buyer, and the money goes back."""
WRITTEN_OFF: Final = "written-off"
"""Stands for the number of a refund that was not made."""


def reply_of_verdict(effect: Effect, ask: BankCommand, attempt: Attempt) -> RecordedReply:
    """The answer that a person's word is. Raises ValueError for a word that is none for this instruction."""
    amount = _amount(ask, attempt)
    kept = TalkEntry(
        ask.order_id, attempt.intent_id, attempt.number, ask.kind, getattr(ask, "amount", None), ask.about, attempt.state,
        number=attempt.bank_no, amount=amount, by="person",
    )  # fmt: skip
    return RecordedReply(effect, _answer(ask, attempt, amount), kept)


def _amount(ask: BankCommand, attempt: Attempt) -> Money | None:
    """What was moved by the person's word: what was asked for, where they name no other amount."""
    if attempt.state == CAPTURED and attempt.minor is not None:
        return Money(attempt.minor, attempt.currency or "")
    asked: Money | None = getattr(ask, "amount", None)
    if asked is None or attempt.state == NOT_DONE:
        return None
    if attempt.state == "written_off":
        return Money.zero(asked.currency)
    return asked if attempt.minor is None else Money(attempt.minor, asked.currency)


def _answer(
    ask: BankCommand, attempt: Attempt, amount: Money | None
) -> said.BankEvent | said.Transferred:
    if isinstance(ask, Refund | RefundTax | Transfer):
        return _given_out(ask, attempt, amount)
    if attempt.state == CAPTURED and amount is not None:
        return _captured(ask, attempt, amount)
    return _held_or_taken(ask, attempt, amount) if attempt.state == "done" else _not_done(ask)


def _held_or_taken(ask: BankCommand, attempt: Attempt, amount: Money | None) -> said.BankEvent:
    match ask:
        case Authorise():
            return said.Authorised(ask.order_id, attempt.bank_no or "")
        case Capture() if amount is not None:
            return _captured(ask, attempt, amount)
        case _:
            return said.Voided(ask.order_id)


def _captured(ask: BankCommand, attempt: Attempt, amount: Money) -> said.Captured:
    at = attempt.began_at or datetime.now(UTC)
    return said.Captured(ask.order_id, amount, attempt.bank_no or "", "", NOBODY, "", at)


def _not_done(ask: BankCommand) -> said.BankEvent:
    match ask:
        case Authorise():
            return said.AuthorisationDeclined(ask.order_id, NOT_DONE, _FOUND)
        case Capture():
            return said.CaptureDeclined(ask.order_id, NOT_DONE, _FOUND)
        case _:
            return said.HoldGone(ask.order_id)


def _given_out(
    ask: Refund | RefundTax | Transfer, attempt: Attempt, amount: Money | None
) -> said.BankEvent | said.Transferred:
    number = attempt.bank_no or WRITTEN_OFF
    if amount is None or (isinstance(ask, Transfer) and attempt.state != "done"):
        raise ValueError(f"{attempt.state} is no word on {ask.kind}")
    match ask:
        case Transfer():
            return said.Transferred(ask.order_id, number)
        case Refund():
            return said.Refunded(ask.order_id, number, amount=amount, account=attempt.account)
        case RefundTax():
            off = ask.amount - amount
            return said.ExcessRefunded(
                ask.order_id, ask.amount, number, ask.turn, written_off=off, account=attempt.account
            )
