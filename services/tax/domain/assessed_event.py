"""The event that publishes an assessment."""

from __future__ import annotations

from uuid import UUID

from services.tax.domain.assessable import Assessment
from services.tax.domain.ledger import PersonYear
from shared.events.tax import TaxAssessed, TaxLine
from shared.money import Money


def assessed_event(order_id: UUID, result: Assessment, key: PersonYear | None) -> TaxAssessed:
    """Return the event of an assessment; `key` is the quota it counts to, if any."""
    currency = result.total.currency
    return TaxAssessed(
        order_id=order_id,
        regime=result.regime,
        dutiable_value=result.dutiable_value,
        duty=result.duty,
        consumption_tax=result.consumption_tax,
        vat=result.vat,
        parcel_tax=result.parcel_tax,
        total=result.total,
        lines=tuple(
            TaxLine(
                line_no=line.line_no,
                dutiable_value=Money(line.dutiable_value, currency),
                duty=Money(line.duty, currency),
                consumption_tax=Money(line.consumption_tax, currency),
                vat=Money(line.vat, currency),
            )
            for line in result.lines
        ),
        rules=result.rules,
        person_ref=None if key is None else key.person_ref,
        year=None if key is None else key.year,
        payable=None if result.payable == result.total else result.payable,
    )
