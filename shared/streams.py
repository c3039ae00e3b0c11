"""What a faust view runs: a locked-down app, a writer, a watchdog, an end at the first error."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn, Protocol

import faust
import structlog
import uvloop
from faust.transport.drivers import aiokafka as driver

from shared import health, logs, metrics, topics
from shared.errors import Misconfigured
from shared.kafka import FETCH_BYTES, MECHANISM, METADATA_MS, Security
from shared.settings import Settings

log = structlog.get_logger(__name__)

SESSION_S: Final = 10
SLEPT_S: Final = 7.0
"""Less than the session: a process that slept longer may have lost its partitions."""
ACK_BOUND_S: Final = 20.0
WRITE_EVERY_S: Final = 1.0
STUCK_S: Final = 30.0
RESTORE_S: Final = 120.0
STOP_S: Final = 6.0


class StreamSettings(Settings):
    """Settings of a view, which needs no database."""

    needs_postgres: ClassVar[bool] = False


class View(Protocol):
    """What `run` needs of a view; `services/orders/streams.py` says what each part must keep to."""

    name: str
    app: Any
    ready: bool
    last_progress: float

    async def write(self) -> None: ...
    async def lag(self) -> Mapping[int, int]: ...
    def show(self, now_s: int) -> None: ...


def make_app(name: str, settings: Settings) -> Any:
    """Make the faust app: without web, leader or new topics.

    Keys and values are bytes, so a message reaches no codec.
    """
    app = faust.App(
        f"{settings.topic_prefix}{name}",
        broker=";".join(f"kafka://{server.strip()}" for server in settings.kafka.split(",")),
        store="memory://",
        # faust requires a folder; with this store it writes nothing there.
        datadir=Path(tempfile.gettempdir()) / f"{settings.topic_prefix}{name}",
        autodiscover=False,
        web_enabled=False,
        key_serializer="raw",
        value_serializer="raw",
        processing_guarantee="at_least_once",
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=topics.PARTITIONS,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_MS,
        consumer_max_fetch_size=FETCH_BYTES,
        broker_max_poll_records=500,
        # Events decoded but not yet folded. faust's 4096 waste memory: the agent never waits for
        # more.
        stream_buffer_maxsize=500,
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=3,
        broker_request_timeout=30,
        broker_rebalance_timeout=30,
        broker_max_poll_interval=300,
        producer_acks=-1,
        # The rows of a second leave together. As single requests they were an eighth of the view's
        # cost.
        producer_linger=0.005,
        producer_request_timeout=ACK_BOUND_S,
        stream_wait_empty=False,
        **_credentials(settings.kafka_security),
    )
    app.transport.Consumer = _Consumer  # type: ignore[misc]
    return app


class _CommittedThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only, as services do.

    On its own, faust does so only if it also writes transactions.
    """

    def _create_worker_consumer(self, transport: Any) -> Any:
        made = super()._create_worker_consumer(transport)
        made._isolation_level = "read_committed"  # read at its start; faust has no such setting
        return made


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> Any:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)


def _credentials(security: Security) -> Mapping[str, Any]:
    if security.sasl:
        given = faust.SASLCredentials(
            username=security.user,
            password=security.password,
            mechanism=MECHANISM,
            ssl_context=security.context,
        )
        return {"broker_credentials": given}
    return {"broker_credentials": faust.SSLCredentials(security.context)} if security.tls else {}


async def publish(app: Any, topic: str, records: Iterable[tuple[int, bytes, bytes | None]]) -> None:
    """Publish records, each a partition, a key and a value, and await every acknowledgement.

    Each partition's records go in order, in batches filled here. faust's own `send` makes five
    objects and a future for every record, which was a fifth of the view's cost.
    """
    producer = (await app.maybe_start_producer())._ensure_producer()
    filling: dict[int, Any] = {}
    acks: list[Any] = []
    for partition, key, value in records:
        batch = filling.get(partition)
        if batch is None or batch.append(timestamp=None, key=key, value=value) is None:
            if batch is not None:
                acks.append(await producer.send_batch(batch, topic, partition=partition))
            batch = filling[partition] = producer.create_batch()
            batch.append(timestamp=None, key=key, value=value)
    acks += [
        await producer.send_batch(batch, topic, partition=partition)
        for partition, batch in filling.items()
    ]
    await asyncio.gather(*acks)


async def partitions_of(app: Any, topic: str) -> int:
    """Return the number of the topic's partitions."""
    producer = (await app.maybe_start_producer())._ensure_producer()
    return len(await producer.partitions_for(topic))


def end(why: str, **facts: Any) -> NoReturn:
    """End the process at once, without an orderly stop's commit. The supervisor restarts it."""
    log.error("the view ends and must be started anew", why=why, **facts)
    sys.stderr.flush()
    os._exit(1)


class Pulse:
    """Notices that the process slept: stopped, swapped out, or on a suspended machine."""

    def __init__(self) -> None:
        self._last = _clock()

    def beat(self) -> None:
        """Check for a sleep, then note the time."""
        self.check()
        self._last = _clock()

    def check(self) -> None:
        """End the process if it may have slept through its session, before it does harm."""
        slept = _clock() - self._last
        if slept > SLEPT_S:
            end("the process slept through its session", seconds=round(slept, 1))

    @property
    def is_beating(self) -> bool:
        return _clock() - self._last < SLEPT_S


def _clock() -> float:
    """Return seconds that also pass while the machine is suspended, if the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


PULSE: Final = Pulse()


async def run(view: View, settings: Settings, stop: asyncio.Event) -> None:
    """Work until `stop` is set. Then write what is folded, and leave the group in order."""
    PULSE.beat()
    runner, port = await health.serve(
        settings.bind,
        settings.metrics_port,
        ready={"restored": lambda: view.ready},
        alive={"loop": lambda: PULSE.is_beating},
    )
    log.info("view starts", view=view.name, port=port)
    metrics.BUILD_INFO.labels(view.name, version("crossborder")).set(1)
    for metric in (metrics.ASSIGNED, metrics.REBALANCES, metrics.LAST_PROGRESS, metrics.LOOP_LAG):
        metric.begin((view.name,))
    starting = asyncio.create_task(view.app.start())
    jobs = [
        asyncio.create_task(job) for job in (_heart(view, starting), _write(view), _watch(view))
    ]
    await stop.wait()
    for job in jobs[1:]:
        job.cancel()
    await asyncio.gather(*jobs[1:], return_exceptions=True)
    try:
        async with asyncio.timeout(STOP_S):
            if view.ready:
                await view.write()
            await view.app.stop()
    except TimeoutError:
        log.warning(
            "faust did not stop in time; what it did not commit is read again", view=view.name
        )
    jobs[0].cancel()
    await runner.cleanup()
    log.info("view stopped", view=view.name)


async def _heart(view: View, starting: asyncio.Task[Any]) -> None:
    lags: deque[float] = deque(maxlen=60)
    while True:
        before = time.monotonic()
        PULSE.beat()
        if view.app.crashed or (
            starting.done() and not starting.cancelled() and starting.exception()
        ):
            end("faust crashed", error=repr(view.app.crash_reason or starting.exception()))
        await asyncio.sleep(0.25)
        lags.append(max(0.0, time.monotonic() - before - 0.25))
        metrics.LOOP_LAG.labels(view.name).set(max(lags))


async def _write(view: View) -> None:
    while True:
        await asyncio.sleep(WRITE_EVERY_S)
        # Shielded: a write that has begun ends before the process stops.
        await asyncio.shield(view.write())


async def _watch(view: View) -> None:
    """End the process if there is lag and no progress: a faust consumer can die silently."""
    since = time.monotonic()
    while True:
        await asyncio.sleep(2)
        view.show(int(time.time()))
        behind = 0
        try:
            async with asyncio.timeout(STUCK_S / 2):
                behind = sum((await view.lag()).values())
        except Exception as error:  # noqa: BLE001  without the lag, time decides
            log.warning("the lag is not known", error=type(error).__name__)
        now = time.monotonic()
        if view.ready:
            since = now if not behind else max(since, view.last_progress)
        metrics.WATCHDOG.labels(view.name, "consumer").set(time.time() - (now - since))
        if now - since > (STUCK_S if view.ready else RESTORE_S):
            end("no progress", lag=behind, ready=view.ready)


def main(name: str, settings: Settings, make: Callable[[Any, Settings], View]) -> None:
    """Run a view until SIGTERM or SIGINT. Exit status 1 asks the supervisor for a restart."""
    # As in a service: batches make and drop many small objects without cycles.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    logs.configure(name, settings.log_level, settings.log_format)
    # faust reads Kafka in a thread. The policy makes the event loop of that thread.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        uvloop.run(_main(name, settings, make))
    except Misconfigured as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(2)
    # faust's threads may outlive its stop. Everything that matters is in the log.
    sys.stderr.flush()
    os._exit(0)


async def _main(name: str, settings: Settings, make: Callable[[Any, Settings], View]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(make(make_app(name, settings), settings), settings, stop)
