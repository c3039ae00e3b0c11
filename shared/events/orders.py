"""What orders says."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Literal

from shared.events.base import Event, Fact, Fault
from shared.events.persons import SealedConsignee, SealedPerson
from shared.money import Money

Direction = Literal["import", "export"]
Mode = Literal["9610", "9710", "9810", "1210"]
End = Literal["rejected", "cancelled", "returned"]


class Party(Fact):
    """An enterprise: customs registration number (10) or unified social credit code (18), and its name."""

    code: str
    name: str
    country: str | None = None


class NetContent(Fact):
    """What one unit of the goods contains, where a rule asks: millilitres, grams or pieces."""

    value: Decimal
    unit: Literal["ml", "g", "piece"]


class Line(Fact):
    """One line of an order; quantities in `unit`, weights in kilograms, prices of one unit in major units."""

    line_no: int
    sku: str
    name: str
    hs_code: str
    origin: str
    brand: str | None = None
    gtin: str | None = None
    quantity: Decimal
    unit: str
    net_weight_kg: Decimal
    net_content: NetContent | None = None
    unit_price: Decimal
    total: Money


class OrdersEvent(Event):
    """A fact of the orders service."""


class OrderPlaced(OrdersEvent):
    """An order passed every intake rule and is open; the document the other services work from."""

    type: ClassVar[str] = "order.placed.v1"
    order_no: str
    placed_at: datetime
    direction: Direction
    mode: Mode
    corridor: str
    platform: Party
    merchant: Party
    buyer: SealedPerson
    payer: SealedPerson
    consignee: SealedConsignee
    payment_enterprise: str
    payment_token: str
    currency: str
    lines: tuple[Line, ...]
    goods_value: Money
    freight: Money
    insurance: Money
    discount: Money
    tax_withheld: Money
    amount_paid: Money


class OrderRejected(OrdersEvent):
    """The order's end: it was refused at intake, or by the bank, tax or customs and everything done was undone."""

    type: ClassVar[str] = "order.rejected.v1"
    order_no: str
    corridor: str
    faults: tuple[Fault, ...]


class OrderResubmitted(OrdersEvent):
    """A submission came for an order that is there already: `exists`, or `exists_with_different_<field>`."""

    type: ClassVar[str] = "order.resubmitted.v1"
    order_no: str
    verdict: str
    different: tuple[str, ...] = ()


class WithdrawalAsked(OrdersEvent):
    """The order is to be undone and customs must first say whether the goods can still be held back."""

    type: ClassVar[str] = "order.withdrawal-asked.v1"
    reason: str


class OrderUnwinding(OrdersEvent):
    """The border no longer stands in the way: money goes back and the quota is freed, towards the named end."""

    type: ClassVar[str] = "order.unwinding.v1"
    towards: End
    released: bool
    faults: tuple[Fault, ...] = ()


class OrderFulfilled(OrdersEvent):
    """The order's end: customs released the goods; it counts as a verified sale (three documents and a release)."""

    type: ClassVar[str] = "order.fulfilled.v1"
    order_no: str
    corridor: str
    direction: Direction
    goods_value: Money
    amount_paid: Money


class OrderCancelled(OrdersEvent):
    """The order's end: the buyer or shop called it off and everything done was undone."""

    type: ClassVar[str] = "order.cancelled.v1"
    order_no: str
    corridor: str
    reason: str


class OrderReturned(OrdersEvent):
    """The order's end: the goods were cleared, came back, and the money and quota with them."""

    type: ClassVar[str] = "order.returned.v1"
    order_no: str
    corridor: str
    reason: str


class CancellationRefused(OrdersEvent):
    """A cancellation came for an order that has ended otherwise already; nothing changes."""

    type: ClassVar[str] = "order.cancellation-refused.v1"
    state: str


class CancellationAwaitsOrder(OrdersEvent):
    """A cancellation overtook its order and waits for it."""

    type: ClassVar[str] = "order.cancellation-awaits-order.v1"
    order_no: str
