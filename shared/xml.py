"""XML from outside, read so that a hostile document costs nothing.

No DTD, no entities, no network, no more than a limit.
"""

from __future__ import annotations

import codecs
import re
from enum import Enum
from typing import Final

from lxml import etree

from shared.errors import Unprocessable, UnprocessableReason

XML_BYTES_MAX: Final = 1024 * 1024
"""The largest document read unless the caller says less (bytes)."""

_DECLARED: Final = re.compile(
    rb"""\A<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']"""
)
# Atomic groups: what was skipped once is never tried again, so a long prolog cannot make the search slow.
_DOCTYPE: Final = re.compile(
    rb"\A(?>\s+|<\?(?>(?:(?!\?>).)*)\?>|<!--(?>(?:(?!-->).)*)-->)*+<!DOCTYPE",
    re.DOTALL | re.IGNORECASE,
)
_UTF8: Final = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
# GB18030 has every character of the others, under the same bytes.
_GB: Final = frozenset({b"gb2312", b"gb_2312-80", b"gbk", b"x-gbk", b"cp936", b"gb18030"})
_CHINESE_MIN: Final = "\u2000"
"""No character of a Chinese text that needs more than one byte in UTF-8 lies below, so it takes three."""
HUGE_BYTES: Final = 8 * 1024 * 1024
"""Above this the parser's own limit of 10 MB for one text is lifted; the caller's limit holds."""


class Encodings(Enum):
    """Which encodings a reader takes."""

    UTF8 = "UTF-8"
    CHINESE = "UTF-8 or an encoding of the GB family"
    """A document that names none and is no UTF-8 is read as GB18030."""


class XmlRefused(Unprocessable):
    """This document is not read.

    Too large, not UTF-8, not well-formed, with a DTD, or not of the shape expected.
    """

    def __init__(self, message: str, reason: UnprocessableReason = "malformed") -> None:
        super().__init__(reason, message)


def parse_untrusted(
    data: bytes, max_bytes: int = XML_BYTES_MAX, encodings: Encodings = Encodings.UTF8
) -> etree._Element:
    """The root element of a document of at most `max_bytes`; raises XmlRefused.

    Comments and processing instructions are dropped, so a text they stood in is whole: `12<!-- -->34` reads
    `1234`.
    """
    if len(data) > max_bytes:
        raise XmlRefused(
            f"a document has at most {max_bytes} bytes, this one has {len(data)}", "too_large"
        )
    body = _in_utf8(data, encodings)
    # Before the parser sees it: a DTD is where entity bombs, external files and network addresses come from.
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
        # Of lxml's text only the place is kept: the rest may quote the document.
        line = getattr(error, "lineno", None) or 0
        raise XmlRefused(f"the document is not well-formed at line {line}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise XmlRefused("a document type declaration is not accepted")
    return root


def _in_utf8(data: bytes, encodings: Encodings) -> bytes:
    """The document in UTF-8, without a byte order mark; raises XmlRefused for another encoding than is taken."""
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
    # Some senders declare GB2312 and write UTF-8: what reads as Chinese text in UTF-8 is no GB.
    return body if name not in _GB or _is_chinese(text) else _from_gb(body, body)


def _is_chinese(text: str) -> bool:
    """Whether most of what is not ASCII is Chinese. A point between names, `·`, is none, and its bytes are two of GB as well."""
    other = [c for c in text if c >= "\x80"]
    return 2 * sum(c >= _CHINESE_MIN for c in other) >= len(other)


def _from_gb(body: bytes, instead: bytes | None = None) -> bytes:
    """The body in UTF-8; `instead` where it is no GB, raises XmlRefused if that is not given."""
    try:
        return body.decode("gb18030").encode()
    except UnicodeError as error:
        if instead is not None:
            return instead
        raise XmlRefused(
            f"the encoding must be UTF-8 or GB18030, byte {getattr(error, 'start', 0)} is neither"
        ) from None


def local_name(element: etree._Element) -> str:
    """The element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def text_of(element: etree._Element) -> str:
    """The element's own text, without surrounding blanks; raises XmlRefused if it holds elements."""
    if len(element):
        raise XmlRefused(
            f"{local_name(element)} holds elements where a text is expected", "unknown_shape"
        )
    return (element.text or "").strip()


def fields_of(element: etree._Element) -> dict[str, str]:
    """Texts of the children by local name, empty ones left out.

    Raises XmlRefused for a name that comes twice: two readers might each take another one.
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
