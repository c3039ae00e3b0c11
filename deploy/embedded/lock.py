"""The lock of a stack's folder: the stack's process holds `stack.lock`, which has its id."""

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
"""A look at the lock holds it for an instant, so taking it is tried again."""


def make_folder(home: Path) -> None:
    """Create the folder of a stack if it is missing.

    Raise Misconfigured if it cannot be written to.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _closed(home, error) from None
    if not os.access(home, os.W_OK | os.X_OK):
        raise Misconfigured(
            "choose a folder of your own with CROSSBORDER_HOME or --home: "
            f"{home} cannot be written to"
        )


def take(home: Path) -> IO[str]:
    """Hold the folder for this process until `free`; raise Misconfigured if it is held or closed.

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
            # A killed stack's description is not of this one.
            (home / WRITTEN).unlink(missing_ok=True)
            held.truncate(0)
            held.write(f"{os.getpid()}\n")
            held.flush()
            return held
        held.close()
        time.sleep(PAUSE_S)
    raise Misconfigured(
        f"a stack already runs in {home} (process {holder(home) or 'unknown'}): stop it with "
        "`crossborder down`, "
        "or set CROSSBORDER_HOME to another folder"
    )


def free(held: IO[str]) -> None:
    held.truncate(0)
    held.close()


def runs(home: Path) -> bool:
    """Return whether a stack runs, starts or stops in the folder.

    Raise Misconfigured if it is closed.
    """
    try:
        with (home / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _closed(home, error) from None
    return False


def holder(home: Path) -> int | None:
    """Return the stack's process; None if no stack runs, or before it wrote its id."""
    if not runs(home):
        return None
    text = (home / LOCK).read_text().strip()
    # A stack of an earlier release writes its id only once it is up, into the other file.
    return int(text) if text.isdigit() else _read(home).get("pid")


def written(home: Path) -> dict[str, Any]:
    """Return the running stack's description; empty before it is up, and after a killed stack."""
    pid = holder(home)
    description = _read(home) if pid is not None else {}
    return description if description.get("pid") == pid else {}


def _read(home: Path) -> dict[str, Any]:
    try:
        description = json.loads((home / WRITTEN).read_text())
    except PermissionError as error:
        raise _closed(home, error) from None
    except (OSError, ValueError):
        return {}
    return description if isinstance(description, dict) else {}


def _is_taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    """Return whether the open file still has its name, since `make clean` deletes it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _closed(home: Path, error: OSError) -> Misconfigured:
    state = "closed to this user" if isinstance(error, PermissionError) else "none"
    return Misconfigured(
        f"choose a folder of your own with CROSSBORDER_HOME or --home: {home} is {state} "
        f"({error.strerror})"
    )
