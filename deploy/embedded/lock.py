"""Whether a stack runs in a folder, and which process runs it: that one holds the lock on `stack.lock`, and its id is in it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import IO, Any, Final

from shared.errors import Misconfigured

LOCK: Final = "stack.lock"
WRITTEN: Final = "stack.json"
TRIES: Final = 20
PAUSE_S: Final = 0.01
"""Who looks whether it is held holds it for an instant: whoever wants it tries again."""


def make_folder(home: Path) -> None:
    """Make the folder of a stack where it is missing; raises Misconfigured if it cannot be made or written to."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _closed(home, error) from None
    if not os.access(home, os.W_OK | os.X_OK):
        raise Misconfigured(
            f"choose a folder of your own with CROSSBORDER_HOME or --home: {home} cannot be written to"
        )


def take(home: Path) -> IO[str]:
    """Hold the folder for this process until `free`, or until it ends; raises Misconfigured if another does, or it cannot be had.

    The kernel frees it with the process, so a killed stack never blocks the next one.
    """
    make_folder(home)
    path = home / LOCK
    for _ in range(TRIES):
        try:
            held = path.open("a+")
        except OSError as error:
            raise _closed(home, error) from None
        if _is_taken(held) and _is_at(held, path):
            # What a killed stack wrote down is not of this one.
            (home / WRITTEN).unlink(missing_ok=True)
            held.truncate(0)
            held.write(f"{os.getpid()}\n")
            held.flush()
            return held
        held.close()
        time.sleep(PAUSE_S)
    raise Misconfigured(
        f"a stack already runs in {home} (process {holder(home) or 'unknown'}): stop it with `crossborder down`, "
        "or set CROSSBORDER_HOME to another folder"
    )


def free(held: IO[str]) -> None:
    """Let the folder go."""
    held.truncate(0)
    held.close()


def runs(home: Path) -> bool:
    """Whether a stack runs in the folder, or is on its way up or down; raises Misconfigured if the folder cannot be looked into."""
    try:
        with (home / LOCK).open() as looked:
            fcntl.flock(looked, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _closed(home, error) from None
    return False


def holder(home: Path) -> int | None:
    """The process that runs the stack; None if none runs, or if it has not said its id yet."""
    if not runs(home):
        return None
    said = (home / LOCK).read_text().strip()
    # A stack of an earlier release says it only once it is up, in the other file.
    return int(said) if said.isdigit() else _read(home).get("pid")


def written(home: Path) -> dict[str, Any]:
    """What the running stack wrote down about itself; empty if none runs or it is not up yet, whatever file a killed one left."""
    pid = holder(home)
    found = _read(home) if pid is not None else {}
    return found if found.get("pid") == pid else {}


def _read(home: Path) -> dict[str, Any]:
    try:
        found = json.loads((home / WRITTEN).read_text())
    except PermissionError as error:
        raise _closed(home, error) from None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether the open file still has its name: `make clean` deletes it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _closed(home: Path, error: OSError) -> Misconfigured:
    return Misconfigured(
        f"choose a folder of your own with CROSSBORDER_HOME or --home: {home} is "
        f"{'closed to this user' if isinstance(error, PermissionError) else 'none'} ({error.strerror})"
    )
