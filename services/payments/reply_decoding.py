"""Read the items of the bank's responses; unreadable items count as no reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import structlog
from pydantic import TypeAdapter, ValidationError

from services.payments.domain.bank_replies import BankRecord, BankReply
from shared import metrics

log = structlog.get_logger(__name__)


class Shape(NamedTuple):
    """How one item is read, and how all are at once."""

    one: TypeAdapter[Any]
    all: TypeAdapter[list[Any]]


REPLY: Final = Shape(TypeAdapter(BankReply), TypeAdapter(list[BankReply]))


RECORD: Final = Shape(TypeAdapter(BankRecord), TypeAdapter(list[BankRecord]))


def read_all(shape: Shape, items: Sequence[Any], operation: str) -> list[Any]:
    try:
        return shape.all.validate_python(items)
    except ValidationError:
        return _read_each(shape.one, items, operation)


def _read_each(shape: TypeAdapter[Any], items: Sequence[Any], operation: str) -> list[Any]:
    readable, unreadable_fields = [], set[str]()
    for item in items:
        try:
            readable.append(shape.validate_python(item))
        except ValidationError as error:
            unreadable_fields |= {
                str(part["loc"][0]) if part["loc"] else "item"
                for part in error.errors(include_input=False)
            }
    if unreadable_fields:
        log.error(
            "answers of the bank cannot be read",
            operation=operation,
            fields=sorted(unreadable_fields),
        )
        metrics.PARTY_CALLS.labels("bank", operation, "unreadable").inc(len(items) - len(readable))
    return readable


def by_key(replies: Sequence[BankReply], requested: set[str]) -> dict[UUID, BankReply]:
    """Return replies by key, without keys that were not asked or have two different replies."""
    replies_by_key: dict[UUID, BankReply] = {}
    doubtful: set[UUID] = set()
    for reply in replies:
        first = replies_by_key.setdefault(reply.key, reply)
        if (first is not reply and first != reply) or str(reply.key) not in requested:
            doubtful.add(reply.key)
    for key in doubtful:
        del replies_by_key[key]
    return replies_by_key
