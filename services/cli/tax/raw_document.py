"""A document as it was written, before its shape is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from services.cli.fault_sentences import FieldFault

Document = Mapping[str, Any]


Look = Callable[[Document], Iterable[FieldFault]]


def rows_of(document: Document) -> list[Document]:
    lines = document.get("lines")
    return (
        [row if isinstance(row, Mapping) else {} for row in lines]
        if isinstance(lines, list)
        else []
    )
