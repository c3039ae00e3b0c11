"""The order as a shop sends it: the shape of `order.submitted.v1`, and what can be computed from it alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, GetPydanticSchema, StringConstraints
from pydantic_core import core_schema

from services.orders.intake.codes import is_country
from services.orders.intake.late_orders import taxed_at
from shared.events.base import Fault
from shared.events.orders import Direction, Line, Mode, NetContent, OrderPlaced, Party, ReturnPart
from shared.events.persons import SealedConsignee, SealedPerson
from shared.identity import order_id_of
from shared.money import Money
from shared.texts import TEXT

DECIMAL: Final = r"^-?(0|[1-9][0-9]{0,13})(\.[0-9]{1,5})?$"
"""CEB's N19,5 as text. Signs pass so that a negative amount is refused for what it is."""
TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
"""RFC 3339, which does not bound the digits of a fraction of a second: of more than 6 the rest is cut off."""
COUNTRY: Final = r"^[A-Z]{2}$"
CURRENCY: Final = r"^[A-Z]{3}$"
CODE: Final = r"^([0-9A-Z]{1,18}|无)$"
HS_CODE: Final = r"^[0-9]{1,14}$"
ID_TYPE: Final = r"^[12]$"

LEAP_SECOND: Final = "23:59:60"


def _decimal(text: str) -> Decimal:
    """The figure as it is printed and compared: there is one zero, without a sign."""
    found = Decimal(text)
    return found if found or text[0] != "-" else -found


def _moment(text: str) -> datetime:
    """The moment; one in a leap second is the last microsecond before it, since no clock here has such seconds."""
    found = text.upper()
    if found[17:19] == "60":
        try:
            second = datetime.fromisoformat(found[:17] + "59" + found[19:]).astimezone(UTC)
        except OverflowError:
            raise ValueError("in UTC it is before the year 1 or after 9999") from None
        if f"{second:%H:%M}:60" != LEAP_SECOND:
            raise ValueError("only the last minute of a day in UTC has 61 seconds")
        return second.replace(microsecond=999_999)
    return datetime.fromisoformat(found)


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
    """A text without the blanks around it, which are no part of it, in JSON as in XML (`shared.texts`)."""
    return StringConstraints(
        min_length=1, max_length=length_max, pattern=TEXT, strip_whitespace=True, to_upper=to_upper
    )


class WireModel(BaseModel):
    """A part of a submission: nothing is coerced, and what is not named here is ignored (and counted by the reader)."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, regex_engine="rust-regex")


class Platform(WireModel):
    """Where the order was made: customs registration number (10) or unified social credit code (18)."""

    code: Code
    name: Annotated[str, _text(100)]


class Merchant(WireModel):
    """Who sells: the e-commerce enterprise."""

    code: Code
    name: Annotated[str, _text(100)]
    country: Country | None = None


class Payer(WireModel):
    """Whose bank pays; `id_type` 1 is the resident identity card, 2 anything else [S22]."""

    name: Annotated[str, _text(60)]
    id_type: IdType
    id_number: Annotated[str, _text(60, to_upper=True)]


class Buyer(Payer):
    """Who ordered."""

    phone: Annotated[str, _text(30)] | None = None


class Consignee(WireModel):
    """Who receives the parcel, and where."""

    name: Annotated[str, _text(100)]
    phone: Annotated[str, _text(50)]
    country: Country
    region: Annotated[str, _text(100)] | None = None
    city: Annotated[str, _text(100)] | None = None
    address: Annotated[str, _text(200)]
    postcode: Annotated[str, _text(20)] | None = None


class PaymentDetails(WireModel):
    """Which payment enterprise collects, and its token for this payment."""

    enterprise_code: Code
    token: Annotated[str, _text(100)]
    payer: Payer


class Content(WireModel):
    """What one unit of the goods contains."""

    value: Amount
    unit: Literal["ml", "g", "piece"]


class Goods(WireModel):
    """One line."""

    line_no: int
    sku: Annotated[
        str, _text(20)
    ]  # itemNo of a list, which has room for less than an order [X22 CEB621, CEB603]
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
    """One order read off the wire.

    Where `shape_faults` is empty, `submission` is what came. Where not, it is a stand-in in which every broken value was
    replaced by a harmless one, so that the other rules can still be checked; `raw` has the broken top-level values.
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
    """The buyer or shop calls the order off."""

    order_id: UUID
    order_no: str
    platform_code: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReturnRequested:
    """The buyer wants to give goods back: those of `lines`, or all that is left.

    `refund_if_late` is the merchant's decision: whether their price is refunded though they come back after the term.
    """

    order_id: UUID
    order_no: str
    platform_code: str
    reason: str
    lines: tuple[ReturnPart, ...] = ()
    refund_if_late: bool = True


UNKNOWN_COUNTRY: Final = "ZZ"


PROBE: Final = "probe"
"""The corridor of a synthetic order. Every fact about its end carries it, so whoever counts sales can leave it out."""


def corridor_of(submitted: Submitted, probe_platform: str = "") -> str:
    """From where to where, `US-CN`: a closed set, so an unknown country reads ZZ; `probe` for orders of that platform."""
    order, broken = submitted.submission, submitted.broken
    if probe_platform and submitted.platform_code == probe_platform:
        return PROBE
    origin = order.lines[0].origin if order.direction == "import" else "CN"
    if order.direction == "import" and order.merchant.country is not None:
        origin = order.merchant.country
    ends = (origin, order.consignee.country)
    hidden = (
        ("direction", "merchant", "merchant.country", "lines", "lines[0]", "lines[0].origin"),
        ("consignee", "consignee.country"),
    )
    return "-".join(
        end if is_country(end) and not broken.intersection(paths) else UNKNOWN_COUNTRY
        for end, paths in zip(ends, hidden, strict=True)
    )


def order_placed(
    submitted: Submitted, buyer: SealedPerson, payer: SealedPerson, consignee: SealedConsignee, probe_platform: str = "",
    came_at: datetime | None = None,
) -> OrderPlaced:  # fmt: skip
    """The fact that a valid submission becomes; the persons in it sealed by the caller."""
    s = submitted.submission

    def money(amount: Decimal) -> Money:
        return Money.of(amount, s.currency)

    return OrderPlaced(
        order_id=submitted.order_id,
        order_no=s.order_no,
        placed_at=s.placed_at,
        direction=s.direction,
        mode=s.mode,
        corridor=corridor_of(submitted, probe_platform),
        platform=Party(code=s.platform.code, name=s.platform.name),
        merchant=Party(code=s.merchant.code, name=s.merchant.name, country=s.merchant.country),
        buyer=buyer,
        payer=payer,
        consignee=consignee,
        payment_enterprise=s.payment.enterprise_code,
        payment_token=s.payment.token,
        currency=s.currency,
        lines=tuple(_line(line, s.currency) for line in s.lines),
        goods_value=money(s.goods_value),
        freight=money(s.freight),
        insurance=money(s.insurance),
        discount=money(s.discount),
        tax_withheld=money(s.tax_withheld),
        amount_paid=money(s.amount_paid),
        taxed_at=None if came_at is None else taxed_at(s.placed_at, came_at),
    )


def _line(line: Goods, currency: str) -> Line:
    content = line.net_content
    return Line(
        line_no=line.line_no,
        sku=line.sku,
        name=line.name,
        hs_code=line.hs_code,
        origin=line.origin,
        brand=line.brand,
        gtin=line.gtin,
        quantity=line.quantity,
        unit=line.unit,
        net_weight_kg=line.net_weight_kg,
        net_content=None if content is None else NetContent(value=content.value, unit=content.unit),
        unit_price=line.unit_price,
        total=Money.of(line.total, currency),
    )
