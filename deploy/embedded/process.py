"""Child processes that die with their parent, and the ports they want."""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from shared.errors import Misconfigured

POLL_S: Final = 0.05
_SERVERS: Final = (20_000, 32_768)
"""Below the default range that Linux uses for the near ends of connections."""
_given: Final[set[int]] = set()
_PR_SET_PDEATHSIG: Final = 1
# Loaded here: between fork and exec a child must not import or allocate more than it has to.
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(number: signal.Signals, parent: int) -> Callable[[], None]:
    """Return what a child runs before exec: the kernel sends it `number` once its
    parent is gone.
    """
    code = int(number)

    def tether() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, code)
            if os.getppid() != parent:  # it died before the line above took effect
                os._exit(1)

    return tether


def start(
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: str | None = None,
    last: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, output to `log`; `last` is its signal if this process
    dies.

    Call it on the main thread: the kernel ties a child to the thread that made it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            # A terminal's Ctrl-C is for the supervisor alone, which stops its children in order.
            start_new_session=True,
            preexec_fn=die_with_parent(last, os.getpid()),  # noqa: PLW1509
        )


async def wait_exit(child: subprocess.Popen[bytes], timeout_s: float = math.inf) -> int | None:
    """Return the child's exit status, or None if it still runs after `timeout_s` seconds.

    Polls, which works on any event loop and leaves no watcher thread behind.
    """
    deadline = time.monotonic() + timeout_s
    while (status := child.poll()) is None:
        if time.monotonic() > deadline:
            return None
        await asyncio.sleep(POLL_S)
    return status


async def stop(child: subprocess.Popen[bytes], number: signal.Signals, timeout_s: float) -> int:
    """Send `number`, then SIGKILL after `timeout_s` seconds; return the exit status."""
    if child.poll() is None:
        child.send_signal(number)
    status = await wait_exit(child, timeout_s)
    if status is None:
        child.kill()
        status = child.wait()
    return status


def free_port() -> int:
    """Return a free port of the loopback address, outside the range of connections' near ends.

    Within that range (`ip_local_port_range`), about one restart in a hundred under load lost its
    port to a connection.
    """
    for _ in range(100):
        port = _SERVERS[0] + secrets.randbelow(_SERVERS[1] - _SERVERS[0])
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise Misconfigured(
        "stop what listens on 127.0.0.1: no free port was found from "
        f"{_SERVERS[0]} to {_SERVERS[1] - 1}"
    )


def require_free(port: int, what: str, setting: str) -> None:
    """Raise Misconfigured if `port` is taken; the text names the setting that moves it."""
    with socket.socket() as probe:
        # As the children do: a lingering connection of the last run does not take the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise Misconfigured(
                f"port {port} for {what} is taken: stop what listens there, "
                f"or set {setting} to a free port"
            ) from None


def tail(log: Path, lines: int = 12) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
