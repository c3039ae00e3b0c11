"""Reading what an enterprise declares: lists, cancellations, returns, summary requests; checked without the schema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from lxml import etree

from sandbox.xml import children, fields_of, is_message
from shared.xml import XmlRefused, local_name, parse_untrusted

Family = Literal["621", "603"]
Kind = Literal["list", "cancel", "return", "summary"]

_KINDS: Final[dict[str, tuple[Kind, Family, str]]] = {
    "CEB621Message": ("list", "621", "Inventory"),
    "CEB603Message": ("list", "603", "Inventory"),
    "CEB623Message": ("cancel", "621", "InvtCancel"),
    "CEB605Message": ("cancel", "603", "InvtCancel"),
    "CEB625Message": ("return", "621", "InvtRefund"),
    "CEB213Message": ("return", "603", "InvtRefund"),
    "CEB701Message": ("summary", "603", "SummaryApply"),
}
DOCUMENTS_MAX: Final = 100

_COMMON: Final = (
    "guid",
    "appType",
    "appTime",
    "appStatus",
    "customsCode",
    "agentCode",
    "agentName",
    "ebcCode",
    "ebcName",
)
_REQUIRED: Final[dict[tuple[Kind, Family], tuple[str, ...]]] = {
    ("list", "621"): (
        *_COMMON,
        "orderNo",
        "ebpCode",
        "ebpName",
        "logisticsNo",
        "logisticsCode",
        "logisticsName",
        "assureCode",
        "ieFlag",
        "declTime",
        "portCode",
        "buyerIdType",
        "buyerIdNumber",
        "buyerName",
        "buyerTelephone",
        "consigneeAddress",
        "tradeMode",
        "trafMode",
        "country",
        "freight",
        "insuredFee",
        "currency",
        "packNo",
        "grossWeight",
        "netWeight",
    ),
    ("list", "603"): (
        *_COMMON,
        "orderNo",
        "ebpCode",
        "logisticsNo",
        "logisticsCode",
        "copNo",
        "ieFlag",
        "portCode",
        "ieDate",
        "statisticsFlag",
        "ownerCode",
        "ownerName",
        "tradeMode",
        "trafMode",
        "country",
        "POD",
        "freight",
        "fCurrency",
        "insuredFee",
        "iCurrency",
        "packNo",
        "grossWeight",
        "netWeight",
    ),
    ("cancel", "621"): (
        *_COMMON,
        "orderNo",
        "ebpCode",
        "logisticsNo",
        "logisticsCode",
        "invtNo",
        "buyerIdNumber",
        "buyerName",
        "reason",
    ),
    ("cancel", "603"): (*_COMMON, "copNo", "invtNo", "reason"),
    ("return", "621"): (
        *_COMMON,
        "orderNo",
        "ebpCode",
        "logisticsNo",
        "logisticsCode",
        "invtNo",
        "buyerIdNumber",
        "buyerName",
        "reason",
    ),
    ("return", "603"): (
        *_COMMON,
        "ebpCode",
        "logisticsNo",
        "logisticsCode",
        "coElNo",
        "invtNo",
        "ieFlag",
        "reason",
        "country",
    ),
    ("summary", "603"): (
        *_COMMON,
        "copNo",
        "declAgentCode",
        "declAgentName",
        "summaryFlag",
        "itemNameFlag",
        "msgCount",
        "msgSeqNo",
    ),
}
_LINE_REQUIRED: Final[dict[Kind, tuple[str, ...]]] = {
    "list": (
        "gnum",
        "gcode",
        "gname",
        "gmodel",
        "country",
        "currency",
        "qty",
        "unit",
        "qty1",
        "unit1",
        "price",
        "totalPrice",
    ),
    "cancel": (),
    "return": ("gnum", "gcode", "gname", "qty", "unit"),
    "summary": ("invtNo",),
}
_GUID: Final = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,14}(\.[0-9]{1,5})?")
_SHAPES: Final = {
    "guid": _GUID,
    "appType": re.compile("[123]"),
    "appTime": re.compile(r"[0-9]{14}"),
    "appStatus": re.compile("[12]"),
    "customsCode": re.compile(r"[0-9]{4}"),
    "portCode": re.compile(r"[0-9]{4}"),
    "ieFlag": re.compile("[IE]"),
    "tradeMode": re.compile(r"[0-9]{4}"),
    "country": re.compile(r"[0-9A-Z]{3}"),
    "gcode": re.compile(r"[0-9]{10}"),
    "currency": re.compile(r"[0-9A-Z]{3}"),
    "unit": re.compile(r"[0-9]{3}"),
    "unit1": re.compile(r"[0-9]{3}"),
    "gnum": re.compile(r"[1-9][0-9]{0,2}"),
    "qty": _NUMBER,
    "qty1": _NUMBER,
    "price": _NUMBER,
    "totalPrice": _NUMBER,
    "freight": _NUMBER,
    "insuredFee": _NUMBER,
    "grossWeight": _NUMBER,
    "netWeight": _NUMBER,
    "statisticsFlag": re.compile("[AB]"),
    "summaryFlag": re.compile("[12]"),
    "msgCount": re.compile(r"[1-9][0-9]{0,8}"),
    "msgSeqNo": re.compile(r"[1-9][0-9]{0,8}"),
}


class NotADeclaration(Exception):
    """The e-port cannot take the message at all: it answers with a CEB900 that names the place."""

    def __init__(self, code: str, text: str, message_type: str = "Unknown", guid: str = "") -> None:
        super().__init__(text)
        self.code, self.text, self.message_type, self.guid = code, text, message_type, guid


@dataclass(frozen=True, slots=True)
class Document:
    """One list, cancellation, return or summary request of a message."""

    kind: Kind
    family: Family
    message_guid: str
    head: Mapping[str, str]
    lines: tuple[Mapping[str, str], ...]

    @property
    def cop_no(self) -> str:
        """The enterprise's own number, which receipts repeat; the schema lets import lists leave it out."""
        return self.head.get("copNo") or self.head.get("coElNo") or self.head["guid"][:20]

    def amount(self, name: str) -> Decimal:
        return Decimal(self.head[name])


@dataclass(frozen=True, slots=True)
class Declaration:
    """One message: its documents, and the tree the signature is over."""

    guid: str
    message_type: str
    kind: Kind
    family: Family
    root: etree._Element
    documents: tuple[Document, ...]


def read_declaration(value: bytes) -> Declaration:
    """The message in these bytes; raises NotADeclaration (0001 format, 0002 schema)."""
    try:
        root = parse_untrusted(value)
    except XmlRefused as error:
        raise NotADeclaration("0001", str(error)) from None
    name, guid = local_name(root), root.get("guid", "")
    if name not in _KINDS or not is_message(root, name):
        raise NotADeclaration(
            "0002", "not a message of the family that this port takes", "Unknown", guid
        )
    if not _GUID.fullmatch(guid):
        raise NotADeclaration("0002", "guid must have 36 characters in upper case", name, guid)
    kind, family, element = _KINDS[name]
    documents = tuple(_read(kind, family, guid, entry) for entry in children(root, element))
    if not 1 <= len(documents) <= DOCUMENTS_MAX:
        raise NotADeclaration(
            "0002",
            f"{len(documents)} documents: 1 to {DOCUMENTS_MAX} may be in one message",
            name,
            guid,
        )
    transfer = next(children(root, "BaseTransfer"), None)
    fault = (
        "BaseTransfer"
        if transfer is None
        else next(
            iter(_missing(("copCode", "copName", "dxpMode", "dxpId"), fields_of(transfer))), None
        )
    )
    for number, document in enumerate(documents, start=1):
        fault = fault or _fault(document, number)
    if fault:
        raise NotADeclaration("0002", fault, name, guid)
    return Declaration(guid, name, kind, family, root, documents)


def _read(kind: Kind, family: Family, guid: str, entry: etree._Element) -> Document:
    if kind == "cancel":
        return Document(kind, family, guid, fields_of(entry), ())
    stem = {"list": "Inventory", "return": "InvtRefund", "summary": "SummaryApply"}[kind]
    head = next(children(entry, stem + "Head"), None)
    lines = tuple(fields_of(line) for line in children(entry, stem + "List"))
    return Document(kind, family, guid, {} if head is None else fields_of(head), lines)


def _fault(document: Document, number: int) -> str | None:
    """The first structural fault of a document, naming its place; None if there is none."""
    place = f"document {number}"
    for name in _missing(_REQUIRED[document.kind, document.family], document.head):
        return f"{place}: {name} is missing"
    for name in _misshapen(document.head):
        return f"{place}: {name} has not the right form"
    if document.kind != "cancel" and not document.lines:
        return f"{place}: no lines"
    for line in document.lines:
        for name in _missing(_LINE_REQUIRED[document.kind], line):
            return f"{place}, line {line.get('gnum', '?')}: {name} is missing"
        for name in _misshapen(line):
            return f"{place}, line {line.get('gnum', '?')}: {name} has not the right form"
    return None


def _missing(required: Iterable[str], found: Mapping[str, str]) -> list[str]:
    return [name for name in required if name not in found]


def _misshapen(found: Mapping[str, str]) -> list[str]:
    return [
        name
        for name, text in found.items()
        if name in _SHAPES and not _SHAPES[name].fullmatch(text)
    ]
