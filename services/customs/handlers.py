"""The topics and event types that customs subscribes to, with their handlers."""

from __future__ import annotations

from typing import Final

from services.customs import waybill
from services.customs.ceb.bills import TaxBill
from services.customs.ceb.notices import Notice
from services.customs.ceb.parse import keep_entry
from services.customs.ceb.summaries import SummaryReceipt, SummaryResult
from services.customs.consolidation.handlers import handle_summary_replies
from services.customs.documents import handle_documents
from services.customs.receipts.decoding import ListReceipt, decode_receipts
from services.customs.receipts.handlers import handle_notices, handle_receipts
from services.customs.tax_bills.handlers import handle_bills
from shared import topics
from shared.events.orders import OrderPlaced, OrderUnwinding, WithdrawalAsked
from shared.events.payments import PaymentCaptured
from shared.events.tax import TaxAssessed
from shared.subscriptions import Source, Subscriptions, on

FROM_CARRIERS: Final = Source(
    topics.WAYBILLS,
    decode=waybill.decode,
    intake=True,
    speaks_for=waybill.carrier_of,
    once=(waybill.WireWaybill,),
)
FROM_AUTHORITY: Final = Source(
    topics.RECEIPTS, decode=decode_receipts, intake=True, alone=keep_entry
)
SUBSCRIPTIONS: Final = Subscriptions(
    on(topics.ORDERS, OrderPlaced, WithdrawalAsked, OrderUnwinding, do=handle_documents),
    on(FROM_CARRIERS, do=handle_documents),
    on(topics.TAX, TaxAssessed, do=handle_documents),
    on(topics.PAYMENTS, PaymentCaptured, do=handle_documents),
    on(FROM_AUTHORITY, Notice, do=handle_notices),
    on(FROM_AUTHORITY, TaxBill, do=handle_bills),
    on(FROM_AUTHORITY, SummaryReceipt, SummaryResult, do=handle_summary_replies),
    on(FROM_AUTHORITY, ListReceipt, do=handle_receipts),
)
