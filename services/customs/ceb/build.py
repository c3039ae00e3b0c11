"""Messages to the authority, as bytes ready to be signed. Pure.

Strings with escaping, not a tree: 100 lists of two lines take 6 ms, with lxml's SubElement 15 ms.
The text is in canonical form already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from services.customs.ceb import tables
from services.customs.ceb.documents import (
    BaseTransfer,
    CancelRequest,
    ListDraft,
    ReturnRequest,
    SummaryRequest,
)
from services.customs.ceb.elements import Compiled, NotDeclarable, text, write_row
from shared.xml import XML_BYTES_MAX

CEB: Final = "http://www.chinaport.gov.cn/ceb"
DOCUMENTS_MAX: Final = 100
"""Documents in one message [schema 202205]."""
SIGNATURE_BYTES_MAX: Final = 8 * 1024
"""Room left for the signature below the limit of a message."""

Direction = Literal["import", "export"]
_GUID: Final = re.compile(r"[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}")
_HEAD: Final = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="'
    + CEB
    + '" guid="{guid}" version="1.0">'
)
# Lines of one document [schema 202205].
_LINES_MAX: Final = {
    "CEB621Message": 99,
    "CEB603Message": 100,
    "CEB625Message": 99,
    "CEB213Message": 100,
}


class MessageTooLarge(ValueError):
    """The documents exceed what one message may hold: put fewer into it."""


Writer = Callable[[Any, list[str]], None]


def build_import_lists(guid: str, base_transfer: BaseTransfer, lists: Sequence[ListDraft]) -> bytes:
    return _message("CEB621Message", guid, base_transfer, lists)


def build_export_lists(guid: str, base_transfer: BaseTransfer, lists: Sequence[ListDraft]) -> bytes:
    return _message("CEB603Message", guid, base_transfer, lists)


def build_cancellations(
    guid: str, base_transfer: BaseTransfer, requests: Sequence[CancelRequest], direction: Direction
) -> bytes:
    return _message(
        "CEB623Message" if direction == "import" else "CEB605Message", guid, base_transfer, requests
    )


def build_returns(
    guid: str, base_transfer: BaseTransfer, requests: Sequence[ReturnRequest], direction: Direction
) -> bytes:
    return _message(
        "CEB625Message" if direction == "import" else "CEB213Message", guid, base_transfer, requests
    )


def build_summary_requests(
    guid: str, base_transfer: BaseTransfer, requests: Sequence[SummaryRequest]
) -> bytes:
    return _message("CEB701Message", guid, base_transfer, requests)


def write_document(name: str, document: Any) -> bytes:
    into: list[str] = []
    _WRITERS[name](document, into)
    return "".join(into).encode()


def write_number(cop_no: str, invt_no: str) -> bytes:
    """Return a list number as it stands in a summary request. Raises NotDeclarable."""
    try:
        return f"<SummaryApplyList><invtNo>{_LISTED(invt_no)}</invtNo></SummaryApplyList>".encode()
    except ValueError as error:
        raise NotDeclarable(cop_no, "invt_nos", "invtNo", str(error)) from None


def assemble(
    name: str, guid: str, base_transfer: BaseTransfer, documents: Sequence[bytes]
) -> bytes:
    """Return the message of written documents. Raises NotDeclarable for a `base_transfer` that
    cannot be written.
    """
    if not _GUID.fullmatch(guid):
        raise ValueError("the message guid must be a UUID of 36 upper-case characters")
    transfer = ["<BaseTransfer>"]
    write_row(tables.BASE_TRANSFER, base_transfer, "BaseTransfer", transfer)
    transfer += ("</BaseTransfer></", name, ">")
    return b"".join(
        (_HEAD.format(name=name, guid=guid).encode(), *documents, "".join(transfer).encode())
    )


def _write_cancellation(table: Compiled) -> Writer:
    def write(request: Any, into: list[str]) -> None:
        into.append("<InvtCancel>")
        write_row(table, request, request.cop_no, into)
        into.append("</InvtCancel>")

    return write


def _write_summary(request: Any, into: list[str]) -> None:
    if not request.invt_nos:
        raise NotDeclarable(
            request.cop_no,
            "invt_nos",
            "SummaryApplyList",
            "are none, a request names at least one list",
        )
    into.append("<SummaryApply><SummaryApplyHead>")
    write_row(tables.SUMMARY_HEAD, request, request.cop_no, into)
    into.append("</SummaryApplyHead>")
    into += (write_number(request.cop_no, invt_no).decode() for invt_no in request.invt_nos)
    into.append("</SummaryApply>")


def _of_lines(message: str, outer: str, head_table: Compiled, line_table: Compiled) -> Writer:
    lines_max, head, line = _LINES_MAX[message], f"{outer}Head", f"{outer}List"

    def write(document: Any, into: list[str]) -> None:
        if not 1 <= len(document.lines) <= lines_max:
            raise NotDeclarable(
                document.cop_no,
                "lines",
                line,
                f"are {len(document.lines)}, the message takes 1 to {lines_max}",
            )
        into.append(f"<{outer}><{head}>")
        write_row(head_table, document, document.cop_no, into)
        into.append(f"</{head}>")
        for each in document.lines:
            into.append(f"<{line}>")
            write_row(line_table, each, document.cop_no, into)
            into.append(f"</{line}>")
        into.append(f"</{outer}>")

    return write


_LISTED: Final = text(20)
_WRITERS: Final[dict[str, Writer]] = {
    "CEB621Message": _of_lines(
        "CEB621Message", "Inventory", tables.IMPORT_HEAD, tables.IMPORT_LINE
    ),
    "CEB603Message": _of_lines(
        "CEB603Message", "Inventory", tables.EXPORT_HEAD, tables.EXPORT_LINE
    ),
    "CEB623Message": _write_cancellation(tables.IMPORT_CANCEL),
    "CEB605Message": _write_cancellation(tables.EXPORT_CANCEL),
    "CEB625Message": _of_lines(
        "CEB625Message", "InvtRefund", tables.IMPORT_RETURN_HEAD, tables.IMPORT_RETURN_LINE
    ),
    "CEB213Message": _of_lines(
        "CEB213Message", "InvtRefund", tables.EXPORT_RETURN_HEAD, tables.EXPORT_RETURN_LINE
    ),
    "CEB701Message": _write_summary,
}
MESSAGES: Final = tuple(_WRITERS)


def _message(name: str, guid: str, base_transfer: BaseTransfer, documents: Sequence[Any]) -> bytes:
    if not 1 <= len(documents) <= DOCUMENTS_MAX:
        raise MessageTooLarge(f"{name} takes 1 to {DOCUMENTS_MAX} documents, not {len(documents)}")
    message = assemble(
        name, guid, base_transfer, [write_document(name, document) for document in documents]
    )
    if len(message) > XML_BYTES_MAX - SIGNATURE_BYTES_MAX:
        raise MessageTooLarge(
            f"{name} of {len(documents)} documents has {len(message)} bytes: put fewer into one "
            "message"
        )
    return message
