"""What the rules and boards ask of Prometheus."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.grafana.boards import BOARDS

ROOT: Final = Path(__file__).resolve().parents[1]
RULES: Final = (ROOT / "deploy/prometheus/recording.yml", ROOT / "deploy/prometheus/alerts.yml")
WORDS: Final = frozenset({
    "sum", "min", "max", "avg", "count", "by", "without", "rate", "increase", "resets", "time", "vector", "absent", "abs", "offset",
    "bool", "and", "or", "unless", "on", "ignoring", "histogram_quantile", "avg_over_time", "min_over_time",
    "max_over_time", "sum_over_time",
    "last_over_time",
})  # fmt: skip
"""Of PromQL, not of ours."""


CONTRACT: Final = {
    "crossborder_events_processed_total": {"service", "topic", "event_type", "outcome"},
    "crossborder_event_processing_seconds_bucket": {"service"},
    "crossborder_event_queue_delay_seconds_bucket": {"service", "topic"},
    "crossborder_order_stage_seconds_bucket": {"stage", "corridor"},
    "crossborder_orders_total": {"state", "corridor"},
    "crossborder_orders_open": {"state"},
    "crossborder_consumer_lag_records": {"topic", "partition"},
    "crossborder_outbox_pending_records": {"service"},
    "crossborder_outbox_oldest_pending_timestamp_seconds": {"service"},
    "crossborder_dead_letters_total": {"service", "topic", "reason"},
    "crossborder_declaration_batches_total": {"outcome"},
    "crossborder_declaration_batch_lists_bucket": set(),
    "crossborder_receipts_total": {"message", "status"},
    "crossborder_match_failures_total": {"code"},
    "crossborder_captured_minor_total": {"currency", "outcome"},
    "crossborder_tax_assessed_minor_total": {"kind", "regime"},
    "crossborder_quota_refusals_total": {"code"},
    "crossborder_invariant_violations": {"invariant"},
    "crossborder_build_info": {"service", "version"},
}
"""What others script against, with its labels: these keep their names whatever rules and boards read."""


@cache
def rules() -> tuple[dict[str, Any], ...]:
    """Every rule, recording or alerting; read once, so not to be changed."""
    groups = (group for file in RULES for group in yaml.safe_load(file.read_text())["groups"])
    return tuple(rule for group in groups for rule in group["rules"])


def queries() -> list[str]:
    """The expressions of all rules."""
    return [str(rule["expr"]) for rule in rules()]


def board_queries() -> list[str]:
    """The expressions of all panels and variables."""
    found = [query.expr for board in BOARDS for panel in board.panels for query in panel.queries]
    return found + [
        re.sub(r"label_values\((\w+), (\w+)\)", r"count by (\2) (\1)", q)
        for b in BOARDS
        for _, q in b.variables
    ]


def runbook_queries(page: str) -> list[str]:
    """The expressions a runbook shows."""
    return [
        line
        for block in re.findall(r"```promql\n(.*?)```", page, re.DOTALL)
        for line in block.splitlines()
    ]


def in_promql(query: str) -> str:
    """The query without what only Grafana knows."""
    return query.replace("$__rate_interval", "1m").replace("$service", "orders")


def names_in(query: str) -> set[str]:
    """The names of the series a query reads."""
    bare = re.sub(r'"[^"]*"', "", query)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    return {
        word
        for word in re.findall(r"[a-zA-Z_:][\w:]*", bare)
        if word not in WORDS and not re.fullmatch(r"[smhdwy]", word)
    }
