"""Who may do what on the broker: rights made from the tables of `shared/topics.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from shared.topics import GROUPS, TOPICS, named


class Operation(IntEnum):
    """The operations of Kafka's authorizer, by their number on the wire."""

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
    """What a right is about."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5


ANY: Final = 1
_LITERAL: Final = 3
_ALLOW: Final = 3


@dataclass(frozen=True, order=True)
class Grant:
    """One entry of the access list; the ones made here are all literal, for any host, and allow.

    Describe is not among them: Read and Write bring it. Nor is Idempotent Write: the right to write one topic brings it.
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
"""Everybody who logs in to the broker and is not a super user."""


def grants(prefix: str = "") -> frozenset[Grant]:
    """Every right there is: the rows of `TOPICS` and `GROUPS`, and nothing else."""
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


# --- the two requests about users, KIP-554; aiokafka has none of them


def matrix() -> list[tuple[str, Mapping[str, str]]]:
    """Of each topic and group: what each principal may, as words; for people and for the documentation."""
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
