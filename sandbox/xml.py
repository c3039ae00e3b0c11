"""Reads the authority's XML without schema or paths: direct children only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lxml import etree

from shared.xml import XmlRefused

CEB: Final = "http://www.chinaport.gov.cn/ceb"
DS: Final = "http://www.w3.org/2000/09/xmldsig#"
_PREFIX: Final = f"{{{CEB}}}"
_SKIP: Final = len(_PREFIX)


def is_message(element: etree._Element, name: str) -> bool:
    return str(element.tag) == _PREFIX + name


def children(element: etree._Element, name: str) -> Iterator[etree._Element]:
    return element.iterchildren(_PREFIX + name)


def fields_of(element: etree._Element) -> dict[str, str]:
    """Return the children's texts by name, without empty ones.

    Raise XmlRefused for a repeated name.
    """
    fields: dict[str, str] = {}
    for child in element:
        name = child.tag[_SKIP:]
        if name in fields:
            raise XmlRefused(f"{name} comes twice", "unknown_shape")
        fields[name] = (child.text or "").strip()
    return {name: text for name, text in fields.items() if text}
