"""Whether what a stack wrote down about itself still runs, and answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from services.cli.credentials import security_of

if TYPE_CHECKING:
    from deploy.embedded.stack import Stack

ANSWER_S: Final = 3.0


def is_alive(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def is_ready(session: Any, port: int) -> bool:
    import aiohttp

    try:
        async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return bool(answer.status == 200)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def programs(running: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each program's entry of `stack.json`, its port, and whether it is ready.

    Ready is None for a program without a port.
    """
    import aiohttp

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        rows = []
        for name, p in running["programs"].items():
            port = running["ports"].get(name)
            if name in SERVERS:
                ready: bool | None = await SERVERS[name](running)
            else:
                ready = await is_ready(session, port) if port else None
            # A program that has just ended is not in `stack.json` as ended yet.
            gone = p["pid"] is not None and not is_alive(p["pid"])
            rows.append(
                {
                    **p,
                    "name": name,
                    "port": port,
                    "ready": ready,
                    **({"state": "waiting", "pid": None} if gone else {}),
                }
            )
    return rows


async def _kafka(running: Mapping[str, Any]) -> bool:
    from deploy.embedded import kafka

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        async with asyncio.timeout(ANSWER_S):
            return await kafka.answers(str(running["kafka"]), security_of(running, env=False))
    except TimeoutError:
        return False


async def _postgres(running: Mapping[str, Any]) -> bool:
    import asyncpg

    from shared.database import LOST

    try:
        conn = await asyncpg.connect(str(running["postgres"]), timeout=ANSWER_S)
    except (*LOST, asyncpg.PostgresError):
        return False
    await conn.close()
    return True


SERVERS: Final = {"kafka": _kafka, "postgres": _postgres}


READY_S: Final = 60.0
POLL_S: Final = 0.1
WAIT_REPORT_S: Final = 1.0
NOT_READY: Final = "did not become ready"


def not_ready(stack: Stack, missing: Sequence[str]) -> str:
    logs = ", ".join(str(stack.logs / f"{name}.log") for name in missing)
    return f"look at {logs}: {', '.join(missing)} {NOT_READY} in {READY_S:.0f} s"


class WaitReport:
    """Names the programs that are waited for, at most once in WAIT_REPORT_S seconds."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._missing: Sequence[str] = ()
        self._next = 0.0

    def update(self, missing: Sequence[str], now: float) -> None:
        if missing and missing != self._missing and now >= self._next:
            self._write(f"waiting for {', '.join(missing)} …")
            self._missing, self._next = missing, now + WAIT_REPORT_S


def _awaited_ports(stack: Stack) -> dict[str, int]:
    """Return the ports of the programs to wait for: no order needs the streams worker."""
    return {
        name: port for name in stack.programs if name != "streams" and (port := stack.ports[name])
    }


async def until_ready(
    stack: Stack,
    stop: asyncio.Event | None = None,
    timeout_s: float = READY_S,
    report: WaitReport | None = None,
) -> list[str]:
    """Wait until every program answers that it is ready; return those that do not in time."""
    import aiohttp

    ports = _awaited_ports(stack)
    missing = sorted(ports)
    deadline = time.monotonic() + timeout_s
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while missing and time.monotonic() < deadline and not (stop and stop.is_set()):
            if report is not None:
                report.update(missing, time.monotonic())
            ready = await asyncio.gather(*(is_ready(session, ports[name]) for name in missing))
            missing = [name for name, done in zip(missing, ready, strict=True) if not done]
            if missing:
                await asyncio.sleep(POLL_S)
    return missing
