"""How far each service is behind the log, by the offsets it keeps in its own schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from services.cli.connect import RunningStack, database

MARKS_MAX: Final = 1000
"""A backlog of at most so many offsets may consist of transaction marks only."""


@dataclass(frozen=True)
class PartitionLag:
    """Offsets of one partition for one service: next to read, first and end of the log.

    `unread` is the first record it has not handled, if known; the rest may be marks.
    """

    service: str
    topic: str
    partition: int
    next: int
    first: int
    end: int
    unread: int = 0

    @property
    def place(self) -> tuple[str, int]:
        return self.topic, self.partition

    @property
    def reads_on(self) -> int:
        return max(self.next, self.first, self.unread)

    @property
    def records(self) -> int:
        return max(0, self.end - self.reads_on)


async def offsets(conn: Any) -> dict[str, dict[tuple[str, int], int]]:
    """Return the stored offsets by service; a partition it was never given is missing."""
    from services.schema import SERVICES

    stored: dict[str, dict[tuple[str, int], int]] = {}
    for service in SERVICES:
        if await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{service}.consumer_offset"):
            # The name is one of SERVICES, never from outside.
            rows = await conn.fetch(f"SELECT topic, part, next FROM {service}.consumer_offset")  # noqa: S608
            stored[service] = {(row["topic"], row["part"]): row["next"] for row in rows}
    return stored


async def partition_lags(
    to: RunningStack, stored: Mapping[str, Mapping[tuple[str, int], int]] | None = None
) -> list[PartitionLag]:
    """Return every partition that a service reads, also those of which it has read nothing.

    `stored`: offsets from an earlier `offsets`; read now if not given.
    """
    from services.cli import topic_reader
    from shared.topics import TOPICS

    if stored is None:
        async with database(to) as conn:
            stored = await offsets(conn)
    read_topics = {
        service: {topic.name for topic in TOPICS if service in topic.readers} for service in stored
    }
    there = await topic_reader.ends(to, sorted(set().union(*read_topics.values())))
    lags = [
        PartitionLag(service, topic, part, places.get((topic, part), 0), first, end)
        for service, places in stored.items()
        for (topic, part), (first, end) in there.items()
        if topic in read_topics[service] or (topic, part) in places
    ]
    return await skip_marks(to, lags)


async def skip_marks(to: RunningStack, places: Sequence[PartitionLag]) -> list[PartitionLag]:
    """Return the same lags with `unread` set where only transaction marks may be left."""
    from services.cli import topic_reader

    few = [b for b in places if 0 < b.records <= MARKS_MAX]
    ranges: dict[tuple[str, int], tuple[int, int]] = {}
    first_unread: dict[tuple[tuple[str, int], int], int] = {}
    while few:
        # Several services may stand at one offset; each offset is looked up once.
        ranges = {b.place: (b.reads_on, b.end) for b in few}
        first = await topic_reader.first_records(to, ranges)
        first_unread |= {(place, ranges[place][0]): offset for place, offset in first.items()}
        few = [b for b in few if (b.place, b.reads_on) not in first_unread]
    return [
        replace(b, unread=first_unread.get((b.place, b.reads_on), 0)) if b.records else b
        for b in places
    ]


async def lag_of(to: RunningStack) -> dict[str, int]:
    records: dict[str, int] = {}
    for place in await partition_lags(to):
        records[place.service] = records.get(place.service, 0) + place.records
    return records
