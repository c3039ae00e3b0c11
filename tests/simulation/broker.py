"""Topics, and a service as the kernel makes one of a domain: inbox, one transaction a batch,
outbox, crashes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from shared.events.base import Event
from shared.identity import event_id_of
from tests.simulation.sabotage import Sabotage
from tests.simulation.world import Violation, World

BATCH_MAX: Final = 4
LANES_MAX: Final = 3


class Record(NamedTuple):
    """One record in a log.

    Records of one key of one topic come in their order, all others as they like.
    """

    event_id: UUID
    event: Any


class Said(NamedTuple):
    """A decided fact: its cause, and its number among the service's facts of the order."""

    event: Event
    cause: UUID
    version: int


class Lane:
    """The unread records of one key of one topic for one reader."""

    __slots__ = ("awake", "records", "topic")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.records: deque[Record] = deque()
        self.awake = False


class Broker:
    """Brings every record to every reader of its topic."""

    def __init__(self) -> None:
        self.readers: dict[str, list[Reader]] = {}
        self.published: set[str] = set()
        """The types of events that were published."""

    def publish(self, topic: str, key: Hashable, record: Record) -> None:
        if isinstance(record.event, Event):
            self.published.add(record.event.type)
        for reader in self.readers.get(topic, ()):
            reader.deliver(topic, key, record)


class Reader:
    """Reads lanes in batches.

    May die before the commit (it reads again) or after it (what was to be sent waits).
    """

    name: str

    def __init__(
        self,
        world: World,
        broker: Broker,
        sabotage: Sabotage,
        subscriptions: Mapping[str, Collection[type]],
    ) -> None:
        self.world = world
        self.broker = broker
        self.sabotage = sabotage
        self._hears = {topic: frozenset(kinds) for topic, kinds in subscriptions.items()}
        self._lanes: dict[tuple[str, Hashable], Lane] = {}
        self._inbox: dict[UUID, Any] = {}
        self._outbox: list[tuple[str, Hashable, Record]] = []
        self._relaying = False
        for topic in subscriptions:
            broker.readers.setdefault(topic, []).append(self)

    # --- in

    def deliver(self, topic: str, key: Hashable, record: Record) -> None:
        if type(record.event) not in self._hears[topic]:
            return
        lane = self._lanes.get((topic, key))
        if lane is None:
            lane = self._lanes[topic, key] = Lane(topic)
        lane.records.append(record)
        self._wake(lane)

    def _wake(self, lane: Lane) -> None:
        if not lane.awake and lane.records:
            lane.awake = True
            self.world.soon(partial(self._poll, lane))

    def _poll(self, lane: Lane) -> None:
        lane.awake = False
        taken = self._taken(lane)
        batch = [record for one, count in taken for record in list(one.records)[:count]]
        fresh = self._fresh(batch)
        crashed = self.world.happens(self.world.weather.crash_before_commit)
        if not crashed:
            if fresh:
                self.transact(fresh)
            for one, count in taken:
                for _ in range(count):
                    one.records.popleft()
            if self.sabotage.inbox:
                self._inbox.update(fresh)
        for one, _ in taken:
            self._wake(one)

    def _taken(self, lane: Lane) -> list[tuple[Lane, int]]:
        if not lane.records:
            return []
        if not self.world.happens(self.world.weather.batch):
            return [(lane, 1)]
        lanes = [lane, *(x for x in self._lanes.values() if x.records and x is not lane)][
            :LANES_MAX
        ]
        return [(x, min(len(x.records), BATCH_MAX)) for x in lanes]

    def _fresh(self, batch: Sequence[Record]) -> list[Record]:
        if not self.sabotage.inbox:
            return list(batch)
        found: dict[UUID, Record] = {}
        for record in batch:
            before = (
                self._inbox.get(record.event_id) or found.setdefault(record.event_id, record).event
            )
            if before != record.event:
                raise Violation(
                    f"{self.name} hears two facts under one id: {before} and {record.event}"
                )
        return list(found.values())

    def transact(self, fresh: Sequence[Record]) -> None:
        raise NotImplementedError

    # --- out

    def send(self, records: Sequence[tuple[str, Hashable, Record]]) -> None:
        """Of a committed transaction: from now on the outbox has them, whoever dies."""
        if not records:
            return
        if not self.sabotage.outbox and self.world.happens(self.world.weather.crash_after_commit):
            return
        self._outbox += records
        self._relay_soon()

    def _relay_soon(self) -> None:
        if self._outbox and not self._relaying:
            self._relaying = True
            self.world.soon(self._relay)

    def _relay(self) -> None:
        self._relaying = False
        count = 1 + int(self.world.dice.random() * len(self._outbox))
        for topic, key, record in self._outbox[:count]:
            self.broker.publish(topic, key, record)
        # It may die between sending and deleting: then all of it is sent again.
        if not self.world.happens(self.world.weather.publish_twice):
            del self._outbox[:count]
        self._relay_soon()

    def at_rest(self) -> None:
        """Nothing may be left over at the end."""
        if self._outbox or any(lane.records for lane in self._lanes.values()):
            raise Violation(f"{self.name} has unread or unsent records at the end")


class Service(Reader):
    """A service with a topic of its own and one aggregate an order."""

    topic: str

    def __init__(
        self,
        world: World,
        broker: Broker,
        sabotage: Sabotage,
        subscriptions: Mapping[str, Collection[type]],
    ) -> None:
        super().__init__(world, broker, sabotage, subscriptions)
        self.state: dict[UUID, Any] = {}
        self._versions: dict[UUID, int] = {}

    def announce(self, facts: Sequence[Said]) -> None:
        """Number and send the facts of a committed transaction.

        Their numbers have no hole and never repeat.
        """
        records: list[tuple[str, Hashable, Record]] = []
        for event, cause, version in facts:
            order_id = event.order_id
            if version != self._versions.get(order_id, 0) + 1:
                raise Violation(
                    f"{self.name} says {event.type} as version {version} after "
                    f"{self._versions.get(order_id, 0)}"
                )
            self._versions[order_id] = version
            records.append(
                (self.topic, order_id, Record(event_id_of(cause, event.type, order_id), event))
            )
            self.world.note(self.name, event.type, order_id, version)
            self.said(event)
        self.send(records)
        for order_id, version in {
            (f.event.order_id, self._versions[f.event.order_id]) for f in facts
        }:
            if self.state[order_id].version != version:
                raise Violation(
                    f"{self.name} is at version {self.state[order_id].version} and has said "
                    f"{version}"
                )

    def said(self, event: Event) -> None:
        """Called for each fact of a committed transaction."""
