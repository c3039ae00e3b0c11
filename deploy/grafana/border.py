"""Collective declarations and the border: batches, receipts, mismatches, and what the authority
does with them.
"""

from __future__ import annotations

from typing import Final

from deploy.grafana.panel import Board, Panel, Query, Row, age, increase, mean, quantile, rate

DECIDED: Final = "800|899|100|700|5.."

BOARD: Final = Board(
    "crossborder-border",
    "4 Collective declarations and the border",
    "How lists are put together, what the customs authority answers, and what stops at the border.",
    [
        Row(
            "Putting lists together",
            [
                Panel(
                    "Lists that wait",
                    "lists",
                    "Lists in an open batch, by what is to be lodged. They leave when the batch "
                    "is full or old enough.",
                    [Query("max by (kind) (crossborder_declaration_lists_waiting)", "{{kind}}")],
                    width=6,
                    stacked=True,
                ),
                Panel(
                    "Batches past their cut-off",
                    "batches",
                    "Open batches more than 30 seconds past the time they should have closed.",
                    [Query("max by (kind) (crossborder_declaration_batches_late)", "{{kind}}")],
                    width=6,
                    good_below=1,
                ),
                Panel(
                    "Age of the oldest batch",
                    "s",
                    "Since the oldest open batch got its first list.",
                    [
                        Query(
                            age(
                                "crossborder_declaration_batch_oldest_open_timestamp_seconds",
                                "kind",
                            ),
                            "{{kind}}",
                        )
                    ],
                    width=6,
                ),
                Panel(
                    "Open for, p95",
                    "s",
                    "From a batch's first list to its lodging, by what closed it: its size or its "
                    "age.",
                    [
                        Query(
                            quantile(
                                0.95, "crossborder_declaration_batch_open_seconds", "closed_by"
                            ),
                            "by {{closed_by}}",
                        )
                    ],
                    width=6,
                ),
            ],
        ),
        Row(
            "Lodging",
            [
                Panel(
                    "Collective messages",
                    "messages/s",
                    "Signed messages a second that left for the authority, or that it refused "
                    "whole.",
                    [
                        Query(
                            rate("crossborder_declaration_batches_total", "outcome"), "{{outcome}}"
                        )
                    ],
                ),
                Panel(
                    "Lists in a message",
                    "lists",
                    "How full a message is when it leaves: 100 is the schema's limit, few mean "
                    "that age closed it.",
                    [
                        Query(quantile(0.5, "crossborder_declaration_batch_lists"), "median"),
                        Query(mean("crossborder_declaration_batch_lists"), "mean"),
                    ],
                    most=100,
                ),
                Panel(
                    "Mismatches",
                    "mismatches",
                    "Disagreements between order, payment, waybill and list in the last 10 "
                    "minutes, by the authority's code.",
                    [
                        Query(
                            increase("crossborder_match_failures_total", "code") + " > 0",
                            "{{code}}",
                        )
                    ],
                ),
            ],
        ),
        Row(
            "Consolidation of exports",
            [
                Panel(
                    "Lists of past months not consolidated",
                    "lists",
                    "Closed export lists in no numbered declaration yet: not asked for, asked "
                    "for, or set aside for a person.",
                    [Query("max by (state) (crossborder_lists_unconsolidated)", "{{state}}")],
                    stacked=True,
                ),
                Panel(
                    "Days to the last day",
                    "d",
                    "Until the time is over in which the oldest of these lists must be "
                    "consolidated; nothing where there is none.",
                    [
                        Query(
                            "(max(crossborder_consolidation_due_timestamp_seconds) > 0) / 86400 - "
                            "time() / 86400",
                            "days",
                        )
                    ],
                ),
                Panel(
                    "Requests",
                    "requests",
                    "Summary requests by where they stand; a refused one may wait for a person.",
                    [Query("max by (state) (crossborder_summaries)", "{{state}}")],
                    stacked=True,
                    width=4,
                ),
                Panel(
                    "Declarations",
                    "declarations",
                    "What customs made of the requests, by stage; a returned one waits for its "
                    "broker.",
                    [Query("max by (stage) (crossborder_consolidated_declarations)", "{{stage}}")],
                    stacked=True,
                    width=4,
                ),
            ],
        ),
        Row(
            "The authority",
            [
                Panel(
                    "Receipts by status",
                    "receipts/s",
                    "120 accepted, 300 review, 500 examination, 600 held, 800 released, 899 "
                    "closed, 100 returned, 700 sent back.",
                    [Query(rate("crossborder_receipts_total", "status") + " > 0", "{{status}}")],
                    width=9,
                ),
                Panel(
                    "Released of all decided",
                    "percentunit",
                    "Share of the deciding receipts that release the goods, 15 minutes.",
                    [
                        Query(
                            'sum(rate(crossborder_receipts_total{status=~"800|899"}[15m])) '
                            f'/ sum(rate(crossborder_receipts_total{{status=~"{DECIDED}"}}[15m]))',
                            "released",
                        )
                    ],
                    width=5,
                    most=1,
                ),
                Panel(
                    "Owed",
                    "answers",
                    "Waybills of placed orders that the carrier owes, and lodged lists without a "
                    "first receipt of the authority.",
                    [
                        Query(
                            'max by (party) (crossborder_party_unanswered{party!="bank"})',
                            "{{party}}",
                        )
                    ],
                    width=5,
                ),
                Panel(
                    "Owed for",
                    "s",
                    "Since when the carrier has owed the oldest waybill, and the authority the "
                    "oldest receipt.",
                    [
                        Query(
                            age(
                                "crossborder_party_oldest_unanswered_timestamp_seconds",
                                "party",
                                'party!="bank"',
                            ),
                            "{{party}}",
                        )
                    ],
                    width=5,
                    good_below=600,
                ),
            ],
        ),
        Row(
            "The sandboxes, as the other side sees it",
            [
                Panel(
                    "Authority",
                    "operations/s",
                    "What the sandbox's authority did, by outcome.",
                    [
                        Query(
                            rate(
                                "crossborder_sandbox_operations_total",
                                "kind, outcome",
                                'party="authority"',
                            ),
                            "{{kind}}: {{outcome}}",
                        )
                    ],
                ),
                Panel(
                    "Carrier",
                    "waybills/s",
                    "Waybills of the sandbox's carrier, by outcome.",
                    [
                        Query(
                            rate(
                                "crossborder_sandbox_operations_total", "outcome", 'party="carrier"'
                            ),
                            "{{outcome}}",
                        )
                    ],
                ),
                Panel(
                    "Not yet published",
                    "records",
                    "Records that an outside party has written but not yet put on the wire.",
                    [
                        Query(
                            "sum by (party) (crossborder_sandbox_outbox_pending_records)",
                            "{{party}}",
                        )
                    ],
                ),
            ],
        ),
    ],
)
