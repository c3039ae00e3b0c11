"""Every metric of the project, declared once; labels are from closed sets and never name an order or a person."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_DELAY: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_STAGE: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)

BUILD_INFO: Final = Gauge("crossborder_build_info", "Constant 1; the release that runs.", ["service", "version"])

# --- the message kernel
EVENTS: Final = Counter(
    "crossborder_events_processed_total", "Records taken from a topic, by what became of them.",
    ["service", "topic", "event_type", "outcome"],
)  # fmt: skip
PROCESSING: Final = Histogram(
    "crossborder_event_processing_seconds", "Time to handle one batch of records, its transaction included.",
    ["service"], buckets=_FAST,
)  # fmt: skip
BATCH_RECORDS: Final = Histogram(
    "crossborder_event_batch_records", "Records handled in one transaction.", ["service"], buckets=(1, 5, 10, 50, 100, 250, 500, 1000, 2500)
)  # fmt: skip
QUEUE_DELAY: Final = Histogram(
    "crossborder_event_queue_delay_seconds", "From a record's timestamp to the start of its handling, the oldest of each batch.",
    ["service", "topic"], buckets=_DELAY,
)  # fmt: skip
LAG: Final = Gauge("crossborder_consumer_lag_records", "Records in the log behind the committed offset.", ["topic", "partition"])
LAST_PROGRESS: Final = Gauge(
    "crossborder_consumer_last_progress_timestamp_seconds", "When a batch was last committed.", ["service"]
)
ASSIGNED: Final = Gauge("crossborder_consumer_assigned_partitions", "Partitions this process reads.", ["service"])
REBALANCES: Final = Counter("crossborder_consumer_rebalances_total", "Assignments received.", ["service"])
FENCED: Final = Counter(
    "crossborder_consumer_fenced_total", "Batches given up because the offset in the database was another.", ["service", "kind"]
)
OUTBOX_PENDING: Final = Gauge(
    "crossborder_outbox_pending_records", "Records written but not yet acknowledged by the broker.", ["service"]
)
OUTBOX_OLDEST: Final = Gauge(
    "crossborder_outbox_oldest_pending_timestamp_seconds",
    "When the oldest unpublished record was written; 0 if none.",
    ["service"],
)
PUBLISHED: Final = Counter("crossborder_outbox_published_total", "Records acknowledged by the broker.", ["service"])
RELAY_LEADING: Final = Gauge("crossborder_outbox_relay_leading", "1 in the process that publishes for its service.", ["service"])
DEAD_LETTERS: Final = Counter("crossborder_dead_letters_total", "Records given up.", ["service", "topic", "reason"])
HELD_ORDERS: Final = Gauge("crossborder_held_orders", "Orders that wait for a dead letter of theirs to be replayed.", ["service"])
EFFECTS_OPEN: Final = Gauge("crossborder_effects_open", "Instructions to an outside party without an answer yet.", ["service"])
EFFECTS: Final = Counter(
    "crossborder_effects_total", "Instructions to an outside party, by outcome.", ["service", "kind", "outcome"]
)
EFFECT_SECONDS: Final = Histogram(
    "crossborder_effect_call_seconds", "Time one bulk call to an outside party took.", ["service", "kind"], buckets=_FAST
)
IGNORED_FIELDS: Final = Counter("crossborder_ignored_fields_total", "Unknown fields in submissions, ignored.", ["service"])
LOOP_LAG: Final = Gauge(
    "crossborder_event_loop_lag_seconds", "How late the event loop woke, worst of the last interval.", ["service"]
)
POOL: Final = Gauge("crossborder_db_pool_connections", "Database connections.", ["service", "state"])
INVARIANTS: Final = Gauge("crossborder_invariant_violations", "Rows that break the invariant, at the last check.", ["invariant"])

# --- orders
ORDERS: Final = Counter("crossborder_orders_total", "Orders that came to this state.", ["state", "corridor"])
ORDERS_OPEN: Final = Gauge("crossborder_orders_open", "Orders in this state now.", ["state"])
OLDEST_OPEN: Final = Gauge(
    "crossborder_orders_oldest_open_timestamp_seconds", "When the oldest order in this state came; 0 if none.", ["state"]
)
STAGE_SECONDS: Final = Histogram(
    "crossborder_order_stage_seconds",
    "From the placing of an order to the end of a stage.",
    ["stage", "corridor"],
    buckets=_STAGE,
)

# --- payments
CAPTURED: Final = Counter("crossborder_captured_minor_total", "Minor units moved at the bank.", ["currency", "outcome"])

# --- tax
TAX_ASSESSED: Final = Counter("crossborder_tax_assessed_minor_total", "Minor units of tax assessed.", ["kind", "regime"])
QUOTA_REFUSALS: Final = Counter("crossborder_quota_refusals_total", "Orders refused by a limit.", ["code"])

# --- customs
BATCHES: Final = Counter("crossborder_declaration_batches_total", "Collective messages, by outcome.", ["outcome"])
BATCH_LISTS: Final = Histogram(
    "crossborder_declaration_batch_lists", "Lists in one collective message.", buckets=(1, 2, 5, 10, 25, 50, 75, 100)
)
RECEIPTS: Final = Counter("crossborder_receipts_total", "Receipts of the authority.", ["message", "status"])
MATCH_FAILURES: Final = Counter("crossborder_match_failures_total", "Mismatches between documents.", ["code"])

# --- streams
VERIFIED_SALES: Final = Counter(
    "crossborder_verified_sales_total", "Orders with three matching documents and a release.", ["corridor"]
)
VERIFIED_SALES_MINOR: Final = Counter(
    "crossborder_verified_sales_minor_total", "Minor units of verified sales.", ["corridor", "currency"]
)
STREAM_ORDERS: Final = Gauge(
    "crossborder_stream_orders", "Orders of a window by the stage they came to, in the partitions this process reads.",
    ["corridor", "stage", "window"],
)  # fmt: skip
