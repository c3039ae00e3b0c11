"""Receipts about lists, cancellations, returns and whole messages (CEB622, 604, 624, 606, 626, 214,
900). Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lxml import etree

from services.customs.ceb import codes
from services.customs.ceb.fields import (
    code_in,
    read_status,
    require_fields,
    return_time,
)
from shared.xml import XmlRefused, fields_of

# Each receipt message: its entry, and the element that names the enterprise's own document.
RECEIPTS: Final = {
    "CEB622Message": ("InventoryReturn", "copNo"), "CEB604Message": ("InventoryReturn", "copNo"),
    "CEB624Message": ("InvtCancelReturn", "copNo"), "CEB606Message": ("InvtCancelReturn", "copNo"),
    "CEB626Message": ("InvtRefundReturn", "copNo"),
    # The schema says RefundReturn; the specification's text uses the import's name.
    "CEB214Message": ("RefundReturn", "coElNo"),
    "CEB900Message": ("MessageReturn", ""),
}  # fmt: skip


RECEIPT_MESSAGES: Final = frozenset(name.removesuffix("Message") for name in RECEIPTS)


_ORIGINAL_GUID: Final = re.compile(r"""\bguid\s*=\s*["']([0-9A-Za-z-]{36})["']""")


@dataclass(frozen=True, slots=True)
class Receipt:
    """One entry of a receipt: what the authority states of one document at `at` (Beijing).

    `info` is the raw text and may name persons: show `public_info`. A 900 answers a whole message,
    by `original_guid` from its text and `original_id` (the exchange platform's).
    """

    message_type: str
    status: str
    at: datetime
    info: str
    cop_no: str | None = None
    pre_no: str | None = None
    invt_no: str | None = None
    inner_code: str | None = None
    original_id: str | None = None
    original_type: str | None = None
    original_guid: str | None = None
    statistics_flag: str | None = None

    @property
    def code(self) -> str:
        return self.inner_code or self.status

    @property
    def public_info(self) -> str:
        """Return the codes in this project's own words, without text quoted from the document."""
        known = codes.error(self.code)
        status = codes.find_status(self.status)
        meaning = (
            known.meaning
            if known
            else status.meaning
            if status
            else f"status {self.status} is in no list here"
        )
        return f"[Code:{self.code};Desc:{meaning}]" if self.inner_code else meaning


NUMBERS: Final = ("copNo", "coElNo", "preNo", "invtNo")
"""Numbers by which an entry names a list."""


def read_receipt(message_type: str, entry: etree._Element) -> Receipt:
    """Return an entry of a receipt. Raises XmlRefused for one that cannot be followed."""
    fields = fields_of(entry)
    number = RECEIPTS[f"{message_type}Message"][1]
    # The number that customs gave identifies a list without ours.
    own = (number,) if number and "invtNo" not in fields else ()
    require_fields(
        message_type,
        fields,
        "returnStatus",
        "returnTime",
        *own,
        *[name for name in NUMBERS if name in fields],
    )
    info = fields.get("returnInfo", "")
    status = read_status(message_type, fields)
    guid = _original_guid(fields)
    if not number and guid is None and "oriCopMsgId" not in fields:
        raise XmlRefused(
            f"{message_type} names no message: found neither oriCopMsgId nor a guid in "
            "oriBizMessage",
            "unknown_shape",
        )
    return Receipt(
        message_type=message_type,
        status=status,
        at=return_time(fields["returnTime"]),
        info=info,
        cop_no=fields.get(number),
        pre_no=fields.get("preNo"),
        invt_no=fields.get("invtNo"),
        inner_code=code_in(info) or (status if status.startswith("-") else None),
        original_id=fields.get("oriCopMsgId"),
        original_type=fields.get("oriMessageType"),
        original_guid=guid,
        statistics_flag=fields.get("statisticsFlag"),
    )


def _original_guid(fields: dict[str, str]) -> str | None:
    original = _ORIGINAL_GUID.search(fields.get("oriBizMessage", "")[:4000])
    return original[1].upper() if original else None
