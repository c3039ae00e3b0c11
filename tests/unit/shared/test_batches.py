"""What a producer may do to a batch of records, and what a reader makes of it."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition, codec
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import (
    DefaultRecordBatch,
    DefaultRecordBatchBuilder,
    _DefaultRecordBatchPy,
)
from aiokafka.record.util import calc_crc32c

from shared import decompression
from shared.consumer_client import make_consumer
from shared.envelope import Unread

CODECS = {
    "gzip": DefaultRecordBatch.CODEC_GZIP, "snappy": DefaultRecordBatch.CODEC_SNAPPY, "lz4": DefaultRecordBatch.CODEC_LZ4,
    "zstd": DefaultRecordBatch.CODEC_ZSTD,
}  # fmt: skip
NO_PRODUCER = -1
PEAK = Path("/proc/self/clear_refs")
"""Linux: a 5 written to it makes the peak of this process's memory count anew."""


Header = tuple[str, bytes]


def batch(
    count: int,
    codec: int = DefaultRecordBatch.CODEC_NONE,
    headers: Mapping[int, Sequence[Header]] | None = None,
) -> bytes:
    """A batch as it lies in the log, from offset 0; `headers` of the records by offset."""
    made = DefaultRecordBatchBuilder(2, codec, 0, NO_PRODUCER, NO_PRODUCER, NO_PRODUCER, 1 << 20)
    for offset in range(count):
        of_record = (headers or {}).get(offset, [("name", b"value")])
        made.append(offset, 1_700_000_000_000, b"key", b'{"number": %d}' % offset, list(of_record))
    return bytes(made.build())


def bomb(codec: int, first: int = 0) -> bytes:
    """A batch of two records, the first of 64 MiB when it is unpacked, as it lies in the log from offset `first`."""
    made = DefaultRecordBatchBuilder(2, codec, 0, NO_PRODUCER, NO_PRODUCER, NO_PRODUCER, 1 << 27)
    for offset, value in enumerate((b"0" * (64 << 20), b"{}")):
        made.append(offset, 1_700_000_000_000 + offset, b"key", value, [])
    return moved(bytes(made.build()), first)


def moved(made: bytes, first: int) -> bytes:
    """The batch as it lies in the log from offset `first`, which its checksum does not cover."""
    return struct.pack(">q", first) + made[8:]


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
        monkeypatch.setattr(
            "aiokafka.record.memory_records.DefaultRecordBatch", _DefaultRecordBatchPy
        )
    return str(request.param)


def read(fetched: bytes, into: list[Any] | None = None) -> list[Any]:
    """The records of what was fetched, as aiokafka gives them out."""
    found = [] if into is None else into
    found.extend(given(fetched))
    return found


def given(fetched: bytes, at: int = 0) -> Any:
    """What aiokafka takes the records out of, from offset `at`."""
    place = TopicPartition("t", 3)
    return fetcher.PartitionRecords(
        place, fetcher.MemoryRecords(fetched), [], at, None, None, True, fetcher.READ_COMMITTED
    )


@pytest.mark.parametrize("name", CODECS)
async def test_a_batch_of_every_codec_is_read(name: str) -> None:
    assert getattr(codec, f"has_{name}")()
    compressed = batch(100, CODECS[name])
    assert len(compressed) < len(batch(100)) / 2
    assert [(r.offset, r.key, r.value, r.headers) for r in read(compressed)] == [
        (i, b"key", b'{"number": %d}' % i, (("name", b"value"),)) for i in range(100)
    ]


@pytest.mark.parametrize("name", CODECS)
async def test_a_batch_that_unpacks_to_more_than_it_may_is_one_record_that_says_so_and_what_is_behind_it_is_read(
    reader: str, name: str
) -> None:
    packed = bomb(CODECS[name], first=3)
    found = read(batch(3, CODECS[name]) + packed + moved(batch(2, CODECS[name]), 5))
    assert [r.offset for r in found] == [0, 1, 2, 4, 5, 6]
    (unread,) = [r.value for r in found if isinstance(r.value, Unread)]
    assert unread == packed
    assert unread.why == (
        f"send fewer records in one batch: the one of offsets 3 to 4 has more than 16777216 bytes when it is unpacked, and "
        f"{len(packed)} as it lies in the log"
    )
    assert (found[3].timestamp, found[3].key, found[3].headers) == (1_700_000_000_001, None, ())
    # Who stands in the middle of such a batch (it was allowed more before) steps over nothing without a word.
    assert [r.offset for r in given(packed, at=4)] == [4]


@pytest.mark.skipif(
    not os.access(PEAK, os.W_OK),
    reason="this kernel does not let one measure a process's peak anew",
)
@pytest.mark.parametrize("name", CODECS)
async def test_such_a_batch_takes_no_more_memory_than_one_that_is_unpacked(
    reader: str, name: str
) -> None:
    packed = bomb(CODECS[name])
    before, _ = memory(anew=True)
    (found,) = read(packed)
    _, peak = memory()
    assert isinstance(found.value, Unread)
    assert peak - before < 48 << 20


def memory(*, anew: bool = False) -> tuple[int, int]:
    """Bytes this process has now, and the most it had since they were last counted anew."""
    if anew:
        PEAK.write_text("5")
    status = Path("/proc/self/status").read_text()
    now, peak = (
        int(status.split(f"{name}:")[1].split(maxsplit=1)[0]) * 1024 for name in ("VmRSS", "VmHWM")
    )
    return now, peak


@pytest.mark.parametrize("name", CODECS)
async def test_a_batch_of_just_what_it_may_have_is_read(name: str) -> None:
    made = DefaultRecordBatchBuilder(
        2, CODECS[name], 0, NO_PRODUCER, NO_PRODUCER, NO_PRODUCER, 1 << 27
    )
    most = decompression.UNPACKED_MAX - 20
    made.append(0, 1_700_000_000_000, b"key", b"0" * most, [])
    (found,) = read(bytes(made.build()))
    assert found.value == b"0" * most


async def test_snappy_in_blocks_is_bounded_as_a_whole_and_read_where_it_fits() -> None:
    """As Java's and librdkafka's older producers write it."""
    value = bytes(range(256)) * 4096
    assert decompression.DECODERS["snappy_decode"](codec.snappy_encode(value)) == value
    assert (
        decompression.DECODERS["snappy_decode"](codec.snappy_encode(value, xerial_compatible=False))
        == value
    )
    for xerial in (True, False):
        with pytest.raises(decompression.TooLarge):
            decompression.DECODERS["snappy_decode"](
                codec.snappy_encode(b"0" * (64 << 20), xerial_compatible=xerial)
            )


async def test_one_poll_gives_out_no_more_than_it_may_and_the_next_goes_on_there() -> None:
    made = DefaultRecordBatchBuilder(
        2, CODECS["zstd"], 0, NO_PRODUCER, NO_PRODUCER, NO_PRODUCER, 1 << 27
    )
    for offset in range(3):
        made.append(offset, 1_700_000_000_000, b"key", b"0" * (5 << 20), [])
    fetched = bytes(made.build())
    offsets: list[int] = []
    for _ in range(2):
        offsets += [r.offset for r in given(fetched)]
        offsets += [r.offset for r in given(fetched)]
        offsets.append(-1)
        assert list(given(fetched)) == []
        await asyncio.sleep(0)
    assert offsets == [0, 1, 2, 0, -1] * 2


async def test_what_is_large_counts_in_a_poll_though_it_was_not_compressed() -> None:
    """Three receipts of a month would be in memory at once."""
    made = DefaultRecordBatchBuilder(2, 0, 0, NO_PRODUCER, NO_PRODUCER, NO_PRODUCER, 1 << 27)
    made.append(0, 1_700_000_000_000, b"key", b"0" * (16 << 20), [])
    large = bytes(made.build())
    assert [r.offset for r in given(large + moved(large, 1) + moved(batch(2, 0), 2))] == [0]
    await asyncio.sleep(0)
    assert [r.offset for r in given(moved(batch(2, 0), 2))] == [2, 3]


@pytest.mark.parametrize("name", ["name", "n\u00e4me"], ids=["utf-8", "not utf-8"])
async def test_keys_and_headers_count_too_and_so_does_what_is_read_by_the_other_reader(
    name: str,
) -> None:
    made = DefaultRecordBatchBuilder(
        2, CODECS["gzip"], 0, NO_PRODUCER, NO_PRODUCER, NO_PRODUCER, 1 << 27
    )
    for offset in range(3):
        made.append(offset, 1_700_000_000_000, b"0" * (2 << 20), b"", [(name, b"0" * (3 << 20))])
    fetched = bytes(made.build())
    if not name.isascii():
        plain = codec.gzip_decode(fetched[61:]).replace("n\u00e4me".encode(), b"n\xe4\xe4me")
        squeezed = bytearray(fetched[:61] + codec.gzip_encode(plain))
        squeezed[8:12] = struct.pack(">i", len(squeezed) - 12)
        fetched = changed(bytes(squeezed), b"", b"")
    assert [r.offset for r in [*given(fetched), *given(fetched), *given(fetched)]] == [0, 1, 2, 0]


@pytest.mark.parametrize("bad", [0, 3, 9])
async def test_a_header_name_that_is_no_utf8_costs_no_record(reader: str, bad: int) -> None:
    headers = [("ce_id", b"1"), ("n\u00e4me", b"value"), ("ce_type", b"x")]
    made = changed(batch(10, headers={bad: headers}), "n\u00e4me".encode(), b"n\xe4\xe4me")
    found = read(made + batch(3))
    assert [r.offset for r in found] == list(
        range(10)
    )  # the second batch has the same offsets, so it was read before
    assert {r.value for r in found} == {b'{"number": %d}' % i for i in range(10)}
    assert found[bad].headers == (("ce_id", b"1"), ("n\ufffd\ufffdme", b"value"), ("ce_type", b"x"))
    assert {r.headers for r in found if r.offset != bad} == {(("name", b"value"),)}


async def test_several_such_names_and_compression_are_read_too(reader: str) -> None:
    plain = changed(
        batch(5, headers={1: [("\u00e4", b"")], 3: [("\u00e4\u00e4", b"a"), ("b", b"c")]}),
        "\u00e4".encode(),
        b"\xff\xfe",
    )
    records = plain[61:]
    squeezed = bytearray(plain[:61] + codec.gzip_encode(records))
    squeezed[8:12] = struct.pack(">i", len(squeezed) - 12)
    squeezed[22] |= DefaultRecordBatch.CODEC_GZIP
    for made in (plain, changed(bytes(squeezed), b"", b"")):
        assert [r.headers for r in read(made)][1::2] == [
            (("\ufffd\ufffd", b""),),
            (("\ufffd" * 4, b"a"), ("b", b"c")),
        ]


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
async def test_what_cannot_be_read_is_named_by_its_place_and_nothing_behind_it_is_given_out(
    reader: str, broken: Any, why: str
) -> None:
    good, bad = batch(3), moved(batch(3), 3)
    found: list[Any] = []
    with pytest.raises(
        CorruptRecordException, match=rf"what lies in t/3 at offset 3 cannot be read .*{why}"
    ) as named:
        read(good + broken(bad) + good, found)
    assert '"number"' not in str(named.value)
