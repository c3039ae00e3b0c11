"""`crossborder up`, `down`, `status`: the embedded stack, in the foreground or detached."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import typer

from deploy.embedded import lock
from services.cli.connect import (
    HOME,
    Exit,
    Unreachable,
    UsageError,
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

if TYPE_CHECKING:
    from deploy.embedded.stack import Stack

READY_S: Final = 60.0
FIRST_S: Final = 240.0
"""The very first start fetches Kafka's jars."""
DOWN_S: Final = 45.0
NOT_READY: Final = "did not become ready"


def register(app: typer.Typer) -> None:
    for command in (up, down, status):
        app.command()(command)


def up(
    detach: bool = typer.Option(False, "--detach", "-d", help="come back once everything is up"),
    home: Path | None = HOME,
    secured: bool = typer.Option(
        False,
        "--secured",
        help="with TLS, a user and rights for each program on the broker, and passwords in the database",
    ),
    probe: bool = typer.Option(
        False, "--probe", help="with a synthetic order a minute, as in containers"
    ),
) -> None:
    """Start Kafka, PostgreSQL, the services and the sandboxes; Ctrl-C stops them."""
    folder = home_of(home)
    if detach:
        start_detached(folder, secured=secured, probe=probe)
    elif not run(_foreground(folder, secured=secured, probe=probe)):
        exit_with(Exit.UNREACHABLE)


def make(
    home: Path, env: Mapping[str, str] | None = None, *, secured: bool = False, probe: bool = False
) -> Stack:
    """A stack of all programs that are part of this installation, with its keys made; the prober only if asked for."""
    from deploy.embedded.stack import MODULES, OPTIONAL, Stack
    from services.cli.stack.setup import make_keys

    # A broker that has just made its topics lets clients ask twice; nobody can do anything about that.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    lock.make_folder(home)
    make_keys(home / "keys")
    programs = [name for name, module in MODULES.items() if is_there(module)]
    for name in sorted(set(MODULES) - set(programs)):
        print_err(f"{name} is not part of this installation and is left out")
    programs = [name for name in programs if probe or name not in OPTIONAL]
    return Stack(home=home, programs=programs, told=print_err, env=env or {}, secured=secured)


def is_there(module: str) -> bool:
    """Whether the module, or the package's `__main__`, can be run."""
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
    """Keep a started stack until it is told to stop or is lost; whether it was well until then."""
    losing = asyncio.create_task(_stop_if_lost(stack, stop))
    missing: list[str] = []
    try:
        found = await until_ready(stack, stop)
        if not stop.is_set():
            missing = found
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


def not_ready(stack: Stack, missing: Sequence[str]) -> str:
    """What to do about programs that do not become ready."""
    logs = ", ".join(str(stack.logs / f"{name}.log") for name in missing)
    return f"look at {logs}: {', '.join(missing)} {NOT_READY} in {READY_S:.0f} s"


async def until_ready(
    stack: Stack, stop: asyncio.Event | None = None, timeout_s: float = READY_S
) -> list[str]:
    """Wait until every program answers that it is ready; returns those that do not in time."""
    import aiohttp

    ports = {name: stack.ports[name] for name in stack.programs}
    deadline = time.monotonic() + timeout_s
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while ports and time.monotonic() < deadline and not (stop and stop.is_set()):
            for name in [n for n, port in ports.items() if n == "streams" or not port]:
                # The streams worker is never in the way of an order, so nobody waits for it.
                ports.pop(name)
            answers = await asyncio.gather(
                *(readiness.is_ready(session, port) for port in ports.values())
            )
            ports = {
                name: port
                for (name, port), ready in zip(ports.items(), answers, strict=True)
                if not ready
            }
            if ports:
                await asyncio.sleep(0.1)
    return sorted(ports)


def urls(found: Mapping[str, Any]) -> list[str]:
    """Where everything of a running stack answers, one line each."""
    ports = found.get("ports", {})
    programs = [name for name in found.get("programs", {}) if name in ports and name != "kafka"]
    lines = [f"kafka      {found.get('kafka', '')}", f"postgres   {found.get('postgres', '')}"]
    lines += [f"{name:<10} http://127.0.0.1:{ports[name]}/metrics" for name in programs]
    return (
        [*lines, f"bank       {found['bank_url']}/v1/statement"] if found.get("bank_url") else lines
    )


class Started(Protocol):
    """A process of which is asked whether it has ended, and with which status."""

    pid: int

    def poll(self) -> int | None: ...


def start_detached(home: Path, *, secured: bool = False, probe: bool = False) -> None:
    """Start a stack in a process of its own and wait until it is up; raises what `up` would have said."""
    if stack_file(home):
        print_err(f"a stack runs in {home} already; `crossborder status` shows it")
        return
    if lock.runs(home):
        raise none_runs(home)
    lock.make_folder(home / "logs")
    # Another `up` of this moment may have the folder, and its log is its own: this one gets that name with the lock.
    draft = home / "logs" / f"up.{os.getpid()}.part"
    options = [*(["--secured"] if secured else []), *(["--probe"] if probe else [])]
    with draft.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "services", "up", "--home", str(home), *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_up(home, child, draft)
    except BaseException:
        if child.poll() is None:
            child.terminate()
        raise
    finally:
        draft.unlink(missing_ok=True)


def _await_up(home: Path, child: Started, draft: Path) -> None:
    log = draft
    deadline = time.monotonic() + READY_S + FIRST_S
    told = 0
    while time.monotonic() < deadline:
        if log == draft and lock.holder(home) == child.pid:
            log = draft.replace(home / "logs" / "up.log")
        ended = child.poll()
        text = log.read_text(errors="replace")
        if ended is not None:
            if ended == Exit.WRONG:
                raise UsageError(text[told:].strip())
            raise Unreachable(
                text[told:].strip()
                or f"look at {home / 'logs'}: the stack ended with status {ended}"
            )
        whole = text.rfind("\n") + 1
        print(text[told:whole], end="", file=sys.stderr, flush=True)
        told = max(told, whole)
        if "\nup;" in text:
            return
        if NOT_READY in text:
            stop(home)
            raise Unreachable(
                f"look at {home / 'logs'}: the stack was not ready in time and was stopped"
            )
        time.sleep(0.05)
    raise Unreachable(f"look at {home / 'logs'}: the stack was not up in time")


def down(home: Path | None = HOME) -> None:
    """Stop the embedded stack."""
    folder = home_of(home)
    print_err("stopped" if stop(folder) else f"no stack runs in {folder}")


def stop(home: Path) -> bool:
    """Stop the stack of this folder, also one that is just starting; False if none runs."""
    if not lock.runs(home):
        return False
    pid = lock.holder(home)
    if pid is None:
        raise none_runs(home)
    tell(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_S
    while lock.holder(home) == pid:
        if time.monotonic() > deadline:
            raise Unreachable(
                f"look at {home / 'logs'}: process {pid} did not end in {DOWN_S:.0f} s"
            )
        time.sleep(0.05)
    return True


def tell(pid: int, number: signal.Signals) -> None:
    """Send a process of the stack a signal, if it still runs; raises Wrong if it is not this user's."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise UsageError(
            f"do this as the user whose stack it is: process {pid} is another user's"
        ) from None


def status(
    json: bool = typer.Option(False, "--json", help="for machines"), home: Path | None = HOME
) -> None:
    """Say what of the embedded stack runs, and where."""
    folder = home_of(home)
    found = stack_file(folder)
    if not found:
        if json:
            as_json({"running": False, "home": str(folder), "programs": []})
        raise none_runs(folder)
    programs = run(readiness.programs(found))
    well = all(p["state"] == "running" and p["ready"] is not False for p in programs)
    if json:
        as_json(
            {
                "running": True,
                "home": found["home"],
                "kafka": found["kafka"],
                "postgres": found["postgres"],
                "bank_url": found.get("bank_url"),
                "programs": programs,
            }
        )
    else:
        from rich.table import Table

        table = Table("program", "state", "ready", "process", "restarts", "port", "log", box=None)
        for p in programs:
            ready = {True: "yes", False: "no", None: ""}[p["ready"]]
            table.add_row(
                p["name"],
                p["state"],
                ready,
                str(p["pid"] or ""),
                str(p["restarts"]),
                str(p["port"] or ""),
                p["log"],
            )
        stdout().print(table)
        for line in urls(found):
            print_err(line)
    if not well:
        exit_with(Exit.NO)
