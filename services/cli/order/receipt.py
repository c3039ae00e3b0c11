"""The receipt of `order show`: header, cases, steps, ledger, tax, declaration and refusal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from services.cli.connect import stdout
from services.cli.order import steps

if TYPE_CHECKING:
    from rich.table import Table

TAX_COLUMNS: Final = (
    "line_no",
    "hs_code",
    "regime",
    "dutiable_value",
    "duty",
    "consumption_tax",
    "vat",
    "parcel_tax",
    "payable",
)
LISTS: Final = ("journal", "lines")
"""Fields that are printed as tables."""


def print_receipt(order: Mapping[str, Any]) -> None:
    page = stdout()
    for line in header(order):
        page.print(line)
    for case in order.get("cases") or ():
        _print_section(page, f"case: {case['kind']}", case_lines(case))
    page.print("\nsteps", style="bold")
    page.print(step_table(order["timeline"]))
    _print_money(page, order)
    _print_tax(page, order)
    _print_section(page, "declaration", part_lines(order.get("declaration")))
    _print_section(page, "refusal", refusal(order))


def _print_section(page: Any, title: str, lines: Sequence[str]) -> None:
    if lines:
        page.print(f"\n{title}", style="bold")
        for line in lines:
            page.print(f"  {line}")


def _print_money(page: Any, order: Mapping[str, Any]) -> None:
    money = order.get("money")
    _print_section(page, "money", part_lines(money))
    if money and money.get("journal"):
        page.print("\nledger", style="bold")
        page.print(ledger_table(money["journal"], money["currency"]))


def _print_tax(page: Any, order: Mapping[str, Any]) -> None:
    tax = order.get("tax")
    _print_section(page, "tax", part_lines(tax))
    if tax and tax.get("lines"):
        page.print()
        page.print(tax_table(tax))


def header(order: Mapping[str, Any]) -> Iterator[str]:
    yield f"order {order['order_no']}  {order['state']}"
    yield f"id {order['order_id']}"
    corridor, mode = order["corridor"] or "-", order["mode"] or "-"
    yield f"corridor {corridor}  mode {mode}  placed {_time(order['placed_at'])}"
    yield f"goods {amount_of(order, 'goods_value')}  paid {amount_of(order, 'amount_paid')}"
    for reason in order["waits_for"]:
        yield f"waits for: {reason}"
    if order["next"]:
        yield f"next: {order['next']}"


def refusal(order: Mapping[str, Any]) -> list[str]:
    return [steps.sentence(fault) for fault in (order["detail"] or {}).get("faults") or ()]


def case_lines(case: Mapping[str, Any]) -> list[str]:
    lines = [
        f"`crossborder {case['service']} cases show {case['number']}`",
        str(case["what_to_do"]),
    ]
    if reply := case["details"].get("bank_says"):
        lines.append(f"the bank says: {reply}")
    return lines


def step_table(timeline: Sequence[Mapping[str, Any]]) -> Table:
    """Return the timeline with seconds since its first step; another clock's may lie before it."""
    from rich.table import Table

    table = Table("after", "source", "fact", "", "at", box=None)
    first = timeline[0]["at"] if timeline else None
    for step in timeline:
        after = f"{(step['at'] - first).total_seconds():+.3f} s"
        table.add_row(
            after, step["source"], step["type"], _brief(step["summary"]), _time(step["at"])
        )
    return table


def ledger_table(journal: Sequence[Mapping[str, Any]], currency: str | None) -> Table:
    from rich.table import Table

    table = Table("purpose", "account", "party", box=None)
    table.add_column(f"amount {currency or ''}".strip(), justify="right")
    for entry in journal:
        party = entry["party"] or ""
        table.add_row(entry["purpose"], entry["account"], party, str(entry["amount"]))
    return table


def tax_table(tax: Mapping[str, Any]) -> Table:
    from rich.table import Table

    rows = [*tax["lines"], {"line_no": "sum", **{k: tax[k] for k in TAX_COLUMNS[3:] if k in tax}}]
    names = [name for name in TAX_COLUMNS if any(row.get(name) is not None for row in rows)]
    table = Table(box=None)
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*("" if row.get(name) is None else _brief(row[name]) for name in names))
    return table


def part_lines(part: Mapping[str, Any] | None) -> list[str]:
    return [
        f"{name:<16} {_brief(item)}"
        for name, value in (part or {}).items()
        if name not in LISTS
        for item in (value if _is_rows(value) else [value])
        if item not in (None, [], {})
    ]


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def amount_of(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]} {row['currency']}" if row[name] is not None else "-"


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        if value.keys() == {"amount", "currency"}:
            return f"{value['amount']} {value['currency']}"
        filled = {name: each for name, each in value.items() if each not in (None, "", [], {})}
        return "  ".join(f"{name}={_brief(each)}" for name, each in filled.items())
    if isinstance(value, list):
        return "; ".join(_brief(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _time(value) if isinstance(value, datetime) else str(value)


def _time(at: datetime | None) -> str:
    return at.isoformat(timespec="milliseconds") if at else "-"
