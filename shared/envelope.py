"""CloudEvents 1.0 in Kafka's binary mode: headers describe a record, the value is the event."""

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
"""The place of the record that was given up, as topic/partition/offset.

A dead letter that is written to its topic again carries this header, and REPLAY_HEADER with the id
of the letter. Both only inform readers: anyone who may write the topic may set them.
"""


class Unread(bytes):
    """A batch that was not unpacked, as it lies in the log, in place of its records.

    `why`: the reason, and what to do.
    """

    why: str

    def __new__(cls, packed: bytes | memoryview, why: str) -> Self:
        made = super().__new__(cls, packed)
        made.why = why
        return made


# Thousands of records are made in a second. A frozen dataclass would take three times as long to
# make. So this class is not frozen, and the classes below are tuples.
@dataclass(slots=True)
class Record:
    """One record as it lies in the log.

    `topic` is the plain name without the prefix of tests. `timestamp_ms` counts from 1970.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Message(NamedTuple):
    """One decoded record, or one entry of a record, as a handler gets it.

    `event` is the value as the topic's decoder read it. `at` is the record's own timestamp, so that
    a repeated handling sees the same time. `entry` is the number, from 1, in a record of several
    entries, else 0. `once`: the inbox keeps the id for good.
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
    """One record to publish. The outbox keeps the record until the broker has acknowledged it.

    `sealed`: the value has personal data that the receiver needs in clear. So the outbox stores the
    value encrypted.
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
    """Return the CloudEvents headers of one record.

    `at`: a time, or its RFC 3339 text. `version` counts the events of one service about one order,
    from 1 without a hole. `cause`: the id of the message from which the event follows.
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
    return name, text.encode()


def rfc3339(at: datetime) -> bytes:
    """Return the time as RFC 3339 text in UTC, with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


def first_headers(headers: Iterable[tuple[str, bytes]]) -> Mapping[str, bytes]:
    """Return the headers by name. The first counts if a name is repeated.

    A missing value becomes an empty one.
    """
    found: dict[str, bytes] = {}
    for name, value in headers:
        found.setdefault(name, value or b"")
    return found


def traceparent_of(value: bytes | None) -> bytes | None:
    """Return the trace context if its form is that of W3C Trace Context, else None.

    Later records copy the trace context, so a malformed one must not enter.
    """
    return (
        value
        if value is not None and _TRACEPARENT.fullmatch(value) and value[3:35] != _NO_TRACE
        else None
    )


_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE: Final = b"0" * 32
_OURS: Final = ("ce_specversion", "ce_id", "ce_type")


def attributes_of(headers: Headers) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Return `ce_type`, `ce_id` and `traceparent`: the first header of each name, or None."""
    # Every record of every topic passes here. Our own writers always use one order of headers
    # (`headers_of`), so the usual case needs no dictionary.
    if len(headers) > 2 and (headers[0][0], headers[1][0], headers[2][0]) == _OURS:
        for name, value in headers[3:]:
            if name == "traceparent":
                return headers[2][1], headers[1][1], value
        return headers[2][1], headers[1][1], None
    found = first_headers(headers)
    return found.get("ce_type"), found.get("ce_id"), found.get("traceparent")


def uuid_or_none(text: bytes | None) -> UUID | None:
    """Return the UUID in a header or key, or None if the text is missing or no UUID."""
    if not text or len(text) > 45:
        return None
    try:
        return uuid_of(text.decode("ascii"))
    except ValueError:
        return None
