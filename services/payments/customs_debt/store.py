"""The SQL of what is owed to customs: dues, payments of payment books, and the deposit that stands for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from services.payments.customs_debt.domain import LedgerPosition, TaxDue, TaxDueState
from shared.database import Connection
from shared.money import Money


async def lock(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, TaxDue]:
    """The dues of these orders that are there, locked in one order; the orders' payments must be locked already."""
    rows = await conn.fetch(
        "SELECT * FROM tax_due WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE",
        list(order_ids),
    )
    return {row["order_id"]: _due(row) for row in rows}


async def orders_of(conn: Connection, payment_ids: Collection[UUID]) -> list[UUID]:
    """Return the orders whose dues these payments pay; complete once the payments were asked for."""
    rows = await conn.fetch(
        "SELECT order_id FROM tax_due WHERE payment_id = ANY($1::uuid[])", list(payment_ids)
    )
    return [row["order_id"] for row in rows]


def _due(row: Mapping[str, Any]) -> TaxDue:
    currency = row["currency"]
    return TaxDue(
        row["order_id"], row["tax_no"], TaxDueState(row["state"]), Money(row["withheld_minor"], currency),
        Money(row["billed_minor"], currency), row["outcome"], row["merchant_code"], Money(row["refunded_minor"], currency),
        row["payment_id"], row["payment_book"], row["booked_at_most_minor"], row["returns"], row["turn"],
    )  # fmt: skip


async def save(conn: Connection, dues: Sequence[TaxDue]) -> None:
    """Write dues of orders whose payments the caller has locked."""
    if not dues:
        return
    await conn.execute(
        """INSERT INTO tax_due (order_id, tax_no, state, currency, withheld_minor, billed_minor, outcome, merchant_code, refunded_minor,
               payment_id, payment_book, booked_at_most_minor, returns, turn)
           SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[],
               $9::bigint[], $10::uuid[], $11::text[], $12::bigint[], $13::int[], $14::int[])
           ON CONFLICT (order_id) DO UPDATE SET tax_no = excluded.tax_no, state = excluded.state,
               billed_minor = excluded.billed_minor, outcome = excluded.outcome, refunded_minor = excluded.refunded_minor,
               returns = excluded.returns, turn = excluded.turn,
               payment_id = excluded.payment_id, payment_book = excluded.payment_book, changed_at = now()""",
        [d.order_id for d in dues], [d.tax_no for d in dues], [d.state for d in dues], [d.billed.currency for d in dues],
        [d.withheld.minor for d in dues], [d.billed.minor for d in dues], [d.outcome for d in dues],
        [d.merchant_code for d in dues], [d.refunded.minor for d in dues], [d.payment_id for d in dues],
        [d.payment_book for d in dues], [d.booked_at_most for d in dues], [d.returns for d in dues], [d.turn for d in dues],
    )  # fmt: skip


async def held(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, LedgerPosition]:
    """What the books have of these orders between withheld and billed; asked only of orders of which goods came back."""
    if not order_ids:
        return {}
    rows = await conn.fetch(
        "SELECT order_id, coalesce(sum(amount_minor) FILTER (WHERE account = 'tax_suspense'), 0)::bigint AS suspense, "
        "coalesce(sum(amount_minor) FILTER (WHERE account = 'tax_difference'), 0)::bigint AS difference, "
        "coalesce(sum(amount_minor) FILTER (WHERE account = 'merchant_claim'), 0)::bigint AS claim, "
        "coalesce(sum(amount_minor) FILTER (WHERE account = 'tax_suspense' AND purpose = 'refund_tax'), 0)::bigint AS refunded, "
        "coalesce(max(part) FILTER (WHERE purpose = 'restore_tax'), 0) AS restored "
        "FROM journal WHERE order_id = ANY($1::uuid[]) GROUP BY order_id",
        list(order_ids),
    )
    return {
        r["order_id"]: LedgerPosition(
            r["suspense"], r["difference"], r["claim"], r["refunded"], r["restored"]
        )
        for r in rows
    }


async def restored_among(conn: Connection, order_ids: Collection[UUID]) -> set[UUID]:
    """Those of these orders of which tax was taken back before there was a bill."""
    rows = await conn.fetch(
        "SELECT DISTINCT order_id FROM journal WHERE order_id = ANY($1::uuid[]) AND purpose = 'restore_tax'",
        list(order_ids),
    )
    return {row["order_id"] for row in rows}


async def gather(
    conn: Connection, payment_id: UUID, book: str, bills: int, came: Money, number: int
) -> Money | None:
    """Count bills towards a payment; its whole amount once the last of them is there. Counting locks the payment's row."""
    row = await conn.fetchrow(
        "INSERT INTO tax_payment AS t (payment_id, payment_book, currency, bills, seen, amount_minor) VALUES ($1, $2, $3, $4, $5, $6) "
        "ON CONFLICT (payment_id) DO UPDATE SET seen = t.seen + excluded.seen, amount_minor = t.amount_minor + excluded.amount_minor "
        "RETURNING bills, seen, amount_minor, currency",
        payment_id, book, came.currency, bills, number, came.minor,
    )  # fmt: skip
    return Money(row["amount_minor"], row["currency"]) if row["seen"] == row["bills"] else None


async def payments_made(conn: Connection, transfers: Mapping[UUID, str]) -> set[UUID]:
    """Note the bank's transfers; returns the payments that had none before: each is made once."""
    rows = await conn.fetch(
        "UPDATE tax_payment AS t SET transfer_no = u.no, paid_at = now() FROM unnest($1::uuid[], $2::text[]) AS u(id, no) "
        "WHERE t.payment_id = u.id AND t.transfer_no IS NULL RETURNING t.payment_id",
        list(transfers), list(transfers.values()),
    )  # fmt: skip
    return {row["payment_id"] for row in rows}


# --- the deposit: one row, changed by what it has, never by what somebody read before


async def adjust_deposit(conn: Connection, wanted: Money) -> tuple[int, int]:
    """Raise or lower the deposit to what is wanted, not below what is reserved; returns the change and what it is now."""
    await conn.execute(
        "INSERT INTO guarantee (currency, amount_minor, reserved_minor) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING",
        wanted.currency,
    )
    row = await conn.fetchrow(
        "UPDATE guarantee AS g SET amount_minor = greatest($2, g.reserved_minor) FROM (SELECT currency, amount_minor FROM guarantee "
        "WHERE currency = $1 FOR UPDATE) AS b WHERE g.currency = b.currency AND g.amount_minor <> greatest($2, g.reserved_minor) "
        "RETURNING g.amount_minor, g.amount_minor - b.amount_minor AS change",
        wanted.currency, wanted.minor,
    )  # fmt: skip
    return (0, 0) if row is None else (row["change"], row["amount_minor"])


async def take(conn: Connection, amount: Money) -> bool:
    """Reserve an amount if so much is free; the condition and the constraint both stand in the way of more."""
    row = await conn.fetchrow(
        "UPDATE guarantee SET reserved_minor = reserved_minor + $2 WHERE currency = $1 AND amount_minor - reserved_minor >= $2 "
        "RETURNING reserved_minor",
        amount.currency, amount.minor,
    )  # fmt: skip
    return row is not None


async def give_back(conn: Connection, amount: Money) -> None:
    if amount.minor:
        await conn.execute(
            "UPDATE guarantee SET reserved_minor = reserved_minor - $2 WHERE currency = $1",
            amount.currency,
            amount.minor,
        )


async def lock_free(conn: Connection) -> Money:
    """What of the deposit is free; nobody else takes of it until the transaction ends.

    The row of the deposit is made if it is missing, so that there is always one to lock.
    """
    query = "SELECT amount_minor - reserved_minor FROM guarantee WHERE currency = 'CNY' FOR UPDATE"
    minor = await conn.fetchval(query)
    if minor is None:
        await conn.execute(
            "INSERT INTO guarantee (currency, amount_minor, reserved_minor) VALUES ('CNY', 0, 0) ON CONFLICT DO NOTHING"
        )
        minor = await conn.fetchval(query)
    return Money(minor, "CNY")


async def reserved_of(conn: Connection, order_ids: Collection[UUID]) -> list[tuple[UUID, Money]]:
    """What is reserved for each of these orders and was not given back."""
    rows = await conn.fetch(
        "SELECT r.order_id, r.amount_minor, r.currency FROM journal r LEFT JOIN journal u ON u.order_id = r.order_id "
        "AND u.purpose = 'unreserve' AND u.seq = 0 WHERE r.order_id = ANY($1::uuid[]) AND r.purpose = 'reserve' AND r.seq = 0 "
        "AND u.order_id IS NULL ORDER BY r.order_id",
        list(order_ids),
    )
    return [(row["order_id"], Money(row["amount_minor"], row["currency"])) for row in rows]


async def add_uncovered(conn: Connection, demands: Sequence[tuple[UUID, Money]]) -> None:
    if demands:
        await conn.execute(
            "INSERT INTO uncovered (order_id, currency, amount_minor) SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[])",
            [order_id for order_id, _ in demands], [amount.currency for _, amount in demands], [a.minor for _, a in demands],
        )  # fmt: skip


async def is_one_uncovered(conn: Connection) -> bool:
    """Return whether a demand waits for cover; the deposit must be locked."""
    return bool(await conn.fetchval("SELECT EXISTS (SELECT FROM uncovered)"))


async def list_uncovered(conn: Connection, most: int) -> list[tuple[UUID, Money]]:
    """What waits for cover, the oldest first, locked."""
    rows = await conn.fetch(
        "SELECT order_id, currency, amount_minor FROM uncovered WHERE order_id <> ALL (ARRAY(SELECT subject::uuid FROM aside "
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
    """What of the deposit is free and reserved, and what it cannot cover, in minor units."""
    row = await conn.fetchrow(
        "SELECT coalesce(sum(amount_minor - reserved_minor), 0)::bigint AS free, coalesce(sum(reserved_minor), 0)::bigint AS reserved, "
        "(SELECT coalesce(sum(amount_minor), 0)::bigint FROM uncovered) AS uncovered FROM guarantee WHERE currency = 'CNY'"
    )
    return {"free": row["free"], "reserved": row["reserved"], "uncovered": row["uncovered"]}


def fresh_id() -> UUID:
    """The id of a change of the deposit: it follows from no message, so it has an id of its own."""
    return uuid4()
