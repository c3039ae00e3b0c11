"""The SQL of attempts: each command is asked of the bank once or more, each attempt under its
own key."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from shared.database import Connection
from shared.effects import Effect, put_off
from shared.identity import uuid5

OPEN: Final = "open"


REFUSED: Final = "refused"


BY_HAND: Final = frozenset({"done", "not_done", "written_off", "captured"})
"""States that a person's verdict gives to an attempt."""


class Attempt(NamedTuple):
    """One attempt of a command, under its own key; fields from `bank_no` on are a verdict."""

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


@dataclass(frozen=True, slots=True)
class RefusedAttempt:
    """An attempt that the bank refused for good, looked at again in `wait_s` seconds.

    `anew`: another attempt follows; otherwise a person decides.
    """

    effect: Effect
    attempt: Attempt
    code: str
    anew: bool
    wait_s: float


def key_of(intent_id: UUID, number: int) -> UUID:
    """Return the key of an attempt; that of the first is the command's own id."""
    return intent_id if number == 1 else uuid5(intent_id, f"attempt {number}")


async def last_attempts(conn: Connection, intent_ids: Collection[UUID]) -> dict[UUID, Attempt]:
    """Return the last attempt of each open command; a first attempt may have no row yet."""
    rows = await conn.fetch(
        "SELECT e.intent_id, coalesce(a.number, 1) AS number, coalesce(a.key, e.intent_id) AS key, "
        "coalesce(a.state, 'open') AS state, coalesce(a.began_at, e.created_at) AS began_at, "
        "a.bank_no, a.minor, a.account, a.currency, coalesce(a.asked_again, 0) AS asked_again "
        "FROM effect e LEFT JOIN LATERAL (SELECT * FROM bank_attempt b "
        "WHERE b.intent_id = e.intent_id ORDER BY b.number DESC LIMIT 1) a "
        "ON true WHERE e.intent_id = ANY($1::uuid[])",
        list(intent_ids),
    )
    return {row["intent_id"]: Attempt(**dict(row)) for row in rows}


async def record_refusals(conn: Connection, refusals: Sequence[RefusedAttempt]) -> None:
    """End refused attempts, begin those that follow, and put the commands off.

    A worker that lost its claim changes nothing. Commands are locked first, as everywhere, so that
    no transaction waits for another in a circle.
    """
    if not refusals:
        return
    await put_off(conn, [(r.effect, r.wait_s) for r in refusals])
    await conn.execute(
        "WITH x AS (SELECT u.*, e.order_id, e.kind, e.created_at "
        "FROM unnest($1::uuid[], $2::int[], $3::int[], $4::uuid[], $5::text[]) "
        "AS u(intent_id, attempts, number, key, code) "
        "JOIN effect e ON e.intent_id = u.intent_id AND e.attempts = u.attempts) "
        "INSERT INTO bank_attempt AS a "
        "(intent_id, number, order_id, kind, key, state, code, began_at, ended_at) "
        "SELECT intent_id, number, order_id, kind, key, 'refused', code, created_at, now() FROM x "
        "ON CONFLICT (intent_id, number) DO UPDATE SET state = 'refused', code = excluded.code, "
        "ended_at = now() WHERE a.state = 'open'",
        *map(list, zip(*map(_refusal_row, refusals), strict=True)),
    )
    again = [r for r in refusals if r.anew]
    if again:
        await begin_attempts(conn, [(r.effect.intent_id, r.attempt.number + 1) for r in again])


def _refusal_row(refusal: RefusedAttempt) -> tuple[UUID, int, int, UUID, str]:
    effect, attempt = refusal.effect, refusal.attempt
    return effect.intent_id, effect.attempts, attempt.number, attempt.key, refusal.code


async def begin_attempts(conn: Connection, attempts: Sequence[tuple[UUID, int]]) -> None:
    """Begin attempts of commands that are still open and whose attempt before has ended."""
    await conn.execute(
        "INSERT INTO bank_attempt (intent_id, number, order_id, kind, key, state) "
        "SELECT u.intent_id, u.number, e.order_id, e.kind, u.key, 'open' "
        "FROM unnest($1::uuid[], $2::int[], $3::uuid[]) AS u(intent_id, number, key) "
        "JOIN effect e USING (intent_id) "
        "WHERE EXISTS (SELECT FROM bank_attempt b WHERE b.intent_id = u.intent_id "
        "AND b.number = u.number - 1 AND b.state <> 'open') "
        "ON CONFLICT DO NOTHING",
        [intent_id for intent_id, _ in attempts],
        [number for _, number in attempts],
        [key_of(intent_id, number) for intent_id, number in attempts],
    )


async def close_attempts(conn: Connection, intent_ids: Collection[UUID]) -> None:
    await conn.execute(
        "UPDATE bank_attempt SET state = 'answered', ended_at = now() "
        "WHERE intent_id = ANY($1::uuid[]) AND state = 'open'",
        list(intent_ids),
    )
