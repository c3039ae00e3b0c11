"""The output of `crossborder tax assess`: JSON for scripts, a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from services.cli.connect import print_err, stdout
from services.tax.domain.assessment import (
    Assessable,
    AssessedLine,
    Assessment,
    Refusal,
)
from shared.money import Money

if TYPE_CHECKING:
    from rich.table import Table


AMOUNTS: Final = ("duty", "consumption_tax", "vat", "parcel_tax", "total", "payable")


OF_A_LINE: Final = ("dutiable_value", "duty", "consumption_tax", "vat", "parcel_tax")


def as_contract(result: Assessment | Refusal, order: Assessable) -> dict[str, Any]:
    """Return the JSON for scripts: amounts as decimal strings, `refused` null or the reason.

    A refused order owes nothing here. `otherwise` is what goods over a limit would owe as general
    trade. `currency` is that of the amounts, for an import CNY.
    """
    if isinstance(result, Refusal):
        return _refused(result, order)
    amounts = {name: str(getattr(result, name)) for name in AMOUNTS}
    lines = [_line(line, result.total.currency) for line in result.lines]
    head = {
        "regime": result.regime,
        "dutiable_value": str(result.dutiable_value),
        "currency": result.total.currency,
    }
    tail = {
        "lines": lines,
        "rules": list(result.rules),
        "version": result.version,
        "edition": result.edition,
        "otherwise": None,
    }
    return {**head, **amounts, "refused": None, **tail}


def _refused(result: Refusal, order: Assessable) -> dict[str, Any]:
    value = result.dutiable_value or Money.zero(order.currency)
    none = str(Money.zero(value.currency))
    other = result.fallback
    return {
        "regime": result.regime,
        "dutiable_value": str(value),
        "currency": value.currency,
        **dict.fromkeys(AMOUNTS, none),
        "refused": {
            "code": result.code,
            "reason": result.reason,
            "limit": result.limit,
            "value": result.value,
        },
        "lines": [],
        "rules": list(result.rules),
        "otherwise": None
        if other is None
        else {"regime": other.regime, **{name: str(getattr(other, name)) for name in AMOUNTS}},
    }


def _line(line: AssessedLine, currency: str) -> dict[str, Any]:
    return {
        "line_no": line.line_no,
        **{name: str(Money(getattr(line, name), currency)) for name in OF_A_LINE},
    }


def show(result: Assessment | Refusal, order: Assessable, sources: Mapping[str, str]) -> None:
    if isinstance(result, Refusal):
        _show_refusal(result)
        return
    currency = result.total.currency
    stdout().print(_table(result, order))
    print(f"total tax {result.total} {currency}, payable {result.payable}")
    if order.direction == "export":
        print_err("what it costs where it arrives: crossborder tax landed FILE")
    print_err("by these rules:")
    for name in result.rules:
        print_err(f"  {name}: {sources[name]}")


def _show_refusal(refusal: Refusal) -> None:
    limits = f"(limit {refusal.limit}, found {refusal.value})"
    print(f"refused {refusal.code}: {refusal.reason} {limits}")
    if (fallback := refusal.fallback) is not None:
        print(f"as general trade it would owe {fallback.payable} CNY ({fallback.regime})")


def _table(result: Assessment, order: Assessable) -> Table:
    from rich.table import Table

    currency = result.total.currency
    taxes = ("duty", "consumption tax", "VAT", "parcel tax")
    table = Table("line", "HS code", "dutiable value", *taxes, title=f"{result.regime}, {currency}")
    for column in table.columns[2:]:
        column.justify = "right"
    for line, assessed in zip(order.lines, result.lines, strict=True):
        amounts = [str(Money(getattr(assessed, name), currency)) for name in OF_A_LINE]
        table.add_row(str(line.line_no), line.hs_code, *amounts)
    table.add_section()
    totals = [str(getattr(result, name)) for name in OF_A_LINE]
    table.add_row("total", "", *totals, style="bold")
    return table
