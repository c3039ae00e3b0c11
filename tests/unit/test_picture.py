"""The picture of a board shows what Prometheus answered, in figures a person reads."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping

import pytest

from deploy.grafana.boards import BOARDS
from deploy.grafana.panel import Board
from tests.board_picture import (
    Points,
    Prometheus,
    Span,
    configuration,
    legend_of,
    picture,
    said,
    ticks,
)
from tests.watch import RULES

SPAN = Span(1_795_000_000, 1_795_000_300)


class Answers(Prometheus):
    """Answers every query with the same series."""

    def __init__(self, *found: tuple[Mapping[str, str], Points]) -> None:
        super().__init__("")
        object.__setattr__(self, "found", found)

    def series(self, expr: str, span: Span) -> list[tuple[Mapping[str, str], Points]]:
        return list(vars(self)["found"])

    def now(self, expr: str, span: Span) -> list[tuple[Mapping[str, str], Points]]:
        return [(labels, points[-1:]) for labels, points in self.series(expr, span)]


LOUD = Answers(
    (
        {"state": "<placed>", "service": "tax"},
        [(SPAN.start + 2.5 * n, float(n % 7)) for n in range(60)],
    )
)
SILENT = Answers()
TORN = Answers(
    (
        {},
        [
            (SPAN.start, 1.0),
            (SPAN.start + 2.5, 1.0),
            (SPAN.start + 200, 1.0),
            (SPAN.start + 202.5, 2.0),
        ],
    )
)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
@pytest.mark.parametrize("answers", [LOUD, SILENT], ids=["loud", "silent"])
def test_every_panel_is_drawn_with_or_without_series(board: Board, answers: Answers) -> None:
    drawn = ET.fromstring(picture(board, answers, SPAN))
    said_words = {
        "".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text")
    }
    assert {row.title for row in board.rows} <= said_words
    lines = list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))
    plots = sum(len(panel.queries) for panel in board.panels if panel.kind == "timeseries")
    assert len(lines) == (plots if answers is LOUD else 0)


def test_a_gap_is_not_drawn_over() -> None:
    drawn = ET.fromstring(picture(BOARDS[1], TORN, SPAN))
    plots = sum(len(panel.queries) for panel in BOARDS[1].panels)
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))) == 2 * plots


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.9987, "percentunit", "99.87 %"),
        (1.0, "percentunit", "100 %"),
        (0.5, "percentunit", "50 %"),
        (0.0, "percentunit", "0 %"),
        (0.0123, "s", "12.3 ms"),
        (1.5, "s", "1.5 s"),
        (600, "s", "10 min"),
        (0.0, "s", "0 s"),
        (2**20 * 96.0, "bytes", "96 MiB"),
        (1234567, "minor units/s", "1.23 M"),
        (42, "orders/s", "42"),
        (-4.0, "percentunit", "-400 %"),
    ],
)
def test_a_figure_is_written_as_a_person_reads_it(value: float, unit: str, words: str) -> None:
    assert said(value, unit) == words


@pytest.mark.parametrize("high", [0.004, 0.9, 1, 7, 23, 100, 12345])
def test_a_scale_is_round_and_holds_the_highest(high: float) -> None:
    marks = ticks(0, high)
    assert marks[0] == 0
    assert marks[-1] >= high * (1 - 1e-9)
    assert 2 <= len(marks) <= 7


def test_a_legend_takes_the_labels_of_its_series() -> None:
    assert legend_of("{{kind}}: {{outcome}}", {"kind": "capture", "outcome": "ok"}) == "capture: ok"
    assert legend_of("{{by}}", {}) == "value"


def test_the_embedded_stack_is_watched_by_the_same_rules_and_labels() -> None:
    made = configuration({"orders": 8101, "tax": 8103})
    assert made["rule_files"] == [str(file) for file in RULES]
    (job,) = made["scrape_configs"]
    assert job["job_name"] == "crossborder"
    assert job["static_configs"][1] == {"targets": ["127.0.0.1:8103"], "labels": {"program": "tax"}}
