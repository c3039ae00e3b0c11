"""The events of carriers, as the services keep them: with digests instead of personal data."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from shared.events.base import Event
from shared.money import Money


class WaybillIssued(Event):
    """The carrier booked the parcel. This is the waybill in the match of three documents.

    Weights are in kilograms. Digests and lengths are as in `SealedConsignee`.
    """

    type: ClassVar[str] = "waybill.issued.v1"
    logistics_code: str
    logistics_name: str
    logistics_no: str
    freight: Money
    insurance: Money
    gross_weight_kg: Decimal
    pack_count: int
    consignee_name_digest: str
    consignee_phone_digest: str
    consignee_address_digest: str
    consignee_address_digests: tuple[str, ...] = ()
    consignee_name_length: int | None = None
    consignee_phone_length: int | None = None
    consignee_address_length: int | None = None


class WaybillDelivered(Event):
    """The buyer signed for the parcel."""

    type: ClassVar[str] = "waybill.delivered.v1"
    logistics_no: str
