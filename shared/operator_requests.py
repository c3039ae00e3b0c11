"""What operators ask of a service about its dead letters: it comes by the database, which nobody else may write.

A header of a record asks for nothing: whoever may write a topic could set it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

import orjson
import structlog

from shared import inbox, metrics
from shared.database import Connection
from shared.envelope import Record, first_headers
from shared.errors import Unprocessable
from shared.handler import Handler, _Batch, may_be_the_records, unpack_record
from shared.subscriptions import Outcome

log = structlog.get_logger(__name__)

REQUEST_LOCK: Final = 0x726571
EVERY_S: Final = 1.0


@dataclass(frozen=True)
class Request:
    """One row of `operator_request`: give a letter again, or let an order go without it."""

    number: int
    act: str
    order_id: UUID | None
    place: tuple[str, int, int] | None
    record: bytes | None = None


@dataclass
class Result:
    """What became of it: `done`, `failed` (the letter is owed as before), or `nothing` where there was nothing to do."""

    outcome: str
    details: dict[str, Any] = field(default_factory=dict)


async def obey(handler: Handler) -> int:
    """Do what operators asked of this service and is not done yet, the oldest first; returns how many requests that were.

    Each is one transaction with its result. Raises what a batch would raise where the fault is not the record's.
    """
    done = 0
    while await _obey_next(handler):
        done += 1
    return done


async def _obey_next(handler: Handler) -> bool:
    work = _Obeying(handler)
    async with handler.pool.acquire() as conn, conn.transaction():
        if not await conn.fetchval(
            "SELECT pg_try_advisory_xact_lock($1, hashtext($2))", REQUEST_LOCK, handler.service
        ):
            return False
        request = await _next(conn)
        if request is None:
            return False
        try:
            async with conn.transaction():
                outcome, result = await work.follow(conn, request)
        except Exception as error:
            if not may_be_the_records(error):
                raise
            refused = handler.to_unprocessable(
                Record(*(request.place or ("", 0, 0)), 0, None, None, ()), error
            )
            outcome, result = (
                Outcome(),
                Result("failed", {"reason": refused.reason, "error": str(refused)[:500]}),
            )
        await conn.execute(
            "INSERT INTO operator_result (request_id, outcome, details) VALUES ($1, $2, $3)",
            request.number, result.outcome, orjson.dumps(result.details, default=str).decode(),
        )  # fmt: skip
    log.info("an operator's request is followed", service=handler.service, act=request.act, number=request.number,
             outcome=result.outcome)  # fmt: skip
    work.count_events()
    handler.committed(outcome)
    return True


async def _next(conn: Connection) -> Request | None:
    row = await conn.fetchrow(
        "SELECT q.id, q.act, q.order_id, q.topic, q.part, q.at_offset, q.record FROM operator_request q "
        "WHERE NOT EXISTS (SELECT FROM operator_result r WHERE r.request_id = q.id) ORDER BY q.id LIMIT 1"
    )
    if row is None:
        return None
    place = None if row["topic"] is None else (row["topic"], row["part"], row["at_offset"])
    return Request(row["id"], row["act"], row["order_id"], place, row["record"])


class _Obeying(_Batch):
    """The records of one request on their way through its transaction."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler, ())

    async def follow(self, conn: Connection, request: Request) -> tuple[Outcome, Result]:
        if request.act == "skip" and request.order_id is not None:
            return await self._skip(conn, request.order_id)
        if request.act == "replay" and request.place is not None:
            return await self._replay(conn, request.place)
        if request.act == "command" and request.record is not None:
            return await self._command(conn, unpack_record(request.record), request.number)
        return Outcome(), Result("nothing", {"why": "there is nothing for the service to do"})

    async def _replay(
        self, conn: Connection, place: tuple[str, int, int]
    ) -> tuple[Outcome, Result]:
        """Handle the letter's record, then what waits behind it."""
        outcome = Outcome()
        order_id = await conn.fetchval(
            "SELECT order_id FROM dead_letter WHERE topic = $1 AND part = $2 AND at_offset = $3 AND record IS NOT NULL",
            *place,
        )
        if order_id is None:
            return outcome, Result("nothing", {"why": "the letter is not owed, or holds no order"})
        await inbox.lock_orders(conn, self._h.service, {order_id})
        letters = await inbox.kept_letters(conn, place=place)
        if not letters or letters[0].record is None:
            return outcome, Result("nothing", {"why": "the letter is not owed any more"})
        letter = letters[0]
        record = self._opened(letter)
        refused = await self._try_parked(conn, record, outcome)
        if refused is not None:
            await inbox.note_failed_again(conn, letter, refused.reason, str(refused)[:500])
            outcome.after_commit.append(
                metrics.DEAD_LETTERS.labels(self._h.service, record.topic, refused.reason).inc
            )
            return outcome, Result(
                "failed", {"reason": refused.reason, "error": str(refused)[:500]}
            )
        await inbox.forget_letters(conn, letters)
        return outcome, Result("done", await self._let_go(conn, order_id, outcome))

    async def _command(
        self, conn: Connection, record: Record, number: int
    ) -> tuple[Outcome, Result]:
        """Follow what an operator says in the words of the intake; no party has to sign it."""
        found = self._h.decode(replace(record, offset=-number), trusted=True)
        if isinstance(found, Unprocessable):
            return Outcome(), Result("failed", {"reason": found.reason, "error": str(found)[:500]})
        await self._lock(conn, found)
        outcome = Outcome()
        refused = await self._try(conn, record, found, outcome)
        if refused is not None:
            return Outcome(), Result(
                "failed", {"reason": refused.reason, "error": str(refused)[:500]}
            )
        return outcome, Result("done")

    async def _skip(self, conn: Connection, order_id: UUID) -> tuple[Outcome, Result]:
        """Let the order go on without what holds it."""
        outcome = Outcome()
        await inbox.lock_orders(conn, self._h.service, {order_id})
        if not await inbox.held_among(conn, {order_id}):
            return outcome, Result("nothing", {"why": "the order is not held here"})
        letters = await inbox.kept_letters(conn, order_id=order_id)
        skipped = [self._told_of(letter) for letter in letters]
        await inbox.forget_letters(conn, letters)
        return outcome, Result(
            "done", {"skipped": skipped, **await self._let_go(conn, order_id, outcome)}
        )

    async def _let_go(self, conn: Connection, order_id: UUID, outcome: Outcome) -> dict[str, Any]:
        """Hold the order no longer and handle what waited, one by one, until one of these has to be given up.

        That one is the dead letter now and holds the order; what is behind it waits on.
        """
        if await inbox.kept_letters(conn, order_id=order_id):
            return {"followed": 0, "held_again": "another letter holds the order"}
        await inbox.unhold(conn, {order_id})
        waiting = await inbox.unpark(conn, [order_id])
        for at, packed in enumerate(waiting, 1):
            record = self._h.decrypt(packed)
            refused = await self._try_parked(conn, record, outcome)
            if refused is not None:
                await self._hold_again(conn, record, refused, outcome)
                await inbox.park(conn, [(order_id, each) for each in waiting[at:]])
                return {"followed": at - 1, "held_again": refused.reason}
        return {"followed": len(waiting)}

    async def _hold_again(
        self, conn: Connection, record: Record, refused: Unprocessable, outcome: Outcome
    ) -> None:
        letter = Outcome()
        await self._give_up(conn, letter, record, refused)
        await self._write(conn, letter)
        outcome.extend(letter)

    def _opened(self, letter: inbox.Letter) -> Record:
        assert letter.record is not None
        return self._h.decrypt(letter.record) if letter.sealed else unpack_record(letter.record)

    def _told_of(self, letter: inbox.Letter) -> Mapping[str, Any]:
        """What a letter was, for the audit: its place, why it was given up, and which fact it was."""
        found: dict[str, Any] = {
            "at": "/".join(map(str, letter.place)),
            "reason": letter.reason,
            "error": letter.error,
        }
        if letter.record is not None:
            heads = first_headers(self._opened(letter).headers)
            found |= {
                name: heads[name].decode("utf-8", "replace")
                for name in ("ce_type", "ce_id")
                if name in heads
            }
        return found


# --- what the command line writes


async def ask(
    conn: Connection, schema: str, act: str, by: str, *, order_id: UUID | None = None, letter: str | None = None,
    place: tuple[str, int, int] | None = None, note: str = "", record: bytes | None = None,
    outcome: str | None = None, details: Mapping[str, Any] | None = None,
) -> int:  # fmt: skip
    """Write a request into a service's schema and return its number; with `outcome` it is done already, and only noted.

    `schema` is the name of a service; the connection encodes JSON itself.
    """
    topic, part, offset = place or (None, None, None)
    number: int = await conn.fetchval(
        _ASK.format(schema), by, act, order_id, letter, topic, part, offset, note, record
    )
    if outcome is not None:
        await conn.execute(_NOTE.format(schema), number, outcome, details or {})
    return number


_ASK: Final = (
    "INSERT INTO {0}.operator_request (by_whom, act, order_id, letter, topic, part, at_offset, note, record) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id"
)
_NOTE: Final = "INSERT INTO {0}.operator_result (request_id, outcome, details) VALUES ($1, $2, $3)"
