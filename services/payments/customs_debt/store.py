"""The SQL of tax dues and of the transfers that pay them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from services.payments.customs_debt.allocation import LedgerPosition
from services.payments.customs_debt.tax_due import TaxDue, TaxDueState
from shared.database import Connection
from shared.money import Money


async def lock(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, TaxDue]:
    """Lock the dues of these orders in the order of their ids; their payments must be locked
    already."""
    rows = await conn.fetch(
        "SELECT * FROM tax_due WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE",
        list(order_ids),
    )
    return {row["order_id"]: _due(row) for row in rows}


async def orders_of(conn: Connection, payment_ids: Collection[UUID]) -> list[UUID]:
    """Return the orders whose dues these transfers pay; complete once the transfers were asked
    for."""
    rows = await conn.fetch(
        "SELECT order_id FROM tax_due WHERE payment_id = ANY($1::uuid[])", list(payment_ids)
    )
    return [row["order_id"] for row in rows]


def _due(row: Mapping[str, Any]) -> TaxDue:
    currency = row["currency"]
    return TaxDue(
        order_id=row["order_id"],
        tax_no=row["tax_no"],
        state=TaxDueState(row["state"]),
        withheld=Money(row["withheld_minor"], currency),
        billed=Money(row["billed_minor"], currency),
        outcome=row["outcome"],
        merchant_code=row["merchant_code"],
        refunded=Money(row["refunded_minor"], currency),
        payment_id=row["payment_id"],
        payment_book=row["payment_book"],
        booked_at_most=row["booked_at_most_minor"],
        returns=row["returns"],
        revision=row["turn"],
    )


_DUE: Final = (
    "order_id, tax_no, state, currency, withheld_minor, billed_minor, outcome, merchant_code, "
    "refunded_minor, payment_id, payment_book, booked_at_most_minor, returns, turn"
)
_SAVE: Final = f"""
    INSERT INTO tax_due ({_DUE})
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
        $7::text[], $8::text[], $9::bigint[], $10::uuid[], $11::text[], $12::bigint[], $13::int[],
        $14::int[])
    ON CONFLICT (order_id) DO UPDATE SET tax_no = excluded.tax_no, state = excluded.state,
        billed_minor = excluded.billed_minor, outcome = excluded.outcome,
        refunded_minor = excluded.refunded_minor, returns = excluded.returns, turn = excluded.turn,
        payment_id = excluded.payment_id, payment_book = excluded.payment_book,
        changed_at = now()"""  # noqa: S608


async def save(conn: Connection, dues: Sequence[TaxDue]) -> None:
    if dues:
        await conn.execute(_SAVE, *map(list, zip(*map(_row, dues), strict=True)))


def _row(due: TaxDue) -> tuple[Any, ...]:
    return (
        due.order_id,
        due.tax_no,
        due.state,
        due.billed.currency,
        due.withheld.minor,
        due.billed.minor,
        due.outcome,
        due.merchant_code,
        due.refunded.minor,
        due.payment_id,
        due.payment_book,
        due.booked_at_most,
        due.returns,
        due.revision,
    )


async def ledger_positions(
    conn: Connection, order_ids: Collection[UUID]
) -> dict[UUID, LedgerPosition]:
    if not order_ids:
        return {}
    rows = await conn.fetch(
        "SELECT order_id, coalesce(sum(amount_minor) FILTER (WHERE account = 'tax_suspense'), "
        "0)::bigint AS suspense, "
        "coalesce(sum(amount_minor) FILTER (WHERE account = 'tax_difference'), 0)::bigint AS "
        "difference, "
        "coalesce(sum(amount_minor) FILTER (WHERE account = 'merchant_claim'), 0)::bigint AS "
        "claim, "
        "coalesce(sum(amount_minor) FILTER (WHERE account = 'tax_suspense' AND purpose = "
        "'refund_tax'), 0)::bigint AS refunded, "
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
    rows = await conn.fetch(
        "SELECT DISTINCT order_id FROM journal WHERE order_id = ANY($1::uuid[]) AND purpose = "
        "'restore_tax'",
        list(order_ids),
    )
    return {row["order_id"] for row in rows}


async def gather(
    conn: Connection, payment_id: UUID, book: str, bills: int, amount: Money, number: int
) -> Money | None:
    """Count `number` bills towards a transfer; return its whole amount once all `bills` are there.

    Counting locks the row of the transfer.
    """
    row = await conn.fetchrow(
        "INSERT INTO tax_payment AS t (payment_id, payment_book, currency, bills, seen, "
        "amount_minor) VALUES ($1, $2, $3, $4, $5, $6) "
        "ON CONFLICT (payment_id) DO UPDATE SET seen = t.seen + excluded.seen, amount_minor = "
        "t.amount_minor + excluded.amount_minor "
        "RETURNING bills, seen, amount_minor, currency",
        payment_id,
        book,
        amount.currency,
        bills,
        number,
        amount.minor,
    )
    return Money(row["amount_minor"], row["currency"]) if row["seen"] == row["bills"] else None


async def payments_made(conn: Connection, transfers: Mapping[UUID, str]) -> set[UUID]:
    """Record the bank's transfers; return those that were not recorded before."""
    rows = await conn.fetch(
        "UPDATE tax_payment AS t SET transfer_no = u.transfer_no, paid_at = now() FROM "
        "unnest($1::uuid[], $2::text[]) AS u(payment_id, transfer_no) "
        "WHERE t.payment_id = u.payment_id AND t.transfer_no IS NULL RETURNING t.payment_id",
        list(transfers),
        list(transfers.values()),
    )
    return {row["payment_id"] for row in rows}
