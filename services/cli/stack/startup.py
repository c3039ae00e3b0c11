"""Starts the stack in a process of its own and waits until it is up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from deploy.embedded import lock
from services.cli.connect import (
    Exit,
    Unreachable,
    UsageError,
    none_runs,
    print_err,
    stack_file,
)
from services.cli.stack.readiness import NOT_READY, READY_S
from services.cli.stack.shutdown import stop

if TYPE_CHECKING:
    pass


FIRST_S: Final = 240.0
"""The very first start fetches Kafka's jars."""


class Started(Protocol):
    """A process that can be polled for its exit status."""

    pid: int

    def poll(self) -> int | None: ...


def start_detached(home: Path, *, secured: bool = False, probe: bool = False) -> None:
    """Start a stack in its own process and wait until it is up; raise the error of its `up`."""
    if stack_file(home):
        print_err(f"a stack runs in {home} already; `crossborder status` shows it")
        return
    if lock.runs(home):
        raise none_runs(home)
    lock.make_folder(home / "logs")
    # Another `up` may hold the folder and its log: the log gets its name with the lock.
    draft = home / "logs" / f"up.{os.getpid()}.part"
    options = [*(["--secured"] if secured else []), *(["--probe"] if probe else [])]
    with draft.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "services", "up", "--home", str(home), *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_up(home, child, draft)
    except BaseException:
        if child.poll() is None:
            child.terminate()
        raise
    finally:
        draft.unlink(missing_ok=True)


def _await_up(home: Path, child: Started, draft: Path) -> None:
    log = draft
    deadline = time.monotonic() + READY_S + FIRST_S
    shown = 0
    while time.monotonic() < deadline:
        if log == draft and lock.holder(home) == child.pid:
            log = draft.replace(home / "logs" / "up.log")
        ended = child.poll()
        text = log.read_text(errors="replace")
        if ended is not None:
            if ended == Exit.WRONG:
                raise UsageError(text[shown:].strip())
            raise Unreachable(
                text[shown:].strip()
                or f"look at {home / 'logs'}: the stack ended with status {ended}"
            )
        whole = text.rfind("\n") + 1
        print(text[shown:whole], end="", file=sys.stderr, flush=True)
        shown = max(shown, whole)
        if "\nup;" in text:
            return
        if NOT_READY in text:
            stop(home)
            raise Unreachable(
                f"look at {home / 'logs'}: the stack was not ready in time and was stopped"
            )
        time.sleep(0.05)
    raise Unreachable(f"look at {home / 'logs'}: the stack was not up in time")
