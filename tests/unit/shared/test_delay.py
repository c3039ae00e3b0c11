"""How long records waited, when those who wrote them have clocks of their own."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from services.orders.handlers import SUBSCRIPTIONS
from shared import metrics, topics
from shared.consumer import Consumer


def waited(topic: str, *stamped_ms: int) -> float:
    """What is observed of one poll."""
    consumer: Any = SimpleNamespace(
        _sources=SUBSCRIPTIONS.sources, _service="delay", plain=lambda name: name
    )
    child = metrics.QUEUE_DELAY.labels("delay", topic)
    before = child._sum.get()
    polled = {
        TopicPartition(topic, 0): [SimpleNamespace(timestamp=ms, headers=()) for ms in stamped_ms]
    }
    Consumer._observe_delay(consumer, polled)
    return float(child._sum.get() - before)


def test_a_shops_record_of_1970_has_not_waited_since_then_and_hides_no_one_who_waits() -> None:
    now_ms = int(time.time() * 1000)
    assert waited(topics.SUBMISSIONS, 0) < 60
    assert waited(topics.SUBMISSIONS, now_ms // 1000) < 60
    assert waited(topics.SUBMISSIONS, now_ms + 10**9) < 60
    assert waited(topics.SUBMISSIONS, 0, now_ms - 90_000, now_ms) == pytest.approx(90, abs=30)
    assert waited(topics.SUBMISSIONS, now_ms - 90_000) == pytest.approx(90, abs=30)


def test_our_own_clock_is_believed_however_long_ago_it_was() -> None:
    assert waited(topics.PAYMENTS, int(time.time() * 1000) - 3 * 86_400_000) == pytest.approx(
        3 * 86_400, abs=30
    )
