"""The order, and what intake makes of a submission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from services.orders.domain.external_states import BorderStatus, PaymentStatus, Stage, TaxStatus
from shared.events.base import Fault
from shared.events.orders import Direction, End, Mode, OrderPlaced
from shared.money import Money


@dataclass(frozen=True, slots=True)
class ValidSubmission:
    """A submission that keeps every rule, as the event it becomes.

    `fingerprint` distinguishes it from another submission with the same order number.
    """

    placed: OrderPlaced
    fingerprint: Mapping[str, str]

    @property
    def order_id(self) -> UUID:
        return self.placed.order_id


@dataclass(frozen=True, slots=True)
class InvalidSubmission:
    """A submission that breaks rules, with all its faults."""

    order_id: UUID
    order_no: str
    platform_code: str
    corridor: str
    faults: tuple[Fault, ...]
    fingerprint: Mapping[str, str]


PendingEnd = End | Literal["returned"]
"""The end an order will reach once it is undone."""


@dataclass(frozen=True)
class OpenReturn:
    """A return whose goods are back. `refunded` and `tax_not_levied` wait for payments and tax."""

    return_no: int
    in_time: bool
    whole: bool
    goods_value: Money
    refunded: Money | None = None
    tax_not_levied: Money | None = None


@dataclass(frozen=True)
class Order:
    """One order; an order that was never placed has no money and no corridor.

    `version` counts orders' own events. `reason` comes from whoever asked to cancel or return.
    `faults` come from whoever refused the order. `released`: the goods were cleared at some time.
    `fulfilled`: OrderFulfilled was emitted. `refunded`: what all returns gave back to the buyer.
    `tax_kept`: goods came back too late, so their tax stays levied.
    """

    order_id: UUID
    order_no: str
    platform_code: str
    stage: Stage
    version: int = 0
    payment: PaymentStatus = PaymentStatus.AWAITED
    tax: TaxStatus = TaxStatus.AWAITED
    border: BorderStatus = BorderStatus.AWAITED
    pending_end: PendingEnd | None = None
    reason: str | None = None
    faults: tuple[Fault, ...] = ()
    released: bool = False
    fulfilled: bool = False
    corridor: str | None = None
    direction: Direction | None = None
    mode: Mode | None = None
    placed_at: datetime | None = None
    goods_value: Money | None = None
    amount_paid: Money | None = None
    returning: OpenReturn | None = None
    refunded: Money | None = None
    tax_kept: bool = False
    fingerprint: Mapping[str, str] = field(default_factory=dict)
