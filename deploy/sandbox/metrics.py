"""The sandbox's own metrics: what each outside party did, by outcome; no ids in labels."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

OPERATIONS: Final = Counter(
    "crossborder_sandbox_operations_total",
    "What an outside party did, by outcome.",
    ["party", "kind", "outcome"],
)
RECEIPTS: Final = Counter("crossborder_sandbox_receipts_total", "Receipts the authority wrote.", ["message", "status"])
PENDING: Final = Gauge("crossborder_sandbox_outbox_pending_records", "Records written but not yet published.", ["party"])
