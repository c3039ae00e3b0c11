"""The whole stack under load while its parts are killed, paused and cut off.

Then every invariant is judged.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from deploy.embedded import ports, programs
from deploy.embedded.stack import Stack
from deploy.embedded.supervisor import Program
from services.cli.connect import target
from services.cli.stack import app as cli
from services.cli.stack import readiness
from services.cli.verify import app as verify
from tests.faults.chaos import Chaos
from tests.faults.load import Load

FAULTS: Final = int(os.environ.get("FAULTS", "25"))
SEED: Final = int(os.environ.get("FAULTS_SEED") or secrets.randbits(31))
PAUSE_S: Final = 2.0
SETTLE_S: Final = 90.0
SECOND: Final = ("orders", "payments", "customs")
"""Services that run twice, so that a partition has somebody to go to while its reader sleeps."""


@asynccontextmanager
async def running(
    home: Path, monkeypatch: pytest.MonkeyPatch, *, twice: tuple[str, ...] = ()
) -> AsyncIterator[Stack]:
    """A stack of its own, on free ports."""
    for name in ports.PORTS:
        monkeypatch.setenv(ports.port_setting(name), "0")
    stack = cli.make(home)
    await stack.start()
    try:
        for name in twice:
            env = {
                **stack.child_env(name),
                "CROSSBORDER_REPLICA": "1",
                "CROSSBORDER_METRICS_PORT": "0",
            }
            stack.supervisor.start(
                Program(f"{name}-2", [sys.executable, "-m", programs.MODULES[name]], env)
            )
        assert await readiness.until_ready(stack) == []
        yield stack
    finally:
        await stack.stop()


async def _judge(stack: Stack, load: Load, chaos: Chaos) -> None:
    """Everything at its right end, and everything `crossborder verify` looks at."""
    wrong = await load.settle(SETTLE_S)
    assert not wrong, f"seed {SEED}: {len(wrong)} wrong: {wrong[:10]}"
    quiet_s = time.monotonic() - max(chaos.last_at, load.last_at)
    print(
        f"{len(load.casts)} orders at their ends {quiet_s:.1f} s after the last record and the "
        f"last fault of {dict(chaos.done)}"
    )
    findings = await verify.judge(target(stack.home), 30.0)
    broken = [f"{f.name}: {f.offending[:5]}" for f in findings if not f.ok]
    assert not broken, f"seed {SEED}: {broken}"
    assert len([f for f in findings if not f.skipped]) >= 30
    failed = [s for s in stack.supervisor.status() if s.state in {"failed", "stopped"}]
    assert not failed, failed


async def test_orders_of_every_kind_survive_kills_of_services_and_broken_connections(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(home, monkeypatch) as stack:
        load, chaos = Load(target(home), 60, SEED, 6.0), Chaos(stack, SEED)
        async with load.publishing():
            for kind, victim in (
                ("kill", "customs"),
                ("connections", None),
                ("kill", "orders"),
                ("kill", "tax"),
                ("kill", "sandbox"),
            ):
                await asyncio.sleep(1.2)
                await chaos.strike(kind, victim)
            await _judge(stack, load, chaos)


@pytest.mark.faults
@pytest.mark.timeout(300 + 25 * FAULTS)
async def test_random_faults_lose_nothing_and_double_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"\n{FAULTS} faults; `make faults N={FAULTS} SEED={SEED}` does the same harm again")
    async with running(home, monkeypatch, twice=SECOND) as stack:
        load, chaos = Load(target(home), 40 * FAULTS, SEED, 2.5 * FAULTS), Chaos(stack, SEED)
        async with load.publishing():
            for _ in range(FAULTS):
                await asyncio.sleep(PAUSE_S)
                await chaos.strike()
            await chaos.rest()
            await _judge(stack, load, chaos)
        restarts = {s.name: s.restarts for s in stack.supervisor.status() if s.restarts}
        print(f"restarts: {restarts}")
