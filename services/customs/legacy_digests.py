"""Documents of release 0.1.0 compared with newer ones: their digests of persons use a plainer
normal form.

Only the order's particulars can be opened. The order's digests are made again in the form of the
other document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from services.customs.domain.declaration import Declaration
from services.customs.domain.documents import Match
from services.customs.particulars import NotLodgeable, open_particulars, sealed_particulars
from shared.database import Connection
from shared.events import Event
from shared.events.customs import Mismatch
from shared.events.logistics import WaybillIssued
from shared.events.orders import OrderPlaced
from shared.events.payments import PaymentCaptured
from shared.events.persons import ConsigneeParticulars, Particulars
from shared.sealing import Sealing

Opened = tuple[Particulars, ConsigneeParticulars]


def is_earlier(document: Event) -> bool:
    """Return whether release 0.1.0 wrote a document: it stored no lengths and no alternative
    address digests.
    """
    match document:
        case OrderPlaced():
            return not document.consignee.address_digests
        case WaybillIssued():
            return not document.consignee_address_digests
        case PaymentCaptured():
            return document.payer_name_length is None
    return False


async def match_in_one_form(
    conn: Connection,
    match: Match,
    declarations: Mapping[UUID, Declaration],
    events: Sequence[Event],
    sealing: Sealing,
) -> Match:
    """Return the match, extended to compare persons in one normal form where release 0.1.0 wrote a
    document.
    """
    stored = (
        document
        for d in declarations.values()
        for document in (d.order, d.payment, d.waybill)
        if document is not None
    )
    documents: list[Event] = [*stored, *events]
    about = {document.order_id for document in documents if is_earlier(document)}
    if not about:
        return match
    orders = [
        each for each in documents if isinstance(each, OrderPlaced) and each.order_id in about
    ]
    particulars = await _open(conn, orders, sealing)

    def in_one_form(
        order: OrderPlaced, payment: PaymentCaptured, waybill: WaybillIssued
    ) -> Sequence[Mismatch]:
        of_order = particulars.get(order.order_id)
        if of_order is not None and not is_earlier(order) == is_earlier(payment) == is_earlier(
            waybill
        ):
            order = respelled(order, of_order, payment, waybill, sealing)
        return match(order, payment, waybill)

    return in_one_form


async def _open(
    conn: Connection, orders: Iterable[OrderPlaced], sealing: Sealing
) -> dict[UUID, Opened]:
    keys = await sealing.keys_for(
        conn, [each for order in orders for each in sealed_particulars(order)]
    )
    particulars: dict[UUID, Opened] = {}
    for order in orders:
        try:
            particulars[order.order_id] = open_particulars(order, keys)
        except NotLodgeable:
            continue
    return particulars


def respelled(
    order: OrderPlaced,
    particulars: Opened,
    payment: PaymentCaptured,
    waybill: WaybillIssued,
    sealing: Sealing,
) -> OrderPlaced:
    """Return the order with the buyer's digests in the payment's form and the consignee's in the
    waybill's.
    """
    buyer, consignee = particulars
    of_payment = sealing.digest_before if is_earlier(payment) else sealing.digest
    of_waybill = sealing.digest_before if is_earlier(waybill) else sealing.digest
    to = order.consignee
    forms = (
        ()
        if is_earlier(waybill)
        else sealing.digests_of_address(to.region, to.city, consignee.address)
    )
    return order.model_copy(
        update={
            "buyer": order.buyer.model_copy(update={"name_digest": of_payment(buyer.name)}),
            "consignee": to.model_copy(
                update={
                    "name_digest": of_waybill(consignee.name),
                    "phone_digest": of_waybill(consignee.phone),
                    "address_digest": of_waybill(consignee.address),
                    "address_digests": forms,
                }
            ),
        }
    )
