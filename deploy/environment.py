"""Creates the virtual environment with the fastest suitable Python: `environment.py FOLDER
[--as-named]`.

A Python that was built without the compiler's profile (pyenv's default) takes up to half as long
again, and half of an order's cost is Python. So each interpreter runs a short sum. Another than the
caller's is taken only where it is clearly faster, with a message. `make PYTHON=…` ends the choice.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

LEAST = (3, 11)
MINORS = range(14, 10, -1)
CLEARLY = 1.15
"""How many times as fast as the caller's an interpreter must be to be taken instead."""

# The work of the services: dictionaries, texts, small objects and calls. Prints the version, the
# best of 25 in processor seconds (other work on the machine only adds to it), and the file that
# ran.
SUM = """
import os, sys, time
def once():
    began = time.process_time()
    rows = [{"a": i, "b": str(i), "c": [i] * 3} for i in range(20000)]
    for row in rows:
        for value in row.values():
            isinstance(value, str) and len(value.upper())
    sorted(rows, key=lambda row: row["b"])
    return time.process_time() - began
import venv  # an interpreter without it is useless
best = min(once() for _ in range(25))
print(*sys.version_info[:2], sys.implementation.name, best, os.path.realpath(sys.executable))
"""


def candidates() -> list[str]:
    """Return interpreters of the usual names on the PATH and in the system's folders, each file
    once.
    """
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/bin", "/usr/bin"]
    names = [f"python3.{minor}" for minor in MINORS]
    by_file = {os.path.realpath(sys.executable): sys.executable}
    for folder in folders:
        for name in names:
            path = Path(folder) / name
            if os.access(path, os.X_OK):
                by_file.setdefault(os.path.realpath(path), str(path))
    return list(by_file.values())


def measured(python: str) -> tuple[str, float] | None:
    """Return the file that runs under this name and the seconds of its sum; None if it is
    unsuitable.

    The name may be a version manager's script, so the interpreter itself reports what it is.
    """
    try:
        done = subprocess.run(
            [python, "-I", "-c", SUM],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=20,
            check=True,
        )
        major, minor, name, took, path = done.stdout.decode().rstrip("\n").split(" ", 4)
        is_suitable = name == "cpython" and (int(major), int(minor)) >= LEAST
        return (path, float(took)) if is_suitable else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def choose() -> str:
    """Return the caller's Python, or one of the same version that is clearly faster.

    Only the same version, since the locked requirements were resolved and tried for it.
    """
    ours = measured(sys.executable)
    same = f"python3.{sys.version_info[1]}"
    others = [measured(path) for path in candidates() if Path(path).name == same]
    times = {
        path: took for path, took in filter(None, others) if ours is not None and path != ours[0]
    }
    if ours is None or not times:
        return sys.executable
    best = min(times, key=times.__getitem__)
    if times[best] * CLEARLY >= ours[1]:
        return sys.executable
    times_as_fast = f"{ours[1] / times[best]:.1f} times as fast as {sys.executable}"
    print(f"Taking {best}: it runs {times_as_fast}. `make PYTHON=…` takes another.")  # noqa: T201
    return best


def make(folder: str, python: str) -> None:
    """Create the environment with pip, also for an interpreter without ensurepip (Debian's own)."""
    if (
        subprocess.run(
            [python, "-c", "import ensurepip"], stderr=subprocess.DEVNULL, check=False
        ).returncode
        == 0
    ):
        subprocess.run([python, "-m", "venv", folder], check=True)
        return
    wheel = next(
        (Path(importlib.util.find_spec("ensurepip").origin).parent / "_bundled").glob("pip-*.whl")  # type: ignore[union-attr, arg-type]
    )
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    own = Path(folder) / "bin" / "python"
    subprocess.run(
        [own, f"{wheel}/pip", "install", "--quiet", "--no-index", str(wheel)], check=True
    )


if __name__ == "__main__":
    make(sys.argv[1], sys.executable if "--as-named" in sys.argv else choose())
