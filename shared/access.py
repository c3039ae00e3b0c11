"""Which principal may read or write which topic or group, made from `shared/topics.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from shared.topics import GROUPS, TOPICS, named


class Operation(IntEnum):
    """The operations of Kafka's authorizer, with their numbers in the protocol."""

    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12


class Kind(IntEnum):
    """The kinds of resource that a right is about, with their numbers in the protocol."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5


ANY: Final = 1
"""The protocol's number for "any", in a request that lists rights."""
_LITERAL: Final = 3
_ALLOW: Final = 3


@dataclass(frozen=True, order=True)
class Grant:
    """One entry of the broker's access list.

    The entries made here name a resource literally, apply to any host, and allow. None is for
    Describe: Read and Write include that right. None is for Idempotent Write: the right to write
    one topic includes that right.
    """

    principal: str
    kind: int
    name: str
    operation: int
    pattern: int = _LITERAL
    host: str = "*"
    permission: int = _ALLOW

    def __str__(self) -> str:
        said = "" if self.pattern == _LITERAL else " prefixed"
        denied = "" if self.permission == _ALLOW else "denied "
        return (
            f"{self.principal} {denied}{_label(Operation, self.operation)}{said} "
            f"{_label(Kind, self.kind)} {self.name}"
        )


def _label(names: type[IntEnum], number: int) -> str:
    return {int(each): each.name.lower() for each in names}.get(number, str(number))


PRINCIPALS: Final[tuple[str, ...]] = tuple(
    sorted({who for t in TOPICS for who in (*t.writers, *t.readers)} | {who for who, _ in GROUPS})
)
"""Every user that logs in to the broker, except the super users."""


def grants(prefix: str = "") -> frozenset[Grant]:
    """Return the rights that the rows of `TOPICS` and `GROUPS` give, and no others.

    `prefix` stands before the name of each topic and group: tests use one.
    """
    rows = {
        Grant(who, Kind.TOPIC, named(t.name, prefix), Operation.WRITE)
        for t in TOPICS
        for who in t.writers
    }
    rows |= {
        Grant(who, Kind.TOPIC, named(t.name, prefix), Operation.READ)
        for t in TOPICS
        for who in t.readers
    }
    return frozenset(
        rows
        | {Grant(who, Kind.GROUP, named(group, prefix), Operation.READ) for who, group in GROUPS}
    )


def matrix() -> list[tuple[str, Mapping[str, str]]]:
    """Return a table of rights for people and for the documentation.

    Each row has the name of a topic or group, and the rights by principal. The rights are words:
    "read", "write", "read, write" or an empty text.
    """
    rows: list[tuple[str, Mapping[str, str]]] = []
    allowed = grants()
    for kind, name in [
        *((Kind.TOPIC, t.name) for t in TOPICS),
        *((Kind.GROUP, group) for _, group in GROUPS),
    ]:
        said = {}
        for who in PRINCIPALS:
            found = [
                op
                for op in (Operation.READ, Operation.WRITE)
                if Grant(who, kind, name, op) in allowed
            ]
            said[who] = ", ".join(op.name.lower() for op in found)
        rows.append((name if kind is Kind.TOPIC else f"group {name}", said))
    return rows
