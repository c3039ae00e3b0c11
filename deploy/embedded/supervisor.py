"""Keeps named child processes running: restarted after a crash, stopped together."""

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
"""Pause before the first, second … restart in a row; the last one applies from then on."""
STEADY_S: Final = 20.0
"""A child that ran this long was healthy: its next crash starts a new row."""
STOP_S: Final = 12.0
MISCONFIGURED: Final = 2
"""Exit status of a child with a wrong setting, which is not restarted."""

State = Literal["running", "waiting", "stopped", "failed"]


@dataclass(frozen=True)
class Program:
    """The command of one child; `env` is added to the supervisor's environment."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True)
class Status:
    """The state of a child.

    `restarts` counts all, `exit_code` is the last exit (-9 for SIGKILL).
    """

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
        self._children: dict[str, _Child] = {}

    def start(self, program: Program) -> None:
        """Start a child and keep it running; raise ValueError for a name that is used already."""
        if program.name in self._children:
            raise ValueError(f"{program.name} is already supervised")
        child = _Child(program, self.logs / f"{program.name}.log", self._backoff_s, self._changed)
        child.spawn()
        child.watcher = asyncio.get_running_loop().create_task(
            child.watch(), name=f"supervise-{program.name}"
        )
        self._children[program.name] = child

    def status(self) -> list[Status]:
        return [child.status() for child in self._children.values()]

    def pid(self, name: str) -> int | None:
        return self._children[name].status().pid

    def kill(self, name: str) -> None:
        self.signal(name, signal.SIGKILL)

    def signal(self, name: str, number: signal.Signals) -> None:
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, number)

    async def stop(self, timeout_s: float = STOP_S) -> list[Status]:
        """Send SIGTERM to all at once, and SIGKILL after `timeout_s` seconds.

        Return how each ended.
        """
        for child in self._children.values():
            child.stopping = True
            if child.watcher is not None:
                child.watcher.cancel()
        await asyncio.gather(
            *(c.watcher for c in self._children.values() if c.watcher is not None),
            return_exceptions=True,
        )
        await asyncio.gather(*(child.end(timeout_s) for child in self._children.values()))
        return self.status()


class _Child:
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
        self._report("running")

    async def watch(self) -> None:
        in_a_row = 0
        while self._child is not None:
            since = time.monotonic()
            code = await process.wait_exit(self._child)
            self._exit_code = code
            if code == MISCONFIGURED:
                self._report("failed")
                return
            # Also after exit 0: the child was not asked to end.
            in_a_row = 1 if time.monotonic() - since > STEADY_S else in_a_row + 1
            self._report("waiting")
            await asyncio.sleep(self._backoff_s[min(in_a_row, len(self._backoff_s)) - 1])
            self._restarts += 1
            self.spawn()

    async def end(self, timeout_s: float) -> None:
        if self._child is not None:
            self._exit_code = await process.stop(self._child, signal.SIGTERM, timeout_s)
        if self._state != "failed":
            self._report("stopped")

    def status(self) -> Status:
        alive = self._child is not None and self._child.poll() is None
        pid = self._child.pid if alive and self._child is not None else None
        return Status(
            self.program.name, self._state, pid, self._restarts, self._exit_code, self.log
        )

    def _report(self, state: State) -> None:
        self._state = state
        if self._changed is not None and not self.stopping:
            self._changed(self.status())
