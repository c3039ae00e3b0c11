"""The events on the wire, by publisher. A published type is never edited: a new meaning is a v2."""

from __future__ import annotations

from shared.events import customs, logistics, orders, payments, tax
from shared.events.base import EVENT_TYPES, Event, Fault, UnknownEventType, event_type_of

__all__ = [
    "EVENT_TYPES",
    "Event",
    "Fault",
    "UnknownEventType",
    "customs",
    "event_type_of",
    "logistics",
    "orders",
    "payments",
    "tax",
]
