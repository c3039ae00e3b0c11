"""Unpacks compressed batches only up to a bound, whatever size a batch claims to have."""

# A batch of two megabytes may unpack to gigabytes, and aiokafka unpacks a batch at once and whole.
# One such batch from a shop would end every process that reads it, after each restart again.
# Nothing in aiokafka's interface sets a bound. So its readers get the decoders of this module.

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
"""The most bytes of an unpacked batch: eight times the most bytes of a packed one."""
_FULL: Final = "failed to write whole buffer"
"""cramjam's message when the room did not suffice. Any other message means corrupt bytes."""


class TooLarge(Exception):
    """The batch unpacks to more than UNPACKED_MAX bytes."""


def bound() -> None:
    """Make every consumer of this process unpack within the bound.

    A second call changes nothing.
    """
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
    # Each block states its unpacked length, and never unpacks to more.
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
        # A page of this room takes no memory before bytes are written to it.
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
