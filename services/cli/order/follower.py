"""Follows orders to their ends on `orders.events`, from before they are published."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from services.cli import topic_reader
from services.cli.connect import RunningStack
from shared.envelope import first_headers, uuid_or_none

ENDS: Final = {
    b"order.fulfilled.v1": "fulfilled",
    b"order.rejected.v1": "rejected",
    b"order.cancelled.v1": "cancelled",
    b"order.returned.v1": "returned",
    b"order.resubmitted.v1": "exists",
}
"""Events that end the wait for an order; one that exists already may have ended long ago."""
GIVEN_BACK: Final = frozenset(
    {b"order.returned.v1", b"order.partly-returned.v1", b"order.cancellation-refused.v1"}
)
"""Events that answer a return request; until then a fulfilled order is not at its end."""


class Follower:
    """Reads from the ends of the topics at entry. `given_back`: orders with a return request."""

    def __init__(
        self, to: RunningStack, wanted: Collection[UUID], given_back: Collection[UUID] = ()
    ) -> None:
        self._to = to
        self._wanted = set(wanted)
        self._given_back = set(given_back)
        self._stack = AsyncExitStack()
        self._reader: Any = None
        self.ends: dict[UUID, str] = {}

    async def __aenter__(self) -> Self:
        from shared.topics import ORDERS

        tps = await topic_reader.partitions(self._to, [ORDERS])
        self._reader = await self._stack.enter_async_context(topic_reader.consumer(self._to))
        self._reader.assign(tps)
        for tp, end in (await self._reader.end_offsets(tps)).items():
            self._reader.seek(tp, end)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def follow(
        self,
        timeout_s: float,
        advance: Callable[[int], None],
        *,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """Read until all is published and ended, at most `timeout_s` after the last send."""
        deadline = time.monotonic() + timeout_s
        while (busy() or self._open() > 0) and time.monotonic() < deadline:
            if busy():
                deadline = time.monotonic() + timeout_s
            for batch in (await self._reader.getmany(timeout_ms=200, max_records=5000)).values():
                for r in batch:
                    self._see(r)
            advance(len(self._wanted) - self._open())

    def _open(self) -> int:
        unanswered = sum(self.ends.get(order_id) == "fulfilled" for order_id in self._given_back)
        return len(self._wanted) - len(self.ends) + unanswered

    def _see(self, r: Any) -> None:
        wire_type = first_headers(r.headers).get("ce_type", b"")
        order_id = uuid_or_none(r.key)
        if order_id not in self._wanted:
            return
        if (end := ENDS.get(wire_type)) is not None:
            self.ends[order_id] = end
        if wire_type in GIVEN_BACK:
            self._given_back.discard(order_id)
