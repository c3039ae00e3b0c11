"""Submissions that the tax commands read from files, with every fault of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from json import loads
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from services.cli.fault_sentences import FieldFault, faults_of
from services.cli.tax.amount_faults import amount_faults
from services.cli.tax.field_types import (
    HS_CODE,
)
from services.cli.tax.json_lines import Unread
from services.cli.tax.raw_document import Document, Look, rows_of
from services.tax.rulebook.tariff import Nomenclature


class Part(BaseModel):
    """A part of a file; unknown keys are ignored, as everywhere in submissions."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Shape = TypeVar("Shape", bound=BaseModel)


# --- text


# --- shape and values


def read(
    name: str, text: str, shape: type[Shape], known: Nomenclature | None, *looks: Look
) -> Shape:
    """Return a submission from its JSON; raises Unread with every fault: field, rule, found,
    expected.

    `known` has the codes that can exist. Each of `looks` searches for faults in the document as
    written.
    """
    parsed, faults = None, []
    try:
        parsed = shape.model_validate_json(text)
    except ValidationError as error:
        faults = faults_of(error)
    broken = {fault.field for fault in faults}
    document = _document(text)
    for look in (amount_faults, _numbers, lambda parsed: _codes(parsed, known), *looks):
        faults += [fault for fault in look(document) if fault.field not in broken]
    if parsed is None or faults:
        raise Unread(name, faults)
    return parsed


def _document(text: str) -> Document:
    """Return the document as written: one broken value must not hide the faults of the others."""
    try:
        document = loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, Mapping) else {}


def _numbers(document: Document) -> Iterator[FieldFault]:
    seen: set[int] = set()
    for i, row in enumerate(rows_of(document)):
        number = row.get("line_no")
        if isinstance(number, int) and number in seen:
            yield FieldFault(
                f"lines[{i}].line_no", "unique", str(number), "a number that no other line has"
            )
        elif isinstance(number, int):
            seen.add(number)


def _codes(document: Document, known: Nomenclature | None) -> Iterator[FieldFault]:
    for i, row in enumerate(rows_of(document)):
        code = row.get("hs_code")
        if (
            known is None
            or not isinstance(code, str)
            or re.fullmatch(HS_CODE, code) is None
            or known.has(code)
        ):
            continue
        expected = (
            f"a code of the Harmonized System: chapter {code[:2]} has "
            f"{known.headings.get(code[:2], 0)} headings"
        )
        yield FieldFault(f"lines[{i}].hs_code", "is_hs_code", repr(code), expected)


# --- days
