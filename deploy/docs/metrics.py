"""docs/metrics.md: every metric, from its declaration."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final

import prometheus_client
from prometheus_client.metrics import MetricWrapperBase

from sandbox import metrics as sandbox
from shared import metrics

HEAD: Final = """# Metrics

Written by `python -m deploy.docs` from [shared/metrics.py](../shared/metrics.py) and
[sandbox/metrics.py](../sandbox/metrics.py), where every metric of the project is declared. Units
are base units. Labels have closed sets of values and never name an order or a person. Each
process serves its own metrics on `/metrics` (OpenMetrics on request). The alerts on them:
[deploy/prometheus/alerts.yml](../deploy/prometheus/alerts.yml).

A histogram `x` has `x_bucket`, `x_sum` and `x_count`.
"""
VALUES: Final = """\
Any other value reads `other`. Not listed: `topic`, `partition`, `currency` (ISO 4217),
`event_type` (the types of [events.md](events.md); of a receipt its message type), and the codes
and names of the authority, of tax and of invariants."""
_LONG: Final = {"topic", "partition", "currency", "event_type"}
TITLES: Final = {
    "": "Process",
    "the message kernel": "The message kernel: every service",
    "the outside parties": "The outside parties: bank, carrier, authority",
    "orders": "Orders",
    "payments": "Payments",
    "tax": "Tax",
    "customs": "Customs",
    "streams": "Streams",
    "the synthetic order": "The synthetic order: the prober",
    "sandbox": "The sandbox",
}


def page() -> str:
    rows: dict[str, list[str]] = {}
    for section, collector in (
        *_declared(metrics),
        *(("sandbox", c) for _, c in _declared(sandbox)),
    ):
        rows.setdefault(section, []).append(_row(collector))
    lines = [HEAD]
    for section, table in rows.items():
        lines += [
            f"## {TITLES.get(section, section)}",
            "",
            "| metric | kind | labels | says |",
            "|---|---|---|---|",
            *table,
            "",
        ]
    return "\n".join([*lines, *_values()])


def _values() -> list[str]:
    sets = _closed_sets()
    alone = {label for label, count in Counter(label for label, _ in sets).items() if count == 1}
    lines = ["## Values of labels", "", VALUES, "", "| label | of | values |", "|---|---|---|"]
    for (label, values), names in sorted(sets.items(), key=lambda item: (item[0][0], item[1])):
        where = "all" if label in alone else ", ".join(f"`{name}`" for name in names)
        listed = ", ".join(f"`{value}`" for value in sorted(values))
        lines.append(f"| `{label}` | {where} | {listed} |")
    return [*lines, ""]


def _closed_sets() -> dict[tuple[str, frozenset[str]], list[str]]:
    """Return the metrics of each label with each closed set of values, where the set
    can be listed.
    """
    metrics_of: dict[tuple[str, frozenset[str]], list[str]] = {}
    for metric in metrics.labelled():
        for label in metric._labelnames:
            values = metric.closed_to(label)
            if values is not None and label not in _LONG:
                name = metric._name.removeprefix("crossborder_")
                metrics_of.setdefault((label, values), []).append(name)
    return metrics_of


def _declared(module: ModuleType) -> Iterator[tuple[str, MetricWrapperBase]]:
    """Return the metrics in the order of their declaration, each with its section's comment."""
    section = ""
    for line in inspect.getsource(module).splitlines():
        if line.startswith("# --- "):
            section = line.removeprefix("# --- ")
        elif (declared := re.match(r"([A-Z_]+): Final", line)) and isinstance(
            value := getattr(module, declared[1]), MetricWrapperBase
        ):
            yield section, value


def _row(collector: Any) -> str:
    name = collector._name + ("_total" if isinstance(collector, prometheus_client.Counter) else "")
    labels = ", ".join(f"`{label}`" for label in collector._labelnames) or "–"
    return f"| `{name}` | {collector._type} | {labels} | {collector._documentation} |"
