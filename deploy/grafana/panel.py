"""What a board is made of, and how it becomes the JSON that Grafana reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

SCHEMA_VERSION: Final = 41
WIDTH: Final = 24
DATASOURCE: Final = {"type": "prometheus", "uid": "crossborder-prometheus"}
Kind = Literal["timeseries", "stat", "table"]
OWN: Final = frozenset({"s", "percentunit", "bytes", "none", "bool_yes_no"})
"""Grafana's own units; any other is the word that stands behind the figure."""


@dataclass(frozen=True)
class Query:
    """One expression of PromQL.

    `legend` names its series, with `{{label}}` for what tells them apart.
    """

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One panel.

    `unit` is one of OWN or a word; `good_below` and `good_above` colour what is out of bounds.
    """

    title: str
    unit: str
    description: str
    queries: Sequence[Query]
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    good_below: float | None = None
    good_above: float | None = None
    stacked: bool = False
    most: float | None = None


def rate(counter: str, by: str, where: str = "", window: str = "$__rate_interval") -> str:
    """Return the PromQL of a counter per second, by labels."""
    return f"sum by ({by}) (rate({counter}{{{where}}}[{window}]))"


def increase(counter: str, by: str, where: str = "", window: str = "10m") -> str:
    return f"sum by ({by}) (increase({counter}{{{where}}}[{window}]))"


def quantile(q: float, histogram: str, by: str = "", where: str = "") -> str:
    """Return the PromQL of the value below which a share `q` of the observations stays."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, {rate(f'{histogram}_bucket', labels, where)})"


def mean(histogram: str, by: str = "", where: str = "") -> str:
    return f"{rate(f'{histogram}_sum', by, where)} / {rate(f'{histogram}_count', by, where)}"


def age(timestamp: str, by: str, where: str = "") -> str:
    """Seconds since the oldest of some moments, by labels; 0 stands for none."""
    return f"time() - min by ({by}) ({timestamp}{{{where}}} > 0)"


def quantiles(histogram: str, where: str = "") -> list[Query]:
    """Return the queries of the 0.5, 0.95 and 0.99 quantiles."""
    return [
        Query(quantile(q, histogram, where=where), f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)
    ]


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """One board. `variables` are names with the query that lists their values."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[tuple[str, str]] = field(default_factory=tuple)

    @property
    def panels(self) -> list[Panel]:
        return [panel for row in self.rows for panel in row.panels]


def as_json(board: Board) -> dict[str, Any]:
    """The board as Grafana reads it.

    Nothing in it depends on the time or the machine, so the same code makes the same file.
    """
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": ["crossborder"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [_alerts_as_annotations()]},
        "links": [
            {
                "title": "crossborder",
                "type": "dashboards",
                "tags": ["crossborder"],
                "asDropdown": True,
                "includeVars": False,
                "keepTime": True,
                "icon": "external link",
                "targetBlank": False,
                "tooltip": "",
                "url": "",
            }
        ],
        "templating": {"list": [_variable(name, query) for name, query in board.variables]},
        "panels": _placed(board.rows),
    }


def _alerts_as_annotations() -> dict[str, Any]:
    return {
        "name": "alerts that fired",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Crossborder.+", alertstate="firing", severity!="none"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}}",
        "step": "15s",
    }


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": DATASOURCE,
        "refresh": 2,
        "sort": 1,
        "query": {"query": query, "refId": name},
        "definition": query,
        "includeAll": False,
        "multi": False,
    }


def _placed(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Lay panels out from left to right, with a new line where the width is used up."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
            }
        )
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_panel(panel)})
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return panels


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + n),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "range": panel.kind == "timeseries",
                "instant": panel.kind != "timeseries",
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for n, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel.kind),
    }


def _field(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "unit": panel.unit if panel.unit in OWN else f"suffix: {panel.unit}",
        "color": {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": _steps(panel)},
        "noValue": "–",
    }
    if panel.most is not None:
        defaults |= {"min": 0, "max": panel.most}
    if panel.kind == "timeseries":
        bounded = panel.good_below is not None or panel.good_above is not None
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 25 if panel.stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if bounded else "off"},
        }
    return defaults


def _steps(panel: Panel) -> list[dict[str, Any]]:
    if panel.good_below is not None:
        return [{"color": "green", "value": None}, {"color": "red", "value": panel.good_below}]
    if panel.good_above is not None:
        return [{"color": "red", "value": None}, {"color": "green", "value": panel.good_above}]
    return [{"color": "blue" if panel.kind == "stat" else "transparent", "value": None}]


def _options(kind: Kind) -> dict[str, Any]:
    if kind == "timeseries":
        return {
            "legend": {
                "displayMode": "list",
                "placement": "bottom",
                "showLegend": True,
                "calcs": [],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if kind == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background",
            "graphMode": "none",
            "textMode": "auto",
            "orientation": "auto",
            "justifyMode": "auto",
            "wideLayout": True,
            "showPercentChange": False,
            "percentChangeColorMode": "standard",
        }
    return {"showHeader": True, "cellHeight": "sm"}
