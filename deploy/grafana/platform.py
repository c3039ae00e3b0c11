"""Kafka and PostgreSQL, as the programs that stand on them feel them."""

from __future__ import annotations

from typing import Final

from deploy.grafana.panel import Board, Panel, Query, Row, age, increase, quantile, rate

BOARD: Final = Board(
    "crossborder-platform",
    "6 Kafka and PostgreSQL",
    "Broker and database as the programs feel them: what waits, what is acknowledged, how long a "
    "transaction takes.",
    [
        Row(
            "Kafka",
            [
                Panel(
                    "Lag by topic",
                    "records",
                    "Records that wait in each topic for each program that reads it.",
                    [Query("crossborder:consumer_lag_records:sum", "{{topic}} → {{program}}")],
                ),
                Panel(
                    "Acknowledged",
                    "records/s",
                    "Records a second that the broker acknowledged, by the service that wrote "
                    "them.",
                    [Query(rate("crossborder_outbox_published_total", "service"), "{{service}}")],
                ),
                Panel(
                    "Time to acknowledge, p95",
                    "s",
                    "From sending a batch of the outbox to its last acknowledgement: 95 of 100 "
                    "less.",
                    [
                        Query(
                            quantile(0.95, "crossborder_outbox_publish_seconds", "service"),
                            "{{service}}",
                        )
                    ],
                ),
                Panel(
                    "Oldest record not published",
                    "s",
                    "How long the oldest record of an outbox has waited for the broker.",
                    [
                        Query(
                            age("crossborder_outbox_oldest_pending_timestamp_seconds", "service"),
                            "{{service}}",
                        )
                    ],
                    good_below=30,
                ),
                Panel(
                    "Partitions read",
                    "partitions",
                    "Partitions each program reads in all; a program without any hears nothing.",
                    [
                        Query(
                            "sum by (program) (crossborder_consumer_assigned_partitions)",
                            "{{program}}",
                        )
                    ],
                ),
                Panel(
                    "Rebalances, producers given up, batches fenced",
                    "times",
                    "In the last 10 minutes. `overtaken` is harmless, `gap` is records that are "
                    "missing from the log.",
                    [
                        Query(
                            increase("crossborder_consumer_rebalances_total", "service") + " > 0",
                            "rebalance {{service}}",
                        ),
                        Query(
                            increase("crossborder_outbox_producer_failures_total", "service")
                            + " > 0",
                            "producer {{service}}",
                        ),
                        Query(
                            increase("crossborder_consumer_fenced_total", "service, kind") + " > 0",
                            "{{kind}} {{service}}",
                        ),
                    ],
                ),
            ],
        ),
        Row(
            "PostgreSQL",
            [
                Panel(
                    "Connections in use",
                    "connections",
                    "Connections of each service's pool that are busy; six is a replica's most.",
                    [
                        Query(
                            'max by (service) (crossborder_db_pool_connections{state="busy"})',
                            "{{service}}",
                        )
                    ],
                    width=6,
                    most=6,
                ),
                Panel(
                    "Waiting for a connection",
                    "tasks",
                    "Tasks that wait for a connection of the pool, the most of the last 15 "
                    "seconds.",
                    [Query("max by (service) (crossborder_db_pool_waiting)", "{{service}}")],
                    width=6,
                ),
                Panel(
                    "Time of a transaction, p95",
                    "s",
                    "Time of one batch, its commit included: the database's health as the "
                    "services feel it.",
                    [
                        Query(
                            quantile(0.95, "crossborder_event_processing_seconds", "service"),
                            "{{service}}",
                        )
                    ],
                    width=6,
                ),
                Panel(
                    "Batches tried again",
                    "times",
                    "Batches of the last 10 minutes that were tried again because database or "
                    "broker did not answer.",
                    [Query(increase("crossborder_batch_retries_total", "service"), "{{service}}")],
                    width=6,
                    good_below=1,
                ),
            ],
        ),
        Row(
            "Processes and Prometheus",
            [
                Panel(
                    "Processes that ended themselves",
                    "times",
                    "In the last hour, by reason: the watchdog, a dependency that stayed away, or "
                    "an error nobody foresaw.",
                    [
                        Query(
                            "sum by (service, reason) "
                            "(increase(crossborder_process_ends_total[1h])) > 0",
                            "{{service}}: {{reason}}",
                        )
                    ],
                    width=6,
                    good_below=1,
                ),
                Panel(
                    "Time of a scrape",
                    "s",
                    "How long each program took to show its metrics; the limit is 4 s.",
                    [
                        Query(
                            'max by (program) (scrape_duration_seconds{job="crossborder"})',
                            "{{program}}",
                        )
                    ],
                    width=6,
                ),
                Panel(
                    "Series of each program",
                    "series",
                    "Time series in each program's last scrape; they must not grow with the "
                    "orders.",
                    [
                        Query(
                            "max by (program) "
                            '(scrape_samples_post_metric_relabeling{job="crossborder"})',
                            "{{program}}",
                        )
                    ],
                    width=6,
                ),
                Panel(
                    "Rules that fail",
                    "times",
                    "Evaluations of rules that failed in the last 10 minutes.",
                    [
                        Query(
                            "sum(increase(prometheus_rule_evaluation_failures_total[10m]))",
                            "failed",
                        )
                    ],
                    width=6,
                    good_below=1,
                ),
            ],
        ),
    ],
)
