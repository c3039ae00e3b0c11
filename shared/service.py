"""What every service process is: a pool, a consumer, a relay, effects and timers, and a watchdog that ends it when stuck."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

import structlog
import uvloop

from shared import effects, failpoints, health, inbox, logs, metrics, outbox
from shared.consumer import Consumer
from shared.database import LOST, RETRYABLE, Connection, connect_pool
from shared.errors import Misconfigured, Unavailable
from shared.handler import Handler, write
from shared.hears import Hears, Observer, Outcome
from shared.invariants import Invariant
from shared.sealing import Sealing
from shared.settings import Settings, load

log = structlog.get_logger(__name__)

OUTBOX_MAX: Final = 20_000
EFFECTS_MAX: Final = 20_000
STUCK_S: Final = 30.0
DATABASE_S: Final = 10.0
INBOX_DAYS: Final = 15
TIMER_LOCK: Final = 0x74696D
INVARIANTS_EVERY_S: Final = 60.0


@dataclass(frozen=True)
class Timer:
    """Something done in a transaction every `every_s` seconds, by one replica at a time."""

    name: str
    every_s: float
    action: Callable[[Connection, Any], Awaitable[Outcome]]


@dataclass
class Wiring:
    """What a service's app decides: which topic it speaks on, what it hears, whom it calls, what its timers do."""

    name: str
    topic: str
    hears: Mapping[str, Hears]
    deps: Any
    sealing: Sealing
    observe: Observer | None = None
    perform: effects.Perform | None = None
    settle: effects.Settle | None = None
    timers: Sequence[Timer] = ()
    gauges: Callable[[Connection], Awaitable[None]] | None = None
    invariants: Sequence[Invariant] = ()
    closing: Sequence[Callable[[], Awaitable[None]]] = field(default_factory=tuple)


class Service:
    """One running service; `run` returns when it is told to stop and raises when it must be started anew."""

    def __init__(self, wiring: Wiring, settings: Settings, pool: Any, points: failpoints.Failpoints | None = None) -> None:
        self.wiring = wiring
        self.settings = settings
        self.pool = pool
        self._fail = points or failpoints.from_environment()
        self._pending = 0
        self._open_effects = 0
        self._beat = time.monotonic()
        self._measured = float("-inf")
        common: dict[str, Any] = {"sealing": wiring.sealing, "failpoints": self._fail}
        security = settings.kafka_security
        self.handler = Handler(wiring.name, wiring.topic, wiring.hears, pool, wiring.deps, observe=wiring.observe, **common)
        self.relay = outbox.Relay(wiring.name, pool, settings.kafka, prefix=settings.topic_prefix, security=security, **common)
        self.consumer = Consumer(
            wiring.name, wiring.hears, self.handler, pool, settings.kafka, prefix=settings.topic_prefix, replica=settings.member,
            batch_records=settings.batch_records, pressed=self._pressed, committed=self._committed, failpoints=self._fail,
            security=security,
        )  # fmt: skip
        self.effects = self._effect_runner(common)

    def _effect_runner(self, common: dict[str, Any]) -> effects.EffectRunner | None:
        w = self.wiring
        if w.perform is None or w.settle is None:
            return None
        return effects.EffectRunner(w.name, self.pool, w.deps, w.perform, w.settle, self._finish, self._after, **common)

    async def _finish(self, conn: Connection, outcome: Outcome) -> None:
        await write(conn, self.wiring.name, self.wiring.topic, outcome, self.wiring.sealing)

    def _after(self, outcome: Outcome) -> None:
        if self.wiring.observe is not None:
            self.wiring.observe(outcome.facts)
        for count in outcome.counts:
            count()
        self._committed()

    def _committed(self) -> None:
        self.relay.wake()
        if self.effects is not None:
            self.effects.wake()

    def _pressed(self) -> bool:
        return self._pending > OUTBOX_MAX or self._open_effects > EFFECTS_MAX

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; raises whatever ended one of the tasks."""
        runner, port = await health.serve(
            self.settings.bind, self.settings.metrics_port, alive={"loop": lambda: time.monotonic() - self._beat < 5},
            ready={
                "assigned": self.consumer.ready.is_set,
                # The gauges read the service's own tables, so this says reachable and migrated at once.
                "database": lambda: time.monotonic() - self._measured < DATABASE_S,
                "relay": lambda: time.monotonic() - self.relay.last_progress < STUCK_S,
            },
        )  # fmt: skip
        log.info("service starts", service=self.wiring.name, port=port, replica=self.settings.member)
        metrics.BUILD_INFO.labels(self.wiring.name, version("crossborder")).set(1)
        jobs = [self.consumer.run(), self.relay.run(), self._measure(), self._heart(), self._watch(), self._sweep()]
        jobs += [self._timer(timer) for timer in self.wiring.timers]
        if self.effects is not None:
            jobs += [self.effects.run(), self.effects.run()]
        if self.wiring.invariants:
            jobs.append(self._judge())
        tasks = [asyncio.create_task(job) for job in jobs]
        waiter = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*tasks, waiter], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiter}:
                task.result()
        finally:
            waiter.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for close in self.wiring.closing:
                await close()
            await runner.cleanup()
            log.info("service stopped", service=self.wiring.name)

    async def _timer(self, timer: Timer) -> None:
        while True:
            await asyncio.sleep(timer.every_s)
            try:
                async with self.pool.acquire() as conn, conn.transaction():
                    name = f"{self.wiring.name}.{timer.name}"
                    if not await conn.fetchval("SELECT pg_try_advisory_xact_lock($1, hashtext($2))", TIMER_LOCK, name):
                        continue
                    outcome = await timer.action(conn, self.wiring.deps)
                    await self._finish(conn, outcome)
                    self._fail.hit("timer_before_commit")
                self._fail.hit("timer_after_commit")
                if outcome.facts or outcome.records or outcome.instructions:
                    self._after(outcome)
            except (*LOST, *RETRYABLE, Unavailable) as error:
                log.warning("timer waits for the database", timer=timer.name, error=type(error).__name__)
                await asyncio.sleep(0.5)

    async def _measure(self) -> None:
        """Gauges, and the figures that press on the intake."""
        name = self.wiring.name
        while True:
            try:
                async with self.pool.acquire() as conn:
                    self._pending = await outbox.measure(conn, name)
                    self._open_effects = await effects.measure(conn, name)
                    metrics.HELD_ORDERS.labels(name).set(await conn.fetchval("SELECT count(*) FROM held_order"))
                    if self.wiring.gauges is not None:
                        await self.wiring.gauges(conn)
                self._measured = time.monotonic()
                lag = await self.consumer.lag()
                # A partition that now belongs to another replica must not stand here with the lag it once had.
                metrics.LAG.clear()
                for tp, behind in lag.items():
                    metrics.LAG.labels(tp.topic, tp.partition).set(behind)
            except (*LOST, *RETRYABLE) as error:
                log.warning("gauges wait for the database", error=type(error).__name__)
            metrics.POOL.labels(name, "idle").set(self.pool.get_idle_size())
            metrics.POOL.labels(name, "all").set(self.pool.get_size())
            await asyncio.sleep(2)

    async def _judge(self) -> None:
        """Look whether the service's own invariants hold; one transaction never shows what is merely under way."""
        while True:
            await asyncio.sleep(INVARIANTS_EVERY_S)
            for invariant in self.wiring.invariants:
                try:
                    async with self.pool.acquire() as conn, conn.transaction(readonly=True):
                        broken = await conn.fetch(invariant.sql)
                except (*LOST, *RETRYABLE) as error:
                    log.warning("an invariant was not looked at", invariant=invariant.name, error=type(error).__name__)
                    continue
                metrics.INVARIANTS.labels(invariant.name).set(len(broken))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(3600)
            with contextlib.suppress(*LOST, *RETRYABLE):
                async with self.pool.acquire() as conn:
                    await inbox.forget_before(conn, INBOX_DAYS)

    async def _heart(self) -> None:
        worst = 0.0
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.25)
            self._beat = time.monotonic()
            worst = max(worst * 0.9, self._beat - before - 0.25)
            metrics.LOOP_LAG.labels(self.wiring.name).set(worst)

    async def _watch(self) -> None:
        """End the process when there is work and none is done: aiokafka's consumers can stall without an error."""
        while True:
            await asyncio.sleep(5)
            now = time.monotonic()
            if now - self.relay.last_progress > STUCK_S + outbox.ACK_BOUND_S:
                raise Unavailable("the relay made no progress; starting anew")
            if now - self.consumer.last_progress > STUCK_S and any((await self.consumer.lag()).values()):
                raise Unavailable("there is lag and no batch was handled; starting anew")


Wire = Callable[[Any, Any], Awaitable[Wiring]]
"""Makes a service's wiring from its settings and pool."""


def main(service: str, kind: type[Settings], wire: Wire) -> None:
    """Run a service until SIGTERM or SIGINT; exit status 1 asks the supervisor to start it anew, 2 a person to mend a setting."""
    # Batches make and drop many small objects in no cycles: collect rarely, and never look at what start-up made.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        settings = load(kind)
        logs.configure(service, settings.log_level, settings.log_format)
        uvloop.run(_main(service, settings, wire))
    except Misconfigured as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except Exception:
        log.exception("service ends and must be started anew", service=service)
        sys.stderr.flush()
        os._exit(1)


async def _main(service: str, settings: Settings, wire: Wire) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    pool = await connect_pool(settings, service)
    try:
        await Service(await wire(settings, pool), settings, pool).run(stop)
    finally:
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except TimeoutError:
            pool.terminate()
