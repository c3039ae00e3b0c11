"""Dead letters that are given up: they will not be replayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from services.cli.connect import (
    RunningStack,
    database,
)
from services.cli.dlq.letters import DeadLetter, letters_of, owed_by_id, select
from shared.envelope import uuid_or_none

if TYPE_CHECKING:
    pass


async def drop_letters(
    to: RunningStack, ids: Sequence[str], reason: str | None, dry_run: bool
) -> list[dict[str, str]]:
    letters = select(await letters_of(to), ids, reason, everything=False)
    due = await owed_by_id(to, letters)
    async with database(to, write=not dry_run) as conn:
        return [
            {
                "id": letter.letter_id,
                "outcome": await _drop_one(conn, letter, dry_run)
                if letter.letter_id in due
                else "is not owed",
            }
            for letter in letters
        ]


async def _drop_one(conn: Any, letter: DeadLetter, dry_run: bool) -> str:
    from services.cli.operator_requests import operator
    from shared.operator_requests import ask

    service = letter.service
    order_id = uuid_or_none(letter.record.key)
    if order_id is not None and await conn.fetchval(_HELD.format(service), order_id):
        return HOLDS
    if dry_run:
        return "would be dropped"
    async with conn.transaction():
        await conn.execute(_FORGET.format(service), *letter.place, letter.entry)
        await ask(
            conn,
            service,
            "drop",
            operator(),
            letter=letter.letter_id,
            place=letter.place,
            outcome="done",
        )
    return "dropped"


HOLDS: Final = (
    "holds its order: replay it, or let the order go with `crossborder order release "
    "ORDER --skip --note WHY`"
)


_HELD: Final = "SELECT EXISTS (SELECT FROM {0}.held_order WHERE order_id = $1)"


_FORGET: Final = (
    "DELETE FROM {0}.dead_letter WHERE topic = $1 AND part = $2 AND at_offset = $3 AND entry = $4"
)
"""The schema is one of SERVICES."""
