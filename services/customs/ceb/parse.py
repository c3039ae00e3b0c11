"""Messages of the family, read entry by entry or as JSON. An unreadable entry does not affect the
others.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from lxml import etree

from services.customs.ceb import bills, notices, receipts, summaries
from services.customs.ceb.bills import TaxBill
from services.customs.ceb.build import CEB
from services.customs.ceb.notices import Notice
from services.customs.ceb.receipts import Receipt
from services.customs.ceb.summaries import SummaryReceipt, SummaryResult
from shared.xml import XML_BYTES_MAX, Encodings, XmlRefused, local_name, parse_untrusted, text_of

DXP: Final = "http://www.chinaport.gov.cn/dxp"
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""A CEB792 names every line of a month's lists. No record is decompressed beyond this size."""

_MESSAGE: Final = re.compile(r"CEB[0-9]{3}Message")
_REPEATED_NAMES: Final = """
    Order OrderList Payment Receipts Logistics Arrival ArrivalList Departure DepartureList
    Inventory InventoryList InvtCancel InvtRefund InvtRefundList InvtRefundDetail WayBill
    WayBillList SummaryApply SummaryApplyList SummaryResult SummaryResultList Delivery
    DeliveryList Tax TaxListRd BaseSubscribe OrderReturn PaymentReturn ReceiptsReturn
    LogisticsReturn LogisticsStatus LogisticsStatusReturn InventoryReturn InvtCancelReturn
    InvtRefundReturn RefundReturn InvtRefundDetailReturn ArrivalReturn DepartureReturn
    WayBillReturn SummaryReturn DeliveryReturn
"""
_REPEATED: Final = frozenset(_REPEATED_NAMES.split())
"""Elements that may repeat: always a list in JSON, even when there is one."""

AuthorityEntry = Receipt | TaxBill | SummaryReceipt | SummaryResult | Notice
Reader = Callable[[etree._Element], AuthorityEntry]

_READERS: Final[Mapping[str, tuple[str, Reader]]] = {
    **{
        name: (entry, partial(receipts.read_receipt, name.removesuffix("Message")))
        for name, (entry, _) in receipts.RECEIPTS.items()
    },
    **{
        name: (entry, partial(notices.read_notice, name.removesuffix("Message")))
        for name, (entry, _) in notices.NOTICES.items()
    },
    **{f"{name}Message": ("Tax", partial(bills.read_bill, name)) for name in bills.BILL_MESSAGES},
    "CEB702Message": ("SummaryReturn", summaries.read_summary_receipt),
    "CEB792Message": ("SummaryResult", summaries.read_summary_result),
}


@dataclass(slots=True)
class ParsedMessage:
    """The entries of one message by number from 1: what each states, or why it cannot be read."""

    entries: list[tuple[int, AuthorityEntry]] = field(default_factory=list)
    unreadable: list[tuple[int, XmlRefused]] = field(default_factory=list)


def parse_message(data: bytes, max_bytes: int = XML_BYTES_MAX) -> etree._Element:
    return message_of(parse_untrusted(data, max_bytes))


def message_of(root: etree._Element) -> etree._Element:
    name = etree.QName(root)
    if name.namespace != CEB or not _MESSAGE.fullmatch(name.localname):
        raise XmlRefused(f"the root must be a CEB message in namespace {CEB}", "unknown_shape")
    return root


def read_entries(data: bytes) -> ParsedMessage:
    """Return every entry of one message of the authority. Raises XmlRefused for anything else.

    The message may be UTF-8 or of the GB family, and may lie in the terminal node's envelope
    (DxpMsg).
    """
    message = ParsedMessage()
    root = _message(data)
    name, read = _READERS[local_name(root)]
    right = f"{{{CEB}}}{name}"
    if root.find(right) is None:
        raise XmlRefused(f"{_type_of(root)} holds no {name}", "unknown_shape")
    for number, entry in enumerate(_entries(root), 1):
        try:
            if entry.tag != right:
                raise XmlRefused(
                    f"{_type_of(root)}: an entry must be {name} in namespace {CEB}", "unknown_shape"
                )
            message.entries.append((number, read(entry)))
        except XmlRefused as refused:
            message.unreadable.append((number, refused))
    return message


def parse_entries(data: bytes) -> list[AuthorityEntry]:
    message = read_entries(data)
    if message.unreadable:
        raise message.unreadable[0][1]
    return [entry for _, entry in message.entries]


def parse_receipts(data: bytes) -> list[Receipt]:
    """Return the entries of a receipt (622, 604, 624, 606, 626, 214, 900). Raises XmlRefused for
    any other message.
    """
    parsed = parse_entries(data)
    receipts = [each for each in parsed if isinstance(each, Receipt)]
    if len(receipts) < len(parsed):
        raise XmlRefused(f"{parsed[0].message_type} is not a receipt of a list", "unknown_shape")
    return receipts


def keep_entry(data: bytes, number: int) -> bytes:
    """Return the message with only the entry of this number, in UTF-8 and without its envelope."""
    root = _message(data)
    for at, entry in enumerate(list(_entries(root)), 1):
        if at != number:
            root.remove(entry)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def _message(data: bytes) -> etree._Element:
    root = parse_untrusted(data, ANSWER_BYTES_MAX, Encodings.CHINESE)
    if etree.QName(root).namespace == DXP:
        root = parse_untrusted(_unwrapped(root), ANSWER_BYTES_MAX, Encodings.CHINESE)
    root = message_of(root)
    if local_name(root) not in _READERS:
        raise XmlRefused(f"{_type_of(root)} is not a receipt read here", "unknown_shape")
    return root


def _unwrapped(root: etree._Element) -> bytes:
    """Return the business message in the envelope of a terminal node or a transport node (edition
    202205).
    """
    names = {"DxpMsg": "Data", "DxpMsgSv": "DxpMsg/Data"}
    path = names.get(local_name(root))
    data = root.findall("/".join(f"{{{DXP}}}{name}" for name in path.split("/"))) if path else []
    if len(data) != 1:
        raise XmlRefused(f"{local_name(root)} is no envelope with one Data in it", "unknown_shape")
    try:
        return base64.b64decode("".join((data[0].text or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise XmlRefused(f"the Data of {local_name(root)} is not Base64") from None


_NO_ENTRIES: Final = frozenset({"BaseTransfer", "BaseSubscribe", "ExtendMessage", "Signature"})
_ENTRIES: Final = frozenset(entry for entry, _ in _READERS.values())


def _entries(root: etree._Element) -> Iterator[etree._Element]:
    """Yield the entries of a message and what may be meant as one: another name, or another
    namespace.

    A sender's own elements in a namespace of their own are none.
    """
    right = f"{{{CEB}}}{_READERS[local_name(root)][0]}"
    for child in root:
        if child.tag == right or _may_be_entry(etree.QName(child)):
            yield child


def _may_be_entry(name: etree.QName) -> bool:
    return name.localname in _ENTRIES or (
        name.namespace in (CEB, None) and name.localname not in _NO_ENTRIES
    )


def _type_of(root: etree._Element) -> str:
    return local_name(root).removesuffix("Message")


def to_json(data: bytes) -> dict[str, Any]:
    root = parse_message(data)
    head = {
        "message": local_name(root).removesuffix("Message"),
        "guid": root.get("guid"),
        "version": root.get("version"),
    }
    return head | _children(root)


def _children(element: etree._Element) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for child in element:
        name = local_name(child)
        value = _children(child) if len(child) else text_of(child)
        if name in _REPEATED:
            document.setdefault(name, []).append(value)
        elif name in document:
            existing = document[name]
            document[name] = [*existing, value] if isinstance(existing, list) else [existing, value]
        else:
            document[name] = value
    return document
