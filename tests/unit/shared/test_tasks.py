"""A cancellation ends what it is meant for, also where it meets the very thing that was waited for."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import pytest

from shared.tasks import end, together, wait_for_event

STEPS = range(6)


async def waits_for_ever(event: asyncio.Event) -> None:
    while True:
        await wait_for_event(event, 5.0)
        event.clear()


async def cancelled_after(task: asyncio.Task[None], event: asyncio.Event, steps: int) -> bool:
    """Set the event, let the loop turn so many times, cancel; tells whether the task ended of it."""
    await asyncio.sleep(0)
    event.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=0.05)
    return task.done()


@pytest.mark.parametrize("steps", STEPS)
async def test_a_waiting_loop_ends_at_whatever_turn_of_the_event_it_is_cancelled(
    steps: int,
) -> None:
    event = asyncio.Event()
    assert await cancelled_after(asyncio.create_task(waits_for_ever(event)), event, steps)


async def loses_one(event: asyncio.Event) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), 5.0)
        event.clear()


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="asyncio.wait_for was mended in Python 3.12"
)
async def test_the_librarys_own_way_loses_a_cancellation_and_end_cancels_again() -> None:
    lost = []
    for steps in STEPS:
        event = asyncio.Event()
        task = asyncio.create_task(loses_one(event))
        if not await cancelled_after(task, event, steps):
            lost.append(task)
    assert lost, "if none is lost any more, shared.tasks has no reason to be"
    assert await end(lost, round_s=0.05) == frozenset()
    assert all(task.done() for task in lost)


async def test_the_event_is_told_from_the_bound_and_stays_set() -> None:
    event = asyncio.Event()
    assert not await wait_for_event(event, 0.01)
    event.set()
    assert await wait_for_event(event, 0.01)
    assert event.is_set()


async def stubborn(release: asyncio.Event) -> None:
    while not release.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await release.wait()


async def test_what_will_not_end_is_named_and_what_failed_is_not_raised() -> None:
    release = asyncio.Event()

    async def fails() -> None:
        raise ValueError

    tasks = [asyncio.create_task(stubborn(release), name="stubborn"), asyncio.create_task(fails())]
    await asyncio.sleep(0)
    assert await end(tasks, round_s=0.02, rounds=2) == {"stubborn"}
    release.set()
    await tasks[0]


async def test_what_runs_beside_a_failing_step_has_ended_when_the_error_is_raised() -> None:
    ended = []

    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("the first")

    async def goes_on() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append("beside")

    with pytest.raises(LookupError, match="the first"):
        await together(goes_on(), fails())
    assert ended == ["beside"]
    await together(asyncio.sleep(0), asyncio.sleep(0))
