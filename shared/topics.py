"""Every topic: who writes it, who reads it, how long it is kept. The broker, the access list and the docs follow this."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from shared.kafka import OPEN, Security

PARTITIONS: Final = 12
"""Divides evenly among 1, 2, 3, 4, 6 or 12 replicas of a service; more replicas than this would idle."""

DAY_MS: Final = 24 * 3600 * 1000
EVENTS_RETENTION_MS: Final = 14 * DAY_MS
INTAKE_RETENTION_MS: Final = 3 * DAY_MS
"""Topics that carry personal particulars in clear, because an outside party writes or reads them, are kept shortly."""

MESSAGE_BYTES_MAX: Final = 2 * 1024 * 1024
DEAD_LETTER_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 64 * 1024
"""A dead letter is the record it was with headers more: the largest record must not be too large to be set aside."""


@dataclass(frozen=True)
class Topic:
    """One topic. `personal`: carries personal particulars in clear, so it has short retention and access of its own."""

    name: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    personal: bool = False
    cleanup: Literal["delete", "compact"] = "delete"

    @property
    def retention_ms(self) -> int:
        return INTAKE_RETENTION_MS if self.personal else EVENTS_RETENTION_MS


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

_HEARD: Final = (
    Topic(SUBMISSIONS, ("shops",), ("orders", "sandbox"), personal=True),
    Topic(WAYBILLS, ("sandbox",), ("customs",), personal=True),
    Topic(ORDERS, ("orders",), ("payments", "tax", "customs", "streams")),
    Topic(PAYMENTS, ("payments",), ("orders", "customs")),
    Topic(TAX, ("tax",), ("orders", "payments", "customs")),
    Topic(CUSTOMS, ("customs",), ("orders", "payments", "tax")),
    Topic(DECLARATIONS, ("customs",), ("sandbox",), personal=True),
    Topic(RECEIPTS, ("sandbox",), ("customs",), personal=True),
)


def retention_s_of(topic: str) -> float:
    """Seconds for which the log keeps a record of this topic, or its dead letter."""
    return next(t.retention_ms for t in TOPICS if t.name == topic) / 1000


def dead_letters_of(topic: str) -> str:
    return f"{topic}.dead-letters"


def bytes_max_of(topic: str) -> int:
    """Bytes of the largest batch the broker takes for this topic: value, key and headers of a record that is alone in one."""
    return DEAD_LETTER_BYTES_MAX if topic.endswith(dead_letters_of("")) else MESSAGE_BYTES_MAX


OPERATORS: Final = "operators"
"""The command line: it judges by reading every topic, and gives dead letters back to where they came from."""
ADMIN: Final = "admin"
BROKER: Final = "broker"
SUPER_USERS: Final = (ADMIN, BROKER)
"""Who may do everything: the jobs that make topics and give rights, and the brokers among themselves."""
GROUPS: Final = (
    ("orders", "orders"), ("payments", "payments"), ("tax", "tax"), ("customs", "customs"), ("streams", "streams-sales"),
    ("sandbox", "sandbox"),
)  # fmt: skip
"""Who reads as a member of which consumer group."""

PROBER: Final = "probe"
"""The prober: it publishes as a shop does and looks at what becomes of it; it writes no dead letters."""


def _also(topic: Topic) -> Topic:
    """The row with those who may use a topic without being part of an order's way: the prober and the operators."""
    writers = (PROBER,) if topic.name == SUBMISSIONS else ()
    readers = (PROBER,) if topic.name == ORDERS else ()
    return replace(topic, writers=(*topic.writers, *writers, OPERATORS), readers=(*topic.readers, *readers, OPERATORS))


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
    bootstrap: str, prefix: str = "", *, replicas: int = 1, extra: Iterable[Topic] = (), partitions: int = PARTITIONS,
    security: Security = OPEN,
) -> Sequence[str]:  # fmt: skip
    """Create the topics that are missing; returns the names of those made. Running it again changes nothing."""
    wanted = [*TOPICS, *extra]
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="topics", **security.options())
    await admin.start()
    try:
        there = set(await admin.list_topics())
        missing = [topic for topic in wanted if named(topic.name, prefix) not in there]
        if not missing:
            return []
        answer = await admin.create_topics([_new(topic, prefix, replicas, partitions) for topic in missing])
        for _name, code, *_rest in answer.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(_name)
        return [named(topic.name, prefix) for topic in missing]
    finally:
        await admin.close()


def _new(topic: Topic, prefix: str, replicas: int, partitions: int) -> NewTopic:
    config = {"max.message.bytes": str(bytes_max_of(topic.name)), "cleanup.policy": topic.cleanup}
    if topic.cleanup == "delete":
        config["retention.ms"] = str(topic.retention_ms)
    return NewTopic(named(topic.name, prefix), partitions, replicas, topic_configs=config)
