"""Every topic, with writers, readers and retention. Broker, access list and docs follow this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from shared.kafka import OPEN, Security

PARTITIONS: Final = 12
"""Divides evenly among 1, 2, 3, 4, 6 or 12 replicas of a service; more would idle."""

DAY_MS: Final = 24 * 3600 * 1000
EVENTS_RETENTION_MS: Final = 14 * DAY_MS
INTAKE_RETENTION_MS: Final = 3 * DAY_MS
"""Short retention of personal data in clear, in topics that an outside party writes or reads."""
PERSONAL_SEGMENT_MS: Final = DAY_MS
"""Time for which a segment takes records; Kafka's default is a week.

A record is deleted only with its segment.
"""

MESSAGE_BYTES_MAX: Final = 2 * 1024 * 1024
DEAD_LETTER_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 64 * 1024
"""A dead letter is the original record with more headers, so the largest record must still fit."""
RECEIPT_BYTES_MAX: Final = 16 * 1024 * 1024 + 64 * 1024
"""A receipt may name every line of a month's lists: 16 MiB, and room for key and headers."""


@dataclass(frozen=True)
class Topic:
    """One topic.

    `personal`: it carries personal data in clear, with short retention and its own access.

    `outside`: outside parties write it, and their clocks are not ours. So the broker stamps each
    record on arrival. Retention goes by a record's time: an old date would delete it unread, and a
    future date would keep it longer.
    """

    name: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    personal: bool = False
    cleanup: Literal["delete", "compact"] = "delete"
    outside: bool = False

    @property
    def retention_ms(self) -> int:
        return INTAKE_RETENTION_MS if self.personal else EVENTS_RETENTION_MS

    @property
    def config(self) -> dict[str, str]:
        """Return the topic's settings for the broker."""
        found = {_LARGEST: str(bytes_max_of(self.name)), "cleanup.policy": self.cleanup}
        if self.cleanup == "delete":
            found["retention.ms"] = str(self.retention_ms)
        if self.personal:
            found["segment.ms"] = str(PERSONAL_SEGMENT_MS)
        if self.outside:
            found["message.timestamp.type"] = "LogAppendTime"
        return found


SUBMISSIONS: Final = "orders.submissions"
WAYBILLS: Final = "logistics.waybills"
ORDERS: Final = "orders.events"
PAYMENTS: Final = "payments.events"
TAX: Final = "tax.events"
CUSTOMS: Final = "customs.events"
DECLARATIONS: Final = "authority.declarations"
RECEIPTS: Final = "authority.receipts"
SALES: Final = "streams.sales"
RISK: Final = "streams.risk"
SALES_TABLE: Final = "streams-sales-windows-changelog"
"""The faust table of `streams.sales` restores itself from this topic.

faust derives the name: `<app id>-<table>-changelog`.
"""

CARRIERS: Final = "carriers"
"""The senders of waybills. A real carrier may not write the authority's receipts.

The sandbox is carrier and authority at once.
"""

_HEARD: Final = (
    Topic(SUBMISSIONS, ("shops",), ("orders", "sandbox"), personal=True, outside=True),
    Topic(WAYBILLS, ("sandbox", CARRIERS), ("customs",), personal=True, outside=True),
    Topic(ORDERS, ("orders",), ("payments", "tax", "customs", "streams")),
    Topic(PAYMENTS, ("payments",), ("orders", "customs")),
    Topic(TAX, ("tax",), ("orders", "payments", "customs")),
    Topic(CUSTOMS, ("customs",), ("orders", "payments", "tax")),
    Topic(DECLARATIONS, ("customs",), ("sandbox",), personal=True),
    Topic(RECEIPTS, ("sandbox",), ("customs",), personal=True, outside=True),
)


def retention_s_of(topic: str) -> float:
    """Return the seconds for which the log keeps a record of this topic, or its dead letter."""
    return next(t.retention_ms for t in TOPICS if t.name == topic) / 1000


def dead_letters_of(topic: str) -> str:
    """Return the name of the topic for the dead letters of a topic."""
    return f"{topic}.dead-letters"


def bytes_max_of(topic: str) -> int:
    """Return the bytes of the largest batch that the broker takes for this topic.

    A record alone in its batch counts with value, key and headers.
    """
    if topic.endswith(dead_letters_of("")):
        return DEAD_LETTER_BYTES_MAX
    return RECEIPT_BYTES_MAX if topic == RECEIPTS else MESSAGE_BYTES_MAX


OPERATORS: Final = "operators"
"""The command line: it reads every topic for its checks, and returns dead letters to topics."""
ADMIN: Final = "admin"
BROKER: Final = "broker"
SUPER_USERS: Final = (ADMIN, BROKER)
"""Users with all rights: the jobs that make topics and grant rights, and the brokers."""
GROUPS: Final = (
    ("orders", "orders"),
    ("payments", "payments"),
    ("tax", "tax"),
    ("customs", "customs"),
    ("streams", "streams-sales"),
    ("sandbox", "sandbox"),
)
"""Which user reads as a member of which consumer group."""

PROBER: Final = "probe"
"""The prober: it publishes as a shop does and watches its orders. It writes no dead letters."""


def _also(topic: Topic) -> Topic:
    """Add the prober and the operators, who use a topic without being part of an order's way."""
    writers = (PROBER,) if topic.name == SUBMISSIONS else ()
    readers = (PROBER,) if topic.name == ORDERS else ()
    return replace(
        topic,
        writers=(*topic.writers, *writers, OPERATORS),
        readers=(*topic.readers, *readers, OPERATORS),
    )


TOPICS: Final[tuple[Topic, ...]] = (
    *(_also(t) for t in _HEARD),
    # A dead letter keeps the original bytes, so it is as personal as its source.
    *(Topic(dead_letters_of(t.name), t.readers, (OPERATORS,), personal=t.personal) for t in _HEARD),
    Topic(SALES, ("streams",), (OPERATORS,)),
    Topic(RISK, ("streams",), (OPERATORS,)),
    Topic(SALES_TABLE, ("streams",), ("streams", OPERATORS), cleanup="compact"),
)


def named(topic: str, prefix: str = "") -> str:
    """Return the topic's name on the broker. Tests put a prefix before it."""
    return prefix + topic


async def create_topics(
    bootstrap: str,
    prefix: str = "",
    *,
    replicas: int = 1,
    extra: Iterable[Topic] = (),
    partitions: int = PARTITIONS,
    security: Security = OPEN,
) -> Sequence[str]:
    """Create the missing topics. Return their names. May run again.

    Topics of an earlier release get the settings they lack, and accept records as large as
    necessary. Other settings of an operator stay.
    """
    wanted = [*TOPICS, *extra]
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, client_id="topics", **security.options()
    )
    await admin.start()
    try:
        there = set(await admin.list_topics())
        missing = [topic for topic in wanted if named(topic.name, prefix) not in there]
        old = {named(topic.name, prefix): topic for topic in wanted if topic not in missing}
        if old:
            await _complete(admin, old)
        if not missing:
            return []
        answer = await admin.create_topics(
            [_new(topic, prefix, replicas, partitions) for topic in missing]
        )
        for _name, code, *_rest in answer.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(_name)
        return [named(topic.name, prefix) for topic in missing]
    finally:
        await admin.close()


def _new(topic: Topic, prefix: str, replicas: int, partitions: int) -> NewTopic:
    return NewTopic(named(topic.name, prefix), partitions, replicas, topic_configs=topic.config)


async def _complete(admin: AIOKafkaAdminClient, old: Mapping[str, Topic]) -> None:
    """Give these topics the settings they lack. `old`: by name on the broker."""
    answers = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in old]
    )
    lacking: list[ConfigResource] = []
    for code, why, _, name, entries in (each for answer in answers for each in answer.resources):
        if code:
            raise for_code(code)(f"{name}: {why}")
        # The broker drops every setting that is not sent again.
        own = {entry[0]: entry[1] for entry in entries if entry[3] == _SET_ON_TOPIC}
        wanted = old[name].config | own
        wanted[_LARGEST] = str(max(int(wanted[_LARGEST]), bytes_max_of(old[name].name)))
        if wanted != own:
            lacking.append(ConfigResource(ConfigResourceType.TOPIC, name, configs=wanted))
    if not lacking:
        return
    for code, why, _, name in (
        each for answer in await admin.alter_configs(lacking) for each in answer.resources
    ):
        if code:
            raise for_code(code)(f"{name}: {why}")


_LARGEST: Final = "max.message.bytes"
_SET_ON_TOPIC: Final = 1
"""Source of a setting in the protocol: DYNAMIC_TOPIC_CONFIG."""
