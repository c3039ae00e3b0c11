"""One service: what it takes in, how fast, what waits inside it, and whether its process is
healthy.
"""

from __future__ import annotations

from typing import Final

from deploy.grafana.panel import Board, Panel, Query, Row, age, mean, quantile, quantiles, rate

THIS: Final = 'service="$service"'
HERE: Final = 'program="$service"'

BOARD: Final = Board(
    "crossborder-service",
    "3 Per service",
    "One service and all its replicas; choose it above.",
    [
        Row(
            "Work",
            [
                Panel(
                    "Records by outcome",
                    "records/s",
                    "Records a second by what became of them.",
                    [
                        Query(
                            rate("crossborder_events_processed_total", "outcome", THIS) + " > 0",
                            "{{outcome}}",
                        )
                    ],
                ),
                Panel(
                    "Time of a transaction",
                    "s",
                    "Time of one transaction that handled a batch of records, its commit included.",
                    quantiles("crossborder_event_processing_seconds", THIS),
                ),
                Panel(
                    "Records in a batch",
                    "records",
                    "Mean number of records handled in one transaction: grows with the load, and "
                    "the throughput with it.",
                    [Query(mean("crossborder_event_batch_records", "service", THIS), "mean")],
                ),
                Panel(
                    "Queue delay, p95",
                    "s",
                    "How long the oldest record of a batch had waited in its topic: 95 of 100 "
                    "batches less.",
                    [
                        Query(
                            quantile(0.95, "crossborder_event_queue_delay_seconds", "topic", THIS),
                            "{{topic}}",
                        )
                    ],
                ),
                Panel(
                    "Lag by partition",
                    "records",
                    "Records that wait in each partition; one that stands while the others shrink "
                    "is stuck.",
                    [
                        Query(
                            "max by (topic, partition) "
                            f"(crossborder_consumer_lag_records{{{HERE}}}) > 0",
                            "{{topic}}/{{partition}}",
                        )
                    ],
                ),
                Panel(
                    "Since the last batch, the last poll",
                    "s",
                    "An idle service commits no batch but is polled all the time; a poll that is "
                    "long ago is a consumer that hangs.",
                    [
                        Query(
                            age(
                                "crossborder_consumer_last_progress_timestamp_seconds",
                                "instance",
                                THIS,
                            ),
                            "batch {{instance}}",
                        ),
                        Query(
                            age(
                                "crossborder_consumer_last_poll_timestamp_seconds", "instance", THIS
                            ),
                            "poll {{instance}}",
                        ),
                    ],
                ),
            ],
        ),
        Row(
            "What waits inside",
            [
                Panel(
                    "Outbox",
                    "records",
                    "Records decided but not yet acknowledged by the broker; above 20,000 the "
                    "intake is paused.",
                    [Query(f"max(crossborder_outbox_pending_records{{{THIS}}})", "pending")],
                ),
                Panel(
                    "Published",
                    "records/s",
                    "Records a second that the broker acknowledged.",
                    [
                        Query(
                            rate("crossborder_outbox_published_total", "service", THIS), "published"
                        )
                    ],
                ),
                Panel(
                    "Instructions, held orders, parked records",
                    "none",
                    "Open instructions to an outside party, orders held behind a dead letter, and "
                    "the records that wait with them.",
                    [
                        Query(f"max(crossborder_effects_open{{{THIS}}})", "instructions"),
                        Query(f"max(crossborder_held_orders{{{THIS}}})", "held orders"),
                        Query(f"max(crossborder_parked_records{{{THIS}}})", "parked records"),
                    ],
                ),
            ],
        ),
        Row(
            "The process",
            [
                Panel(
                    "CPU",
                    "cores",
                    "Processor time of each replica; one process uses one core at most.",
                    [Query(rate("process_cpu_seconds_total", "instance", HERE), "{{instance}}")],
                    width=6,
                    most=1,
                ),
                Panel(
                    "Memory",
                    "bytes",
                    "Resident memory of each replica; at most 150 MiB at full load is promised.",
                    [Query(f"process_resident_memory_bytes{{{HERE}}}", "{{instance}}")],
                    width=6,
                    good_below=157286400,
                ),
                Panel(
                    "Event loop lag",
                    "s",
                    "How late the event loop woke, the worst of the last 15 seconds; above 0.5 s "
                    "it is blocked.",
                    [
                        Query(
                            f"max by (instance) (crossborder_event_loop_lag_seconds{{{THIS}}})",
                            "{{instance}}",
                        )
                    ],
                    width=6,
                    good_below=0.5,
                ),
                Panel(
                    "Running for",
                    "s",
                    "How long each replica has run; a tooth is a restart.",
                    [Query(f"time() - process_start_time_seconds{{{HERE}}}", "{{instance}}")],
                    width=6,
                ),
            ],
        ),
    ],
    [("service", "label_values(crossborder_consumer_assigned_partitions, program)")],
)
