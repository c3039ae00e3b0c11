"""The table of event types to handlers of a service, and the small types a handler speaks in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from shared.database import Connection
from shared.envelope import (
    Message,
    Outgoing,
    Record,
    attributes_of,
    headers_of,
    traceparent_of,
    uuid_or_none,
)
from shared.errors import Unprocessable
from shared.events import Event
from shared.identity import event_id_of, record_id_of

_NIL: Final = UUID(int=0)
TIMESTAMP_MS_END: Final = 7_258_118_400_000
"""The year 2200."""
BEHIND_MAX_MS: Final = 24 * 3600 * 1000
"""So far back is an outsider's clock believed: longer than intake stands still, and little in a sum of seconds."""


def arrival_ms(stamped_ms: int, now_ms: int) -> int:
    """When a record from outside came, in milliseconds: as it is stamped, or now if it is stamped later or long ago.

    An outsider's clock is not ours: delays, stages and deadlines are counted from this, whatever stands on the record.
    """
    return stamped_ms if now_ms - BEHIND_MAX_MS <= stamped_ms <= now_ms else now_ms


def restamped(found: Sequence[Message], stamped_ms: int, now_ms: int) -> Sequence[Message]:
    """The messages of a record from outside at the time when it came."""
    at_ms = arrival_ms(stamped_ms, now_ms)
    if at_ms == stamped_ms:
        return found
    at = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    restamped = [m._replace(at=at) for m in found]
    return (
        PartlyReadable(restamped, found.unreadable)
        if isinstance(found, PartlyReadable)
        else restamped
    )


class EmittedEvent(NamedTuple):
    """A fact a reaction decided, to be published on the service's own topic.

    `cause` is the id of the message it follows from; `version` the count of this service's facts about the order.
    """

    event: Event
    cause: UUID
    version: int
    traceparent: bytes | None = None


@dataclass(frozen=True, slots=True)
class OutboundCommand:
    """Something to ask of an outside party; `intent_id` is the idempotency key and never changes.

    `ahead`: it goes before all that was asked first, since it brings something begun to its end.
    """

    intent_id: UUID
    order_id: UUID
    kind: str
    request: bytes
    delay_s: float = 0.0
    priority: bool = False


@dataclass(slots=True)
class Outcome:
    """What follows from a batch: facts, records for other topics, instructions; in the order they were decided.

    `counts` are run once the transaction is committed: for metrics, which must not count what was rolled back.
    """

    facts: list[EmittedEvent] = field(default_factory=list)
    records: list[Outgoing] = field(default_factory=list)
    commands: list[OutboundCommand] = field(default_factory=list)
    after_commit: list[Callable[[], None]] = field(default_factory=list)

    def extend(self, other: Outcome) -> None:
        self.facts += other.facts
        self.records += other.records
        self.commands += other.commands
        self.after_commit += other.after_commit

    def count(self) -> None:
        """Run the counts; the transaction is committed."""
        for each in self.after_commit:
            each()


BatchHandler = Callable[[Connection, Sequence[Message], Any], Awaitable[Outcome]]
"""Lock, fold, save, return what follows; the third argument is what the service's app wired up (its `Deps`)."""

Observer = Callable[[Sequence[EmittedEvent]], None]
"""Counts facts once they are committed."""

Decoder = Callable[[Record], Sequence[Message]]
"""Makes messages of one record, pure; raises Unprocessable. An empty answer means: not for us."""


class UnreadableEntry(NamedTuple):
    """One entry of a record that cannot be read, by its number from 1; the other entries can."""

    entry: int
    why: Unprocessable


class PartlyReadable(list[Message]):
    """The messages of a record some entries of which cannot be read: each of those becomes a dead letter of its own."""

    def __init__(self, messages: Iterable[Message], unreadable: Sequence[UnreadableEntry]) -> None:
        super().__init__(messages)
        self.unreadable = unreadable

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True)
class Source:
    """How the records of a topic are read. A topic of our own needs nothing but its name.

    `decode` makes messages of a record. `intake`: outsiders write the topic. No order is held for a
    bad record of theirs, and reading pauses while the service is behind.

    `alone` makes a record's value with one entry only, by its number: the dead letter of that entry.

    `speaks_for` tells for which party an event speaks: its code, or None for nobody. A party may be
    bound to a key (`shared.parties`). A signed event of the types `once` counts once, whoever sends
    it again; `for_good`: even after years, since a repeated command does harm at any time.
    """

    topic: str
    decode: Decoder | None = None
    intake: bool = False
    alone: Callable[[bytes, int], bytes] | None = None
    speaks_for: Callable[[Any], str | None] | None = None
    once: tuple[type, ...] = ()
    for_good: bool = False


@dataclass(frozen=True)
class Subscription:
    """One row of the table: which handler takes events of these types; no types means all."""

    source: Source
    types: tuple[type[Any], ...]
    handler: BatchHandler


def on(source: str | Source, *types: type[Any], do: BatchHandler) -> Subscription:
    """Make the row that gives events of these types to a handler.

    Without types the handler takes every event that the source's own `decode` makes and that no
    other row names.
    """
    return Subscription(Source(source) if isinstance(source, str) else source, types, do)


class _HandlerOfType(dict[type, BatchHandler]):
    """The handlers of one topic by event type; the row without types takes the rest."""

    rest: BatchHandler | None = None

    def __missing__(self, event_type: type) -> BatchHandler:
        if self.rest is None:
            raise LookupError(f"no handler is subscribed to {event_type.__name__}")
        self[event_type] = self.rest
        return self.rest


class Subscriptions:
    """The table of a service: which handler takes which events of which topic.

    Rows stand in the order in which an order passes the topics. With much to read, the topics of
    later rows are read first. Within a batch, handlers run in the order of their first rows.
    """

    def __init__(self, *rows: Subscription) -> None:
        """Raises ValueError for rows that contradict each other, or that nothing can reach."""
        self.sources: dict[str, Source] = {row.source.topic: row.source for row in rows}
        self.event_types: dict[str, tuple[type[Event], ...]] = {
            topic: self._event_types(topic, rows) for topic in self.sources
        }
        """The types of our own topics; none of a topic whose source has its own decoder."""
        self._handlers = tuple(dict.fromkeys(row.handler for row in rows))
        self._handler_of = {topic: _HandlerOfType() for topic in self.sources}
        for row in rows:
            self._add(row)
        self._only_handler = {
            topic: handler
            for topic in self.sources
            if (handler := self._only_handler_of(topic)) is not None
        }

    def _add(self, row: Subscription) -> None:
        topic, of_type = row.source.topic, self._handler_of[row.source.topic]
        if row.source != self.sources[topic]:
            raise ValueError(f"give {topic} one source: two rows read it differently")
        if not row.types and (row.source.decode is None or of_type.rest is not None):
            raise ValueError(f"name the event types of {topic}")
        if taken := [kind.__name__ for kind in row.types if kind in of_type]:
            raise ValueError(f"give {', '.join(taken)} of {topic} one handler")
        if row.types:
            of_type |= dict.fromkeys(row.types, row.handler)
        else:
            of_type.rest = row.handler

    def _event_types(self, topic: str, rows: Sequence[Subscription]) -> tuple[type[Event], ...]:
        if self.sources[topic].decode is not None:
            return ()
        return tuple(kind for row in rows if row.source.topic == topic for kind in row.types)

    def _only_handler_of(self, topic: str) -> BatchHandler | None:
        """The handler of whatever a topic can bring, so that no message's type is looked up."""
        of_type = self._handler_of[topic]
        handlers = {*of_type.values()} | {of_type.rest}
        if self.sources[topic].decode is None:
            handlers.discard(None)
        return handlers.pop() if len(handlers) == 1 else None

    def by_handler(
        self, messages: Iterable[Message]
    ) -> Iterator[tuple[BatchHandler, list[Message]]]:
        """Group messages by their handler: handlers in the table's order, messages in their own.

        Raises LookupError for an event of a type that no row takes.
        """
        groups: dict[BatchHandler, list[Message]] = {handler: [] for handler in self._handlers}
        group_of = {topic: groups[handler] for topic, handler in self._only_handler.items()}
        handler_of = self._handler_of
        for m in messages:
            group = group_of.get(m.topic)
            if group is None:
                group = groups[handler_of[m.topic][type(m.event)]]
            group.append(m)
        return ((handler, group) for handler, group in groups.items() if group)


def decode_event(record: Record, wanted: Mapping[bytes, type[Event]]) -> Sequence[Message]:
    """The message of a record on one of our own topics; types this service or release does not know are skipped."""
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
    """Which fields a validation error names, without the values it found (they may be personal)."""
    details = getattr(error, "errors", None)
    if details is None:
        return type(error).__name__
    found = [
        f"{'.'.join(map(str, item['loc'])) or 'value'}: {item['type']}"
        for item in details(include_input=False)
    ]
    return "; ".join(found[:5])


def message(
    record: Record,
    event_id: UUID,
    wire_type: str,
    order_id: UUID,
    event: Any,
    traceparent: bytes | None = None,
    entry: int = 0,
) -> Message:
    """A message at its place in the log, with the record's own time; only a well-formed trace goes on with it.

    Raises Unprocessable for a time out of all reason: a broker takes any.
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
    """The event id of a record from outside.

    A `ce_id` counts together with its source and the value's digest: a shop that gives two orders one id must not lose
    the second. Without one, the record's place in the log is its id and the order's own rules find repetitions.
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


def fact_with_id(
    service: str, topic: str, announced: EmittedEvent, at: datetime | bytes
) -> tuple[UUID, Outgoing]:
    """The record of a fact, ready for the outbox, and the fact's id."""
    event = announced.event
    event_id = event_id_of(announced.cause, event.type, event.order_id)
    headers = headers_of(
        event_id=event_id, event_type=event.type, source=service, at=at, version=announced.version, cause=announced.cause,
        traceparent=announced.traceparent,
    )  # fmt: skip
    return event_id, Outgoing(topic, str(event.order_id).encode(), event.to_json(), headers)
