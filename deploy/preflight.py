"""Says in one sentence what this machine lacks.

Runs on the system's Python before any installation.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PYTHON_LEAST = (3, 11)
JAVA_LEAST = 17


def python_lacks() -> str | None:
    """Return what to do about this Python, or None."""
    if sys.version_info < PYTHON_LEAST:
        version = ".".join(str(part) for part in sys.version_info[:3])
        return (
            "Install Python 3.11 or newer and call `make PYTHON=python3.11 …`: "
            f"{sys.executable} is {version}."
        )
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        return "Install Python's venv module (Debian: python3-venv): it cannot be imported."
    return None


def java_lacks() -> str | None:
    """Return what to do about Java and Maven, or None."""
    beside = Path(os.environ.get("JAVA_HOME") or "/nowhere") / "bin" / "java"
    java = str(beside) if beside.is_file() else shutil.which("java")
    if not java:
        return "Install Java 17 or newer (Debian: default-jre-headless): `java` is not on the PATH."
    done = subprocess.run(
        [java, "-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    version = re.search(r'version "(\d+)', done.stdout.decode("utf-8", "replace"))
    if version is None or int(version.group(1)) < JAVA_LEAST:
        number = version.group(1) if version else "unknown"
        return (
            "Install Java 17 or newer, or point JAVA_HOME at it: "
            f"the version of `{java}` is {number}."
        )
    if not shutil.which("mvn"):
        return (
            "Install Maven (Debian: maven), which fetches Kafka's jars: `mvn` is not on the PATH."
        )
    return None


if __name__ == "__main__":
    sys.exit(python_lacks() or java_lacks())
