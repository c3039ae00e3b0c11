"""Tax's SQL for bills and the cases that a person decides."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from services.tax.bills.domain import Bill, BillState, CaseReason, Verdict
from shared.database import Connection
from shared.money import Money


async def lock(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, Bill]:
    """The bills of these orders, locked in one order; the orders' tax cases must be locked already."""
    rows = await conn.fetch(
        "SELECT * FROM tax_bill WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE",
        list(order_ids),
    )
    return {row["order_id"]: _bill(row) for row in rows}


def _bill(row: Mapping[str, Any]) -> Bill:
    currency = row["currency"]
    return Bill(
        row["order_id"], row["tax_no"], BillState(row["state"]), Money(row["withheld_minor"], currency),
        Money(row["assessed_minor"], currency), Money(row["billed_minor"], currency), row["merchant_code"], row["pay_at"],
        row["pay_until"], row["outcome"], row["payment_book"], row["payment_id"], row["corrections"],
    )  # fmt: skip


async def save(conn: Connection, bills: Sequence[Bill]) -> None:
    """Write bills whose tax cases the caller has locked."""
    if not bills:
        return
    await conn.execute(
        """INSERT INTO tax_bill (order_id, tax_no, state, currency, withheld_minor, assessed_minor, billed_minor, outcome, merchant_code,
               pay_at, pay_until, payment_book, payment_id, corrections)
           SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[],
               $9::text[], $10::timestamptz[], $11::timestamptz[], $12::text[], $13::uuid[], $14::int[])
           ON CONFLICT (order_id) DO UPDATE SET state = excluded.state, outcome = excluded.outcome, tax_no = excluded.tax_no,
               assessed_minor = excluded.assessed_minor, billed_minor = excluded.billed_minor, corrections = excluded.corrections,
               payment_book = excluded.payment_book, payment_id = excluded.payment_id, changed_at = now()""",
        [b.order_id for b in bills], [b.tax_no for b in bills], [b.state for b in bills], [b.billed.currency for b in bills],
        [b.withheld.minor for b in bills], [b.assessed.minor for b in bills], [b.billed.minor for b in bills],
        [b.outcome for b in bills], [b.merchant_code for b in bills], [b.pay_at for b in bills], [b.pay_until for b in bills],
        [b.payment_book for b in bills], [b.payment_id for b in bills], [b.corrections for b in bills],
    )  # fmt: skip


async def say(conn: Connection, facts: Mapping[UUID, int]) -> None:
    """Count facts said about these orders; their tax cases must be locked."""
    if facts:
        await conn.execute(
            "UPDATE tax_case AS c SET version = c.version + u.n FROM unnest($1::uuid[], $2::int[]) AS u(o, n) WHERE c.order_id = u.o",
            list(facts), list(facts.values()),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class InHand:
    """A bill that was locked with its tax case: the case's state, and the count of facts said about it, and what is owed."""

    bill: Bill
    case_state: str
    version: int
    owed: Money


_WITH_CASE: Final = "SELECT b.*, c.state AS case_state, c.version, c.total_minor AS owed_minor FROM tax_bill b JOIN tax_case c USING (order_id) "


Row = Mapping[str, Any]
"""A row as it lies in the table: one that cannot be read must not stop the others."""


def in_hand(row: Row) -> InHand:
    """A row as a bill in hand."""
    return InHand(
        _bill(row), row["case_state"], row["version"], Money(row["owed_minor"], row["currency"])
    )


async def lock_due(conn: Connection, now: datetime, most: int) -> Sequence[Row]:
    """Consolidated bills whose day of payment has come, oldest first; those another transaction has in hand wait."""
    rows: Sequence[Row] = await conn.fetch(
        _WITH_CASE + "WHERE b.state = 'consolidated' AND b.pay_at <= $1 AND b.order_id <> ALL (ARRAY(SELECT subject::uuid "
        "FROM aside WHERE source = 'bills' AND retry_at > now())) ORDER BY b.pay_at, b.order_id LIMIT $2 "
        "FOR UPDATE OF b, c SKIP LOCKED",
        now, most,
    )  # fmt: skip
    return rows


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What persons decided about one order, and the row of its bill if there is one."""

    order_id: UUID
    decided: Sequence[tuple[CaseReason, Verdict]]
    bill: Row | None


async def lock_decided(conn: Connection, most: int) -> list[Verdicts]:
    """Cases with a person's verdict that was not acted on yet, by order."""
    decided = await conn.fetch(
        "SELECT order_id, reason, verdict FROM bill_case WHERE closed_at IS NULL AND verdict IS NOT NULL AND order_id <> ALL "
        "(ARRAY(SELECT subject::uuid FROM aside WHERE source = 'bills' AND retry_at > now())) ORDER BY opened_at LIMIT $1 "
        "FOR UPDATE SKIP LOCKED",
        most,
    )
    rows = await conn.fetch(
        _WITH_CASE + "WHERE b.order_id = ANY($1::uuid[]) ORDER BY b.order_id FOR UPDATE OF b, c",
        [r["order_id"] for r in decided],
    )
    bills = {row["order_id"]: row for row in rows}
    by_order: dict[UUID, list[tuple[CaseReason, Verdict]]] = {}
    for row in decided:
        by_order.setdefault(row["order_id"], []).append((CaseReason(row["reason"]), row["verdict"]))
    return [
        Verdicts(order_id, verdicts, bills.get(order_id)) for order_id, verdicts in by_order.items()
    ]


async def open_cases(conn: Connection, cases: Collection[tuple[UUID, CaseReason]]) -> None:
    """Open cases; one that was opened before, closed or not, is left alone."""
    if cases:
        await conn.execute(
            "INSERT INTO bill_case (order_id, reason) SELECT * FROM unnest($1::uuid[], $2::text[]) ON CONFLICT DO NOTHING",
            [order_id for order_id, _ in cases], [reason for _, reason in cases],
        )  # fmt: skip


async def close_cases(conn: Connection, cases: Collection[tuple[UUID, CaseReason]]) -> None:
    """Close cases that are over; where no person decided, `closed_at` alone says so."""
    if cases:
        await conn.execute(
            "UPDATE bill_case AS k SET closed_at = now() FROM unnest($1::uuid[], $2::text[]) AS u(o, r) "
            "WHERE k.order_id = u.o AND k.reason = u.r AND k.closed_at IS NULL",
            [order_id for order_id, _ in cases], [reason for _, reason in cases],
        )  # fmt: skip


async def open_overdue(conn: Connection, now: datetime) -> None:
    """A case for each bill whose last day of payment is over and that was not handed over."""
    await conn.execute(
        "INSERT INTO bill_case (order_id, reason) SELECT order_id, 'overdue' FROM tax_bill "
        "WHERE state IN ('disputed', 'settled', 'consolidated') AND pay_until <= $1 ON CONFLICT DO NOTHING",
        now,
    )


async def open_missing(conn: Connection, posted_before: datetime) -> None:
    """A case for each order that owes tax, was released before this moment, and never was billed. Reads all tax cases."""
    await conn.execute(
        "INSERT INTO bill_case (order_id, reason) SELECT c.order_id, 'missing' FROM tax_case c "
        "LEFT JOIN tax_bill b USING (order_id) WHERE c.state = 'posted' AND c.total_minor > 0 AND c.updated_at < $1 "
        "AND b.order_id IS NULL ON CONFLICT DO NOTHING",
        posted_before,
    )


async def count_open_cases(conn: Connection) -> dict[str, int]:
    rows = await conn.fetch(
        "SELECT reason, count(*) AS count FROM bill_case WHERE closed_at IS NULL GROUP BY reason"
    )
    return {row["reason"]: row["count"] for row in rows}
