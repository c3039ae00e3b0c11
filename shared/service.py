"""What a service process runs: consumer, relay, effects, timers, and a watchdog against stalls."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

import structlog
import uvloop

from shared import (
    aside,
    cases,
    dead_letter_store,
    effect_runner,
    effects,
    failpoints,
    health,
    inbox,
    logs,
    metrics,
    operator_requests,
    relay,
    topics,
)
from shared.consumer import Consumer
from shared.database import (
    LOOKING_MAX,
    LOST,
    POOL_MAX,
    RETRYABLE,
    Connection,
    connect_pool,
    is_of_database,
)
from shared.errors import Misconfigured, Unavailable
from shared.handler import Handler
from shared.invariants import Invariant
from shared.loop_failures import LoopFailures
from shared.outcomes import write
from shared.parties import Parties
from shared.sealing import Sealing
from shared.settings import Settings, load
from shared.subscriptions import Observer, Outcome, Subscriptions
from shared.tasks import end
from shared.watchdog import STUCK_S, Vitals, note_end

log = structlog.get_logger(__name__)

OUTBOX_MAX: Final = 20_000
EFFECTS_MAX: Final = 20_000
DATABASE_S: Final = 10.0
INBOX_DAYS: Final = 15
GONE_EVERY_S: Final = 60.0
TIMER_LOCK: Final = 0x74696D


@dataclass(frozen=True)
class Timer:
    """An action that one replica at a time runs in a transaction every `every_s` seconds."""

    name: str
    every_s: float
    action: Callable[[Connection, Any], Awaitable[Outcome]]


@dataclass
class Wiring:
    """What a service's app decides: its topic, subscriptions, outbound commands and timers."""

    name: str
    topic: str
    subscriptions: Subscriptions
    deps: Any
    sealing: Sealing
    observe: Observer | None = None
    send: effects.Send | None = None
    record_replies: effects.RecordReplies | None = None
    timers: Sequence[Timer] = ()
    gauges: Callable[[Connection], Awaitable[None]] | None = None
    invariants: Sequence[Invariant] = ()
    case_kinds: cases.Kinds = field(default_factory=dict)
    closing: Sequence[Callable[[], Awaitable[None]]] = field(default_factory=tuple)


class Service:
    """One running service. `run` returns when told to stop, and raises when a restart is needed."""

    def __init__(
        self,
        wiring: Wiring,
        settings: Settings,
        pool: Any,
        points: failpoints.Failpoints | None = None,
        *,
        looking: Any = None,
    ) -> None:
        """`pool` serves records and effects.

        `looking` serves timers, gauges and requests; by default it is `pool`.
        """
        self.wiring = wiring
        self.settings = settings
        self.pool = looking or pool
        self._fail = points or failpoints.from_environment()
        common: dict[str, Any] = {"sealing": wiring.sealing, "failpoints": self._fail}
        security = settings.kafka_security
        self.handler = Handler(
            wiring.name,
            wiring.topic,
            wiring.subscriptions,
            pool,
            wiring.deps,
            after=self._after,
            orders_at_once=settings.batch_records,
            parties=Parties(all_bound=settings.all_parties_bound),
            **common,
        )
        self.relay = relay.Relay(
            wiring.name,
            pool,
            settings.kafka,
            prefix=settings.topic_prefix,
            security=security,
            **common,
        )
        self.consumer = Consumer(
            wiring.name,
            wiring.subscriptions,
            self.handler,
            pool,
            settings.kafka,
            prefix=settings.topic_prefix,
            replica=settings.member,
            batch_records=settings.batch_records,
            pressed=self._pressed,
            failpoints=self._fail,
            security=security,
        )
        self.effects = self._effect_runner(pool, common)
        metrics.begin(
            wiring.name,
            {
                topic: [kind.type for kind in types]
                for topic, types in wiring.subscriptions.event_types.items()
            },
        )
        self.vitals = Vitals(
            wiring.name,
            self.pool,
            self.consumer,
            self.relay,
            list(wiring.subscriptions.sources),
            gauges=wiring.gauges,
            invariants=wiring.invariants,
            case_kinds=wiring.case_kinds,
            working=pool,
        )

    def _effect_runner(
        self, pool: Any, common: dict[str, Any]
    ) -> effect_runner.EffectRunner | None:
        w = self.wiring
        if w.send is None or w.record_replies is None:
            return None
        return effect_runner.EffectRunner(
            w.name, pool, w.deps, w.send, w.record_replies, self._finish, self._after, **common
        )

    async def _finish(self, conn: Connection, outcome: Outcome) -> None:
        await write(conn, self.wiring.name, self.wiring.topic, outcome, self.wiring.sealing)

    def _after(self, outcome: Outcome) -> None:
        if self.wiring.observe is not None:
            self.wiring.observe(outcome.facts)
        outcome.count()
        if outcome.facts or outcome.records:
            self.relay.wake()
        if outcome.commands and self.effects is not None:
            self.effects.wake()

    def _pressed(self) -> bool:
        return self.vitals.pending > OUTBOX_MAX or self.vitals.open_effects > EFFECTS_MAX

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Raises the error that ended one of the tasks."""
        runner, port = await health.serve(
            self.settings.bind,
            self.settings.metrics_port,
            alive={"loop": lambda: time.monotonic() - self.vitals.beat < 5},
            ready={
                "assigned": self.consumer.ready.is_set,
                # The gauges read the service's own tables, so this proves a database both reachable
                # and migrated.
                "database": lambda: time.monotonic() - self.vitals.measured < DATABASE_S,
                "relay": lambda: time.monotonic() - self.relay.last_progress < STUCK_S,
            },
        )
        async with self.pool.acquire() as conn:
            await self.handler.parties.load(
                conn
            )  # Load the keys before the first record, so that no party is trusted by mistake.
        log.info(
            "service starts", service=self.wiring.name, port=port, replica=self.settings.member
        )
        metrics.BUILD_INFO.labels(self.wiring.name, version("crossborder")).set(1)
        jobs = [
            self.consumer.run(),
            self.relay.run(),
            self._sweep(),
            self._obey(),
            *self.vitals.jobs(),
        ]
        jobs += [self._timer(timer) for timer in self.wiring.timers]
        if self.effects is not None:
            jobs += [self.effects.run()]
        tasks = [asyncio.create_task(job, name=getattr(job, "__qualname__", None)) for job in jobs]
        waiter = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*tasks, waiter], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiter}:
                task.result()
        finally:
            if stuck := await end([waiter, *tasks]):
                # Whatever the tasks hold, database and offsets hold the truth. A process that
                # nobody can stop is worse.
                log.error(
                    "tasks would not end, the process does",
                    service=self.wiring.name,
                    tasks=sorted(stuck),
                )
                sys.stderr.flush()
                os._exit(1)
            for close in self.wiring.closing:
                await close()
            await runner.cleanup()
            log.info("service stopped", service=self.wiring.name)

    async def _timer(self, timer: Timer) -> None:
        """Run a timer until cancelled.

        A failed turn is counted, logged, and repeated after growing pauses.
        """
        failures = LoopFailures(self.wiring.name, timer.name)
        looked = time.monotonic()
        while True:
            await asyncio.sleep(timer.every_s)
            try:
                await self._turn(timer)
                if time.monotonic() - looked > GONE_EVERY_S:
                    looked = time.monotonic()
                    await self._forget_gone(timer)
                failures.reset()
            except (*LOST, *RETRYABLE, Unavailable) as error:
                log.warning(
                    "timer waits for the database", timer=timer.name, error=type(error).__name__
                )
                await asyncio.sleep(0.5)
            except Exception as error:  # noqa: BLE001  counted, logged and alerted
                await asyncio.sleep(failures.record(error))

    async def _turn(self, timer: Timer) -> None:
        async with self.pool.acquire() as conn, conn.transaction():
            name = f"{self.wiring.name}.{timer.name}"
            if not await conn.fetchval(
                "SELECT pg_try_advisory_xact_lock($1, hashtext($2))", TIMER_LOCK, name
            ):
                return
            outcome = await timer.action(conn, self.wiring.deps)
            await self._finish(conn, outcome)
            self._fail.hit("timer_before_commit")
        self._fail.hit("timer_after_commit")
        self._after(outcome)

    async def _obey(self) -> None:
        """Carry out the requests that operators wrote into the database."""
        failures = LoopFailures(self.wiring.name, "requests")
        while True:
            await asyncio.sleep(operator_requests.EVERY_S)
            try:
                await self.handler.parties.refresh(self.pool)
                await operator_requests.obey(self.handler)
                failures.reset()
            except Exception as error:  # noqa: BLE001  counted, logged and alerted
                if isinstance(error, Unavailable) or is_of_database(error):
                    log.warning(
                        "an operator's request waits for the database", error=type(error).__name__
                    )
                else:
                    await asyncio.sleep(failures.record(error))

    async def _forget_gone(self, timer: Timer) -> None:
        async with self.pool.acquire() as conn:
            await aside.forget_gone(conn, timer.name, GONE_EVERY_S + 2 * timer.every_s)

    async def _sweep(self) -> None:
        failures = LoopFailures(self.wiring.name, "sweep")
        while True:
            await asyncio.sleep(3600)
            try:
                await self._sweep_once()
                failures.reset()
            except (*LOST, *RETRYABLE) as error:
                log.warning("the sweep waits for the database", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001  counted, logged and alerted
                failures.record(error)

    async def _sweep_once(self) -> None:
        async with self.pool.acquire() as conn:
            await inbox.forget_before(conn, INBOX_DAYS)
            for topic in self.wiring.subscriptions.sources:
                if lost := await dead_letter_store.expire_dead_letters(
                    conn, topic, topics.retention_s_of(topic)
                ):
                    log.error(
                        "dead letters nobody replayed are gone from the log",
                        topic=topic,
                        count=lost,
                    )


Wire = Callable[[Any, Any], Awaitable[Wiring]]
"""Makes a service's wiring from its settings and its pool."""


def main(service: str, kind: type[Settings], wire: Wire) -> None:
    """Run a service until SIGTERM or SIGINT.

    Exit status 1 asks the supervisor for a restart, and 2 asks a person to correct a setting.
    """
    # Batches make and drop many small objects without cycles. Collect rarely, and never scan the
    # objects of the start.
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
    async with (
        _pool_of(settings, service, size=LOOKING_MAX) as looking,
        _pool_of(settings, service, size=POOL_MAX - LOOKING_MAX, plan_once=True) as pool,
    ):
        try:
            await Service(await wire(settings, pool), settings, pool, looking=looking).run(stop)
        except Misconfigured:
            raise
        except Exception as error:
            await note_end(looking, error)
            raise


@contextlib.asynccontextmanager
async def _pool_of(settings: Settings, service: str, **options: Any) -> AsyncIterator[Any]:
    pool = await connect_pool(settings, service, **options)
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except TimeoutError:
            pool.terminate()
