"""`crossborder demo`: orders of every kind through a new stack, against their expected ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from deploy.embedded import lock
from deploy.embedded.clean import DATA
from services.cli.connect import (
    Exit,
    RunningStack,
    UsageError,
    database,
    exit_with,
    home_of,
    print_err,
    run,
    status_mark,
    stdout,
    target,
)
from services.cli.demo.playback import LOOK_S, _play, bills_of, wrong_bills, wrong_of

if TYPE_CHECKING:
    from rich.table import Table

    from services.cli.samples import Cast, Play

DAY_S: Final = "0.5"
"""Seconds of a day in the demo's periods of tax bills.

A bill of the 1st day is paid on the 33rd before the demo ends.
A return requested after 15 s is within the 30 days.
"""
ORDERS_MIN: Final = 300
CONSOLIDATION_S: Final = 30.0
"""It takes two or three seconds; the bound is for a busy machine."""


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    keep: bool = typer.Option(False, "--keep", help="leave the stack running"),
    orders: int = typer.Option(ORDERS_MIN, min=1, max=100_000, help="least number of orders"),
    seed: int | None = typer.Option(None, help="the same seed makes the same orders"),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="a line for each invariant"),
) -> None:
    """Run orders of every kind through a new stack and verify it.

    The stack is stopped at the end, unless --keep is given.
    """
    from services.cli.demo import report
    from services.cli.stack import startup

    home = home_of(None) / "demo"
    _fresh(home)
    began = time.monotonic()
    os.environ.setdefault("CROSSBORDER_DAY_S", DAY_S)
    try:
        startup.start_detached(home)
        well = run(_demo(target(home), orders, seed, verbose=verbose))
    except BaseException:
        _stop(home)
        raise
    if not keep:
        _stop(home)
    for line in report.end_of(time.monotonic() - began, home, well=well, keeps_running=keep):
        print_err(line)
    if not well:
        exit_with(Exit.NO)


def _fresh(home: Path) -> None:
    """Delete the last demo's data: a demo begins with empty topics and tables."""
    if lock.runs(home):
        raise UsageError(
            f"stop the stack of the last demo first: `CROSSBORDER_HOME={home} crossborder down`"
        )
    for name in DATA:
        shutil.rmtree(home / name, ignore_errors=True)


def _stop(home: Path) -> None:
    from services.cli.stack import shutdown

    if lock.runs(home):
        print_err("stopping …")
        shutdown.stop(home)


async def _demo(to: RunningStack, orders: int, seed: int | None, *, verbose: bool) -> bool:
    from services.cli import samples
    from services.cli.demo import report
    from services.cli.verify import app as verify
    from services.cli.verify import report as verify_report

    play = samples.of_demo(orders, seed)
    print_err(f"publishing {len(play.casts)} orders of {len({c.kind for c in play.casts})} kinds …")
    ends = await _play(to, play)
    owed = await _consolidate(to)
    page = stdout()
    page.print(_kinds(play, ends))
    async with database(to) as conn:
        for title, rows in (await report.of_run(conn)).items():
            page.print(report.table(title, rows))
        bills = await bills_of(conn)
    findings = await verify.judge(to, 10.0)
    verify_report.show(findings, verbose=verbose)
    _urls(to)
    wrong = wrong_of(play, ends)
    for c in wrong[:20]:
        print_err(
            f"{c.order_no} ({c.title}): expected {' or '.join(c.expected)}, found "
            f"{ends.get(c.order_no, 'nothing')}"
        )
    wrongly_billed = wrong_bills(play, bills)
    for c in wrongly_billed[:20]:
        print_err(
            f"{c.order_no} ({c.title}): expected the bill {c.bill}, found "
            f"{bills.get(c.order_no, 'nothing')}"
        )
    if owed:
        print_err(f"{owed} export lists are in no closed declaration")
    return not wrong and not wrongly_billed and not owed and all(f.ok for f in findings)


async def _consolidate(to: RunningStack) -> int:
    """Consolidate all closed export lists before their rehearsed month is over.

    Waits until all are in closed declarations, and returns how many are not.
    """
    began = time.monotonic()
    async with database(to, write=True) as conn:
        await conn.execute(
            "INSERT INTO customs.month_asked SELECT DISTINCT month FROM customs.export_list "
            "WHERE state = 'open' ON CONFLICT DO NOTHING"
        )
        while (  # noqa: ASYNC110
            owed := await conn.fetchval(_UNCONSOLIDATED)
        ) and time.monotonic() - began < CONSOLIDATION_S:
            await asyncio.sleep(LOOK_S)
        return int(owed)


_UNCONSOLIDATED: Final = (
    "SELECT (SELECT count(*) FROM customs.export_list e JOIN customs.declaration d USING "
    "(order_id) LEFT JOIN customs.summary s "
    "USING (summary_id) WHERE (e.state = 'open' AND d.state IN ('released', 'closed')) OR "
    "s.state <> 'closed') "
    "+ (SELECT count(*) FROM customs.summary_word)"
)


def _urls(to: RunningStack) -> None:
    from services.cli.stack import app as stack

    for line in stack.urls(to.known):
        print_err(line)


def _kinds(play: Play, ends: Mapping[str, str]) -> Table:
    from rich.table import Table

    by_kind: dict[str, list[Cast]] = defaultdict(list)
    for c in play.casts:
        by_kind[c.title].append(c)
    wrong = set(wrong_of(play, ends))
    table = Table(
        "kind",
        "orders",
        "expected",
        "found",
        "",
        title="what became of each kind",
        title_justify="left",
        box=None,
    )
    for title, group in by_kind.items():
        ends_of_kind = Counter(ends.get(c.order_no, "nothing") for c in group)
        well = status_mark(not wrong & set(group))
        counted = ", ".join(f"{n} {end}" for end, n in sorted(ends_of_kind.items()))
        table.add_row(title, str(len(group)), " or ".join(group[0].expected), counted, well)
    return table
