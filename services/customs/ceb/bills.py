"""Tax bills of the authority: CEB816, and CEB818 for a changed status. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lxml import etree

from services.customs.ceb.fields import (
    EXPORT_NUMBER,
    require_fields,
)
from shared.money import Money, MoneyError
from shared.xml import XmlRefused, fields_of, local_name


@dataclass(frozen=True, slots=True)
class TaxBill:
    """One entry of a CEB816 or CEB818: the tax bill of one list, in fen. A CEB818 states the status
    alone.

    `status`: 1 issued, 2 consolidated into a payment book, 3 void.
    """

    message_type: str
    invt_no: str
    tax_no: str
    status: str
    payment_book: str | None = None
    duty_minor: int | None = None
    consumption_tax_minor: int | None = None
    vat_minor: int | None = None
    guarantor: str | None = None


BILL_MESSAGES: Final = frozenset({"CEB816", "CEB818"})


_TAXES: Final = ("customsTax", "valueAddedTax", "consumptionTax")


CNY: Final = "142"


def read_bill(message_type: str, entry: etree._Element) -> TaxBill:
    """Return the bill of a CEB816 or the status of a CEB818. Raises XmlRefused for one that
    contradicts itself.

    CEB816 (edition 202205): TaxHeadRd has the three taxes, TaxListRd the same for each line, and
    the head is their sum.
    """
    head_name = "TaxHeadRd" if message_type == "CEB816" else "TaxHeadStatus"
    heads = [child for child in entry if local_name(child) == head_name]
    if len(heads) != 1:
        raise XmlRefused(
            f"{message_type}: the entry has no {head_name}, or several", "unknown_shape"
        )
    return _bill(
        message_type,
        fields_of(heads[0]),
        [fields_of(child) for child in entry if local_name(child) == "TaxListRd"],
    )


def _bill(message_type: str, head: dict[str, str], lines: list[dict[str, str]]) -> TaxBill:
    named = ("invtNo", "taxNo", "status", *(_TAXES if message_type == "CEB816" else ()))
    require_fields(message_type, head, *named, *(("entDutyNo",) if "entDutyNo" in head else ()))
    _require_import_in_yuan(message_type, head, lines)
    status, book = head["status"], head.get("entDutyNo") or None
    if status not in {"1", "2", "3"}:
        raise XmlRefused(f"{message_type}: status must be 1, 2 or 3", "invalid_value")
    if status == "2" and book is None:
        raise XmlRefused(
            f"{message_type}: a consolidated bill (status 2) needs its entDutyNo", "invalid_value"
        )
    common = (message_type, head["invtNo"], head["taxNo"], status, book)
    if message_type == "CEB818":
        return TaxBill(*common)
    duty, vat, consumption_tax = (_amount(head, lines, name) for name in _TAXES)
    return TaxBill(*common, duty, consumption_tax, vat, head.get("assureCode"))


def _require_import_in_yuan(
    message_type: str, head: dict[str, str], lines: list[dict[str, str]]
) -> None:
    if EXPORT_NUMBER.fullmatch(head["invtNo"]):
        raise XmlRefused(
            f"{message_type}: list {head['invtNo']} is an export's, and imports alone are billed",
            "invalid_value",
        )
    for each in (head, *lines):
        currency = each.get("currency", CNY)
        if currency != CNY:
            raise XmlRefused(
                f"{message_type}: currency must be {CNY}, found {currency[:8]}", "invalid_value"
            )


def _amount(head: dict[str, str], lines: list[dict[str, str]], name: str) -> int:
    amount = _fen(head[name], name)
    if amount != sum(_fen(line.get(name, ""), name) for line in lines):
        raise XmlRefused(f"CEB816: {name} of the head is not the sum of the lines", "invalid_value")
    return amount


def _fen(text: str, name: str) -> int:
    try:
        minor = Money.of(text, "CNY").minor
    except MoneyError:
        raise XmlRefused(
            f"CEB816: {name} is not an amount in yuan and fen", "invalid_value"
        ) from None
    if minor < 0:
        raise XmlRefused(f"CEB816: {name} is below zero", "invalid_value")
    return minor
