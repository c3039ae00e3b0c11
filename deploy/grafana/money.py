"""Money: what moved at the bank, what tax was assessed, and whether the books agree."""

from __future__ import annotations

from typing import Final

from deploy.grafana.panel import Board, Panel, Query, Row, age, increase, quantile, rate

MOVED: Final = "crossborder_captured_minor_total"

BOARD: Final = Board(
    "crossborder-money",
    "5 Money",
    "What was captured, refunded and assessed, how the bank answers, and whether the books hold. "
    "Amounts are in minor units.",
    [
        Row(
            "The books",
            [
                Panel(
                    "Invariants broken",
                    "rows",
                    "Rows that break any invariant at the last check; anything but 0 is an "
                    "incident.",
                    [
                        Query(
                            "sum(max by (invariant) (crossborder_invariant_violations))",
                            "all invariants",
                        )
                    ],
                    kind="stat",
                    width=4,
                    height=7,
                    good_below=1,
                ),
                Panel(
                    "Orders captured twice",
                    "orders",
                    "Orders whose money was taken more than once, at the last check.",
                    [
                        Query(
                            'max(crossborder_invariant_violations{invariant="payments_one_capture"})',
                            "orders",
                        )
                    ],
                    kind="stat",
                    width=4,
                    height=7,
                    good_below=1,
                ),
                Panel(
                    "Books out of balance",
                    "minor units",
                    "What all accounts sum to, over every currency; must be 0.",
                    [
                        Query(
                            "sum(abs(max by (currency) (crossborder_ledger_imbalance_minor)))",
                            "imbalance",
                        )
                    ],
                    kind="stat",
                    width=4,
                    height=7,
                    good_below=1,
                ),
                Panel(
                    "On the accounts",
                    "minor units",
                    "What each account of the books holds at the last check, debits positive, in "
                    "minor units of its currency.",
                    [
                        Query(
                            "max by (account, currency) (crossborder_ledger_balance_minor) != 0",
                            "{{account}} {{currency}}",
                        )
                    ],
                    width=12,
                    height=7,
                ),
            ],
        ),
        Row(
            "At the bank",
            [
                Panel(
                    "Captured",
                    "minor units/s",
                    "Minor units captured a second, by currency.",
                    [Query(rate(MOVED, "currency", 'outcome="captured"') + " > 0", "{{currency}}")],
                ),
                Panel(
                    "Refunded and declined",
                    "minor units/s",
                    "Minor units a second that went back, or that the bank did not give.",
                    [
                        Query(
                            rate(MOVED, "currency, outcome", 'outcome!="captured"') + " > 0",
                            "{{outcome}} {{currency}}",
                        )
                    ],
                ),
                Panel(
                    "Payments",
                    "payments/s",
                    "Payments by what became of them.",
                    [Query(rate("crossborder_payments_total", "outcome"), "{{outcome}}")],
                ),
                Panel(
                    "Calls to the bank",
                    "calls/s",
                    "HTTP calls by outcome; anything but `ok` leaves the outcome unknown, and the "
                    "bank is asked again by the same key.",
                    [
                        Query(
                            rate("crossborder_party_calls_total", "outcome", 'party="bank"'),
                            "{{outcome}}",
                        )
                    ],
                    width=6,
                ),
                Panel(
                    "Time of a call, p95",
                    "s",
                    "How long the bank took for one call: 95 of 100 less.",
                    [
                        Query(
                            quantile(
                                0.95,
                                "crossborder_party_answer_seconds",
                                "operation",
                                'party="bank"',
                            ),
                            "{{operation}}",
                        )
                    ],
                    width=6,
                ),
                Panel(
                    "Open instructions",
                    "instructions",
                    "Instructions the bank has not answered; above 20,000 the intake is paused. "
                    "Unknown: asked twice or more.",
                    [
                        Query('max(crossborder_effects_open{service="payments"})', "open"),
                        Query('max(crossborder_effects_unknown{service="payments"})', "unknown"),
                    ],
                    width=6,
                ),
                Panel(
                    "Oldest open instruction",
                    "s",
                    "Since when the bank has owed its oldest answer.",
                    [
                        Query(
                            age(
                                "crossborder_effects_oldest_open_timestamp_seconds",
                                "service",
                                'service="payments"',
                            ),
                            "oldest",
                        )
                    ],
                    width=6,
                    good_below=300,
                ),
            ],
        ),
        Row(
            "Tax bills",
            [
                Panel(
                    "Bills that wait for a person",
                    "bills",
                    "Tax bills of the authority by why they wait: far off what was assessed, "
                    "missing, contradicted, voided, overdue.",
                    [Query("max by (reason) (crossborder_tax_bill_cases)", "{{reason}}")],
                    width=12,
                    height=6,
                    good_below=1,
                ),
                Panel(
                    "Deposit at customs",
                    "minor units",
                    "What of the deposit is free, what is reserved for tax not paid yet, and what "
                    "it cannot cover.",
                    [Query("max by (state) (crossborder_guarantee_minor)", "{{state}}")],
                    width=12,
                    height=6,
                ),
            ],
        ),
        Row(
            "Tax and sales",
            [
                Panel(
                    "Tax assessed",
                    "minor units/s",
                    "Minor units of tax a second, by kind and regime; undone ones included.",
                    [
                        Query(
                            rate("crossborder_tax_assessed_minor_total", "kind, regime") + " > 0",
                            "{{kind}} ({{regime}})",
                        )
                    ],
                    width=6,
                ),
                Panel(
                    "Refused by tax",
                    "orders",
                    "Orders refused in the last 10 minutes, by customs' code: 1313 the yearly "
                    "limit, -621005 the single limit.",
                    [
                        Query(
                            increase("crossborder_quota_refusals_total", "code") + " > 0",
                            "{{code}}",
                        )
                    ],
                    width=6,
                ),
                Panel(
                    "Tax rules refused",
                    "processes",
                    "Processes of tax whose rule files changed and are refused: they go on by the "
                    "rules before them.",
                    [Query("sum(crossborder_tax_rules_refused)", "refused")],
                    width=6,
                    good_below=1,
                ),
                Panel(
                    "Verified sales",
                    "minor units/s",
                    "Minor units a second of goods with three matching documents and a release.",
                    [
                        Query(
                            rate("crossborder_verified_sales_minor_total", "currency") + " > 0",
                            "{{currency}}",
                        )
                    ],
                    width=6,
                ),
            ],
        ),
    ],
)
