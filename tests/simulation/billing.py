"""Customs' tax bills, as in store.keep_bills and billing.py: the words that are said of them are
the service's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from services.customs.domain import declaration as domain
from services.customs.domain.declaration import Declaration
from services.customs.tax_bills.domain import cause_of, decide_bills
from services.customs.tax_bills.store import StoredBill
from shared.events.orders import OrderPlaced
from tests.simulation.broker import Said
from tests.simulation.parties import BillWord


@dataclass(frozen=True, slots=True)
class Kept:
    """A tax bill as it came first, and what of it was announced."""

    tax_no: str
    status: int = 1
    total: int | None = None
    other: int | None = None
    billed_said: bool = False
    status_said: bool = False
    other_said: bool = False
    superseded: bool = False
    waits: bool = False


class Bills:
    """The bills of every order, each order's in the order in which they came."""

    def __init__(self) -> None:
        self._kept: dict[UUID, dict[str, Kept]] = {}

    def keep(self, word: BillWord) -> bool:
        """The first amounts stand and a status only grows; tells whether anything is new."""
        bills = self._kept.setdefault(word.order_id, {})
        kept = bills.get(word.tax_no, Kept(word.tax_no))
        other = (
            word.total
            if None not in (kept.total, word.total) and kept.total != word.total
            else None
        )
        after = replace(
            kept,
            status=max(kept.status, word.status),
            total=word.total if kept.total is None else kept.total,
            status_said=kept.status_said and word.status <= kept.status,
            other=kept.other or other,
        )
        bills[word.tax_no] = after
        return after != kept

    def known(self, order_id: UUID) -> bool:
        """Whether there is a bill whose amount came."""
        return any(kept.total is not None for kept in self._kept[order_id].values())

    def say(
        self, d: Declaration, order: OrderPlaced, released_at: datetime
    ) -> tuple[list[Said], bool]:
        """What is to be said of an order's bills and was not yet.

        And whether one of them waits for the goods.
        """
        bills = self._kept[d.order_id]
        events, after = decide_bills(
            [_row(kept, d, order, released_at) for kept in bills.values() if kept.total is not None]
        )
        for row in after:
            bills[row.tax_no] = replace(
                bills[row.tax_no],
                billed_said=row.billed_said,
                status_said=row.status_said,
                other_said=row.other_said,
                superseded=row.superseded,
                waits=row.waits,
            )
        said = [
            Said(event, cause_of("I", event), d.version + n)
            for n, event in enumerate(events, start=1)
        ]
        return said, any(row.waits for row in after)

    def unsaid(self) -> Iterable[Kept]:
        """Bills that were to be announced and never were.

        One that was void before it was said is not.
        """
        for bills in self._kept.values():
            said = any(kept.billed_said for kept in bills.values())
            for kept in bills.values():
                if kept.total is None or kept.waits or not (said or kept.status == 3):
                    yield kept


def _row(kept: Kept, d: Declaration, order: OrderPlaced, released_at: datetime) -> StoredBill:
    back = [each.return_no for each in d.returns if each.state in ("back", "late")]
    return StoredBill(
        order_id=d.order_id,
        version=d.version,
        invt_no="I",
        tax_no=kept.tax_no,
        status=str(kept.status),
        duty_minor=0,
        consumption_tax_minor=0,
        vat_minor=kept.total or 0,
        payment_book="B" if kept.status == 2 else None,
        guarantor=None,
        other_tax_no=None if kept.other is None else kept.tax_no,
        other_minor=kept.other,
        billed_said=kept.billed_said,
        status_said=kept.status_said,
        other_said=kept.other_said,
        superseded=kept.superseded,
        returning=d.state is domain.DeclarationState.RETURNING,
        returns=max(back, default=0),
        withheld=order.tax_withheld,
        merchant_code=order.merchant.code,
        released_at=released_at,
    )
