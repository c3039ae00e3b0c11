"""What the bank answers, and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from shared.events.base import Fact
from shared.events.persons import SealedPerson
from shared.identity import uuid5
from shared.money import Money


@dataclass(frozen=True, slots=True)
class Authorised:
    """The bank holds the amount."""

    order_id: UUID
    authorisation_no: str


@dataclass(frozen=True, slots=True)
class AuthorisationDeclined:
    """The bank will not hold the amount; `code` is its own (ISO 20022 reason)."""

    order_id: UUID
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Captured:
    """The bank took the amount, which may differ from what was asked; the payer is whom the bank knows."""

    order_id: UUID
    amount: Money
    payment_no: str
    enterprise_code: str
    payer_ref: UUID
    payer_name_digest: str
    paid_at: datetime
    payer_name_length: int | None = None
    payer_id_length: int | None = None


@dataclass(frozen=True, slots=True)
class CaptureDeclined:
    """The bank will not take what it holds."""

    order_id: UUID
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Voided:
    """The bank let the held amount go."""

    order_id: UUID


@dataclass(frozen=True, slots=True)
class HoldGone:
    """There is nothing to let go: the hold ran out at the bank, or the bank knows of none."""

    order_id: UUID


@dataclass(frozen=True, slots=True)
class Refunded:
    """The bank gave back what it was asked to; `amount` where a person said that it was less.

    What was not given back is written off against the account.
    """

    order_id: UUID
    refund_no: str
    paid_at: datetime | None = None
    amount: Money | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class ExcessRefunded:
    """The bank gave back the tax that was withheld too much; `written_off` is what a person said will not go back."""

    order_id: UUID
    amount: Money
    refund_no: str
    turn: int = 0
    paid_at: datetime | None = None
    written_off: Money | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Transferred:
    """The bank paid customs; `order_id` is the payment's own id and no order's."""

    order_id: UUID
    transfer_no: str
    paid_at: datetime | None = None


BankEvent = (
    Authorised
    | AuthorisationDeclined
    | Captured
    | CaptureDeclined
    | Voided
    | HoldGone
    | Refunded
    | ExcessRefunded
)
"""What the bank says of an order's money; a transfer to customs is of many orders and followed by itself."""


class BankCommand(Fact):
    """Something to ask of the bank once; with `traceparent` the answer's facts continue the trace."""

    kind: ClassVar[str]
    about_field: ClassVar[str | None] = None
    """The field with the number of the hold, payment or payment book that it is about."""

    order_id: UUID
    traceparent: str | None = None

    @property
    def intent_id(self) -> UUID:
        """The idempotency key: one of each kind per order, the same for ever."""
        return uuid5(self.order_id, self.kind)

    @property
    def about(self) -> str | None:
        """The number of the hold, payment or payment book that it is about."""
        return None if self.about_field is None else getattr(self, self.about_field)

    @property
    def reference(self) -> str:
        """Our name for the payment at the bank; two platforms may have the same order number."""
        return str(self.order_id)


class Authorise(BankCommand):
    """Hold the amount; the payer stays sealed until the moment it is sent."""

    kind: ClassVar[str] = "authorise"
    amount: Money
    token: str
    payer: SealedPerson
    enterprise_code: str


class Capture(BankCommand):
    """Take the amount held."""

    kind: ClassVar[str] = "capture"
    about_field: ClassVar[str | None] = "authorisation_no"
    authorisation_no: str
    amount: Money


class Void(BankCommand):
    """Let the amount held go."""

    kind: ClassVar[str] = "void"
    about_field: ClassVar[str | None] = "authorisation_no"
    amount: ClassVar[None] = None
    authorisation_no: str


class Refund(BankCommand):
    """Give back what was captured, or what belongs to the goods of one return."""

    kind: ClassVar[str] = "refund"
    about_field: ClassVar[str | None] = "payment_no"
    payment_no: str
    amount: Money
    return_no: int | None = None

    @property
    def intent_id(self) -> UUID:
        """One of the whole, or one for each return."""
        return uuid5(
            self.order_id,
            self.kind if self.return_no is None else f"{self.kind}:return {self.return_no}",
        )


class RefundTax(BankCommand):
    """Give back the tax that was withheld too much."""

    kind: ClassVar[str] = "refund_tax"
    about_field: ClassVar[str | None] = "payment_no"
    payment_no: str
    amount: Money
    turn: int = 0

    @property
    def intent_id(self) -> UUID:
        """One for the first bill, one for each time the difference is shared out anew."""
        return uuid5(self.order_id, f"{self.kind}:{self.turn}" if self.turn else self.kind)


class Transfer(BankCommand):
    """Pay the bills of a payment book to customs; `order_id` is the payment's own id."""

    kind: ClassVar[str] = "transfer"
    about_field: ClassVar[str | None] = "payment_book"
    payment_book: str
    amount: Money
