"""Every metric of the project, declared once. No label names an order or a person."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Self

import prometheus_client as client

from shared import topics
from shared.envelope import traceparent_of
from shared.errors import UNPROCESSABLE_REASONS
from shared.events import EVENT_TYPES
from shared.events.customs import ReceiptEvent
from shared.money import EXPONENTS

# unused, and a third of all series
client.disable_created_metrics()  # type: ignore[no-untyped-call]

OTHER: Final = "other"

SERVICES: Final = (
    "orders",
    "payments",
    "tax",
    "customs",
    "streams-sales",
    "streams-risk",
    "sandbox",
    "probe",
)
TOPICS: Final = tuple(topic.name for topic in topics.TOPICS)
COMMANDS: Final = ("order.submitted.v1", "order.cancel-requested.v1", "return.requested.v1")
RECEIPT_MESSAGES: Final = (
    "CEB622",
    "CEB604",
    "CEB624",
    "CEB606",
    "CEB626",
    "CEB214",
    "CEB816",
    "CEB818",
    "CEB702",
    "CEB792",
)
NOTICE_MESSAGES: Final = (
    "CEB304",
    "CEB312",
    "CEB404",
    "CEB412",
    "CEB506",
    "CEB508",
    "CEB510",
    "CEB512",
    "CEB514",
    "CEB608",
    "CEB712",
    "CEB216",
)
"""Receipts that need no action. Each has its label, but no series before the first one comes."""
RECEIPT_FACTS: Final = tuple(
    kind.__name__ for kind in EVENT_TYPES.values() if issubclass(kind, ReceiptEvent)
)
OUTCOMES: Final = ("ok", "duplicate", "ignored", "parked", "dead-letter", "skipped")
POOL_STATES: Final = ("open", "idle", "busy", "max")
FENCES: Final = ("overtaken", "gap", "hole")
END_REASONS: Final = (
    "watchdog_consumer",
    "watchdog_relay",
    "unavailable",
    "unexpected",
    "too_many_given_up",
)
INTAKE_TYPES: Final = {
    topics.SUBMISSIONS: COMMANDS,
    topics.WAYBILLS: ("waybill.issued.v1", "waybill.delivered.v1"),
    topics.RECEIPTS: RECEIPT_MESSAGES,
}
REASONS: Final = UNPROCESSABLE_REASONS
PROBE: Final = "probe"
"""The corridor of synthetic orders, which tells them apart wherever corridors are shown."""
CORRIDORS: Final = (
    "US-CN",
    "JP-CN",
    "KR-CN",
    "AU-CN",
    "DE-CN",
    "FR-CN",
    "CN-US",
    "CN-RU",
    "CN-DE",
    "CN-FR",
    PROBE,
)
"""The corridors with a label of their own."""
CURRENCIES: Final = ("CNY", "USD", "EUR", "RUB")
"""Currencies whose counters exist from the start. Others appear with their first amount."""
STAGES: Final = ("payment", "tax", "declaration", "release", "total")
ENDS: Final = ("fulfilled", "rejected", "cancelled", "returned")
OPEN_STATES: Final = ("awaits_order", "placed", "lodged", "withdrawing", "unwinding")
PARTIES: Final = ("bank", "carrier", "authority")
OPERATIONS: Final[dict[str, tuple[str, ...]]] = {
    "bank": ("authorise", "capture", "void", "refund", "refund_tax", "transfer", "query"),
    "carrier": ("waybill",),
    "authority": ("declare", "cancel", "return"),
}
SUMMARY_STATES: Final = ("requested", "accepted", "refused", "declared", "closed", "superseded")
CONSOLIDATED_STAGES: Final = ("generated", "declared", "returned", "closed")
UNCONSOLIDATED: Final = ("open", "requested", "set_aside")
CALL_OUTCOMES: Final = ("ok", "timeout", "unreachable", "error", "unreadable", "busy", "forbidden")
"""`ok`: a readable answer, whatever its content; `error`: an HTTP status of 400 or more.

`busy`: status 429 or 503; `forbidden`: 401, 403 or 407.
"""
TIMERS: Final = (
    "lodge",
    "bills",
    "returns",
    "summaries",
    "summary words",
    "cases",
    "guarantee",
    "lapses",
)
ASIDE_SOURCES: Final = ("effect", "outbox", *TIMERS)
"""Where items are set aside: commands, records to publish, and the items of timers."""
ASIDE_REASONS: Final = (*REASONS, "sealed")
LOOPS: Final = ("effects", "relay", "requests", "rules", "sweep", "gauges", "invariants", *TIMERS)
EFFECT_OUTCOMES: Final = ("answered", "unknown", "conflict", "unsettled")
PROBE_OUTCOMES: Final = ("fulfilled", "rejected", "cancelled", "returned", "late", "unpublished")

Normalise = Callable[[str], str]
_PARTITIONS: Final = frozenset(str(number) for number in range(256))


class _Closed(client.metrics.MetricWrapperBase):
    """A metric with labels from closed sets. Any other value reads `other`.

    So no input from outside can make series without end. If all values are known, the children are
    made at the start. A counter then stands at 0 before its first event, and `rate` sees that
    event.
    """

    _sets: dict[str, Collection[str] | Normalise]

    def restrict_labels(self, **sets: Collection[str] | Normalise) -> Self:
        """Close labels: each to a set of values, or by a function that maps every value into a set.

        Until then a label reads `other`. The app of a service closes the labels whose values it
        owns: the authority's statuses (customs) and the kinds of case. Raises ValueError for an
        unknown label.
        """
        unknown = sets.keys() - set(self._labelnames)
        if unknown:
            raise ValueError(f"{self._name} has no label {', '.join(sorted(unknown))}")
        there: dict[str, Collection[str] | Normalise] = self.__dict__.setdefault("_sets", {})
        there.update(
            {name: found if callable(found) else frozenset(found) for name, found in sets.items()}
        )
        return self

    def labels(self, *values: Any, **named: Any) -> Any:
        """Return the child of these values. A known child costs a single look-up."""
        if not named and (found := self._metrics.get(values)) is not None:
            return found
        values = values or tuple(named[name] for name in self._labelnames)
        return super().labels(*map(self._closed, self._labelnames, values))

    def _closed(self, name: str, value: Any) -> str:
        allowed = self.__dict__.get("_sets", {}).get(name, ())
        text = str(value)
        if callable(allowed):
            return str(allowed(text))
        return text if text in allowed else OTHER

    def begin(self, *sets: Iterable[Any]) -> Self:
        """Make the children of every combination, at 0. Give one set for each label, in order."""
        for values in itertools.product(*(tuple(found) for found in sets)):
            self.labels(*values)
        return self

    def closed_to(self, label: str) -> frozenset[str] | None:
        """Return the values that a label can have besides `other`; None if a function decides."""
        found = self.__dict__.get("_sets", {}).get(label)
        return found if isinstance(found, frozenset) else None

    def closed_labels(self) -> frozenset[str]:
        """Return the labels that have a closed set."""
        return frozenset(self.__dict__.get("_sets", {}))


class Counter(_Closed, client.Counter):
    """A counter with closed labels."""


class Gauge(_Closed, client.Gauge):
    """A gauge with closed labels."""


class Histogram(_Closed, client.Histogram):
    """A histogram with closed labels."""


class OwnedGauge:
    """The children of a gauge that this process owns.

    A child that it no longer owns is removed: its new owner shows it now.
    """

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._now: set[tuple[str, ...]] = set()

    def show(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Show these values, by their labels' values, and no others."""
        for labels, value in values.items():
            self._gauge.labels(*labels).set(value)
        for labels in self._now - values.keys():
            self._gauge.remove(*labels)
        self._now = set(values)


def exemplar(traceparent: bytes | None) -> dict[str, str] | None:
    """Return the trace of a measurement for OpenMetrics; None without a valid one.

    It is the `trace_id` of a W3C traceparent.
    """
    valid = traceparent_of(traceparent)
    return {"trace_id": valid[3:35].decode("ascii")} if valid is not None else None


def corridor_of(value: str) -> str:
    """Return the label of a corridor; `other` for a corridor without a label of its own."""
    return value if value in CORRIDORS else OTHER


def first(most: int) -> Normalise:
    """Return a function that keeps the first `most` different codes; the rest reads `other`.

    It is for codes of rules and tables, which may grow. A text without the shape of a code always
    reads `other`, such as a name, a phone or an identity number.
    """
    known: set[str] = set()

    def of(value: str) -> str:
        if value not in known:
            if len(known) >= most or not _CODE.fullmatch(value):
                return OTHER
            known.add(value)
        return value

    return of


_CODE: Final = re.compile(r"-?[0-9]{1,7}|[a-z][a-z0-9_.-]{2,40}")


def event_type_of(value: str) -> str:
    """Return the label of a record's type; `other` if it is not ours.

    The label of a receipt is its message type without the status.
    """
    if value in _EVENT_TYPES:
        return value
    message = value.partition(".")[0].removesuffix("Message")
    return message if message in RECEIPT_MESSAGES or message in NOTICE_MESSAGES else OTHER


_EVENT_TYPES: Final = frozenset(
    (*EVENT_TYPES, *COMMANDS, *INTAKE_TYPES[topics.WAYBILLS], "", "any", "unreadable")
)


_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_DELAY: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_STAGE: Final = (
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
    7200.0,
    86400.0,
)

BUILD_INFO: Final = Gauge(
    "crossborder_build_info", "Constant 1; the release that runs.", ["service", "version"]
).restrict_labels(service=SERVICES, version=str)

# --- the message kernel
EVENTS: Final = Counter(
    "crossborder_events_processed_total",
    "Records taken from a topic, by what became of them; counted once they are committed.",
    ["service", "topic", "event_type", "outcome"],
).restrict_labels(service=SERVICES, topic=TOPICS, event_type=event_type_of, outcome=OUTCOMES)
PROCESSING: Final = Histogram(
    "crossborder_event_processing_seconds",
    "Time one transaction took that handled a batch of records, its commit included.",
    ["service"],
    buckets=_FAST,
).restrict_labels(service=SERVICES)
BATCH_RECORDS: Final = Histogram(
    "crossborder_event_batch_records",
    "Records handled in one transaction.",
    ["service"],
    buckets=(1, 5, 10, 50, 100, 250, 500, 1000, 2500),
).restrict_labels(service=SERVICES)
QUEUE_DELAY: Final = Histogram(
    "crossborder_event_queue_delay_seconds",
    "From a record's timestamp to the start of its handling; of each batch and topic the record "
    "that waited longest.",
    ["service", "topic"],
    buckets=_DELAY,
).restrict_labels(service=SERVICES, topic=TOPICS)
IN_FLIGHT: Final = Gauge(
    "crossborder_consumer_in_flight_records",
    "Records of the batch in hand, 0 between batches.",
    ["service"],
).restrict_labels(service=SERVICES)
LAG: Final = Gauge(
    "crossborder_consumer_lag_records",
    "Records in the log that may be read and that this process has not handled yet, of each "
    "partition it reads.",
    ["topic", "partition"],
).restrict_labels(topic=TOPICS, partition=_PARTITIONS)
HELD_BACK: Final = Gauge(
    "crossborder_consumer_held_back_seconds",
    "For how long a transaction that its producer has not ended keeps everybody from reading on, "
    "of each partition this process reads.",
    ["topic", "partition"],
).restrict_labels(topic=TOPICS, partition=_PARTITIONS)
LAST_PROGRESS: Final = Gauge(
    "crossborder_consumer_last_progress_timestamp_seconds",
    "When a batch was last committed; 0 before the first.",
    ["service"],
).restrict_labels(service=SERVICES)
LAST_POLL: Final = Gauge(
    "crossborder_consumer_last_poll_timestamp_seconds",
    "When the log was last asked for records and answered, even with none.",
    ["service"],
).restrict_labels(service=SERVICES)
ASSIGNED: Final = Gauge(
    "crossborder_consumer_assigned_partitions", "Partitions this process reads.", ["service"]
).restrict_labels(service=SERVICES)
REBALANCES: Final = Counter(
    "crossborder_consumer_rebalances_total", "Assignments received.", ["service"]
).restrict_labels(service=SERVICES)
REBALANCE_SECONDS: Final = Histogram(
    "crossborder_consumer_rebalance_seconds",
    "From the loss of the old assignment to reading on with the new one.",
    ["service"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
).restrict_labels(service=SERVICES)
INTAKE_PAUSED: Final = Gauge(
    "crossborder_consumer_intake_paused",
    "1 while the intake waits because too much of what it caused is unfinished.",
    ["service"],
).restrict_labels(service=SERVICES)
FENCED: Final = Counter(
    "crossborder_consumer_fenced_total",
    "Batches given up because the offset in the database was another: overtaken by another "
    "process, a gap where records were deleted unread, or a hole that never held one (the end of "
    "a writer's transaction).",
    ["service", "kind"],
).restrict_labels(service=SERVICES, kind=FENCES)
RETRIES: Final = Counter(
    "crossborder_batch_retries_total",
    "Batches tried again because database or Kafka did not answer.",
    ["service"],
).restrict_labels(service=SERVICES)
OUTBOX_PENDING: Final = Gauge(
    "crossborder_outbox_pending_records",
    "Records written but not yet acknowledged by the broker.",
    ["service"],
).restrict_labels(service=SERVICES)
OUTBOX_OLDEST: Final = Gauge(
    "crossborder_outbox_oldest_pending_timestamp_seconds",
    "When the oldest unpublished record was written; 0 if none.",
    ["service"],
).restrict_labels(service=SERVICES)
PUBLISHED: Final = Counter(
    "crossborder_outbox_published_total", "Records acknowledged by the broker.", ["service"]
).restrict_labels(service=SERVICES)
PUBLISH_SECONDS: Final = Histogram(
    "crossborder_outbox_publish_seconds",
    "Time from sending a batch of the outbox to its last acknowledgement.",
    ["service"],
    buckets=_FAST,
).restrict_labels(service=SERVICES)
PRODUCER_FAILURES: Final = Counter(
    "crossborder_outbox_producer_failures_total",
    "Times the relay gave up its producer and began with a new one.",
    ["service"],
).restrict_labels(service=SERVICES)
RELAY_LEADING: Final = Gauge(
    "crossborder_outbox_relay_leading",
    "1 in the process that publishes for its service, 0 in its replicas.",
    ["service"],
).restrict_labels(service=SERVICES)
DEAD_LETTERS: Final = Counter(
    "crossborder_dead_letters_total",
    "Records given up, replays that failed again included.",
    ["service", "topic", "reason"],
).restrict_labels(service=SERVICES, topic=TOPICS, reason=REASONS)
DEAD_LETTER_DEBT: Final = Gauge(
    "crossborder_dead_letters_unreplayed_records",
    "Dead letters nobody has replayed with success yet, by the topic they came from.",
    ["service", "topic"],
).restrict_labels(service=SERVICES, topic=TOPICS)
DEAD_LETTER_OLDEST: Final = Gauge(
    "crossborder_dead_letters_oldest_unreplayed_timestamp_seconds",
    "When the oldest of them was given up; 0 if none.",
    ["service"],
).restrict_labels(service=SERVICES)
HELD_ORDERS: Final = Gauge(
    "crossborder_held_orders",
    "Orders that wait for a dead letter of theirs to be replayed.",
    ["service"],
).restrict_labels(service=SERVICES)
HELD_OLDEST: Final = Gauge(
    "crossborder_held_orders_oldest_timestamp_seconds",
    "Since when the order held longest is held; 0 if none.",
    ["service"],
).restrict_labels(service=SERVICES)
PARKED: Final = Gauge(
    "crossborder_parked_records",
    "Records of held orders that wait behind their dead letter.",
    ["service"],
).restrict_labels(service=SERVICES)
CASES_OPEN: Final = Gauge(
    "crossborder_cases_open",
    "Contradictions and dead ends that a person must settle, by kind.",
    ["service", "kind"],
).restrict_labels(service=SERVICES, kind=())
CASES_OLDEST: Final = Gauge(
    "crossborder_cases_oldest_open_timestamp_seconds",
    "When the oldest open case was opened; 0 if none.",
    ["service"],
).restrict_labels(service=SERVICES)
EFFECTS_OPEN: Final = Gauge(
    "crossborder_effects_open",
    "Instructions to an outside party without an answer yet.",
    ["service"],
).restrict_labels(service=SERVICES)
EFFECTS_UNKNOWN: Final = Gauge(
    "crossborder_effects_unknown",
    "Open instructions asked twice or more: what became of them is not known.",
    ["service"],
).restrict_labels(service=SERVICES)
EFFECTS_OLDEST: Final = Gauge(
    "crossborder_effects_oldest_open_timestamp_seconds",
    "When the oldest open instruction was given; 0 if none.",
    ["service"],
).restrict_labels(service=SERVICES)
EFFECTS: Final = Counter(
    "crossborder_effects_total",
    "Instructions to an outside party, by what each call came to; one may be called for more than "
    "once.",
    ["service", "kind", "outcome"],
).restrict_labels(service=SERVICES, kind=OPERATIONS["bank"], outcome=EFFECT_OUTCOMES)
EFFECT_SECONDS: Final = Histogram(
    "crossborder_effect_call_seconds",
    "Time until all instructions of one kind claimed together were answered or given up.",
    ["service", "kind"],
    buckets=_FAST,
).restrict_labels(service=SERVICES, kind=OPERATIONS["bank"])
ASIDE: Final = Gauge(
    "crossborder_set_aside_items",
    "Items that failed alone and are set aside: tried again after growing pauses, others go on.",
    ["service", "source"],
).restrict_labels(service=SERVICES, source=ASIDE_SOURCES)
ASIDE_OLDEST: Final = Gauge(
    "crossborder_set_aside_oldest_timestamp_seconds",
    "Since when the oldest of them is set aside; 0 if none.",
    ["service"],
).restrict_labels(service=SERVICES)
SET_ASIDE: Final = Counter(
    "crossborder_set_aside_total",
    "Times an item was set aside, tries that failed again included.",
    ["service", "source", "reason"],
).restrict_labels(service=SERVICES, source=ASIDE_SOURCES, reason=ASIDE_REASONS)
LOOP_FAILURES: Final = Counter(
    "crossborder_loop_failures_total",
    "Turns of a timer or loop that failed for a reason nobody foresaw.",
    ["service", "loop"],
).restrict_labels(service=SERVICES, loop=LOOPS)
LOOP_FAILS: Final = Gauge(
    "crossborder_loop_failed_in_a_row",
    "Turns of a timer or loop that failed one after the other; 0 once one succeeds.",
    ["service", "loop"],
).restrict_labels(service=SERVICES, loop=LOOPS)
IGNORED_FIELDS: Final = Counter(
    "crossborder_ignored_fields_total", "Unknown fields in submissions, ignored.", ["service"]
).restrict_labels(service=SERVICES)
LOOP_LAG: Final = Gauge(
    "crossborder_event_loop_lag_seconds",
    "How late the event loop woke: the worst of the last 15 seconds.",
    ["service"],
).restrict_labels(service=SERVICES)
POOL: Final = Gauge(
    "crossborder_db_pool_connections",
    "Database connections: open (all), idle, busy, and the most there may be (max).",
    ["service", "state"],
).restrict_labels(service=SERVICES, state=POOL_STATES)
POOL_WAITING: Final = Gauge(
    "crossborder_db_pool_waiting",
    "Tasks that wait for a database connection: the most of the last 15 seconds.",
    ["service"],
).restrict_labels(service=SERVICES)
REACHES: Final = Gauge(
    "crossborder_dependency_up",
    "1 if what the service stands on answered it when last asked, 0 if not; asked every 5 seconds.",
    ["service", "dependency"],
).restrict_labels(service=SERVICES, dependency=("kafka", "postgres"))
WATCHDOG: Final = Gauge(
    "crossborder_watchdog_progress_timestamp_seconds",
    "When the watchdog last saw progress or nothing to do; it ends the process when this gets old "
    "while there is work.",
    ["service", "part"],
).restrict_labels(service=SERVICES, part=("consumer", "relay"))
PROCESS_ENDS: Final = Counter(
    "crossborder_process_ends_total",
    "Times a process of this service ended itself to be started anew, by reason; kept in the "
    "database, so it outlives the process.",
    ["service", "reason"],
).restrict_labels(service=SERVICES, reason=END_REASONS)
INVARIANTS: Final = Gauge(
    "crossborder_invariant_violations",
    "Rows that break the invariant, at the last check.",
    ["invariant"],
).restrict_labels(invariant=str)
INVARIANT_CHECKED: Final = Gauge(
    "crossborder_invariant_last_check_timestamp_seconds",
    "When the invariant was last looked at; 0 before the first time.",
    ["invariant"],
).restrict_labels(invariant=str)
INVARIANT_SECONDS: Final = Gauge(
    "crossborder_invariant_check_seconds",
    "How long the last look at the invariant took.",
    ["invariant"],
).restrict_labels(invariant=str)

# --- the outside parties
PARTY_LAST_SUCCESS: Final = Gauge(
    "crossborder_party_last_success_timestamp_seconds",
    "When bank, carrier or authority was last heard to answer in a way that could be read; 0 "
    "before the first time.",
    ["party"],
).restrict_labels(party=PARTIES)
PARTY_CALLS: Final = Counter(
    "crossborder_party_calls_total",
    "Calls to an outside party by outcome; for carrier and authority, which answer by messages, "
    "what was heard of them.",
    ["party", "operation", "outcome"],
).restrict_labels(
    party=PARTIES,
    operation=(*OPERATIONS["bank"], *OPERATIONS["carrier"], *OPERATIONS["authority"]),
    outcome=CALL_OUTCOMES,
)
PARTY_SECONDS: Final = Histogram(
    "crossborder_party_answer_seconds",
    "How long an outside party took: the bank for one HTTP call, the carrier from order to "
    "waybill, the authority from lodging to its first word.",
    ["party", "operation"],
    buckets=(
        0.005,
        0.01,
        0.025,
        0.05,
        0.1,
        0.25,
        0.5,
        1.0,
        2.5,
        5.0,
        10.0,
        30.0,
        60.0,
        300.0,
        1800.0,
        7200.0,
    ),
).restrict_labels(
    party=PARTIES, operation=(*OPERATIONS["bank"], *OPERATIONS["carrier"], *OPERATIONS["authority"])
)
PARTY_IN_FLIGHT: Final = Gauge(
    "crossborder_party_calls_in_flight", "Calls to an outside party under way now.", ["party"]
).restrict_labels(party=PARTIES)
PARTY_PENDING: Final = Gauge(
    "crossborder_party_unanswered",
    "What an outside party owes an answer: instructions to the bank, waybills of placed orders, "
    "lodged lists without a receipt.",
    ["party"],
).restrict_labels(party=PARTIES)
PARTY_PENDING_OLDEST: Final = Gauge(
    "crossborder_party_oldest_unanswered_timestamp_seconds",
    "Since when it has owed the oldest of them; 0 if none.",
    ["party"],
).restrict_labels(party=PARTIES)

# --- orders
ORDERS: Final = Counter(
    "crossborder_orders_total", "Orders that came to this state.", ["state", "corridor"]
).restrict_labels(state=(*OPEN_STATES, *ENDS), corridor=CORRIDORS)
ORDERS_OPEN: Final = Gauge(
    "crossborder_orders_open", "Orders in this state now.", ["state"]
).restrict_labels(state=OPEN_STATES)
OLDEST_OPEN: Final = Gauge(
    "crossborder_orders_oldest_open_timestamp_seconds",
    "When the oldest order now in this state was first heard of; 0 if none.",
    ["state"],
).restrict_labels(state=OPEN_STATES)
STAGE_SECONDS: Final = Histogram(
    "crossborder_order_stage_seconds",
    "From the first record about an order to the record that ended a stage: payment captured, tax "
    "assessed, declaration lodged, goods released; total: to the order's end, whichever it is.",
    ["stage", "corridor"],
    buckets=_STAGE,
).restrict_labels(stage=STAGES, corridor=CORRIDORS)

# --- payments
CAPTURED: Final = Counter(
    "crossborder_captured_minor_total",
    "Minor units of money by what the bank did with them: captured, refunded, or declined (not "
    "moved).",
    ["currency", "outcome"],
).restrict_labels(currency=EXPONENTS, outcome=("captured", "refunded", "declined"))
PAYMENTS: Final = Counter(
    "crossborder_payments_total", "Payments by what became of them.", ["outcome"]
).restrict_labels(outcome=("captured", "declined", "voided", "refunded", "settled"))
LEDGER_ACCOUNTS: Final = (
    "bank_clearing",
    "buyer_funds",
    "merchant_payable",
    "tax_payable",
    "tax_suspense",
    "tax_difference",
    "merchant_claim",
    "guarantee_free",
    "guarantee_reserved",
    "own_funds",
)
LEDGER_BALANCE: Final = Gauge(
    "crossborder_ledger_balance_minor",
    "What an account of the books holds, in minor units, debits positive; at the last check.",
    ["account", "currency"],
).restrict_labels(account=LEDGER_ACCOUNTS, currency=EXPONENTS)
LEDGER_IMBALANCE: Final = Gauge(
    "crossborder_ledger_imbalance_minor",
    "What all accounts of a currency sum to, in minor units; must be 0.",
    ["currency"],
).restrict_labels(currency=EXPONENTS)

GUARANTEE: Final = Gauge(
    "crossborder_guarantee_minor",
    "The deposit at customs in minor units: free, reserved for tax not paid yet, and what it "
    "cannot cover; at the last check.",
    ["state"],
).restrict_labels(state=("free", "reserved", "uncovered"))

# --- tax
TAX_ASSESSED: Final = Counter(
    "crossborder_tax_assessed_minor_total",
    "Minor units of tax assessed, undone ones included.",
    ["kind", "regime"],
).restrict_labels(kind=("duty", "consumption_tax", "vat", "parcel_tax"), regime=first(24))
TAX_RULES_REFUSED: Final = Gauge(
    "crossborder_tax_rules_refused",
    "1 while changed rule files are refused and the rules before them stay in force.",
)
TAX_RULES_LAST_DAY: Final = Gauge(
    "crossborder_tax_rules_last_day_timestamp_seconds",
    "When the last day of a table of the tax rules is over, of those that have one and that "
    "nothing follows.",
    ["table"],
).restrict_labels(table=first(40))
BILL_CASES: Final = Gauge(
    "crossborder_tax_bill_cases",
    "Tax bills that wait for a person, by why; at the last check.",
    ["reason"],
).restrict_labels(reason=("far_off", "missing", "contradicted", "voided", "overdue", "uncorrected"))
QUOTA_REFUSALS: Final = Counter(
    "crossborder_quota_refusals_total",
    "Orders tax refused, by customs' own code: 1313 yearly limit, -621005 single limit …",
    ["code"],
).restrict_labels(code=first(40))

# --- customs
BATCHES: Final = Counter(
    "crossborder_declaration_batches_total",
    "Collective messages: lodged, or refused whole by the authority.",
    ["outcome"],
).restrict_labels(outcome=("lodged", "refused"))
BATCH_LISTS: Final = Histogram(
    "crossborder_declaration_batch_lists",
    "Lists in one collective message.",
    buckets=(1, 2, 5, 10, 25, 50, 75, 100),
    registry=None,
)
BATCH_SECONDS: Final = Histogram(
    "crossborder_declaration_batch_open_seconds",
    "From a batch's first list to its lodging.",
    ["closed_by"],
    buckets=(0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0),
).restrict_labels(closed_by=("size", "age", "part", "trial"))
BATCHES_OPEN: Final = Gauge(
    "crossborder_declaration_batches_open",
    "Open batches: groups with lists that wait to be lodged.",
    ["kind"],
).restrict_labels(kind=OPERATIONS["authority"])
BATCHES_LATE: Final = Gauge(
    "crossborder_declaration_batches_late",
    "Open batches more than 30 seconds past the time they should have closed.",
    ["kind"],
).restrict_labels(kind=OPERATIONS["authority"])
LISTS_WAITING: Final = Gauge(
    "crossborder_declaration_lists_waiting", "Lists that wait in an open batch.", ["kind"]
).restrict_labels(kind=OPERATIONS["authority"])
BATCH_OLDEST: Final = Gauge(
    "crossborder_declaration_batch_oldest_open_timestamp_seconds",
    "When the oldest open batch got its first list; 0 if none.",
    ["kind"],
).restrict_labels(kind=OPERATIONS["authority"])
LODGING_PAUSED: Final = Gauge(
    "crossborder_lodging_paused",
    "Groups of declarations of which nothing but one list now and then is lodged: `wait`, the way "
    "to customs is blocked; `ours`, our own signature, certificate or registration is refused.",
    ["reason"],
).restrict_labels(reason=("wait", "ours"))
SUMMARIES: Final = Gauge(
    "crossborder_summaries", "Requests to consolidate export lists, by state.", ["state"]
).restrict_labels(state=SUMMARY_STATES)
CONSOLIDATED: Final = Gauge(
    "crossborder_consolidated_declarations",
    "Export declarations that customs made of these requests, by stage; a returned one waits for "
    "its broker.",
    ["stage"],
).restrict_labels(stage=CONSOLIDATED_STAGES)
LISTS_UNCONSOLIDATED: Final = Gauge(
    "crossborder_lists_unconsolidated",
    "Closed export lists that are in no numbered declaration yet, of months that are over, by what "
    "they wait for.",
    ["state"],
).restrict_labels(state=UNCONSOLIDATED)
CONSOLIDATION_DUE: Final = Gauge(
    "crossborder_consolidation_due_timestamp_seconds",
    "The end of the last day to consolidate the oldest of these lists; 0 if there is none.",
    registry=None,
)
LAST_LODGED: Final = Gauge(
    "crossborder_declaration_last_lodged_timestamp_seconds",
    "When a collective message last left; 0 before the first.",
    registry=None,
)
RECEIPTS: Final = Counter(
    "crossborder_receipts_total",
    "Receipts of the authority that changed something, by the fact they told and their status.",
    ["message", "status"],
).restrict_labels(message=RECEIPT_FACTS)
LISTS_NOT_PRINTED: Final = Counter(
    "crossborder_lists_not_printed_total",
    "Requests to the authority that could not be printed and never left; each order is undone.",
    ["kind"],
).restrict_labels(kind=OPERATIONS["authority"])
MATCH_FAILURES: Final = Counter(
    "crossborder_match_failures_total",
    "Mismatches between documents, by the authority's code; one order may have several.",
    ["code"],
).restrict_labels(code=first(40))

# --- streams
VERIFIED_SALES: Final = Counter(
    "crossborder_verified_sales_total",
    "Orders with three matching documents and a release; synthetic ones are never counted.",
    ["corridor"],
).restrict_labels(corridor=CORRIDORS)
VERIFIED_SALES_MINOR: Final = Counter(
    "crossborder_verified_sales_minor_total",
    "Minor units of the goods of verified sales.",
    ["corridor", "currency"],
).restrict_labels(corridor=CORRIDORS, currency=EXPONENTS)
STREAM_ORDERS: Final = Gauge(
    "crossborder_stream_orders",
    "Orders of a window by the stage they came to, in the partitions this process reads.",
    ["corridor", "stage", "window"],
).restrict_labels(
    corridor=CORRIDORS,
    stage=("placed", *ENDS),
    window=("minute", "minute_before", "hour", "hour_before"),
)

# --- the synthetic order
PROBE_ORDERS: Final = Counter(
    "crossborder_probe_orders_total",
    "Synthetic orders by what became of them; late: no end within the time allowed; unpublished: "
    "Kafka did not take it.",
    ["outcome"],
).restrict_labels(outcome=PROBE_OUTCOMES)
PROBE_SECONDS: Final = Histogram(
    "crossborder_probe_order_seconds",
    "From publishing a synthetic order until it was seen to be placed, and to be at its end.",
    ["stage"],
    buckets=_STAGE,
).restrict_labels(stage=("placed", "total"))
PROBE_LAST_SUCCESS: Final = Gauge(
    "crossborder_probe_last_success_timestamp_seconds",
    "When a synthetic order last came to its expected end; 0 before the first.",
    registry=None,
)
PROBE_LAST_ATTEMPT: Final = Gauge(
    "crossborder_probe_last_attempt_timestamp_seconds",
    "When the last synthetic order was published; 0 before the first.",
    registry=None,
)
PROBE_IN_FLIGHT: Final = Gauge(
    "crossborder_probe_orders_in_flight", "Synthetic orders under way.", registry=None
)


def export(*unlabelled: client.metrics.MetricWrapperBase) -> None:
    """Show metrics without labels on this process's /metrics.

    Only the process that sets them does this: a 0 elsewhere would be false.
    """
    for metric in unlabelled:
        if metric._name not in _exported:
            _exported.add(metric._name)
            client.REGISTRY.register(metric)


_exported: Final[set[str]] = set()


def begin(service: str, hears: Mapping[str, Collection[str]]) -> None:
    """Make the children that a service's kernel has from the start.

    `hears` are the event types that the service takes, by topic.
    """
    one = (service,)
    for metric in (
        PROCESSING,
        BATCH_RECORDS,
        IN_FLIGHT,
        LAST_PROGRESS,
        LAST_POLL,
        ASSIGNED,
        REBALANCES,
        REBALANCE_SECONDS,
        INTAKE_PAUSED,
        RETRIES,
        OUTBOX_PENDING,
        OUTBOX_OLDEST,
        PUBLISHED,
        PUBLISH_SECONDS,
        PRODUCER_FAILURES,
        RELAY_LEADING,
        DEAD_LETTER_OLDEST,
        HELD_ORDERS,
        HELD_OLDEST,
        PARKED,
        CASES_OLDEST,
        EFFECTS_OPEN,
        EFFECTS_UNKNOWN,
        EFFECTS_OLDEST,
        IGNORED_FIELDS,
        LOOP_LAG,
        POOL_WAITING,
    ):
        metric.begin(one)
    FENCED.begin(one, FENCES)
    POOL.begin(one, POOL_STATES)
    PROCESS_ENDS.begin(one, END_REASONS)
    QUEUE_DELAY.begin(one, hears)
    DEAD_LETTERS.begin(one, hears, REASONS)
    SET_ASIDE.begin(one, ("effect", "outbox"), ASIDE_REASONS)
    DEAD_LETTER_DEBT.begin(one, hears)
    for topic, types in hears.items():
        EVENTS.begin(one, (topic,), types or INTAKE_TYPES.get(topic, ()), ("ok", "duplicate"))
        EVENTS.begin(one, (topic,), ("",), ("ignored", "dead-letter"))


def labelled() -> Sequence[_Closed]:
    """Return every metric here that has labels."""
    return [
        found for found in globals().values() if isinstance(found, _Closed) and found._labelnames
    ]
