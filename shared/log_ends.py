"""Where a log ends for a reader, and where the first record of a range is."""

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
    """How far a reader has to go in each partition, and whether it still moves.

    `ends` are offsets. A partition is done when the reader's position is its end or beyond.

    The end is not always the offset behind a record. Each transaction leaves a mark, which takes an
    offset and is no record. Records of an aborted transaction take offsets too. So the reader is
    asked for its position. It is asked after a poll: aiokafka shows only then that it passed a mark
    (aiokafka issue 911).

    For readers of committed records, an open transaction ends the log. Everything behind it waits,
    whoever wrote it.
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
        """Return the partitions that the reader has passed. Call this after each poll.

        Raises Unavailable if nothing has moved for `still_s` seconds.
        """
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
                f"look at the log of the broker: for {self._still_s:.0f} s it has sent nothing of "
                f"{says}"
            )
        return among - set(ahead)

    async def _position(self, tp: TopicPartition) -> int:
        try:
            # The broker may no longer have the offset. The reader then asks for another offset and
            # has no position meanwhile.
            async with asyncio.timeout(POLL_MS / 1000):
                return int(await self._reader.position(tp))
        except TimeoutError:
            return self._stands.get(tp, -1)


async def first_records(
    bootstrap: str,
    ranges: Mapping[TopicPartition, tuple[int, int]],
    *,
    committed: bool = True,
    security: Security = OPEN,
    still_s: float = STILL_S,
) -> dict[TopicPartition, int]:
    """Return the offset of the first record in each range, or the range's end if it has none.

    A range is its first offset and the offset behind its last. With `committed`, records of an open
    or aborted transaction do not count. Raises Unavailable if the broker sends nothing.
    """
    found = {tp: end for tp, (first, end) in ranges.items() if first >= end}
    open_ = set(ranges) - set(found)
    if not open_:
        return found
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id="ends",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed" if committed else "read_uncommitted",
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_wait_ms=POLL_MS,
        request_timeout_ms=20_000,
        **security.options(),
    )
    await reader.start()
    try:
        await asyncio.sleep(0)  # its coordinator's task must begin before it is cancelled
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
