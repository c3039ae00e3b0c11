"""Our books against the bank's statement and the authority's register."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
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
"""A movement at the bank: number of the payment or transfer, kind, minor units, currency."""

_PARTS: Final = ("payment_no", "kind", "amount", "currency")
BANK_SAYS: Final = "what the bank moved is not what our journal says"
AUTHORITY_SAYS: Final = "the authority's register and our declarations disagree on a release"
DECLARED_SAYS: Final = (
    "the authority put a line of a list into another declaration than we were told"
)
LISTS_SAYS: Final = "an order has more than one live list in the authority's register"


async def bank(to: RunningStack) -> list[Finding]:
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
                    ours, open_commands = await _journal(conn), await _asked(conn)
                # A statement read after the books has all that was booked meanwhile.
                after = await _operations(client) if ours - before.lines else before
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            skipped = f"the bank does not answer at {url} ({type(error).__name__})"
            return [Finding("bank_statement", BANK_SAYS, skipped=skipped)]
    theirs = before.lines - before.under_way(before.lines - ours, open_commands)
    return [
        Finding("bank_statement", BANK_SAYS, (*after.unread, *breaks(ours, theirs, after.lines)))
    ]


@dataclass
class Statement:
    """What the bank moved; `references`: ours by line; `unread`: a sentence for a faulty line."""

    lines: Counter[Line] = field(default_factory=Counter)
    references: dict[Line, list[str]] = field(default_factory=lambda: defaultdict(list))
    unread: list[str] = field(default_factory=list)

    def add(self, items: Sequence[Any]) -> None:
        lines, unread = lines_of(items, self.references)
        self.lines.update(lines)
        self.unread += unread

    def under_way(
        self, missing: Counter[Line], open_commands: Counter[tuple[str, str]]
    ) -> Counter[Line]:
        """Return the missing lines whose command is open: the reply is still to be booked."""
        lines: Counter[Line] = Counter()
        left = open_commands.copy()
        for line, times in missing.items():
            for reference in self.references[line]:
                if lines[line] < times and left[reference, line[1]] > 0:
                    left[reference, line[1]] -= 1
                    lines[line] += 1
        return lines


def breaks(
    ours: Counter[Line], theirs: Counter[Line], later: Counter[Line] | None = None
) -> list[str]:
    """Return each line that only the bank or only our journal has.

    `later`: a statement read after the journal, which must have the journal's lines.
    Lines are compared one by one: two errors of one amount do not cancel each other.
    Of one payment and kind, a line of the bank is paired with one of ours.
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
    """Return the movements in the books; a transfer to customs is one for all its bills."""
    rows = await conn.fetch(
        "SELECT coalesce(p.payment_no, '') AS no, CASE j.purpose WHEN 'refund_tax' THEN 'refund' "
        "ELSE j.purpose END AS kind, "
        "abs(j.amount_minor) AS minor, j.currency FROM payments.journal j "
        "JOIN payments.payment p USING (order_id) WHERE j.account = 'bank_clearing' AND "
        "j.purpose IN "
        "('capture', 'refund', 'refund_tax') "
        "UNION ALL SELECT t.transfer_no, 'transfer', sum(-j.amount_minor)::bigint, j.currency "
        "FROM payments.journal j "
        "JOIN payments.tax_due d USING (order_id) JOIN payments.tax_payment t USING (payment_id) "
        "WHERE j.account = 'bank_clearing' AND j.purpose = 'pay_tax' GROUP BY t.transfer_no, "
        "j.currency"
    )
    return Counter((row["no"], row["kind"], row["minor"], row["currency"]) for row in rows)


async def _asked(conn: Any) -> Counter[tuple[str, str]]:
    rows = await conn.fetch(
        "SELECT order_id::text AS reference, CASE kind WHEN 'refund_tax' THEN 'refund' ELSE kind "
        "END AS kind FROM payments.effect"
    )
    return Counter((row["reference"], row["kind"]) for row in rows)


async def _operations(client: Any) -> Statement:
    """Read the bank's statement page by page; raise ValueError if a page does not advance."""
    statement = Statement()
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
            return statement
        statement.add(items)
        following = page["next"]
        if not isinstance(following, int) or following <= after:
            raise ValueError("the page after this one must be a later one")
        after = following


def lines_of(
    items: Sequence[Any], references: dict[Line, list[str]] | None = None
) -> tuple[Counter[Line], list[str]]:
    """Return a page's lines, and a sentence for each line that cannot be read.

    `references` gets our reference of each line, where the bank names it.
    """
    lines: Counter[Line] = Counter()
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
        lines[read] += 1
        if references is not None:
            references[read].append(str(line.get("reference")))
    return lines, unread


async def authority(to: RunningStack) -> list[Finding]:
    path = register_of(to.home)
    if path is None:
        return [
            Finding(
                "authority_register",
                AUTHORITY_SAYS,
                skipped=f"no register of the sandbox in {to.home / 'sandbox'}",
            )
        ]
    register = read_register(path), read_declared(path)
    async with database(to) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        if not await conn.fetchval("SELECT to_regclass('customs.declaration') IS NOT NULL"):
            return []
        rows = await conn.fetch(_DECLARATIONS)
        lines = {tuple(row) for row in await conn.fetch(_SUMMARY_LINES)}
        stored = await lag.offsets(conn)
    (released, doubled), declared = register
    ours = {row["order_id"] for row in rows if row["state"] in {"released", "closed"}}
    undecided = {row["order_id"] for row in rows} - ours
    only_theirs, untold = released - ours - undecided, declared - lines
    if (only_theirs or untold) and await _receipts_come(to, path, stored):
        only_theirs, untold = set(), set()
    # Customs may know more than the register at its first reading: it is read again.
    only_ours = ours - (released if ours <= released else read_register(path)[0])
    untrue = lines - (declared if lines <= declared else read_declared(path))
    return _authority_findings(only_theirs, only_ours, untold | untrue, doubled)


_DECLARATIONS: Final = (
    "SELECT order_id::text AS order_id, state FROM customs.declaration "
    "WHERE state IN ('released', 'closed', 'withdrawing', 'returning')"
)
_SUMMARY_LINES: Final = (
    "SELECT invt_no, line_no, decl_seq_no, declared_line FROM customs.summary_line"
)


def _authority_findings(
    only_theirs: Collection[str],
    only_ours: Collection[str],
    moved: Collection[tuple[Any, ...]],
    doubled: Sequence[str],
) -> list[Finding]:
    differ = [f"{order_id} released by the authority only" for order_id in sorted(only_theirs)]
    differ += [f"{order_id} released by customs only" for order_id in sorted(only_ours)]
    lines = tuple(f"{no} line {line}: {decl}" for no, line, decl, _ in sorted(moved))
    return [
        Finding("authority_declarations", DECLARED_SAYS, lines),
        Finding("authority_register", AUTHORITY_SAYS, tuple(differ)),
        Finding("authority_one_live_list", LISTS_SAYS, tuple(doubled)),
    ]


async def _receipts_come(
    to: RunningStack, path: Path, stored: Mapping[str, Mapping[tuple[str, int], int]]
) -> bool:
    """Return whether a receipt is unpublished, or unread by customs beyond `stored`.

    Only receipts name their orders; `no_lag` names a service that does not read them.
    """
    # The outbox is read first: a record that has left it is in the log.
    return read_waits(path) or any(
        b.records
        for b in await lag.partition_lags(to, stored)
        if b.service == "customs" and b.topic == RECEIPTS
    )


def register_of(home: Path) -> Path | None:
    files = sorted((home / "sandbox").glob("authority*"))
    return next((path for path in files if path.suffix in {".sqlite", ".sqlite3", ".db"}), None)


def read_declared(path: Path) -> set[tuple[str, int, str, int]]:
    with closing(
        sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
    ) as file:
        return set(
            file.execute("SELECT invt_no, line, decl_seq_no, declared_line FROM consolidated")
        )


def read_waits(path: Path) -> bool:
    with closing(
        sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
    ) as file:
        return bool(file.execute("SELECT EXISTS (SELECT 1 FROM outbox)").fetchone()[0])


def read_register(path: Path) -> tuple[set[str], list[str]]:
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
            "SELECT order_id FROM register WHERE state IN ('silent', 'waiting', 'declared') "
            "GROUP BY order_id HAVING count(*) > 1"
        )
        return released, [row[0] for row in doubled]
