"""Tax's SQL for bills and the cases that a person decides."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from services.tax.bills.decisions import LockedBill
from services.tax.bills.domain import Bill, BillState, CaseReason, Verdict
from shared.database import Connection
from shared.money import Money

BillRow = Mapping[str, Any]
"""A row as it is in the table: one that cannot be read must not stop the others."""


async def lock(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, Bill]:
    """Lock and return the bills of these orders; the caller has locked their tax cases."""
    rows = await conn.fetch(
        "SELECT * FROM tax_bill WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE",
        list(order_ids),
    )
    return {row["order_id"]: _bill(row) for row in rows}


def _bill(row: BillRow) -> Bill:
    currency = row["currency"]
    return Bill(
        order_id=row["order_id"],
        tax_no=row["tax_no"],
        state=BillState(row["state"]),
        withheld=Money(row["withheld_minor"], currency),
        assessed=Money(row["assessed_minor"], currency),
        billed=Money(row["billed_minor"], currency),
        merchant_code=row["merchant_code"],
        pay_at=row["pay_at"],
        pay_until=row["pay_until"],
        outcome=row["outcome"],
        payment_book=row["payment_book"],
        payment_id=row["payment_id"],
        corrections=row["corrections"],
    )


_SAVE: Final = """
INSERT INTO tax_bill (
    order_id, tax_no, state, currency, withheld_minor, assessed_minor, billed_minor, outcome,
    merchant_code, pay_at, pay_until, payment_book, payment_id, corrections)
SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
    $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::text[], $13::uuid[],
    $14::int[])
ON CONFLICT (order_id) DO UPDATE SET
    state = excluded.state, outcome = excluded.outcome, tax_no = excluded.tax_no,
    assessed_minor = excluded.assessed_minor, billed_minor = excluded.billed_minor,
    corrections = excluded.corrections, payment_book = excluded.payment_book,
    payment_id = excluded.payment_id, changed_at = now()
"""


def _row(bill: Bill) -> tuple[object, ...]:
    """Return a bill's columns in the order of _SAVE."""
    amounts = (bill.withheld.minor, bill.assessed.minor, bill.billed.minor)
    return (
        *(bill.order_id, bill.tax_no, bill.state, bill.billed.currency, *amounts),
        *(bill.outcome, bill.merchant_code, bill.pay_at, bill.pay_until),
        *(bill.payment_book, bill.payment_id, bill.corrections),
    )


async def save(conn: Connection, bills: Sequence[Bill]) -> None:
    if bills:
        await conn.execute(_SAVE, *map(list, zip(*map(_row, bills), strict=True)))


async def advance_versions(conn: Connection, events: Mapping[UUID, int]) -> None:
    """Count the events published about these orders; the caller has locked their tax cases."""
    if events:
        await conn.execute(
            "UPDATE tax_case AS c SET version = c.version + u.events "
            "FROM unnest($1::uuid[], $2::int[]) AS u(order_id, events) "
            "WHERE c.order_id = u.order_id",
            list(events),
            list(events.values()),
        )


_WITH_CASE: Final = (
    "SELECT b.*, c.state AS case_state, c.version, c.total_minor AS owed_minor "
    "FROM tax_bill b JOIN tax_case c USING (order_id) "
)
_NOT_SET_ASIDE: Final = (
    "order_id <> ALL (ARRAY(SELECT subject::uuid FROM aside "
    "WHERE source = 'bills' AND retry_at > now()))"
)


def locked_bill(row: BillRow) -> LockedBill:
    owed = Money(row["owed_minor"], row["currency"])
    return LockedBill(_bill(row), row["case_state"], row["version"], owed)


async def lock_due(conn: Connection, now: datetime, most: int) -> Sequence[BillRow]:
    """Lock consolidated bills whose day of payment has come, oldest first.

    Bills that another transaction has locked are skipped.
    """
    rows: Sequence[BillRow] = await conn.fetch(
        f"{_WITH_CASE} WHERE b.state = 'consolidated' AND b.pay_at <= $1 AND b.{_NOT_SET_ASIDE} "
        "ORDER BY b.pay_at, b.order_id LIMIT $2 FOR UPDATE OF b, c SKIP LOCKED",
        now,
        most,
    )
    return rows


@dataclass(frozen=True, slots=True)
class OrderVerdicts:
    """What persons decided about one order, and the row of its bill if there is one."""

    order_id: UUID
    decided: Sequence[tuple[CaseReason, Verdict]]
    bill: BillRow | None


async def lock_decided(conn: Connection, most: int) -> list[OrderVerdicts]:
    """Lock the cases with a verdict that was not acted on yet, by order."""
    decided = await conn.fetch(
        "SELECT order_id, reason, verdict FROM bill_case WHERE closed_at IS NULL "
        "AND verdict IS NOT NULL AND order_id <> ALL (ARRAY(SELECT subject::uuid FROM aside "
        "WHERE source = 'bills' AND retry_at > now())) ORDER BY opened_at LIMIT $1 "
        "FOR UPDATE SKIP LOCKED",
        most,
    )
    rows = await conn.fetch(
        f"{_WITH_CASE} WHERE b.order_id = ANY($1::uuid[]) ORDER BY b.order_id FOR UPDATE OF b, c",
        [row["order_id"] for row in decided],
    )
    bills = {row["order_id"]: row for row in rows}
    by_order: dict[UUID, list[tuple[CaseReason, Verdict]]] = {}
    for row in decided:
        by_order.setdefault(row["order_id"], []).append((CaseReason(row["reason"]), row["verdict"]))
    return [
        OrderVerdicts(order_id, verdicts, bills.get(order_id))
        for order_id, verdicts in by_order.items()
    ]


async def open_cases(conn: Connection, cases: Collection[tuple[UUID, CaseReason]]) -> None:
    """Open cases; one that was opened before stays as it is, closed or not."""
    if cases:
        await conn.execute(
            "INSERT INTO bill_case (order_id, reason) "
            "SELECT * FROM unnest($1::uuid[], $2::text[]) ON CONFLICT DO NOTHING",
            [order_id for order_id, _ in cases],
            [reason for _, reason in cases],
        )


async def close_cases(conn: Connection, cases: Collection[tuple[UUID, CaseReason]]) -> None:
    """Close cases; where no person decided, `verdict` stays empty."""
    if cases:
        await conn.execute(
            "UPDATE bill_case AS k SET closed_at = now() "
            "FROM unnest($1::uuid[], $2::text[]) AS u(order_id, reason) "
            "WHERE k.order_id = u.order_id AND k.reason = u.reason AND k.closed_at IS NULL",
            [order_id for order_id, _ in cases],
            [reason for _, reason in cases],
        )


async def open_overdue(conn: Connection, now: datetime) -> None:
    await conn.execute(
        "INSERT INTO bill_case (order_id, reason) SELECT order_id, 'overdue' FROM tax_bill "
        "WHERE state IN ('disputed', 'settled', 'consolidated') AND pay_until <= $1 "
        "ON CONFLICT DO NOTHING",
        now,
    )


async def open_missing(conn: Connection, posted_before: datetime) -> None:
    """Open a case for each order that owes tax, was released before a moment, and was never billed.

    Reads all tax cases.
    """
    await conn.execute(
        "INSERT INTO bill_case (order_id, reason) SELECT c.order_id, 'missing' FROM tax_case c "
        "LEFT JOIN tax_bill b USING (order_id) WHERE c.state = 'posted' AND c.total_minor > 0 "
        "AND c.updated_at < $1 AND b.order_id IS NULL ON CONFLICT DO NOTHING",
        posted_before,
    )


async def count_open_cases(conn: Connection) -> dict[str, int]:
    rows = await conn.fetch(
        "SELECT reason, count(*) AS count FROM bill_case WHERE closed_at IS NULL GROUP BY reason"
    )
    return {row["reason"]: row["count"] for row in rows}
