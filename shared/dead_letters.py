"""The dead letter of a record, and the packed form of a record that waits in a table."""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from shared import outbox
from shared.clock import utc_now
from shared.database import DATA
from shared.envelope import Headers, Outgoing, Record, Unread
from shared.errors import Unprocessable
from shared.topics import dead_letters_of
from shared.transitions import IllegalTransition

CUT_BYTES: Final = 64 * 1024
"""Bytes kept of the value, of the headers and of the key of a record that is too large."""
RecordId = tuple[str, int, int]
"""Topic, partition and offset of a record."""


def record_id(record: Record) -> RecordId:
    """Return the place of the record in the log."""
    return record.topic, record.partition, record.offset


def as_unprocessable(error: Exception) -> Unprocessable:
    """Return the error as a refusal with a reason, and a text without personal data."""
    if isinstance(error, Unprocessable):
        return error
    if isinstance(error, IllegalTransition):
        return Unprocessable("illegal_transition", str(error))
    if isinstance(error, DATA):
        # The server's message may quote values. The names of constraint and column say enough.
        named = [
            getattr(error, name, None) for name in ("constraint_name", "table_name", "column_name")
        ]
        return Unprocessable(
            "integrity",
            f"{type(error).__name__}: "
            f"{' '.join(n for n in named if n) or 'refused by the database'}",
        )
    return Unprocessable("unexpected", type(error).__name__)


def dead_letter(
    service: str, record: Record, refused: Unprocessable, attempts: int = 1, entry: int = 0
) -> Outgoing:
    """Return the dead letter of a record: its bytes and headers, its place in the log, the reason.

    `attempts`: how often the record was tried. `entry`: the number, from 1, of the one entry that
    is given up; 0 means the whole record.

    A record too large for the topic of dead letters is cut, since a compressed record may have any
    size. The stand-in of a batch that was not unpacked is cut too.
    """
    origin = (
        ("dlq_reason", refused.reason.encode()),
        ("dlq_error", str(refused)[:500].encode()),
        ("dlq_service", service.encode()),
        ("dlq_topic", record.topic.encode()),
        ("dlq_partition", str(record.partition).encode()),
        ("dlq_offset", str(record.offset).encode()),
        ("dlq_attempts", str(attempts).encode()),
        ("dlq_at", utc_now().isoformat(timespec="milliseconds").encode()),
        *((("dlq_entry", str(entry).encode()),) if entry else ()),
    )
    own = tuple((name, value) for name, value in record.headers if not name.startswith("dlq_"))
    whole = Outgoing(
        dead_letters_of(record.topic),
        record.key or b"",
        record.value or b"",
        (*own, *origin),
        sealed=True,
    )
    return (
        whole
        if outbox.fits(whole) and type(record.value) is not Unread
        else _cut(whole, own, origin)
    )


def _cut(whole: Outgoing, own: Headers, origin: Headers) -> Outgoing:
    """Keep only the beginning, the size and the digest. The source topic keeps the record."""
    room, few = CUT_BYTES, []
    for name, value in own:
        room -= len(name.encode()) + len(value or b"")
        if room < 0:
            break
        few.append((name, value))
    cut = (
        ("dlq_bytes", str(len(whole.value)).encode()),
        ("dlq_sha256", hashlib.sha256(whole.value).hexdigest().encode()),
    )
    return whole._replace(
        key=whole.key[:CUT_BYTES], value=whole.value[:CUT_BYTES], headers=(*few, *origin, *cut)
    )


def pack_record(record: Record) -> bytes:
    """Return the record as JSON. A missing key or value becomes an empty one."""
    head = [
        record.topic,
        record.partition,
        record.offset,
        record.timestamp_ms,
        (record.key or b"").decode("latin-1"),
    ]
    return orjson.dumps(
        [
            head,
            (record.value or b"").decode("latin-1"),
            outbox.pack_headers(record.headers).decode(),
        ]
    )


def unpack_record(packed: bytes) -> Record:
    """Return the record that `pack_record` packed."""
    (topic, partition, offset, timestamp_ms, key), value, headers = orjson.loads(packed)
    return Record(
        topic,
        partition,
        offset,
        timestamp_ms,
        key.encode("latin-1"),
        value.encode("latin-1"),
        tuple(outbox.unpack_headers(headers.encode())),
    )
