"""Broker and database as children of a stack, restarted on their data if they end by themselves."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Final

from deploy.embedded import process
from deploy.embedded.supervisor import State, Status
from shared.errors import Misconfigured, Unavailable

PAUSES_S: Final = (0.2, 1.0, 2.0, 5.0, 5.0)
"""Pause before each start in a row; a killed postmaster's backends block a new one for a moment."""
STOP_S: Final = 15.0
STEADY_S: Final = 60.0
"""A server that ran this long was healthy: its next end starts a new row."""


class Server(ABC):
    """One child that answers on a port or socket.

    `log` has its output, `end_signal` ends it in order.
    """

    log: Path
    end_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._is_wanted = False

    @property
    def pid(self) -> int | None:
        return self._child.pid if self.running and self._child else None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def is_lost(self) -> bool:
        """Return whether it answered once and then ended, neither stopped nor killed by this
        object.
        """
        return self._is_wanted and not self.running

    @property
    def exit_code(self) -> int | None:
        """Return its last exit, -9 for SIGKILL; None while it runs or if it never did."""
        return self._child.poll() if self._child else None

    @abstractmethod
    async def start(self, timeout_s: float = ...) -> None:
        """Return once it answers; raise Unavailable if it does not, Misconfigured if it cannot."""

    async def stop(self) -> None:
        """End it in order, or with SIGKILL when it takes more than STOP_S seconds."""
        self._is_wanted = False
        if self._child is not None:
            await process.stop(self._child, self.end_signal, STOP_S)

    def kill(self) -> None:
        """kill -9; the data stays."""
        self._is_wanted = False
        if self._child is not None:
            self._child.kill()
            self._child.wait()


class Watched:
    """Restarts a server that ended by itself, as often in a row as there are pauses."""

    def __init__(
        self,
        name: str,
        server: Server,
        *,
        changed: Callable[[Status, str], None],
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._name = name
        self._server = server
        self._changed = changed
        self._pauses_s = pauses_s
        self._state: State = "stopped"
        self._restarts = 0

    def status(self) -> Status:
        server = self._server
        return Status(
            self._name,
            "running" if server.running else self._state,
            server.pid,
            self._restarts,
            server.exit_code,
            server.log,
        )

    async def watch(self) -> None:
        in_a_row = 0
        while True:
            since = time.monotonic()
            while not self._server.is_lost:  # noqa: ASYNC110  works on any event loop, as in process.py
                await asyncio.sleep(process.POLL_S)
            in_a_row = 0 if time.monotonic() - since > STEADY_S else in_a_row
            detail = f"it ended with status {self._server.exit_code}"
            while not self._server.running:
                if in_a_row == len(self._pauses_s):
                    self._report("failed", detail)
                    return
                self._report("waiting", detail)
                await asyncio.sleep(self._pauses_s[in_a_row])
                in_a_row += 1
                try:
                    await self._server.start()
                except (Misconfigured, Unavailable, OSError) as error:
                    detail = str(error).partition("\n")[0]
            self._restarts += 1
            self._report("running", "it answers again")

    def _report(self, state: State, detail: str) -> None:
        self._state = state
        self._changed(self.status(), detail)
