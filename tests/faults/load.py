"""Orders of every kind, published while things break, and held against the ends that are right for
them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from typing import Final

from services.cli import publish, samples
from services.cli.connect import RunningStack, Unreachable, database
from services.cli.dlq import letters
from services.cli.samples import Cast, Step
from shared.identity import order_id_of

DEAD_LETTER: Final = "dead-letter"
UNREADABLE: Final = frozenset({"malformed", "behind_poison"})
BLURRED: Final = frozenset({"blurred_waybill"})
PLATFORM: Final = "1105910159"
"""Of every sample."""
LOOK_S: Final = 0.3
CALLED_OFF: Final = frozenset({"cancelled", "returned"})


class Load:
    """The demo's play, spread over a time.

    What a dead broker did not take is published again, under the same ids.
    """

    def __init__(self, to: RunningStack, orders: int, seed: int, spread_s: float) -> None:
        self._to = to
        play = samples.of_demo(orders, seed, attended=False)
        self.casts, self._counts = play.casts, play.counts
        cases = {c.order_no: c.case for c in play.casts}
        last = max(cases.values()) or 1
        self._pending = [(cases[s.order_no] / last * spread_s, s) for s in play.steps]
        self._began = self.last_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Publish what is due as long as the block lasts.

        What is not out then waited for a moment that never came; whether that is right, `settle`
        says, so it belongs into the block.
        """
        self._task = task = asyncio.create_task(self._publish())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _publish(self) -> None:
        while self._pending:
            # Where the broker is gone nothing counts as published; the ids make doubles harmless.
            with contextlib.suppress(Unreachable):
                async with database(self._to) as conn:
                    said = await samples.timeline_types_of(conn, [s for _, s in self._pending])
                await self._publish_due(await self.states(), said)
            await asyncio.sleep(LOOK_S)

    async def _publish_due(
        self, states: Mapping[str, str], said: Mapping[str, Collection[str]]
    ) -> None:
        elapsed = time.monotonic() - self._began
        due = [
            (at, s)
            for at, s in self._pending
            if s.is_due(elapsed - at, states.get(s.order_no), said.get(s.order_no, ()))
        ]
        if due:
            due.sort(key=lambda pair: pair[0] + pair[1].delay_s)
            await publish.send(
                self._to, [replace(s.record, after_s=0.0) for _, s in due], None, lambda _n: None
            )
            self.last_at = time.monotonic()
            self._pending = [pair for pair in self._pending if pair not in due]

    async def states(self) -> dict[str, str]:
        async with database(self._to) as conn:
            rows = await conn.fetch("SELECT order_no, state FROM orders.orders")
        return {row["order_no"]: row["state"] for row in rows}

    async def settle(self, timeout_s: float) -> list[str]:
        """Wait until every order is at an end of its kind.

        Returns what is wrong with those that are not.
        """
        deadline = time.monotonic() + timeout_s
        wrong = ["not looked at"]
        while wrong and time.monotonic() < deadline:
            if self._task is not None and self._task.done():
                self._task.result()  # what ended it says more than all that was not published
            try:
                wrong = self._wrong(await self.states())
            except Unreachable:
                continue
            if wrong:
                await asyncio.sleep(LOOK_S)
        return wrong or await self._letters()

    def _wrong(self, states: Mapping[str, str]) -> list[str]:
        found = [f"{s.order_no} is not published" for _, s in self._pending if s.is_timed]
        late = {s.order_no: s for _, s in self._pending}
        for c in self.casts:
            end = states.get(c.order_no, DEAD_LETTER)
            rightly = _rightly(c, end, late.get(c.order_no))
            if end not in rightly:
                found.append(f"{c.order_no} ({c.title}): {end}, not {' or '.join(sorted(rightly))}")
        for case, counts in self._counts.items():
            ends = Counter(states.get(c.order_no, "nothing") for c in self.casts if c.case == case)
            if ends != counts:
                found.append(f"case {case}: {dict(ends)}, not {counts}")
        return found

    async def _letters(self) -> list[str]:
        """Only what nobody can read is among the dead letters: orders by their number, waybills by
        the id of theirs.
        """
        by_no = {c.order_no: c.kind for c in self.casts}
        by_no |= {
            str(order_id_of(PLATFORM, c.order_no)): c.kind for c in self.casts if c.kind in BLURRED
        }
        found = []
        for letter in await letters.letters_of(self._to):
            order_no = (letter.record.key or b"").decode("utf-8", "replace")
            if by_no.get(order_no) not in UNREADABLE | BLURRED:
                found.append(
                    f"a dead letter from {letter.record.topic} for {order_no}: "
                    f"{dict(letter.record.headers)}"
                )
        return found


def _rightly(c: Cast, state: str, late: Step | None) -> frozenset[str]:
    """Under faults an order moves on before it is called off, or is never seen in the state to call
    it off in.
    """
    if not CALLED_OFF & {*c.expected}:
        return frozenset(c.expected)
    unseen = late is not None and late.when is not None and state not in late.when
    return CALLED_OFF | {"fulfilled"} if unseen else CALLED_OFF
