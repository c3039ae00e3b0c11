"""The ids everyone can compute: orders, events, and nothing that needs a clock or a dice."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

NAMESPACE: Final = uuid5(NAMESPACE_URL, "crossborder")


@lru_cache(maxsize=1024)
def _platform_namespace(platform_code: str) -> UUID:
    return uuid5(NAMESPACE, f"platform:{platform_code}")


def order_id_of(platform_code: str, order_no: str) -> UUID:
    """The order's id: the same submission always names the same order (contract: uuid5(platform.code, order_no))."""
    return uuid5(_platform_namespace(platform_code), order_no)


def event_id_of(cause: UUID, event_type: str, subject: UUID) -> UUID:
    """The id of a fact that follows from `cause`: deciding twice announces the same id, so the inbox drops the second."""
    return uuid5(cause, f"{event_type}:{subject}")


def record_id_of(topic: str, partition: int, offset: int) -> UUID:
    """The id of a record that came without one: its place in the log."""
    return uuid5(NAMESPACE, f"record:{topic}:{partition}:{offset}")
