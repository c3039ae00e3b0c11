"""The events of orders."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Literal

from shared.events.base import Event, Fact, Fault
from shared.events.customs import ReturnedLine
from shared.events.persons import SealedConsignee, SealedPerson
from shared.money import Money

Direction = Literal["import", "export"]
Mode = Literal["9610", "9710", "9810", "1210"]
End = Literal["rejected", "cancelled"]


class Party(Fact):
    """An enterprise. `code` is its customs registration number (10) or social credit code (18)."""

    code: str
    name: str
    country: str | None = None


class NetContent(Fact):
    """The content of one unit of the goods, if a rule needs it: millilitres, grams or pieces."""

    value: Decimal
    unit: Literal["ml", "g", "piece"]


class Line(Fact):
    """One line of an order.

    Quantities are in `unit`, weights in kilograms, unit prices in major units.
    """

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


class ReturnPart(Fact):
    """The quantity of a line that is given back, in the line's unit. None means the whole rest."""

    line_no: int
    quantity: Decimal | None = None


class OrdersEvent(Event):
    """An event of the orders service."""


class OrderPlaced(OrdersEvent):
    """An order passed every intake rule and is open. The other services work from this document.

    `taxed_at` is set if the order came long after it was placed. Its day then gives the tariff, the
    exchange rate and the year of the quota, instead of the day of `placed_at`.
    """

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
    taxed_at: datetime | None = None

    @property
    def counts_at(self) -> datetime:
        """Return the moment whose day in Beijing the order counts on."""
        return self.taxed_at or self.placed_at


class OrderRejected(OrdersEvent):
    """The order's end: intake, bank, tax or customs refused it, and everything done was undone.

    Its number is used up: a corrected order needs a new number.
    """

    type: ClassVar[str] = "order.rejected.v1"
    order_no: str
    corridor: str
    faults: tuple[Fault, ...]


class OrderResubmitted(OrdersEvent):
    """A submission came for an existing order.

    `verdict` is `exists` or `exists_with_different_<field>`.
    """

    type: ClassVar[str] = "order.resubmitted.v1"
    order_no: str
    verdict: str
    different: tuple[str, ...] = ()


class WithdrawalAsked(OrdersEvent):
    """The order is to be undone. Customs must first say whether the goods can still be held back.

    `lines`: of released goods, only these are given back; none means all that is left.
    `refund_if_late` is the merchant's decision about goods that come back after the term.
    """

    type: ClassVar[str] = "order.withdrawal-asked.v1"
    reason: str
    lines: tuple[ReturnPart, ...] = ()
    refund_if_late: bool = True


class OrderUnwinding(OrdersEvent):
    """The border no longer stands in the way and nothing was released.

    Money goes back, and the quota is freed.
    """

    type: ClassVar[str] = "order.unwinding.v1"
    towards: End
    faults: tuple[Fault, ...] = ()


class ReturnAccepted(OrdersEvent):
    """Released goods are back, so what is due for them goes back too.

    In time, this is the price, the tax withheld and the yearly quota of the lines. Late, it is the
    price alone, if `refund_goods`: the tax stays levied and the quota used. `whole`: the whole
    order is back now.
    """

    type: ClassVar[str] = "order.return-accepted.v1"
    return_no: int
    in_time: bool
    refund_goods: bool
    whole: bool
    lines: tuple[ReturnedLine, ...]


class OrderFulfilled(OrdersEvent):
    """The order's end: customs released the goods.

    The order counts as a verified sale, with three documents and a release.
    """

    type: ClassVar[str] = "order.fulfilled.v1"
    order_no: str
    corridor: str
    direction: Direction
    goods_value: Money
    amount_paid: Money


class OrderCancelled(OrdersEvent):
    """The order's end: buyer or shop cancelled it, and everything done was undone."""

    type: ClassVar[str] = "order.cancelled.v1"
    order_no: str
    corridor: str
    reason: str


class GivenBack(OrdersEvent):
    """A return is closed.

    `goods_value` is the price of its goods, and `amount` is the buyer's refund for them.
    `tax_not_levied` is their assessed tax that is not levied: zero if they came late (`in_time`).
    """

    order_no: str
    corridor: str
    reason: str
    return_no: int
    in_time: bool
    goods_value: Money
    amount: Money
    tax_not_levied: Money


class OrderPartlyReturned(GivenBack):
    """Some of the goods came back, and what was due for them went back.

    The sale of the others stands.
    """

    type: ClassVar[str] = "order.partly-returned.v1"


class OrderReturned(GivenBack):
    """The order's end: its goods were cleared, and with this return all of them are back."""

    type: ClassVar[str] = "order.returned.v1"


class CancellationRefused(OrdersEvent):
    """A cancellation or return is impossible, or the order has ended otherwise. Nothing changes."""

    type: ClassVar[str] = "order.cancellation-refused.v1"
    state: str


class CancellationAwaitsOrder(OrdersEvent):
    """A cancellation overtook its order and waits for it."""

    type: ClassVar[str] = "order.cancellation-awaits-order.v1"
    order_no: str
