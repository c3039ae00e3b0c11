"""What tax says."""

from __future__ import annotations

from typing import ClassVar, Literal
from uuid import UUID

from shared.events.base import Event, Fact
from shared.money import Money


class TaxLine(Fact):
    """What one order line owes."""

    line_no: int
    dutiable_value: Money
    duty: Money
    consumption_tax: Money
    vat: Money


class TaxEvent(Event):
    """A fact of the tax service."""


class TaxAssessed(TaxEvent):
    """What is assessed under the regime in force, and by which rules; the buyer's yearly quota is reserved.

    `payable` is what of the total is owed where a small amount is waived; not there, all of it is.
    """

    type: ClassVar[str] = "tax.assessed.v1"
    regime: str
    dutiable_value: Money
    duty: Money
    consumption_tax: Money
    vat: Money
    parcel_tax: Money
    total: Money
    lines: tuple[TaxLine, ...]
    rules: tuple[str, ...]
    person_ref: UUID | None = None
    year: int | None = None
    payable: Money | None = None

    @property
    def owed(self) -> Money:
        """The total less what is waived."""
        return self.total if self.payable is None else self.payable


class TaxRefused(TaxEvent):
    """The order may not go through this channel: `code` is customs' own (-621005, 1313 ...)."""

    type: ClassVar[str] = "tax.refused.v1"
    code: str
    reason: str
    limit: str
    value: str


class TaxVoided(TaxEvent):
    """The assessment is void and the quota it reserved is free again; said too where there was none."""

    type: ClassVar[str] = "tax.voided.v1"


class TaxPosted(TaxEvent):
    """The goods were released: the reserved quota is used and the tax is payable."""

    type: ClassVar[str] = "tax.posted.v1"
    total: Money


class TaxRestored(TaxEvent):
    """Goods came back in time: `total`, the tax assessed on them, is not levied and `quota` of the buyer's year is given back.

    `remaining` is what the order still owes.
    """

    type: ClassVar[str] = "tax.restored.v1"
    return_no: int
    total: Money
    quota: Money
    remaining: Money


class TaxKept(TaxEvent):
    """Goods came back after the term: `total`, the tax assessed on them, stays levied and the quota used."""

    type: ClassVar[str] = "tax.kept.v1"
    return_no: int
    total: Money


class TaxBillSettled(TaxEvent):
    """Withheld, assessed and billed are set against each other; `outcome` says who bears billed less withheld.

    `exact`: there is none; `booked`: we do, within the tolerance or by a person's word; `refund`: it goes back to the buyer;
    `claim`: it is asked of the merchant's guarantee. Up to `booked_at_most` we bear what later returns leave between them.
    `returns`: the last return that the bill may know of.
    """

    type: ClassVar[str] = "tax.bill-settled.v1"
    tax_no: str
    withheld: Money
    assessed: Money
    billed: Money
    outcome: Literal["exact", "booked", "refund", "claim"]
    merchant_code: str
    booked_at_most: Money | None = None
    returns: int = 0


class TaxBillCorrected(TaxEvent):
    """Goods came back, so customs took its bill `replaces` back and made `tax_no` of what is left: `billed` is owed now.

    `number` counts an order's corrections from 1; `returns`: the last return that the bill may know of.
    """

    type: ClassVar[str] = "tax.bill-corrected.v1"
    tax_no: str
    replaces: str
    number: int
    billed: Money
    returns: int


class TaxBillDisputed(TaxEvent):
    """Withheld, assessed and billed are too far apart to be settled by rule: a person decides; nothing moves until then."""

    type: ClassVar[str] = "tax.bill-disputed.v1"
    tax_no: str
    withheld: Money
    assessed: Money
    billed: Money


class TaxBillDue(TaxEvent):
    """The bill is to be paid now, together with the `bills` bills of one payment; `payment_id` is that payment's key."""

    type: ClassVar[str] = "tax.bill-due.v1"
    tax_no: str
    payment_book: str
    payment_id: UUID
    bills: int
    amount: Money
