"""`make secrets`: a random password for each role of the database, once, in a folder that no commit and no image has."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Final

NAMES: Final = ("postgres_admin", "postgres_orders", "postgres_payments", "postgres_tax", "postgres_customs")


def make(folder: Path) -> list[str]:
    """Make the secrets that are missing; returns the names of those made.

    The folder is closed to other users. The files in it are readable, because compose mounts each one as it is into
    containers that run under a user of their own.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = [name for name in NAMES if not (folder / name).exists()]
    for name in made:
        partial = folder / f".{name}.part"
        partial.write_text(secrets.token_hex(24))
        partial.chmod(0o444)
        partial.replace(folder / name)
    return made


if __name__ == "__main__":
    found = make(Path(sys.argv[1]))
    sys.stderr.write(f"made {', '.join(found)}\n" if found else "nothing to do: every secret is there\n")
