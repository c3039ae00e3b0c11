"""Waiting and ending that a cancellation always ends: Python 3.11's `asyncio.wait_for` loses one that meets its result."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final

ROUND_S: Final = 6.0
"""Between one cancellation and the next: longer than what a task may take to stop in order (5 s)."""
ROUNDS: Final = 5


async def wait_for_event(event: asyncio.Event, bound_s: float) -> bool:
    """Wait until the event is set, `bound_s` seconds at most; tells whether it was. Does not clear it.

    `asyncio.wait_for` would return as if nothing had been asked when it is cancelled just as the event is set
    (cpython #86296, mended in 3.12); a loop around it then never ends.
    """
    try:
        async with asyncio.timeout(bound_s):
            return await event.wait()
    except TimeoutError:
        return False


async def end(
    tasks: Iterable[asyncio.Task[Any]], *, round_s: float = ROUND_S, rounds: int = ROUNDS
) -> frozenset[str]:
    """Cancel the tasks and wait until they have ended; their results and errors are not raised.

    One that lost the cancellation in a library (a database client's own bounds are `wait_for` too) is cancelled again
    every `round_s` seconds, `rounds` times in all. Returns the names of those that run even then.
    """
    pending = set(tasks)
    for _ in range(rounds):
        if not pending:
            break
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=round_s)
        # Looked at, so that the loop does not complain of an error nobody asked for.
        _ = [task.cancelled() or task.exception() for task in done]
    return frozenset(task.get_name() for task in pending)


async def together(*steps: Coroutine[Any, Any, None]) -> None:
    """Run the steps side by side to their ends. The first error is raised once every other step has been cancelled and ended.

    `asyncio.gather` raises it at once and lets the others go on: what they open after that, nobody closes.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
