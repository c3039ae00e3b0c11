"""`crossborder restart`: one program at a time, the next once the last has read its backlog."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import typer

from services.cli.connect import (
    HOME,
    Exit,
    RunningStack,
    Unreachable,
    UsageError,
    as_json,
    exit_with,
    home_of,
    none_runs,
    print_err,
    run,
    stack_file,
    target,
)
from services.cli.stack.readiness import is_alive, is_ready
from services.cli.stack.shutdown import tell

READY_S: Final = 60.0
BACK_S: Final = 15.0
"""Most seconds for reading the backlog after a restart."""
LOOK_S: Final = 0.1
READERS: Final = ("orders", "payments", "tax", "customs")
"""Programs whose offsets are in the database; the others only have to be ready."""


@dataclass(frozen=True)
class Restart:
    """Seconds until a program had ended, was ready again, and had read its backlog."""

    program: str
    ended_s: float
    ready_s: float
    caught_up_s: float | None

    @property
    def well(self) -> bool:
        return self.caught_up_s is None or self.caught_up_s <= self.ready_s + BACK_S

    def sentence(self) -> str:
        back = "" if self.caught_up_s is None else f", caught up after {self.caught_up_s:.1f} s"
        ended, ready = f"ended after {self.ended_s:.1f} s", f"ready after {self.ready_s:.1f} s"
        return f"{self.program:<10} {ended}, {ready}{back}"


def register(app: typer.Typer) -> None:
    app.command()(restart)


def restart(
    programs: list[str] = typer.Argument(
        None, help="which; by default every service and the sandboxes, each in turn"
    ),
    home: Path | None = HOME,
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Restart programs of the embedded stack one by one under load.

    Use it for a new release or a new secret.
    Each program is stopped and started, and must read its backlog before the next one follows.
    Exit 1 if a program took more than 15 s to read its backlog.
    A new setting needs `crossborder down` and `crossborder up`.
    Programs keep the environment of the `up` that started them.
    """
    chosen = _choose(home_of(home), programs)
    done = run(roll(target(home), chosen))
    if json:
        as_json([asdict(each) | {"well": each.well} for each in done])
    else:
        for each in done:
            print(each.sentence())
    if slow := [each.program for each in done if not each.well]:
        logs = ", ".join(slow)
        print_err(f"look at the logs of {logs}: behind for more than {BACK_S:.0f} s")
        exit_with(Exit.NO)


def _choose(folder: Path, programs: Sequence[str]) -> list[str]:
    """Return the programs to restart; raise UsageError for one that does not run here."""
    running = stack_file(folder)
    if not running:
        raise none_runs(folder)
    there = [name for name in running["programs"] if name not in {"kafka", "postgres"}]
    if unknown := sorted(set(programs or ()) - set(there)):
        raise UsageError(f"choose among {', '.join(there)}: {', '.join(unknown)} does not run here")
    chosen = list(programs or there)
    for name in chosen:
        _require_started(running["programs"][name], name)
    return chosen


async def roll(to: RunningStack, programs: list[str]) -> list[Restart]:
    """Restart programs in turn; raise Unreachable for one that does not become ready."""
    return [await _one(to, name) for name in programs]


async def _one(to: RunningStack, name: str) -> Restart:
    began = time.monotonic()
    before = _pid(to.known, name)
    if before is not None:
        tell(before, signal.SIGTERM)
    deadline = began + READY_S
    while before is not None and is_alive(before) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)
    ended = time.monotonic() - began
    await _until_ready(to, name, before, deadline)
    ready = time.monotonic() - began
    if name not in READERS:
        return Restart(name, ended, ready, None)
    await caught_up(to, name)
    return Restart(name, ended, ready, time.monotonic() - began)


async def caught_up(to: RunningStack, name: str) -> float:
    """Wait until the service has handled all that is in the log now; return the seconds."""
    began = time.monotonic()
    marks = await _ends(to, name)
    while waits := await _behind(to, name, marks):
        if time.monotonic() - began > READY_S:
            raise Unreachable(
                f"look at the log of {name}: what was in the topics {READY_S:.0f} s ago is not "
                f"handled yet, {', '.join(waits[:5])}"
            )
        await asyncio.sleep(LOOK_S)
    return time.monotonic() - began


def _require_started(program: Mapping[str, Any], name: str) -> None:
    """Raise Unreachable if the supervisor has given the program up: only a person can mend that."""
    if program["state"] == "failed":
        raise Unreachable(
            f"mend what the end of {program['log']} says, then `crossborder down` and "
            f"`crossborder up`: {name} does not start"
        )


async def _until_ready(to: RunningStack, name: str, before: int | None, deadline: float) -> None:
    import aiohttp

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while time.monotonic() < deadline:
            running = to.known
            if not running:
                raise none_runs(to.home)
            _require_started(running["programs"][name], name)
            if _pid(running, name) not in {None, before} and await is_ready(
                session, running["ports"][name]
            ):
                return
            await asyncio.sleep(LOOK_S)
    raise Unreachable(
        f"look at the log of {name}: it was not ready {READY_S:.0f} s after it was told to stop"
    )


async def _ends(to: RunningStack, name: str) -> dict[tuple[str, int], int]:
    """Return the end of each partition that the service reads; print open transactions."""
    from services.cli import lag, topic_reader

    end_by_place = {b.place: b.end for b in await lag.partition_lags(to) if b.service == name}
    for line in await topic_reader.held_back(to, sorted({topic for topic, _ in end_by_place})):
        print_err(f"{name} is not waited for there: {line}")
    return end_by_place


async def _behind(to: RunningStack, name: str, marks: Mapping[tuple[str, int], int]) -> list[str]:
    from services.cli import lag
    from services.cli.connect import database

    async with database(to) as conn:
        stored = (await lag.offsets(conn))[name]
    late = [
        lag.PartitionLag(name, *place, stored.get(place, 0), 0, end)
        for place, end in marks.items()
        if stored.get(place, 0) < end
    ]
    return [
        f"{b.topic}/{b.partition} at {b.next} of {b.end}"
        for b in await lag.skip_marks(to, late)
        if b.records
    ]


def _pid(running: Mapping[str, Any], name: str) -> int | None:
    pid = running.get("programs", {}).get(name, {}).get("pid")
    return int(pid) if pid else None
