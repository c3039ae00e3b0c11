"""The bank as payments sees it: operations by key, and its books by our reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

from services.payments.bulks import Item
from services.payments.domain.bank_replies import BankRecord, BankReply

__all__ = ["NOTHING_DONE", "Bank", "BankRecords", "BankReplies", "Item"]

NOTHING_DONE: Final = frozenset({"unknown_key", "error"})
"""Statuses of a key under which the bank did nothing."""


@dataclass
class BankReplies:
    """Replies by key. What became of a missing key is unknown.

    `poison`: items that the bank fails on, though it answers others. `spoken`: keys that the bank
    answered, readably or not.
    """

    answers: dict[UUID, BankReply] = field(default_factory=dict)
    poison: set[UUID] = field(default_factory=set)
    spoken: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class BankRecords:
    """The bank's records by reference. A missing reference was not answered.

    Not `able`: the bank cannot be asked by reference.
    """

    by_reference: Mapping[str, Sequence[BankRecord]] = field(default_factory=dict)
    able: bool = True


class Bank(Protocol):
    """Answers by key, or by our reference once keys are forgotten."""

    def wait_s(self, kind: str) -> float:
        """Return seconds until the bank may be asked for this kind of operation; 0: now."""

    async def send(self, kind: str, items: Sequence[Item], *, again: bool = False) -> BankReplies:
        """Ask for operations of one kind; `again`: they were, or may have been, sent before."""

    async def query(self, keys: Sequence[UUID], kind: str = "authorise") -> BankReplies:
        """Return the recorded reply of each key, or the status `pending` or `unknown_key`.

        `kind`: the lane in which to ask.
        """

    async def find(self, kind: str, references: Sequence[str]) -> BankRecords:
        """Return the bank's records of each reference, whether or not it still knows the keys."""

    async def close(self) -> None: ...
