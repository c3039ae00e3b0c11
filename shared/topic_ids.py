"""Whether a topic is still the one of the stored offsets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from typing import Any, Final
from uuid import UUID

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from shared.database import Connection
from shared.errors import Misconfigured

_NONE: Final = UUID(int=0)


class _Uuid(AbstractType[UUID]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


class _Metadata(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("operations", Int32),
        ("tags", TaggedFields),
    )


class _AskV10(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _Metadata
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields)
            ),
        ),
        ("create", Boolean),
        ("cluster_operations", Boolean),
        ("topic_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Ask(Request[_AskV10]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_AskV10]) -> _AskV10:
        return request_struct_class(
            [(_NONE, name, {}) for name in self._names], False, False, False, {}
        )


async def ask(client: Any, names: Collection[str]) -> dict[str, UUID]:
    """Return the ids of those topics that exist; none from a broker before 2.8, which has no ids.

    `client`: of a started consumer. Raises KafkaError if the broker does not answer. Kafka gives
    each topic an id (KIP-516). aiokafka does not ask for it, so the request is built here from its
    protocol types.
    """
    node = client.get_random_node()
    if node is None or not names:
        return {}
    try:
        answer = await client.send(node, _Ask(sorted(names)))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return {}
    return {row[1]: row[2] for row in answer.topics if not row[0] and row[2] != _NONE}


async def require_same(conn: Connection, service: str, ids: Mapping[str, UUID]) -> None:
    """Raise Misconfigured if the stored offsets are of another topic of the same name.

    A recreated topic has the same name and another log. Once its log is longer than the old
    position, an offset alone does not reveal this: all records before that offset would be skipped
    silently.

    `ids`: by the topics' plain names. A new id is noted if no record of its topic was handled.
    """
    known = await conn.fetch(
        "SELECT topic, topic_id FROM known_topic WHERE topic = ANY($1::text[])", list(ids)
    )
    there = {row["topic"]: row["topic_id"] for row in known}
    if all(there.get(topic) == topic_id for topic, topic_id in ids.items()):
        return
    other = [topic for topic, topic_id in ids.items() if there.get(topic, topic_id) != topic_id]
    handled = await conn.fetch(
        "SELECT DISTINCT topic FROM consumer_offset WHERE topic = ANY($1::text[]) AND next > 0",
        other,
    )
    if handled:
        raise Misconfigured(
            "give the broker its data back or, to read it from its beginning, delete the rows of "
            f"{handled[0]['topic']} in {service}.consumer_offset: "
            f"{', '.join(sorted(row['topic'] for row in handled))} was deleted and made anew, so "
            "what was handled of the topic before says nothing of this one"
        )
    await conn.execute(
        "INSERT INTO known_topic (topic, topic_id) SELECT * FROM unnest($1::text[], $2::uuid[]) "
        "ON CONFLICT (topic) DO UPDATE SET topic_id = excluded.topic_id, since = now()",
        list(ids),
        list(ids.values()),
    )
