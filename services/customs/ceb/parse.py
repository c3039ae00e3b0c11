"""Messages of the family read: what the authority says entry by entry, any message as a JSON-able dict.

An entry that cannot be read costs itself only.
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
"""A CEB792 names every line of a month's lists; more than this no record unpacks to."""

_MESSAGE: Final = re.compile(r"CEB[0-9]{3}Message")
_REPEATED_NAMES: Final = """
    Order OrderList Payment Receipts Logistics Arrival ArrivalList Departure DepartureList Inventory
    InventoryList InvtCancel InvtRefund InvtRefundList InvtRefundDetail WayBill WayBillList SummaryApply
    SummaryApplyList SummaryResult SummaryResultList Delivery DeliveryList Tax TaxListRd BaseSubscribe
    OrderReturn PaymentReturn ReceiptsReturn LogisticsReturn LogisticsStatus LogisticsStatusReturn
    InventoryReturn InvtCancelReturn InvtRefundReturn RefundReturn InvtRefundDetailReturn ArrivalReturn
    DepartureReturn WayBillReturn SummaryReturn DeliveryReturn
"""
_REPEATED: Final = frozenset(_REPEATED_NAMES.split())
"""Elements that may come more than once: always a list in JSON, even when there is one."""

AuthorityEntry = Receipt | TaxBill | SummaryReceipt | SummaryResult | Notice
Reader = Callable[[etree._Element], AuthorityEntry]

_READERS: Final[Mapping[str, tuple[str, Reader]]] = {
    **{name: (entry, partial(receipts.read_receipt, name.removesuffix("Message"))) for name, (entry, _) in receipts.RECEIPTS.items()},
    **{name: (entry, partial(notices.read_notice, name.removesuffix("Message"))) for name, (entry, _) in notices.NOTICES.items()},
    **{f"{name}Message": ("Tax", partial(bills.read_bill, name)) for name in bills.BILL_MESSAGES},
    "CEB702Message": ("SummaryReturn", summaries.read_summary_receipt),
    "CEB792Message": ("SummaryResult", summaries.read_summary_result),
}  # fmt: skip


@dataclass(slots=True)
class ParsedMessage:
    """The entries of one message by their number, from 1: what each tells, or why it cannot be read."""

    told: list[tuple[int, AuthorityEntry]] = field(default_factory=list)
    unreadable: list[tuple[int, XmlRefused]] = field(default_factory=list)


def parse_message(data: bytes, max_bytes: int = XML_BYTES_MAX) -> etree._Element:
    """The root of a message of the family; raises XmlRefused for anything else."""
    return message_of(parse_untrusted(data, max_bytes))


def message_of(root: etree._Element) -> etree._Element:
    """The root, if it is one of a message of the family; raises XmlRefused for any other."""
    name = etree.QName(root)
    if name.namespace != CEB or not _MESSAGE.fullmatch(name.localname):
        raise XmlRefused(f"the root must be a CEB message in namespace {CEB}", "unknown_shape")
    return root


def read_entries(data: bytes) -> ParsedMessage:
    """Every entry of one message of the authority; raises XmlRefused for what is no such message.

    It may be in UTF-8 or in an encoding of the GB family, and may lie in the terminal node's envelope (DxpMsg).
    """
    answer = ParsedMessage()
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
            answer.told.append((number, read(entry)))
        except XmlRefused as refused:
            answer.unreadable.append((number, refused))
    return answer


def parse_entries(data: bytes) -> list[AuthorityEntry]:
    """What every entry of a message tells; raises XmlRefused where one cannot be read."""
    answer = read_entries(data)
    if answer.unreadable:
        raise answer.unreadable[0][1]
    return [told for _, told in answer.told]


def parse_receipts(data: bytes) -> list[Receipt]:
    """The entries of a receipt (622, 604, 624, 606, 626, 214, 900); raises XmlRefused for any other or a broken one."""
    told = parse_entries(data)
    found = [each for each in told if isinstance(each, Receipt)]
    if len(found) < len(told):
        raise XmlRefused(f"{told[0].message_type} is not a receipt of a list", "unknown_shape")
    return found


def keep_entry(data: bytes, number: int) -> bytes:
    """The message with nothing but its entry of this number, in UTF-8 and out of its envelope."""
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
    """The business message in a terminal node's envelope, or in one that a transport node put round it (edition 202205)."""
    names = {"DxpMsg": "Data", "DxpMsgSv": "DxpMsg/Data"}
    path = names.get(local_name(root))
    found = root.findall("/".join(f"{{{DXP}}}{name}" for name in path.split("/"))) if path else []
    if len(found) != 1:
        raise XmlRefused(f"{local_name(root)} is no envelope with one Data in it", "unknown_shape")
    try:
        return base64.b64decode("".join((found[0].text or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise XmlRefused(f"the Data of {local_name(root)} is not Base64") from None


_NO_ENTRIES: Final = frozenset({"BaseTransfer", "BaseSubscribe", "ExtendMessage", "Signature"})
_ENTRIES: Final = frozenset(entry for entry, _ in _READERS.values())


def _entries(root: etree._Element) -> Iterator[etree._Element]:
    """The entries of a message, and what may be meant for one: under another name, or in another namespace.

    A sender's own elements beside them, in a namespace of their own, are none.
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
    """Any message of the family as a dict.

    Its type, guid, version, and the elements by name, texts as they are.
    """
    root = parse_message(data)
    head = {
        "message": local_name(root).removesuffix("Message"),
        "guid": root.get("guid"),
        "version": root.get("version"),
    }
    return head | _children(root)


def _children(element: etree._Element) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for child in element:
        name = local_name(child)
        value = _children(child) if len(child) else text_of(child)
        if name in _REPEATED:
            found.setdefault(name, []).append(value)
        elif name in found:
            kept = found[name]
            found[name] = [*kept, value] if isinstance(kept, list) else [kept, value]
        else:
            found[name] = value
    return found
