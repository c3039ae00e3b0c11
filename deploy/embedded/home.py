"""The folder of the embedded stack, and the description of the running one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from deploy.embedded import lock


def home_dir() -> Path:
    """Return the folder of the embedded stack: CROSSBORDER_HOME, or `.crossborder` here."""
    return Path(os.environ.get("CROSSBORDER_HOME") or ".crossborder").resolve()


def find(home: Path | None = None) -> dict[str, Any]:
    """Return the running stack's own description; empty if none runs, also after a killed one."""
    return lock.written(home or home_dir())
