"""Waiting for events and ending tasks, so that no cancellation is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final

ROUND_S: Final = 6.0
"""Seconds between two cancellations: longer than a task's orderly stop, which may take 5 s."""
ROUNDS: Final = 5


async def wait_for_event(event: asyncio.Event, bound_s: float) -> bool:
    """Wait until the event is set, for `bound_s` seconds at most. Tell whether it is set.

    The event is not cleared. `asyncio.wait_for` of Python 3.11 loses a cancellation that arrives
    just as the event is set (cpython #86296, fixed in 3.12). A loop around it would then never end.
    """
    try:
        async with asyncio.timeout(bound_s):
            return await event.wait()
    except TimeoutError:
        return False


async def end(
    tasks: Iterable[asyncio.Task[Any]], *, round_s: float = ROUND_S, rounds: int = ROUNDS
) -> frozenset[str]:
    """Cancel the tasks and wait for their end. Return the names of those still running.

    Results and errors of the tasks are not raised. A library may lose a cancellation: database
    clients use `wait_for` too. So each task is cancelled again every `round_s` seconds, `rounds`
    times in all.
    """
    pending = set(tasks)
    for _ in range(rounds):
        if not pending:
            break
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=round_s)
        # Retrieve the error, so that the loop does not complain about one that nobody asked for.
        _ = [task.cancelled() or task.exception() for task in done]
    return frozenset(task.get_name() for task in pending)


async def together(*steps: Coroutine[Any, Any, None]) -> None:
    """Run the steps side by side. Raise the first error after all other steps have ended.

    The other steps are cancelled. `asyncio.gather` would raise at once and let them go on: nobody
    would close what they open then.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
