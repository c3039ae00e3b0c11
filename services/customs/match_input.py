"""Stored documents in the form that the three-document match compares: persons as references and
digests.

A mismatch about a person names the documents and the lengths of the texts, never the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from services.customs.domain.match import WAYBILL_NUMBER, match
from services.customs.domain.match_documents import GoodsLine, OrderDoc, PaymentDoc, WaybillDoc
from shared.events.customs import Mismatch, Side
from shared.events.logistics import WaybillIssued
from shared.events.orders import OrderPlaced
from shared.events.payments import PaymentCaptured


def mismatches(
    order: OrderPlaced, payment: PaymentCaptured, waybill: WaybillIssued
) -> Sequence[Mismatch]:
    verdict = match(_order(order), _payment(order, payment), _waybill(order, waybill))
    return [_without_person(mismatch, order, payment, waybill) for mismatch in verdict.mismatches]


def number_taken(waybill: WaybillIssued) -> Mismatch:
    return Mismatch(
        code=WAYBILL_NUMBER,
        field="logistics_no",
        left=Side(document="order", value="a number of its own"),
        right=Side(document="waybill", value=f"{waybill.logistics_no}, which is another order's"),
    )


def _without_person(
    mismatch: Mismatch, order: OrderPlaced, payment: PaymentCaptured, waybill: WaybillIssued
) -> Mismatch:
    """Return the mismatch without the digests that stand for a person."""
    lengths = {
        "buyer.id_number": (order.buyer.id_length, payment.payer_id_length),
        "buyer.name": (order.buyer.name_length, payment.payer_name_length),
        "consignee.name": (order.consignee.name_length, waybill.consignee_name_length),
        "consignee.phone": (order.consignee.phone_length, waybill.consignee_phone_length),
        "consignee.address": (order.consignee.address_length, waybill.consignee_address_length),
    }.get(mismatch.field)
    if lengths is None:
        return mismatch
    left, right = (
        f"{length} characters" if length is not None else "another text" for length in lengths
    )
    return Mismatch(
        code=mismatch.code,
        field=mismatch.field,
        left=Side(document=mismatch.left.document, value=left),
        right=Side(document=mismatch.right.document, value=right),
    )


def _order(order: OrderPlaced) -> OrderDoc:
    return OrderDoc(
        platform_code=order.platform.code,
        order_no=order.order_no,
        direction=order.direction,
        goods_value=order.goods_value,
        freight=order.freight,
        insurance=order.insurance,
        tax_withheld=order.tax_withheld,
        discount=order.discount,
        amount_paid=order.amount_paid,
        buyer_id=str(order.buyer.person_ref),
        buyer_name=order.buyer.name_digest,
        consignee_name=order.consignee.name_digest,
        consignee_phone=order.consignee.phone_digest,
        consignee_address=order.consignee.address_digest,
        lines=tuple(
            GoodsLine(line.line_no, line.name, line.quantity, line.unit_price, line.total.major)
            for line in order.lines
        ),
        payment_enterprise=order.payment_enterprise,
        net_weight_kg=sum((line.net_weight_kg for line in order.lines), Decimal(0)),
    )


def _payment(order: OrderPlaced, payment: PaymentCaptured) -> PaymentDoc:
    return PaymentDoc(
        platform_code=order.platform.code,
        order_no=order.order_no,
        amount_paid=payment.amount,
        payer_id=str(payment.payer_ref),
        payer_name=payment.payer_name_digest,
        payment_enterprise=payment.enterprise_code,
    )


def _waybill(order: OrderPlaced, waybill: WaybillIssued) -> WaybillDoc:
    # Carriers write region and city before the street, or in fields of their own.
    shared = set(order.consignee.address_digests) & set(waybill.consignee_address_digests)
    return WaybillDoc(
        logistics_code=waybill.logistics_code,
        logistics_no=waybill.logistics_no,
        consignee_name=waybill.consignee_name_digest,
        consignee_phone=waybill.consignee_phone_digest,
        consignee_address=order.consignee.address_digest
        if shared
        else waybill.consignee_address_digest,
        gross_weight_kg=waybill.gross_weight_kg,
    )
