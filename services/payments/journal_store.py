"""The SQL of the journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.payments.domain.ledger import JournalEntry
from shared.database import Connection, copied
from shared.errors import Unprocessable

_ENTRY: Final = (
    "txn_id",
    "seq",
    "order_id",
    "purpose",
    "account",
    "party",
    "currency",
    "amount_minor",
    "part",
)


_UNNESTED: Final = (
    "$1::uuid[], $2::smallint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], "
    "$8::bigint[], $9::int[]"
)


async def book(conn: Connection, entries: Sequence[JournalEntry]) -> None:
    """Write the entries in one statement; movements that are booked already stay as they are.

    Raises Unprocessable if a booked movement has another amount, account or order.
    """
    rows = [_row(entry) for entry in entries]
    if not rows or await copied(conn, "journal", _ENTRY, rows):
        return
    await conn.execute(
        f"INSERT INTO journal ({', '.join(_ENTRY)}) "  # noqa: S608
        f"SELECT * FROM unnest({_UNNESTED}) "
        ""
        ""
        "ON CONFLICT (txn_id, seq) DO NOTHING",
        *map(list, zip(*rows, strict=True)),
    )
    other = await conn.fetchrow(
        f"SELECT txn_id, purpose FROM (SELECT * FROM unnest({_UNNESTED}) "  # noqa: S608
        f"EXCEPT SELECT {', '.join(_ENTRY)} FROM journal WHERE txn_id = ANY($1::uuid[])) "
        f"AS differing({', '.join(_ENTRY)}) LIMIT 1",
        *map(list, zip(*rows, strict=True)),
    )
    if other is not None:
        raise Unprocessable(
            "integrity",
            f"the books have the {other['purpose']} {other['txn_id']} "
            "with another amount, account or order",
        )


def _row(e: JournalEntry) -> tuple[object, ...]:
    return (
        e.txn_id,
        e.seq,
        e.order_id,
        e.purpose,
        e.account,
        e.party,
        e.currency,
        e.amount_minor,
        e.part,
    )


async def balances(conn: Connection) -> list[tuple[str, str, int]]:
    rows = await conn.fetch(
        "SELECT account, currency, sum(amount_minor)::bigint AS minor FROM journal "
        "GROUP BY account, currency"
    )
    return [(row["account"], row["currency"], row["minor"]) for row in rows]
