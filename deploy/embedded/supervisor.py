"""Keeps named child processes running: started anew after a crash, ended together."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from deploy.embedded import process

BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Pause before the first, second … restart in a row; the last one is kept from then on."""
STEADY_S: Final = 20.0
"""A child that ran this long was well: its next crash is the first in a row again."""
STOP_S: Final = 12.0
MISCONFIGURED: Final = 2
"""The exit status with which a child says that a person must mend a setting: it is not started again."""

State = Literal["running", "waiting", "stopped", "failed"]


@dataclass(frozen=True)
class Program:
    """One child: what to run, and the environment it gets on top of the supervisor's."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True)
class Status:
    """What became of a child so far. `restarts` counts all, `exit_code` is the last exit (-9 for SIGKILL)."""

    name: str
    state: State
    pid: int | None
    restarts: int
    exit_code: int | None
    log: Path


class Supervisor:
    """Runs programs until `stop`; must be used on the main thread."""

    def __init__(
        self,
        logs: Path,
        *,
        backoff_s: Sequence[float] = BACKOFF_S,
        changed: Callable[[Status], None] | None = None,
    ) -> None:
        self.logs = logs
        self._backoff_s = backoff_s
        self._changed = changed
        self._kept: dict[str, _Kept] = {}

    def start(self, program: Program) -> None:
        """Start a child and keep it running; a name is used once."""
        if program.name in self._kept:
            raise ValueError(f"{program.name} is already supervised")
        kept = _Kept(program, self.logs / f"{program.name}.log", self._backoff_s, self._changed)
        kept.spawn()
        kept.watcher = asyncio.get_running_loop().create_task(
            kept.watch(), name=f"supervise-{program.name}"
        )
        self._kept[program.name] = kept

    def status(self) -> list[Status]:
        """One line for each child, in the order of their start."""
        return [kept.status() for kept in self._kept.values()]

    def pid(self, name: str) -> int | None:
        """The process id of a running child."""
        return self._kept[name].status().pid

    def kill(self, name: str) -> None:
        """kill -9 a child; it is started anew."""
        self.signal(name, signal.SIGKILL)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a child any signal, SIGSTOP and SIGCONT among them."""
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, number)

    async def stop(self, timeout_s: float = STOP_S) -> list[Status]:
        """SIGTERM to all at once, SIGKILL to what runs after `timeout_s` seconds; returns how each ended."""
        for kept in self._kept.values():
            kept.stopping = True
            if kept.watcher is not None:
                kept.watcher.cancel()
        await asyncio.gather(
            *(k.watcher for k in self._kept.values() if k.watcher is not None),
            return_exceptions=True,
        )
        await asyncio.gather(*(kept.end(timeout_s) for kept in self._kept.values()))
        return self.status()


class _Kept:
    """One child and its history."""

    def __init__(
        self,
        program: Program,
        log: Path,
        backoff_s: Sequence[float],
        changed: Callable[[Status], None] | None,
    ) -> None:
        self.program = program
        self.log = log
        self.stopping = False
        self.watcher: asyncio.Task[None] | None = None
        self._backoff_s = backoff_s
        self._changed = changed
        self._child: subprocess.Popen[bytes] | None = None
        self._state: State = "waiting"
        self._restarts = 0
        self._exit_code: int | None = None

    def spawn(self) -> None:
        program = self.program
        self._child = process.start(
            program.command, self.log, env={**os.environ, **program.env}, cwd=program.cwd
        )
        self._tell("running")

    async def watch(self) -> None:
        in_a_row = 0
        while self._child is not None:
            since = time.monotonic()
            code = await process.wait_exit(self._child)
            self._exit_code = code
            if code == MISCONFIGURED:
                self._tell("failed")
                return
            # Also after exit 0: nobody asked it to end, so it is missed.
            in_a_row = 1 if time.monotonic() - since > STEADY_S else in_a_row + 1
            self._tell("waiting")
            await asyncio.sleep(self._backoff_s[min(in_a_row, len(self._backoff_s)) - 1])
            self._restarts += 1
            self.spawn()

    async def end(self, timeout_s: float) -> None:
        if self._child is not None:
            self._exit_code = await process.stop(self._child, signal.SIGTERM, timeout_s)
        if self._state != "failed":
            self._tell("stopped")

    def status(self) -> Status:
        alive = self._child is not None and self._child.poll() is None
        pid = self._child.pid if alive and self._child is not None else None
        return Status(
            self.program.name, self._state, pid, self._restarts, self._exit_code, self.log
        )

    def _tell(self, state: State) -> None:
        self._state = state
        if self._changed is not None and not self.stopping:
            self._changed(self.status())
