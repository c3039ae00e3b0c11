"""Events of the bank, and commands to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from pydantic import ConfigDict, Field

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
    """The bank does not hold the amount; `code` is the bank's (ISO 20022 reason)."""

    order_id: UUID
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Captured:
    """The bank took the amount, which may differ from the one asked; the payer is as the bank
    knows it."""

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
    """The bank does not take what it holds."""

    order_id: UUID
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Voided:
    """The bank released the hold."""

    order_id: UUID


@dataclass(frozen=True, slots=True)
class HoldGone:
    """There is no hold to release: it ran out, or the bank knows of none."""

    order_id: UUID


@dataclass(frozen=True, slots=True)
class Refunded:
    """The bank refunded the amount asked; `amount` if a person stated a smaller one.

    The rest is written off against `account`.
    """

    order_id: UUID
    refund_no: str
    paid_at: datetime | None = None
    amount: Money | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class ExcessRefunded:
    """The bank refunded tax that was withheld too much; `written_off` is not refunded, by a
    verdict."""

    order_id: UUID
    amount: Money
    refund_no: str
    revision: int = 0
    paid_at: datetime | None = None
    written_off: Money | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Transferred:
    """The bank paid customs; `order_id` is the id of the transfer, not of an order."""

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
"""Events of one order's money; a transfer to customs concerns many orders."""


class BankCommand(Fact):
    """A command to be done once; with `traceparent` the events of the reply continue the trace."""

    kind: ClassVar[str]
    about_field: ClassVar[str | None] = None
    """The field with the number of the hold, payment or payment book of the command."""

    order_id: UUID
    traceparent: str | None = None

    @property
    def intent_id(self) -> UUID:
        """The idempotency key: one for each kind and order, the same for ever."""
        return uuid5(self.order_id, self.kind)

    @property
    def about(self) -> str | None:
        return None if self.about_field is None else getattr(self, self.about_field)

    @property
    def reference(self) -> str:
        """Our name of the payment at the bank. Order numbers are not unique across platforms."""
        return str(self.order_id)


class Authorise(BankCommand):
    """Hold the amount; the payer stays sealed until the command is sent."""

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
    """Release the hold."""

    kind: ClassVar[str] = "void"
    about_field: ClassVar[str | None] = "authorisation_no"
    amount: ClassVar[None] = None
    authorisation_no: str


class Refund(BankCommand):
    """Refund what was captured, or what belongs to the goods of one return."""

    kind: ClassVar[str] = "refund"
    about_field: ClassVar[str | None] = "payment_no"
    payment_no: str
    amount: Money
    return_no: int | None = None

    @property
    def intent_id(self) -> UUID:
        """One for the whole, or one for each return."""
        return uuid5(
            self.order_id,
            self.kind if self.return_no is None else f"{self.kind}:return {self.return_no}",
        )


class RefundTax(BankCommand):
    """Refund tax that was withheld too much. Stored commands call the revision `turn`."""

    model_config = ConfigDict(
        validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    kind: ClassVar[str] = "refund_tax"
    about_field: ClassVar[str | None] = "payment_no"
    payment_no: str
    amount: Money
    revision: int = Field(0, alias="turn")

    @property
    def intent_id(self) -> UUID:
        """One for the first bill, and one for each revision of the allocation."""
        return uuid5(self.order_id, f"{self.kind}:{self.revision}" if self.revision else self.kind)


class Transfer(BankCommand):
    """Pay the bills of a payment book to customs; `order_id` is the id of the transfer."""

    kind: ClassVar[str] = "transfer"
    about_field: ClassVar[str | None] = "payment_book"
    payment_book: str
    amount: Money
