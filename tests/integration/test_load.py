"""The steady orders of the profile `load`, on a real broker."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer

from deploy import load
from services.cli.connect import RunningStack
from shared.topics import SUBMISSIONS, create_topics, named


async def test_a_round_is_acknowledged_and_readable(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    await create_topics(kafka, topic_prefix, partitions=1)
    beat = tmp_path / "beat"
    sent = await load.publish_round(
        RunningStack(kafka, "", topic_prefix, tmp_path), 20.0, beat, round_s=1.0
    )
    assert sent == 20
    assert load.is_fresh(time.time(), beat)
    reader = AIOKafkaConsumer(
        named(SUBMISSIONS, topic_prefix),
        bootstrap_servers=kafka,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await reader.start()
    try:
        found = [orjson.loads((await reader.getone()).value)["order_no"] for _ in range(sent)]
    finally:
        await reader.stop()
    assert len(set(found)) == sent
