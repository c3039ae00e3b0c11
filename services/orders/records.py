"""Records of `orders.submissions` as messages: one a record, or one for each order of a CEB311
message."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from services.orders.intake.ceb311 import CebEntries
from services.orders.intake.decoding import IntakeItem, read_entries
from services.orders.intake.submission import Submitted
from services.orders.intake.validation import PLACED_EARLIEST
from shared.decoding import PartlyReadable, UnreadableEntry, intake_id, message
from shared.envelope import Message, Record, first_headers
from shared.events.base import Fault
from shared.identity import event_id_of
from shared.intake_types import SUBMITTED

_EARLIEST_MS: Final = PLACED_EARLIEST.timestamp() * 1000


def decode(record: Record) -> Sequence[Message]:
    """Return the submissions or the command in a record.

    The result is PartlyReadable if some orders of a CEB311 message cannot be read or named.
    Raises Unprocessable if nothing can be read.
    """
    headers = first_headers(record.headers)
    parsed = read_entries(record.value, record.headers)
    wire_type = headers.get("ce_type", b"").decode("ascii", "replace") or SUBMITTED
    record_id = intake_id(record, headers, hashlib.sha256(record.value or b"").hexdigest())
    traceparent = headers.get("traceparent")
    if not isinstance(parsed, CebEntries):
        item = _check_timestamp(parsed, record.timestamp_ms)
        return [message(record, record_id, wire_type, item.order_id, item, traceparent, 0)]
    is_single = len(parsed.orders) + len(parsed.unreadable) == 1
    if is_single and parsed.unreadable:
        raise parsed.unreadable[0][1]
    messages = []
    for number, order in parsed.orders:
        # Each order of a CEB311 message has an id of its own, from the record's and the order's.
        own_id = record_id if is_single else event_id_of(record_id, str(number - 1), order.order_id)
        item = _check_timestamp(order, record.timestamp_ms)
        messages.append(
            message(record, own_id, wire_type, order.order_id, item, traceparent, number)
        )
    if not parsed.unreadable:
        return messages
    unreadable = [UnreadableEntry(number, error) for number, error in parsed.unreadable]
    return PartlyReadable(messages, unreadable)


def _check_timestamp(item: IntakeItem, timestamp_ms: int) -> IntakeItem:
    """Add a fault to a submission whose record is dated before 2013: the shop counts in seconds."""
    if timestamp_ms >= _EARLIEST_MS or not isinstance(item, Submitted) or timestamp_ms < 0:
        return item
    timestamp = datetime.fromtimestamp(timestamp_ms / 1000, tz=UTC)
    fault = Fault(
        field="timestamp",
        rule="is_milliseconds",
        found=f"the record's own timestamp is {timestamp:%Y-%m-%d}",
        expected="give milliseconds since 1970",
    )
    return replace(item, shape_faults=(*item.shape_faults, fault))
