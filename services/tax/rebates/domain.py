"""Claims for the refund of VAT on exports, by merchant and month: of lines in closed consolidated declarations, none twice, no
invoice beyond its whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from services.tax.exports.domain import Decision, ExportBook, Facts, decide
from services.tax.landed.conversion import half_up
from shared.money import Money

UNDECLARED: Final = "no closed consolidated declaration is given"


class Declared(NamedTuple):
    """The closed consolidated declaration a line went into, and its line there; None where a file does not say."""

    entry_id: str
    line: int | None


class ExportedLine(NamedTuple):
    """A line of a released export list; `total` is its price FOB. `waits` says why it is in no closed declaration yet."""

    line_no: int
    sku: str
    hs_code: str
    quantity: Decimal
    unit: str
    total: Money
    declared: Declared | None = None
    waits: str = UNDECLARED


@dataclass(frozen=True, slots=True)
class ReleasedList:
    """A released export list; `statistics` says that it is under summary statistics and never goes into a declaration."""

    list_no: str
    merchant: str
    mode: str
    released_on: date
    lines: tuple[ExportedLine, ...]
    order_no: str = ""
    statistics: bool = False
    paid: bool = True
    came_back: bool = False


@dataclass(frozen=True, slots=True)
class Invoice:
    """A line of a VAT special invoice (增值税专用发票): what was bought, and its price without VAT, in CNY."""

    number: str
    merchant: str
    sku: str
    quantity: Decimal
    unit: str
    taxable: Money


class Line(NamedTuple):
    """The key by which nothing is claimed twice."""

    list_no: str
    line_no: int


class Use(NamedTuple):
    """How much of an invoice's line a claimed line takes, and its price without VAT."""

    number: str
    sku: str
    quantity: Decimal
    taxable: Money


class Claimed(NamedTuple):
    """A line of a claim: the basis is what it cost without VAT, the refund that times the rate."""

    line: Line
    declared: Declared
    hs_code: str
    quantity: Decimal
    unit: str
    total: Money
    uses: tuple[Use, ...]
    basis: Money
    rate: Decimal
    refund: Money
    rules: tuple[str, ...]


class LeftOut(NamedTuple):
    """A released line that no claim takes, and why."""

    line: Line
    merchant: str
    reason: str
    regime: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A merchant's claim of a month; its number says both and which of the month it is."""

    number: str
    merchant: str
    month: str
    sequence: int
    lines: tuple[Claimed, ...]

    @property
    def refund(self) -> Money:
        return Money.total((line.refund for line in self.lines), "CNY")

    @property
    def declarations(self) -> list[str]:
        """The numbers of the declarations it stands on."""
        return sorted({line.declared.entry_id for line in self.lines})


@dataclass(frozen=True)
class Before:
    """What earlier claims took: lines, quantities of invoices by number and SKU, and how many claims a merchant's month has."""

    lines: Mapping[Line, str] = field(default_factory=dict)
    used: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)
    claims: Mapping[tuple[str, str], int] = field(default_factory=dict)


NOTHING: Final = Before()


class Prepared(NamedTuple):
    """New claims, lines in earlier ones, what is left out and why, and lines claimed earlier whose goods came back since."""

    claims: tuple[Claim, ...]
    already: tuple[tuple[Line, str], ...]
    left_out: tuple[LeftOut, ...]
    to_repay: tuple[tuple[Line, str], ...]


FactsOf = Callable[[str, date], Facts]


def month_of(day: date) -> str:
    """The calendar month, as 2026-11."""
    return f"{day.year:04}-{day.month:02}"


def prepare(
    lists: Sequence[ReleasedList], month: str, invoices: Sequence[Invoice], facts_of: FactsOf, book: ExportBook,
    before: Before = NOTHING,
) -> Prepared:  # fmt: skip
    """The claims of a month, one a merchant. The same lists again, with what the first claims took, give no further claim.

    A line is taken whole or not at all: it must be in a closed consolidated declaration, its route must be refund, its exporter a
    trader, and invoices of its SKU must cover it, the oldest first as they are given. Raises ValueError where a list or an invoice
    line is there twice with another content.
    """
    found = _once({entry.list_no: entry for entry in lists}, lists)
    stock = _Stock(invoices, before.used)
    taken: dict[str, list[Claimed]] = {}
    already: list[tuple[Line, str]] = []
    left: list[LeftOut] = []
    repay: list[tuple[Line, str]] = []
    for entry in sorted(found, key=lambda entry: (entry.released_on, entry.list_no)):
        if month_of(entry.released_on) != month:
            continue
        for line in entry.lines:
            key = Line(entry.list_no, line.line_no)
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
    return Prepared(claims, tuple(already), tuple(left), tuple(repay))


def _once(by_no: Mapping[str, ReleasedList], lists: Sequence[ReleasedList]) -> list[ReleasedList]:
    for entry in lists:
        if by_no[entry.list_no] != entry:
            raise ValueError(f"list {entry.list_no} is there twice with another content")
    return list(by_no.values())


def _claim(merchant: str, month: str, lines: list[Claimed], before: Before) -> Claim:
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
    key: Line,
    stock: _Stock,
    facts_of: FactsOf,
    book: ExportBook,
) -> Claimed | LeftOut:
    said = facts_of(entry.merchant, entry.released_on)
    known: Facts = {
        **said, "declaration_data": not entry.statistics, "proceeds_collected": entry.paid,
        "vat_special_invoice": stock.holds(entry.merchant, line),
    }  # fmt: skip
    decision = decide(book, entry.released_on, entry.mode, line.hs_code, known)
    rate = book.rebates.on(line.hs_code, entry.released_on)
    if decision is None or rate is None:
        return LeftOut(
            key,
            entry.merchant,
            f"no rebate rate is known for HS code {line.hs_code} on {entry.released_on}",
        )
    if (reason := _against(entry, line, decision, said, stock)) is not None:
        return LeftOut(key, entry.merchant, reason, decision.regime)
    assert line.declared is not None, "what is not declared was left out"
    uses = stock.take(entry.merchant, line)
    basis = Money.total((use.taxable for use in uses), "CNY")
    return Claimed(
        key, line.declared, line.hs_code, line.quantity, line.unit, line.total, uses, basis, rate.rate, basis.times(rate.rate),
        decision.rules,
    )  # fmt: skip


def _against(
    entry: ReleasedList, line: ExportedLine, decision: Decision, said: Facts, stock: _Stock
) -> str | None:
    """What speaks against claiming a line, None if nothing."""
    if entry.came_back:
        return "the goods came back"
    if line.declared is None and not entry.statistics:
        return f"not yet claimable: {line.waits}"
    missing = decision.missing or (() if "exporter" in said else ("exporter",))
    if decision.vat == "refund" and said.get("exporter") == "producer":
        return "a producer is refunded with its VAT return (免抵退), not by such a claim"
    if decision.vat not in {"refund", None}:
        return _why(decision, stock, entry.merchant, line)
    return f"not said of the exporter: {', '.join(missing)}" if missing else None


def _why(decision: Decision, stock: _Stock, merchant: str, line: ExportedLine) -> str:
    """The condition of the refund that was not met; of a missing invoice how much there is."""
    failed = next(check for check in decision.checked if check.met is False)
    if failed.fact == "vat_special_invoice":
        there = stock.left(merchant, line)
        return f"invoices of {line.sku} cover {there:f} of {line.quantity:f} {line.unit}"
    return f"{failed.what}: found {failed.found}, expected {failed.expected}"


class _Stock:
    """What of each invoice line no claim has taken yet."""

    def __init__(
        self, invoices: Sequence[Invoice], used: Mapping[tuple[str, str], Decimal]
    ) -> None:
        self._of: dict[tuple[str, str, str], list[Invoice]] = {}
        self._used = dict(used)
        seen: dict[tuple[str, str], Invoice] = {}
        for invoice in invoices:
            key = (invoice.number, invoice.sku)
            if key not in seen:
                seen[key] = invoice
                self._of.setdefault((invoice.merchant, invoice.sku, invoice.unit), []).append(
                    invoice
                )
            elif seen[key] != invoice:
                raise ValueError(
                    f"invoice {invoice.number}, {invoice.sku}, is there twice with another content"
                )

    def left(self, merchant: str, line: ExportedLine) -> Decimal:
        those = self._of.get((merchant, line.sku, line.unit), [])
        return sum((self._rest(invoice) for invoice in those), Decimal(0))

    def holds(self, merchant: str, line: ExportedLine) -> bool:
        return self.left(merchant, line) >= line.quantity

    def take(self, merchant: str, line: ExportedLine) -> tuple[Use, ...]:
        """Take the line's quantity, which must be there. A part's price is what the parts so far come to less those before it, so
        that all parts of an invoice line are its price exactly."""
        uses, owed = [], line.quantity
        for invoice in self._of[merchant, line.sku, line.unit]:
            quantity = min(owed, self._rest(invoice))
            if quantity > 0:
                key = (invoice.number, invoice.sku)
                before = self._used.get(key, Decimal(0))
                self._used[key] = before + quantity
                price = _price_of(invoice, before + quantity) - _price_of(invoice, before)
                uses.append(Use(invoice.number, invoice.sku, quantity, Money(price, "CNY")))
                owed -= quantity
        return tuple(uses)

    def _rest(self, invoice: Invoice) -> Decimal:
        return invoice.quantity - self._used.get((invoice.number, invoice.sku), Decimal(0))


def _price_of(invoice: Invoice, quantity: Decimal) -> int:
    return half_up(invoice.taxable.minor * Fraction(quantity) / Fraction(invoice.quantity))
