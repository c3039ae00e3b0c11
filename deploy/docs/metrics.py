"""docs/metrics.md: every metric, from where it is declared."""

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
[sandbox/metrics.py](../sandbox/metrics.py), where every metric of the project is declared. Base units; labels
are from closed sets and never name an order or a person. Each process serves its own on `/metrics` (OpenMetrics when asked).
The alerts built on them: [deploy/prometheus/alerts.yml](../deploy/prometheus/alerts.yml).

A histogram `x` has `x_bucket`, `x_sum` and `x_count`.
"""
VALUES: Final = """Anything else reads `other`. Not listed: `topic`, `partition`, `currency` (ISO 4217), `event_type` (the types of
[events.md](events.md); of a receipt its message type), and the authority's, tax's and invariants' own codes and names."""
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
    """The text of docs/metrics.md."""
    rows: dict[str, list[str]] = {}
    for section, collector in (
        *_declared(metrics),
        *(("sandbox", c) for _, c in _declared(sandbox)),
    ):
        rows.setdefault(section, []).append(_row(collector))
    lines = [HEAD]
    for section, found in rows.items():
        lines += [
            f"## {TITLES.get(section, section)}",
            "",
            "| metric | kind | labels | says |",
            "|---|---|---|---|",
            *found,
            "",
        ]
    return "\n".join([*lines, *_values()])


def _values() -> list[str]:
    """Which values each label can have, where they can be listed."""
    found: dict[tuple[str, frozenset[str]], list[str]] = {}
    for metric in metrics.labelled():
        for label in metric._labelnames:
            values = metric.closed_to(label)
            if values is not None and label not in _LONG:
                found.setdefault((label, values), []).append(
                    metric._name.removeprefix("crossborder_")
                )
    alone = {label for label, count in Counter(label for label, _ in found).items() if count == 1}
    lines = ["## Values of labels", "", VALUES, "", "| label | of | values |", "|---|---|---|"]
    for (label, values), names in sorted(found.items(), key=lambda item: (item[0][0], item[1])):
        where = "all" if label in alone else ", ".join(f"`{name}`" for name in names)
        lines.append(
            f"| `{label}` | {where} | {', '.join(f'`{value}`' for value in sorted(values))} |"
        )
    return [*lines, ""]


def _declared(module: ModuleType) -> Iterator[tuple[str, MetricWrapperBase]]:
    """The metrics in the order of their declaration, each with the comment it stands under."""
    section = ""
    for line in inspect.getsource(module).splitlines():
        if line.startswith("# --- "):
            section = line.removeprefix("# --- ")
        elif (found := re.match(r"([A-Z_]+): Final", line)) and isinstance(
            value := getattr(module, found[1]), MetricWrapperBase
        ):
            yield section, value


def _row(collector: Any) -> str:
    name = collector._name + ("_total" if isinstance(collector, prometheus_client.Counter) else "")
    labels = ", ".join(f"`{label}`" for label in collector._labelnames) or "–"
    return f"| `{name}` | {collector._type} | {labels} | {collector._documentation} |"
