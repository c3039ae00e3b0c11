"""The SQL of payments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from services.payments.domain.payment import Payment, PaymentTerms, ReturnRefund
from services.payments.domain.payment_states import PaymentState
from services.payments.journal_store import balances, book
from shared.database import Connection
from shared.errors import Unavailable
from shared.money import Money

__all__ = ["balances", "book", "count_unanswered", "lock", "save"]


async def lock(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, Payment]:
    rows = await conn.fetch(
        "SELECT * FROM payment WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE",
        list(order_ids),
    )
    return {row["order_id"]: _payment(row) for row in rows}


def _payment(row: Any) -> Payment:
    currency = row["currency"]
    return Payment(
        order_id=row["order_id"],
        version=row["version"],
        state=PaymentState(row["state"]),
        unwinding=row["unwinding"],
        terms=_terms(row),
        authorisation_no=row["authorisation_no"],
        payment_no=row["payment_no"],
        refund_no=row["refund_no"],
        captured=Money(row["captured_minor"], currency) if row["payment_no"] is not None else None,
        refunded=Money(row["refunded_minor"], currency) if row["refund_no"] is not None else None,
        returning=_returning(row),
        excess=_money(row["excess_minor"], currency),
        returns=row["return_no"] or 0,
        written_off=_money(row["written_off_minor"], currency),
        returned_tax=_money(row["returned_tax_minor"], currency),
    )


def _money(minor: int, currency: str) -> Money | None:
    return Money(minor, currency) if minor else None


def _terms(row: Any) -> PaymentTerms | None:
    currency = row["currency"]
    if currency is None:
        return None
    return PaymentTerms(
        Money(row["amount_minor"], currency),
        Money(row["tax_withheld_minor"], currency),
        row["merchant_code"],
        row["enterprise_code"],
    )


def _returning(row: Any) -> ReturnRefund | None:
    if row["return_goods_minor"] is None:
        return None
    currency = row["currency"]
    return ReturnRefund(
        row["return_no"],
        Money(row["return_goods_minor"], currency),
        Money(row["return_tax_minor"], currency),
    )


_UPDATE: Final = """
    UPDATE payment AS p SET version = x.version, state = x.state, unwinding = x.unwinding,
        authorisation_no = x.authorisation_no, payment_no = x.payment_no,
        captured_minor = x.captured_minor, refund_no = x.refund_no,
        refunded_minor = x.refunded_minor, excess_minor = x.excess_minor, return_no = x.return_no,
        return_goods_minor = x.return_goods_minor, return_tax_minor = x.return_tax_minor,
        written_off_minor = x.written_off_minor, returned_tax_minor = x.returned_tax_minor,
        changed_at = now()
    FROM unnest($1::uuid[], $2::int[], $3::text[], $4::bool[], $5::text[], $6::text[],
        $7::bigint[], $8::text[], $9::bigint[], $10::bigint[], $11::int[], $12::bigint[],
        $13::bigint[], $14::bigint[], $15::bigint[])
        AS x(order_id, version, state, unwinding, authorisation_no, payment_no, captured_minor,
        refund_no, refunded_minor, excess_minor, return_no, return_goods_minor, return_tax_minor,
        written_off_minor, returned_tax_minor)
    WHERE p.order_id = x.order_id"""
_INSERT: Final = """
    INSERT INTO payment (order_id, version, state, unwinding, currency, amount_minor,
        tax_withheld_minor, merchant_code, enterprise_code, authorisation_no, payment_no,
        captured_minor, refund_no, refunded_minor, excess_minor, return_no, return_goods_minor,
        return_tax_minor, written_off_minor, returned_tax_minor)
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::bool[], $5::text[], $6::bigint[],
        $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::text[],
        $14::bigint[], $15::bigint[], $16::int[], $17::bigint[], $18::bigint[], $19::bigint[],
        $20::bigint[])
    ON CONFLICT (order_id) DO NOTHING RETURNING order_id"""


async def save(conn: Connection, before: Mapping[UUID, Payment], after: Sequence[Payment]) -> None:
    """Write payments; `before` has those that the caller locked.

    Raises Unavailable, for a retry, if another transaction created one of the new payments.
    """
    existing = [
        (p.order_id, p.version, p.state, p.unwinding, *_progress_row(p))
        for p in after
        if p.order_id in before
    ]
    if existing:
        await conn.execute(_UPDATE, *map(list, zip(*existing, strict=True)))
    new = [
        (p.order_id, p.version, p.state, p.unwinding, *_terms_row(p), *_progress_row(p))
        for p in after
        if p.order_id not in before
    ]
    if not new:
        return
    inserted = await conn.fetch(_INSERT, *map(list, zip(*new, strict=True)))
    if len(inserted) != len(new):
        raise Unavailable("another transaction created a payment at the same moment")


def _terms_row(p: Payment) -> tuple[Any, ...]:
    terms = p.terms
    if terms is None:
        return (None,) * 5
    return (
        terms.amount.currency,
        terms.amount.minor,
        terms.tax_withheld.minor,
        terms.merchant_code,
        terms.enterprise_code,
    )


def _progress_row(p: Payment) -> tuple[Any, ...]:
    refund = p.returning
    returning = (
        (p.returns or None, None, None)
        if refund is None
        else (refund.return_no, refund.goods.minor, refund.tax.minor)
    )
    return (
        p.authorisation_no,
        p.payment_no,
        _minor(p.captured),
        p.refund_no,
        _minor(p.refunded),
        _minor(p.excess),
        *returning,
        _minor(p.written_off),
        _minor(p.returned_tax),
    )


def _minor(money: Money | None) -> int:
    return money.minor if money else 0


async def count_unanswered(conn: Connection) -> tuple[int, datetime | None]:
    row = await conn.fetchrow(
        "SELECT count(*) AS count, min(created_at) AS oldest FROM effect WHERE attempts > 0"
    )
    return row["count"], row["oldest"]
