"""Reads what shops write to `orders.submissions`: JSON or CEB311 XML submissions, cancellations and return requests."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from services.orders.intake import ceb311
from services.orders.intake.redaction import redacted
from services.orders.intake.schema_faults import named, read_document
from services.orders.intake.submission import DECIMAL, CancelRequested, ReturnRequested, Submitted
from shared.envelope import first_headers
from shared.errors import Unprocessable
from shared.events.orders import ReturnPart
from shared.identity import order_id_of
from shared.texts import TWICE, has_each_name_once, names_can_be_counted, utf8

SUBMITTED: Final = "order.submitted.v1"
CANCEL_REQUESTED: Final = "order.cancel-requested.v1"
RETURN_REQUESTED: Final = "return.requested.v1"

JSON_BYTES_MAX: Final = 256 * 1024
DEPTH_MAX: Final = 16
REASONS: Final = (
    "buyer_request", "operator", "out_of_stock", "duplicate", "fraud_suspected", "wrong_address", "damaged", "not_as_described", "recalled",
)  # fmt: skip
"""Why an order is called off or given back, in words that name nobody: these are shown as they are, any other text by its length."""
PARTS_MAX: Final = 100
"""Lines of one return request: as many as an order may have."""

IntakeItem = Submitted | CancelRequested | ReturnRequested


def read_submission(
    value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> tuple[IntakeItem, ...]:
    """What one record says: one submission or command, or the up to 100 orders of a CEB311 message.

    Raises Unprocessable where one of them cannot be read or named; every other fault is in what is returned. A
    record without a `ce_type` header is a submission (so plain `kcat` works).
    """
    found = read_entries(value, headers)
    if not isinstance(found, ceb311.CebEntries):
        return (found,)
    for _, refused in found.unreadable:
        raise refused
    return tuple(order for _, order in found.orders)


def read_entries(
    value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> IntakeItem | ceb311.CebEntries:
    """`read_submission`, with the orders of a CEB311 message that can be read where others cannot."""
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
        return read_document(_decode(body))
    return _command(kind, _decode(body, is_command=True))


def _command(kind: str, document: dict[str, Any]) -> CancelRequested | ReturnRequested:
    order_no, platform_code = named(document)
    shown = _reason(document.get("reason"))
    order_id = order_id_of(platform_code, order_no)
    if kind == CANCEL_REQUESTED:
        return CancelRequested(order_id, order_no, platform_code, shown)
    refund_if_late = document.get("refund_if_late", True)
    if not isinstance(refund_if_late, bool):
        raise Unprocessable("invalid_value", "refund_if_late must be true or false")
    return ReturnRequested(
        order_id,
        order_no,
        platform_code,
        shown,
        _return_parts(document.get("lines")),
        refund_if_late,
    )


def _reason(given: Any) -> str:
    """The reason as it is shown: whatever stands there, the command is obeyed.

    People write names and addresses into it, which no pattern finds; the text stays with the request, on the intake topic.
    """
    if given is None or given == "":
        return "not given"
    if not isinstance(given, str):
        return "not a text"
    return given.strip() if given.strip() in REASONS else f"{len(given)} characters"


def _return_parts(lines: Any) -> tuple[ReturnPart, ...]:
    """The lines of a return request, `[{"line_no": 1, "quantity": "2"}]`; no quantity means all that is left of the line."""
    if lines is None:
        return ()
    if not isinstance(lines, list) or not 1 <= len(lines) <= PARTS_MAX:
        raise Unprocessable(
            "invalid_value",
            f"lines must be a list of 1 to {PARTS_MAX} lines, or be left out for all of the order",
        )
    return tuple(_return_part(number, line) for number, line in enumerate(lines))


def _return_part(number: int, line: Any) -> ReturnPart:
    if not isinstance(line, dict):
        raise Unprocessable(
            "invalid_value",
            f"lines[{number}] must be an object with line_no and, if not all is meant, quantity",
        )
    line_no, quantity = line.get("line_no"), line.get("quantity")
    if not isinstance(line_no, int) or isinstance(line_no, bool) or not 0 < line_no < 1000:
        raise Unprocessable(
            "invalid_value", f"lines[{number}].line_no must be the number of a line of the order"
        )
    if quantity is None:
        return ReturnPart(line_no=line_no)
    if (
        not isinstance(quantity, str)
        or not re.fullmatch(DECIMAL, quantity)
        or Decimal(quantity) <= 0
    ):
        raise Unprocessable(
            "invalid_value",
            f'lines[{number}].quantity must be a decimal above 0 in a string, as "2"',
        )
    return ReturnPart(line_no=line_no, quantity=Decimal(quantity))


def _decode(body: bytes, *, is_command: bool = False) -> dict[str, Any]:
    """The JSON object in `body`, its texts in NFC; raises Unprocessable. Of the parser's words only the place is kept.

    Of a command, only what names the order and the lines must be sound: no text beside them vetoes it.
    """
    if len(body) > JSON_BYTES_MAX:
        raise Unprocessable(
            "too_large",
            f"a submission has at most {JSON_BYTES_MAX} bytes, this one has {len(body)}",
        )
    plain = _decode_plain(body)
    if plain is not None:
        return plain
    document = _parse(body, is_lenient=is_command)
    if isinstance(document, _NotJson):
        raise Unprocessable("malformed", document.why)
    if not isinstance(document, dict):
        raise Unprocessable(
            "unknown_shape",
            f"the value must be one JSON object or a CEB311Message: found {_kind(document)}",
        )
    reason = {"reason": document["reason"]} if is_command and "reason" in document else {}
    tidied = _tidy(_of_command(document) if is_command else document, 1)
    assert isinstance(tidied, dict)
    return tidied | reason


_OF_COMMAND: Final = ("order_no", "lines", "refund_if_late", "data", "payload")


def _of_command(document: dict[str, Any]) -> dict[str, Any]:
    """What of a command is read; everything else in it may be anything."""
    found = _part_of(document, _OF_COMMAND, beside=("platform",))
    platform = document.get("platform")
    return found | {
        "platform": _part_of(platform, ("code",)) if isinstance(platform, dict) else platform
    }


def _part_of(
    given: dict[str, Any], names: Sequence[str], beside: Sequence[str] = ()
) -> dict[str, Any]:
    """These members; raises Unprocessable where one of them or of those `beside` them comes twice."""
    if isinstance(given, _DuplicateNames) and not given.twice.isdisjoint((*names, *beside)):
        raise Unprocessable("malformed", TWICE)
    return {name: given[name] for name in names if name in given}


def _parse(body: bytes, *, is_lenient: bool) -> Any:
    """The JSON value in `body`; raises Unprocessable. `_tidy` refuses what is no JSON in it.

    Lenient: bytes that are no UTF-8 become halves of surrogate pairs, and a text may hold control characters.
    """
    try:
        text = body.decode("utf-8", "surrogateescape" if is_lenient else "strict")
    except UnicodeDecodeError as error:
        raise Unprocessable(
            "malformed", f"the encoding must be UTF-8, byte {error.start} is not"
        ) from None
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_constant, parse_int=_parse_int if is_lenient else None,
            strict=not is_lenient,
        )  # fmt: skip
    except json.JSONDecodeError as error:
        raise Unprocessable(
            "malformed", f"not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        raise Unprocessable("malformed", f"nested deeper than {DEPTH_MAX}") from None
    except ValueError:
        raise Unprocessable("malformed", _TOO_MANY_DIGITS) from None


def _kind(value: Any) -> str:
    """What was found instead of an object, and what to do about it."""
    if isinstance(value, list):
        return "a list, send each of its orders as a record of its own"
    return (
        "a text, send the object without quotes around it"
        if isinstance(value, str)
        else redacted("", value)
    )


def _decode_plain(body: bytes) -> dict[str, Any] | None:
    """The JSON object of the usual kind of body, at a third of the cost; None where the careful way must look.

    Without escapes, every text of a body in NFC is in NFC. So few brackets cannot be nested too deeply, and if every `":`
    belongs to a name that is there, no name came twice.
    """
    if (
        b"\\" in body
        or body.count(b"{") + body.count(b"[") > DEPTH_MAX
        or not names_can_be_counted(body)
    ):
        return None
    try:
        if not (body.isascii() or unicodedata.is_normalized("NFC", body.decode())):
            return None
        document = orjson.loads(body)
    except (UnicodeDecodeError, orjson.JSONDecodeError):
        return None
    return document if isinstance(document, dict) and has_each_name_once(body, document) else None


_TOO_MANY_DIGITS: Final = "a number has too many digits"
_DIGITS_MAX: Final = 4000


class _NotJson:
    """What stands in the place of a value that is none in JSON."""

    def __init__(self, why: str) -> None:
        self.why = why


class _DuplicateNames(dict[str, Any]):
    """An object in which the names `twice` come twice: two readers might each take another one of the two values."""

    twice: set[str]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    doubled = _DuplicateNames(found)
    doubled.twice = {
        name for name, count in Counter(name for name, _ in pairs).items() if count > 1
    }
    return doubled


def _constant(name: str) -> _NotJson:
    return _NotJson(f"{name} is not JSON")


def _parse_int(digits: str) -> int | _NotJson:
    return int(digits) if len(digits) < _DIGITS_MAX else _NotJson(_TOO_MANY_DIGITS)


def _tidy(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _nfc(value)
    if isinstance(value, _NotJson):
        raise Unprocessable("malformed", value.why)
    if not isinstance(value, dict | list):
        return value
    if isinstance(value, _DuplicateNames):
        raise Unprocessable("malformed", TWICE)
    if depth > DEPTH_MAX:
        raise Unprocessable("malformed", f"nested deeper than {DEPTH_MAX}")
    if isinstance(value, dict):
        return {_nfc(name): _tidy(inner, depth + 1) for name, inner in value.items()}
    return [_tidy(inner, depth + 1) for inner in value]


def _nfc(text: str) -> str:
    """One spelling for one text, so that documents compare; raises Unprocessable for half a surrogate pair."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Unprocessable(
            "malformed", "a text has half a surrogate pair, or bytes that are no UTF-8"
        ) from None
    return unicodedata.normalize("NFC", text)


def with_only_order(value: bytes, number: int) -> bytes:
    """The record with nothing but its order of this number; only a CEB311 message has several."""
    return ceb311.with_only_order(utf8(value), number)
