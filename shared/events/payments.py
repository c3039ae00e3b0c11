"""The events of payments."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from shared.events.base import Event
from shared.money import Money


class PaymentsEvent(Event):
    """An event of the payments service."""


class PaymentCaptured(PaymentsEvent):
    """The buyer's bank has paid. This is the payment in the match of three documents.

    `payer_ref` and `payer_name_digest` are of the identity in the bank's own records, whoever the
    order names as payer.
    """

    type: ClassVar[str] = "payment.captured.v1"
    amount: Money
    payment_no: str
    enterprise_code: str
    payer_ref: UUID
    payer_name_digest: str
    paid_at: datetime
    payer_name_length: int | None = None
    payer_id_length: int | None = None


class PaymentDeclined(PaymentsEvent):
    """The bank refused the payment.

    `code` is the bank's own (an ISO 20022 reason such as AM04), `amount` the requested amount.
    """

    type: ClassVar[str] = "payment.declined.v1"
    code: str
    reason: str
    amount: Money | None = None


class PaymentVoided(PaymentsEvent):
    """Nothing was taken and nothing will be.

    The bank was never asked, or it declined, or the hold was given back.
    """

    type: ClassVar[str] = "payment.voided.v1"


class PaymentRefunded(PaymentsEvent):
    """The whole captured amount went back to the payer."""

    type: ClassVar[str] = "payment.refunded.v1"
    amount: Money
    refund_no: str


class ReturnRefunded(PaymentsEvent):
    """The money for returned goods went back to the payer.

    It is their price, and the tax withheld if they came in time. `amount` is the sum of both.
    Without a refund there is no `refund_no`.
    """

    type: ClassVar[str] = "payment.return-refunded.v1"
    return_no: int
    amount: Money
    goods_amount: Money
    tax_amount: Money
    refund_no: str | None = None


class MerchantSettled(PaymentsEvent):
    """The goods were released, so the captured money now belongs to merchant and tax office."""

    type: ClassVar[str] = "payment.settled.v1"
    merchant_code: str
    merchant_amount: Money
    tax_amount: Money


class TaxRefunded(PaymentsEvent):
    """The shop had withheld more tax than customs took.

    The rest went back to the buyer, and the sale stands.
    """

    type: ClassVar[str] = "payment.tax-refunded.v1"
    amount: Money
    refund_no: str


class TaxPaid(PaymentsEvent):
    """The order's tax bill was paid to customs, in the transfer that paid its payment book."""

    type: ClassVar[str] = "payment.tax-paid.v1"
    tax_no: str
    payment_book: str
    amount: Money
    transfer_no: str
