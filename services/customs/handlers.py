"""What customs hears, and which reaction answers it."""

from __future__ import annotations

from typing import Final

from services.customs import (
    waybill,
)
from services.customs.ceb.parse import keep_entry
from services.customs.documents import handle_documents
from services.customs.receipts.decoding import decode_receipts
from services.customs.receipts.handlers import handle_receipts
from shared import topics
from shared.events.orders import OrderPlaced, OrderUnwinding, WithdrawalAsked
from shared.events.payments import PaymentCaptured
from shared.events.tax import TaxAssessed
from shared.subscriptions import Subscription

SUBSCRIPTIONS: Final = {
    topics.ORDERS: Subscription(handle_documents, (OrderPlaced, WithdrawalAsked, OrderUnwinding)),
    topics.WAYBILLS: Subscription(
        handle_documents,
        decode=waybill.decode,
        intake=True,
        speaks_for=waybill.carrier_of,
        once=(waybill.WireWaybill,),
    ),
    topics.TAX: Subscription(handle_documents, (TaxAssessed,)),
    topics.PAYMENTS: Subscription(handle_documents, (PaymentCaptured,)),
    topics.RECEIPTS: Subscription(
        handle_receipts, decode=decode_receipts, intake=True, alone=keep_entry
    ),
}
