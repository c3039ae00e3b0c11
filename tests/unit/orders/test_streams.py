"""What the sales view takes from a record and what it shows, without a broker (with one: tests/integration/test_streams.py)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
from aiokafka import TopicPartition

from services.orders.streams import SalesView
from shared import metrics, topics
from shared.envelope import REPLAY_HEADER

NOW = 1_700_000_000


class Consumer:
    """As much of faust's consumer as the view asks."""

    def __init__(self) -> None:
        self.given: set[TopicPartition] = set()

    def assignment(self) -> set[TopicPartition]:
        return self.given

    def stop_flow(self) -> None:
        pass

    async def earliest_offsets(self, *partitions: TopicPartition) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def highwaters(self, *partitions: TopicPartition) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 10)

    async def seek_wait(self, places: dict[TopicPartition, int]) -> None:
        pass


def view_of() -> tuple[SalesView, Consumer]:
    consumer = Consumer()
    app: Any = SimpleNamespace(
        consumer=consumer, on_partitions_revoked=SimpleNamespace(connect=lambda _: None),
        flow_control=SimpleNamespace(suspend=lambda: None), topic=lambda *_, **__: None, agent=lambda *_, **__: lambda f: f,
        Table=lambda *_, **__: SimpleNamespace(data={}, changelog_topic_name="log"),
    )  # fmt: skip
    settings: Any = SimpleNamespace(topic_prefix="")
    return SalesView(app, settings), consumer


async def give(view: SalesView, consumer: Consumer, *partitions: int) -> None:
    consumer.given = {
        TopicPartition(topic, p) for topic in (topics.ORDERS, "log") for p in partitions
    }
    await view._begin()


def record(
    partition: int, offset: int, wire_type: str, ce_id: str, corridor: str = "US-CN", **more: str
) -> Any:
    amount = {"amount": "172.00", "currency": "CNY"}
    value = {"corridor": corridor, "currency": "CNY", "goods_value": amount, "amount_paid": amount}
    headers = {"ce_type": wire_type, "ce_id": ce_id} | more
    return SimpleNamespace(
        partition=partition, offset=offset, value=orjson.dumps(value), timestamp=NOW,
        headers=[(name, text.encode()) for name, text in headers.items()],
    )  # fmt: skip


async def test_a_dead_letter_given_back_is_not_counted_again_however_long_after() -> None:
    view, consumer = view_of()
    await give(view, consumer, 0)
    view.take(record(0, 0, "order.placed.v1", "the one"))
    for offset in range(1, 4002):
        view.take(record(0, offset, "order.lodged.v1", str(offset)))
    view.take(
        record(
            0,
            4002,
            "order.placed.v1",
            "the one",
            **{REPLAY_HEADER: "orders.events.dead-letters/0/0"},
        )
    )
    assert [row.placed for key, row in view._batch.rows.items() if key.size == "hour"] == [1]


async def test_what_another_worker_has_now_is_shown_no_more() -> None:
    """Prometheus adds the workers up: a gauge left behind would be counted beside its new owner's for ever."""
    view, consumer = view_of()
    await give(view, consumer, 0, 1)
    view.take(record(1, 0, "order.fulfilled.v1", "a", "CN-DE"))
    await view.lag()
    view.show(NOW)
    shown = ("CN-DE", "fulfilled", "hour")
    assert _samples(metrics.STREAM_ORDERS, "corridor", "stage", "window")[shown] == 1
    assert (topics.ORDERS, "1") in _samples(metrics.LAG, "topic", "partition")
    await view.revoked()
    await give(view, consumer, 0)
    await view.lag()
    view.show(NOW)
    assert shown not in _samples(metrics.STREAM_ORDERS, "corridor", "stage", "window")
    assert (topics.ORDERS, "1") not in _samples(metrics.LAG, "topic", "partition")


def _samples(metric: Any, *labels: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(s.labels[name] for name in labels): s.value
        for family in metric.collect()
        for s in family.samples
    }
