"""The SQL of payments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from services.payments.domain.ledger import JournalEntry
from services.payments.domain.payment import Payment, PaymentState, PaymentTerms, ReturnRefund
from shared.database import Connection, copied
from shared.errors import Unavailable, Unprocessable
from shared.money import Money


async def lock(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, Payment]:
    """The payments of these orders that are there, locked in the order of their ids."""
    rows = await conn.fetch(
        "SELECT * FROM payment WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE",
        list(order_ids),
    )
    return {row["order_id"]: _payment(row) for row in rows}


def _payment(row: Any) -> Payment:
    currency = row["currency"]
    terms = None
    if currency is not None:
        terms = PaymentTerms(Money(row["amount_minor"], currency), Money(row["tax_withheld_minor"], currency),
                      row["merchant_code"], row["enterprise_code"])  # fmt: skip
    return Payment(
        order_id=row["order_id"], version=row["version"], state=PaymentState(row["state"]),
        unwinding=row["unwinding"], terms=terms, authorisation_no=row["authorisation_no"],
        payment_no=row["payment_no"], refund_no=row["refund_no"],
        captured=Money(row["captured_minor"], currency) if row["payment_no"] is not None else None,
        refunded=Money(row["refunded_minor"], currency) if row["refund_no"] is not None else None, returning=_returning(row),
        excess=Money(row["excess_minor"], currency) if row["excess_minor"] else None, returns=row["return_no"] or 0,
        written_off=Money(row["written_off_minor"], currency) if row["written_off_minor"] else None,
        returned_tax=Money(row["returned_tax_minor"], currency) if row["returned_tax_minor"] else None,
    )  # fmt: skip


def _returning(row: Any) -> ReturnRefund | None:
    if row["return_goods_minor"] is None:
        return None
    currency = row["currency"]
    return ReturnRefund(
        row["return_no"],
        Money(row["return_goods_minor"], currency),
        Money(row["return_tax_minor"], currency),
    )


async def save(conn: Connection, before: Mapping[UUID, Payment], after: Sequence[Payment]) -> None:
    """Write the payments; raises Unavailable, to be tried again, if another transaction began one.

    A row that was there is locked by us; one that was not there could not be.
    """
    there = [p for p in after if p.order_id in before]
    if there:
        await conn.execute(
            "UPDATE payment AS p SET version = x.v, state = x.s, unwinding = x.u, authorisation_no = x.a, payment_no = x.n, "
            "captured_minor = x.c, refund_no = x.rn, refunded_minor = x.r, excess_minor = x.e, return_no = x.b, "
            "return_goods_minor = x.bg, return_tax_minor = x.bt, written_off_minor = x.w, returned_tax_minor = x.rt, changed_at = now() "
            "FROM unnest($1::uuid[], $2::int[], $3::text[], $4::bool[], $5::text[], $6::text[], $7::bigint[], $8::text[], "
            "$9::bigint[], $10::bigint[], $11::int[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[]) "
            "AS x(i, v, s, u, a, n, c, rn, r, e, b, bg, bt, w, rt) WHERE p.order_id = x.i",
            *map(
                list,
                zip(
                    *((p.order_id, p.version, p.state, p.unwinding, *_progress(p)) for p in there),
                    strict=True,
                ),
            ),
        )
    begun = [p for p in after if p.order_id not in before]
    if not begun:
        return
    rows = await conn.fetch(
        "INSERT INTO payment (order_id, version, state, unwinding, currency, amount_minor, tax_withheld_minor, merchant_code, "
        "enterprise_code, authorisation_no, payment_no, captured_minor, refund_no, refunded_minor, excess_minor, return_no, "
        "return_goods_minor, return_tax_minor, written_off_minor, returned_tax_minor) "
        "SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::bool[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], "
        "$9::text[], $10::text[], $11::text[], $12::bigint[], $13::text[], $14::bigint[], $15::bigint[], $16::int[], "
        "$17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[]) "
        "ON CONFLICT (order_id) DO NOTHING RETURNING order_id",
        *map(
            list,
            zip(
                *(
                    (p.order_id, p.version, p.state, p.unwinding, *_terms(p), *_progress(p))
                    for p in begun
                ),
                strict=True,
            ),
        ),
    )
    if len(rows) != len(begun):
        raise Unavailable("a payment was begun by another transaction at the same moment")


def _terms(p: Payment) -> tuple[Any, ...]:
    t = p.terms
    if t is None:
        return (None,) * 5
    return (
        t.amount.currency,
        t.amount.minor,
        t.tax_withheld.minor,
        t.merchant_code,
        t.enterprise_code,
    )


def _progress(p: Payment) -> tuple[Any, ...]:
    captured = (p.authorisation_no, p.payment_no, p.captured.minor if p.captured else 0)
    r = p.returning
    returning = (
        (p.returns or None, None, None) if r is None else (r.return_no, r.goods.minor, r.tax.minor)
    )
    given = (p.refund_no, p.refunded.minor if p.refunded else 0, p.excess.minor if p.excess else 0)
    kept = (
        p.written_off.minor if p.written_off else 0,
        p.returned_tax.minor if p.returned_tax else 0,
    )
    return (*captured, *given, *returning, *kept)


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


async def book(conn: Connection, entries: Sequence[JournalEntry]) -> None:
    """Write the entries in one statement; a movement that is in the books already is left as it stands.

    Raises Unprocessable if the books have the same movement with another amount, account or order.
    """
    rows = [
        (
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
        for e in entries
    ]
    if not rows or await copied(conn, "journal", _ENTRY, rows):
        return
    await conn.execute(
        f"INSERT INTO journal ({', '.join(_ENTRY)}) SELECT * FROM unnest({_UNNESTED}) ON CONFLICT (txn_id, seq) DO NOTHING",  # noqa: S608
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
            f"the books have the {other['purpose']} {other['txn_id']} with another amount, account or order",
        )


_UNNESTED: Final = "$1::uuid[], $2::smallint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::int[]"


async def count_unanswered(conn: Connection) -> tuple[int, datetime | None]:
    """How many instructions were sent to the bank and have no answer, and since when the oldest of them was to be sent."""
    row = await conn.fetchrow(
        "SELECT count(*) AS count, min(created_at) AS oldest FROM effect WHERE attempts > 0"
    )
    return row["count"], row["oldest"]


async def balances(conn: Connection) -> list[tuple[str, str, int]]:
    """What each account holds, by currency, in minor units; reads the whole journal."""
    rows = await conn.fetch(
        "SELECT account, currency, sum(amount_minor)::bigint AS minor FROM journal GROUP BY account, currency"
    )
    return [(row["account"], row["currency"], row["minor"]) for row in rows]
