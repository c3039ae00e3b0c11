"""An order as it is kept, and what intake makes of a submission."""

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
    """A submission that keeps every rule, as the fact it becomes; `fingerprint` tells it from another of its number."""

    placed: OrderPlaced
    fingerprint: Mapping[str, str]

    @property
    def order_id(self) -> UUID:
        return self.placed.order_id


@dataclass(frozen=True, slots=True)
class InvalidSubmission:
    """A submission that breaks a rule, with everything that is wrong with it."""

    order_id: UUID
    order_no: str
    platform_code: str
    corridor: str
    faults: tuple[Fault, ...]
    fingerprint: Mapping[str, str]


PendingEnd = End | Literal["returned"]
"""The end an order is on its way to once something of it is being undone."""


@dataclass(frozen=True)
class OpenReturn:
    """Goods that are back, while payments and tax give back what belongs to them; `refunded` and `tax` are their answers."""

    return_no: int
    in_time: bool
    whole: bool
    goods_value: Money
    refunded: Money | None = None
    tax_not_levied: Money | None = None


@dataclass(frozen=True)
class Order:
    """One order. `version` counts the facts said about it.

    `reason` is the asker's, while and after it is called off; `faults` are those of whoever refused it. `released`: the
    goods were cleared at some time; `fulfilled`: that was said. `refunded`: what its returns gave back to the buyer so far;
    `tax_kept`: goods came back too late for their tax not to be levied.
    What was never placed has no money and no corridor.
    """

    order_id: UUID
    order_no: str
    platform_code: str
    stage: Stage
    version: int = 0
    payment: PaymentStatus = PaymentStatus.AWAITED
    tax: TaxStatus = TaxStatus.AWAITED
    border: BorderStatus = BorderStatus.AWAITED
    towards: PendingEnd | None = None
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
