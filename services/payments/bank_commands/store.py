"""The SQL of the talk with the bank: what was said, the attempts of an instruction, and what a person must settle."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from services.payments.domain.bank import BankCommand
from services.payments.domain.bank_replies import BankReply
from shared.database import Connection, copied
from shared.effects import Effect, Reply, put_off
from shared.identity import uuid5
from shared.money import Money, MoneyError

OPEN: Final = "open"
REFUSED: Final = "refused"
BY_HAND: Final = frozenset({"done", "not_done", "written_off", "captured"})


class Attempt(NamedTuple):
    """One attempt of an instruction, under its own key; the last fields are a person's word."""

    intent_id: UUID
    number: int
    key: UUID
    state: str = OPEN
    began_at: datetime | None = None
    bank_no: str | None = None
    minor: int | None = None
    account: str | None = None
    asked_again: int = 0
    currency: str | None = None


class TalkEntry(NamedTuple):
    """One word of the bank, or of a person, on one attempt."""

    order_id: UUID
    intent_id: UUID
    attempt: int
    kind: str
    asked: Money | None
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
        """The word in short, by which the same word is known again."""
        parts = (
            self.by,
            self.status,
            self.code,
            self.number,
            self.amount and f"{self.amount} {self.amount.currency}",
        )
        return " ".join(str(part) for part in parts if part)[:200]


@dataclass(frozen=True, slots=True)
class RecordedReply(Reply):
    """An answer, and the word it was read from."""

    said: TalkEntry


@dataclass(frozen=True, slots=True)
class RefusedAttempt:
    """An attempt that the bank refused for good; `anew`: another follows, else a person decides. Looked at again in `wait_s`."""

    effect: Effect
    attempt: Attempt
    code: str
    anew: bool
    wait_s: float


def key_of(intent_id: UUID, number: int) -> UUID:
    """The key of an attempt: the instruction's own id for the first."""
    return intent_id if number == 1 else uuid5(intent_id, f"attempt {number}")


def talk_entry(ask: BankCommand, attempt: Attempt, told: BankReply, by: str = "bank") -> TalkEntry:
    """The bank's answer as it is kept; an amount that is none is left out."""
    number = told.refund_no or told.transfer_no or told.payment_no or told.authorisation_no
    try:
        amount = told.money
    except MoneyError:
        amount = None
    return TalkEntry(
        ask.order_id, attempt.intent_id, attempt.number, ask.kind, getattr(ask, "amount", None), ask.about, told.status,
        told.code, told.reason, number, amount, told.paid_at, by,
    )  # fmt: skip


_TALK: Final = (
    "order_id", "intent_id", "attempt", "said", "kind", "asked_minor", "asked_currency", "asked_of", "status", "code", "reason",
    "number", "minor", "currency", "paid_at", "by",
)  # fmt: skip


async def append_talk(
    conn: Connection, talk: Sequence[TalkEntry], *, repeats: bool = False
) -> None:
    """Write what was said, within a transaction; a word that is kept already is left as it stands.

    `repeats`: something was asked before, and the bank may say the same again.
    """
    rows = [
        (
            s.order_id, s.intent_id, s.attempt, s.brief, s.kind, s.asked and s.asked.minor, s.asked and s.asked.currency,
            s.asked_of, s.status, s.code, s.reason, s.number, s.amount and s.amount.minor, s.amount and s.amount.currency,
            s.paid_at, s.by,
        )
        for s in talk
    ]  # fmt: skip
    if not rows or (not repeats and await copied(conn, "bank_talk", _TALK, rows)):
        return
    await conn.execute(
        "INSERT INTO bank_talk (order_id, intent_id, attempt, said, kind, asked_minor, asked_currency, asked_of, status, code, "
        "reason, number, minor, currency, paid_at, by) SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], "
        "$5::text[], $6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[], "
        "$14::text[], $15::timestamptz[], $16::text[]) ON CONFLICT DO NOTHING",
        *map(list, zip(*rows, strict=True)),
    )


async def last_attempts(conn: Connection, intent_ids: Collection[UUID]) -> dict[UUID, Attempt]:
    """The last attempt of each open instruction; the first one has a row only once something was said of it."""
    rows = await conn.fetch(
        "SELECT e.intent_id, coalesce(a.number, 1) AS number, coalesce(a.key, e.intent_id) AS key, "
        "coalesce(a.state, 'open') AS state, coalesce(a.began_at, e.created_at) AS began_at, a.bank_no, a.minor, a.account, a.currency, "
        "coalesce(a.asked_again, 0) AS asked_again "
        "FROM effect e LEFT JOIN LATERAL (SELECT * FROM bank_attempt b WHERE b.intent_id = e.intent_id ORDER BY b.number DESC LIMIT 1) a "
        "ON true WHERE e.intent_id = ANY($1::uuid[])",
        list(intent_ids),
    )
    return {row["intent_id"]: Attempt(**dict(row)) for row in rows}


async def refund_numbers(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, set[str]]:
    """The numbers of refunds that the bank gave to other instructions of each order."""
    rows = await conn.fetch(
        "SELECT order_id, number FROM bank_talk WHERE order_id = ANY($1::uuid[]) AND status IN ('refunded', 'done') "
        "AND number IS NOT NULL",
        list(order_ids),
    )
    found: dict[UUID, set[str]] = {order_id: set() for order_id in order_ids}
    for row in rows:
        found[row["order_id"]].add(row["number"])
    return found


async def record_refusals(conn: Connection, refusals: Sequence[RefusedAttempt]) -> None:
    """End refused attempts, begin those that follow, and put the instructions off; who lost the claim changes nothing.

    The instructions are locked first, as by whoever settles or records: so none of them waits for another in a circle.
    """
    if not refusals:
        return
    await put_off(conn, [(r.effect, r.wait_s) for r in refusals])
    await conn.execute(
        "WITH x AS (SELECT u.*, e.order_id, e.kind, e.created_at FROM unnest($1::uuid[], $2::int[], $3::int[], $4::uuid[], $5::text[]) "
        "AS u(intent_id, attempts, number, key, code) JOIN effect e ON e.intent_id = u.intent_id AND e.attempts = u.attempts) "
        "INSERT INTO bank_attempt AS a (intent_id, number, order_id, kind, key, state, code, began_at, ended_at) "
        "SELECT intent_id, number, order_id, kind, key, 'refused', code, created_at, now() FROM x "
        "ON CONFLICT (intent_id, number) DO UPDATE SET state = 'refused', code = excluded.code, ended_at = now() WHERE a.state = 'open'",
        [r.effect.intent_id for r in refusals], [r.effect.attempts for r in refusals], [r.attempt.number for r in refusals],
        [r.attempt.key for r in refusals], [r.code for r in refusals],
    )  # fmt: skip
    again = [r for r in refusals if r.anew]
    if again:
        await begin_attempts(conn, [(r.effect.intent_id, r.attempt.number + 1) for r in again])


async def begin_attempts(conn: Connection, attempts: Sequence[tuple[UUID, int]]) -> None:
    """Begin attempts of instructions that are still open and whose attempt before has ended."""
    await conn.execute(
        "INSERT INTO bank_attempt (intent_id, number, order_id, kind, key, state) "
        "SELECT u.intent_id, u.number, e.order_id, e.kind, u.key, 'open' "
        "FROM unnest($1::uuid[], $2::int[], $3::uuid[]) AS u(intent_id, number, key) JOIN effect e USING (intent_id) "
        "WHERE EXISTS (SELECT FROM bank_attempt b WHERE b.intent_id = u.intent_id AND b.number = u.number - 1 AND b.state <> 'open') "
        "ON CONFLICT DO NOTHING",
        [intent_id for intent_id, _ in attempts], [number for _, number in attempts],
        [key_of(intent_id, number) for intent_id, number in attempts],
    )  # fmt: skip


async def close_attempts(conn: Connection, intent_ids: Collection[UUID]) -> None:
    """The open attempts of these instructions were answered."""
    await conn.execute(
        "UPDATE bank_attempt SET state = 'answered', ended_at = now() WHERE intent_id = ANY($1::uuid[]) AND state = 'open'",
        list(intent_ids),
    )


def case_details(said: TalkEntry) -> dict[str, Any]:
    """The word as a case's details carry it, without what is empty."""
    found = {
        "status": said.status, "code": said.code, "bank_says": said.reason, "number": said.number,
        "answered": f"{said.amount} {said.amount.currency}" if said.amount else None,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}
