"""`crossborder verify`: every invariant over the live databases and topics; what breaks one is named."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import typer

from services.cli.connect import Absent, Exit, Target, as_json, database, leave, mark, paper, run, say, target

SHOWN_MAX: Final = 1000
LOOK_AGAIN_S: Final = 0.5
ATTENTION: Final = ("programs", "held_orders", "open_cases", "set_aside")
"""Findings that are no invariants: somebody must act."""


@dataclass(frozen=True)
class Finding:
    """One invariant, judged. `skipped` says why it could not be judged here; then it is neither kept nor
    broken.
    """

    name: str
    says: str
    offending: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def ok(self) -> bool:
        return not self.offending


def register(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    json: bool = typer.Option(False, "--json", help="for machines"),
    wait: float = typer.Option(10.0, min=0, help="look again for so many seconds; what is under way is no violation"),
) -> None:
    """Check what runs and what waits for a person, then every invariant over the live databases and topics."""
    to = target()
    findings = run(_all(to, wait))
    ok = all(f.ok for f in findings)
    if json:
        as_json(as_document(findings))
    else:
        show(findings)
    if not ok:
        leave(Exit.NO)


async def _all(to: Target, wait_s: float) -> list[Finding]:
    found = await attend(to, wait_s)
    try:
        return [*found, *await judge(to, wait_s)]
    except Absent as absent:
        if found[0].ok:
            raise
        # What runs is known, and why nothing else can be judged is said with it.
        return [*found, Finding("invariants", "none could be judged", skipped=str(absent))]


async def attend(to: Target, wait_s: float = 10.0) -> list[Finding]:
    """Return what a person must act on; programs have `wait_s` seconds to become ready."""
    from services.cli import attention

    deadline = time.monotonic() + wait_s
    found = await attention.look(to)
    while not found[0].ok and time.monotonic() < deadline:
        await _pause()
        found = await attention.look(to)
    return found


def as_document(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as machines get them."""
    rows = [{**asdict(f), "ok": f.ok, "offending": list(f.offending[:SHOWN_MAX])} for f in findings]
    return {"ok": all(f.ok for f in findings), "violations": violations(findings), "invariants": rows}


def violations(findings: Sequence[Finding]) -> int:
    return sum(len(f.offending) for f in findings)


def show(findings: Sequence[Finding]) -> None:
    """Print who must act first, then a table of every invariant, and the offending ids of those that are broken."""
    from rich.table import Table

    for f in findings:
        if f.name in ATTENTION and not f.ok:
            say(f"ACT: {f.says}")
            for offender in f.offending[:20]:
                say(f"  {offender}")
    table = Table("", "invariant", "broken by", box=None)
    for f in findings:
        table.add_row(
            mark(None if f.skipped else f.ok), f.name, f.skipped or (f"{len(f.offending)}: {f.says}" if not f.ok else "")
        )
    page = paper()
    page.print(table)
    for f in findings:
        for offender in f.offending[:20] if f.name not in ATTENTION else ():
            page.print(f"{f.name}: {offender}")
    invariants = [f for f in findings if f.name not in ATTENTION]
    broken = sum(1 for f in invariants if not f.ok)
    kept = sum(1 for f in invariants if f.ok and not f.skipped)
    if not kept and not broken:
        say(f"no invariant could be judged: {next((f.skipped for f in invariants if f.skipped), 'there are none')}")
        return
    say(f"{broken} of {len(invariants)} invariants are broken" if broken else f"all {kept} invariants hold")


async def judge(to: Target, wait_s: float = 10.0) -> list[Finding]:
    """Every invariant. What offends in every look within `wait_s` seconds is broken; what passes is only
    under way.
    """
    deadline = time.monotonic() + wait_s
    found = await _look(to)
    while not all(f.ok for f in found) and time.monotonic() < deadline:
        await _pause()
        again = {f.name: f for f in await _look(to)}
        found = [_still(f, again[f.name]) for f in found]
    from services.cli import facts

    logs = await facts.judge(to)
    while not all(f.ok for f in logs) and time.monotonic() < deadline:
        await _pause()
        again = {f.name: f for f in await facts.judge(to)}
        logs = [_still(f, again[f.name]) for f in logs]
    return [*found, *logs]


def _still(before: Finding, now: Finding) -> Finding:
    remaining = set(now.offending)
    return replace(now, offending=tuple(o for o in before.offending if o in remaining))


async def _pause() -> None:
    import asyncio

    await asyncio.sleep(LOOK_AGAIN_S)


async def _look(to: Target) -> list[Finding]:
    from services.cli import witnesses

    found = await _tables(to)
    found += await _offsets(to)
    found += await witnesses.bank(to)
    found += await witnesses.authority(to)
    return found


async def _tables(to: Target) -> list[Finding]:
    """The services' own invariants, and those between services, all in one snapshot."""
    import asyncpg

    found = []
    async with database(to) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        for invariant in invariants():
            try:
                async with conn.transaction():
                    rows = await conn.fetch(invariant.sql)
            except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
                found.append(Finding(invariant.name, invariant.says, skipped=f"not migrated: {error}"))
                continue
            found.append(Finding(invariant.name, invariant.says, tuple(str(row[0]) for row in rows)))
    if all(f.skipped for f in found):
        raise Absent("run `crossborder migrate`: the database has none of the tables")
    return found


def invariants() -> list[Any]:
    """Those of each service that states any, then those that hold between services."""
    from importlib import import_module
    from importlib.util import find_spec

    from services.cli.between import BETWEEN, each_service
    from services.schema import SERVICES

    found: list[Any] = []
    for service in SERVICES:
        if find_spec(f"services.{service}.invariants") is not None:
            found += import_module(f"services.{service}.invariants").INVARIANTS
        found += each_service(service)
    return [*found, *BETWEEN]


async def _offsets(to: Target) -> list[Finding]:
    """Every record of every topic a service reads was handled: stored offsets stand at the ends."""
    from services.cli import lag, reading
    from shared.topics import TOPICS

    places = await lag.behind(to)
    # The stored offset is part of the name: a service that makes progress is not behind in every look.
    late = [f"{b.service} {b.topic}/{b.partition} at {b.next}" for b in places if b.records]
    waiting = await reading.open_transactions(to, [topic.name for topic in TOPICS if topic.readers])
    beyond = [f"{b.service} {b.topic}/{b.partition} at {b.next}, the log ends at {b.end}" for b in places if b.next > b.end]
    return [
        Finding("no_lag", "records wait although their service makes no progress", tuple(late)),
        Finding(
            "offsets_within_log",
            "a stored offset lies beyond the end of the log: the log was lost, or is another",
            tuple(beyond),
        ),
        # The offset is part of the name: a producer that ends one transaction and opens the next holds nobody back.
        Finding(
            "no_open_transaction",
            "a producer does not end its transaction, and nobody reads what was written behind it",
            tuple(f"{topic}/{part} from offset {stable}" for (topic, part), (stable, _) in sorted(waiting.items())),
        ),
    ]
