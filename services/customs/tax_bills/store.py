"""SQL for tax bills."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from services.customs.ceb.bills import TaxBill
from shared.database import Connection
from shared.events.orders import OrderPlaced
from shared.money import Money


async def close_known_bill_cases(conn: Connection) -> None:
    await conn.execute(
        "UPDATE cases AS c SET closed_at = now(), verdict = 'closed', note = 'the list of the "
        "bill got known', closed_by = 'customs' FROM tax_bill AS b JOIN declaration AS d USING "
        "(invt_no) WHERE c.kind = 'bill_of_nobody' AND c.closed_at IS NULL AND b.tax_no = "
        "c.subject AND d.direction = 'import'"
    )


@dataclass(frozen=True, slots=True)
class StoredBill:
    """A tax bill with its order. `version` counts the events of the order's declaration."""

    order_id: UUID
    version: int
    invt_no: str
    tax_no: str
    status: str
    duty_minor: int
    consumption_tax_minor: int
    vat_minor: int
    payment_book: str | None
    guarantor: str | None
    other_tax_no: str | None
    other_minor: int | None
    billed_said: bool
    status_said: bool
    other_said: bool
    superseded: bool
    returning: bool
    returns: int
    withheld: Money
    merchant_code: str
    released_at: datetime
    waits: bool = False

    @property
    def total_minor(self) -> int:
        return self.duty_minor + self.consumption_tax_minor + self.vat_minor


async def directions_of(conn: Connection, invt_nos: Collection[str]) -> dict[str, str | None]:
    rows = await conn.fetch(
        "SELECT invt_no, direction FROM declaration WHERE invt_no = ANY($1::text[])", list(invt_nos)
    )
    return {row["invt_no"]: row["direction"] for row in rows}


async def has_unnumbered_import(conn: Connection) -> bool:
    """Return whether a lodged import waits for its number. Reads many declarations, so only strange
    bills ask.
    """
    exists: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM declaration WHERE invt_no IS NULL AND direction = 'import' "
        "AND attempt > 0 AND state IN ('lodged', 'matched', 'withdrawing'))"
    )
    return exists


async def list_unknown_bills(conn: Connection, after_s: float) -> list[tuple[str, str]]:
    rows = await conn.fetch(
        "SELECT b.invt_no, b.tax_no FROM tax_bill b LEFT JOIN declaration d USING (invt_no) WHERE "
        "b.pending AND b.came_at < now() - make_interval(secs => $1) AND d.direction IS DISTINCT "
        "FROM 'import' AND NOT EXISTS (SELECT FROM cases c WHERE c.kind = 'bill_of_nobody' AND "
        "c.subject = b.tax_no) ORDER BY b.came_at LIMIT 100",
        after_s,
    )
    return [(row["invt_no"], row["tax_no"]) for row in rows]


async def save_bills(conn: Connection, bills: Sequence[tuple[TaxBill, datetime]]) -> None:
    """Write bills, each number at most once. The first amounts stand and a status only grows."""
    rows = [(*_BILL_FIELDS(bill), at) for bill, at in bills]
    await conn.execute(_SAVE_BILLS, *map(list, zip(*rows, strict=True)))


_BILL_FIELDS: Final = attrgetter(
    "invt_no", "tax_no", "status", "duty_minor", "consumption_tax_minor", "vat_minor",
    "payment_book", "guarantor",
)  # fmt: skip
_NEW: Final = "(excluded.duty_minor, excluded.consumption_tax_minor, excluded.vat_minor)"
_OLD: Final = "(t.duty_minor, t.consumption_tax_minor, t.vat_minor)"
_SAVE_BILLS: Final = f"""
    INSERT INTO tax_bill AS t (invt_no, tax_no, status, duty_minor, consumption_tax_minor,
        vat_minor, payment_book, guarantor, came_at)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
        $6::bigint[], $7::text[], $8::text[], $9::timestamptz[])
    ON CONFLICT (invt_no, tax_no) DO UPDATE SET
        duty_minor = coalesce(t.duty_minor, excluded.duty_minor),
        vat_minor = coalesce(t.vat_minor, excluded.vat_minor),
        consumption_tax_minor = coalesce(t.consumption_tax_minor, excluded.consumption_tax_minor),
        guarantor = coalesce(t.guarantor, excluded.guarantor),
        payment_book = coalesce(t.payment_book, excluded.payment_book),
        pending = true,
        status = greatest(t.status, excluded.status),
        status_said = t.status_said AND excluded.status <= t.status,
        other_tax_no = CASE WHEN {_NEW} <> {_OLD}
            THEN coalesce(t.other_tax_no, excluded.tax_no) ELSE t.other_tax_no END,
        other_minor = CASE WHEN {_NEW} <> {_OLD}
            THEN coalesce(t.other_minor,
                excluded.duty_minor + excluded.consumption_tax_minor + excluded.vat_minor)
            ELSE t.other_minor END
    WHERE (t.duty_minor IS NULL AND excluded.duty_minor IS NOT NULL)
        OR excluded.status > t.status OR {_NEW} <> {_OLD}"""  # noqa: S608


async def lock_bills(conn: Connection, most: int) -> Sequence[Mapping[str, Any]]:
    """Lock the bills of lists that have one to announce, where the list is cleared or its goods
    come back.

    The bills of a list stand together, oldest first. A declaration that another transaction holds
    is skipped until the next turn. Rows, not bills: one that cannot be read must not stop the
    others.
    """
    rows: Sequence[Mapping[str, Any]] = await conn.fetch(
        "SELECT d.order_id, d.version, b.*, o.doc, (SELECT min(r.at) FROM receipt r WHERE "
        "r.order_id = d.order_id AND r.followed AND r.status IN ('800', '899')) AS released_at, "
        "d.state = 'returning' AS returning, (SELECT coalesce(max(g.return_no), 0) FROM "
        "goods_return g WHERE g.order_id = d.order_id AND g.state IN ('back', 'late')) AS returns "
        "FROM tax_bill b JOIN declaration d USING (invt_no) JOIN document o ON o.order_id = "
        "d.order_id AND o.kind = 'order' WHERE b.duty_minor IS NOT NULL AND b.invt_no IN (SELECT "
        "p.invt_no FROM tax_bill p JOIN declaration l USING (invt_no) WHERE p.pending AND "
        "p.duty_minor IS NOT NULL AND l.direction = 'import' AND l.state IN ('released', "
        "'closed', 'returning', 'returned') AND l.order_id <> ALL (ARRAY(SELECT subject::uuid "
        "FROM aside WHERE source = 'bills' AND retry_at > now())) ORDER BY p.came_at LIMIT $1) "
        "ORDER BY d.order_id, b.came_at, b.tax_no FOR UPDATE OF d, b SKIP LOCKED",
        most,
    )
    return rows


def bill_of(row: Mapping[str, Any]) -> StoredBill:
    order = OrderPlaced.model_validate_json(row["doc"])
    return StoredBill(
        order_id=row["order_id"],
        version=row["version"],
        invt_no=row["invt_no"],
        tax_no=row["tax_no"],
        status=row["status"],
        duty_minor=row["duty_minor"],
        consumption_tax_minor=row["consumption_tax_minor"],
        vat_minor=row["vat_minor"],
        payment_book=row["payment_book"],
        guarantor=row["guarantor"],
        other_tax_no=row["other_tax_no"],
        other_minor=row["other_minor"],
        billed_said=row["billed_said"],
        status_said=row["status_said"],
        other_said=row["other_said"],
        superseded=row["superseded"],
        returning=row["returning"],
        returns=row["returns"],
        withheld=order.tax_withheld,
        merchant_code=order.merchant.code,
        released_at=row["released_at"],
    )


async def mark_published(
    conn: Connection, bills: Sequence[StoredBill], facts: Mapping[UUID, int]
) -> None:
    if not bills:
        return
    rows = map(_PUBLISHED_FIELDS, bills)
    await conn.execute(
        "UPDATE tax_bill AS b SET billed_said = u.billed_said, status_said = u.status_said, "
        "other_said = u.other_said, superseded = u.superseded, pending = u.pending "
        "FROM unnest($1::text[], $2::text[], $3::bool[], $4::bool[], $5::bool[], $6::bool[], "
        "$7::bool[]) AS u(invt_no, tax_no, billed_said, status_said, other_said, superseded, "
        "pending) WHERE b.invt_no = u.invt_no AND b.tax_no = u.tax_no",
        *map(list, zip(*rows, strict=True)),
    )
    await conn.execute(
        "UPDATE declaration AS d SET version = d.version + u.events, updated_at = now() FROM "
        "unnest($1::uuid[], $2::int[]) AS u(order_id, events) "
        "WHERE d.order_id = u.order_id AND u.events > 0",
        list(facts),
        list(facts.values()),
    )


_PUBLISHED_FIELDS: Final = attrgetter(
    "invt_no", "tax_no", "billed_said", "status_said", "other_said", "superseded", "waits"
)
