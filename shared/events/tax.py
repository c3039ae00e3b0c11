"""The events of tax."""

from __future__ import annotations

from typing import ClassVar, Literal
from uuid import UUID

from shared.events.base import Event, Fact
from shared.money import Money


class TaxLine(Fact):
    """The tax on one order line."""

    line_no: int
    dutiable_value: Money
    duty: Money
    consumption_tax: Money
    vat: Money


class TaxEvent(Event):
    """An event of the tax service."""


class TaxAssessed(TaxEvent):
    """The tax under the regime in force, and its rules. The buyer's yearly quota is reserved.

    `payable` is the rest of the total after a small amount is waived. Without it, all is payable.
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
        """Return the total without the waived amount."""
        return self.total if self.payable is None else self.payable


class TaxRefused(TaxEvent):
    """The order may not use this channel. `code` is customs' own (-621005, 1313 ...)."""

    type: ClassVar[str] = "tax.refused.v1"
    code: str
    reason: str
    limit: str
    value: str


class TaxVoided(TaxEvent):
    """The assessment is void, and its reserved quota is free again.

    The event also comes if there was no assessment.
    """

    type: ClassVar[str] = "tax.voided.v1"


class TaxPosted(TaxEvent):
    """The goods were released: the reserved quota is used and the tax is payable."""

    type: ClassVar[str] = "tax.posted.v1"
    total: Money


class TaxRestored(TaxEvent):
    """Goods came back in time, so their assessed tax `total` is not levied.

    `quota` of the buyer's year is given back. The order still owes `remaining`.
    """

    type: ClassVar[str] = "tax.restored.v1"
    return_no: int
    total: Money
    quota: Money
    remaining: Money


class TaxKept(TaxEvent):
    """Goods came back late, so their assessed tax `total` stays levied and the quota used."""

    type: ClassVar[str] = "tax.kept.v1"
    return_no: int
    total: Money


class TaxBillSettled(TaxEvent):
    """The amounts withheld, assessed and billed are compared.

    `outcome` says who bears the difference, billed minus withheld. `exact`: there is none.
    `booked`: we do, within the tolerance or by a person's decision. `refund`: it goes back to the
    buyer. `claim`: the merchant's guarantee is asked for it. We bear a difference left by later
    returns, up to `booked_at_most`. `returns` is the last return that the bill may know of.
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
    """Goods came back, so customs replaced its bill `replaces` by `tax_no` for the rest.

    The order now owes `billed`. `number` counts an order's corrections from 1. `returns` is the
    last return that the bill may know of.
    """

    type: ClassVar[str] = "tax.bill-corrected.v1"
    tax_no: str
    replaces: str
    number: int
    billed: Money
    returns: int


class TaxBillDisputed(TaxEvent):
    """The amounts withheld, assessed and billed are too far apart to be settled by rule.

    A person decides, and nothing moves until then.
    """

    type: ClassVar[str] = "tax.bill-disputed.v1"
    tax_no: str
    withheld: Money
    assessed: Money
    billed: Money


class TaxBillDue(TaxEvent):
    """The bill is to be paid now, in one payment with others.

    `bills` is the number of bills in the payment, and `payment_id` is the payment's key.
    """

    type: ClassVar[str] = "tax.bill-due.v1"
    tax_no: str
    payment_book: str
    payment_id: UUID
    bills: int
    amount: Money
