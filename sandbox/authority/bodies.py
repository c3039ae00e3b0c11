"""Documents as the register keeps them: particulars as keyed digests, figures as texts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

from sandbox.authority.messages import Document
from sandbox.documents import PaymentDocument, SubmittedOrder, WaybillDocument

_LIST_FIELDS: Final = (
    "customsCode",
    "ebpCode",
    "ebcCode",
    "agentCode",
    "statisticsFlag",
    "assureCode",
)
_EXPORT_FIELDS: Final = (
    "ownerCode",
    "country",
    "tradeMode",
    "trafMode",
    "grossWeight",
    "netWeight",
)
"""The fields of an export list by which lists are consolidated."""
_ID_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


class Bodies:
    """Turns documents into bodies whose digests can be compared with each other only."""

    def __init__(self, digest_key: bytes) -> None:
        self._key = digest_key

    def _digest(self, text: str | None) -> str:
        if not text:
            return ""
        return blake2b(text.strip().upper().encode(), key=self._key, digest_size=12).hexdigest()

    def order(self, order: SubmittedOrder) -> Mapping[str, Any]:
        to = order.consignee
        return {
            "amount_paid": str(order.amount_paid),
            "currency": order.currency,
            "enterprise": order.enterprise,
            "buyer_name": self._digest(order.buyer_name),
            "buyer_id": self._digest(order.buyer_id),
            "buyer_phone": self._digest(order.buyer_phone),
            "payer_id": self._digest(order.payer_id),
            "any_payer": not order.payer_id and is_resident_id(order.buyer_id),
            "consignee_name": self._digest(to.name),
            "consignee_phone": self._digest(to.phone),
            "consignee_address": self._digest(to.address),
            "lines": [
                {
                    "number": line.number,
                    "name": line.name.strip(),
                    "quantity": str(line.quantity),
                    "price": str(line.price),
                    "total": str(line.total),
                    "origin": line.origin,
                }
                for line in order.lines
            ],
        }

    def payment(self, payment: PaymentDocument) -> Mapping[str, Any]:
        return {
            "amount": payment.amount,
            "currency": payment.currency,
            "enterprise": payment.enterprise,
            "payer_id": self._digest(payment.payer_id),
        }

    def waybill(self, waybill: WaybillDocument) -> Mapping[str, Any]:
        return {
            "consignee_name": self._digest(waybill.consignee_name),
            "consignee_phone": self._digest(waybill.consignee_phone),
            "consignee_address": self._digest(waybill.consignee_address),
        }

    def list(self, document: Document) -> dict[str, Any]:
        head = document.head
        exported = document.family == "603"
        names = (*_LIST_FIELDS, *_EXPORT_FIELDS) if exported else _LIST_FIELDS
        return {
            "family": document.family,
            "waybill": [head["logisticsCode"], head["logisticsNo"]],
            "fields": {name: head[name] for name in names if name in head},
            "buyer_name": self._digest(head.get("buyerName")),
            "buyer_id": self._digest(head.get("buyerIdNumber")),
            "buyer_phone": self._digest(head.get("buyerTelephone")),
            "freight": head["freight"],
            "insured": head["insuredFee"],
            "lines": [_line(line, exported=exported) for line in document.lines],
        }


def _line(line: Mapping[str, str], *, exported: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "number": int(line["gnum"]),
        "code": line["gcode"],
        "name": line["gname"],
        "model": line["gmodel"],
        "quantity": line["qty"],
        "price": line["price"],
        "total": line["totalPrice"],
        "country": line["country"],
    }
    return body | {"currency": line["currency"], "unit": line["unit"]} if exported else body


def is_resident_id(number: str) -> bool:
    """Return whether check digit and birth date of a resident identity number are right [GB
    11643-1999].
    """
    if len(number) != 18 or not number[:17].isdigit() or not number.isascii():
        return False
    try:
        datetime.strptime(number[6:14], "%Y%m%d")  # noqa: DTZ007  a date without a zone
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number, _ID_WEIGHTS, strict=False))
    return "10X98765432"[total % 11] == number[17].upper()
