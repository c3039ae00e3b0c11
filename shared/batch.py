"""The records of one transaction: locked, freed of repetitions, handled, parked or given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

import structlog

from shared import inbox, metrics
from shared.database import Connection, check_now
from shared.dead_letter_store import Letter, given_up_within, note_dead_letter
from shared.dead_letters import dead_letter, record_id
from shared.decoding import (
    PartlyReadable,
    UnreadableEntry,
)
from shared.envelope import Message, Outgoing, Record
from shared.errors import TooManyGivenUp, Unprocessable
from shared.outcomes import write
from shared.record_reader import DecodedRecord, RecordReader, may_be_of_record
from shared.repetitions import mark_unseen
from shared.subscriptions import Outcome

log = structlog.get_logger(__name__)

NO_ORDER: Final = UUID(int=0)
"""The order id of a message that is about no order."""
UNFORESEEN: Final = ("unexpected", "integrity")
"""The reasons of failures that nobody foresaw. All other reasons are refusals of our own."""
UNFORESEEN_MAX: Final = 20
UNFORESEEN_S: Final = 60.0
"""At most UNFORESEEN_MAX records are given up for such reasons in UNFORESEEN_S seconds.

If more records fail, the program is at fault and not the records.
"""


class Batch:
    """Handles the records of one transaction."""

    def __init__(self, reader: RecordReader, decoded: Sequence[DecodedRecord]) -> None:
        self._reader = reader
        self._size = len(decoded)
        self._outcomes: Counter[tuple[str, str, str]] = Counter()
        self._handled: set[UUID] = set()
        # A third of the records that a service reads are not for it. They only move the offset.
        self._relevant = [each for each in decoded if each[1]]
        self._refused = [
            (record, refused)
            for record, refused in self._relevant
            if isinstance(refused, Unprocessable)
        ]
        self._unreadable = [
            (record, entry)
            for record, messages in self._relevant
            if type(messages) is PartlyReadable
            for entry in messages.unreadable
        ]
        if len(self._relevant) < self._size:
            self._outcomes.update(
                (record.topic, "", "ignored") for record, messages in decoded if not messages
            )

    async def run(self, conn: Connection) -> Outcome:
        """Handle the messages of all records, and give up the records that cannot be read.

        Return the outcome, which is already written in the caller's transaction.
        """
        messages = [
            m
            for _, decoded in self._relevant
            if not isinstance(decoded, Unprocessable)
            for m in decoded
        ]
        await self._lock(conn, messages)
        outcome = await self._call_handlers(conn, await self._park_held(conn, messages))
        await self._give_up_unreadable(conn, outcome)
        await self._write(conn, outcome)
        return outcome

    async def run_entries(self, conn: Connection) -> Outcome:
        """Handle the entries of the batch's one record; give up those that cannot be handled.

        Return the outcome, which is already written in the caller's transaction.
        """
        record, messages = self._relevant[0]
        assert not isinstance(messages, Unprocessable), "an unreadable record is given up before"
        await self._lock(conn, messages)
        outcome, letters = Outcome(), Outcome()
        failed = await self._try_entries(conn, record, messages, outcome)
        await self._give_up_unreadable(conn, letters)
        for each in failed:
            await self._give_up_entry(conn, letters, record, each)
        await self._write(conn, letters)
        outcome.extend(letters)
        return outcome

    async def _give_up_unreadable(self, conn: Connection, outcome: Outcome) -> None:
        for record, refused in self._refused:
            await self._give_up(conn, outcome, record, refused)
        for record, unreadable in self._unreadable:
            await self._give_up_entry(conn, outcome, record, unreadable)

    async def _try_entries(
        self, conn: Connection, record: Record, messages: Sequence[Message], outcome: Outcome
    ) -> list[UnreadableEntry]:
        """Handle the entries, in halves if that fails. Return those that cannot be handled."""
        refused = await self._try(conn, record, messages, outcome)
        if refused is None:
            return []
        if len(messages) == 1:
            return [UnreadableEntry(messages[0].entry, refused)]
        half = len(messages) // 2
        first = await self._try_entries(conn, record, messages[:half], outcome)
        return first + await self._try_entries(conn, record, messages[half:], outcome)

    async def _try_parked(
        self, conn: Connection, record: Record, outcome: Outcome
    ) -> Unprocessable | None:
        decoded = self._reader.decode(record)
        if isinstance(decoded, Unprocessable):
            return decoded
        return await self._try(conn, record, decoded, outcome)

    async def _try(
        self, conn: Connection, record: Record, messages: Sequence[Message], outcome: Outcome
    ) -> Unprocessable | None:
        """Handle messages of one record in a savepoint.

        Return the refusal if they cannot be handled. In that case nothing of them is stored.
        """
        counted = self._outcomes.copy()
        try:
            async with conn.transaction():
                handled = await self._call_handlers(conn, list(messages))
                await self._write(conn, handled)
                await check_now(conn)
        except Exception as error:
            if not may_be_of_record(error):
                raise
            self._outcomes = counted
            return self._reader.to_unprocessable(record, error)
        outcome.extend(handled)
        return None

    async def _lock(self, conn: Connection, messages: Sequence[Message]) -> None:
        reader = self._reader
        held = {o for record, _ in self._refused for o in reader.orders_held_by(record)}
        order_ids = {*held, *(m.order_id for m in messages)} - {NO_ORDER}
        await inbox.lock_orders(conn, reader.service, order_ids)

    async def _call_handlers(self, conn: Connection, messages: list[Message]) -> Outcome:
        fresh = await self._drop_seen(conn, messages)
        self._reader.failpoints.hit("after_inbox")
        outcome = Outcome()
        for handler, group in self._reader.subscriptions.by_handler(fresh):
            outcome.extend(await handler(conn, group, self._reader.deps))
        self._outcomes.update((m.topic, m.type, "ok") for m in fresh)
        self._handled.update(m.event_id for m in fresh)
        return outcome

    async def _give_up(
        self, conn: Connection, outcome: Outcome, record: Record, refused: Unprocessable
    ) -> None:
        outcome.records.append(await self._dead_letter(conn, record, refused))
        outcome.after_commit.append(
            metrics.DEAD_LETTERS.labels(self._reader.service, record.topic, refused.reason).inc
        )

    async def _give_up_entry(
        self, conn: Connection, outcome: Outcome, record: Record, failed: UnreadableEntry
    ) -> None:
        """Write the dead letter of one entry: a record with that entry only.

        A replay of this dead letter repeats no other entry.
        """
        alone = self._reader.sources[record.topic].alone
        assert alone is not None, "only a topic whose records have entries has unreadable ones"
        value = alone(record.value or b"", failed.entry)
        refused = Unprocessable(failed.why.reason, f"entry {failed.entry}: {failed.why}")
        outcome.records.append(
            await self._dead_letter(conn, replace(record, value=value), refused, failed.entry)
        )
        outcome.after_commit.append(
            metrics.DEAD_LETTERS.labels(self._reader.service, record.topic, refused.reason).inc
        )

    async def _write(self, conn: Connection, outcome: Outcome) -> None:
        reader = self._reader
        reader.failpoints.hit("after_reaction")
        await write(conn, reader.service, reader.topic, outcome, reader.sealing, self._handled)

    async def _park_held(self, conn: Connection, messages: list[Message]) -> list[Message]:
        reader = self._reader
        internal = {m.order_id for m in messages if not reader.sources[m.topic].intake}
        newly_held = {o for record, _ in self._refused for o in reader.orders_held_by(record)}
        internal |= newly_held
        held = await inbox.held_among(conn, internal) if internal else set()
        return await self._route(conn, held) if held or newly_held else messages

    async def _route(self, conn: Connection, held: set[UUID]) -> list[Message]:
        """Park some records and choose others to give up. Return the messages to handle now.

        `held`: the held orders. The orders of records given up here are added to this set.
        """
        reader = self._reader
        messages: list[Message] = []
        park: list[tuple[UUID, bytes]] = []
        refused: list[tuple[Record, Unprocessable]] = []
        for record, decoded in self._relevant:
            order_ids = (
                reader.orders_held_by(record)
                if isinstance(decoded, Unprocessable)
                else {m.order_id for m in decoded}
            )
            if order_ids & held and not reader.sources[record.topic].intake:
                # An unreadable record is parked too: only one record at a time holds an order.
                park += [(order_id, reader.encrypt(record)) for order_id in order_ids & held]
                event_type = "" if isinstance(decoded, Unprocessable) else decoded[0].type
                self._outcomes[record.topic, event_type, "parked"] += 1
            elif isinstance(decoded, Unprocessable):
                # Later records of the same order must wait, even those of this batch.
                held |= order_ids
                refused.append((record, decoded))
            else:
                messages += decoded
        self._refused = refused
        if park:
            await inbox.park(conn, park)
        return messages

    async def _drop_seen(self, conn: Connection, messages: list[Message]) -> list[Message]:
        unseen = await mark_unseen(conn, messages, self._reader.sources)
        if len(unseen) == len(messages):
            return messages
        fresh: list[Message] = []
        for m in messages:
            if m.event_id in unseen:
                unseen.discard(m.event_id)
                fresh.append(m)
            else:
                self._outcomes[m.topic, m.type, "duplicate"] += 1
        return fresh

    async def _dead_letter(
        self, conn: Connection, record: Record, refused: Unprocessable, entry: int = 0
    ) -> Outgoing:
        reader = self._reader
        self._outcomes[record.topic, "", "dead-letter"] += 1
        order_id = next(iter(reader.orders_held_by(record)), None)
        sealed = None if order_id is None else reader.encrypt(record)
        letter = Letter(
            *record_id(record),
            refused.reason,
            order_id,
            sealed,
            error=str(refused)[:500],
            entry=entry,
        )
        await note_dead_letter(conn, letter)
        await self._require_few(conn, refused)
        log.error(
            "record given up",
            service=reader.service,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=refused.reason,
            error=str(refused)[:300],
        )
        if order_id is not None:
            await inbox.hold(conn, order_id, refused.reason)
        return dead_letter(reader.service, record, refused, entry=entry)

    async def _require_few(self, conn: Connection, refused: Unprocessable) -> None:
        """Raise TooManyGivenUp if more than UNFORESEEN_MAX records failed in UNFORESEEN_S seconds.

        The database keeps the count, so that a new process continues the same count.
        """
        if refused.reason not in UNFORESEEN:
            return
        count = await given_up_within(conn, UNFORESEEN_S, UNFORESEEN)
        if count > UNFORESEEN_MAX:
            raise TooManyGivenUp(
                f"look for the trace in the log of {self._reader.service}: more than "
                f"{UNFORESEEN_MAX} records failed within {UNFORESEEN_S:.0f} s for reasons nobody "
                f"foresaw, the last one with {refused}; the next is not given up"
            )

    def count(self, seconds: float) -> None:
        """Count the batch, its records and its messages. `seconds`: how long the batch took."""
        service = self._reader.service
        metrics.PROCESSING.labels(service).observe(seconds)
        metrics.BATCH_RECORDS.labels(service).observe(self._size)
        self.count_events()

    def count_events(self) -> None:
        """Count the messages by topic, event type and outcome."""
        service = self._reader.service
        for (topic, event_type, outcome), count in self._outcomes.items():
            metrics.EVENTS.labels(service, topic, event_type, outcome).inc(count)
