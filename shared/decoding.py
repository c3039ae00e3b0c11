"""Decodes records into the messages that handlers get, with their places in the log and times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from shared.envelope import (
    Message,
    Record,
    attributes_of,
    traceparent_of,
    uuid_or_none,
)
from shared.errors import Unprocessable
from shared.events import Event
from shared.identity import event_id_of, record_id_of

_NIL: Final = UUID(int=0)
TIMESTAMP_MS_END: Final = 7_258_118_400_000
"""The beginning of the year 2200."""
BEHIND_MAX_MS: Final = 24 * 3600 * 1000
"""The lag behind our clock up to which an outsider's timestamp is believed.

The intake never stands still for longer. A wrong timestamp within the bound adds little to a sum of
seconds.
"""


def arrival_ms(stamped_ms: int, now_ms: int) -> int:
    """Return when a record from outside came, in milliseconds since 1970.

    The result is the record's own timestamp. A timestamp after now, or before now by more than
    BEHIND_MAX_MS, is replaced by now. Delays, stages and deadlines are counted from the result, so
    they do not depend on an outsider's clock.
    """
    return stamped_ms if now_ms - BEHIND_MAX_MS <= stamped_ms <= now_ms else now_ms


def with_arrival_time(
    messages: Sequence[Message], stamped_ms: int, now_ms: int
) -> Sequence[Message]:
    """Return the messages of a record from outside with the time of its arrival (`arrival_ms`)."""
    at_ms = arrival_ms(stamped_ms, now_ms)
    if at_ms == stamped_ms:
        return messages
    at = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return replace_messages(messages, [m._replace(at=at) for m in messages])


class UnreadableEntry(NamedTuple):
    """An unreadable entry of a record: its number from 1, and the reason."""

    entry: int
    why: Unprocessable


class PartlyReadable(list[Message]):
    """The messages of a record that also has unreadable entries.

    Each unreadable entry becomes a dead letter of its own. A record without any readable entry is
    still for us, so even the empty list is true.
    """

    def __init__(self, messages: Iterable[Message], unreadable: Sequence[UnreadableEntry]) -> None:
        super().__init__(messages)
        self.unreadable = unreadable

    def __bool__(self) -> bool:
        return True


def replace_messages(old: Sequence[Message], new: list[Message]) -> Sequence[Message]:
    """Return the new messages together with the unreadable entries of the old messages."""
    return PartlyReadable(new, old.unreadable) if isinstance(old, PartlyReadable) else new


def decode_event(record: Record, wanted: Mapping[bytes, type[Event]]) -> Sequence[Message]:
    """Return the message of a record on one of our own topics.

    `wanted`: the event classes by their `ce_type` header. The result is empty for an event type
    that this service or release does not know. Raises Unprocessable for a record that is no valid
    event of ours.
    """
    event_type, ce_id, traceparent = attributes_of(record.headers)
    if not event_type:
        raise Unprocessable("unknown_shape", "the record has no ce_type header")
    kind = wanted.get(event_type)
    if kind is None:
        return ()
    event_id = uuid_or_none(ce_id)
    if event_id is None:
        raise Unprocessable("unknown_shape", "the ce_id header is not a UUID")
    try:
        event = kind.from_json(record.value or b"")
    except ValueError as error:
        raise Unprocessable(
            "invalid_value", f"the value is not a {kind.type}: {brief(error)}"
        ) from None
    return (message(record, event_id, kind.type, event.order_id, event, traceparent),)


def brief(error: ValueError) -> str:
    """Return the fields and kinds of a validation error, five at most.

    The values are left out, since they may be personal.
    """
    details = getattr(error, "errors", None)
    if details is None:
        return type(error).__name__
    faults = [
        f"{'.'.join(map(str, item['loc'])) or 'value'}: {item['type']}"
        for item in details(include_input=False)
    ]
    return "; ".join(faults[:5])


def message(
    record: Record,
    event_id: UUID,
    wire_type: str,
    order_id: UUID,
    event: Any,
    traceparent: bytes | None = None,
    entry: int = 0,
) -> Message:
    """Return the message of a record, with the record's place in the log and its own time.

    `entry`: the number from 1 in a record with entries, else 0. A malformed `traceparent` is
    dropped. Raises Unprocessable for a timestamp before 1970 or from 2200 on: a broker takes any.
    """
    if not 0 <= record.timestamp_ms < TIMESTAMP_MS_END:
        raise Unprocessable(
            "invalid_value",
            f"the record's own timestamp is {record.timestamp_ms}: give milliseconds since 1970",
        )
    at = datetime.fromtimestamp(record.timestamp_ms / 1000, tz=UTC)
    trace = traceparent_of(traceparent)
    return Message(
        event_id,
        wire_type,
        order_id,
        event,
        at,
        record.topic,
        record.partition,
        record.offset,
        trace,
        record.value,
        entry,
    )


def intake_id(record: Record, by_name: Any, digest: str) -> UUID:
    """Return the event id of a record from outside.

    `by_name`: the headers by name; `digest`: of the value. A `ce_id` counts only together with its
    source and the digest: a shop that gives two orders one id must not lose the second order.
    Without a `ce_id`, the id comes from the record's place in the log. In that case the order's own
    rules recognise repetitions.
    """
    ce_id = by_name.get("ce_id")
    if not ce_id:
        return record_id_of(record.topic, record.partition, record.offset)
    source = by_name.get("ce_source", b"").decode("utf-8", "replace")
    return event_id_of(
        record_id_of(record.topic, 0, 0),
        f"{source}|{ce_id.decode('utf-8', 'replace')}|{digest}",
        _NIL,
    )
