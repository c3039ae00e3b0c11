"""The order as a shop sends it: the shape of `order.submitted.v1` and of the two requests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, GetPydanticSchema, StringConstraints
from pydantic_core import core_schema

from shared.events.base import Fault
from shared.events.orders import Direction, Mode, ReturnPart
from shared.identity import order_id_of
from shared.texts import TEXT

DECIMAL: Final = r"^-?(0|[1-9][0-9]{0,13})(\.[0-9]{1,5})?$"
"""CEB's N19,5 as text. A sign passes, so that a negative amount gets a fault of its own."""


TIME: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
"""RFC 3339. Its fractions of a second may have any number of digits; those after 6 are cut off."""


COUNTRY: Final = r"^[A-Z]{2}$"


CURRENCY: Final = r"^[A-Z]{3}$"


CODE: Final = r"^([0-9A-Z]{1,18}|无)$"


HS_CODE: Final = r"^[0-9]{1,14}$"


ID_TYPE: Final = r"^[12]$"


LEAP_SECOND: Final = "23:59:60"


def _decimal(text: str) -> Decimal:
    """Return the number; minus zero becomes zero, so that equal amounts print alike."""
    number = Decimal(text)
    return number if number or text[0] != "-" else -number


def _moment(text: str) -> datetime:
    """Return the moment; one in a leap second becomes the last microsecond before that second.

    Raises ValueError if there is no such moment.
    """
    upper = text.upper()
    if upper[17:19] == "60":
        try:
            second = datetime.fromisoformat(upper[:17] + "59" + upper[19:]).astimezone(UTC)
        except OverflowError:
            raise ValueError("in UTC it is before the year 1 or after 9999") from None
        if f"{second:%H:%M}:60" != LEAP_SECOND:
            raise ValueError("only the last minute of a day in UTC has 61 seconds")
        return second.replace(microsecond=999_999)
    return datetime.fromisoformat(upper)


_DECIMAL = core_schema.no_info_after_validator_function(
    _decimal,
    core_schema.str_schema(pattern=DECIMAL, max_length=24, strict=True, strip_whitespace=True),
)


_TIME = core_schema.no_info_after_validator_function(
    _moment,
    core_schema.str_schema(pattern=TIME, max_length=200, strict=True, strip_whitespace=True),
)


Amount = Annotated[Decimal, GetPydanticSchema(lambda _source, _handler: _DECIMAL)]


Time = Annotated[datetime, GetPydanticSchema(lambda _source, _handler: _TIME)]


Country = Annotated[str, StringConstraints(pattern=COUNTRY, strip_whitespace=True)]


Code = Annotated[str, StringConstraints(pattern=CODE, strip_whitespace=True)]


IdType = Annotated[str, StringConstraints(pattern=ID_TYPE, strip_whitespace=True)]


def _text(length_max: int, *, to_upper: bool | None = None) -> Any:
    """Return the constraints of a text; blanks around it are stripped, in JSON as in XML."""
    return StringConstraints(
        min_length=1, max_length=length_max, pattern=TEXT, strip_whitespace=True, to_upper=to_upper
    )


class WireModel(BaseModel):
    """A part of a submission: no value is coerced, unknown fields are ignored and counted."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, regex_engine="rust-regex")


class Platform(WireModel):
    """The platform of the order.

    `code`: customs registration number (10) or unified social credit code (18).
    """

    code: Code
    name: Annotated[str, _text(100)]


class Merchant(WireModel):
    """The seller: the e-commerce enterprise."""

    code: Code
    name: Annotated[str, _text(100)]
    country: Country | None = None


class Payer(WireModel):
    """The person whose bank pays; `id_type` 1 is the resident identity card, 2 any other [S22]."""

    name: Annotated[str, _text(60)]
    id_type: IdType
    id_number: Annotated[str, _text(60, to_upper=True)]


class Buyer(Payer):
    """The person who ordered."""

    phone: Annotated[str, _text(30)] | None = None


class Consignee(WireModel):
    """The receiver of the parcel, and the address."""

    name: Annotated[str, _text(100)]
    phone: Annotated[str, _text(50)]
    country: Country
    region: Annotated[str, _text(100)] | None = None
    city: Annotated[str, _text(100)] | None = None
    address: Annotated[str, _text(200)]
    postcode: Annotated[str, _text(20)] | None = None


class PaymentDetails(WireModel):
    """The payment enterprise that collects, and its token for this payment."""

    enterprise_code: Code
    token: Annotated[str, _text(100)]
    payer: Payer


class Content(WireModel):
    """The content of one unit of the goods."""

    value: Amount
    unit: Literal["ml", "g", "piece"]


class Goods(WireModel):
    """One line."""

    line_no: int
    # itemNo of a list, which is shorter than that of an order [X22 CEB621, CEB603]
    sku: Annotated[str, _text(20)]
    name: Annotated[str, _text(250)]
    hs_code: Annotated[str, StringConstraints(pattern=HS_CODE, strip_whitespace=True)]
    origin: Country
    brand: Annotated[str, _text(100)] | None = None
    gtin: Annotated[str, _text(50)] | None = None
    quantity: Amount
    unit: Annotated[str, _text(20)]
    net_weight_kg: Amount
    net_content: Content | None = None
    unit_price: Amount
    total: Amount


class Submission(WireModel):
    """One order. Amounts are in major units of `currency`."""

    order_no: Annotated[str, _text(60)]
    placed_at: Time
    direction: Direction
    mode: Mode
    platform: Platform
    merchant: Merchant
    buyer: Buyer
    consignee: Consignee
    payment: PaymentDetails
    currency: Annotated[str, StringConstraints(pattern=CURRENCY, strip_whitespace=True)]
    lines: Annotated[tuple[Goods, ...], Field(strict=False)]
    goods_value: Amount
    freight: Amount
    insurance: Amount
    discount: Amount
    tax_withheld: Amount
    amount_paid: Amount
    logistics_no: Annotated[str, _text(60)] | None = None

    @property
    def order_id(self) -> UUID:
        return order_id_of(self.platform.code, self.order_no)


@dataclass(frozen=True, slots=True)
class Submitted:
    """One submission as read.

    With `shape_faults`, `submission` has harmless values in the place of the broken ones, so that
    the other rules can still be checked. `broken` has the paths of the broken values, `raw` the
    top-level values that contain them, as JSON.
    """

    order_id: UUID
    order_no: str
    platform_code: str
    submission: Submission
    ignored: tuple[str, ...] = ()
    shape_faults: tuple[Fault, ...] = ()
    broken: frozenset[str] = frozenset()
    raw: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The buyer or the shop cancels the order."""

    order_id: UUID
    order_no: str
    platform_code: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReturnRequested:
    """The buyer wants to return goods: those of `lines`, or all that are left.

    `refund_if_late`: the merchant refunds the price of goods that come back after the term.
    """

    order_id: UUID
    order_no: str
    platform_code: str
    reason: str
    lines: tuple[ReturnPart, ...] = ()
    refund_if_late: bool = True
