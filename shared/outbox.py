"""The outbox: the records a transaction decided to publish, stored in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson
import structlog
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from shared import metrics
from shared.database import Connection
from shared.envelope import Outgoing
from shared.errors import Unprocessable
from shared.sealing import Sealing
from shared.topics import (
    MESSAGE_BYTES_MAX,
    bytes_max_of,
)

log = structlog.get_logger(__name__)

BOUND: Final = b"outbox"


async def append(conn: Connection, sealing: Sealing | None, records: Sequence[Outgoing]) -> None:
    """Write the records in the caller's transaction, in this order, in one query.

    Raises Unprocessable for a record too large for its topic: the relay could never get past it.
    """
    if not records:
        return
    packed = [pack_headers(r.headers) for r in records]
    refuse_unfit([r for r, headers in zip(records, packed, strict=True) if _is_large(r, headers)])
    # COPY writes whole pages at once. It costs the server half as much as an INSERT of the same
    # rows.
    await conn.copy_records_to_table(
        "outbox",
        columns=("topic", "key", "headers", "value", "sealed"),
        records=[
            (
                r.topic,
                r.key,
                headers,
                _sealing(sealing).encrypt(r.value, BOUND) if r.sealed else r.value,
                r.sealed,
            )
            for r, headers in zip(records, packed, strict=True)
        ],
    )


def _is_large(record: Outgoing, packed: bytes) -> bool:
    """Tell whether the record may be too large. Nearly all are far from that."""
    return len(record.key) + len(record.value) + len(packed) > MESSAGE_BYTES_MAX // 4


def refuse_unfit(records: Sequence[Outgoing]) -> None:
    """Raise Unprocessable for the first record that is too large for its topic."""
    for r in records:
        if not fits(r):
            raise Unprocessable(
                "too_large",
                f"what follows from it for {r.topic} has {size_of(r)} bytes: at most "
                f"{bytes_max_of(r.topic)} are taken",
            )


def fits(record: Outgoing) -> bool:
    """Tell whether the record is small enough for its topic."""
    return size_of(record) <= bytes_max_of(record.topic)


def size_of(record: Outgoing) -> int:
    """Return the record's bytes as the broker counts them: uncompressed, with its batch.

    The result is some 20 bytes too large.
    """
    return int(
        DefaultRecordBatchBuilder.estimate_size_in_bytes(
            record.key, record.value, list(record.headers)
        )
    )


def _sealing(sealing: Sealing | None) -> Sealing:
    if sealing is None:
        raise TypeError("this service has no keys, so it may not publish personal particulars")
    return sealing


def pack_headers(headers: Sequence[tuple[str, bytes]]) -> bytes:
    """Pack headers as JSON. Values may be any bytes, so each byte becomes a character (latin-1)."""
    return orjson.dumps([[name, (value or b"").decode("latin-1")] for name, value in headers])


def unpack_headers(packed: bytes) -> list[tuple[str, bytes]]:
    """Reverse `pack_headers`."""
    return [(name, value.encode("latin-1")) for name, value in orjson.loads(packed)]


async def measure(conn: Connection, service: str) -> int:
    """Set the outbox gauges. Return the number of waiting records, without those set aside."""
    row = await conn.fetchrow(
        "SELECT count(*) AS pending, min(at) AS oldest FROM outbox "
        "WHERE id <> ALL (ARRAY(SELECT subject::bigint FROM aside WHERE source = 'outbox'))"
    )
    metrics.OUTBOX_PENDING.labels(service).set(row["pending"])
    metrics.OUTBOX_OLDEST.labels(service).set(row["oldest"].timestamp() if row["oldest"] else 0)
    return int(row["pending"])
