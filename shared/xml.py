"""XML from outside, read so that a hostile document costs nothing: no DTD, entities or network."""

from __future__ import annotations

import codecs
import re
from enum import Enum
from typing import Final

from lxml import etree

from shared.errors import Unprocessable, UnprocessableReason

XML_BYTES_MAX: Final = 1024 * 1024
"""Bytes of the largest document, unless the caller sets another limit."""

_DECLARED: Final = re.compile(
    rb"""\A<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']"""
)
# Atomic groups never try again what they skipped, so a long prolog cannot slow the search.
_DOCTYPE: Final = re.compile(
    rb"\A(?>\s+|<\?(?>(?:(?!\?>).)*)\?>|<!--(?>(?:(?!-->).)*)-->)*+<!DOCTYPE",
    re.DOTALL | re.IGNORECASE,
)
_UTF8: Final = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
# GB18030 has every character of the others, under the same bytes.
_GB: Final = frozenset({b"gb2312", b"gb_2312-80", b"gbk", b"x-gbk", b"cp936", b"gb18030"})
_CHINESE_MIN: Final = "\u2000"
"""Chinese characters of more than one byte in UTF-8 lie above, so they take three bytes."""
HUGE_BYTES: Final = 8 * 1024 * 1024
"""Above this size the parser's own limit of 10 MB per text is lifted. The caller's limit holds."""


class Encodings(Enum):
    """The encodings that a reader accepts."""

    UTF8 = "UTF-8"
    CHINESE = "UTF-8 or an encoding of the GB family"
    """A document that declares no encoding and is not UTF-8 is read as GB18030."""


class XmlRefused(Unprocessable):
    """The document is not read.

    It is too large, not UTF-8, not well-formed, has a DTD, or has an unexpected shape.
    """

    def __init__(self, message: str, reason: UnprocessableReason = "malformed") -> None:
        super().__init__(reason, message)


def parse_untrusted(
    data: bytes, max_bytes: int = XML_BYTES_MAX, encodings: Encodings = Encodings.UTF8
) -> etree._Element:
    """Return the root element of a document of at most `max_bytes`. Raises XmlRefused.

    Comments and processing instructions are dropped, so the text around them is whole: `12<!--
    -->34` reads `1234`.
    """
    if len(data) > max_bytes:
        raise XmlRefused(
            f"a document has at most {max_bytes} bytes, this one has {len(data)}", "too_large"
        )
    body = _in_utf8(data, encodings)
    # Refuse a DTD before parsing: entity bombs, external files and network addresses come from
    # there.
    if _DOCTYPE.match(body):
        raise XmlRefused("a document type declaration is not accepted")
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        huge_tree=len(body) > HUGE_BYTES,
        remove_comments=True,
        remove_pis=True,
        recover=False,
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        # Keep only the place from lxml's text: the rest may quote the document.
        line = getattr(error, "lineno", None) or 0
        raise XmlRefused(f"the document is not well-formed at line {line}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise XmlRefused("a document type declaration is not accepted")
    return root


def _in_utf8(data: bytes, encodings: Encodings) -> bytes:
    """Return the document in UTF-8, without a byte order mark.

    Raises XmlRefused for an encoding that is not accepted.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise XmlRefused(f"the encoding must be {encodings.value}, found UTF-16")
    body = data.removeprefix(codecs.BOM_UTF8)
    declared = _DECLARED.match(body)
    name = declared[1].lower() if declared else b""
    chinese = encodings is Encodings.CHINESE
    if declared and name not in _UTF8 and not (chinese and name in _GB):
        raise XmlRefused(
            f"the encoding must be {encodings.value}, the document declares "
            f"{declared[1].decode('ascii')}"
        )
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        if not chinese or name in _UTF8:
            raise XmlRefused(
                f"the encoding must be {encodings.value}, byte {error.start} is not UTF-8"
            ) from None
        return _from_gb(body)
    # Some senders declare GB2312 and write UTF-8. Bytes that read as Chinese in UTF-8 are not GB.
    return body if name not in _GB or _is_chinese(text) else _from_gb(body, body)


def _is_chinese(text: str) -> bool:
    """Tell whether most characters beyond ASCII are Chinese.

    The point between names, `·`, is not Chinese, and its bytes are also a character of GB.
    """
    other = [c for c in text if c >= "\x80"]
    return 2 * sum(c >= _CHINESE_MIN for c in other) >= len(other)


def _from_gb(body: bytes, instead: bytes | None = None) -> bytes:
    """Return the body in UTF-8.

    If it is not GB, return `instead`, or raise XmlRefused without it.
    """
    try:
        return body.decode("gb18030").encode()
    except UnicodeError as error:
        if instead is not None:
            return instead
        raise XmlRefused(
            f"the encoding must be UTF-8 or GB18030, byte {getattr(error, 'start', 0)} is neither"
        ) from None


def local_name(element: etree._Element) -> str:
    """Return the element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def text_of(element: etree._Element) -> str:
    """Return the element's text without blanks around it. Raises XmlRefused for children."""
    if len(element):
        raise XmlRefused(
            f"{local_name(element)} holds elements where a text is expected", "unknown_shape"
        )
    return (element.text or "").strip()


def fields_of(element: etree._Element) -> dict[str, str]:
    """Return the texts of the children by local name, without empty ones.

    Raises XmlRefused for a repeated name: two readers might each take another value.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    for child in element:
        name = local_name(child)
        if name in seen:
            raise XmlRefused(f"{name} comes twice in {local_name(element)}", "unknown_shape")
        seen.add(name)
        if text := text_of(child):
            found[name] = text
    return found
