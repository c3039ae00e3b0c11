"""*Is it well?*: promises, what burns, and the four golden signals on one page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deploy.grafana.panel import Board, Panel, Query, Row, age, increase, quantile, quantiles, rate


@dataclass(frozen=True)
class Promise:
    slo: str
    title: str
    says: str
    share: float


PROMISES: Final = (
    Promise(
        "released_in_time",
        "Released in time",
        "of the released orders were so within 60 s of being placed",
        0.95,
    ),
    Promise(
        "no_order_lost",
        "No order lost",
        "of the time no accepted order was lost, or overdue behind nobody outside",
        0.999,
    ),
    Promise(
        "captured_once",
        "Captured once",
        "of the time no money was taken twice, or beside the books",
        0.999,
    ),
)


def _kept(p: Promise) -> Panel:
    return Panel(
        f"{p.title}, last hour",
        "percentunit",
        f"So much {p.says}. Promised: {p.share:.1%} over 30 days.",
        [Query(f'1 - crossborder:slo_errors:ratio_rate1h{{slo="{p.slo}"}}', p.title)],
        kind="stat",
        width=4,
        height=5,
        good_above=p.share,
    )


def _burn(p: Promise) -> Panel:
    return Panel(
        f"Burn: {p.title.lower()}",
        "times",
        "How many times faster than allowed the budget is spent. A page at 14.4 (1 h) or 6 (6 h), "
        "a ticket at 1 (3 d).",
        [
            Query(
                f'crossborder:slo_errors:ratio_rate{window}{{slo="{p.slo}"}} '
                "/ on (slo) crossborder:slo_error_budget:ratio",
                window,
            )
            for window in ("5m", "1h", "6h")
        ],
        height=6,
        good_below=14.4,
    )


STATES: Final = 'state=~"placed|fulfilled|rejected|cancelled|returned"'
FIRING: Final = 'ALERTS{alertname=~"Crossborder.+", alertstate="firing", severity!="none"}'

BOARD: Final = Board(
    "crossborder-well",
    "1 Is it well?",
    "The first board to open: the promises and what is left of them, what fires, and traffic, "
    "latency, errors, saturation.",
    [
        Row(
            "Promises",
            [
                *map(_kept, PROMISES),
                Panel(
                    "Budget left of 30 days",
                    "percentunit",
                    "What is left of the errors each promise allows in 30 days; 0 is spent, below "
                    "0 the promise is broken.",
                    [Query("crossborder:slo_error_budget_remaining:ratio", "{{slo}}")],
                    kind="stat",
                    width=6,
                    height=5,
                    good_above=0.25,
                ),
                Panel(
                    "Alerts that fire",
                    "alerts",
                    "Alerts of this product that fire now; the watchdog, which always fires, is "
                    "not counted.",
                    [Query(f"sum({FIRING}) or vector(0)", "firing")],
                    kind="stat",
                    width=3,
                    height=5,
                    good_below=1,
                ),
                Panel(
                    "Programs up",
                    "percentunit",
                    "Share of the processes that answered their last scrape.",
                    [Query('avg(up{job="crossborder"})', "up")],
                    kind="stat",
                    width=3,
                    height=5,
                    good_above=1,
                ),
            ],
        ),
        Row("Burn rate: 1 spends exactly the budget", [_burn(p) for p in PROMISES]),
        Row(
            "Traffic and latency",
            [
                Panel(
                    "Orders placed and ended",
                    "orders/s",
                    "Orders a second that came to each state which says how the whole goes.",
                    [Query(rate("crossborder_orders_total", "state", STATES), "{{state}}")],
                ),
                Panel(
                    "From the first record to release",
                    "s",
                    "Time from the first record about an order to the release of its goods, waits "
                    "at the authority included.",
                    quantiles("crossborder_order_stage_seconds", 'stage="release"'),
                    good_below=60,
                ),
                Panel(
                    "The synthetic order",
                    "s",
                    "Since the last synthetic order came to its expected end; one goes out a "
                    "minute, so more than 3 minutes is bad.",
                    [
                        Query(
                            age("crossborder_probe_last_success_timestamp_seconds", ""),
                            "since the last success",
                        ),
                        Query(
                            quantile(
                                0.95, "crossborder_probe_order_seconds", where='stage="total"'
                            ),
                            "its way, p95",
                        ),
                    ],
                    good_below=180,
                ),
            ],
        ),
        Row(
            "Errors and saturation",
            [
                Panel(
                    "Records given up",
                    "records",
                    "Dead letters of the last 10 minutes by reason; each holds its order back "
                    "until it is replayed.",
                    [
                        Query(
                            increase("crossborder_dead_letters_total", "service, reason") + " > 0",
                            "{{service}}: {{reason}}",
                        )
                    ],
                    good_below=1,
                ),
                Panel(
                    "Queue delay, p95",
                    "s",
                    "How long the oldest record of a batch had waited in its topic: what users "
                    "feel first.",
                    [
                        Query(
                            quantile(0.95, "crossborder_event_queue_delay_seconds", "service"),
                            "{{service}}",
                        )
                    ],
                ),
                Panel(
                    "Event loop lag",
                    "s",
                    "How late a program's event loop woke, the worst of the last 15 seconds; "
                    "above 0.5 s it is blocked.",
                    [Query("max by (service) (crossborder_event_loop_lag_seconds)", "{{service}}")],
                    good_below=0.5,
                ),
            ],
        ),
    ],
)
