"""The documents that the match compares. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from shared.money import Money

Document = Literal["order", "payment", "waybill", "list"]


@dataclass(frozen=True, slots=True)
class GoodsLine:
    """One line of an order or list; None is what the document does not state."""

    line_no: int
    name: str
    quantity: Decimal
    unit_price: Decimal
    total: Decimal
    unit: str | None = None
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class OrderDoc:
    """The order (311, 303). `freight` and `insurance` are one sum in a 311; personal fields are
    opaque.

    `buyer_authenticated`: the identity authority confirmed the buyer's identity.
    """

    platform_code: str
    order_no: str
    direction: Literal["import", "export"]
    goods_value: Money
    freight: Money
    insurance: Money
    tax_withheld: Money
    discount: Money
    amount_paid: Money
    buyer_id: str
    buyer_name: str
    consignee_name: str
    consignee_phone: str
    consignee_address: str
    lines: tuple[GoodsLine, ...]
    buyer_phone: str | None = None
    payment_enterprise: str | None = None
    buyer_authenticated: bool = False
    net_weight_kg: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PaymentDoc:
    """The payment (411), or the receipt of funds (403) of an export."""

    platform_code: str
    order_no: str
    amount_paid: Money
    payer_id: str | None = None
    payer_name: str | None = None
    payment_enterprise: str | None = None


@dataclass(frozen=True, slots=True)
class WaybillDoc:
    """The waybill (511, 505). None is what it does not state: the service joins by the
    order's id.
    """

    logistics_code: str | None
    logistics_no: str | None
    consignee_name: str
    consignee_phone: str
    consignee_address: str
    order_no: str | None = None
    gross_weight_kg: Decimal | None = None


@dataclass(frozen=True, slots=True)
class ListDoc:
    """The declaration list (621, 603); None is what the document does not state."""

    platform_code: str
    order_no: str
    logistics_code: str | None
    logistics_no: str | None
    lines: tuple[GoodsLine, ...]
    buyer_id: str | None = None
    buyer_name: str | None = None
    buyer_phone: str | None = None
    consignee_address: str | None = None
