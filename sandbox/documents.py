"""The three documents as outsiders see them: the submitted order, the bank's 411, the carrier's
511.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

_NO_WORDS: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Goods:
    """One line of an order; `origin` is alpha-2 from JSON, the authority's number from XML."""

    number: int
    name: str
    quantity: Decimal
    price: Decimal
    total: Decimal
    origin: str


@dataclass(frozen=True, slots=True)
class Consignee:
    name: str
    phone: str
    country: str
    region: str | None
    city: str | None
    address: str
    postcode: str | None


@dataclass(frozen=True, slots=True)
class SubmittedOrder:
    order_id: UUID
    order_no: str
    platform_code: str
    direction: str
    currency: str
    goods_value: Decimal
    freight: Decimal
    insurance: Decimal
    discount: Decimal
    tax_withheld: Decimal
    amount_paid: Decimal
    buyer_name: str
    buyer_id: str
    buyer_phone: str | None
    payer_id: str | None
    enterprise: str | None
    consignee: Consignee
    net_weight_kg: Decimal
    lines: tuple[Goods, ...]

    @property
    def adds_up(self) -> bool:
        """Return whether paid = goods + freight + insurance + tax - discount, and goods = the lines
        [S22 CEB311].
        """
        paid = self.goods_value + self.freight + self.insurance + self.tax_withheld - self.discount
        return (
            paid == self.amount_paid and sum(line.total for line in self.lines) == self.goods_value
        )


@dataclass(frozen=True, slots=True)
class PaymentDocument:
    """The payment document (411); `reference` is the shop's name of the payment, the order's id."""

    reference: str
    payment_no: str
    amount: str
    currency: str
    enterprise: str
    payer_id: str


@dataclass(frozen=True, slots=True)
class WaybillDocument:
    """The waybill document (511)."""

    order_id: str
    logistics_code: str
    logistics_no: str
    consignee_name: str
    consignee_phone: str
    consignee_address: str


def words_of(order_no: str) -> frozenset[str]:
    """Return the words of the sandbox language in an order number: after "~", joined by "."."""
    _, mark, suffix = order_no.partition("~")
    return frozenset(suffix.lower().split(".")) - {""} if mark else _NO_WORDS
