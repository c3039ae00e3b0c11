"""Read what shops write to `orders.submissions`: submissions in JSON or CEB311 XML, and
commands."""

from __future__ import annotations

from collections.abc import Iterable

from services.orders.intake import ceb311
from services.orders.intake.commands import read_command
from services.orders.intake.schema_faults import read_document
from services.orders.intake.strict_json import read_object
from services.orders.intake.submission import CancelRequested, ReturnRequested, Submitted
from shared.envelope import first_headers
from shared.errors import Unprocessable
from shared.intake_types import CANCEL_REQUESTED, RETURN_REQUESTED, SUBMITTED
from shared.texts import utf8

IntakeItem = Submitted | CancelRequested | ReturnRequested


def read_submission(
    value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> tuple[IntakeItem, ...]:
    """Return the submission or command of a record, or the 1 to 100 orders of a CEB311 message.

    Raises Unprocessable if one of them cannot be read or named; other faults are in the result.
    A record without a `ce_type` header is a submission, so plain `kcat` works.
    """
    parsed = read_entries(value, headers)
    if not isinstance(parsed, ceb311.CebEntries):
        return (parsed,)
    for _, error in parsed.unreadable:
        raise error
    return tuple(order for _, order in parsed.orders)


def read_entries(
    value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> IntakeItem | ceb311.CebEntries:
    """Do as `read_submission`, but keep the readable orders of a CEB311 message beside the
    others."""
    kind = first_headers(headers).get("ce_type", b"").decode("ascii", "replace") or SUBMITTED
    if kind not in (SUBMITTED, CANCEL_REQUESTED, RETURN_REQUESTED):
        raise Unprocessable(
            "unknown_shape",
            f"ce_type must be {SUBMITTED}, {CANCEL_REQUESTED} or {RETURN_REQUESTED}",
        )
    body = utf8(value or b"")
    if not body:
        raise Unprocessable("malformed", "the record is empty")
    if kind == SUBMITTED and body[:1] == b"<":
        return ceb311.read_message(body)
    if kind == SUBMITTED:
        return read_document(read_object(body))
    return read_command(kind, read_object(body, is_command=True))


def with_only_order(value: bytes, number: int) -> bytes:
    return ceb311.with_only_order(utf8(value), number)
