"""What one transaction of the authority has decided so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.authority.receipts import Receipt
from sandbox.authority.register import PlannedReceipt, RegisterEntry
from sandbox.documents import words_of

_MILLISECOND: Final = 0.001


@dataclass(slots=True)
class Session:
    """The decisions of one transaction, written together at its end.

    `now` is seconds since the epoch.
    """

    now: float
    receipts: list[Receipt] = field(default_factory=list)
    planned: list[PlannedReceipt] = field(default_factory=list)
    changed: dict[int, RegisterEntry] = field(default_factory=dict)
    going_back: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)
    """Arrival, list and application of goods that are on their way back."""
    to_bill: list[tuple[int, float]] = field(default_factory=list)
    """Released lists, each with the time at which its bill falls due."""
    tally: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each kind of document had each outcome."""

    def moment(self) -> float:
        """Return the time on the next receipt: each a millisecond later, so that receipts sort as
        given.
        """
        return self.now + (len(self.receipts) % 1000) * _MILLISECOND

    def give(self, entry: RegisterEntry, receipt: Receipt) -> None:
        times = 2 if "dupreceipt" in words_of(entry.order_no) else 1
        self.receipts += [receipt] * times
