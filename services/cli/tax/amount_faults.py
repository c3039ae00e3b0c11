"""Faults in the amounts of a document: their currency, decimals and sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from services.cli.fault_sentences import FieldFault
from services.cli.tax.field_types import (
    DECIMAL_PATTERN,
)
from services.cli.tax.raw_document import Document, rows_of
from shared.money import EXPONENTS, Money, MoneyError


class _Amount(NamedTuple):
    field: str
    text: Any
    currency: str


def amount_faults(document: Document) -> Iterator[FieldFault]:
    rows = rows_of(document)
    currency = document.get("currency")
    if not isinstance(currency, str):
        return
    if currency not in EXPONENTS:
        expected = "a currency of ISO 4217 supported here, like CNY"
        yield FieldFault("currency", "is_currency", repr(currency), expected)
        return
    totals = [
        _Amount(f"lines[{i}].total", row.get("total"), currency) for i, row in enumerate(rows)
    ]
    others = [*_head(document, currency), *_purchases(rows)]
    faults = [*map(_decimals_fault, filter(_is_wrong, (*totals, *others)))]
    yield from faults
    if not faults and totals and all(_is_number(amount.text) for amount in totals):
        yield from _sum_faults(totals, document.get("goods_value"), currency)


def _head(document: Document, currency: str) -> Iterator[_Amount]:
    for name in ("goods_value", "freight", "insurance", "discount"):
        yield _Amount(name, document.get(name), currency)
    landed = document.get("landed")
    if isinstance(landed, Mapping):
        yield _Amount("landed.earlier_value", landed.get("earlier_value"), currency)


def _purchases(rows: Sequence[Document]) -> Iterator[_Amount]:
    for i, row in enumerate(rows):
        yield _Amount(f"lines[{i}].purchase", row.get("purchase"), "CNY")


def _is_wrong(amount: _Amount) -> bool:
    return _is_number(amount.text) and not _is_money(amount)


def _decimals_fault(amount: _Amount) -> FieldFault:
    expected = (
        f"an amount of at most {EXPONENTS[amount.currency]} decimals, as {amount.currency} "
        "has, and within the limit"
    )
    return FieldFault(amount.field, "is_amount", amount.text, expected)


def _sum_faults(totals: Sequence[_Amount], goods: Any, currency: str) -> Iterator[FieldFault]:
    total = sum((Decimal(amount.text) for amount in totals), Decimal(0))
    if not _is_money(_Amount("goods_value", str(total), currency)):
        expected = "totals whose sum is within the limit of an amount"
        yield FieldFault("lines", "is_amount", str(total), expected)
    elif _is_number(goods) and Decimal(goods) != total:
        expected = f"{total}, the sum of the lines' totals"
        yield FieldFault("goods_value", "sum_of_lines", goods, expected)


def _is_number(text: Any) -> bool:
    return isinstance(text, str) and DECIMAL_PATTERN.fullmatch(text) is not None


def _is_money(amount: _Amount) -> bool:
    try:
        Money.of(Decimal(amount.text), amount.currency)
    except MoneyError:
        return False
    return True
