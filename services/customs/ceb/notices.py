"""DOC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lxml import etree

from services.customs.ceb.fields import (
    code_in,
    read_status,
    require_fields,
    return_time,
)
from shared.xml import XmlRefused, fields_of


@dataclass(frozen=True, slots=True)
class Notice:
    """One entry of a receipt about a document that is not lodged here (an order, a payment, a waybill, an arrival …).

    `numbers` are those it names the document by; nothing follows from it here.
    """

    message_type: str
    status: str
    at: datetime
    numbers: dict[str, str]
    code: str | None = None


NOTICES: Final = {
    "CEB304Message": ("OrderReturn", ("ebpCode", "orderNo")), "CEB312Message": ("OrderReturn", ("ebpCode", "orderNo")),
    "CEB404Message": ("ReceiptsReturn", ("orderNo", "payNo")),
    "CEB412Message": ("PaymentReturn", ("payCode", "payTransactionId")),
    "CEB506Message": ("LogisticsReturn", ("logisticsCode", "logisticsNo")),
    "CEB512Message": ("LogisticsReturn", ("logisticsCode", "logisticsNo")),
    "CEB514Message": ("LogisticsStatusReturn", ("logisticsCode", "logisticsNo", "logisticsStatus")),
    "CEB508Message": ("ArrivalReturn", ("copNo", "preNo", "billNo")), "CEB510Message": ("DepartureReturn", ("copNo", "preNo")),
    "CEB608Message": ("WayBillReturn", ("copNo", "preNo", "billNo")),
    "CEB712Message": ("DeliveryReturn", ("copNo", "preNo", "rkdNo")),
    "CEB216Message": ("InvtRefundDetailReturn", ("coElNo", "preNo", "logisticsNo")),
}  # fmt: skip
"""Receipts that need nothing (edition 202205), each with its entry and the numbers it names its document by."""


def read_notice(message_type: str, entry: etree._Element) -> Notice:
    """An entry of one of NOTICES; raises XmlRefused for one that names no document."""
    found = fields_of(entry)
    numbers = {name: found[name] for name in NOTICES[f"{message_type}Message"][1] if name in found}
    if not numbers:
        raise XmlRefused(f"{message_type} names no document", "unknown_shape")
    require_fields(message_type, found, "returnStatus", "returnTime", *numbers)
    code = code_in(found.get("returnInfo", ""))
    return Notice(
        message_type,
        read_status(message_type, found),
        return_time(found["returnTime"]),
        numbers,
        code,
    )
