"""Claims for the refund of VAT on exports, by merchant and month.

A claim takes lines of closed consolidated declarations, none twice, and no more than an invoice
has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from services.tax.exports.decisions import ExportBook, RouteDecision, decide_route
from services.tax.exports.domain import Facts
from services.tax.rebates.invoices import Invoice, InvoiceStock, InvoiceUse
from services.tax.rebates.lists import Declared, ExportedLine, ReleasedList
from shared.money import Money


class LineKey(NamedTuple):
    """The key by which nothing is claimed twice."""

    list_no: str
    line_no: int


class ClaimedLine(NamedTuple):
    """A line of a claim: `basis` is its cost without VAT, `refund` that times the rate."""

    line: LineKey
    declared: Declared
    hs_code: str
    quantity: Decimal
    unit: str
    total: Money
    uses: tuple[InvoiceUse, ...]
    basis: Money
    rate: Decimal
    refund: Money
    rules: tuple[str, ...]


class LeftOut(NamedTuple):
    """A released line that no claim takes, and why."""

    line: LineKey
    merchant: str
    reason: str
    regime: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A merchant's claim of a month; its number has merchant, month and sequence."""

    number: str
    merchant: str
    month: str
    sequence: int
    lines: tuple[ClaimedLine, ...]

    @property
    def refund(self) -> Money:
        return Money.total((line.refund for line in self.lines), "CNY")

    @property
    def declarations(self) -> list[str]:
        return sorted({line.declared.entry_id for line in self.lines})


@dataclass(frozen=True)
class EarlierClaims:
    """Earlier claims: their lines, used quantities by invoice and SKU, and claims of a merchant's
    month."""

    lines: Mapping[LineKey, str] = field(default_factory=dict)
    used: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)
    claims: Mapping[tuple[str, str], int] = field(default_factory=dict)


NO_CLAIMS: Final = EarlierClaims()


class PreparedClaims(NamedTuple):
    """The result: new claims, lines already claimed, lines left out, and claimed lines to repay."""

    claims: tuple[Claim, ...]
    already: tuple[tuple[LineKey, str], ...]
    left_out: tuple[LeftOut, ...]
    to_repay: tuple[tuple[LineKey, str], ...]


FactsOf = Callable[[str, date], Facts]


def month_of(day: date) -> str:
    """Return the calendar month as text, such as 2026-11."""
    return f"{day.year:04}-{day.month:02}"


def prepare(
    lists: Sequence[ReleasedList],
    month: str,
    invoices: Sequence[Invoice],
    facts_of: FactsOf,
    book: ExportBook,
    before: EarlierClaims = NO_CLAIMS,
) -> PreparedClaims:
    """Return the claims of a month, one for each merchant; the same lists again give no further
    claim.

    A line is taken whole or not at all. It must be in a closed consolidated declaration, its route
    must be refund and its exporter a trader. Invoices of its SKU must cover it, the oldest first as
    they are given. Raises ValueError where a list or an invoice line is there twice with another
    content.
    """
    distinct = _once({entry.list_no: entry for entry in lists}, lists)
    stock = InvoiceStock(invoices, before.used)
    taken: dict[str, list[ClaimedLine]] = {}
    already: list[tuple[LineKey, str]] = []
    left: list[LeftOut] = []
    repay: list[tuple[LineKey, str]] = []
    for entry in sorted(distinct, key=lambda entry: (entry.released_on, entry.list_no)):
        if month_of(entry.released_on) != month:
            continue
        for line in entry.lines:
            key = LineKey(entry.list_no, line.line_no)
            if (number := before.lines.get(key)) is not None:
                (repay if entry.came_back else already).append((key, number))
                continue
            claimed = _claimed(entry, line, key, stock, facts_of, book)
            if isinstance(claimed, LeftOut):
                left.append(claimed)
            else:
                taken.setdefault(entry.merchant, []).append(claimed)
    claims = tuple(
        _claim(merchant, month, lines, before) for merchant, lines in sorted(taken.items())
    )
    return PreparedClaims(claims, tuple(already), tuple(left), tuple(repay))


def _once(by_no: Mapping[str, ReleasedList], lists: Sequence[ReleasedList]) -> list[ReleasedList]:
    for entry in lists:
        if by_no[entry.list_no] != entry:
            raise ValueError(f"list {entry.list_no} is there twice with another content")
    return list(by_no.values())


def _claim(merchant: str, month: str, lines: list[ClaimedLine], before: EarlierClaims) -> Claim:
    sequence = before.claims.get((merchant, month), 0) + 1
    return Claim(
        f"{merchant}-{month.replace('-', '')}-{sequence:03}",
        merchant,
        month,
        sequence,
        tuple(lines),
    )


def _claimed(
    entry: ReleasedList,
    line: ExportedLine,
    key: LineKey,
    stock: InvoiceStock,
    facts_of: FactsOf,
    book: ExportBook,
) -> ClaimedLine | LeftOut:
    given = facts_of(entry.merchant, entry.released_on)
    known: Facts = {
        **given,
        "declaration_data": not entry.statistics,
        "proceeds_collected": entry.paid,
        "vat_special_invoice": stock.holds(entry.merchant, line),
    }
    decision = decide_route(book, entry.released_on, entry.mode, line.hs_code, known)
    rate = book.rebates.on(line.hs_code, entry.released_on)
    if decision is None or rate is None:
        missing = f"no rebate rate is known for HS code {line.hs_code} on {entry.released_on}"
        return LeftOut(key, entry.merchant, missing)
    if (reason := _against(entry, line, decision, given, stock)) is not None:
        return LeftOut(key, entry.merchant, reason, decision.regime)
    assert line.declared is not None, "what is not declared was left out"
    uses = stock.take(entry.merchant, line)
    basis = Money.total((use.taxable for use in uses), "CNY")
    return ClaimedLine(
        key,
        line.declared,
        line.hs_code,
        line.quantity,
        line.unit,
        line.total,
        uses,
        basis,
        rate.rate,
        basis.times(rate.rate),
        decision.rules,
    )


def _against(
    entry: ReleasedList,
    line: ExportedLine,
    decision: RouteDecision,
    given: Facts,
    stock: InvoiceStock,
) -> str | None:
    if entry.came_back:
        return "the goods came back"
    if line.declared is None and not entry.statistics:
        return f"not yet claimable: {line.waits}"
    missing = decision.missing or (() if "exporter" in given else ("exporter",))
    if decision.vat == "refund" and given.get("exporter") == "producer":
        return "a producer is refunded with its VAT return (免抵退), not by such a claim"
    if decision.vat not in {"refund", None}:
        return _why(decision, stock, entry.merchant, line)
    return f"not said of the exporter: {', '.join(missing)}" if missing else None


def _why(decision: RouteDecision, stock: InvoiceStock, merchant: str, line: ExportedLine) -> str:
    failed = next(check for check in decision.checked if check.met is False)
    if failed.fact == "vat_special_invoice":
        there = stock.left(merchant, line)
        return f"invoices of {line.sku} cover {there:f} of {line.quantity:f} {line.unit}"
    return f"{failed.what}: found {failed.actual}, expected {failed.expected}"
