"""One order's documents, small and valid, for the tests of customs."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid5

from shared.events.logistics import WaybillIssued
from shared.events.orders import Line, OrderPlaced, Party
from shared.events.payments import PaymentCaptured
from shared.events.persons import SealedConsignee, SealedPerson
from shared.events.tax import TaxAssessed
from shared.identity import NAMESPACE
from shared.money import Money

ORDER_ID = uuid5(NAMESPACE, "an order")
PERSON = UUID(int=7)


def cny(amount: str) -> Money:
    return Money.of(amount, "CNY")


def order(order_id: UUID = ORDER_ID) -> OrderPlaced:
    person = SealedPerson(
        person_ref=PERSON,
        sealed=b"x",
        id_type="1",
        name_digest="n",
        id_digest="i",
        phone_digest="p",
    )
    line = Line(line_no=1, sku="CHERRY-US-1KG", name="Sweet cherries, fresh", hs_code="0809290000", origin="US", quantity=Decimal(2),
                unit="kg", net_weight_kg=Decimal("2.000"), unit_price=Decimal("86.00"), total=cny("172.00"))  # fmt: skip
    return OrderPlaced(
        order_id=order_id, order_no="SHOP1-1", placed_at=datetime(2026, 11, 23, 1, tzinfo=UTC), direction="import", mode="9610",
        corridor="US-CN", platform=Party(code="1105910159", name="P"), merchant=Party(code="46016602EV", name="M", country="US"),
        buyer=person, payer=person,
        consignee=SealedConsignee(person_ref=PERSON, sealed=b"x", country="CN", region="Shanghai", city="Shanghai", name_digest="cn",
                                  phone_digest="cp", address_digest="ca"),
        payment_enterprise="PAY1", payment_token="tok_ok", currency="CNY", lines=(line,), goods_value=cny("172.00"),
        freight=cny("20.00"), insurance=cny("0"), discount=cny("0"), tax_withheld=cny("12.10"), amount_paid=cny("204.10"),
    )  # fmt: skip


def payment(order_id: UUID = ORDER_ID) -> PaymentCaptured:
    return PaymentCaptured(order_id=order_id, amount=cny("204.10"), payment_no="P1", enterprise_code="PAY1", payer_ref=PERSON,
                           payer_name_digest="n", paid_at=datetime(2026, 11, 23, 1, tzinfo=UTC))  # fmt: skip


def tax(order_id: UUID = ORDER_ID) -> TaxAssessed:
    zero = cny("0")
    return TaxAssessed(order_id=order_id, regime="cbec-retail-2019", dutiable_value=cny("192.00"), duty=zero, consumption_tax=zero,
                       vat=cny("12.10"), parcel_tax=zero, total=cny("12.10"), lines=(), rules=())  # fmt: skip


def waybill(order_id: UUID = ORDER_ID) -> WaybillIssued:
    return WaybillIssued(order_id=order_id, logistics_code="L1", logistics_name="L", logistics_no="W1", freight=cny("20.00"),
                         insurance=cny("0"), gross_weight_kg=Decimal("2.4"), pack_count=1, consignee_name_digest="cn",
                         consignee_phone_digest="cp", consignee_address_digest="ca")  # fmt: skip
