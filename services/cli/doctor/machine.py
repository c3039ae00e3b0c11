"""Checks of this machine: programs, ports and key files."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services.cli.connect import (
    RunningStack,
)
from services.cli.doctor.check import Check
from shared.errors import Misconfigured

if TYPE_CHECKING:
    pass


JAVA_MIN: Final = 17


PYTHON_MIN: Final = (3, 11)


def tools() -> Iterator[Check]:
    yield Check(
        "python",
        sys.version_info >= PYTHON_MIN,
        ".".join(map(str, sys.version_info[:3])),
        "" if sys.version_info >= PYTHON_MIN else "install Python 3.11 or newer",
    )
    text = _version(["java", "-version"])
    major = java_major(text)
    yield Check(
        "java",
        major >= JAVA_MIN,
        text or "none",
        ""
        if major >= JAVA_MIN
        else f"install a Java runtime of version {JAVA_MIN} or newer (or set JAVA_HOME)",
    )
    text = _version(["mvn", "-version"])
    yield Check(
        "maven",
        bool(text),
        text or "none",
        "" if text else "install Maven: it fetches Kafka the first time",
    )


def java_major(text: str) -> int:
    """Return 17 for `openjdk version "17.0.9"`, 8 for `"1.8.0"`, 0 for none."""
    match = re.search(r'"(\d+)(?:\.(\d+))?', text)
    if match is None:
        return 0
    return int(match[2]) if match[1] == "1" and match[2] else int(match[1])


def _version(command: list[str]) -> str:
    name = command[0]
    if (
        name == "java"
        and (home := os.environ.get("JAVA_HOME"))
        and (Path(home) / "bin" / "java").exists()
    ):
        command = [str(Path(home) / "bin" / "java"), *command[1:]]
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return re.sub(r"\x1b\[[0-9;]*m", "", lines[0]) if lines and done.returncode == 0 else ""


def ports() -> Iterator[Check]:
    from deploy.embedded.ports import port_setting, ports_from_environment, require_distinct
    from deploy.embedded.programs import OPTIONAL

    port_by_name = ports_from_environment()
    try:
        require_distinct(
            {name: port for name, port in port_by_name.items() if name not in OPTIONAL}
        )
    except Misconfigured as error:
        yield Check("ports", False, "two are the same", str(error))
    for name, port in port_by_name.items():
        if is_free(port):
            yield Check(f"port {port}", True, f"free for {name}")
        else:
            holder = holder_of(port)
            todo = f"stop {holder}, or set {port_setting(name)} to another port"
            yield Check(f"port {port}", False, f"taken by {holder}", todo)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str:
    import psutil

    try:
        for conn in psutil.net_connections("tcp"):
            if (
                conn.status == psutil.CONN_LISTEN
                and conn.laddr
                and conn.laddr[1] == port
                and conn.pid
            ):
                return f"{psutil.Process(conn.pid).name()} (process {conn.pid})"
    except psutil.Error:
        pass
    return "another program"


def keys(to: RunningStack) -> Iterator[Check]:
    from shared.sealing import MASTER_KEYS

    folder = Path(os.environ.get("CROSSBORDER_KEYS") or to.home / "keys")
    for name in MASTER_KEYS:
        path = folder / f"{name}.key"
        if not path.exists():
            yield Check(f"key {name}", False, f"{path} is missing", "run `crossborder keys`")
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        open_to_others = bool(mode & 0o077)
        yield Check(
            f"key {name}",
            not open_to_others,
            f"{path} mode {mode:o}",
            f"run `chmod 600 {path}`" if open_to_others else "",
        )
