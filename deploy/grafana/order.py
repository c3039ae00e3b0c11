"""The way of an order: how many stand where, how long each stage takes, and where they leave the
way.
"""

from __future__ import annotations

from typing import Final

from deploy.grafana.panel import Board, Panel, Query, Row, age, quantile, rate

STAGES: Final = "crossborder_order_stage_seconds"

BOARD: Final = Board(
    "crossborder-order",
    "2 The way of an order",
    "From submission to release or refusal: what comes in, where it stands, how long each stage "
    "takes.",
    [
        Row(
            "In and out",
            [
                Panel(
                    "Orders by the state they came to",
                    "orders/s",
                    "Orders a second that came to each state.",
                    [Query(rate("crossborder_orders_total", "state") + " > 0", "{{state}}")],
                    width=12,
                ),
                Panel(
                    "Share refused",
                    "percentunit",
                    "Share of the ended orders that ended rejected, 5 minutes. A jump is a rule, "
                    "a bank or a shop that changed.",
                    [
                        Query(
                            'sum(rate(crossborder_orders_total{state="rejected"}[5m])) '
                            '/ sum(rate(crossborder_orders_total{state=~"fulfilled|rejected|'
                            'cancelled|returned"}[5m]))',
                            "rejected",
                        )
                    ],
                    width=6,
                    most=1,
                ),
                Panel(
                    "Unknown fields",
                    "fields/s",
                    "Fields of submissions that nobody knows: ignored, but a shop may mean "
                    "something by them.",
                    [
                        Query(
                            rate("crossborder_ignored_fields_total", "service", 'service="orders"'),
                            "ignored",
                        )
                    ],
                    width=6,
                ),
            ],
        ),
        Row(
            "Where they stand",
            [
                Panel(
                    "Open orders",
                    "orders",
                    "Orders that are at no end, by the state they stand in.",
                    [Query("sum by (state) (crossborder_orders_open)", "{{state}}")],
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Age of the oldest",
                    "s",
                    "Since the oldest order of a state was heard of. `lodged` may wait for the "
                    "authority, `awaits_order` for a shop.",
                    [
                        Query(
                            age("crossborder_orders_oldest_open_timestamp_seconds", "state"),
                            "{{state}}",
                        )
                    ],
                    width=12,
                    good_below=600,
                ),
            ],
        ),
        Row(
            "How long it takes",
            [
                Panel(
                    "Half to the end of each stage",
                    "s",
                    "From the first record about an order to the end of a stage: half are faster.",
                    [Query(quantile(0.5, STAGES, "stage"), "{{stage}}")],
                ),
                Panel(
                    "95 of 100 to the end of each stage",
                    "s",
                    "From the first record about an order to the end of a stage: 95 of 100 are "
                    "faster.",
                    [Query(quantile(0.95, STAGES, "stage"), "{{stage}}")],
                ),
                Panel(
                    "95 of 100 to release, by corridor",
                    "s",
                    "From the first record about an order to its release, by corridor: 95 of 100 "
                    "are faster.",
                    [Query(quantile(0.95, STAGES, "corridor", 'stage="release"'), "{{corridor}}")],
                ),
            ],
        ),
        Row(
            "On the topics",
            [
                Panel(
                    "Records by topic",
                    "records/s",
                    "Records a second that services took from each topic.",
                    [
                        Query(
                            rate("crossborder_events_processed_total", "topic") + " > 0",
                            "{{topic}}",
                        )
                    ],
                ),
                Panel(
                    "Records by what became of them",
                    "records/s",
                    "`duplicate` is the inbox at work, `parked` waits behind a dead letter, "
                    "`dead-letter` was given up.",
                    [
                        Query(
                            rate("crossborder_events_processed_total", "outcome") + " > 0",
                            "{{outcome}}",
                        )
                    ],
                ),
                Panel(
                    "Verified sales",
                    "orders/s",
                    "Orders a second with three matching documents and a release, by corridor; "
                    "synthetic ones are not counted.",
                    [
                        Query(
                            rate("crossborder_verified_sales_total", "corridor") + " > 0",
                            "{{corridor}}",
                        )
                    ],
                ),
            ],
        ),
    ],
)
