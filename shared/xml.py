"""XML from outside, read so that a hostile document costs nothing.

No DTD, no entities, no network, no more than a limit.
"""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

from shared.errors import Unprocessable, UnprocessableReason

XML_BYTES_MAX: Final = 1024 * 1024
"""The largest document read unless the caller says less (bytes)."""

_DECLARED: Final = re.compile(rb"""\A<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
# Atomic groups: what was skipped once is never tried again, so a long prolog cannot make the search slow.
_DOCTYPE: Final = re.compile(rb"\A(?>\s+|<\?(?>(?:(?!\?>).)*)\?>|<!--(?>(?:(?!-->).)*)-->)*+<!DOCTYPE", re.DOTALL | re.IGNORECASE)
_UTF8: Final = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})


class XmlRefused(Unprocessable):
    """This document is not read.

    Too large, not UTF-8, not well-formed, with a DTD, or not of the shape expected.
    """

    def __init__(self, message: str, reason: UnprocessableReason = "malformed") -> None:
        super().__init__(reason, message)


def parse_untrusted(data: bytes, max_bytes: int = XML_BYTES_MAX) -> etree._Element:
    """The root element of an UTF-8 document of at most `max_bytes`; raises XmlRefused.

    Comments and processing instructions are dropped, so a text they stood in is whole: `12<!-- -->34` reads
    `1234`.
    """
    if len(data) > max_bytes:
        raise XmlRefused(f"a document has at most {max_bytes} bytes, this one has {len(data)}", "too_large")
    body = data.removeprefix(b"\xef\xbb\xbf")
    declared = _DECLARED.match(body)
    if declared and declared[1].lower() not in _UTF8:
        raise XmlRefused(f"the encoding must be UTF-8, the document declares {declared[1].decode('ascii')}")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise XmlRefused(f"the encoding must be UTF-8, byte {error.start} is not") from None
    # Before the parser sees it: a DTD is where entity bombs, external files and network addresses come from.
    if _DOCTYPE.match(body):
        raise XmlRefused("a document type declaration is not accepted")
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, load_dtd=False, dtd_validation=False, no_network=True,
        huge_tree=False,
        remove_comments=True, remove_pis=True, recover=False,
    )  # fmt: skip
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        # Of lxml's text only the place is kept: the rest may quote the document.
        line = getattr(error, "lineno", None) or 0
        raise XmlRefused(f"the document is not well-formed at line {line}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise XmlRefused("a document type declaration is not accepted")
    return root


def local_name(element: etree._Element) -> str:
    """The element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def text_of(element: etree._Element) -> str:
    """The element's own text, without surrounding blanks; raises XmlRefused if it holds elements."""
    if len(element):
        raise XmlRefused(f"{local_name(element)} holds elements where a text is expected", "unknown_shape")
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
