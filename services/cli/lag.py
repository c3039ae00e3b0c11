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
    """The stored offsets of every service that has a schema."""
    from services.schema import SERVICES

    found: dict[str, dict[tuple[str, int], int]] = {}
    for service in SERVICES:
        if await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{service}.consumer_offset"):
            # The name is one of SERVICES, never from outside.
            rows = await conn.fetch(f"SELECT topic, part, next FROM {service}.consumer_offset")  # noqa: S608
            found[service] = {(row["topic"], row["part"]): row["next"] for row in rows}
    return found


async def behind(to: Target) -> list[Behind]:
    """Every partition every service reads."""
    from services.cli import reading

    async with database(to) as conn:
        stored = await offsets(conn)
    topics = sorted({topic for places in stored.values() for topic, _ in places})
    there = await reading.ends(to, topics)
    return [
        Behind(service, topic, part, following, *there[topic, part])
        for service, places in stored.items()
        for (topic, part), following in places.items()
        if (topic, part) in there
    ]


async def lag_of(to: Target) -> dict[str, int]:
    """Records each service is behind."""
    found: dict[str, int] = {}
    for place in await behind(to):
        found[place.service] = found.get(place.service, 0) + place.records
    return found
