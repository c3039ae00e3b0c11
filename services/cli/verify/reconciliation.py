"""What outside parties say, held against our books: the bank's statement, the authority's register."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from services.cli import lag
from services.cli.connect import RunningStack, database
from services.cli.verify.findings import Finding
from shared.money import Money, MoneyError
from shared.topics import RECEIPTS

Line = tuple[str, str, int, str]
"""A movement at the bank: the number of the payment or transfer, its kind, minor units, currency."""

_PARTS: Final = ("payment_no", "kind", "amount", "currency")
BANK_SAYS: Final = "what the bank moved is not what our journal says"
AUTHORITY_SAYS: Final = "the authority's register and our declarations disagree on a release"
DECLARED_SAYS: Final = (
    "the authority put a line of a list into another declaration than we were told"
)
LISTS_SAYS: Final = "an order has more than one live list in the authority's register"


async def bank(to: RunningStack) -> list[Finding]:
    """Return whether each capture, refund and transfer of the bank's statement is in the journal, and the reverse."""
    import httpx

    url = (
        os.environ.get("CROSSBORDER_BANK_URL")
        or to.known.get("bank_url")
        or "http://127.0.0.1:8110"
    )
    async with database(to) as conn:
        if not await conn.fetchval("SELECT to_regclass('payments.journal') IS NOT NULL"):
            return []
        try:
            async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
                before = await _operations(client)
                async with conn.transaction(isolation="repeatable_read", readonly=True):
                    ours, asked = await _journal(conn), await _asked(conn)
                # What was moved and booked since the first statement is in one that is read after the books.
                after = await _operations(client) if ours - before.lines else before
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            skipped = f"the bank does not answer at {url} ({type(error).__name__})"
            return [Finding("bank_statement", BANK_SAYS, skipped=skipped)]
    theirs = before.lines - before.under_way(before.lines - ours, asked)
    return [
        Finding("bank_statement", BANK_SAYS, (*after.unread, *breaks(ours, theirs, after.lines)))
    ]


@dataclass
class Statement:
    """What the bank moved; `references`: ours, of each line; `unread`: a sentence for each line that cannot be read."""

    lines: Counter[Line] = field(default_factory=Counter)
    references: dict[Line, list[str]] = field(default_factory=lambda: defaultdict(list))
    unread: list[str] = field(default_factory=list)

    def add(self, items: Sequence[Any]) -> None:
        """One more page."""
        found, unread = lines_of(items, self.references)
        self.lines.update(found)
        self.unread += unread

    def under_way(self, missing: Counter[Line], asked: Counter[tuple[str, str]]) -> Counter[Line]:
        """Of the lines that our books lack those whose instruction is open: the answer is still to be booked."""
        found: Counter[Line] = Counter()
        left = asked.copy()
        for line, times in missing.items():
            for reference in self.references[line]:
                if found[line] < times and left[reference, line[1]] > 0:
                    left[reference, line[1]] -= 1
                    found[line] += 1
        return found


def breaks(
    ours: Counter[Line], theirs: Counter[Line], later: Counter[Line] | None = None
) -> list[str]:
    """Return each line of the bank's statement or of our journal that the other side does not have.

    `later`: a statement that was read after the journal, which must have its lines; the first if not given.

    Lines are compared one by one: two that are wrong by the same amount do not cancel each other.
    Of one payment and kind, a line that only the bank has is set beside one that only we have.
    """
    missing: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for side, lines in enumerate((theirs - ours, ours - (theirs if later is None else later))):
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


async def _asked(conn: Any) -> Counter[tuple[str, str]]:
    """Return how many instructions to the bank are open, by our reference and the kind of their movement."""
    rows = await conn.fetch(
        "SELECT order_id::text AS reference, CASE kind WHEN 'refund_tax' THEN 'refund' ELSE kind END AS kind FROM payments.effect"
    )
    return Counter((row["reference"], row["kind"]) for row in rows)


async def _operations(client: Any) -> Statement:
    """Return the bank's statement, read page by page. Raises ValueError for one whose pages do not go on."""
    found = Statement()
    after = 0
    while True:
        page = (
            (await client.get("/v1/statement/operations", params={"after": after}))
            .raise_for_status()
            .json()
        )
        items = page["items"]
        if not isinstance(items, list):
            raise TypeError("the lines of a page must be a list")
        if not items:
            return found
        found.add(items)
        following = page["next"]
        if not isinstance(following, int) or following <= after:
            raise ValueError("the page after this one must be a later one")
        after = following


def lines_of(
    items: Sequence[Any], references: dict[Line, list[str]] | None = None
) -> tuple[Counter[Line], list[str]]:
    """Return the lines of a page that can be read, and a sentence for each of the others: what it is of nobody knows.

    `references` gets ours of each line, where the bank says it.
    """
    found: Counter[Line] = Counter()
    unread: list[str] = []
    for item in items:
        line = item if isinstance(item, dict) else {}
        if wrong := [name for name in _PARTS if not isinstance(line.get(name), str)]:
            unread.append(f"a line of the bank cannot be read: {', '.join(wrong)} must be text")
            continue
        payment_no, kind, amount, currency = (str(line[name]) for name in _PARTS)
        try:
            read = payment_no, kind, Money.of(amount, currency).minor, currency
        except MoneyError as error:
            unread.append(
                f"payment {payment_no[:64]} {kind[:32]}: the line cannot be read: {error}"
            )
            continue
        found[read] += 1
        if references is not None:
            references[read].append(str(line.get("reference")))
    return found, unread


async def authority(to: RunningStack) -> list[Finding]:
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
    (released, doubled), declared = read_register(path), read_declared(path)
    async with database(to) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        if not await conn.fetchval("SELECT to_regclass('customs.declaration') IS NOT NULL"):
            return []
        rows = await conn.fetch(
            "SELECT order_id::text AS order_id, state FROM customs.declaration "
            "WHERE state IN ('released', 'closed', 'withdrawing', 'returning')"
        )
        lines = {
            tuple(row)
            for row in await conn.fetch(
                "SELECT invt_no, line_no, decl_seq_no, declared_line FROM customs.summary_line"
            )
        }
        stored = await lag.offsets(conn)
    ours = {row["order_id"] for row in rows if row["state"] in {"released", "closed"}}
    undecided = {row["order_id"] for row in rows} - ours
    only_theirs, untold = released - ours - undecided, declared - lines
    if (only_theirs or untold) and await _receipts_come(to, path, stored):
        only_theirs, untold = set(), set()
    # Customs may have heard more since the register was read: it must have that too.
    only_ours = ours - (released if ours <= released else read_register(path)[0])
    untrue = lines - (declared if lines <= declared else read_declared(path))
    differ = [f"{order_id} released by the authority only" for order_id in sorted(only_theirs)]
    differ += [f"{order_id} released by customs only" for order_id in sorted(only_ours)]
    moved = sorted(untold | untrue)
    return [
        Finding(
            "authority_declarations",
            DECLARED_SAYS,
            tuple(f"{no} line {line}: {decl}" for no, line, decl, _ in moved),
        ),
        Finding("authority_register", AUTHORITY_SAYS, tuple(differ)),
        Finding("authority_one_live_list", LISTS_SAYS, tuple(doubled)),
    ]


async def _receipts_come(
    to: RunningStack, path: Path, stored: Mapping[str, Mapping[tuple[str, int], int]]
) -> bool:
    """Whether what the authority said waits to be published, or to be read by customs, which had read up to `stored`.

    Which orders it is about only the receipts say; `no_lag` names a service that does not read them.
    """
    # The outbox first: what leaves it is in the log then.
    return read_waits(path) or any(
        b.records
        for b in await lag.partition_lags(to, stored)
        if b.service == "customs" and b.topic == RECEIPTS
    )


def register_of(home: Path) -> Path | None:
    """The file of the sandbox's customs authority."""
    found = sorted((home / "sandbox").glob("authority*"))
    return next((path for path in found if path.suffix in {".sqlite", ".sqlite3", ".db"}), None)


def read_declared(path: Path) -> set[tuple[str, int, str, int]]:
    """Each line of a consolidated list with the declaration it is in and its line there; read-only."""
    with closing(
        sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
    ) as file:
        return set(
            file.execute("SELECT invt_no, line, decl_seq_no, declared_line FROM consolidated")
        )


def read_waits(path: Path) -> bool:
    """Whether something that the authority said is still to be published; read-only."""
    with closing(
        sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
    ) as file:
        return bool(file.execute("SELECT EXISTS (SELECT 1 FROM outbox)").fetchone()[0])


def read_register(path: Path) -> tuple[set[str], list[str]]:
    """Orders with a cleared list, and orders with more than one live list; read-only."""
    with closing(
        sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
    ) as file:
        released = {
            row[0]
            for row in file.execute(
                "SELECT order_id FROM register WHERE state = 'declared' AND released_at IS NOT NULL"
            )
        }
        doubled = file.execute(
            "SELECT order_id FROM register WHERE state IN ('silent', 'waiting', 'declared') GROUP BY order_id HAVING count(*) > 1"
        )
        return released, [row[0] for row in doubled]
