"""Requests of operators to a service: replay a dead letter, skip it, or handle a command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

import orjson
import structlog

from shared import dead_letter_store, inbox, metrics
from shared.batch import Batch
from shared.database import Connection
from shared.dead_letters import unpack_record
from shared.envelope import Record, first_headers
from shared.errors import Unprocessable
from shared.handler import Handler
from shared.record_reader import may_be_of_record
from shared.subscriptions import Outcome

log = structlog.get_logger(__name__)

REQUEST_LOCK: Final = 0x726571
EVERY_S: Final = 1.0


@dataclass(frozen=True)
class Request:
    """One row of `operator_request`; `act` is `replay`, `skip` or `command`.

    Only operators may write this table. A header of a record requests nothing: whoever may write a
    topic could set it.
    """

    number: int
    act: str
    order_id: UUID | None
    place: tuple[str, int, int] | None
    record: bytes | None = None


@dataclass
class Result:
    """`outcome` is `done`, `failed` (the letter stays open) or `nothing` (nothing was to do)."""

    outcome: str
    details: dict[str, Any] = field(default_factory=dict)


async def obey(handler: Handler) -> int:
    """Carry out the open requests to this service, the oldest first. Return their number.

    Each request and its result are one transaction. An error that is not the record's fault is
    raised, as in a batch.
    """
    done = 0
    while await _obey_next(handler):
        done += 1
    return done


async def _obey_next(handler: Handler) -> bool:
    work = _RequestBatch(handler)
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
                outcome, result = await work.carry_out(conn, request)
        except Exception as error:
            if not may_be_of_record(error):
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
            request.number,
            result.outcome,
            orjson.dumps(result.details, default=str).decode(),
        )
    log.info(
        "an operator's request is followed",
        service=handler.service,
        act=request.act,
        number=request.number,
        outcome=result.outcome,
    )
    work.count_events()
    handler.committed(outcome)
    return True


async def _next(conn: Connection) -> Request | None:
    row = await conn.fetchrow(
        "SELECT q.id, q.act, q.order_id, q.topic, q.part, q.at_offset, q.record "
        "FROM operator_request q WHERE NOT EXISTS (SELECT FROM operator_result r "
        "WHERE r.request_id = q.id) ORDER BY q.id LIMIT 1"
    )
    if row is None:
        return None
    place = None if row["topic"] is None else (row["topic"], row["part"], row["at_offset"])
    return Request(row["id"], row["act"], row["order_id"], place, row["record"])


class _RequestBatch(Batch):
    """The records of one request, handled in its transaction."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler, ())

    async def carry_out(self, conn: Connection, request: Request) -> tuple[Outcome, Result]:
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
        """Handle the letter's record, then the parked records behind it."""
        outcome = Outcome()
        order_id = await conn.fetchval(
            "SELECT order_id FROM dead_letter WHERE topic = $1 AND part = $2 AND at_offset = $3 "
            "AND record IS NOT NULL",
            *place,
        )
        if order_id is None:
            return outcome, Result("nothing", {"why": "the letter is not owed, or holds no order"})
        await inbox.lock_orders(conn, self._reader.service, {order_id})
        letters = await dead_letter_store.open_letters(conn, place=place)
        if not letters or letters[0].record is None:
            return outcome, Result("nothing", {"why": "the letter is not owed any more"})
        letter = letters[0]
        record = self._opened(letter)
        refused = await self._try_parked(conn, record, outcome)
        if refused is not None:
            await dead_letter_store.note_failed_again(
                conn, letter, refused.reason, str(refused)[:500]
            )
            outcome.after_commit.append(
                metrics.DEAD_LETTERS.labels(self._reader.service, record.topic, refused.reason).inc
            )
            return outcome, Result(
                "failed", {"reason": refused.reason, "error": str(refused)[:500]}
            )
        await dead_letter_store.forget_letters(conn, letters)
        return outcome, Result("done", await self._release(conn, order_id, outcome))

    async def _command(
        self, conn: Connection, record: Record, number: int
    ) -> tuple[Outcome, Result]:
        """Handle a record that an operator wrote. No party has to sign it."""
        decoded = self._reader.decode(replace(record, offset=-number), trusted=True)
        if isinstance(decoded, Unprocessable):
            details = {"reason": decoded.reason, "error": str(decoded)[:500]}
            return Outcome(), Result("failed", details)
        await self._lock(conn, decoded)
        outcome = Outcome()
        refused = await self._try(conn, record, decoded, outcome)
        if refused is not None:
            return Outcome(), Result(
                "failed", {"reason": refused.reason, "error": str(refused)[:500]}
            )
        return outcome, Result("done")

    async def _skip(self, conn: Connection, order_id: UUID) -> tuple[Outcome, Result]:
        """Drop the letters that hold the order, and let it go on."""
        outcome = Outcome()
        await inbox.lock_orders(conn, self._reader.service, {order_id})
        if not await inbox.held_among(conn, {order_id}):
            return outcome, Result("nothing", {"why": "the order is not held here"})
        letters = await dead_letter_store.open_letters(conn, order_id=order_id)
        skipped = [self._describe(letter) for letter in letters]
        await dead_letter_store.forget_letters(conn, letters)
        return outcome, Result(
            "done", {"skipped": skipped, **await self._release(conn, order_id, outcome)}
        )

    async def _release(self, conn: Connection, order_id: UUID, outcome: Outcome) -> dict[str, Any]:
        """Release the order and handle its parked records one by one.

        The first record that fails becomes the dead letter and holds the order. The records behind
        it stay parked.
        """
        if await dead_letter_store.open_letters(conn, order_id=order_id):
            return {"followed": 0, "held_again": "another letter holds the order"}
        await inbox.unhold(conn, {order_id})
        waiting = await inbox.unpark(conn, [order_id])
        for at, packed in enumerate(waiting, 1):
            record = self._reader.decrypt(packed)
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

    def _opened(self, letter: dead_letter_store.Letter) -> Record:
        assert letter.record is not None
        return (
            self._reader.decrypt(letter.record) if letter.sealed else unpack_record(letter.record)
        )

    def _describe(self, letter: dead_letter_store.Letter) -> Mapping[str, Any]:
        """Describe a letter for the audit: place, reason, and the id and type of its event."""
        description: dict[str, Any] = {
            "at": "/".join(map(str, letter.place)),
            "reason": letter.reason,
            "error": letter.error,
        }
        if letter.record is not None:
            heads = first_headers(self._opened(letter).headers)
            description |= {
                name: heads[name].decode("utf-8", "replace")
                for name in ("ce_type", "ce_id")
                if name in heads
            }
        return description


# --- what the command line writes


async def ask(
    conn: Connection,
    schema: str,
    act: str,
    by: str,
    *,
    order_id: UUID | None = None,
    letter: str | None = None,
    place: tuple[str, int, int] | None = None,
    note: str = "",
    record: bytes | None = None,
    outcome: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> int:
    """Write a request into the schema of a service. Return its number.

    With `outcome` the request is already done and only noted. The connection encodes JSON itself.
    """
    topic, part, offset = place or (None, None, None)
    number: int = await conn.fetchval(
        _ASK.format(schema), by, act, order_id, letter, topic, part, offset, note, record
    )
    if outcome is not None:
        await conn.execute(_NOTE.format(schema), number, outcome, details or {})
    return number


_ASK: Final = (
    "INSERT INTO {0}.operator_request (by_whom, act, order_id, letter, topic, part, at_offset, "
    "note, record) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id"
)
_NOTE: Final = "INSERT INTO {0}.operator_result (request_id, outcome, details) VALUES ($1, $2, $3)"
