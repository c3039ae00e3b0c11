"""What a producer may do to a batch of records, and what a reader makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition, codec
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

CODECS = {
    "gzip": DefaultRecordBatch.CODEC_GZIP, "snappy": DefaultRecordBatch.CODEC_SNAPPY, "lz4": DefaultRecordBatch.CODEC_LZ4,
    "zstd": DefaultRecordBatch.CODEC_ZSTD,
}  # fmt: skip
NO_PRODUCER = -1


def batch(count: int, codec: int = DefaultRecordBatch.CODEC_NONE) -> bytes:
    """A batch as it lies in the log, from offset 0."""
    made = DefaultRecordBatchBuilder(2, codec, 0, NO_PRODUCER, NO_PRODUCER, NO_PRODUCER, 1 << 20)
    for offset in range(count):
        made.append(offset, 1_700_000_000_000, b"key", b'{"number": %d}' % offset, [("name", b"value")])
    return bytes(made.build())


def read(fetched: bytes) -> list[Any]:
    """The records of what was fetched, as aiokafka gives them out."""
    return list(PartitionRecords(TopicPartition("t", 0), MemoryRecords(fetched), [], 0, None, None, True, READ_COMMITTED))


@pytest.mark.parametrize("name", CODECS)
def test_a_batch_of_every_codec_is_read(name: str) -> None:
    assert getattr(codec, f"has_{name}")()
    compressed = batch(100, CODECS[name])
    assert len(compressed) < len(batch(100)) / 2
    assert [(r.offset, r.key, r.value, r.headers) for r in read(compressed)] == [
        (i, b"key", b'{"number": %d}' % i, (("name", b"value"),)) for i in range(100)
    ]
