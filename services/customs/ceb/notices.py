"""Receipts about documents that others lodge: stored, and nothing follows. Pure."""

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
    """One entry about a document not lodged here (an order, a payment, a waybill, an arrival …),
    with its numbers.
    """

    message_type: str
    status: str
    at: datetime
    numbers: dict[str, str]
    code: str | None = None


NOTICES: Final = {
    "CEB304Message": ("OrderReturn", ("ebpCode", "orderNo")),
    "CEB312Message": ("OrderReturn", ("ebpCode", "orderNo")),
    "CEB404Message": ("ReceiptsReturn", ("orderNo", "payNo")),
    "CEB412Message": ("PaymentReturn", ("payCode", "payTransactionId")),
    "CEB506Message": ("LogisticsReturn", ("logisticsCode", "logisticsNo")),
    "CEB512Message": ("LogisticsReturn", ("logisticsCode", "logisticsNo")),
    "CEB514Message": ("LogisticsStatusReturn", ("logisticsCode", "logisticsNo", "logisticsStatus")),
    "CEB508Message": ("ArrivalReturn", ("copNo", "preNo", "billNo")),
    "CEB510Message": ("DepartureReturn", ("copNo", "preNo")),
    "CEB608Message": ("WayBillReturn", ("copNo", "preNo", "billNo")),
    "CEB712Message": ("DeliveryReturn", ("copNo", "preNo", "rkdNo")),
    "CEB216Message": ("InvtRefundDetailReturn", ("coElNo", "preNo", "logisticsNo")),
}
"""Receipts that need nothing (edition 202205), each with its entry and the numbers it names its
document by.
"""


def read_notice(message_type: str, entry: etree._Element) -> Notice:
    fields = fields_of(entry)
    numbers = {
        name: fields[name] for name in NOTICES[f"{message_type}Message"][1] if name in fields
    }
    if not numbers:
        raise XmlRefused(f"{message_type} names no document", "unknown_shape")
    require_fields(message_type, fields, "returnStatus", "returnTime", *numbers)
    code = code_in(fields.get("returnInfo", ""))
    return Notice(
        message_type,
        read_status(message_type, fields),
        return_time(fields["returnTime"]),
        numbers,
        code,
    )
