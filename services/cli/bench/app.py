"""`crossborder bench`: orders a second through the whole stack, their cost, and bare limits."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import typer

from services.cli.connect import (
    Exit,
    RunningStack,
    Unreachable,
    as_json,
    database,
    exit_with,
    home_of,
    print_err,
    run,
    stack_file,
    stderr,
    target,
)

if TYPE_CHECKING:
    from services.cli.submission_files import Submission

STALLED_S: Final = 60.0
LOOK_MIN_S: Final = 0.25
LOOK_MAX_S: Final = 4.0


def register(app: typer.Typer) -> None:
    app.command()(bench)


def bench(
    orders: int = typer.Option(
        20_000, "--orders", "-n", min=1, max=5_000_000, help="how many orders"
    ),
    rate: float | None = typer.Option(
        None, min=0.1, help="orders a second; as fast as the stack takes them by default"
    ),
    seed: int | None = typer.Option(
        None, help="the same seed makes the same orders; by default each run makes others"
    ),
    raw: bool = typer.Option(True, help="measure the bare limits of broker and database too"),
    warm_up: int = typer.Option(
        2_000,
        min=0,
        max=100_000,
        help="orders that go before, unmeasured: what is measured is sustained",
    ),
    json: bool = typer.Option(False, "--json", help="no table, only JSON"),
) -> None:
    """Measure the stack; the last output on stdout is JSON.

    A stack is started in a temporary folder if none runs.
    """
    with running() as to:
        result = run(_bench(to, orders, rate, seed, raw, warm_up))
    if not json:
        _show(result)
    as_json(result)
    if result["violations"] or result["fulfilled"] != result["orders"]:
        exit_with(Exit.NO)


@contextlib.contextmanager
def running() -> Iterator[RunningStack]:
    """Yield the running stack, or one of its own that is stopped afterwards."""
    try:
        to = target()
    except Unreachable:
        to = None
    if to is not None:
        yield to
        return
    from services.cli.stack import shutdown, startup

    with tempfile.TemporaryDirectory(
        prefix="crossborder-bench-", ignore_cleanup_errors=True
    ) as folder:
        print_err(f"no stack runs in {home_of(None)}; starting one for this run")
        home = Path(folder)
        try:
            startup.start_detached(home)
            yield target(home)
        finally:
            if stack_file(home):
                shutdown.stop(home)


@dataclass(frozen=True)
class MeasuredRun:
    """A run and its cost: CPU seconds and MiB by program, records written to the log."""

    driven: Driven
    began_ms: int
    cpu_s: Mapping[str, float]
    rss_mib: Mapping[str, float]
    records: int


_NO_LIMITS: Final[Mapping[str, float | None]] = {
    "kafka_messages_per_second": None,
    "postgres_rows_per_second": None,
}


async def _limits(to: RunningStack) -> Mapping[str, float | None]:
    from services.cli.bench import measurement

    print_err("measuring the bare broker and database …")
    return {
        "kafka_messages_per_second": round(await measurement.raw_kafka(to)),
        "postgres_rows_per_second": round(await measurement.raw_postgres(to)),
    }


async def _measure(
    to: RunningStack, records: Sequence[Submission], rate: float | None
) -> MeasuredRun:
    from services.cli.bench import measurement

    began_ms = round(time.time() * 1000)
    before, log_before = measurement.cpu_seconds(to.known), await _log_end(to)
    peak = measurement.Peak(to.known)
    watching = asyncio.create_task(peak.watch())
    try:
        driven = await _drive(to, records, rate)
    finally:
        watching.cancel()
    peak.look()
    after = measurement.cpu_seconds(to.known)
    cpu_s = {name: after[name] - before.get(name, 0.0) for name in after}
    return MeasuredRun(driven, began_ms, cpu_s, peak.mib, await _log_end(to) - log_before)


async def _violations(to: RunningStack) -> int:
    from services.cli.verify import app as verify
    from services.cli.verify import report

    print_err("verifying …")
    findings = await verify.judge(to, 20.0)
    for finding in findings:
        if not finding.ok:
            print_err(f"{finding.name}: {len(finding.offending)} ({finding.offending[0]})")
    return report.violations(findings)


async def _bench(
    to: RunningStack, count: int, rate: float | None, seed: int | None, raw: bool, warm_up: int
) -> dict[str, Any]:
    from services.cli import samples
    from services.cli.bench import measurement
    from services.cli.order import counts

    limits = await _limits(to) if raw else _NO_LIMITS
    walks = [await measurement.host_walks()] if raw else []
    print_err(f"making {warm_up + count} orders …")
    records = samples.samples(None, warm_up + count, seed)
    if warm_up:
        print_err(f"{warm_up} orders go before, so that nothing is measured cold …")
        await _drive(to, records[:warm_up], None)
        records = records[warm_up:]
    run_ = await _measure(to, records, rate)
    walks += [await measurement.host_walks()] if raw else []
    driven = run_.driven
    fulfilled = driven.states.get("fulfilled", 0)
    # A refused order went only part of the way: it does not count as done.
    per_second = fulfilled / driven.seconds if driven.seconds else 0.0
    written = run_.records / count
    print_err("reading the log for the time that was our own …")
    own = await measurement.own_ms(to, run_.began_ms)
    violations = await _violations(to)
    bare = limits["kafka_messages_per_second"]
    return {
        "orders": count,
        "warm_up": warm_up,
        "orders_per_second": round(per_second, 1),
        "seconds": round(driven.seconds, 2),
        "fulfilled": fulfilled,
        "open": count - counts.ended(driven.states),
        "own_time_p50_ms": measurement.quantile(own, 0.50),
        "own_time_p99_ms": measurement.quantile(own, 0.99),
        "raw": limits,
        # Before and after: a difference between runs may come from the host.
        "host_walks_per_second": [round(each) for each in walks],
        "records_per_order": round(written, 1),
        # Records of the run against messages of the bare broker.
        "ratio_to_raw": round(per_second * written / bare, 3) if bare else None,
        "cpu_seconds_per_1000_orders": {
            name: round(seconds * 1000 / count, 2) for name, seconds in run_.cpu_s.items()
        },
        "rss_mib": run_.rss_mib,
        "violations": violations,
    }


@dataclass(frozen=True)
class Driven:
    """Seconds from the first send to the last end, and the run's own orders by state."""

    seconds: float
    states: Mapping[str, int]


async def _drive(to: RunningStack, records: Sequence[Submission], rate: float | None) -> Driven:
    from services.cli import publish
    from services.cli.order import counts

    ids = [r.order_id for r in records if r.order_id is not None]
    async with database(to) as conn:
        already = counts.ended(await counts.by_state(conn))
        with publish.progress(len(ids), "orders at their end", show=True) as advance:
            began = time.monotonic()
            publishing = asyncio.create_task(publish.send(to, records, rate, lambda _n: None))
            ended, moved = 0, began
            while ended < len(ids) and (
                time.monotonic() - moved < STALLED_S or not publishing.done()
            ):
                await asyncio.sleep(_until_next_look(time.monotonic() - began, ended, len(ids)))
                now = await _ended(conn, ids, already)
                ended, moved = (now, time.monotonic()) if now != ended else (ended, moved)
                advance(ended)
            await publishing
            return Driven(moved - began, await counts.by_state(conn, ids))


async def _ended(conn: Any, ids: Sequence[UUID], already: int) -> int:
    """Return how many of these orders are at an end.

    While the run is going all ended orders less `already` are counted, in one scan.
    Counting by id costs more and is left for the end, where it is the result.
    """
    from services.cli.order import counts

    ended_count = counts.ended(await counts.by_state(conn)) - already
    return ended_count if ended_count < len(ids) else counts.ended(await counts.by_state(conn, ids))


def _until_next_look(elapsed_s: float, ended: int, of: int) -> float:
    """Return seconds until the next look: a third of the time left at the pace so far.

    Looks disturb what is measured, so they are few on the way and many at the end.
    """
    left_s = elapsed_s * (of - ended) / ended if ended else elapsed_s
    return min(LOOK_MAX_S, max(LOOK_MIN_S, left_s / 3))


async def _log_end(to: RunningStack) -> int:
    from services.cli import topic_reader
    from shared.topics import TOPICS

    return sum(end for _, end in (await topic_reader.ends(to, [t.name for t in TOPICS])).values())


def _show(result: Mapping[str, Any]) -> None:
    from rich.table import Table

    head = Table("figure", "value", box=None)
    for name in (
        "orders",
        "orders_per_second",
        "seconds",
        "fulfilled",
        "open",
        "own_time_p50_ms",
        "own_time_p99_ms",
        "records_per_order",
        "ratio_to_raw",
        "violations",
    ):
        head.add_row(name.replace("_", " "), str(result[name]))
    for name, value in result["raw"].items():
        head.add_row(f"raw {name.replace('_', ' ')}", str(value))
    head.add_row(
        "host walks per second, before and after",
        ", ".join(map(str, result["host_walks_per_second"])),
    )
    costs = Table("process", "CPU s per 1000 orders", "MiB", box=None)
    for name, cpu in result["cpu_seconds_per_1000_orders"].items():
        costs.add_row(name, str(cpu), str(result["rss_mib"].get(name, "")))
    console = stderr()
    console.print(head)
    console.print(costs)
