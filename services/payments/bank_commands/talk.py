"""The talk with the bank: each answer of the bank, and each verdict of a person, as a row."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from services.payments.bank_commands.store import Attempt
from services.payments.domain.bank import BankCommand
from services.payments.domain.bank_replies import BankReply
from shared.database import Connection, copied
from shared.effects import Reply
from shared.money import Money, MoneyError


class TalkEntry(NamedTuple):
    """One answer of the bank, or one verdict of a person, on one attempt."""

    order_id: UUID
    intent_id: UUID
    attempt: int
    kind: str
    requested: Money | None
    asked_of: str | None
    status: str
    code: str | None = None
    reason: str | None = None
    number: str | None = None
    amount: Money | None = None
    paid_at: datetime | None = None
    by: str = "bank"

    @property
    def brief(self) -> str:
        """The entry in short; two entries of one attempt with the same text are the same."""
        amount = self.amount and f"{self.amount} {self.amount.currency}"
        parts = (self.by, self.status, self.code, self.number, amount)
        return " ".join(str(part) for part in parts if part)[:200]


@dataclass(frozen=True, slots=True)
class RecordedReply(Reply):
    """A reply, and the talk entry it was read from."""

    entry: TalkEntry


def talk_entry(
    command: BankCommand, attempt: Attempt, reply: BankReply, by: str = "bank"
) -> TalkEntry:
    """Return the entry of an answer, without an amount that its currency does not allow."""
    number = reply.refund_no or reply.transfer_no or reply.payment_no or reply.authorisation_no
    try:
        amount = reply.money
    except MoneyError:
        amount = None
    return TalkEntry(
        command.order_id,
        attempt.intent_id,
        attempt.number,
        command.kind,
        getattr(command, "amount", None),
        command.about,
        reply.status,
        reply.code,
        reply.reason,
        number,
        amount,
        reply.paid_at,
        by,
    )


_TALK: Final = (
    "order_id",
    "intent_id",
    "attempt",
    "said",
    "kind",
    "asked_minor",
    "asked_currency",
    "asked_of",
    "status",
    "code",
    "reason",
    "number",
    "minor",
    "currency",
    "paid_at",
    "by",
)


async def append_talk(
    conn: Connection, entries: Sequence[TalkEntry], *, repeats: bool = False
) -> None:
    """Write entries within a transaction; entries that exist already stay as they are.

    `repeats`: an earlier command was asked again, so the bank may have answered the same before.
    """
    rows = [_row(entry) for entry in entries]
    if not rows or (not repeats and await copied(conn, "bank_talk", _TALK, rows)):
        return
    await conn.execute(
        f"INSERT INTO bank_talk ({', '.join(_TALK)}) "  # noqa: S608
        "SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::text[], "
        "$6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], "
        "$13::bigint[], $14::text[], $15::timestamptz[], $16::text[]) ON CONFLICT DO NOTHING",
        *map(list, zip(*rows, strict=True)),
    )


def _row(e: TalkEntry) -> tuple[Any, ...]:
    return (
        e.order_id,
        e.intent_id,
        e.attempt,
        e.brief,
        e.kind,
        *_minor_and_currency(e.requested),
        e.asked_of,
        e.status,
        e.code,
        e.reason,
        e.number,
        *_minor_and_currency(e.amount),
        e.paid_at,
        e.by,
    )


def _minor_and_currency(money: Money | None) -> tuple[int, str] | tuple[None, None]:
    return (None, None) if money is None else (money.minor, money.currency)


async def refund_numbers(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, set[str]]:
    rows = await conn.fetch(
        "SELECT order_id, number FROM bank_talk WHERE order_id = ANY($1::uuid[]) "
        "AND status IN ('refunded', 'done') AND number IS NOT NULL",
        list(order_ids),
    )
    numbers: dict[UUID, set[str]] = {order_id: set() for order_id in order_ids}
    for row in rows:
        numbers[row["order_id"]].add(row["number"])
    return numbers


def case_details(entry: TalkEntry) -> dict[str, Any]:
    details = {
        "status": entry.status,
        "code": entry.code,
        "bank_says": entry.reason,
        "number": entry.number,
        "answered": f"{entry.amount} {entry.amount.currency}" if entry.amount else None,
    }
    return {name: value for name, value in details.items() if value is not None}
