"""The SQL of the deposit at customs: one row, changed by differences, never overwritten."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from shared.database import Connection
from shared.money import Money


async def adjust_deposit(conn: Connection, wanted: Money) -> tuple[int, int]:
    """Set the deposit to `wanted`, but not below what is reserved.

    Returns the change and the new amount in minor units; (0, 0) if nothing changed.
    """
    await conn.execute(
        "INSERT INTO guarantee (currency, amount_minor, reserved_minor) VALUES ($1, 0, 0) ON "
        "CONFLICT DO NOTHING",
        wanted.currency,
    )
    row = await conn.fetchrow(
        "UPDATE guarantee AS g SET amount_minor = greatest($2, g.reserved_minor) FROM (SELECT "
        "currency, amount_minor FROM guarantee "
        "WHERE currency = $1 FOR UPDATE) AS b WHERE g.currency = b.currency AND g.amount_minor <> "
        "greatest($2, g.reserved_minor) "
        "RETURNING g.amount_minor, g.amount_minor - b.amount_minor AS change",
        wanted.currency,
        wanted.minor,
    )
    return (0, 0) if row is None else (row["change"], row["amount_minor"])


async def take(conn: Connection, amount: Money) -> bool:
    """Reserve an amount if so much is free; a table constraint also forbids more."""
    row = await conn.fetchrow(
        "UPDATE guarantee SET reserved_minor = reserved_minor + $2 WHERE currency = $1 AND "
        "amount_minor - reserved_minor >= $2 "
        "RETURNING reserved_minor",
        amount.currency,
        amount.minor,
    )
    return row is not None


async def give_back(conn: Connection, amount: Money) -> None:
    if amount.minor:
        await conn.execute(
            "UPDATE guarantee SET reserved_minor = reserved_minor - $2 WHERE currency = $1",
            amount.currency,
            amount.minor,
        )


async def lock_free(conn: Connection) -> Money:
    """Lock the deposit until the end of the transaction; return what is free.

    A missing row is created, so that there is always one to lock.
    """
    query = "SELECT amount_minor - reserved_minor FROM guarantee WHERE currency = 'CNY' FOR UPDATE"
    minor = await conn.fetchval(query)
    if minor is None:
        await conn.execute(
            "INSERT INTO guarantee (currency, amount_minor, reserved_minor) VALUES ('CNY', 0, 0) "
            "ON CONFLICT DO NOTHING"
        )
        minor = await conn.fetchval(query)
    return Money(minor, "CNY")


async def reserved_of(conn: Connection, order_ids: Collection[UUID]) -> list[tuple[UUID, Money]]:
    rows = await conn.fetch(
        "SELECT r.order_id, r.amount_minor, r.currency FROM journal r LEFT JOIN journal u ON "
        "u.order_id = r.order_id "
        "AND u.purpose = 'unreserve' AND u.seq = 0 WHERE r.order_id = ANY($1::uuid[]) AND "
        "r.purpose = 'reserve' AND r.seq = 0 "
        "AND u.order_id IS NULL ORDER BY r.order_id",
        list(order_ids),
    )
    return [(row["order_id"], Money(row["amount_minor"], row["currency"])) for row in rows]


async def add_uncovered(conn: Connection, demands: Sequence[tuple[UUID, Money]]) -> None:
    if demands:
        await conn.execute(
            "INSERT INTO uncovered (order_id, currency, amount_minor) SELECT * FROM "
            "unnest($1::uuid[], $2::text[], $3::bigint[])",
            [order_id for order_id, _ in demands],
            [amount.currency for _, amount in demands],
            [amount.minor for _, amount in demands],
        )


async def is_one_uncovered(conn: Connection) -> bool:
    return bool(await conn.fetchval("SELECT EXISTS (SELECT FROM uncovered)"))


async def list_uncovered(conn: Connection, most: int) -> list[tuple[UUID, Money]]:
    """Lock and return the demands that wait for cover, the oldest first."""
    rows = await conn.fetch(
        "SELECT order_id, currency, amount_minor FROM uncovered WHERE order_id <> ALL "
        "(ARRAY(SELECT subject::uuid FROM aside "
        "WHERE source = 'guarantee' AND retry_at > now())) ORDER BY id LIMIT $1 FOR UPDATE",
        most,
    )
    return [(row["order_id"], Money(row["amount_minor"], row["currency"])) for row in rows]


async def drop_uncovered(conn: Connection, order_ids: Collection[UUID]) -> None:
    if order_ids:
        await conn.execute(
            "DELETE FROM uncovered WHERE order_id = ANY($1::uuid[])", list(order_ids)
        )


async def count_guarantee(conn: Connection) -> dict[str, int]:
    row = await conn.fetchrow(
        "SELECT coalesce(sum(amount_minor - reserved_minor), 0)::bigint AS free, "
        "coalesce(sum(reserved_minor), 0)::bigint AS reserved, "
        "(SELECT coalesce(sum(amount_minor), 0)::bigint FROM uncovered) AS uncovered FROM "
        "guarantee WHERE currency = 'CNY'"
    )
    return {"free": row["free"], "reserved": row["reserved"], "uncovered": row["uncovered"]}
