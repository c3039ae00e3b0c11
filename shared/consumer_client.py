"""The Kafka client of a consumer, with the settings on which exactly-once handling depends."""

from __future__ import annotations

from typing import Final

from aiokafka import AIOKafkaConsumer

from shared.kafka import FETCH_BYTES, METADATA_MS, OPEN, Security
from shared.record_decoding import read_whatever_comes
from shared.topics import MESSAGE_BYTES_MAX

SESSION_MS: Final = 10_000


def make_consumer(
    bootstrap: str, group: str, member: str, security: Security = OPEN
) -> AIOKafkaConsumer:
    """Return the client, not started yet. `member`: the static name of this process in the group.

    A test asserts each setting: with aiokafka's defaults, records are lost or repeated.
    """
    read_whatever_comes()
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        group_instance_id=member,
        client_id=member,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=2_000,
        max_poll_interval_ms=120_000,
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_bytes=32 * MESSAGE_BYTES_MAX,
        fetch_max_wait_ms=100,
        request_timeout_ms=20_000,
        retry_backoff_ms=100,
        metadata_max_age_ms=METADATA_MS,
        **security.options(),
    )
