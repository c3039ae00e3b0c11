"""Every topic: who writes it, who reads it, how long it is kept. The broker, the access list and the docs follow this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from shared.kafka import OPEN, Security

PARTITIONS: Final = 12
"""Divides evenly among 1, 2, 3, 4, 6 or 12 replicas of a service; more replicas than this would idle."""

DAY_MS: Final = 24 * 3600 * 1000
EVENTS_RETENTION_MS: Final = 14 * DAY_MS
INTAKE_RETENTION_MS: Final = 3 * DAY_MS
"""Topics that carry personal particulars in clear, because an outside party writes or reads them, are kept shortly."""
PERSONAL_SEGMENT_MS: Final = DAY_MS
"""A record is deleted with the segment it is in, which takes records for so long. Kafka's own figure is a week."""

MESSAGE_BYTES_MAX: Final = 2 * 1024 * 1024
DEAD_LETTER_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 64 * 1024
"""A dead letter is the record it was with headers more: the largest record must not be too large to be set aside."""
RECEIPT_BYTES_MAX: Final = 16 * 1024 * 1024 + 64 * 1024
"""A receipt may name every line of a month's lists: 16 MiB of document, and room for its key and headers."""


@dataclass(frozen=True)
class Topic:
    """One topic. `personal`: carries personal particulars in clear, so it has short retention and access of its own.

    `outside`: parties outside write it, whose clocks are not ours. The broker stamps each record as it comes. Retention goes
    by a record's time, so one dated long ago would be deleted unread, and one dated in the future kept for as long again.
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
        """What the broker is told of the topic."""
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
"""What the faust table of `streams.sales` restores itself from; faust derives the name: `<app id>-<table>-changelog`."""

CARRIERS: Final = "carriers"
"""Whoever sends waybills. The sandbox is carrier and authority at once; a real carrier may not write the authority's receipts."""

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
    """Seconds for which the log keeps a record of this topic, or its dead letter."""
    return next(t.retention_ms for t in TOPICS if t.name == topic) / 1000


def dead_letters_of(topic: str) -> str:
    return f"{topic}.dead-letters"


def bytes_max_of(topic: str) -> int:
    """Bytes of the largest batch the broker takes for this topic: value, key and headers of a record that is alone in one."""
    if topic.endswith(dead_letters_of("")):
        return DEAD_LETTER_BYTES_MAX
    return RECEIPT_BYTES_MAX if topic == RECEIPTS else MESSAGE_BYTES_MAX


OPERATORS: Final = "operators"
"""The command line: it judges by reading every topic, and gives dead letters back to where they came from."""
ADMIN: Final = "admin"
BROKER: Final = "broker"
SUPER_USERS: Final = (ADMIN, BROKER)
"""Who may do everything: the jobs that make topics and give rights, and the brokers among themselves."""
GROUPS: Final = (
    ("orders", "orders"),
    ("payments", "payments"),
    ("tax", "tax"),
    ("customs", "customs"),
    ("streams", "streams-sales"),
    ("sandbox", "sandbox"),
)
"""Who reads as a member of which consumer group."""

PROBER: Final = "probe"
"""The prober: it publishes as a shop does and looks at what becomes of it; it writes no dead letters."""


def _also(topic: Topic) -> Topic:
    """The row with those who may use a topic without being part of an order's way: the prober and the operators."""
    writers = (PROBER,) if topic.name == SUBMISSIONS else ()
    readers = (PROBER,) if topic.name == ORDERS else ()
    return replace(
        topic,
        writers=(*topic.writers, *writers, OPERATORS),
        readers=(*topic.readers, *readers, OPERATORS),
    )


TOPICS: Final[tuple[Topic, ...]] = (
    *(_also(t) for t in _HEARD),
    # A dead letter keeps the original bytes, so it is as personal as where it came from.
    *(Topic(dead_letters_of(t.name), t.readers, (OPERATORS,), personal=t.personal) for t in _HEARD),
    Topic(SALES, ("streams",), (OPERATORS,)),
    Topic(RISK, ("streams",), (OPERATORS,)),
    Topic(SALES_TABLE, ("streams",), ("streams", OPERATORS), cleanup="compact"),
)


def named(topic: str, prefix: str = "") -> str:
    """The topic's name on the broker; tests put a prefix before it."""
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
    """Create the topics that are missing; returns the names of those made. Running it again changes nothing.

    Topics that an earlier release made get the settings they lack, and take records as large as they must. Whatever else an
    operator has set stays.
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
    """Give these topics the settings they lack, by their names on the broker."""
    answers = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in old]
    )
    lacking: list[ConfigResource] = []
    for code, why, _, name, entries in (each for answer in answers for each in answer.resources):
        if code:
            raise for_code(code)(f"{name}: {why}")
        # The broker forgets whatever is not said again.
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
"""Where a setting comes from, in the words of the protocol: DYNAMIC_TOPIC_CONFIG."""
