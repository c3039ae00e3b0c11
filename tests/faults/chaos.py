"""What goes wrong in a running stack, drawn from a seed: kill -9, SIGSTOP, broken connections, a
dead broker or database.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import asyncpg
import psutil

from deploy.embedded.stack import Stack
from shared.errors import Unavailable

PROGRAMS: Final = ("orders", "payments", "tax", "customs", "sandbox", "streams")
SERVICES: Final = ("orders", "payments", "tax", "customs")
ZOMBIE_S: Final = (12.0, 15.0)
"""Longer than the broker waits for a member's heartbeat."""
KINDS: Final = (*("kill",) * 6, "zombie", "backend", "connections", "postgres", "kafka")


class Chaos:
    """Does harm to a stack and counts it. The same seed does the same harm in the same order."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.last_at = time.monotonic()
        self._stack = stack
        self._dice = Random(seed)
        self._zombies: set[asyncio.Task[None]] = set()
        self._began = time.monotonic()

    async def strike(self, kind: str | None = None, victim: str | None = None) -> None:
        """One fault; comes back when what the stack cannot start anew by itself runs again."""
        kind = kind or self._dice.choice(KINDS)
        names = [status.name for status in self._stack.supervisor.status()]
        if kind == "kill":
            await self._kill(victim or self._dice.choice(names))
        elif kind == "zombie":
            self._suspend(
                victim or self._dice.choice([n for n in names if n.partition("-")[0] in SERVICES])
            )
        else:
            whole: dict[str, Callable[[], Awaitable[None]]] = {
                "backend": self._kill_backend,
                "connections": self._break_connections,
                "postgres": self._kill_postgres,
                "kafka": self._kill_kafka,
            }
            await whole[kind]()
        self.done[kind] += 1
        self.last_at = time.monotonic()

    async def rest(self) -> None:
        """Until every zombie is awake again."""
        await asyncio.gather(*self._zombies)
        self.last_at = time.monotonic()

    def _told(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {what}", flush=True)

    async def _kill(self, victim: str) -> None:
        """One that is dead already is waited for: a fault that hits nobody is none."""
        for _ in range(200):
            if self._stack.supervisor.pid(victim) is not None:
                break
            await asyncio.sleep(0.05)
        self._told(f"kill -9 {victim}")
        self._stack.supervisor.kill(victim)

    def _suspend(self, victim: str) -> None:
        pid = self._stack.supervisor.pid(victim)
        if pid is None:
            return
        seconds = self._dice.uniform(*ZOMBIE_S)
        self._told(f"SIGSTOP {victim} for {seconds:.1f} s")
        task = asyncio.create_task(self._hold(pid, seconds))
        self._zombies.add(task)

    async def _hold(self, pid: int, seconds: float) -> None:
        try:
            held = psutil.Process(pid)
            held.send_signal(signal.SIGSTOP)
            await asyncio.sleep(seconds)
            held.send_signal(signal.SIGCONT)
        except psutil.NoSuchProcess:
            pass  # killed meanwhile

    async def _kill_backend(self) -> None:
        """kill -9 of one connection's process: the postmaster then ends all others and recovers."""
        pid = self._stack.postgres.pid
        backends = psutil.Process(pid).children() if pid else []
        own = [child for child in backends if "crossborder" in _command_of(child)]
        if own:
            victim = own[self._dice.randrange(len(own))]
            self._told(f"kill -9 PostgreSQL backend {victim.pid}")
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()

    async def _break_connections(self) -> None:
        self._told("pg_terminate_backend of every connection")
        try:
            conn = await asyncpg.connect(self._stack.dsn, timeout=10)
            await conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            await conn.close()
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            self._told(f"  the database does not answer: {type(error).__name__}")

    async def _kill_postgres(self) -> None:
        self._told("kill -9 postmaster")
        self._stack.postgres.kill()
        await _until_started(self._stack.postgres.start)

    async def _kill_kafka(self) -> None:
        self._told("kill -9 broker")
        self._stack.kafka.kill()
        await _until_started(self._stack.kafka.start)


async def _until_started(start: Callable[[], Awaitable[None]], timeout_s: float = 60.0) -> None:
    """A killed postmaster's backends go a moment later than it does, and until then no other may
    start.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            await start()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.3)
        else:
            return


def _command_of(process: psutil.Process) -> str:
    """Its command line; nothing of one that has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # of which a zombie is one
        return ""
