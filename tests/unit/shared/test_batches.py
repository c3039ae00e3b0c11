"""What a producer may do to a batch of records, and what a reader makes of it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition, codec
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder, _DefaultRecordBatchPy
from aiokafka.record.util import calc_crc32c

from shared.consumer import make_consumer

CODECS = {
    "gzip": DefaultRecordBatch.CODEC_GZIP, "snappy": DefaultRecordBatch.CODEC_SNAPPY, "lz4": DefaultRecordBatch.CODEC_LZ4,
    "zstd": DefaultRecordBatch.CODEC_ZSTD,
}  # fmt: skip
NO_PRODUCER = -1


Header = tuple[str, bytes]


def batch(count: int, codec: int = DefaultRecordBatch.CODEC_NONE, headers: Mapping[int, Sequence[Header]] | None = None) -> bytes:
    """A batch as it lies in the log, from offset 0; `headers` of the records by offset."""
    made = DefaultRecordBatchBuilder(2, codec, 0, NO_PRODUCER, NO_PRODUCER, NO_PRODUCER, 1 << 20)
    for offset in range(count):
        of_record = (headers or {}).get(offset, [("name", b"value")])
        made.append(offset, 1_700_000_000_000, b"key", b'{"number": %d}' % offset, list(of_record))
    return bytes(made.build())


def changed(made: bytes, old: bytes, new: bytes) -> bytes:
    """The batch with other bytes of the same number in it, and the checksum they ask for."""
    after = bytearray(made.replace(old, new))
    after[17:21] = struct.pack(">I", calc_crc32c(bytes(after[21:])))
    return bytes(after)


@pytest.fixture(autouse=True)
async def as_a_service_reads() -> None:
    made = make_consumer("127.0.0.1:1", "g", "g-0")
    made._closed = True  # never started, so there is nothing to close


@pytest.fixture(params=["compiled", "python"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """aiokafka reads with compiled classes, or with others in Python where it was built without them."""
    if request.param == "python":
        monkeypatch.setattr("aiokafka.record.memory_records.DefaultRecordBatch", _DefaultRecordBatchPy)
    return str(request.param)


def read(fetched: bytes, into: list[Any] | None = None) -> list[Any]:
    """The records of what was fetched, as aiokafka gives them out."""
    found = [] if into is None else into
    at = TopicPartition("t", 3)
    records = fetcher.MemoryRecords(fetched)
    found.extend(fetcher.PartitionRecords(at, records, [], 0, None, None, True, fetcher.READ_COMMITTED))
    return found


@pytest.mark.parametrize("name", CODECS)
def test_a_batch_of_every_codec_is_read(name: str) -> None:
    assert getattr(codec, f"has_{name}")()
    compressed = batch(100, CODECS[name])
    assert len(compressed) < len(batch(100)) / 2
    assert [(r.offset, r.key, r.value, r.headers) for r in read(compressed)] == [
        (i, b"key", b'{"number": %d}' % i, (("name", b"value"),)) for i in range(100)
    ]


@pytest.mark.parametrize("bad", [0, 3, 9])
def test_a_header_name_that_is_no_utf8_costs_no_record(reader: str, bad: int) -> None:
    headers = [("ce_id", b"1"), ("n\u00e4me", b"value"), ("ce_type", b"x")]
    made = changed(batch(10, headers={bad: headers}), "n\u00e4me".encode(), b"n\xe4\xe4me")
    found = read(made + batch(3))
    assert [r.offset for r in found] == list(range(10))  # the second batch has the same offsets, so it was read before
    assert {r.value for r in found} == {b'{"number": %d}' % i for i in range(10)}
    assert found[bad].headers == (("ce_id", b"1"), ("n\ufffd\ufffdme", b"value"), ("ce_type", b"x"))
    assert {r.headers for r in found if r.offset != bad} == {(("name", b"value"),)}


def test_several_such_names_and_compression_are_read_too(reader: str) -> None:
    plain = changed(
        batch(5, headers={1: [("\u00e4", b"")], 3: [("\u00e4\u00e4", b"a"), ("b", b"c")]}), "\u00e4".encode(), b"\xff\xfe"
    )
    records = plain[61:]
    squeezed = bytearray(plain[:61] + codec.gzip_encode(records))
    squeezed[8:12] = struct.pack(">i", len(squeezed) - 12)
    squeezed[22] |= DefaultRecordBatch.CODEC_GZIP
    for made in (plain, changed(bytes(squeezed), b"", b"")):
        assert [r.headers for r in read(made)][1::2] == [(("\ufffd\ufffd", b""),), (("\ufffd" * 4, b"a"), ("b", b"c"))]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda made: made[:-1] + b"?", "Invalid CRC"),
        (lambda made: changed(made, b"\x06key", b"\x7ekey"), ""),
        (lambda made: changed(made, made[61:70], b"\xff" * 9), ""),
        (lambda made: changed(made, made[20:23], made[20:22] + b"\x04"), ""),
        (lambda made: changed(made, made[20:23], made[20:22] + b"\x07"), "codec"),
    ],
    ids=["crc", "length of a key", "varints", "not zstd", "no codec"],
)
def test_what_cannot_be_read_is_named_by_its_place_and_nothing_behind_it_is_given_out(reader: str, broken: Any, why: str) -> None:
    good, bad = batch(3), bytearray(batch(3))
    bad[0:8] = struct.pack(">q", 3)
    found: list[Any] = []
    with pytest.raises(CorruptRecordException, match=rf"what lies in t/3 at offset 3 cannot be read .*{why}") as named:
        read(good + broken(bytes(bad)) + good, found)
    assert '"number"' not in str(named.value)
