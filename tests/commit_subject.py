"""`python -m tests.commit_subject FILE`: check the subject of a commit's message, as pre-commit calls it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.structure import SUBJECT, long_subjects


def main(file: str) -> int:
    """Return 1, and say why, if the first line of the message is no good subject."""
    subject = Path(file).read_text(encoding="utf-8").partition("\n")[0]
    if not long_subjects(subject or " "):
        return 0
    sys.stderr.write(f"write `area: imperative subject`, at most {SUBJECT} characters: {subject}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
