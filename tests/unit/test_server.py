"""Broker and database are kept running: what ended by itself is started anew a few times, what was
told to end is not.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded.server import Server, Watched
from deploy.embedded.supervisor import Status
from shared.errors import Unavailable

FOREVER = (sys.executable, "-c", "import time; time.sleep(600)")


class Sleeper(Server):
    """A server that comes up unless it is told to fail so often."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.log = log
        self.failures = 0
        self.starts = 0

    async def start(self, timeout_s: float = 0) -> None:
        self.starts += 1
        if self.failures:
            self.failures -= 1
            raise Unavailable("it does not answer; the end of its log:\nmore")
        self._child = subprocess.Popen(FOREVER)
        self._is_wanted = True

    def die(self) -> None:
        """As by a hand from outside."""
        assert self._child is not None
        self._child.kill()
        self._child.wait()


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Sleeper]:
    made = Sleeper(tmp_path / "log")
    yield made
    made.kill()


class Told:
    """What a watched server was said to be, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, str]] = []
        self.running = asyncio.Event()

    def __call__(self, status: Status, said: str) -> None:
        self.heard.append((status.state, status.restarts, said))
        if status.state == "running":
            self.running.set()


async def test_a_server_that_ended_by_itself_is_started_anew(sleeper: Sleeper) -> None:
    told = Told()
    watched = Watched("kafka", sleeper, changed=told, pauses_s=(0, 0, 0))
    await sleeper.start()
    first = sleeper.pid
    watching = asyncio.create_task(watched.watch())
    await asyncio.sleep(0)
    sleeper.failures = 1
    sleeper.die()
    assert watched.status().pid is None
    assert watched.status().state != "running"
    await told.running.wait()
    watching.cancel()
    assert told.heard == [
        ("waiting", 0, "it ended with status -9"),
        ("waiting", 0, "it does not answer; the end of its log:"),
        ("running", 1, "it answers again"),
    ]
    assert (watched.status().state, watched.status().pid not in {None, first}) == ("running", True)


async def test_a_server_that_does_not_come_up_is_given_up_with_the_reason(sleeper: Sleeper) -> None:
    told = Told()
    await sleeper.start()
    sleeper.failures = 100
    watching = asyncio.create_task(Watched("kafka", sleeper, changed=told, pauses_s=(0, 0)).watch())
    await asyncio.sleep(0)
    sleeper.die()
    await watching
    assert sleeper.starts == 3
    assert told.heard[-1] == ("failed", 0, "it does not answer; the end of its log:")


async def test_a_server_that_ends_again_and_again_is_given_up(sleeper: Sleeper) -> None:
    told = Told()
    await sleeper.start()
    watching = asyncio.create_task(Watched("kafka", sleeper, changed=told, pauses_s=(0, 0)).watch())
    for _ in range(2):
        told.running.clear()
        await asyncio.sleep(0)
        sleeper.die()
        await told.running.wait()
    sleeper.die()
    await watching
    assert told.heard[-1] == ("failed", 2, "it ended with status -9")


async def test_a_server_that_was_killed_on_purpose_is_left_to_whoever_killed_it(
    sleeper: Sleeper,
) -> None:
    await sleeper.start()
    assert not sleeper.is_lost
    sleeper.kill()
    assert not sleeper.is_lost
    await sleeper.start()
    sleeper.die()
    assert sleeper.is_lost
