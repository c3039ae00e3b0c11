"""The prober: publishes synthetic orders as a shop would, and follows each to its end.

It knows two topics and nothing else. Every partition of the orders' events is tried in turn, and
only that one is read.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID, uuid4

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import Field

from deploy.synthetic_order import SUBMITTED, SyntheticOrder, make_submission
from shared import metrics, topics
from shared.clock import BEIJING, utc_now
from shared.envelope import first_headers, headers_of, uuid_or_none
from shared.errors import Misconfigured
from shared.kafka import Security
from shared.parties import key_of, signed_headers
from shared.settings import Settings

log = structlog.get_logger(__name__)


NAME: Final = "probe"


PLACED: Final = b"order.placed.v1"


ENDS: Final = {
    b"order.fulfilled.v1": "fulfilled",
    b"order.rejected.v1": "rejected",
    b"order.cancelled.v1": "cancelled",
    b"order.returned.v1": "returned",
}


ACK_S: Final = 15.0


AGAIN_S: Final = 2.0


class ProbeSettings(Settings):
    """Settings of the prober, which needs no database and no keys."""

    needs_postgres: ClassVar[bool] = False

    metrics_port: int = Field(
        8107,
        ge=0,
        le=65535,
        description="port of /metrics, /healthz and /readyz; 0 for any free one",
    )
    probe_every_s: float = Field(
        60.0, ge=1, le=3600, description="seconds between two synthetic orders"
    )
    probe_late_s: float = Field(
        120.0,
        ge=1,
        le=86400,
        description="seconds within which a synthetic order must be at its end",
    )


class Prober:
    """Publishes synthetic orders and follows them; `ended` is called with each at its end."""

    def __init__(
        self,
        settings: ProbeSettings,
        ended: Callable[[SyntheticOrder], None] = lambda _probe: None,
        security: Security | None = None,
    ) -> None:
        self._settings = settings
        self._security = security or settings.kafka_security
        self._key = key_of(settings.party_pem) if settings.party_pem else None
        self._ended = ended
        self._orders = topics.named(topics.ORDERS, settings.topic_prefix)
        self._submissions = topics.named(topics.SUBMISSIONS, settings.topic_prefix)
        self._open: dict[UUID, SyntheticOrder] = {}
        self._reader: Any = None
        self._writer: Any = None
        self._partitions: list[TopicPartition] = []
        # Two probers, or one restarted, begin at different partitions.
        self._number = secrets.randbelow(10_000)
        self.ready = False
        self.beat = time.monotonic()
        begin()

    async def run(self) -> None:
        """Probe until cancelled.

        Wait for an absent broker, and count the orders that it did not take.
        """
        follower: asyncio.Task[None] | None = None
        try:
            await self.open()
            follower = asyncio.create_task(self._follow())
            while True:
                due = time.monotonic() + self._settings.probe_every_s
                await self.publish()
                while (left := due - time.monotonic()) > 0:
                    if follower.done():
                        follower.result()
                    await asyncio.sleep(min(left, 1.0))
        finally:
            if follower is not None:
                follower.cancel()
                await asyncio.gather(follower, return_exceptions=True)
            await self.close()

    async def open(self) -> None:
        """Connect; wait for an absent broker."""
        kafka, security = self._settings.kafka, self._security.options()
        while True:
            self._reader = AIOKafkaConsumer(
                bootstrap_servers=kafka,
                group_id=None,
                client_id=NAME,
                enable_auto_commit=False,
                auto_offset_reset="latest",
                isolation_level="read_committed",
                fetch_max_wait_ms=100,
                max_partition_fetch_bytes=2 * topics.MESSAGE_BYTES_MAX,
                **security,
            )
            self._writer = AIOKafkaProducer(
                bootstrap_servers=kafka,
                client_id=NAME,
                enable_idempotence=True,
                acks="all",
                request_timeout_ms=int(ACK_S * 1000),
                **security,
            )
            try:
                await self._reader.start()
                await self._writer.start()
                count = await self._count_partitions()
                self._partitions = [TopicPartition(self._orders, number) for number in range(count)]
                self._reader.assign(self._partitions)
                self._reader.pause(*self._partitions)
                self.ready = True
                return
            except (KafkaError, OSError) as error:
                log.warning("the prober waits for Kafka", error=type(error).__name__)
                await self.close()
                await asyncio.sleep(AGAIN_S)

    async def _count_partitions(self) -> int:
        partitions = await self._writer.partitions_for(self._orders)
        if not partitions:
            raise Misconfigured(
                f"create the topics with `crossborder topics`: the broker has no {self._orders}"
            )
        return len(partitions)

    async def close(self) -> None:
        self.ready = False
        for end in (self._reader, self._writer):
            if end is not None:
                await asyncio.gather(end.stop(), return_exceptions=True)

    async def publish(self) -> SyntheticOrder:
        """Publish one order; count it as unpublished if the broker does not take it in time."""
        self._number += 1
        at = datetime.now(BEIJING)
        given = self._settings
        made, order_id, partition = make_submission(
            given.probe_platform, at, len(self._partitions), self._number, given.probe_every_s
        )
        probe = SyntheticOrder(
            made["order_no"], order_id, partition, made["direction"], secrets.token_hex(16)
        )
        metrics.PROBE_LAST_ATTEMPT.set_to_current_time()
        traceparent = ("traceparent", f"00-{probe.trace_id}-{secrets.token_hex(8)}-01".encode())
        headers = [
            *headers_of(event_id=uuid4(), event_type=SUBMITTED, source=NAME, at=utc_now()),
            traceparent,
        ]
        try:
            async with asyncio.timeout(ACK_S):
                await self._read_from_now(self._partitions[partition])
                # Noted before it is sent: its first events may arrive before the acknowledgement.
                self._open[order_id] = probe
                probe.published = time.monotonic()
                value = json.dumps(made, ensure_ascii=False).encode()
                signed = list(signed_headers(self._key, headers, value))
                await self._writer.send_and_wait(
                    self._submissions, value, key=probe.order_no.encode(), headers=signed
                )
        except (KafkaError, TimeoutError, OSError) as error:
            log.warning("the synthetic order was not taken", error=type(error).__name__)
            # It may have arrived all the same, but so long a wait is an outage to look at.
            self._end(probe, "unpublished")
        metrics.PROBE_IN_FLIGHT.set(len(self._open))
        return probe

    async def _read_from_now(self, tp: TopicPartition) -> None:
        if any(probe.partition == tp.partition for probe in self._open.values()):
            return
        ends = await self._reader.end_offsets([tp])
        self._reader.seek(tp, ends[tp])
        self._reader.resume(tp)

    async def _follow(self) -> None:
        while True:
            for batch in (await self._reader.getmany(timeout_ms=200)).values():
                for record in batch:
                    self._see(record)
            self.expire()
            self.beat = time.monotonic()

    def _see(self, record: Any) -> None:
        probe = self._open.get(uuid_or_none(record.key) or UUID(int=0))
        if probe is None:
            return
        wire_type = first_headers(record.headers).get("ce_type", b"")
        if wire_type == PLACED:
            self._observe("placed", probe)
        elif outcome := ENDS.get(wire_type):
            self._end(probe, outcome)

    def expire(self) -> None:
        """Give up the orders that are late; their later end is not counted."""
        bound = time.monotonic() - self._settings.probe_late_s
        for probe in [probe for probe in self._open.values() if probe.published < bound]:
            log.error(
                "a synthetic order is late",
                order_no=probe.order_no,
                order_id=str(probe.order_id),
                partition=probe.partition,
            )
            self._end(probe, "late")

    def _observe(self, stage: str, probe: SyntheticOrder) -> None:
        seconds = time.monotonic() - probe.published
        metrics.PROBE_SECONDS.labels(stage).observe(seconds, {"trace_id": probe.trace_id})

    def _end(self, probe: SyntheticOrder, outcome: str) -> None:
        self._open.pop(probe.order_id, None)
        if self.ready and not any(
            other.partition == probe.partition for other in self._open.values()
        ):
            self._reader.pause(self._partitions[probe.partition])
        probe.outcome, probe.took_s = outcome, time.monotonic() - probe.published
        metrics.PROBE_ORDERS.labels(outcome).inc()
        metrics.PROBE_IN_FLIGHT.set(len(self._open))
        if outcome == "fulfilled":
            self._observe("total", probe)
            metrics.PROBE_LAST_SUCCESS.set_to_current_time()
        elif outcome not in ("late", "unpublished"):
            log.error(
                "a synthetic order came to a wrong end",
                order_no=probe.order_no,
                order_id=str(probe.order_id),
                end=outcome,
            )
        self._ended(probe)


def begin() -> None:
    metrics.export(metrics.PROBE_LAST_SUCCESS, metrics.PROBE_LAST_ATTEMPT, metrics.PROBE_IN_FLIGHT)
    metrics.PROBE_ORDERS.begin(metrics.PROBE_OUTCOMES)
    metrics.PROBE_SECONDS.begin(("placed", "total"))


async def once(settings: ProbeSettings, security: Security | None = None) -> SyntheticOrder:
    """Publish one synthetic order and follow it to its end, or until it is late."""
    over: asyncio.Queue[SyntheticOrder] = asyncio.Queue()
    prober = Prober(settings, over.put_nowait, security)
    await prober.open()
    follower = asyncio.create_task(prober._follow())
    try:
        await prober.publish()
        ending = asyncio.create_task(over.get())
        await asyncio.wait({ending, follower}, return_when=asyncio.FIRST_COMPLETED)
        if follower.done():
            follower.result()
        return await ending
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
        await prober.close()
