"""Reads the records of a service: decodes them, checks signatures, and seals those that wait."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import structlog

from shared import inbox
from shared.database import is_of_database, is_of_values
from shared.dead_letters import as_unprocessable, pack_record, unpack_record
from shared.decoding import decode_event, replace_messages, with_arrival_time
from shared.envelope import Message, Record, Unread, uuid_or_none
from shared.errors import TooManyGivenUp, Unavailable, Unprocessable
from shared.failpoints import Failpoints
from shared.parties import Parties, once
from shared.sealing import Sealing
from shared.subscriptions import Source, Subscriptions
from shared.transitions import IllegalTransition

log = structlog.get_logger(__name__)

PARKED: Final = b"parked"
Decoded = Sequence[Message] | Unprocessable
"""A record's messages (none if the record is not for us), or why it cannot be read."""
DecodedRecord = tuple[Record, Decoded]


class RecordReader:
    """Decodes the records of one service, and seals those that wait in a table."""

    def __init__(
        self,
        service: str,
        topic: str,
        subscriptions: Subscriptions,
        deps: Any,
        *,
        sealing: Sealing,
        failpoints: Failpoints | None = None,
        parties: Parties | None = None,
    ) -> None:
        """`topic`: the service's own topic; `deps`: third argument of its handlers."""
        self.service = service
        self.topic = topic
        self.subscriptions = subscriptions
        self.sources = subscriptions.sources
        self.deps = deps
        self.parties = parties or Parties()
        self.sealing = sealing
        self.failpoints = failpoints or Failpoints()
        self._wanted = {
            topic: {kind.type.encode(): kind for kind in types}
            for topic, types in subscriptions.event_types.items()
        }

    def decode(self, record: Record, *, trusted: bool = False) -> Decoded:
        """Return a record's messages, or why it cannot be read.

        `trusted`: an operator sends the record, so no party has to sign it.
        """
        if type(record.value) is Unread:
            return Unprocessable("too_large", record.value.why)
        try:
            return self._decode(record, self.sources[record.topic], trusted=trusted)
        except Unprocessable as refused:
            return refused
        except Exception as bug:
            if not may_be_of_record(bug):
                raise
            return self.to_unprocessable(record, bug)

    def _decode(self, record: Record, source: Source, *, trusted: bool) -> Sequence[Message]:
        if source.decode is None:
            return decode_event(record, self._wanted[record.topic])
        messages = source.decode(record)
        if source.speaks_for is not None and not trusted:
            messages = self._as_signed(record, source, messages)
        if not source.intake:
            return messages
        return with_arrival_time(messages, record.timestamp_ms, int(time.time() * 1000))

    def _as_signed(
        self, record: Record, source: Source, messages: Sequence[Message]
    ) -> Sequence[Message]:
        """Return the messages, as far as bound parties signed them.

        Raises Unprocessable, reason `signature`, for a bound party without a valid signature.
        """
        assert source.speaks_for is not None
        assert source.decode is not None
        parties = {code for m in messages if (code := source.speaks_for(m.event)) is not None}
        if not self.parties.require(record, parties):
            return messages
        if uuid_or_none(record.key) is not None:
            # The key is not signed and might name another party's order.
            messages = source.decode(replace(record, key=None))
        if not any(isinstance(m.event, source.once) for m in messages):
            return messages
        return replace_messages(messages, once(record, messages, for_good=source.for_good))

    def to_unprocessable(self, record: Record, error: Exception) -> Unprocessable:
        """Return why a record is given up. Log an unforeseen error with its trace."""
        if not isinstance(error, Unprocessable | IllegalTransition):
            log.error(
                "a record failed for a reason nobody foresaw",
                service=self.service,
                topic=record.topic,
                exc_info=error,
            )
        return as_unprocessable(error)

    def orders_held_by(self, record: Record) -> set[UUID]:
        """Return the order to hold if this record cannot be handled: one or none.

        A record from outside holds none, since its key is no proof of an order.
        """
        order_id = uuid_or_none(record.key)
        return set() if order_id is None or self.sources[record.topic].intake else {order_id}

    def encrypt(self, record: Record) -> bytes:
        """Seal a record that waits in a table."""
        return self.sealing.encrypt(pack_record(record), PARKED)

    def decrypt(self, packed: bytes) -> Record:
        """Open a record sealed by `encrypt`. Raises Unsealable."""
        return unpack_record(self.sealing.decrypt(packed, PARKED))


def may_be_of_record(error: Exception) -> bool:
    """Tell whether the record itself may be at fault.

    It may be after a refusal, a value that the database refuses, or an error of decoding or
    handling.
    """
    if isinstance(error, inbox.Fenced | Unavailable | TooManyGivenUp | MemoryError):
        return False
    return is_of_values(error) or not is_of_database(error)
