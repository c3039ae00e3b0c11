"""What the bank says on the wire: numbers, amounts and times of a shape that can be believed, or none."""

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
    """Only a text: a JSON number is no time and no amount."""
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


def _in_our_time(at: datetime) -> datetime:
    if not 2000 <= at.year < 2200:
        raise ValueError("must be between 2000 and 2200")
    return at


def one_line(text: str) -> str:
    """The bank's own words for people: one line, cut, and without any number long enough to be a person's."""
    return _LONG_NUMBER.sub("***", _UNPRINTABLE.sub(" ", text))[:REASON_MAX]


Number = Annotated[str, StringConstraints(strict=True, pattern=r"^[!-~]{1,64}$")]
Amount = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9]{1,15}(\.[0-9]{1,4})?$")]
Currency = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Z]{3}$")]
Word = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z_]{1,32}$")]
Code = Annotated[str, StringConstraints(strict=True, pattern=r"^[!-~]{1,35}$")]
Reason = Annotated[str, BeforeValidator(_text), AfterValidator(one_line)]
At = Annotated[AwareDatetime, BeforeValidator(_text), AfterValidator(_in_our_time)]


class BankReply(Fact):
    """What the bank says of one key; which of the fields are there depends on the status."""

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
        """The amount it names, None if it names none; raises MoneyError for one that is none of its currency."""
        return (
            None
            if self.amount is None or self.currency is None
            else Money.of(self.amount, self.currency)
        )


class BankRecord(BankReply):
    """What the bank has in its books under a reference; the key is there where the bank still knows it."""

    key: UUID | None = None  # type: ignore[assignment]
    operation: Word
