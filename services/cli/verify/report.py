"""What `crossborder verify` prints: who must act, a line for each group, and the orders that break an invariant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from services.cli.connect import (
    print_err,
    status_mark,
    stdout,
)
from services.cli.verify.findings import Finding

SHOWN_MAX: Final = 1000


def as_document(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as machines get them."""
    rows = [
        {**asdict(f), "ok": f.ok, "act": f.act, "offending": list(f.offending[:SHOWN_MAX])}
        for f in findings
    ]
    return {
        "ok": all(f.ok for f in findings),
        "violations": violations(findings),
        "invariants": rows,
    }


def violations(findings: Sequence[Finding]) -> int:
    return sum(len(f.offending) for f in findings)


def show(findings: Sequence[Finding]) -> None:
    """Print who must act first, then a table of every invariant, and the offending ids of those that are broken."""
    from rich.table import Table

    for f in findings:
        if f.act and not f.ok:
            print_err(f"ACT: {f.says}")
            for offender in f.offending[:20]:
                print_err(f"  {offender}")
    table = Table("", "invariant", "broken by", box=None)
    for f in findings:
        table.add_row(
            status_mark(None if f.skipped else f.ok),
            f.name,
            f.skipped or (f"{len(f.offending)}: {f.says}" if not f.ok else ""),
        )
    page = stdout()
    page.print(table)
    for f in findings:
        for offender in f.offending[:20] if not f.act else ():
            page.print(f"{f.name}: {offender}")
    invariants = [f for f in findings if not f.act]
    broken = sum(1 for f in invariants if not f.ok)
    kept = sum(1 for f in invariants if f.ok and not f.skipped)
    if not kept and not broken:
        print_err(
            f"no invariant could be judged: {next((f.skipped for f in invariants if f.skipped), 'there are none')}"
        )
        return
    print_err(
        f"{broken} of {len(invariants)} invariants are broken"
        if broken
        else f"all {kept} invariants hold"
    )
