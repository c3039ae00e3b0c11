"""What a service's process checks by itself: gauges, invariants, event loop, and progress."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Final

import structlog
from aiokafka import TopicPartition

from shared import aside, cases, effects, inbox, metrics, outbox
from shared import relay as shared_relay
from shared.consumer import Consumer
from shared.database import LOST, RETRYABLE, Connection
from shared.errors import TooManyGivenUp, Unavailable
from shared.invariants import Invariant
from shared.loop_failures import LoopFailures

log = structlog.get_logger(__name__)

PRESSURE_EVERY_S: Final = 2.0
GAUGES_EVERY_S: Final = 15.0
INVARIANTS_EVERY_S: Final = 60.0
SHARE: Final = 0.02
"""Largest share of one database connection's time, for the gauges and for the invariants."""
INVARIANT_BOUND_S: Final = 60.0
BEAT_S: Final = 0.25
STUCK_S: Final = 30.0
REACH_EVERY_S: Final = 5.0
DATABASE_S: Final = 20.0
"""Seconds since the last look into the database after which it counts as unreachable.

They are longer than a task ever waits for a connection of a busy pool.
"""
_BEATS: Final = int(15 / BEAT_S)


class Stuck(Unavailable):
    """There is work, and none is done. The process must restart."""

    def __init__(self, part: str, says: str) -> None:
        super().__init__(f"{says}; starting anew")
        self.part = part


class Vitals:
    """The loops that check the process, returned by `jobs`.

    `pending` and `open_effects` slow the intake.

    Checks must cost little. The figures that slow the intake are read every 2 s, the rest every 15
    s. A check that is slow, because its tables have grown, runs less often and stays within SHARE.
    """

    def __init__(
        self,
        service: str,
        pool: Any,
        consumer: Consumer,
        relay: shared_relay.Relay,
        heard: Collection[str],
        gauges: Callable[[Connection], Awaitable[None]] | None = None,
        invariants: Sequence[Invariant] = (),
        case_kinds: cases.Kinds | None = None,
        working: Any = None,
    ) -> None:
        """The loops use `pool`. `working` serves records and effects; by default it is `pool`."""
        self._service = service
        self._pool = pool
        self._pools = [pool] if working is None or working is pool else [pool, working]
        self._consumer = consumer
        self._relay = relay
        self._heard = heard
        self._gauges = gauges
        self._invariants = invariants
        self._case_kinds = case_kinds or {}
        metrics.CASES_OPEN.restrict_labels(kind=self._case_kinds).begin(
            (service,), self._case_kinds
        )
        self._ends_shown: dict[str, int] = {}
        self._lag = metrics.OwnedGauge(metrics.LAG)
        self._held_back = metrics.OwnedGauge(metrics.HELD_BACK)
        self.pending = 0
        self.open_effects = 0
        self.beat = time.monotonic()
        self.measured = float("-inf")
        for invariant in invariants:
            metrics.INVARIANTS.labels(invariant.name)
            metrics.INVARIANT_CHECKED.labels(invariant.name)
            metrics.INVARIANT_SECONDS.labels(invariant.name)

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """Return the loops. Each ends only by cancellation, but the watchdog raises Stuck."""
        return [
            self._press(),
            self._look(),
            self._judge(),
            self._heart(),
            self._watch(),
            self._reach(),
        ]

    async def _press(self) -> None:
        failures = LoopFailures(self._service, "gauges")
        while True:
            try:
                async with self._pool.acquire() as conn:
                    self.pending = await outbox.measure(conn, self._service)
                    self.open_effects = await effects.measure(conn, self._service)
                self.measured = time.monotonic()
                self._lag.show(self._by_partition(await self._consumer.lag()))
                self._held_back.show(self._by_partition(self._consumer.held_back()))
                failures.reset()
            except (*LOST, *RETRYABLE) as error:
                log.warning("gauges wait for the database", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001  counted, logged and alerted
                failures.record(error)
            size, idle, most = (
                sum(getattr(pool, name)() for pool in self._pools)
                for name in ("get_size", "get_idle_size", "get_max_size")
            )
            for state, count in (
                ("open", size),
                ("idle", idle),
                ("busy", size - idle),
                ("max", most),
            ):
                metrics.POOL.labels(self._service, state).set(count)
            await asyncio.sleep(PRESSURE_EVERY_S)

    def _by_partition(self, found: Mapping[TopicPartition, float]) -> dict[tuple[str, ...], float]:
        return {
            (self._consumer.plain(tp.topic), str(tp.partition)): value
            for tp, value in found.items()
        }

    async def _look(self) -> None:
        failures = LoopFailures(self._service, "gauges")
        while True:
            started = time.monotonic()
            try:
                async with self._pool.acquire() as conn:
                    await inbox.measure(conn, self._service, self._heard)
                    await cases.measure(conn, self._service, self._case_kinds)
                    await aside.measure(conn, self._service)
                    await self._show_ends(conn)
                    if self._gauges is not None:
                        await self._gauges(conn)
                failures.reset()
            except (*LOST, *RETRYABLE) as error:
                log.warning("gauges wait for the database", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001  counted, logged and alerted
                failures.record(error)
            await asyncio.sleep(max(GAUGES_EVERY_S, (time.monotonic() - started) / SHARE))

    async def _show_ends(self, conn: Connection) -> None:
        for row in await conn.fetch("SELECT reason, times FROM process_end"):
            more = row["times"] - self._ends_shown.get(row["reason"], 0)
            if more > 0:
                metrics.PROCESS_ENDS.labels(self._service, row["reason"]).inc(more)
                self._ends_shown[row["reason"]] = row["times"]

    async def _judge(self) -> None:
        """Check the service's own invariants. One transaction never shows work half done."""
        rest_s = INVARIANTS_EVERY_S
        failures = LoopFailures(self._service, "invariants")
        while True:
            await asyncio.sleep(rest_s)
            started = time.monotonic()
            for invariant in self._invariants:
                try:
                    await self.look_at(invariant)
                    failures.reset()
                except (*LOST, *RETRYABLE) as error:
                    log.warning(
                        "an invariant was not looked at",
                        invariant=invariant.name,
                        error=type(error).__name__,
                    )
                except Exception as error:  # noqa: BLE001  counted, logged and alerted
                    failures.record(error)
            rest_s = max(INVARIANTS_EVERY_S, (time.monotonic() - started) / SHARE)

    async def look_at(self, invariant: Invariant) -> int:
        """Return the number of rows that break the invariant now, and set its gauges."""
        started = time.monotonic()
        async with self._pool.acquire() as conn, conn.transaction(readonly=True):
            await conn.execute(f"SET LOCAL statement_timeout = {int(INVARIANT_BOUND_S * 1000)}")
            broken = await conn.fetch(invariant.sql, timeout=INVARIANT_BOUND_S)
        metrics.INVARIANTS.labels(invariant.name).set(len(broken))
        metrics.INVARIANT_CHECKED.labels(invariant.name).set_to_current_time()
        metrics.INVARIANT_SECONDS.labels(invariant.name).set(time.monotonic() - started)
        if broken:
            log.error(
                "an invariant is broken",
                invariant=invariant.name,
                rows=len(broken),
                first=str(broken[0][0]),
            )
        return len(broken)

    async def _heart(self) -> None:
        lags: deque[float] = deque(maxlen=_BEATS)
        waiting: deque[int] = deque(maxlen=_BEATS)
        lag, waits = (
            metrics.LOOP_LAG.labels(self._service),
            metrics.POOL_WAITING.labels(self._service),
        )
        while True:
            before = time.monotonic()
            await asyncio.sleep(BEAT_S)
            self.beat = time.monotonic()
            lags.append(max(0.0, self.beat - before - BEAT_S))
            waiting.append(sum(map(waiting_for, self._pools)))
            lag.set(max(lags))
            waits.set(max(waiting))

    async def _reach(self) -> None:
        while True:
            await asyncio.sleep(REACH_EVERY_S)
            await self.reach()

    async def reach(self) -> None:
        """Show whether broker and database answer: their absence mutes the alerts it explains."""
        metrics.REACHES.labels(self._service, "kafka").set(
            int(await self._consumer.reaches_broker())
        )
        metrics.REACHES.labels(self._service, "postgres").set(
            int(time.monotonic() - self.measured < DATABASE_S)
        )

    async def _watch(self) -> None:
        """End the process if there is work and none is done.

        aiokafka's consumers can stall without an error.
        """
        while True:
            await asyncio.sleep(5)
            now = time.monotonic()
            relay_s = now - self._relay.last_progress
            consumer_s = now - self._consumer.last_progress
            if consumer_s > BEAT_S and not any((await self._consumer.lag()).values()):
                consumer_s = 0.0
            metrics.WATCHDOG.labels(self._service, "relay").set(time.time() - relay_s)
            metrics.WATCHDOG.labels(self._service, "consumer").set(time.time() - consumer_s)
            if relay_s > STUCK_S + shared_relay.ACK_BOUND_S:
                raise Stuck("relay", "the relay made no progress")
            if consumer_s > STUCK_S:
                raise Stuck("consumer", "there is lag and no batch was handled")


def waiting_for(pool: Any) -> int:
    """Return the number of tasks that wait for a connection. asyncpg offers no such number."""
    return len(pool._queue._getters) if pool._queue is not None else 0


def reason_of(error: BaseException) -> str:
    """Return the reason under which the end of a process is counted."""
    if isinstance(error, Stuck):
        return f"watchdog_{error.part}"
    if isinstance(error, TooManyGivenUp):
        return "too_many_given_up"
    return "unavailable" if isinstance(error, (Unavailable, *LOST, *RETRYABLE)) else "unexpected"


async def note_end(pool: Any, error: BaseException) -> None:
    """Count the end of this process in the database, for the next process to show.

    Without the database it goes uncounted.
    """
    try:
        async with asyncio.timeout(2), pool.acquire() as conn:
            await conn.execute(
                "INSERT INTO process_end AS p (reason, times) VALUES ($1, 1) "
                "ON CONFLICT (reason) DO UPDATE SET times = p.times + 1, last_at = now()",
                reason_of(error),
            )
    except (*LOST, *RETRYABLE) as lost:
        log.warning("the end of this process could not be counted", error=type(lost).__name__)
