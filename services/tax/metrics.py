"""The metrics of tax: known labels begin at 0, counts follow the commit, gauges read the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.tax.bills import store as bill_store
from services.tax.bills.domain import (
    CaseReason,
)
from services.tax.handlers import TAX_KINDS
from shared import metrics
from shared.events.tax import TaxAssessed, TaxRefused
from shared.subscriptions import EmittedEvent


def observe(facts: Sequence[EmittedEvent]) -> None:
    for fact in facts:
        event = fact.event
        if isinstance(event, TaxAssessed):
            for kind in TAX_KINDS:
                metrics.TAX_ASSESSED.labels(kind, event.regime).inc(getattr(event, kind).minor)
        elif isinstance(event, TaxRefused):
            metrics.QUOTA_REFUSALS.labels(event.code).inc()


async def gauges(conn: Any) -> None:
    counts = await bill_store.count_open_cases(conn)
    for reason in CaseReason:
        metrics.BILL_CASES.labels(reason).set(counts.get(reason, 0))
