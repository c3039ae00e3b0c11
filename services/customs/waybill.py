"""The waybill as carriers send it: personal data in clear on the wire, digests from here on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import ErrorDetails

from shared.decoding import intake_id, message
from shared.envelope import Message, Record, first_headers, uuid_or_none
from shared.errors import Unprocessable
from shared.events.logistics import WaybillDelivered, WaybillIssued
from shared.identity import order_id_of
from shared.money import Money, MoneyError
from shared.sealing import Sealing
from shared.texts import TEXT, TWICE, has_name_twice, hidden_in, identifier, other_spelling_in, utf8

WAYBILL_BYTES_MAX: Final = 64 * 1024
LOGISTICS_NO_MAX: Final = {"import": 60, "export": 32}  # of a list, CEB621 and CEB603 [X22]
PACKS_MAX: Final = {"import": 1, "export": 999}
"""Parcels of one waybill: packNo is 1 in CEB511 and CEB621, and a count in CEB505 and CEB603 [X22].
"""
NUMBER: Final = r"^[0-9]{1,14}(\.[0-9]{1,5})?$"
CURRENCY: Final = "^[A-Z]{3}$"
COUNTRY: Final = "^[A-Z]{2}$"

Text = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
"""A text that is compared and never printed, so it need not fit a list."""
Number = Annotated[str, StringConstraints(pattern=NUMBER, strip_whitespace=True)]


def _above_nothing(text: str) -> str:
    if not Decimal(text):
        raise ValueError("a parcel weighs more than 0")
    return text


def _counted(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a whole number: found true or false")
    return value


Weight = Annotated[Number, AfterValidator(_above_nothing)]


def _printed(length_max: int) -> StringConstraints:
    return StringConstraints(
        min_length=1, max_length=length_max, strip_whitespace=True, pattern=TEXT
    )


class WireConsignee(BaseModel):
    """Who receives the parcel."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    name: Text
    phone: Text
    country: Annotated[str, StringConstraints(pattern=COUNTRY)]
    region: str | None = None
    city: str | None = None
    address: Text
    postcode: str | None = None


class WireWaybill(BaseModel):
    """`waybill.issued.v1` on `logistics.waybills`. It names the order by id, or by platform and
    number.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, regex_engine="rust-regex"
    )

    order_id: UUID | None = None
    platform_code: str | None = None
    order_no: str | None = None
    logistics_code: Annotated[str, _printed(18), AfterValidator(identifier)]
    logistics_name: Annotated[str, _printed(100)]
    logistics_no: Annotated[str, _printed(60), AfterValidator(identifier)]
    currency: Annotated[str, StringConstraints(pattern=CURRENCY)] = "CNY"
    freight: Number
    insurance: Number = "0"
    gross_weight_kg: Weight
    pack_count: Annotated[int, BeforeValidator(_counted)] = Field(1, ge=1, le=PACKS_MAX["export"])
    consignee: WireConsignee
    issued_at: datetime | None = None

    @property
    def order(self) -> UUID | None:
        return _order_named(self.order_id, self.platform_code, self.order_no)

    def digested(self, sealing: Sealing) -> WaybillIssued:
        assert self.order is not None
        return WaybillIssued(
            order_id=self.order,
            logistics_code=self.logistics_code,
            logistics_name=self.logistics_name,
            logistics_no=self.logistics_no,
            freight=Money.of(self.freight, self.currency),
            insurance=Money.of(self.insurance, self.currency),
            gross_weight_kg=Decimal(self.gross_weight_kg),
            pack_count=self.pack_count,
            consignee_name_digest=sealing.digest(self.consignee.name),
            consignee_phone_digest=sealing.digest(self.consignee.phone),
            consignee_address_digest=sealing.digest(self.consignee.address),
            consignee_address_digests=sealing.digests_of_address(
                self.consignee.region, self.consignee.city, self.consignee.address
            ),
            consignee_name_length=len(self.consignee.name),
            consignee_phone_length=len(self.consignee.phone),
            consignee_address_length=len(self.consignee.address),
        )


class WireDelivered(BaseModel):
    """`waybill.delivered.v1`: the parcel was signed for."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    order_id: UUID | None = None
    platform_code: str | None = None
    order_no: str | None = None
    logistics_no: str

    @property
    def order(self) -> UUID | None:
        return _order_named(self.order_id, self.platform_code, self.order_no)


def _order_named(
    order_id: UUID | None, platform_code: str | None, order_no: str | None
) -> UUID | None:
    if order_id is not None:
        return order_id
    code, number = identifier(platform_code or ""), identifier(order_no or "")
    return order_id_of(code, number) if code and number else None


Reader = Callable[[bytes], WireWaybill | WireDelivered]


def carrier_of(event: WireWaybill | WireDelivered) -> str | None:
    """Return the carrier that an event speaks for; a delivery changes nothing here and speaks for
    nobody.
    """
    return event.logistics_code if isinstance(event, WireWaybill) else None


def decode(record: Record) -> Sequence[Message]:
    """Return the waybill in a record; without a ce_type it counts as issued. Raises Unprocessable
    for anything else.
    """
    by_name = first_headers(record.headers)
    wire_type = by_name.get("ce_type", WaybillIssued.type.encode()).decode("ascii", "replace")
    raw = record.value or b""
    if len(raw) > WAYBILL_BYTES_MAX:
        raise Unprocessable(
            "too_large", f"a waybill has at most {WAYBILL_BYTES_MAX} bytes, this one {len(raw)}"
        )
    event_id = intake_id(record, by_name, hashlib.sha256(raw).hexdigest())
    value = utf8(raw)
    if has_name_twice(value):
        raise Unprocessable("malformed", TWICE)
    read = _READERS.get(wire_type)
    if read is None:
        return ()
    event = _read(wire_type, read, value)
    order_id = event.order or uuid_or_none(record.key)
    if order_id is not None:
        if isinstance(event, WireWaybill):
            event = event.model_copy(update={"order_id": order_id})
        return (message(record, event_id, wire_type, order_id, event),)
    if isinstance(event, WireDelivered):
        return ()
    raise Unprocessable("unknown_shape", "name the order: order_id, or platform_code and order_no")


def _read(wire_type: str, read: Reader, value: bytes) -> WireWaybill | WireDelivered:
    try:
        return read(value)
    except MoneyError as error:
        raise Unprocessable("invalid_value", f"freight or insurance: {error}") from None
    except ValidationError as error:
        raise Unprocessable(
            "invalid_value", f"the value is not a {wire_type}: {_faults_of(error)}"
        ) from None


def _read_waybill(value: bytes) -> WireWaybill:
    waybill = WireWaybill.model_validate_json(value)
    Money.of(waybill.freight, waybill.currency), Money.of(waybill.insurance, waybill.currency)
    _require_one_meaning(waybill)
    return waybill


def _require_one_meaning(sent: WireWaybill) -> None:
    """Raise Unprocessable for a number that looks like another, or for two names of different
    orders.
    """
    code, number = sent.platform_code, sent.order_no
    for field, text in (
        ("logistics_code", sent.logistics_code),
        ("logistics_no", sent.logistics_no),
        ("platform_code", code),
        ("order_no", number),
    ):
        if text is not None and not (text.isascii() and text.isprintable()):
            _require_plain(field, text)
    if sent.order_id is None or not code or not number:
        return
    # An order of an earlier release may have blanks around its number.
    if sent.order_id not in (_order_named(None, code, number), order_id_of(code, number)):
        raise Unprocessable(
            "invalid_value",
            "order_id is not the order of platform_code and order_no: send those of one order",
        )


def _require_plain(field: str, text: str) -> None:
    plain = identifier(text)
    if (hidden := hidden_in(plain) or other_spelling_in(plain)) is not None:
        raise Unprocessable(
            "invalid_value",
            f"{field}: send it in plain characters that can be seen: found {hidden}",
        )


_READERS: Final[Mapping[str, Reader]] = {
    WaybillIssued.type: _read_waybill,
    WaybillDelivered.type: WireDelivered.model_validate_json,
}


def _faults_of(error: ValidationError) -> str:
    """Return which fields break which rule, without their values, which may be a person's."""
    return "; ".join(
        _fault(item) for item in error.errors(include_url=False, include_input=False)[:5]
    )


def _fault(item: ErrorDetails) -> str:
    field = ".".join(map(str, item["loc"])) or "value"
    if item["type"] == "string_pattern_mismatch":
        return f"{field}: {_PATTERNS.get(item['ctx']['pattern'], 'written as in docs/events.md')}"
    return f"{field}: {item['msg'].removeprefix('Value error, ')}"


_PATTERNS: Final = {
    TEXT: "text that can be seen and printed: no control or direction characters, not blank",
    NUMBER: 'a decimal of at most 14 digits and 5 decimals, as "20.00"',
    CURRENCY: "ISO 4217 in capitals",
    COUNTRY: "ISO 3166-1 alpha-2 in capitals",
}


def require_room(sent: WaybillIssued | WireWaybill, direction: str | None) -> None:
    """Raise Unprocessable for a number or parcel count that a list of this direction has no room
    for.

    The carrier must correct it. Where the order is unknown yet, the larger of both limits counts.
    """
    unknown = (
        ""
        if direction
        else ", and the order is not known yet: send it again when the order is placed"
    )
    longest, of_number = LOGISTICS_NO_MAX[direction or "export"], direction or "export"
    if len(sent.logistics_no) > longest:
        raise Unprocessable(
            "invalid_value",
            f"logistics_no has {len(sent.logistics_no)} characters: the list of an {of_number} "
            f"has room for {longest}{unknown}",
        )
    most, of_packs = PACKS_MAX[direction or "import"], direction or "import"
    if sent.pack_count > most:
        raise Unprocessable(
            "invalid_value",
            f"pack_count is {sent.pack_count}: the list of an {of_packs} has room for {most} "
            f"parcel{unknown}",
        )
