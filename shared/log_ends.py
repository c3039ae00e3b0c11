"""Where a log ends: behind what was asked for when nothing comes any more, which need not be behind a record.

A producer that writes in transactions leaves a mark behind each. A mark takes an offset and is no record, and neither is what a
transaction that was given up had written. So nobody finds the end by adding one to the last record's offset: the reader is asked
how far it has come, after it was asked for more (aiokafka tells only then that it went past a mark, its issue 911).

An open transaction ends the log for all who read what is committed: what lies behind it waits, whoever wrote it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.errors import Unavailable
from shared.kafka import FETCH_BYTES, OPEN, Security

STILL_S: Final = 30.0
POLL_MS: Final = 100


class Ahead:
    """How far a reader is to go in each partition, and whether it still gets on.

    `ends` are offsets; a partition is done when the reader stands there or beyond.
    """

    def __init__(
        self, reader: Any, ends: Mapping[TopicPartition, int], still_s: float = STILL_S
    ) -> None:
        self._reader = reader
        self._ends = ends
        self._still_s = still_s
        self._stands: dict[TopicPartition, int] = {}
        self._moved_at = time.monotonic()

    async def done(self, among: set[TopicPartition]) -> set[TopicPartition]:
        """Which of them the reader has passed. Called after each poll; raises Unavailable if nothing has moved for long."""
        stands = {tp: await self._position(tp) for tp in among}
        if any(stands[tp] != self._stands.get(tp) for tp in among):
            self._moved_at = time.monotonic()
        self._stands.update(stands)
        ahead = [tp for tp in among if stands[tp] < self._ends[tp]]
        if ahead and time.monotonic() - self._moved_at > self._still_s:
            says = ", ".join(
                f"{tp.topic}/{tp.partition} from {stands[tp]} to {self._ends[tp]}"
                for tp in sorted(ahead)[:5]
            )
            raise Unavailable(
                f"look at the log of the broker: for {self._still_s:.0f} s it has sent nothing of {says}"
            )
        return among - set(ahead)

    async def _position(self, tp: TopicPartition) -> int:
        try:
            # Where the broker no longer has the offset the reader asks for another and does not stand anywhere meanwhile.
            async with asyncio.timeout(POLL_MS / 1000):
                return int(await self._reader.position(tp))
        except TimeoutError:
            return self._stands.get(tp, -1)


async def first_records(
    bootstrap: str, ranges: Mapping[TopicPartition, tuple[int, int]], *, committed: bool = True, security: Security = OPEN,
    still_s: float = STILL_S,
) -> dict[TopicPartition, int]:  # fmt: skip
    """Of each range of offsets (its first, and the one behind its last): that of the first record in it, or the range's end.

    `committed`: records of a transaction that is open or was given up are none. Raises Unavailable where the broker sends nothing.
    """
    found = {tp: end for tp, (first, end) in ranges.items() if first >= end}
    open_ = set(ranges) - set(found)
    if not open_:
        return found
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, client_id="ends", group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
        isolation_level="read_committed" if committed else "read_uncommitted", max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_wait_ms=POLL_MS, request_timeout_ms=20_000, **security.options(),
    )  # fmt: skip
    await reader.start()
    try:
        await asyncio.sleep(0)  # its coordinator's task must have begun before it is cancelled
        reader.assign(sorted(open_))
        for tp in open_:
            reader.seek(tp, ranges[tp][0])
        ahead = Ahead(reader, {tp: end for tp, (_, end) in ranges.items()}, still_s)
        while open_:
            for tp, batch in (
                await reader.getmany(timeout_ms=POLL_MS, max_records=len(open_))
            ).items():
                found[tp] = min(batch[0].offset, ranges[tp][1])
            passed = await ahead.done(open_)
            found |= {tp: ranges[tp][1] for tp in passed if tp not in found}
            reader.pause(*(open_ & found.keys()))
            open_ -= found.keys()
    finally:
        await reader.stop()
    return found
