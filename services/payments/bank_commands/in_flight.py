"""Commands on their way to the bank, and what one call of the bank came to."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from services.payments.bank_commands.replies import BankRefusal
from services.payments.bank_commands.store import Attempt, RefusedAttempt, key_of
from services.payments.bank_commands.talk import RecordedReply, TalkEntry
from services.payments.domain.bank import BankCommand, Transfer
from services.payments.domain.bank_replies import BankReply
from shared.cases import Case
from shared.effects import Effect, NoReply, Reply

CONTRADICTION_RETRY_S: Final = 60.0
"""Seconds after which a contradiction is asked about again: the bank may correct it."""
CASE_RETRY_S: Final = 3600.0
"""Seconds after which a command that waits for a person is looked at again; a verdict is sooner."""
SILENCE_RETRY_MAX_S: Final = 60.0


@dataclass(slots=True)
class InFlight:
    """One claimed command: its attempt, a refusal or void to look up, and whether the bank
    answered."""

    effect: Effect
    command: BankCommand
    attempt: Attempt
    refused: tuple[BankRefusal, BankReply] | None = None
    hold_gone: RecordedReply | None = None
    reached: bool = False

    @property
    def key(self) -> UUID:
        return self.attempt.key

    @property
    def keys(self) -> list[UUID]:
        return [
            key_of(self.effect.intent_id, number) for number in range(1, self.attempt.number + 1)
        ]

    @property
    def is_first_call(self) -> bool:
        return self.effect.attempts <= 1

    def age_s(self, now: datetime) -> float:
        return (now - self.attempt.began_at).total_seconds() if self.attempt.began_at else 0.0


@dataclass(slots=True)
class CallResult:
    """The replies for the effect runner, and what is written down beside them."""

    replies: list[Reply | NoReply] = field(default_factory=list)
    talk: list[TalkEntry] = field(default_factory=list)
    refusals: list[RefusedAttempt] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    silent: list[InFlight] = field(default_factory=list)
    doubtful: list[InFlight] = field(default_factory=list)
    """Commands whose reply must be compared with the bank's books."""

    def retry(self, flight: InFlight, seconds: float) -> None:
        self.replies.append(NoReply(flight.effect, jittered(seconds)))

    def open_case(self, kind: str, flight: InFlight, details: Mapping[str, Any]) -> None:
        self.cases.append(_case(kind, flight, details))


def first_call(effect: Effect, command: BankCommand) -> InFlight:
    return InFlight(effect, command, Attempt(effect.intent_id, 1, effect.intent_id))


def jittered(seconds: float) -> float:
    """Return a little more, so that waiting commands do not all come back at once."""
    return seconds * (1 + 0.1 * random.random())


def silence_retry_s(flight: InFlight, now: datetime) -> float | None:
    """Return half the age of the attempt, at most a minute; None for a command just recorded.

    Claims while the lane paused do not count, so the number of claims says nothing.
    """
    if flight.attempt.began_at is None:
        return None
    return jittered(min(SILENCE_RETRY_MAX_S, max(0.2, flight.age_s(now) / 2)))


def _case(kind: str, flight: InFlight, details: Mapping[str, Any]) -> Case:
    command, attempt = flight.command, flight.attempt
    amount = getattr(command, "amount", None)
    requested = {
        "kind": command.kind,
        "attempt": attempt.number,
        "asked": f"{amount} {amount.currency}" if amount else None,
        "asked_of": command.about,
        "asked_again": attempt.asked_again or None,
    }
    order_id = None if isinstance(command, Transfer) else command.order_id
    known = {name: value for name, value in requested.items() if value is not None}
    return Case(kind, str(flight.effect.intent_id), order_id, known | dict(details))
