"""The waybill as carriers send it: particulars in clear on the wire, digests from here on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.envelope import Message, Record, first_headers, uuid_or_none
from shared.errors import Unprocessable
from shared.events.logistics import WaybillDelivered, WaybillIssued
from shared.hears import brief, intake_id, message
from shared.identity import order_id_of
from shared.money import Money, MoneyError
from shared.sealing import Sealing

WAYBILL_BYTES_MAX: Final = 64 * 1024
Text = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Number = Annotated[str, StringConstraints(pattern=r"^\d{1,14}(\.\d{1,5})?$")]


class WireConsignee(BaseModel):
    """Who the carrier will hand the parcel to."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    name: Text
    phone: Text
    country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")]
    region: str | None = None
    city: str | None = None
    address: Text
    postcode: str | None = None


class WireWaybill(BaseModel):
    """`waybill.issued.v1` on `logistics.waybills`. The order is named by its id, or by platform and number."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    order_id: UUID | None = None
    platform_code: str | None = None
    order_no: str | None = None
    logistics_code: Annotated[str, StringConstraints(min_length=1, max_length=18)]
    logistics_name: Text
    logistics_no: Annotated[str, StringConstraints(min_length=1, max_length=60)]
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")] = "CNY"
    freight: Number
    insurance: Number = "0"
    gross_weight_kg: Number
    pack_count: int = Field(1, ge=1, le=999)
    consignee: WireConsignee
    issued_at: datetime | None = None

    @property
    def order(self) -> UUID | None:
        if self.order_id is not None:
            return self.order_id
        return order_id_of(self.platform_code, self.order_no) if self.platform_code and self.order_no else None

    def digested(self, sealing: Sealing) -> WaybillIssued:
        """The document with digests in place of particulars."""
        assert self.order is not None
        return WaybillIssued(
            order_id=self.order, logistics_code=self.logistics_code, logistics_name=self.logistics_name,
            logistics_no=self.logistics_no, freight=Money.of(self.freight, self.currency),
            insurance=Money.of(self.insurance, self.currency), gross_weight_kg=Decimal(self.gross_weight_kg),
            pack_count=self.pack_count, consignee_name_digest=sealing.digest(self.consignee.name),
            consignee_phone_digest=sealing.digest(self.consignee.phone),
            consignee_address_digest=sealing.digest(self.consignee.address),
        )  # fmt: skip


class WireDelivered(BaseModel):
    """`waybill.delivered.v1`: signed for."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    order_id: UUID
    logistics_no: str


def decode(record: Record) -> Sequence[Message]:
    """The waybill in a record; without a ce_type it is taken as issued. Raises Unprocessable for anything else."""
    by_name = first_headers(record.headers)
    wire_type = by_name.get("ce_type", WaybillIssued.type.encode()).decode("ascii", "replace")
    value = record.value or b""
    if len(value) > WAYBILL_BYTES_MAX:
        raise Unprocessable("too_large", f"a waybill has at most {WAYBILL_BYTES_MAX} bytes, this one {len(value)}")
    digest = hashlib.sha256(value).hexdigest()
    event_id = intake_id(record, by_name, digest)
    try:
        if wire_type == WaybillDelivered.type:
            delivered = WireDelivered.model_validate_json(value)
            return (message(record, event_id, wire_type, delivered.order_id, delivered),)
        if wire_type != WaybillIssued.type:
            return ()
        waybill = WireWaybill.model_validate_json(value)
        Money.of(waybill.freight, waybill.currency), Money.of(waybill.insurance, waybill.currency)
    except MoneyError as error:
        raise Unprocessable("invalid_value", f"freight or insurance: {error}") from None
    except ValueError as error:
        raise Unprocessable("invalid_value", f"the value is not a {wire_type}: {brief(error)}") from None
    order_id = waybill.order or uuid_or_none(record.key)
    if order_id is None:
        raise Unprocessable("unknown_shape", "name the order: order_id, or platform_code and order_no")
    return (message(record, event_id, wire_type, order_id, waybill.model_copy(update={"order_id": order_id})),)
