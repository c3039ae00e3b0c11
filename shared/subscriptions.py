"""The table of a service, from event types to handlers, and the small types that handlers use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from shared.database import Connection
from shared.envelope import (
    Message,
    Outgoing,
    Record,
    headers_of,
)
from shared.events import Event
from shared.identity import event_id_of


class EmittedEvent(NamedTuple):
    """An event that a handler decided to publish on the service's own topic.

    `cause` is the id of the message that led to it. `version` counts this service's events about
    the order.
    """

    event: Event
    cause: UUID
    version: int
    traceparent: bytes | None = None


@dataclass(frozen=True, slots=True)
class OutboundCommand:
    """A request to an outside party. `intent_id` is the idempotency key and never changes.

    `delay_s` is in seconds. A command with `priority` goes before those stored earlier, since it
    brings something begun to its end.
    """

    intent_id: UUID
    order_id: UUID
    kind: str
    request: bytes
    delay_s: float = 0.0
    priority: bool = False


@dataclass(slots=True)
class Outcome:
    """What follows from a batch: events, records for other topics, and commands.

    Each list is in the order of the decisions. `after_commit` runs once the transaction is
    committed. It is for metrics, which must not count what was rolled back.
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
        """Run `after_commit`. Call this once the transaction is committed."""
        for each in self.after_commit:
            each()


BatchHandler = Callable[[Connection, Sequence[Message], Any], Awaitable[Outcome]]
"""Locks, folds, saves, and returns what follows. Its third argument is the service's `Deps`."""

Observer = Callable[[Sequence[EmittedEvent]], None]
"""Counts events once they are committed."""

Decoder = Callable[[Record], Sequence[Message]]
"""Makes messages of one record, without side effects. Raises Unprocessable.

An empty result means that the record is not for us.
"""


@dataclass(frozen=True)
class Source:
    """How to read the records of a topic. A topic of our own needs nothing but its name.

    `decode` makes messages of a record. `intake`: outsiders write the topic. Their bad records hold
    no order, and reading pauses while the service is behind.

    `alone` reduces a record's value to the entry with a number, for the dead letter of that entry.

    `speaks_for` returns the code of the party that an event speaks for, or None. A party may be
    bound to a key (`shared.parties`). A signed event of the types `once` counts once, whoever
    repeats it. `for_good` holds this even for years, since a repeated command does harm at any
    time.
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
    """One row of the table: a source, its event types and their handler. No types means all."""

    source: Source
    types: tuple[type[Any], ...]
    handler: BatchHandler


def on(source: str | Source, *types: type[Any], do: BatchHandler) -> Subscription:
    """Return the row that gives events of these types to a handler.

    Without types the handler takes all events of the source's `decode` that no other row names.
    """
    return Subscription(Source(source) if isinstance(source, str) else source, types, do)


class _HandlerOfType(dict[type, BatchHandler]):
    """The handlers of one topic by event type. The row without types takes the rest."""

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
        """Raises ValueError for rows that contradict each other or can never match."""
        self.sources: dict[str, Source] = {row.source.topic: row.source for row in rows}
        self.event_types: dict[str, tuple[type[Event], ...]] = {
            topic: self._event_types(topic, rows) for topic in self.sources
        }
        """The types of our own topics; none for a topic whose source has its own decoder."""
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
        """Return a topic's handler if it has only one, so that no message's type is looked up."""
        of_type = self._handler_of[topic]
        handlers = {*of_type.values()} | {of_type.rest}
        if self.sources[topic].decode is None:
            handlers.discard(None)
        return handlers.pop() if len(handlers) == 1 else None

    def by_handler(
        self, messages: Iterable[Message]
    ) -> Iterator[tuple[BatchHandler, list[Message]]]:
        """Group messages by handler: handlers in the table's order, messages in their own.

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


def fact_with_id(
    service: str, topic: str, announced: EmittedEvent, at: datetime | bytes
) -> tuple[UUID, Outgoing]:
    """Return an event's id, and its record for the outbox."""
    event = announced.event
    event_id = event_id_of(announced.cause, event.type, event.order_id)
    headers = headers_of(
        event_id=event_id,
        event_type=event.type,
        source=service,
        at=at,
        version=announced.version,
        cause=announced.cause,
        traceparent=announced.traceparent,
    )
    return event_id, Outgoing(topic, str(event.order_id).encode(), event.to_json(), headers)
