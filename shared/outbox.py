"""The outbox and its relay: what a transaction decided to say is said, in order, at least once, crash or not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import asyncpg
import orjson
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import murmur2
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from shared import metrics
from shared.database import LOST, Connection
from shared.envelope import Outgoing
from shared.errors import Unprocessable
from shared.failpoints import Failpoints
from shared.kafka import OPEN, Security
from shared.sealing import Sealing
from shared.tasks import wait_for_event
from shared.topics import DEAD_LETTER_BYTES_MAX, bytes_max_of, named

log = structlog.get_logger(__name__)

READ_MAX: Final = 2000
POLL_S: Final = 0.03
POLL_MAX_S: Final = 0.12
"""What another replica wrote is found so soon at first, and each time nothing is found, twice as late, to a bound. What this
process wrote it says itself."""
ACK_BOUND_S: Final = 30.0
LEADER_RETRY_S: Final = 1.0
RELAY_LOCK: Final = 0x6F7574
BOUND: Final = b"outbox"
Sent = tuple[str, bytes | None, bytes, list[tuple[str, bytes]]]
"""A record on its way: topic, key, value, headers."""


def make_producer(bootstrap: str, client_id: str, security: Security = OPEN) -> AIOKafkaProducer:
    """An idempotent producer with `acks=all`; its settings are asserted by a test."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap, client_id=client_id, enable_idempotence=True, acks="all", linger_ms=0,
        max_batch_size=256 * 1024, max_request_size=DEAD_LETTER_BYTES_MAX, request_timeout_ms=15_000,
        **security.options(),
    )  # fmt: skip


async def append(conn: Connection, sealing: Sealing | None, records: Sequence[Outgoing]) -> None:
    """Write the records in the caller's transaction, in this order, in one query.

    Raises Unprocessable for one that its topic would not take: the relay could never pass it.
    """
    if not records:
        return
    for r in records:
        if not fits(r):
            raise Unprocessable(
                "too_large",
                f"what follows from it for {r.topic} has {size_of(r)} bytes: at most {bytes_max_of(r.topic)} are taken",
            )
    # COPY writes whole pages at once, which costs the server half of what an INSERT of the same rows does.
    await conn.copy_records_to_table(
        "outbox", columns=("topic", "key", "headers", "value", "sealed"),
        records=[
            (r.topic, r.key, pack_headers(r.headers), _sealing(sealing).rest(r.value, BOUND) if r.sealed else r.value, r.sealed)
            for r in records
        ],
    )  # fmt: skip


def fits(record: Outgoing) -> bool:
    """Whether the record's topic takes it."""
    return size_of(record) <= bytes_max_of(record.topic)


def size_of(record: Outgoing) -> int:
    """Bytes of the record as the broker counts them where it is not compressed, with the batch around it; some 20 too many."""
    return int(DefaultRecordBatchBuilder.estimate_size_in_bytes(record.key, record.value, list(record.headers)))


def _sealing(sealing: Sealing | None) -> Sealing:
    if sealing is None:
        raise TypeError("this service has no keys, so it may not publish personal particulars")
    return sealing


def pack_headers(headers: Sequence[tuple[str, bytes]]) -> bytes:
    """Headers as JSON; values may be any bytes, so they are kept byte for character (latin-1)."""
    return orjson.dumps([[name, (value or b"").decode("latin-1")] for name, value in headers])


def unpack_headers(packed: bytes) -> list[tuple[str, bytes]]:
    return [(name, value.encode("latin-1")) for name, value in orjson.loads(packed)]


@lru_cache(maxsize=4096)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition every Kafka client's default partitioner gives a key (murmur2), remembered: an order has many records."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


class Relay:
    """Publishes one service's outbox. Of several replicas the one that holds the advisory lock does."""

    def __init__(
        self, service: str, pool: Any, bootstrap: str, *, prefix: str = "", sealing: Sealing | None = None,
        failpoints: Failpoints | None = None, make: Callable[[str, str, Security], AIOKafkaProducer] = make_producer,
        security: Security = OPEN,
    ) -> None:  # fmt: skip
        self._service = service
        self._pool = pool
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._sealing = sealing
        self._fail = failpoints or Failpoints()
        self._make = make
        self._security = security
        self._wake = asyncio.Event()
        self._idle_s = POLL_S
        self._most = READ_MAX
        self._refused: set[int] = set()
        self.leading = False
        self.last_progress = time.monotonic()

    def wake(self) -> None:
        """A transaction that wrote to the outbox was committed in this process."""
        self._wake.set()

    async def run(self) -> None:
        """Lead when the lock can be had, follow otherwise; ends only by cancellation."""
        while True:
            try:
                await self._try_to_lead()
            except LOST as error:
                log.warning("relay lost its database connection", service=self._service, error=type(error).__name__)
            await asyncio.sleep(LEADER_RETRY_S)

    async def _try_to_lead(self) -> None:
        conn = await self._pool.acquire()
        try:
            if await conn.fetchval("SELECT pg_try_advisory_lock($1, hashtext(current_schema()))", RELAY_LOCK):
                await self._lead(conn)
            self.last_progress = time.monotonic()
        finally:
            self._set_leading(False)
            # The lock lives as long as the session: a connection given back to the pool alive would keep it. One that
            # broke is back in the pool already and cannot be ended again.
            with contextlib.suppress(asyncpg.InterfaceError):
                conn.terminate()
            await self._pool.release(conn)

    def _set_leading(self, leading: bool) -> None:
        self.leading = leading
        metrics.RELAY_LEADING.labels(self._service).set(int(leading))

    async def _lead(self, conn: Connection) -> None:
        self._set_leading(True)
        log.info("relay leads", service=self._service)
        while True:
            producer = self._make(self._bootstrap, f"{self._service}-relay", self._security)
            try:
                await producer.start()
                while True:
                    await self._publish(conn, producer)
            except (KafkaError, TimeoutError) as error:
                # A producer that has failed once may have a hole in its sequence: a new one, and read again.
                metrics.PRODUCER_FAILURES.labels(self._service).inc()
                log.warning("relay starts a new producer", service=self._service, error=type(error).__name__)
                await asyncio.sleep(0.2)
            finally:
                await asyncio.shield(_stop(producer))

    async def _publish(self, conn: Connection, producer: AIOKafkaProducer) -> None:
        self._wake.clear()
        most = self._most
        rows = await conn.fetch(
            "SELECT id, topic, key, headers, value, sealed FROM outbox WHERE id <> ALL($2::bigint[]) ORDER BY id LIMIT $1",
            most, list(self._refused),
        )  # fmt: skip
        self.last_progress = time.monotonic()
        if rows:
            try:
                await self._send(conn, producer, rows)
            except MessageSizeTooLargeError:
                self._narrow(rows)
                raise
            self._most = min(READ_MAX, 2 * most)
        self._idle_s = POLL_S if rows else min(POLL_MAX_S, 2 * self._idle_s)
        if len(rows) < most:
            await wait_for_event(self._wake, self._idle_s)

    def _narrow(self, rows: Sequence[Any]) -> None:
        """The broker finds one of these too large: read half as many, until it stands alone and is left where it is.

        It stays in the outbox, and in its gauges, until somebody changes the topic's limit and starts the service anew; nobody
        else waits for it.
        """
        self._most = max(1, len(rows) // 2)
        if len(rows) == 1:
            self._most = READ_MAX
            self._refused.add(rows[0]["id"])
            log.error(
                "the broker does not take a record, it stays in the outbox: raise max.message.bytes of its topic and start anew",
                service=self._service, topic=rows[0]["topic"], outbox_id=rows[0]["id"], bytes=len(rows[0]["value"]),
            )  # fmt: skip

    async def _send(self, conn: Connection, producer: AIOKafkaProducer, rows: Sequence[Any]) -> None:
        """Publish the rows and delete them once the broker has acknowledged them all."""
        self._fail.hit("relay_after_read")
        started = time.perf_counter()
        async with asyncio.timeout(ACK_BOUND_S):
            await publish(producer, (self._record(r) for r in rows))
        metrics.PUBLISH_SECONDS.labels(self._service).observe(time.perf_counter() - started)
        self._fail.hit("relay_after_send")
        await conn.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", [r["id"] for r in rows])
        metrics.PUBLISHED.labels(self._service).inc(len(rows))
        self._fail.hit("relay_after_delete")

    def _record(self, row: Any) -> Sent:
        value: bytes = row["value"]
        if row["sealed"]:
            value = _sealing(self._sealing).unrest(value, BOUND)
        return named(row["topic"], self._prefix), row["key"], value, unpack_headers(row["headers"])


async def publish(producer: AIOKafkaProducer, records: Iterable[Sent]) -> None:
    """Publish the records and await every acknowledgement.

    Each partition's records go as batches filled here, in order: the producer's own `send` makes a future and asks
    four questions for every single record.
    """
    filling: dict[tuple[str, int], Any] = {}
    acks = []
    for topic, key, value, headers in records:
        if not key:
            acks.append(await producer.send(topic, key=None, value=value, headers=headers))
            continue
        place = topic, partition_of(key, len(await producer.partitions_for(topic)))
        batch = filling.get(place)
        if batch is None or batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
            if batch is not None:
                acks.append(await producer.send_batch(batch, topic, partition=place[1]))
            batch = filling[place] = producer.create_batch()
            batch.append(timestamp=None, key=key, value=value, headers=headers)
    acks += [await producer.send_batch(batch, topic, partition=part) for (topic, part), batch in filling.items()]
    await asyncio.gather(*acks)


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(5):
            await producer.stop()
    except (KafkaError, TimeoutError) as error:
        log.warning("producer did not stop cleanly", error=type(error).__name__)


async def measure(conn: Connection, service: str) -> int:
    """Set the outbox gauges; returns how many records wait."""
    row = await conn.fetchrow("SELECT count(*) AS pending, min(at) AS oldest FROM outbox")
    metrics.OUTBOX_PENDING.labels(service).set(row["pending"])
    metrics.OUTBOX_OLDEST.labels(service).set(row["oldest"].timestamp() if row["oldest"] else 0)
    return int(row["pending"])


def utc_now() -> datetime:
    return datetime.now(UTC)
