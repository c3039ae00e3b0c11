"""The receipt that `crossborder order show` prints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.cli.connect import (
    stdout,
)
from services.cli.order import steps


def _amount(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]} {row['currency']}" if row[name] is not None else "-"


def print_receipt(found: Mapping[str, Any]) -> None:
    from rich.table import Table

    page = stdout()
    page.print(f"{found['order_no']}  {found['order_id']}", style="bold")
    known = {name: found[name] or "-" for name in ("corridor", "mode")}
    page.print(
        f"state {found['state']}  corridor {known['corridor']}  mode {known['mode']}  placed {_time(found['placed_at'])}"
    )
    for waited in found["waits_for"]:
        page.print(f"waits for: {waited}", style="bold", soft_wrap=True)
    if found["next"]:
        page.print(f"next: {found['next']}", soft_wrap=True)
    page.print(f"goods {_amount(found, 'goods_value')}  paid {_amount(found, 'amount_paid')}")
    for fault in (found["detail"] or {}).get("faults") or ():
        page.print(f"  {steps.sentence(fault)}", soft_wrap=True)
    for case in found.get("cases") or ():
        page.print(
            f"\ncase: {case['kind']}, `crossborder {case['service']} cases show {case['number']}`",
            style="bold",
        )
        page.print(f"  {case['what_to_do']}")
        if says := case["details"].get("bank_says"):
            page.print(f"  the bank says: {says}")
    for title in ("money", "tax", "declaration"):
        if found.get(title):
            page.print(f"\n{title}", style="bold")
            for name, value in found[title].items():
                _print_part(page, name, value)
    table = Table("at", "after", "source", "fact", "", box=None)
    began = found["timeline"][0]["at"] if found["timeline"] else None
    for row in found["timeline"]:
        table.add_row(
            _time(row["at"]),
            _after(began, row["at"]),
            row["source"],
            row["type"],
            _brief(row["summary"]),
        )
    page.print("\ntimeline", style="bold")
    page.print(table)


def _print_part(page: Any, name: str, value: Any) -> None:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            page.print(f"  {name:<16} {_brief(item)}")
    elif value not in (None, [], {}):
        page.print(f"  {name:<16} {_brief(value)}")


def _brief(value: Any) -> str:
    """A document on one line, an amount as `204.10 CNY`."""
    if isinstance(value, dict):
        if value.keys() == {"amount", "currency"}:
            return f"{value['amount']} {value['currency']}"
        return "  ".join(
            f"{k}={_brief(v)}" for k, v in value.items() if v not in (None, "", [], {})
        )
    if isinstance(value, list):
        return "; ".join(_brief(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _time(value) if isinstance(value, datetime) else str(value)


def _after(began: datetime | None, at: datetime) -> str:
    """The seconds since the first entry; an entry of another clock may lie before it."""
    return "" if began is None else f"{(at - began).total_seconds():+.3f} s"


def _time(at: datetime | None) -> str:
    return at.isoformat(timespec="milliseconds") if at else "-"
