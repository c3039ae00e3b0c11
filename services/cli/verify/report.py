"""What `crossborder verify` prints: who must act, a line for each group, what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from services.cli.connect import print_err, status_mark, stdout
from services.cli.verify.findings import Finding

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_MAX: Final = 1000
"""Offending ids of one finding in the JSON document."""
NAMED_MAX: Final = 20
"""Offending ids of one finding on the screen."""
WORK: Final = "work for a person"
BETWEEN_SERVICES: Final = "between services"
TOPICS: Final = "topics"
OUTSIDE: Final = "bank and authority"
_OUTSIDE: Final = ("bank_statement", "authority_")
_TOPICS: Final = (
    "facts_",
    "one_end",
    "log_agrees_with_tables",
    "sales_are_",
    "offsets_within_log",
    "no_open_transaction",
)


def as_document(findings: Sequence[Finding]) -> dict[str, Any]:
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


def show(findings: Sequence[Finding], *, verbose: bool = False) -> None:
    for f in findings:
        if f.act and not f.ok:
            _print_work(f)
    page = stdout()
    page.print(_by_invariant(findings) if verbose else _by_group(groups_of(findings)))
    for f in findings:
        if not f.act:
            _print_offenders(page, f)
    print_err(verdict_of(findings))
    print_err(f"next: {next_step(findings)}")


def _print_work(f: Finding) -> None:
    print_err(f"ACT: {f.says}")
    for offender in f.offending[:NAMED_MAX]:
        print_err(f"  {offender}")


def _print_offenders(page: Any, f: Finding) -> None:
    for offender in f.offending[:NAMED_MAX]:
        page.print(f"{f.name}: {offender}")


def groups_of(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    groups: dict[str, list[Finding]] = {}
    for f in findings:
        groups.setdefault(group_of(f), []).append(f)
    return groups


def group_of(finding: Finding) -> str:
    from services.cli.verify.cross_service_invariants import BETWEEN
    from services.schema import SERVICES

    if finding.act:
        return WORK
    if finding.name in {invariant.name for invariant in BETWEEN}:
        return BETWEEN_SERVICES
    if finding.name.startswith(_OUTSIDE):
        return OUTSIDE
    if finding.name.startswith(_TOPICS):
        return TOPICS
    service = finding.name.partition("_")[0]
    return service if service in SERVICES else finding.name


def _by_group(groups: Mapping[str, Sequence[Finding]]) -> Table:
    from rich.table import Table

    table = Table("", "group", "checks", "result", box=None)
    for name, findings in groups.items():
        judged = any(not f.skipped for f in findings)
        ok = all(f.ok for f in findings)
        mark = status_mark(ok if judged or not ok else None)
        table.add_row(mark, name, str(len(findings)), _result_of(name, findings))
    return table


def _result_of(name: str, findings: Sequence[Finding]) -> str:
    broken = ", ".join(f.name for f in findings if not f.ok)
    skipped = [f"{f.name} was not checked: {f.skipped}" for f in findings if f.skipped]
    if broken:
        first = f"see ACT above: {broken}" if name == WORK else f"{broken}: see below"
    elif len(skipped) == len(findings):
        return "; ".join(skipped)
    else:
        well = "nobody has to act" if name == WORK else "all hold"
        first = "the others hold" if skipped else well
    return "; ".join([first, *skipped])


def _by_invariant(findings: Sequence[Finding]) -> Table:
    from rich.table import Table

    table = Table("", "invariant", "broken by", box=None)
    for f in findings:
        broken_by = "" if f.ok else f"{len(f.offending)}: {f.says}"
        mark = status_mark(None if f.skipped else f.ok)
        table.add_row(mark, f.name, f.skipped or broken_by)
    return table


def verdict_of(findings: Sequence[Finding]) -> str:
    invariants = [f for f in findings if not f.act]
    broken = sum(not f.ok for f in invariants)
    judged = sum(not f.skipped for f in invariants)
    if broken:
        return f"{broken} of {len(invariants)} invariants are broken"
    if judged:
        return f"all {judged} invariants hold"
    reason = next((f.skipped for f in invariants), "there are none")
    return f"no invariant could be judged: {reason}"


def next_step(findings: Sequence[Finding]) -> str:
    if any(not f.ok and not f.act for f in findings):
        return (
            "`crossborder verify --json` lists every id; "
            "then docs/runbooks/CrossborderInvariantBroken.md"
        )
    if any(not f.ok for f in findings):
        return "do what the lines with ACT say, then `crossborder verify` again"
    return (
        "`crossborder verify --verbose` names each invariant, `crossborder watch` shows orders move"
    )
