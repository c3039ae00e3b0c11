"""Dead letters in the services' tables: which are open, and the records of held orders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from services.cli.connect import RunningStack, database

Place = tuple[str, int, int]


@dataclass(frozen=True)
class OwedLetter:
    """An open dead letter. `has_bytes`: it holds its order, and the table has its record."""

    service: str
    place: Place
    reason: str
    error: str
    at: datetime
    order_id: UUID | None
    has_bytes: bool
    attempts: int
    entry: int = 0

    @property
    def letter_id(self) -> str:
        """Return the id of a letter that its topic has lost."""
        return f"{self.service}/{'/'.join(map(str, self.place))}"


async def owed_letters(to: RunningStack) -> list[OwedLetter]:
    letters: list[OwedLetter] = []
    async with database(to) as conn:
        for service in await _services(conn):
            letters += [
                OwedLetter(
                    service,
                    (row["topic"], row["part"], row["at_offset"]),
                    row["reason"],
                    row["error"] or "",
                    row["at"],
                    row["order_id"],
                    row["kept"],
                    row["attempts"],
                    row["entry"],
                )
                for row in await conn.fetch(_OWED.format(service))
            ]
    return sorted(letters, key=lambda each: each.at)


async def replayed_letters(to: RunningStack) -> set[str]:
    ids: set[str] = set()
    async with database(to) as conn:
        for service in await _services(conn):
            rows = await conn.fetch(_REPLAYED.format(service))
            ids |= {row["letter"] for row in rows}
    return ids


async def _services(conn: Any) -> list[str]:
    from services.schema import SERVICES

    return [
        s
        for s in SERVICES
        if await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{s}.operator_request")
    ]


async def holders_of(conn: Any, order_id: UUID) -> list[str]:
    return [
        service
        for service in await _services(conn)
        if await conn.fetchval(_HOLDS.format(service), order_id)
    ]


async def give_bytes(conn: Any, service: str, place: Place, order_id: UUID, packed: bytes) -> None:
    """Store the bytes of a letter of an earlier release, which only its topic has."""
    await conn.execute(_GIVE.format(service), *place, packed, order_id)


_OWED: Final = (
    "SELECT topic, part, at_offset, reason, error, at, order_id, record IS NOT NULL "
    "AS kept, attempts, entry FROM {0}.dead_letter"
)
_REPLAYED: Final = (
    "SELECT letter FROM {0}.operator_request WHERE act = 'replay' AND letter IS NOT NULL"
)
_HOLDS: Final = "SELECT EXISTS (SELECT FROM {0}.held_order WHERE order_id = $1)"
_GIVE: Final = (
    "UPDATE {0}.dead_letter SET record = $4, sealed = false, order_id = $5 "
    "WHERE topic = $1 AND part = $2 AND at_offset = $3 AND entry = 0 AND record IS NULL"
)
"""The schema is one of SERVICES."""
