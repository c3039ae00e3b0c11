"""The relay publishes the outbox in order, at least once, and deletes acknowledged records."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from shared import aside, metrics
from shared.database import LOST, RETRYABLE, Connection
from shared.envelope import Outgoing, uuid_or_none
from shared.failpoints import Failpoints
from shared.kafka import OPEN, Security
from shared.loop_failures import LoopFailures
from shared.outbox import BOUND, _sealing, refuse_unfit, unpack_headers
from shared.producer import Sent, TopicClosed, make_producer, publish, stop_producer
from shared.sealing import Sealing
from shared.tasks import wait_for_event
from shared.topics import MESSAGE_BYTES_MAX, bytes_max_of, dead_letters_of, named

log = structlog.get_logger(__name__)

READ_MAX: Final = 2000
READ_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of the values read at once."""
POLL_S: Final = 0.03
POLL_MAX_S: Final = 0.12
"""Longest pause between polls: the pause starts at POLL_S and doubles while idle.

Commits of this process wake the relay directly.
"""
ACK_BOUND_S: Final = 30.0
LEADER_RETRY_S: Final = 1.0
ASIDE_EVERY_S: Final = 5.0
TOPIC_CLOSED_S: Final = 30.0
TOPIC_CLOSED_MAX_S: Final = 300.0
"""First and longest pause of a topic that is missing or may not be written. Other topics go on."""
ASIDE: Final = "outbox"
RELAY_LOCK: Final = 0x6F7574


class Narrowed(Exception):
    """A record cannot be published, so fewer are read next."""


class Relay:
    """Publishes one service's outbox. Of several replicas, the one with the advisory lock does."""

    def __init__(
        self,
        service: str,
        pool: Any,
        bootstrap: str,
        *,
        prefix: str = "",
        sealing: Sealing | None = None,
        failpoints: Failpoints | None = None,
        make: Callable[[str, str, Security], AIOKafkaProducer] = make_producer,
        security: Security = OPEN,
    ) -> None:
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
        self._aside: dict[int, bytes | None] = {}
        """Ids of records set aside, each with its key if records behind it must wait."""
        self._looked = float("-inf")
        self._closed: dict[str, tuple[float, float]] = {}
        """Topics that take no records: the end of the pause, and its length in seconds."""
        self.leading = False
        self.last_progress = time.monotonic()

    def wake(self) -> None:
        """Read at once: this process has committed records."""
        self._wake.set()

    async def run(self) -> None:
        """Publish while this process holds the lock. Ends only by cancellation."""
        failures = LoopFailures(self._service, "relay")
        while True:
            try:
                await self._try_to_lead()
                failures.reset()
            except (*LOST, *RETRYABLE) as error:
                log.warning(
                    "relay lost its database connection",
                    service=self._service,
                    error=type(error).__name__,
                )
            except Exception as error:  # noqa: BLE001  counted, logged and alerted
                await asyncio.sleep(failures.record(error))
            await asyncio.sleep(LEADER_RETRY_S)

    async def _try_to_lead(self) -> None:
        conn = await self._pool.acquire()
        try:
            if await conn.fetchval(
                "SELECT pg_try_advisory_lock($1, hashtext(current_schema()))", RELAY_LOCK
            ):
                await self._lead(conn)
            self.last_progress = time.monotonic()
        finally:
            self._set_leading(False)
            # The lock lives as long as its session, so the connection must not return to the pool
            # alive. A broken connection is in the pool already and cannot be ended again.
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
            except (KafkaError, TimeoutError, TopicClosed, Narrowed) as error:
                # A failed producer may have a hole in its sequence. Make a new one and read again.
                metrics.PRODUCER_FAILURES.labels(self._service).inc()
                log.warning(
                    "relay starts a new producer", service=self._service, error=type(error).__name__
                )
                await asyncio.sleep(0.2)
            finally:
                await asyncio.shield(stop_producer(producer))

    async def _publish(self, conn: Connection, producer: AIOKafkaProducer) -> None:
        self._wake.clear()
        if time.monotonic() - self._looked > ASIDE_EVERY_S:
            await self._look_aside(conn, producer)
        most = self._most
        rows = await self._read(conn, most)
        self.last_progress = time.monotonic()
        if rows:
            await self._send_or_narrow(conn, producer, rows)
            self._most = min(READ_MAX, 2 * most)
        self._idle_s = POLL_S if rows else min(POLL_MAX_S, 2 * self._idle_s)
        if len(rows) < most:
            await wait_for_event(self._wake, self._idle_s)

    async def _read(self, conn: Connection, most: int) -> Sequence[Any]:
        """Read the next records, limited in number and bytes.

        Leave out records set aside, the records behind them, and closed topics.
        """
        closed = [topic for topic, (until, _) in self._closed.items() if until > time.monotonic()]
        rows: Sequence[Any] = await conn.fetch(
            "SELECT id, topic, key, headers, value, sealed FROM outbox "  # noqa: S608
            f"WHERE {_READY} ORDER BY id LIMIT ("
            "SELECT CASE WHEN coalesce(sum(n), 0) <= $5 THEN $1::int "
            "ELSE greatest(1, $5 / max(n)) END "
            f"FROM (SELECT octet_length(value) AS n FROM outbox WHERE {_READY} "
            "ORDER BY id LIMIT $1) AS next)",
            most,
            list(self._aside),
            [key for key in self._aside.values() if key is not None],
            closed,
            READ_BYTES_MAX,
        )
        return rows

    async def _send_or_narrow(
        self, conn: Connection, producer: AIOKafkaProducer, rows: Sequence[Any]
    ) -> None:
        """Send the rows. If a row is at fault, read half as many next, until it is alone."""
        try:
            await self._send(conn, producer, rows)
        except TopicClosed as closed:
            topic = closed.topic.removeprefix(self._prefix)
            pause_s = min(
                TOPIC_CLOSED_MAX_S, 2 * self._closed.get(topic, (0.0, TOPIC_CLOSED_S / 2))[1]
            )
            self._closed[topic] = time.monotonic() + pause_s, pause_s
            log.error(
                "a topic takes no records, they wait and others go on: create it, or give this "
                "user the right to write it",
                service=self._service,
                topic=topic,
                error=str(closed),
                again_in_s=pause_s,
            )
            raise
        except Exception as error:
            if not _is_of_a_record(error):
                raise
            self._most = max(1, len(rows) // 2)
            if len(rows) == 1:
                self._most = READ_MAX
                await self._set_aside(conn, [(rows[0], error)])
            raise Narrowed(type(error).__name__) from error

    async def _set_aside(self, conn: Connection, failed: Sequence[tuple[Any, Exception]]) -> None:
        """Leave these rows in the outbox, and the rows of the same order behind them."""
        items = [
            aside.Failed(str(row["id"]), uuid_or_none(row["key"]), *_why(row, error))
            for row, error in failed
        ]
        await aside.put(conn, self._service, ASIDE, items)
        self._aside |= {row["id"]: _ordered_key(row["topic"], row["key"]) for row, _ in failed}

    async def _look_aside(self, conn: Connection, producer: AIOKafkaProducer) -> None:
        """Read which records are set aside, and send each due record alone."""
        self._looked = time.monotonic()
        rows = await conn.fetch(
            "SELECT a.subject, a.retry_at <= now() AS due, o.id, o.topic, o.key FROM aside a "
            "LEFT JOIN outbox o ON o.id = a.subject::bigint WHERE a.source = $1 ORDER BY o.id",
            ASIDE,
        )
        if gone := [row["subject"] for row in rows if row["id"] is None]:
            await aside.clear(conn, ASIDE, gone)
        self._aside = {
            row["id"]: _ordered_key(row["topic"], row["key"])
            for row in rows
            if row["id"] is not None
        }
        for number in [row["id"] for row in rows if row["id"] is not None and row["due"]]:
            record = await conn.fetch(
                "SELECT id, topic, key, headers, value, sealed FROM outbox WHERE id = $1", number
            )
            try:
                await self._send_or_narrow(conn, producer, record)
            except TopicClosed as error:
                await self._set_aside(conn, [(record[0], error)])
                raise
            if not await conn.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE id = $1)", number):
                await aside.clear(conn, ASIDE, [str(number)])
                self._aside.pop(number, None)

    async def _send(
        self, conn: Connection, producer: AIOKafkaProducer, rows: Sequence[Any]
    ) -> None:
        """Publish the rows, and delete them once the broker has acknowledged all."""
        self._fail.hit("relay_after_read")
        ready, records = await self._opened(conn, rows)
        if not ready:
            return
        started = time.perf_counter()
        async with asyncio.timeout(ACK_BOUND_S):
            await publish(producer, records)
        metrics.PUBLISH_SECONDS.labels(self._service).observe(time.perf_counter() - started)
        self._fail.hit("relay_after_send")
        await conn.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", ready)
        metrics.PUBLISHED.labels(self._service).inc(len(ready))
        self._fail.hit("relay_after_delete")

    async def _opened(self, conn: Connection, rows: Sequence[Any]) -> tuple[list[int], list[Sent]]:
        """Return ids and records. Set an unreadable row aside: the rows behind it wait."""
        ids: list[int] = []
        records: list[Sent] = []
        failed: list[tuple[Any, Exception]] = []
        waiting: set[bytes] = set()
        for row in rows:
            if waiting and _ordered_key(row["topic"], row["key"]) in waiting:
                continue
            try:
                records.append(self._record(row))
                ids.append(row["id"])
            except Exception as error:  # noqa: BLE001  whatever it is, it is this row's
                failed.append((row, error))
                if (key := _ordered_key(row["topic"], row["key"])) is not None:
                    waiting.add(key)
        if failed:
            await self._set_aside(conn, failed)
        return ids, records

    def _record(self, row: Any) -> Sent:
        value: bytes = row["value"]
        if row["sealed"]:
            value = _sealing(self._sealing).decrypt(value, BOUND)
        headers = unpack_headers(row["headers"])
        if len(value) > MESSAGE_BYTES_MAX // 2:
            # The broker would refuse this record and accept those behind it.
            refuse_unfit([Outgoing(row["topic"], row["key"], value, tuple(headers))])
        return named(row["topic"], self._prefix), row["key"], value, headers


_READY: Final = (
    "id <> ALL($2::bigint[]) AND (key <> ALL($3::bytea[]) OR topic LIKE '%.dead-letters') "
    "AND topic <> ALL($4::text[])"
)
"""Condition of the rows that may be published now."""


def _ordered_key(topic: str, key: bytes) -> bytes | None:
    """Return the key of a record that must stay in order; None if its order does not matter."""
    return None if topic.endswith(dead_letters_of("")) or uuid_or_none(key) is None else key


def _is_of_a_record(error: Exception) -> bool:
    """Tell whether a record is at fault, and not network, broker or database."""
    if isinstance(error, KafkaError):
        return isinstance(error, MessageSizeTooLargeError)
    return not aside.is_blameless(error)


def _why(row: Any, error: Exception) -> tuple[str, str]:
    if isinstance(error, MessageSizeTooLargeError):
        return "too_large", (
            f"the broker does not take its {len(row['value'])} bytes: raise max.message.bytes of "
            f"{row['topic']} to {bytes_max_of(row['topic'])}"
        )
    return aside.reason_of(error)
