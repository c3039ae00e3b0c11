"""`crossborder demo`: the whole stack in a minute, orders of every kind against their expected ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
    stderr,
    stdout,
    target,
)

if TYPE_CHECKING:
    from rich.table import Table

    from services.cli.samples import Cast, Play, Step

BOUND_S: Final = 45.0
DAY_S: Final = "0.5"
"""Seconds a day lasts in the demo's periods of tax bills, so that a bill of the 1st day is paid on the 33rd before it ends,
and goods asked back after 15 s are within the 30 days."""
LOOK_S: Final = 0.2
DEAD_LETTER: Final = "dead-letter"
ORDERS_MIN: Final = 300
CONSOLIDATION_S: Final = 30.0
"""What takes two or three seconds; the bound is for a machine that is busy with something else."""


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    keep: bool = typer.Option(False, "--keep", help="leave the stack running"),
    orders: int = typer.Option(ORDERS_MIN, min=1, max=100_000, help="at least so many orders"),
    seed: int | None = typer.Option(None, help="the same seed makes the same orders"),
) -> None:
    """Start everything, publish orders of every kind, show what becomes of each, verify, and stop."""
    from services.cli.stack import app as stack

    home = home_of(None) / "demo"
    _fresh(home)
    began = time.monotonic()
    os.environ.setdefault("CROSSBORDER_DAY_S", DAY_S)
    try:
        stack.start_detached(home)
        well = run(_demo(target(home), orders, seed))
    except BaseException:
        _stop(home)
        raise
    if keep:
        print_err(
            f"the stack stays up: `CROSSBORDER_HOME={home} crossborder status`, `CROSSBORDER_HOME={home} crossborder down`"
        )
    else:
        _stop(home)
    print_err(f"{'done' if well else 'NOT as expected'} in {time.monotonic() - began:.0f} s")
    if not well:
        exit_with(Exit.NO)


def _fresh(home: Path) -> None:
    """A demo begins with empty topics and tables; the one before is deleted."""
    if lock.runs(home):
        raise UsageError(
            f"stop the stack of the last demo first: `CROSSBORDER_HOME={home} crossborder down`"
        )
    for name in DATA:
        shutil.rmtree(home / name, ignore_errors=True)


def _stop(home: Path) -> None:
    from services.cli.stack import app as stack

    if lock.runs(home):
        print_err("stopping …")
        stack.stop(home)


async def _demo(to: RunningStack, orders: int, seed: int | None) -> bool:
    from services.cli import samples
    from services.cli.demo import report
    from services.cli.verify import app as verify

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
    verify.show(findings)
    _urls(to)
    wrong = wrong_of(play, ends)
    for c in wrong[:20]:
        print_err(
            f"{c.order_no} ({c.title}): expected {' or '.join(c.expected)}, found {ends.get(c.order_no, 'nothing')}"
        )
    wrongly_billed = wrong_bills(play, bills)
    for c in wrongly_billed[:20]:
        print_err(
            f"{c.order_no} ({c.title}): expected the bill {c.bill}, found {bills.get(c.order_no, 'nothing')}"
        )
    if owed:
        print_err(f"{owed} export lists are in no closed declaration")
    return not wrong and not wrongly_billed and not owed and all(f.ok for f in findings)


async def _consolidate(to: RunningStack) -> int:
    """Have the closed export lists asked for before their rehearsed month is over, and wait until all are in closed declarations.

    Returns how many are not.
    """
    began = time.monotonic()
    async with database(to, write=True) as conn:
        await conn.execute(
            "INSERT INTO customs.month_asked SELECT DISTINCT month FROM customs.export_list WHERE state = 'open' ON CONFLICT DO NOTHING"
        )
        while (  # noqa: ASYNC110
            owed := await conn.fetchval(_UNCONSOLIDATED)
        ) and time.monotonic() - began < CONSOLIDATION_S:
            await asyncio.sleep(LOOK_S)
        return int(owed)


_UNCONSOLIDATED: Final = (
    "SELECT (SELECT count(*) FROM customs.export_list e JOIN customs.declaration d USING (order_id) LEFT JOIN customs.summary s "
    "USING (summary_id) WHERE (e.state = 'open' AND d.state IN ('released', 'closed')) OR s.state <> 'closed') "
    "+ (SELECT count(*) FROM customs.summary_word)"
)


def wrong_of(play: Play, ends: Mapping[str, str]) -> list[Cast]:
    """The orders that are not at an end that is right for them, or for how many of their case."""
    wrong = [c for c in play.casts if ends.get(c.order_no) not in c.expected]
    for case, counts in play.counts.items():
        of_case = [c for c in play.casts if c.case == case]
        if Counter(ends.get(c.order_no) for c in of_case) != counts:
            wrong += [c for c in of_case if c not in wrong]
    return wrong


def wrong_bills(play: Play, bills: Mapping[str, str]) -> list[Cast]:
    """The orders whose tax bill is not where it must be."""
    return [c for c in play.casts if c.bill is not None and bills.get(c.order_no) != c.bill]


async def bills_of(conn: Any) -> dict[str, str]:
    """What became of each order's tax bill: a person's case, else how its payment stands and who bears the difference."""
    rows = await conn.fetch(
        "SELECT o.order_no, k.reason, d.state, d.outcome FROM orders.orders o LEFT JOIN payments.tax_due d USING (order_id) "
        "LEFT JOIN tax.bill_case k ON k.order_id = o.order_id AND k.closed_at IS NULL WHERE k.reason IS NOT NULL OR d.state IS NOT NULL"
    )
    return {
        r["order_no"]: f"a person: {r['reason']}"
        if r["reason"]
        else f"{r['state']}, {r['outcome']}"
        for r in rows
    }


def _urls(to: RunningStack) -> None:
    from services.cli.stack import app as stack

    for line in stack.urls(to.known):
        print_err(line)


async def _play(to: RunningStack, play: Play) -> dict[str, str]:
    """Publish every step when its moment has come, show the orders move, and come back when each is at its end."""
    from rich.live import Live

    from services.cli import samples
    from services.cli.order import counts

    pending, ends = list(play.steps), dict[str, str]()
    began = time.monotonic()
    console = stderr()
    async with database(to) as conn:
        with Live(console=console, auto_refresh=False, transient=not console.is_terminal) as live:
            while time.monotonic() - began < BOUND_S:
                states = await _states(conn)
                said = await samples.said_of(conn, pending)
                await _settle(to, conn, play)
                pending = await _publish_due(to, pending, states, said, time.monotonic() - began)
                ends = await _ends(to, play, states)
                if console.is_terminal:
                    live.update(
                        counts.table(Counter(states.values()), _progress(play, ends)), refresh=True
                    )
                if (
                    not pending
                    and not wrong_of(play, ends)
                    and not wrong_bills(play, await bills_of(conn))
                ):
                    break
                await asyncio.sleep(LOOK_S)
        return await _ends(to, play, await _states(conn), letters=True)


_OPEN: Final = (
    "SELECT k.number, k.kind, o.order_no FROM payments.cases k JOIN orders.orders o USING (order_id) "
    "WHERE k.closed_at IS NULL ORDER BY k.number"
)


async def _settle(to: RunningStack, conn: Any, play: Play) -> None:
    """Be the person who settles what only a person can."""
    from services.cli.payments.app import settle_case
    from services.payments.bank_commands.settlement import NotSettled, Verdict

    verdicts = {c.order_no: c.verdict for c in play.casts if c.verdict}
    for row in await conn.fetch(_OPEN):
        if (word := verdicts.get(row["order_no"])) is None:
            continue
        # The bank's answer may be on its way still; the next look will find it.
        with contextlib.suppress(NotSettled):
            await settle_case(to, row["number"], Verdict(word), "the bank was asked (demo)")
            print_err(
                f"settled as a person would: `crossborder payments cases settle {row['number']} {word}` ({row['kind']})"
            )


def _progress(play: Play, ends: Mapping[str, str]) -> dict[str, str]:
    at_end = len(play.casts) - len(wrong_of(play, ends))
    return {"at their expected end:": f"{at_end} of {len(play.casts)}"}


async def _states(conn: Any) -> dict[str, str]:
    return {
        row["order_no"]: row["state"]
        for row in await conn.fetch("SELECT order_no, state FROM orders.orders")
    }


async def _publish_due(
    to: RunningStack,
    pending: list[Step],
    states: Mapping[str, str],
    said: Mapping[str, Collection[str]],
    elapsed_s: float,
) -> list[Step]:
    from services.cli import publish

    due = [
        s for s in pending if s.is_due(elapsed_s, states.get(s.order_no), said.get(s.order_no, ()))
    ]
    if due:
        await publish.send(
            to, [replace(step.record, after_s=0.0) for step in due], None, lambda _n: None
        )
    return [step for step in pending if step not in due]


async def _ends(
    to: RunningStack, play: Play, states: Mapping[str, str], *, letters: bool = False
) -> dict[str, str]:
    """Where each order is; those that never became orders are looked for among the dead letters once the rest is done."""
    from services.cli import dlq

    found = {c.order_no: states[c.order_no] for c in play.casts if c.order_no in states}
    if letters or all(
        found.get(c.order_no) in c.expected or DEAD_LETTER in c.expected for c in play.casts
    ):
        keys = {
            (letter.record.key or b"").decode("utf-8", "replace")
            for letter in await dlq.letters_of(to)
        }
        found |= {
            c.order_no: DEAD_LETTER
            for c in play.casts
            if c.order_no in keys and c.order_no not in found
        }
    return found


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
        found = Counter(ends.get(c.order_no, "nothing") for c in group)
        well = status_mark(not wrong & set(group))
        counted = ", ".join(f"{n} {end}" for end, n in sorted(found.items()))
        table.add_row(title, str(len(group)), " or ".join(group[0].expected), counted, well)
    return table
