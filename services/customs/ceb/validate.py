"""Messages checked against the authority's schemas, which are not part of this release: the caller
names their folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from lxml import etree

from services.customs.ceb.parse import parse_message
from shared.xml import local_name

SCHEMA_FILES: Final = ("import-business-node.xsd", "export-business-node.xsd")
_XS: Final = "{http://www.w3.org/2001/XMLSchema}"


class SchemasMissing(LookupError):
    """The folder does not hold the authority's schemas."""


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """Where a message breaks the schema: line, element and rule. The element's text is
    not quoted.
    """

    line: int
    element: str
    rule: str


@lru_cache(maxsize=4)
def _schemas(folder: Path) -> tuple[tuple[frozenset[str], etree.XMLSchema], ...]:
    loaded = []
    parser = etree.XMLParser(no_network=True, load_dtd=False, resolve_entities=False)
    for name in SCHEMA_FILES:
        path = folder / name
        if not path.is_file():
            raise SchemasMissing(f"{folder} holds no {name}")
        tree = etree.parse(str(path), parser)
        messages = frozenset(
            str(element.get("name")) for element in tree.getroot().findall(f"{_XS}element")
        )
        try:
            loaded.append((messages, etree.XMLSchema(tree)))
        except etree.XMLSchemaParseError:
            raise SchemasMissing(
                f"{name} cannot be loaded: is xmldsig-core-schema.xsd beside it?"
            ) from None
    return tuple(loaded)


def validate(data: bytes, folder: Path) -> list[SchemaFault]:
    """Return every fault of a message against its schema, none if it is valid.

    Raises XmlRefused, SchemasMissing.
    """
    root = parse_message(data)
    name = local_name(root)
    for messages, schema in _schemas(folder):
        if name in messages:
            schema.validate(root)
            log: Any = schema.error_log
            return [_fault(entry.line, entry.message) for entry in log]
    return [SchemaFault(1, name, "is declared by neither schema")]


def _fault(line: int, message: str) -> SchemaFault:
    element, _, rule = message.partition(": ")
    return SchemaFault(
        line,
        element.removeprefix("Element '").partition("'")[0].rpartition("}")[2],
        _without_value(rule),
    )


def _without_value(rule: str) -> str:
    head, quoted, tail = rule.partition("The value '")
    if quoted:
        return f"{head}the value {tail.rpartition(chr(39))[2].lstrip()}"
    return rule
