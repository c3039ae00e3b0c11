"""What payments, tax and customs know of one order, for `crossborder order show`."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

AMOUNTS: Final = ("dutiable_value", "duty", "consumption_tax", "vat", "parcel_tax", "payable")


async def of_order(conn: Any, order_id: UUID) -> dict[str, Any]:
    from services.cli import cases

    return {
        "cases": await cases.of_order(conn, order_id),
        "money": await _money(conn, order_id) if await _there(conn, "payments.payment") else None,
        "tax": await _tax(conn, order_id) if await _there(conn, "tax.tax_case") else None,
        "declaration": await _declaration(conn, order_id)
        if await _there(conn, "customs.declaration")
        else None,
    }


async def _there(conn: Any, table: str) -> bool:
    return bool(await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", table))


async def _money(conn: Any, order_id: UUID) -> dict[str, Any] | None:
    from services.cli.order.lookup import major

    row = await conn.fetchrow(
        "SELECT state, currency, amount_minor, captured_minor, refunded_minor, payment_no, "
        "refund_no, "
        "merchant_code "
        "FROM payments.payment WHERE order_id = $1",
        order_id,
    )
    if row is None:
        return None
    booked = await conn.fetch(
        "SELECT purpose, account, party, currency, amount_minor, booked_at FROM payments.journal "
        "WHERE "
        "order_id = $1 ORDER BY booked_at, txn_id, seq",
        order_id,
    )
    currency = row["currency"]
    return {
        "state": row["state"],
        "currency": currency,
        "asked": major(row["amount_minor"], currency),
        "captured": major(row["captured_minor"], currency),
        "refunded": major(row["refunded_minor"], currency),
        "payment_no": row["payment_no"],
        "refund_no": row["refund_no"],
        "merchant_code": row["merchant_code"],
        "bank": await _talk(conn, order_id) if await _there(conn, "payments.bank_talk") else [],
        "journal": [
            {
                "purpose": r["purpose"],
                "account": r["account"],
                "party": r["party"],
                "amount": major(r["amount_minor"], r["currency"]),
                "at": r["booked_at"],
            }
            for r in booked
        ],
    }


async def _talk(conn: Any, order_id: UUID) -> list[dict[str, Any]]:
    from services.cli.order.lookup import major

    rows = await conn.fetch(
        "SELECT at, kind, attempt, asked_minor, asked_currency, status, code, reason, number, "
        "minor, currency, paid_at, by "
        "FROM payments.bank_talk WHERE order_id = $1 ORDER BY at, attempt",
        order_id,
    )
    return [
        {
            "at": r["at"],
            "asked": r["kind"],
            "attempt": r["attempt"],
            "of": major(r["asked_minor"], r["asked_currency"]),
            "answered": r["status"],
            "code": r["code"],
            "says": r["reason"],
            "number": r["number"],
            "amount": major(r["minor"], r["currency"]),
            "value_date": r["paid_at"],
            "by": r["by"],
        }
        for r in rows
    ]


_BILL: Final = (
    "SELECT b.tax_no, b.state, b.currency, b.withheld_minor, b.assessed_minor, b.billed_minor, "
    "b.outcome, b.payment_book, "
    "b.corrections, b.pay_at, b.pay_until, d.state AS payment, p.transfer_no, p.paid_at FROM "
    "tax.tax_bill b "
    "LEFT JOIN payments.tax_due d USING (order_id) LEFT JOIN payments.tax_payment p ON "
    "p.payment_id = d.payment_id "
    "WHERE b.order_id = $1"
)


def _bill(row: Any) -> dict[str, Any] | None:
    from services.cli.order.lookup import major

    if row is None:
        return None
    amounts = {
        name: major(row[f"{name}_minor"], row["currency"])
        for name in ("withheld", "assessed", "billed")
    }
    rest = {name: value for name, value in row.items() if not name.endswith("_minor")}
    return _without_nothing({"tax_no": row["tax_no"], "state": row["state"], **amounts, **rest})


def _without_nothing(row: Any) -> dict[str, Any]:
    return {name: value for name, value in dict(row).items() if value is not None}


async def _tax(conn: Any, order_id: UUID) -> dict[str, Any] | None:
    from services.cli.order.lookup import major

    row = await conn.fetchrow(
        "SELECT state, regime, currency, year, reserved_minor, total_minor, assessment FROM "
        "tax.tax_case WHERE order_id = $1",
        order_id,
    )
    if row is None:
        return None
    assessment = row["assessment"] or {}
    amounts = {
        name: _amount(assessment[name]) for name in AMOUNTS if assessment.get(name) is not None
    }
    lines = [
        {name: _amount(value) for name, value in line.items()}
        for line in assessment.get("lines", ())
    ]
    return {
        "state": row["state"],
        "regime": row["regime"],
        "currency": row["currency"],
        **amounts,
        "total": major(row["total_minor"], row["currency"]),
        "quota_held": major(row["reserved_minor"], row["currency"]),
        "quota_year": row["year"],
        "bill": _bill(await conn.fetchrow(_BILL, order_id)),
        "lines": lines,
        "rules": assessment.get("rules", []),
    }


def _amount(value: Any) -> Any:
    """Return an event's amount as its decimal string; any other value as it is."""
    return (
        value["amount"]
        if isinstance(value, dict) and value.keys() == {"amount", "currency"}
        else value
    )


async def _declaration(conn: Any, order_id: UUID) -> dict[str, Any] | None:
    from services.cli.customs import notices
    from services.customs.domain.numbers import cop_no_of

    row = await conn.fetchrow(_DECLARATION, order_id)
    if row is None:
        return None
    shown = dict(row)
    shown["cop_no"] = cop_no_of(order_id, shown["attempt"])
    documents = {name: shown.pop(f"has_{name}") for name in ("order", "payment", "waybill", "tax")}
    shown["documents"] = [name for name, there in documents.items() if there]
    shown["returns"] = [_return(each) for each in await conn.fetch(_RETURNS, order_id)]
    shown["receipts"] = [dict(each) for each in await conn.fetch(_RECEIPTS, order_id)]
    shown["notices"] = []
    if await _there(conn, "customs.notice"):
        shown["notices"] = (await notices.of_order(conn, order_id))[::-1]
    return shown


_DECLARATION: Final = (
    "SELECT d.state, d.direction, d.invt_no, d.pre_no, d.status, d.attempt, d.released, "
    "d.batch_id, b.message_type, b.message_guid, b.lists AS batch_lists, b.lodged_at, "
    "'order' = ANY(d.present) AS has_order, 'payment' = ANY(d.present) AS has_payment, "
    "'tax' = ANY(d.present) AS has_tax, 'waybill' = ANY(d.present) AS has_waybill "
    "FROM customs.declaration d LEFT JOIN customs.batch b USING (batch_id) WHERE d.order_id = $1"
)
_RETURNS: Final = (
    "SELECT return_no, state, applied_at, back_at, refund_if_late, lines "
    "FROM customs.goods_return WHERE order_id = $1 ORDER BY return_no"
)
_RECEIPTS: Final = (
    "SELECT message_type, status, code, info, followed, at "
    "FROM customs.receipt WHERE order_id = $1 ORDER BY id"
)


def _return(row: Any) -> dict[str, Any]:
    lines = [_back(line) for line in row["lines"] if line["quantity"] != "0"]
    return {**dict(row), "lines": lines}


def _back(line: dict[str, Any]) -> dict[str, str]:
    return {"line_no": str(line["line_no"]), "quantity": f"{line['quantity']} of {line['ordered']}"}
