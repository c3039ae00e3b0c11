"""How far each service is behind the log, by the offsets it keeps in its own schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.cli.connect import Target, database


@dataclass(frozen=True)
class Behind:
    """One partition as one service has it: where it reads on, where the log ends, and where the log
    begins.
    """

    service: str
    topic: str
    partition: int
    next: int
    first: int
    end: int

    @property
    def records(self) -> int:
        return max(0, self.end - max(self.next, self.first))


async def offsets(conn: Any) -> dict[str, dict[tuple[str, int], int]]:
    """The stored offsets of every service that has a schema; it has none of a partition it was never given."""
    from services.schema import SERVICES

    found: dict[str, dict[tuple[str, int], int]] = {}
    for service in SERVICES:
        if await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{service}.consumer_offset"):
            # The name is one of SERVICES, never from outside.
            rows = await conn.fetch(f"SELECT topic, part, next FROM {service}.consumer_offset")  # noqa: S608
            found[service] = {(row["topic"], row["part"]): row["next"] for row in rows}
    return found


async def behind(to: Target) -> list[Behind]:
    """Every partition of every topic that a service is to read. What it was never given it has read nothing of."""
    from services.cli import reading
    from shared.topics import TOPICS

    async with database(to) as conn:
        stored = await offsets(conn)
    heard = {service: {topic.name for topic in TOPICS if service in topic.readers} for service in stored}
    there = await reading.ends(to, sorted(set().union(*heard.values())))
    return [
        Behind(service, topic, part, places.get((topic, part), 0), first, end)
        for service, places in stored.items()
        for (topic, part), (first, end) in there.items()
        if topic in heard[service] or (topic, part) in places
    ]


async def lag_of(to: Target) -> dict[str, int]:
    """Records each service is behind."""
    found: dict[str, int] = {}
    for place in await behind(to):
        found[place.service] = found.get(place.service, 0) + place.records
    return found
