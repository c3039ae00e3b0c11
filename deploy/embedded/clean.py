"""`python -m deploy.embedded.clean`: delete the data of stacks that do not run.

Part of `make clean`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from deploy.embedded import lock
from shared.errors import Misconfigured

USUAL: Final = Path(".crossborder")
DEMO: Final = "demo"
"""The demo's stack has its folder inside the other's."""
DATA: Final = ("kafka", "postgres", "sandbox", "keys", "logs", "streams")
"""The folders of an open stack."""
LEFT: Final = (*DATA, "secrets", lock.WRITTEN, "stack.part", lock.LOCK)
"""What a stack leaves behind; the lock is deleted last. Jars and other files stay."""


def clean(given: str | None) -> None:
    """Delete the data of `given`, else of `.crossborder` here; raise Misconfigured while a stack
    runs.

    A named folder in which no stack ever ran keeps everything.
    """
    home = Path(given) if given else USUAL
    for folder in (home, home / DEMO, USUAL, USUAL / DEMO):
        # The usual folder too: its stack runs on the environment that is deleted next.
        if lock.runs(folder):
            raise Misconfigured(
                f"stop the stack in {folder} first (`CROSSBORDER_HOME={folder} crossborder down`): "
                "nothing was deleted"
            )
    for folder in (home / DEMO, home):
        if (folder / lock.LOCK).is_file() or (folder.is_dir() and not given):
            _empty(folder)
    with contextlib.suppress(OSError):
        (home / DEMO).rmdir()


def _empty(folder: Path) -> None:
    held = lock.take(folder)
    try:
        for path in (folder / name for name in LEFT):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    finally:
        lock.free(held)


if __name__ == "__main__":
    try:
        clean(os.environ.get("CROSSBORDER_HOME"))
    except (Misconfigured, OSError) as error:
        sys.exit(str(error))
