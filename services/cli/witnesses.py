"""What outside parties say, held against our books: the bank's statement, the authority's register."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from services.cli.connect import Target, database
from services.cli.verify import Finding
from shared.money import Money, MoneyError

Line = tuple[str, str, int, str]
"""A movement at the bank: the number of the payment or transfer, its kind, minor units, currency."""

_PARTS: Final = ("payment_no", "kind", "amount", "currency")
BANK_SAYS: Final = "what the bank moved is not what our journal says"
AUTHORITY_SAYS: Final = "the authority's register and our declarations disagree on a release"
DECLARED_SAYS: Final = "the authority put a line of a list into another declaration than we were told"
LISTS_SAYS: Final = "an order has more than one live list in the authority's register"


async def bank(to: Target) -> list[Finding]:
    """Return whether each capture, refund and transfer of the bank's statement is in the journal, and the reverse."""
    import httpx

    url = os.environ.get("CROSSBORDER_BANK_URL") or to.known.get("bank_url") or "http://127.0.0.1:8110"
    async with database(to) as conn:
        if not await conn.fetchval("SELECT to_regclass('payments.journal') IS NOT NULL"):
            return []
        ours = await _journal(conn)
    try:
        async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
            theirs, unread = await _operations(client)
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        return [
            Finding(
                "bank_statement",
                BANK_SAYS,
                skipped=f"the bank does not answer at {url} ({type(error).__name__})",
            )
        ]
    return [Finding("bank_statement", BANK_SAYS, (*unread, *breaks(ours, theirs)))]


def breaks(ours: Counter[Line], theirs: Counter[Line]) -> list[str]:
    """Return each line of the bank's statement or of our journal that the other side does not have.

    Lines are compared one by one: two that are wrong by the same amount do not cancel each other.
    Of one payment and kind, a line that only the bank has is set beside one that only we have.
    """
    missing: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for side, lines in enumerate((theirs - ours, ours - theirs)):
        for payment_no, kind, minor, currency in sorted(lines.elements()):
            amounts = missing.setdefault((payment_no, kind), ([], []))
            amounts[side].append(str(Money(minor, currency)) + f" {currency}")
    return [
        f"payment {payment_no} {kind}: bank {bank}, journal {journal}"
        for (payment_no, kind), (at_bank, in_books) in sorted(missing.items())
        for bank, journal in zip_longest(at_bank, in_books, fillvalue="nothing")
    ]


async def _journal(conn: Any) -> Counter[Line]:
    """Return each movement at the bank that is in the books; a transfer to customs is one for all its bills."""
    rows = await conn.fetch(
        "SELECT coalesce(p.payment_no, '') AS no, CASE j.purpose WHEN 'refund_tax' THEN 'refund' ELSE j.purpose END AS kind, "
        "abs(j.amount_minor) AS minor, j.currency FROM payments.journal j "
        "JOIN payments.payment p USING (order_id) WHERE j.account = 'bank_clearing' AND j.purpose IN "
        "('capture', 'refund', 'refund_tax') "
        "UNION ALL SELECT t.transfer_no, 'transfer', sum(-j.amount_minor)::bigint, j.currency FROM payments.journal j "
        "JOIN payments.tax_due d USING (order_id) JOIN payments.tax_payment t USING (payment_id) "
        "WHERE j.account = 'bank_clearing' AND j.purpose = 'pay_tax' GROUP BY t.transfer_no, j.currency"
    )
    return Counter((row["no"], row["kind"], row["minor"], row["currency"]) for row in rows)


async def _operations(client: Any) -> tuple[Counter[Line], list[str]]:
    """Return each movement of the bank's statement, page by page, and a sentence for each line that cannot be read.

    Raises ValueError for a statement whose pages do not go on.
    """
    found: Counter[Line] = Counter()
    unread: list[str] = []
    after = 0
    while True:
        page = (await client.get("/v1/statement/operations", params={"after": after})).raise_for_status().json()
        items = page["items"]
        if not isinstance(items, list):
            raise TypeError("the lines of a page must be a list")
        if not items:
            return found, unread
        lines, more = lines_of(items)
        found.update(lines)
        unread += more
        following = page["next"]
        if not isinstance(following, int) or following <= after:
            raise ValueError("the page after this one must be a later one")
        after = following


def lines_of(items: Sequence[Any]) -> tuple[Counter[Line], list[str]]:
    """Return the lines of a page that can be read, and a sentence for each of the others: what it is of nobody knows."""
    found: Counter[Line] = Counter()
    unread: list[str] = []
    for item in items:
        line = item if isinstance(item, dict) else {}
        if wrong := [name for name in _PARTS if not isinstance(line.get(name), str)]:
            unread.append(f"a line of the bank cannot be read: {', '.join(wrong)} must be text")
            continue
        payment_no, kind, amount, currency = (str(line[name]) for name in _PARTS)
        try:
            found[payment_no, kind, Money.of(amount, currency).minor, currency] += 1
        except MoneyError as error:
            unread.append(f"payment {payment_no[:64]} {kind[:32]}: the line cannot be read: {error}")
    return found, unread


async def authority(to: Target) -> list[Finding]:
    """The authority has at most one live list per order, and released exactly what customs says it
    released.
    """
    path = register_of(to.home)
    if path is None:
        return [
            Finding(
                "authority_register",
                AUTHORITY_SAYS,
                skipped=f"no register of the sandbox in {to.home / 'sandbox'}",
            )
        ]
    released, doubled = read_register(path)
    theirs = read_declared(path)
    async with database(to) as conn:
        if not await conn.fetchval("SELECT to_regclass('customs.declaration') IS NOT NULL"):
            return []
        rows = await conn.fetch(
            "SELECT order_id::text AS order_id, state FROM customs.declaration "
            "WHERE state IN ('released', 'closed', 'withdrawing', 'returning')"
        )
        lines = await conn.fetch("SELECT invt_no, line_no, decl_seq_no, declared_line FROM customs.summary_line")
    ours = {row["order_id"] for row in rows if row["state"] in {"released", "closed"}}
    undecided = {row["order_id"] for row in rows} - ours
    differ = [f"{order_id} released by the authority only" for order_id in sorted(released - ours - undecided)]
    differ += [f"{order_id} released by customs only" for order_id in sorted(ours - released)]
    moved = sorted(theirs ^ {tuple(row) for row in lines})
    return [
        Finding("authority_declarations", DECLARED_SAYS, tuple(f"{no} line {line}: {decl}" for no, line, decl, _ in moved)),
        Finding("authority_register", AUTHORITY_SAYS, tuple(differ)),
        Finding("authority_one_live_list", LISTS_SAYS, tuple(doubled)),
    ]


def register_of(home: Path) -> Path | None:
    """The file of the sandbox's customs authority."""
    found = sorted((home / "sandbox").glob("authority*"))
    return next((path for path in found if path.suffix in {".sqlite", ".sqlite3", ".db"}), None)


def read_declared(path: Path) -> set[tuple[str, int, str, int]]:
    """Each line of a consolidated list with the declaration it is in and its line there; read-only."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as file:
        return set(file.execute("SELECT invt_no, line, decl_seq_no, declared_line FROM consolidated"))


def read_register(path: Path) -> tuple[set[str], list[str]]:
    """Orders with a cleared list, and orders with more than one live list; read-only."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as file:
        released = {
            row[0] for row in file.execute("SELECT order_id FROM register WHERE state = 'declared' AND released_at IS NOT NULL")
        }
        doubled = file.execute(
            "SELECT order_id FROM register WHERE state IN ('silent', 'waiting', 'declared') GROUP BY order_id HAVING count(*) > 1"
        )
        return released, [row[0] for row in doubled]
