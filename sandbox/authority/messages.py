"""Reads the enterprise's messages: lists, cancellations, returns, summary requests.

Checked without the schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from lxml import etree

from sandbox.authority.message_forms import (
    GUID,
    KINDS,
    LINE_REQUIRED,
    REQUIRED,
    SHAPES,
    Family,
    Kind,
)
from sandbox.xml import children, fields_of, is_message
from shared.xml import XmlRefused, local_name, parse_untrusted

DOCUMENTS_MAX: Final = 100
_TRANSFER_REQUIRED: Final = ("copCode", "copName", "dxpMode", "dxpId")


class UnreadableMessage(Exception):
    """The e-port cannot take the message: its answer is a CEB900 that names the place."""

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
        """Return the enterprise's own number, which receipts repeat.

        Import lists may lack it by the schema.
        """
        return self.head.get("copNo") or self.head.get("coElNo") or self.head["guid"][:20]

    def amount(self, name: str) -> Decimal:
        return Decimal(self.head[name])


@dataclass(frozen=True, slots=True)
class CustomsMessage:
    """One message: its documents, and the tree that is signed."""

    guid: str
    message_type: str
    kind: Kind
    family: Family
    root: etree._Element
    documents: tuple[Document, ...]


def read_message(value: bytes) -> CustomsMessage:
    """Return the message in these bytes; raise UnreadableMessage (0001 format, 0002 schema)."""
    try:
        root = parse_untrusted(value)
    except XmlRefused as error:
        raise UnreadableMessage("0001", str(error)) from None
    name, guid = local_name(root), root.get("guid", "")
    if name not in KINDS or not is_message(root, name):
        raise UnreadableMessage(
            "0002", "not a message of the family that this port takes", "Unknown", guid
        )
    if not GUID.fullmatch(guid):
        raise UnreadableMessage("0002", "guid must have 36 characters in upper case", name, guid)
    kind, family, element = KINDS[name]
    documents = tuple(_read(kind, family, guid, entry) for entry in children(root, element))
    if fault := _first_fault(root, documents):
        raise UnreadableMessage("0002", fault, name, guid)
    return CustomsMessage(guid, name, kind, family, root, documents)


def _first_fault(root: etree._Element, documents: Sequence[Document]) -> str | None:
    if not 1 <= len(documents) <= DOCUMENTS_MAX:
        return f"{len(documents)} documents: 1 to {DOCUMENTS_MAX} may be in one message"
    transfer = next(children(root, "BaseTransfer"), None)
    if transfer is None:
        return "BaseTransfer"
    for name in _missing(_TRANSFER_REQUIRED, fields_of(transfer)):
        return name
    faults = (_fault(document, number) for number, document in enumerate(documents, start=1))
    return next((fault for fault in faults if fault), None)


def _read(kind: Kind, family: Family, guid: str, entry: etree._Element) -> Document:
    if kind == "cancel":
        return Document(kind, family, guid, fields_of(entry), ())
    stem = {"list": "Inventory", "return": "InvtRefund", "summary": "SummaryApply"}[kind]
    head = next(children(entry, stem + "Head"), None)
    lines = tuple(fields_of(line) for line in children(entry, stem + "List"))
    return Document(kind, family, guid, {} if head is None else fields_of(head), lines)


def _fault(document: Document, number: int) -> str | None:
    place = f"document {number}"
    for name in _missing(REQUIRED[document.kind, document.family], document.head):
        return f"{place}: {name} is missing"
    for name in _misshapen(document.head):
        return f"{place}: {name} has not the right form"
    if document.kind != "cancel" and not document.lines:
        return f"{place}: no lines"
    for line in document.lines:
        for name in _missing(LINE_REQUIRED[document.kind], line):
            return f"{place}, line {line.get('gnum', '?')}: {name} is missing"
        for name in _misshapen(line):
            return f"{place}, line {line.get('gnum', '?')}: {name} has not the right form"
    return None


def _missing(required: Iterable[str], fields: Mapping[str, str]) -> list[str]:
    return [name for name in required if name not in fields]


def _misshapen(fields: Mapping[str, str]) -> list[str]:
    return [
        name for name, text in fields.items() if name in SHAPES and not SHAPES[name].fullmatch(text)
    ]
