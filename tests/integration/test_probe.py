"""The prober on a real broker: its order goes out as a shop's does, and what it says became of it is what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from prometheus_client import REGISTRY

from deploy.prober import Prober, ProbeSettings
from deploy.synthetic_order import SyntheticOrder
from services.orders.intake.decoding import read_submission
from shared import topics
from shared.clock import utc_now
from shared.envelope import headers_of

Answers = Callable[[str], tuple[str, ...]]


@dataclass
class Orders:
    """Stands for everything behind the topics: reads submissions and says what `answers` makes of them."""

    kafka: str
    prefix: str
    answers: Answers
    heard: list[Any] = field(default_factory=list)

    async def run(self, ready: asyncio.Event) -> None:
        reader = AIOKafkaConsumer(
            self.prefix + topics.SUBMISSIONS,
            bootstrap_servers=self.kafka,
            auto_offset_reset="earliest",
        )
        writer = AIOKafkaProducer(bootstrap_servers=self.kafka)
        await reader.start()
        await writer.start()
        try:
            ready.set()
            async for record in reader:
                self.heard.append(record)
                (found,) = read_submission(record.value, record.headers)
                for wire_type in self.answers(found.order_no):
                    headers = headers_of(
                        event_id=uuid4(), event_type=wire_type, source="orders", at=utc_now()
                    )
                    key = str(found.order_id).encode()
                    await writer.send_and_wait(
                        self.prefix + topics.ORDERS, b"{}", key=key, headers=list(headers)
                    )
        finally:
            await writer.stop()
            await reader.stop()


@asynccontextmanager
async def probing(
    kafka: str, prefix: str, answers: Answers, late_s: float = 20
) -> AsyncIterator[tuple[Prober, Orders, Callable[[], Awaitable[SyntheticOrder]]]]:
    await topics.create_topics(kafka, prefix)
    orders, ready = Orders(kafka, prefix, answers), asyncio.Event()
    over: asyncio.Queue[SyntheticOrder] = asyncio.Queue()
    settings = ProbeSettings(kafka=kafka, topic_prefix=prefix, probe_late_s=late_s)
    prober = Prober(settings, over.put_nowait)
    answering = asyncio.create_task(orders.run(ready))
    await prober.open()
    await ready.wait()
    following = asyncio.create_task(prober._follow())

    async def ended() -> SyntheticOrder:
        async with asyncio.timeout(30):
            return await over.get()

    try:
        yield prober, orders, ended
    finally:
        for task in (following, answering):
            task.cancel()
        await asyncio.gather(following, answering, return_exceptions=True)
        await prober.close()


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("crossborder_probe_orders_total", {"outcome": outcome}) or 0


def fulfilled(_order_no: str) -> tuple[str, ...]:
    return ("order.placed.v1", "order.fulfilled.v1")


async def test_an_order_that_is_fulfilled_is_counted_timed_and_makes_the_last_success(
    kafka: str, topic_prefix: str
) -> None:
    before, timed = (
        counted("fulfilled"),
        REGISTRY.get_sample_value("crossborder_probe_order_seconds_count", {"stage": "total"}),
    )
    async with probing(kafka, topic_prefix, fulfilled) as (prober, orders, ended):
        for _ in range(3):
            await prober.publish()
            probe = await ended()
            assert probe.outcome == "fulfilled"
            assert 0 < probe.took_s < 20
        assert len({record.key for record in orders.heard}) == 3
        assert all(
            dict(record.headers)["traceparent"].startswith(b"00-") for record in orders.heard
        )
    assert counted("fulfilled") == before + 3
    assert (
        REGISTRY.get_sample_value("crossborder_probe_order_seconds_count", {"stage": "total"})
        == (timed or 0) + 3
    )
    assert (
        REGISTRY.get_sample_value("crossborder_probe_order_seconds_count", {"stage": "placed"}) or 0
    ) >= 3
    last = REGISTRY.get_sample_value("crossborder_probe_last_success_timestamp_seconds") or 0
    assert (
        last
        >= (REGISTRY.get_sample_value("crossborder_probe_last_attempt_timestamp_seconds") or 0)
        > 0
    )
    assert REGISTRY.get_sample_value("crossborder_probe_orders_in_flight") == 0


@pytest.mark.parametrize("end", ["rejected", "cancelled", "returned"])
async def test_a_wrong_end_is_no_success(kafka: str, topic_prefix: str, end: str) -> None:
    before, last = (
        counted(end),
        REGISTRY.get_sample_value("crossborder_probe_last_success_timestamp_seconds"),
    )
    async with probing(kafka, topic_prefix, lambda _no: ("order.placed.v1", f"order.{end}.v1")) as (
        prober,
        _,
        ended,
    ):
        await prober.publish()
        assert (await ended()).outcome == end
    assert counted(end) == before + 1
    assert REGISTRY.get_sample_value("crossborder_probe_last_success_timestamp_seconds") == last


async def test_an_order_nobody_brings_to_its_end_is_late_once(
    kafka: str, topic_prefix: str
) -> None:
    before = counted("late")
    async with probing(kafka, topic_prefix, lambda _no: ("order.placed.v1",), late_s=1) as (
        prober,
        _,
        ended,
    ):
        await prober.publish()
        assert (await ended()).outcome == "late"
        prober.expire()
    assert counted("late") == before + 1
    assert REGISTRY.get_sample_value("crossborder_probe_orders_in_flight") == 0


async def test_a_broker_that_takes_nothing_is_an_order_unpublished(
    kafka: str, topic_prefix: str
) -> None:
    before = counted("unpublished")
    async with probing(kafka, topic_prefix, fulfilled) as (prober, _, ended):
        await prober._writer.stop()
        await prober.publish()
        assert (await ended()).outcome == "unpublished"
    assert counted("unpublished") == before + 1


async def test_one_partition_after_the_other_is_tried_and_only_the_one_in_use_is_read(
    kafka: str, topic_prefix: str
) -> None:
    partitions = set()
    async with probing(kafka, topic_prefix, fulfilled) as (prober, orders, ended):
        everything = {
            TopicPartition(topic_prefix + topics.ORDERS, number)
            for number in range(topics.PARTITIONS)
        }
        for _ in range(topics.PARTITIONS):
            probe = await prober.publish()
            if probe.outcome is None:
                assert len(everything - prober._reader.paused()) <= 1
            partitions.add((await ended()).partition)
            assert prober._reader.paused() == everything
        assert len(orders.heard) == topics.PARTITIONS
    assert partitions == set(range(topics.PARTITIONS))
