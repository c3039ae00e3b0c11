"""What one check of `crossborder verify` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ATTENTION: Final = ("programs", "held_orders", "open_cases", "set_aside", "no_lag")


WAITS_TO_BE_PUBLISHED: Final = "_outbox_published"
"""End of the names of findings about outboxes; like ATTENTION they are no invariants."""


@dataclass(frozen=True)
class Finding:
    """One judged invariant; `skipped` says why it could not be judged here."""

    name: str
    says: str
    offending: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def ok(self) -> bool:
        return not self.offending

    @property
    def act(self) -> bool:
        return self.name in ATTENTION or self.name.endswith(WAITS_TO_BE_PUBLISHED)
