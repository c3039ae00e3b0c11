"""The sandbox's own metrics: operations of each outside party by outcome; no ids in labels."""

from __future__ import annotations

from typing import Final

from shared.metrics import PARTIES, Counter, Gauge, first

OPERATIONS: Final = Counter(
    "crossborder_sandbox_operations_total",
    "What an outside party did, by outcome.",
    ["party", "kind", "outcome"],
).restrict_labels(party=PARTIES, kind=first(40), outcome=first(60))
RECEIPTS: Final = Counter(
    "crossborder_sandbox_receipts_total", "Receipts the authority wrote.", ["message", "status"]
).restrict_labels(message=first(30), status=first(60))
PENDING: Final = Gauge(
    "crossborder_sandbox_outbox_pending_records",
    "Records written but not yet published.",
    ["party"],
).restrict_labels(party=PARTIES)
