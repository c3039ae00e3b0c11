"""The bank's replies on the wire: numbers, amounts and times of a plausible shape."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, StringConstraints

from shared.events.base import Fact
from shared.events.persons import Particulars
from shared.money import Money

REASON_MAX: Final = 300
_LONG_NUMBER: Final = re.compile(r"[0-9]{11,}[Xx]?")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


def _text(value: Any) -> Any:
    """Accept texts only: a JSON number is no time and no amount."""
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


def _in_our_time(at: datetime) -> datetime:
    if not 2000 <= at.year < 2200:
        raise ValueError("must be between 2000 and 2200")
    return at


def one_line(text: str) -> str:
    """Return the bank's text as one line of at most REASON_MAX characters, long numbers hidden.

    A number of 11 or more digits may identify a person.
    """
    return _LONG_NUMBER.sub("***", _UNPRINTABLE.sub(" ", text))[:REASON_MAX]


Number = Annotated[str, StringConstraints(strict=True, pattern=r"^[!-~]{1,64}$")]
Amount = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9]{1,15}(\.[0-9]{1,4})?$")]
Currency = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Z]{3}$")]
Word = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z_]{1,32}$")]
Code = Annotated[str, StringConstraints(strict=True, pattern=r"^[!-~]{1,35}$")]
Reason = Annotated[str, BeforeValidator(_text), AfterValidator(one_line)]
At = Annotated[AwareDatetime, BeforeValidator(_text), AfterValidator(_in_our_time)]


class BankReply(Fact):
    """The bank's reply of one key; its fields depend on the status."""

    key: UUID
    status: Word
    reference: Number | None = None
    code: Code | None = None
    reason: Reason | None = None
    authorisation_no: Number | None = None
    payment_no: Number | None = None
    refund_no: Number | None = None
    transfer_no: Number | None = None
    payment_book: Number | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    paid_at: At | None = None
    enterprise_code: Number | None = None
    payer: Particulars | None = None

    @property
    def money(self) -> Money | None:
        """The amount; None without one. Raises MoneyError if the currency does not allow it."""
        return (
            None
            if self.amount is None or self.currency is None
            else Money.of(self.amount, self.currency)
        )


class BankRecord(BankReply):
    """A record of the bank's books under our reference; with its key while the bank knows it."""

    key: UUID | None = None  # type: ignore[assignment]
    operation: Word
