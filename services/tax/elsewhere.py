"""Whether a folder's files of exports and destinations are good, for whoever validates a set of rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from services.tax.exportfiles import load_exports
from services.tax.landedfiles import load_destinations
from services.tax.rulefiles import RuleError

READERS: Final[tuple[tuple[str, Callable[[Path], Any]], ...]] = (
    ("dest-*.toml", load_destinations), ("cn-export-r*.toml", load_exports),
)  # fmt: skip


def faults_elsewhere(folder: Path) -> Sequence[RuleError]:
    """The first fault of each; a folder without such files has none, since a set of rules for imports may stand alone."""
    found = []
    for pattern, reader in READERS:
        if any(folder.glob(pattern)):
            try:
                reader(folder)
            except RuleError as fault:
                found.append(fault)
    return found
