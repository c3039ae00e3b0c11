"""The documents as the service holds them, in the shape the three-document match compares: persons as references and digests."""

from __future__ import annotations

from collections.abc import Sequence

from services.customs.domain.match import GoodsLine, OrderDoc, PaymentDoc, WaybillDoc, match
from shared.events.customs import Mismatch
from shared.events.logistics import WaybillIssued
from shared.events.orders import OrderPlaced
from shared.events.payments import PaymentCaptured


def mismatches(order: OrderPlaced, payment: PaymentCaptured, waybill: WaybillIssued) -> Sequence[Mismatch]:
    """All disagreements between the three documents of one order; none if they match."""
    return match(_order(order), _payment(order, payment), _waybill(waybill)).mismatches


def _order(order: OrderPlaced) -> OrderDoc:
    return OrderDoc(
        platform_code=order.platform.code, order_no=order.order_no, direction=order.direction, goods_value=order.goods_value,
        freight=order.freight, insurance=order.insurance, tax_withheld=order.tax_withheld, discount=order.discount,
        amount_paid=order.amount_paid, buyer_id=str(order.buyer.person_ref), buyer_name=order.buyer.name_digest,
        consignee_name=order.consignee.name_digest, consignee_phone=order.consignee.phone_digest,
        consignee_address=order.consignee.address_digest,
        lines=tuple(GoodsLine(line.line_no, line.name, line.quantity, line.unit_price, line.total.major) for line in order.lines),
        payment_enterprise=order.payment_enterprise,
    )  # fmt: skip


def _payment(order: OrderPlaced, payment: PaymentCaptured) -> PaymentDoc:
    return PaymentDoc(
        platform_code=order.platform.code, order_no=order.order_no, amount_paid=payment.amount, payer_id=str(payment.payer_ref),
        payer_name=payment.payer_name_digest, payment_enterprise=payment.enterprise_code,
    )  # fmt: skip


def _waybill(waybill: WaybillIssued) -> WaybillDoc:
    return WaybillDoc(
        logistics_code=waybill.logistics_code, logistics_no=waybill.logistics_no,
        consignee_name=waybill.consignee_name_digest, consignee_phone=waybill.consignee_phone_digest,
        consignee_address=waybill.consignee_address_digest,
    )  # fmt: skip
