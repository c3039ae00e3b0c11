"""Handles one batch of records in one transaction, and finds the record that cannot be handled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import structlog

from shared import inbox
from shared.batch import Batch
from shared.database import OUTDATED
from shared.decoding import PartlyReadable
from shared.envelope import Record
from shared.errors import TooManyGivenUp, Unprocessable
from shared.record_reader import Decoded, DecodedRecord, RecordReader, may_be_of_record
from shared.subscriptions import Outcome, Subscriptions

log = structlog.get_logger(__name__)


class Handler(RecordReader):
    """Handles the records of one poll for one service.

    A batch that fails is halved until the bad record stands alone. One transaction steps over this
    record, writes its dead letter and holds its order. So nothing half-done moves on, and no other
    order waits. A record with entries is halved in turn: only the entries that cannot be handled
    become dead letters.
    """

    def __init__(
        self,
        service: str,
        topic: str,
        subscriptions: Subscriptions,
        pool: Any,
        deps: Any,
        *,
        after: Callable[[Outcome], None] = Outcome.count,
        orders_at_once: int = 5000,
        **reading: Any,
    ) -> None:
        """`orders_at_once`: the most orders that one transaction locks.

        A single record about more orders is handled all the same. `after` runs after each commit.
        `reading`: further arguments of RecordReader.
        """
        super().__init__(service, topic, subscriptions, deps, **reading)
        self.pool = pool
        self._orders_at_once = orders_at_once
        self._after = after

    async def handle(self, records: Sequence[Record]) -> None:
        """Handle the records in their order. Records of a partition must follow without a hole.

        Raises inbox.Fenced if the stored offsets differ. Raises Unavailable. Raises a database
        error without a fault in the values: a full disk or lock table, a lost connection, a table
        of another release. The stored offsets tell which records were committed by then. Raises
        TooManyGivenUp if so many records fail that the program must be at fault.
        """
        decoded = [(r, self.decode(r)) for r in records]
        for portion in portions(decoded, self._orders_at_once):
            await self._divide(portion)

    async def _divide(self, decoded: Sequence[DecodedRecord]) -> None:
        try:
            await self._transact(decoded)
        except Exception as error:
            if not _may_be_halved(error, len(decoded)):
                raise
            if len(decoded) == 1:
                await self._handle_failed(*decoded[0], error)
                return
            half = len(decoded) // 2
            await self._divide(decoded[:half])
            await self._divide(decoded[half:])

    async def _handle_failed(self, record: Record, messages: Decoded, error: Exception) -> None:
        """Handle the good entries of a record that failed alone, or give the record up."""
        if isinstance(messages, Unprocessable):
            raise error  # the dead letter itself failed: the fault is ours, not the record's
        has_entries = len(messages) > 1 or type(messages) is PartlyReadable
        if has_entries and self.sources[record.topic].alone is not None:
            try:
                await self._transact([(record, messages)], by_entry=True)
            except Exception as entry_error:
                if not may_be_of_record(entry_error):
                    raise
                error = entry_error
            else:
                return
        await self._transact([(record, self.to_unprocessable(record, error))])

    def committed(self, outcome: Outcome) -> None:
        """Run the follow-up of a transaction that was committed outside the batches."""
        self._after(outcome)

    async def _transact(self, decoded: Sequence[DecodedRecord], *, by_entry: bool = False) -> None:
        try:
            await self._transact_once(decoded, by_entry=by_entry)
        except OUTDATED as error:
            log.info(
                "a table was changed, the batch is tried with new plans",
                service=self.service,
                error=type(error).__name__,
            )
            await self._transact_once(decoded, by_entry=by_entry)

    async def _transact_once(self, decoded: Sequence[DecodedRecord], *, by_entry: bool) -> None:
        started = time.perf_counter()
        batch = Batch(self, decoded)
        async with self.pool.acquire() as conn, conn.transaction():
            await inbox.advance(conn, offset_moves(record for record, _ in decoded))
            self.failpoints.hit("after_offsets")
            outcome = await (batch.run_entries(conn) if by_entry else batch.run(conn))
            self.failpoints.hit("before_commit")
        self.failpoints.hit("after_commit")
        batch.count(time.perf_counter() - started)
        self._after(outcome)


def _may_be_halved(error: Exception, records: int) -> bool:
    return may_be_of_record(error) or (isinstance(error, TooManyGivenUp) and records > 1)


def portions(
    decoded: Sequence[DecodedRecord], messages_max: int
) -> Iterator[Sequence[DecodedRecord]]:
    """Split the records into runs of at most `messages_max` messages.

    Each message may lock an order. A record with more messages forms a run of its own.
    """
    begin, room = 0, messages_max
    for at, (_, messages) in enumerate(decoded):
        count = 0 if isinstance(messages, Unprocessable) else len(messages)
        if count > room and at > begin:
            yield decoded[begin:at]
            begin, room = at, messages_max
        room -= count
    if begin < len(decoded):
        yield decoded[begin:]


def offset_moves(records: Iterable[Record]) -> dict[inbox.Partition, tuple[int, int]]:
    """Return the first offset of the records and the offset after the last, by partition."""
    moves: dict[inbox.Partition, tuple[int, int]] = {}
    for r in records:
        first = moves.get((r.topic, r.partition), (r.offset, 0))[0]
        moves[r.topic, r.partition] = (first, r.offset + 1)
    return moves
