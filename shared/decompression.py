"""What came compressed is unpacked up to a bound, whatever it says of itself.

A batch of two megabytes may unpack to gigabytes, and aiokafka unpacks it at once and whole: one sent by a shop would end every process
that reads it, however often that starts anew. Nothing in aiokafka's interface bounds this, so its readers are given these decoders.
"""

from __future__ import annotations

import gzip
import io
import mmap
import sys
from collections.abc import Callable
from typing import Any, Final

import cramjam
from aiokafka import codec
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy

UNPACKED_MAX: Final = 16 * 1024 * 1024
"""Bytes a batch may have when it is unpacked: eight times what it may have when it is not."""
_FULL: Final = "failed to write whole buffer"
"""What cramjam says where the room did not suffice; anything else means that the bytes are not what they should be."""


class TooLarge(Exception):
    """The batch unpacks to more than UNPACKED_MAX bytes."""


def bound() -> None:
    """From now on every consumer of this process unpacks so; saying it twice changes nothing."""
    for reader in (DefaultRecordBatch, _DefaultRecordBatchPy):
        module = sys.modules[reader.__module__]
        for name, decode in DECODERS.items():
            setattr(module, name, decode)


def _gzip(packed: Any) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(packed), mode="r") as file:
        found = file.read(UNPACKED_MAX + 1)
    if len(found) > UNPACKED_MAX:
        raise TooLarge
    return found


def _snappy(packed: Any) -> bytes:
    # Each block says how long it will be, and is not unpacked to more.
    blocks = memoryview(packed)
    if codec._detect_xerial_stream(packed):
        blocks, length = blocks[16:], 0
        while blocks:
            end = 4 + int.from_bytes(blocks[:4], "big", signed=True)
            if end <= 4:
                raise ValueError("a block without a length")
            length += cramjam.snappy.decompress_raw_len(blocks[4:end])
            blocks = blocks[end:]
    else:
        length = cramjam.snappy.decompress_raw_len(blocks)
    if length > UNPACKED_MAX:
        raise TooLarge
    return bytes(codec.snappy_decode(packed))


def _into(decompress: Callable[[Any, Any], int]) -> Callable[[Any], bytes]:
    def decode(packed: Any) -> bytes:
        # Pages of such a room are there only once they are written to.
        with mmap.mmap(-1, UNPACKED_MAX) as room:
            try:
                length = decompress(packed, room)
            except cramjam.DecompressionError as error:
                if str(error) == _FULL:
                    raise TooLarge from None
                raise
            return room[:length]

    return decode


DECODERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "gzip_decode": _gzip,
    "snappy_decode": _snappy,
    "lz4_decode": _into(cramjam.lz4.decompress_into),
    "zstd_decode": _into(cramjam.zstd.decompress_into),
}
