"""Stops the stack, also one that is just starting."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deploy.embedded import lock
from services.cli.connect import (
    HOME,
    Unreachable,
    UsageError,
    home_of,
    none_runs,
    print_err,
)

if TYPE_CHECKING:
    pass


DOWN_S: Final = 45.0


def down(home: Path | None = HOME) -> None:
    """Stop the embedded stack."""
    folder = home_of(home)
    print_err("stopped" if stop(folder) else f"no stack runs in {folder}")


def stop(home: Path) -> bool:
    """Stop the stack of this folder, also one that is starting; return False if none runs."""
    if not lock.runs(home):
        return False
    pid = lock.holder(home)
    if pid is None:
        raise none_runs(home)
    tell(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_S
    while lock.holder(home) == pid:
        if time.monotonic() > deadline:
            raise Unreachable(
                f"look at {home / 'logs'}: process {pid} did not end in {DOWN_S:.0f} s"
            )
        time.sleep(0.05)
    return True


def tell(pid: int, number: signal.Signals) -> None:
    """Send a process a signal if it runs; raise UsageError if it is another user's."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise UsageError(
            f"do this as the user whose stack it is: process {pid} is another user's"
        ) from None
