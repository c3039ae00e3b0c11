"""Follows orders to their ends on `orders.events`, from before they are published."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from services.cli import reading
from services.cli.connect import Target
from shared.envelope import first_headers, uuid_or_none

ENDS: Final = {
    b"order.fulfilled.v1": "fulfilled",
    b"order.rejected.v1": "rejected",
    b"order.cancelled.v1": "cancelled",
    b"order.returned.v1": "returned",
    b"order.resubmitted.v1": "exists",
}
"""What ends the wait for an order; one that was there already says so and may be at its end since long."""


class Follower:
    """Reads from where the topics end when it is entered."""

    def __init__(self, to: Target, wanted: Collection[UUID]) -> None:
        self._to = to
        self._wanted = set(wanted)
        self._stack = AsyncExitStack()
        self._reader: Any = None
        self.ends: dict[UUID, str] = {}

    async def __aenter__(self) -> Self:
        from shared.topics import ORDERS

        found = await reading.partitions(self._to, [ORDERS])
        self._reader = await self._stack.enter_async_context(reading.consumer(self._to))
        self._reader.assign(found)
        for tp, end in (await self._reader.end_offsets(found)).items():
            self._reader.seek(tp, end)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def follow(self, timeout_s: float, advance: Callable[[int], None], *, busy: Callable[[], bool] = lambda: False) -> None:
        """Read until each is at its end, or for `timeout_s` seconds after the last was published."""
        deadline = time.monotonic() + timeout_s
        while len(self.ends) < len(self._wanted) and time.monotonic() < deadline:
            if busy():
                deadline = time.monotonic() + timeout_s
            for batch in (await self._reader.getmany(timeout_ms=200, max_records=5000)).values():
                for r in batch:
                    self._see(r)
            advance(len(self.ends))

    def _see(self, r: Any) -> None:
        end = ENDS.get(first_headers(r.headers).get("ce_type", b""))
        order_id = uuid_or_none(r.key)
        if end is not None and order_id in self._wanted:
            self.ends[order_id] = end
