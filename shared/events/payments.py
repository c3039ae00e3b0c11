"""What payments says."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from shared.events.base import Event
from shared.money import Money


class PaymentsEvent(Event):
    """A fact of the payments service."""


class PaymentCaptured(PaymentsEvent):
    """The buyer's bank has paid; the payment document of the three-document match.

    `payer_ref` and `payer_name_digest` are of the identity the bank itself holds, whoever the order named as payer.
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
    """The bank refused; `code` is its own (ISO 20022 reason such as AM04), `amount` what was asked."""

    type: ClassVar[str] = "payment.declined.v1"
    code: str
    reason: str
    amount: Money | None = None


class PaymentVoided(PaymentsEvent):
    """Nothing was taken and nothing will be: never asked, declined, or the hold was given back."""

    type: ClassVar[str] = "payment.voided.v1"


class PaymentRefunded(PaymentsEvent):
    """All that was captured went back to the payer."""

    type: ClassVar[str] = "payment.refunded.v1"
    amount: Money
    refund_no: str


class ReturnRefunded(PaymentsEvent):
    """What belongs to the goods of a return went back to the payer: their price, and the tax withheld if they came in time.

    `amount` is the sum of both parts; with nothing to refund there is no `refund_no`.
    """

    type: ClassVar[str] = "payment.return-refunded.v1"
    return_no: int
    amount: Money
    goods_amount: Money
    tax_amount: Money
    refund_no: str | None = None


class MerchantSettled(PaymentsEvent):
    """The goods were released, so what was captured is now the merchant's and the tax office's."""

    type: ClassVar[str] = "payment.settled.v1"
    merchant_code: str
    merchant_amount: Money
    tax_amount: Money


class TaxRefunded(PaymentsEvent):
    """The shop had withheld more tax than customs took: the rest went back to the buyer, and the sale stands."""

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
