"""CloudEvents 1.0 in Kafka's binary mode: headers say what a record is, the value is the fact itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from shared.identity import uuid_of

Headers = Sequence[tuple[str, bytes]]

CONTENT_TYPE_JSON: Final = b"application/json"
CONTENT_TYPE_XML: Final = b"application/xml"
REPLAY_HEADER: Final = "dlq_replay"
ORIGIN_HEADER: Final = "dlq_origin"
"""On a dead letter given to its topic again: which letter it was, and topic/partition/offset of the record that was given up.
They tell readers so and ask for nothing: whoever may write the topic may set them."""


class Unread(bytes):
    """A batch as it lies in the log, which stands in the place of its records: it was not unpacked. `why` says why, and what to do."""

    why: str

    def __new__(cls, packed: bytes | memoryview, why: str) -> Self:
        made = super().__new__(cls, packed)
        made.why = why
        return made


# Not frozen, and its neighbours are tuples: a frozen dataclass takes three times as long to make, and thousands
# are made a second.
@dataclass(slots=True)
class Record:
    """One record as it lies in the log. `topic` is the plain name, without a test's prefix; time in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Message(NamedTuple):
    """One decoded record, as a reaction gets it.

    `event` is what the topic's decoder made of the value; `at` is the record's own timestamp, so that handling it
    again sees the same time. `entry` is its number, from 1, in a record that tells of several things; else 0. `once`: its id is
    remembered for good.
    """

    event_id: UUID
    type: str
    order_id: UUID
    event: Any
    at: datetime
    topic: str
    partition: int
    offset: int
    traceparent: bytes | None = None
    value: bytes | None = None
    entry: int = 0
    once: bool = False


class Outgoing(NamedTuple):
    """One record to publish: the outbox keeps it until the broker has acknowledged it.

    `sealed`: the value has personal particulars that the receiver needs in clear, so it rests sealed in the outbox.
    """

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    sealed: bool = False


def headers_of(
    *,
    event_id: UUID,
    event_type: str,
    source: str,
    at: datetime | bytes,
    version: int | None = None,
    cause: UUID | None = None,
    traceparent: bytes | None = None,
    content_type: bytes = CONTENT_TYPE_JSON,
) -> tuple[tuple[str, bytes], ...]:
    """The CloudEvents headers of one record; `at` may be given in RFC 3339 already.

    `version` counts the facts of one order by one service, from 1 without a hole.
    """
    headers = [
        _VERSION,
        ("ce_id", str(event_id).encode()),
        _named("ce_type", event_type),
        _named("ce_source", f"/{source}"),
        ("ce_time", at if isinstance(at, bytes) else rfc3339(at)),
        ("content-type", content_type),
    ]
    if version is not None:
        headers.append(("order_version", b"%d" % version))
    if cause is not None:
        headers.append(("ce_causationid", str(cause).encode()))
    if traceparent is not None:
        headers.append(("traceparent", traceparent))
    return tuple(headers)


_VERSION: Final = ("ce_specversion", b"1.0")


@lru_cache(maxsize=1024)
def _named(name: str, text: str) -> tuple[str, bytes]:
    """A header whose few values stand on every record."""
    return name, text.encode()


def rfc3339(at: datetime) -> bytes:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


def first_headers(headers: Iterable[tuple[str, bytes]]) -> Mapping[str, bytes]:
    """Headers by name; where a name stands twice the first counts. A missing value reads as empty."""
    found: dict[str, bytes] = {}
    for name, value in headers:
        found.setdefault(name, value or b"")
    return found


def traceparent_of(value: bytes | None) -> bytes | None:
    """The trace context in the W3C form; None where there is none or it is something else: whatever follows carries it on."""
    return (
        value
        if value is not None and _TRACEPARENT.fullmatch(value) and value[3:35] != _NO_TRACE
        else None
    )


_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE: Final = b"0" * 32
_OURS: Final = ("ce_specversion", "ce_id", "ce_type")


def attributes_of(headers: Headers) -> tuple[bytes | None, bytes | None, bytes | None]:
    """`ce_type`, `ce_id` and `traceparent`, each the first of its name; None where there is none."""
    # Our own writers put them in one order (`headers_of`), and every record of every topic comes through here.
    if len(headers) > 2 and (headers[0][0], headers[1][0], headers[2][0]) == _OURS:
        for name, value in headers[3:]:
            if name == "traceparent":
                return headers[2][1], headers[1][1], value
        return headers[2][1], headers[1][1], None
    found = first_headers(headers)
    return found.get("ce_type"), found.get("ce_id"), found.get("traceparent")


def uuid_or_none(text: bytes | None) -> UUID | None:
    """The UUID in a header or key, None where there is none or it is something else."""
    if not text or len(text) > 45:
        return None
    try:
        return uuid_of(text.decode("ascii"))
    except ValueError:
        return None
