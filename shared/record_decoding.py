"""Makes aiokafka read whatever a producer wrote, so that no record stops a reader."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any, ClassVar, Final

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.memory_records import _MemoryRecordsPy
from aiokafka.record.util import decode_varint_py

from shared import decompression
from shared.envelope import Unread
from shared.topics import MESSAGE_BYTES_MAX

POLL_BYTES: Final = 16 * 1024 * 1024


def read_whatever_comes() -> None:
    """Make every consumer of this process read with the classes below. May be called again.

    aiokafka has no interface for this, so its fetcher gets these classes. A test reads through the
    fetcher's own names.
    """
    decompression.bound()
    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = Records


class Records(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one partition.

    An unreadable one raises CorruptRecordException with its place only.

    One poll gives out at most POLL_BYTES of records that came compressed, and one record more: a
    thousand of them may have any size together. Uncompressed records are no larger than the fetched
    bytes. They count only if their batch is larger than most topics allow.

    Without room the fetcher takes this for the end, and asks the broker again for the rest.
    """

    room: ClassVar[int] = POLL_BYTES

    def __next__(self) -> Any:
        if Records.room <= 0:
            raise StopIteration
        return super().__next__()

    @classmethod
    def unpacked(cls, record: Any) -> None:
        """Count a record that came compressed and is given out now."""
        if cls.room == POLL_BYTES:
            # A poll gives out the present records without a pause, so it is over when the loop runs
            # this.
            asyncio.get_running_loop().call_soon(cls.begin)
        headers = sum(len(name) + len(value or b"") for name, value in record.headers)
        cls.room -= len(record.key or b"") + len(record.value or b"") + headers + 1

    @classmethod
    def begin(cls) -> None:
        """Make room for POLL_BYTES again."""
        cls.room = POLL_BYTES

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except Exception as error:
            what = str(error) if isinstance(error, KafkaError) else type(error).__name__
            raise CorruptRecordException(
                f"what lies in {self._tp.topic}/{self._tp.partition} at offset "
                f"{self.next_fetch_offset} cannot be read ({what})"
            ) from error


class Batches(_MemoryRecordsPy):  # type: ignore[misc]
    """The batches of one partition, each with its original bytes."""

    def next_batch(self, *options: int) -> Any:
        raw = self._next_slice
        batch = super().next_batch(*options)
        # Records before version 2 have no headers. A control batch is read by other means.
        return (
            batch
            if batch is None or raw[self.MAGIC_OFFSET] < 2 or batch.is_control_batch
            else _Batch(batch, raw)
        )


class _Batch:
    """One batch that can always be read.

    A broker takes any bytes for the name of a header, but aiokafka decodes it strictly. One such
    record would keep every reader from the whole batch, after every restart too. Only such a batch
    is read by aiokafka's Python reader, with U+FFFD where a name is not UTF-8.

    A batch that unpacks to more bytes than allowed (`shared.decompression`) stays packed. One
    record replaces its records, at the last offset. Its value says so (`envelope.Unread`).
    """

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        return (
            self._counted()
            if self._batch.compression_type or len(self._raw) > MESSAGE_BYTES_MAX
            else self._records()
        )

    def _counted(self) -> Iterator[Any]:
        for record in self._records():
            Records.unpacked(record)
            yield record

    def _records(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                read += 1
                yield record
        except (UnicodeDecodeError, CorruptRecordException) as error:
            # The Python reader reports the first error as the cause of the second.
            if not isinstance(error, UnicodeDecodeError) and not isinstance(
                error.__cause__, UnicodeDecodeError
            ):
                raise
            yield from islice(_Lenient(self._raw), read, None)
        except decompression.TooLarge:
            yield self._unread()

    def _unread(self) -> _DefaultRecordPy:
        batch, last = self._batch, self._batch.next_offset - 1
        why = (
            f"send fewer records in one batch: the one of offsets {batch.base_offset} to {last} "
            f"has more than {decompression.UNPACKED_MAX} bytes when it is unpacked, and "
            f"{len(self._raw)} as it lies in the log"
        )
        return _DefaultRecordPy(
            last, batch.max_timestamp, batch.timestamp_type, None, Unread(self._raw, why), []
        )


class _Lenient(_DefaultRecordBatchPy):  # type: ignore[misc]
    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _Bytes(self._buffer)

    def _read_msg(self) -> Any:
        # The compiled function takes a bytearray and no subclass of it.
        return super()._read_msg(decode_varint_py)


class _Bytes(bytearray):
    """Buffer of a batch's reader, which decodes nothing but the names of headers."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _Bytes(found) if isinstance(found, bytearray) else found

    def decode(self, *_: Any, **__: Any) -> str:
        return super().decode("utf-8", "replace")
