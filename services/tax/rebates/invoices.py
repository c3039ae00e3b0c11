"""VAT special invoices, and the quantities of them that no claim has taken yet. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from services.tax.landed.conversion import half_up
from services.tax.rebates.lists import ExportedLine
from shared.money import Money


@dataclass(frozen=True, slots=True)
class Invoice:
    """A line of a VAT special invoice (增值税专用发票): goods, and their price without VAT."""

    number: str
    merchant: str
    sku: str
    quantity: Decimal
    unit: str
    taxable: Money


class InvoiceUse(NamedTuple):
    """The quantity of an invoice line that a claimed line takes, and its price without VAT."""

    number: str
    sku: str
    quantity: Decimal
    taxable: Money


class InvoiceStock:
    """The quantities of invoice lines that no claim has taken yet."""

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

    def take(self, merchant: str, line: ExportedLine) -> tuple[InvoiceUse, ...]:
        """Take the line's quantity, which must be there.

        The price of a part is the price up to it less the price before it, so all parts sum to the
        price of the invoice line exactly.
        """
        uses, owed = [], line.quantity
        for invoice in self._of[merchant, line.sku, line.unit]:
            quantity = min(owed, self._rest(invoice))
            if quantity > 0:
                key = (invoice.number, invoice.sku)
                before = self._used.get(key, Decimal(0))
                self._used[key] = before + quantity
                price = _price_of(invoice, before + quantity) - _price_of(invoice, before)
                uses.append(InvoiceUse(invoice.number, invoice.sku, quantity, Money(price, "CNY")))
                owed -= quantity
        return tuple(uses)

    def _rest(self, invoice: Invoice) -> Decimal:
        return invoice.quantity - self._used.get((invoice.number, invoice.sku), Decimal(0))


def _price_of(invoice: Invoice, quantity: Decimal) -> int:
    return half_up(invoice.taxable.minor * Fraction(quantity) / Fraction(invoice.quantity))
