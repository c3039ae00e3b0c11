"""The SQL of payments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from services.payments.domain.payment import Payment, State, Terms
from services.payments.ledger import Entry
from shared.database import Connection
from shared.errors import Unavailable
from shared.money import Money


async def lock(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, Payment]:
    """The payments of these orders that are there, locked in the order of their ids."""
    rows = await conn.fetch(
        "SELECT * FROM payment WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE", list(order_ids)
    )
    return {row["order_id"]: _payment(row) for row in rows}


def _payment(row: Any) -> Payment:
    currency = row["currency"]
    terms = None
    if currency is not None:
        terms = Terms(Money(row["amount_minor"], currency), Money(row["tax_withheld_minor"], currency),
                      row["merchant_code"], row["enterprise_code"])  # fmt: skip
    return Payment(
        order_id=row["order_id"], version=row["version"], state=State(row["state"]),
        unwinding=row["unwinding"], terms=terms, authorisation_no=row["authorisation_no"],
        payment_no=row["payment_no"], refund_no=row["refund_no"],
        captured=Money(row["captured_minor"], currency) if row["payment_no"] is not None else None,
        refunded=Money(row["refunded_minor"], currency) if row["refund_no"] is not None else None,
    )  # fmt: skip


async def save(conn: Connection, before: Mapping[UUID, Payment], after: Sequence[Payment]) -> None:
    """Write the payments; raises Unavailable, to be tried again, if another transaction began one.

    A row that was there is locked by us; one that was not there could not be.
    """
    if not after:
        return
    rows = await conn.fetch(
        "INSERT INTO payment (order_id, version, state, unwinding, currency, amount_minor, "
        "tax_withheld_minor, "
        "merchant_code, enterprise_code, authorisation_no, payment_no, captured_minor, refund_no, "
        "refunded_minor) "
        "SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::bool[], $5::text[], $6::bigint[], "
        "$7::bigint[], "
        "$8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::text[], $14::bigint[]) "
        "ON CONFLICT (order_id) DO UPDATE SET version = excluded.version, state = excluded.state, "
        "unwinding = excluded.unwinding, authorisation_no = excluded.authorisation_no, "
        "payment_no = excluded.payment_no, captured_minor = excluded.captured_minor, "
        "refund_no = excluded.refund_no, refunded_minor = excluded.refunded_minor, changed_at = now() "
        "WHERE payment.order_id = ANY($15::uuid[]) RETURNING order_id",
        *zip(*(_columns(payment) for payment in after), strict=True), list(before),
    )  # fmt: skip
    if len(rows) != len(after):
        raise Unavailable("a payment was begun by another transaction at the same moment")


def _columns(p: Payment) -> tuple[Any, ...]:
    t = p.terms
    terms: tuple[Any, ...] = (None,) * 5
    if t is not None:
        terms = (t.amount.currency, t.amount.minor, t.tax_withheld.minor, t.merchant_code, t.enterprise_code)
    captured = (p.authorisation_no, p.payment_no, p.captured.minor if p.captured else 0)
    refunded = (p.refund_no, p.refunded.minor if p.refunded else 0)
    return (p.order_id, p.version, p.state, p.unwinding, *terms, *captured, *refunded)


async def book(conn: Connection, entries: Sequence[Entry]) -> None:
    """Write the entries in one statement; a movement that is in the books already is left as it stands."""
    if not entries:
        return
    await conn.execute(
        "INSERT INTO journal (txn_id, seq, order_id, purpose, account, party, currency, amount_minor) "
        "SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::text[], $5::text[], $6::text[], "
        "$7::text[], "
        "$8::bigint[]) "
        "ON CONFLICT (txn_id, seq) DO NOTHING",
        [e.txn_id for e in entries], [e.seq for e in entries], [e.order_id for e in entries],
        [e.purpose for e in entries], [e.account for e in entries], [e.party for e in entries],
        [e.currency for e in entries], [e.amount_minor for e in entries],
    )  # fmt: skip


async def count_asked(conn: Connection) -> tuple[int, datetime | None]:
    """How many instructions were sent to the bank and have no answer, and since when the oldest of them was to be sent."""
    row = await conn.fetchrow("SELECT count(*) AS count, min(created_at) AS oldest FROM effect WHERE attempts > 0")
    return row["count"], row["oldest"]


async def balances(conn: Connection) -> list[tuple[str, str, int]]:
    """What each account holds, by currency, in minor units; reads the whole journal."""
    rows = await conn.fetch(
        "SELECT account, currency, sum(amount_minor)::bigint AS minor FROM journal GROUP BY account, currency"
    )
    return [(row["account"], row["currency"], row["minor"]) for row in rows]
