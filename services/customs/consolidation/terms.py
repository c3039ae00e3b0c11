"""The policy and calendar by which export lists are consolidated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from services.customs.consolidation import grouping, months
from services.customs.consolidation.calendar import is_working_day
from services.customs.policy import NoOffice, Policy

EVERY_S: Final = 60.0
"""A month has a fortnight to consolidate, so a minute is soon enough. An idle turn reads three
small indexes.
"""


@dataclass(frozen=True)
class ConsolidationRules:
    """The policy and clock of consolidation. A day lasts `day_s` seconds, less than 86,400 only to
    rehearse.
    """

    policy: Policy
    day_s: float = months.DAY_S
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    @property
    def every_s(self) -> float:
        return min(EVERY_S, max(0.5, self.day_s / 2))

    def month_of(self, at: datetime) -> months.Month:
        return months.month_of(at, self.day_s)

    def grouping_of(self, month: months.Month) -> grouping.Grouping | None:
        """Return how lists of a month are grouped, None without terms for it."""
        terms = months.terms_on(self.policy.summaries.terms, month)
        return None if terms is None else self.policy.summaries.grouping(terms)

    def due_at(self, month: months.Month) -> datetime | None:
        """Return the end of the last day to consolidate the lists of a month, None without terms
        for it.
        """
        terms = months.terms_on(self.policy.summaries.terms, month)
        return None if terms is None else months.due_at(month, terms, is_working_day, self.day_s)

    def traf_mode(self, mode: str, country: str) -> str:
        try:
            return self.policy.office("export", mode, country).traf_mode
        except NoOffice:
            return ""
