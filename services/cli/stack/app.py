"""`crossborder up`, `down`, `status`: the embedded stack, in the foreground or detached."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from deploy.embedded import lock
from services.cli.connect import (
    HOME,
    Exit,
    as_json,
    exit_with,
    home_of,
    none_runs,
    print_err,
    run,
    stack_file,
    stdout,
)
from services.cli.stack import readiness
from services.cli.stack.readiness import WaitReport, not_ready, until_ready
from services.cli.stack.shutdown import down
from services.cli.stack.startup import start_detached

if TYPE_CHECKING:
    from deploy.embedded.stack import Stack


def register(app: typer.Typer) -> None:
    for command in (up, down, status):
        app.command()(command)


def up(
    detach: bool = typer.Option(False, "--detach", "-d", help="come back once everything is up"),
    home: Path | None = HOME,
    secured: bool = typer.Option(
        False,
        "--secured",
        help="with TLS, a user and rights for each program on the broker, and passwords in the "
        "database",
    ),
    probe: bool = typer.Option(
        False, "--probe", help="with a synthetic order a minute, as in containers"
    ),
) -> None:
    """Start Kafka, PostgreSQL, the services and the sandboxes.

    Ctrl-C stops everything.
    With --detach the command ends once everything is up; `crossborder down` stops it.
    """
    folder = home_of(home)
    if detach:
        start_detached(folder, secured=secured, probe=probe)
    elif not run(_foreground(folder, secured=secured, probe=probe)):
        exit_with(Exit.UNREACHABLE)


def make(
    home: Path, env: Mapping[str, str] | None = None, *, secured: bool = False, probe: bool = False
) -> Stack:
    """Make a stack of all installed programs and its keys; the prober only if wanted."""
    from deploy.embedded.programs import MODULES, OPTIONAL
    from deploy.embedded.stack import Stack
    from services.cli.stack.setup import make_keys

    # A new broker lets clients ask for its topics twice; nobody can do anything about that.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    lock.make_folder(home)
    make_keys(home / "keys")
    programs = [name for name, module in MODULES.items() if is_there(module)]
    for name in sorted(set(MODULES) - set(programs)):
        print_err(f"{name} is not part of this installation and is left out")
    programs = [name for name in programs if probe or name not in OPTIONAL]
    return Stack(home=home, programs=programs, report=print_err, env=env or {}, secured=secured)


def is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None and (
            not module.endswith("sandbox") or find_spec(f"{module}.__main__") is not None
        )
    except ModuleNotFoundError:
        return False


async def _foreground(home: Path, *, secured: bool = False, probe: bool = False) -> bool:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    stack = make(home, secured=secured, probe=probe)
    print_err("starting Kafka and PostgreSQL …")
    starting = asyncio.create_task(stack.start())
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return True
    await starting
    return await _keep(stack, stop)


async def _keep(stack: Stack, stop: asyncio.Event) -> bool:
    losing = asyncio.create_task(_stop_if_lost(stack, stop))
    missing: list[str] = []
    try:
        late = await until_ready(stack, stop, report=WaitReport(print_err))
        if not stop.is_set():
            missing = late
            for line in urls(stack_file(stack.home)):
                print_err(line)
            print_err(
                "up; Ctrl-C or `crossborder down` stops everything"
                if not missing
                else not_ready(stack, missing)
            )
        await stop.wait()
    finally:
        print_err("stopping …")
        losing.cancel()
        await stack.stop()
    return not missing and not stack.lost.is_set()


async def _stop_if_lost(stack: Stack, stop: asyncio.Event) -> None:
    await stack.lost.wait()
    stop.set()


def urls(running: Mapping[str, Any]) -> list[str]:
    ports = running.get("ports", {})
    programs = [name for name in running.get("programs", {}) if name in ports and name != "kafka"]
    lines = [f"kafka      {running.get('kafka', '')}", f"postgres   {running.get('postgres', '')}"]
    lines += [f"{name:<10} http://127.0.0.1:{ports[name]}/metrics" for name in programs]
    return (
        [*lines, f"bank       {running['bank_url']}/v1/statement"]
        if running.get("bank_url")
        else lines
    )


def status(
    json: bool = typer.Option(False, "--json", help="for machines"), home: Path | None = HOME
) -> None:
    """Show what runs in the embedded stack, and at which address."""
    folder = home_of(home)
    running = stack_file(folder)
    if not running:
        if json:
            as_json({"running": False, "home": str(folder), "programs": []})
        raise none_runs(folder)
    programs = run(readiness.programs(running))
    if json:
        names = ("home", "kafka", "postgres")
        as_json(
            {"running": True}
            | {name: running[name] for name in names}
            | {"bank_url": running.get("bank_url"), "programs": programs}
        )
    else:
        show_status(programs, running)
    if not all(is_well(program) for program in programs):
        exit_with(Exit.NO)


def is_well(program: Mapping[str, Any]) -> bool:
    return program["state"] == "running" and program["ready"] is not False


def show_status(programs: Sequence[Mapping[str, Any]], running: Mapping[str, Any]) -> None:
    from rich.table import Table

    table = Table("program", "state", "ready", "process", "restarts", "port", "log", box=None)
    for p in programs:
        ready = {True: "yes", False: "no", None: ""}[p["ready"]]
        pid, port = str(p["pid"] or ""), str(p["port"] or "")
        table.add_row(p["name"], p["state"], ready, pid, str(p["restarts"]), port, p["log"])
    stdout().print(table)
    for line in urls(running):
        print_err(line)
    if bad := [p["name"] for p in programs if not is_well(p)]:
        print_err(f"next: look at the end of the log of {', '.join(bad)}")
