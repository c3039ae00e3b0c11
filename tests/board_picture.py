"""`python -m tests.board_picture`: draw a board from a real Prometheus, with the board's own
queries, where there is no Grafana.

Without `--prometheus` it starts one for the embedded stack that runs, lets it scrape for
`--minutes`, and stops it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any, Final

import httpx

from deploy.embedded.home import find
from deploy.embedded.process import free_port
from deploy.embedded.programs import MODULES
from deploy.grafana.boards import BOARDS
from deploy.grafana.panel import WIDTH, Board, Panel, as_json

ROOT: Final = Path(__file__).resolve().parents[1]
COLUMN: Final = 52
LINE: Final = 30
GAP: Final = 6
POINTS: Final = 120
SHOWN: Final = 8
COLOURS: Final = (
    "#73bf69",
    "#f2cc0c",
    "#8ab8ff",
    "#ff780a",
    "#f2495c",
    "#b877d9",
    "#56d2d2",
    "#c7c7c7",
)
INK: Final = "#d8d9da"
PALE: Final = "#8e9196"
GOOD: Final = "#299c46"
BAD: Final = "#c4162a"
PLAIN: Final = "#1f60c4"

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Box:
    """Where a panel is drawn, in pixels."""

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True)
class Span:
    """The time that is shown, in seconds since 1970."""

    start: float
    end: float

    @property
    def step(self) -> float:
        return (self.end - self.start) / POINTS


@dataclass(frozen=True)
class Prometheus:
    """The HTTP API of a server."""

    url: str

    def series(self, expr: str, span: Span) -> list[tuple[Mapping[str, str], Points]]:
        """Every series of a range query; what is not a number is a gap."""
        asked = {"query": in_promql(expr), "start": span.start, "end": span.end, "step": span.step}
        return [
            (found["metric"], _numbers(found["values"]))
            for found in self._ask("query_range", asked)
        ]

    def now(self, expr: str, span: Span) -> list[tuple[Mapping[str, str], Points]]:
        """Every series of an instant query at the end of the time."""
        found = self._ask("query", {"query": in_promql(expr), "time": span.end})
        return [(each["metric"], _numbers([each["value"]])) for each in found]

    def _ask(self, what: str, asked: Mapping[str, Any]) -> list[Any]:
        answer = httpx.get(f"{self.url}/api/v1/{what}", params=dict(asked), timeout=30).json()
        if answer["status"] != "success":
            raise ValueError(f"mend the query: {answer['error']}: {asked['query']}")
        return list(answer["data"]["result"])


def in_promql(expr: str) -> str:
    """The query without what only Grafana knows."""
    return expr.replace("$__rate_interval", "30s").replace("$service", "orders")


def _numbers(values: Sequence[tuple[float, str]]) -> Points:
    return [(float(at), float(value)) for at, value in values if math.isfinite(float(value))]


def legend_of(legend: str, labels: Mapping[str, str]) -> str:
    """The name of a series: its legend with the labels put in."""
    return re.sub(r"\{\{(\w+)\}\}", lambda m: labels.get(m[1], ""), legend) or "value"


def said(value: float, unit: str) -> str:
    """A figure as a person reads it."""
    size = abs(value)
    if unit == "percentunit":
        return f"{value * 100:.5g} %"
    if unit == "s":
        return (
            f"{value * 1000:.3g} ms"
            if 0 < size < 1
            else f"{value:.3g} s"
            if size < 120
            else f"{value / 60:.3g} min"
        )
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    for limit, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if size >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g}"


def ticks(low: float, high: float) -> list[float]:
    """Three to six round values from `low` to above `high`."""
    rough = (high - low) / 4 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    count = max(1, math.ceil((high - low) / step - 1e-9))
    return [low + step * n for n in range(count + 1)]


def _text(
    x: float,
    y: float,
    words: str,
    size: int = 11,
    colour: str = INK,
    anchor: str = "start",
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )


def _shortened(words: str, pixels: float, size: int = 11) -> str:
    room = int(pixels / (size * 0.56))
    return words if len(words) <= room else words[: max(1, room - 1)] + "…"


def _frame(box: Box, title: str) -> str:
    return (
        f'<rect x="{box.x}" y="{box.y}" width="{box.w}" height="{box.h}" rx="3" fill="#181b1f" '
        'stroke="#2c3235"/>'
        + _text(box.x + 8, box.y + 17, _shortened(title, box.w - 16, 12), 12, weight="bold")
    )


def draw_stat(panel: Panel, box: Box, found: Sequence[tuple[str, Points]]) -> str:
    """Each figure on its colour."""
    drawn = [_frame(box, panel.title)]
    shown = [(name, points[-1][1]) for name, points in found if points] or [("", math.nan)]
    height = (box.h - 30) / len(shown)
    for n, (name, value) in enumerate(shown):
        good = (panel.good_below is None or value < panel.good_below) and (
            panel.good_above is None or value >= panel.good_above
        )
        bounded = panel.good_below is not None or panel.good_above is not None
        colour = (GOOD if good else BAD) if bounded and math.isfinite(value) else PLAIN
        top = box.y + 25 + n * height
        drawn.append(
            f'<rect x="{box.x + 5}" y="{top:.1f}" width="{box.w - 10}" height="{height - 3:.1f}" '
            f'rx="2" fill="{colour}"/>'
        )
        words = said(value, panel.unit) if math.isfinite(value) else "–"
        middle = top + height / 2
        if len(shown) == 1:
            drawn.append(_text(box.x + box.w / 2, middle + 9, words, 28, "#fff", "middle", "bold"))
        else:
            drawn.append(_text(box.x + 12, middle + 3, _shortened(name, box.w - 90), 11, "#fff"))
            drawn.append(_text(box.x + box.w - 12, middle + 5, words, 15, "#fff", "end", "bold"))
    return "".join(drawn)


def draw_lines(panel: Panel, box: Box, found: Sequence[tuple[str, Points]], span: Span) -> str:
    """Lines over time, with a scale and the names of the series that matter most."""
    shown = sorted((f for f in found if f[1]), key=lambda f: -max(v for _, v in f[1]))[:SHOWN]
    shown.sort(key=lambda f: f[0])
    rows = max(1, math.ceil(len(shown) / 2))
    plot = Box(box.x + 58, box.y + 30, box.w - 70, box.h - 52 - 15 * rows)
    values = [v for _, points in shown for _, v in points] or [0.0]
    low, high = min(0.0, *values), max(values)
    marks = ticks(low, panel.most if panel.most is not None else high if high > low else low + 1)
    bottom, top = marks[0], marks[-1]

    def at(moment: float, value: float) -> str:
        x = plot.x + plot.w * (moment - span.start) / (span.end - span.start)
        y = plot.y + plot.h * (1 - (min(value, top) - bottom) / (top - bottom))
        return f"{x:.1f},{y:.1f}"

    drawn = [
        _frame(box, panel.title),
        _text(box.x + box.w - 8, box.y + 17, _unit(panel.unit), 10, PALE, "end"),
    ]
    for mark in marks:
        y = float(at(span.start, mark).split(",")[1])
        drawn.append(
            f'<line x1="{plot.x}" x2="{plot.x + plot.w}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="#2c3235"/>'
        )
        drawn.append(_text(plot.x - 6, y + 4, said(mark, panel.unit), 10, PALE, "end"))
    parts = 4 if plot.w > 280 else 2
    for n in range(parts + 1):
        words = time.strftime(
            "%H:%M:%S", time.gmtime(span.start + (span.end - span.start) * n / parts)
        )
        anchor = "start" if n == 0 else "end" if n == parts else "middle"
        drawn.append(
            _text(plot.x + plot.w * n / parts, plot.y + plot.h + 14, words, 9, PALE, anchor)
        )
    bound = panel.good_below if panel.good_below is not None else panel.good_above
    if bound is not None and bottom <= bound <= top:
        y = float(at(span.start, bound).split(",")[1])
        drawn.append(
            f'<line x1="{plot.x}" x2="{plot.x + plot.w}" y1="{y:.1f}" y2="{y:.1f}" stroke="{BAD}" '
            'stroke-dasharray="5 3"/>'
        )
    for n, (name, points) in enumerate(shown):
        colour = COLOURS[n % len(COLOURS)]
        for part in _unbroken(points, span.step):
            path = " ".join(at(moment, value) for moment, value in part)
            drawn.append(
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
            )
        x, y = box.x + 12 + (box.w - 16) / 2 * (n % 2), box.y + box.h - 8 - 15 * (rows - 1 - n // 2)
        words = _shortened(f"{name}  {said(points[-1][1], panel.unit)}", (box.w - 16) / 2 - 22, 10)
        drawn.append(
            f'<rect x="{x}" y="{y - 7:.1f}" width="10" height="4" fill="{colour}"/>'
            + _text(x + 15, y, words, 10, PALE)
        )
    if not shown:
        drawn.append(
            _text(plot.x + plot.w / 2, plot.y + plot.h / 2 + 4, "none", 12, PALE, "middle")
        )
    return "".join(drawn)


def _unit(unit: str) -> str:
    return {"s": "", "percentunit": "", "bytes": "", "none": ""}.get(unit, unit)


def _unbroken(points: Points, step: float) -> Iterator[list[tuple[float, float]]]:
    part: list[tuple[float, float]] = []
    for point in points:
        if part and point[0] - part[-1][0] > step * 1.5:
            yield part
            part = []
        part.append(point)
    if part:
        yield part


def picture(board: Board, source: Prometheus, span: Span) -> str:
    """The board as SVG."""
    panels = iter(board.panels)
    drawn, bottom = [], 0.0
    for place in as_json(board)["panels"]:
        grid = place["gridPos"]
        y = 46 + grid["y"] * LINE
        box = Box(grid["x"] * COLUMN + GAP / 2, y, grid["w"] * COLUMN - GAP, grid["h"] * LINE - GAP)
        bottom = max(bottom, box.y + box.h)
        if place["type"] == "row":
            drawn.append(_text(box.x + 6, box.y + 18, place["title"], 13, INK, weight="bold"))
            continue
        panel = next(panels)
        ask = source.now if panel.kind == "stat" else source.series
        found = [
            (legend_of(q.legend, labels), points)
            for q in panel.queries
            for labels, points in ask(q.expr, span)
        ]
        drawn.append(
            draw_stat(panel, box, found)
            if panel.kind == "stat"
            else draw_lines(panel, box, found, span)
        )
    width, height = WIDTH * COLUMN, bottom + GAP
    day = time.strftime("%Y-%m-%d", time.gmtime(span.end))
    head = _text(10, 28, f"crossborder · {board.title}", 18, "#fff", weight="bold") + _text(
        width - 10,
        28,
        f"{day} UTC, drawn from Prometheus by the board's own queries",
        11,
        PALE,
        "end",
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" '
        f'width="{width}" height="{height:.0f}" '
        f'font-family="Helvetica, Arial, sans-serif" role="img" aria-label="{escape(board.title)}">'
        f'<rect width="100%" height="100%" fill="#111217"/>{head}{"".join(drawn)}</svg>\n'
    )


def configuration(ports: Mapping[str, int]) -> dict[str, Any]:
    """A configuration of Prometheus for the embedded stack: the same rules, the same labels, other
    addresses.
    """
    targets = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"program": name}}
        for name, port in ports.items()
    ]
    rules = [str(ROOT / "deploy/prometheus" / name) for name in ("recording.yml", "alerts.yml")]
    return {
        "global": {"scrape_interval": "5s", "scrape_timeout": "4s", "evaluation_interval": "5s"},
        "rule_files": rules,
        "scrape_configs": [{"job_name": "crossborder", "static_configs": targets}],
    }


@contextlib.contextmanager
def watching(minutes: float) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the running embedded stack for so long.

    Stopped and forgotten afterwards.
    """
    server, stack = shutil.which("prometheus"), find()
    if server is None:
        raise SystemExit(
            "install prometheus (Debian: prometheus) or give `--prometheus URL`: there is none on "
            "the PATH"
        )
    if not stack:
        raise SystemExit(
            "start a stack with `crossborder up --detach --probe`, or give `--prometheus URL`: "
            "none runs here"
        )
    ports = {
        name: port
        for name, port in stack["ports"].items()
        if name in stack["programs"] and name in MODULES
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "prometheus.yml").write_text(json.dumps(configuration(ports)))
        url = f"127.0.0.1:{free_port()}"
        command = [
            server,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={url}",
        ]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(minutes * 60)
            yield Prometheus(f"http://{url}")
        finally:
            child.terminate()
            child.wait()


def main() -> None:
    """Draw, and name what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", help="address of a server that has scraped the stack")
    parser.add_argument(
        "--minutes",
        type=float,
        default=5,
        help="how long to look back, and how long to scrape first",
    )
    parser.add_argument(
        "--until",
        type=datetime.fromisoformat,
        help="the end of the time, if it is not now: 2026-11-24T03:05:00+00:00",
    )
    parser.add_argument("--board", default=BOARDS[0].uid, choices=[board.uid for board in BOARDS])
    parser.add_argument("--out", type=Path, default=ROOT / "docs/dashboard.svg")
    given = parser.parse_args()
    (board,) = (board for board in BOARDS if board.uid == given.board)
    with (
        contextlib.nullcontext(Prometheus(given.prometheus))
        if given.prometheus
        else watching(given.minutes) as source
    ):
        end = given.until.timestamp() if given.until else time.time()
        given.out.write_text(
            picture(board, source, Span(end - given.minutes * 60, end)), encoding="utf-8"
        )
    sys.stdout.write(f"{given.out}\n")


if __name__ == "__main__":
    main()
