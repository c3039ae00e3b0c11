"""JSON objects from outside: UTF-8, NFC, each name once, bounded depth."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import orjson

from services.orders.intake.redaction import redacted
from shared.errors import Unprocessable
from shared.texts import TWICE, has_each_name_once, names_can_be_counted

JSON_BYTES_MAX: Final = 256 * 1024
DEPTH_MAX: Final = 16


_TOO_MANY_DIGITS: Final = "a number has too many digits"


_DIGITS_MAX: Final = 4000


class _NotJson:
    """Stands for a value that JSON does not allow."""

    def __init__(self, why: str) -> None:
        self.why = why


class _DuplicateNames(dict[str, Any]):
    """An object in which the names `twice` come twice: readers might take different values."""

    twice: set[str]


def read_object(body: bytes, *, is_command: bool = False) -> dict[str, Any]:
    """Return the JSON object in `body`, its texts in NFC. Raises Unprocessable.

    The error gives the place of a fault, never the text. Of a command only the members that name
    the order and its lines must be sound; other members cannot make it invalid.
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
    tidied = _tidy(_members_of_command(document) if is_command else document, 1)
    assert isinstance(tidied, dict)
    return tidied | reason


_COMMAND_NAMES: Final = ("order_no", "lines", "refund_if_late", "data", "payload")


def _members_of_command(document: dict[str, Any]) -> dict[str, Any]:
    members = _part_of(document, _COMMAND_NAMES, beside=("platform",))
    platform = document.get("platform")
    return members | {
        "platform": _part_of(platform, ("code",)) if isinstance(platform, dict) else platform
    }


def _part_of(
    given: dict[str, Any], names: Sequence[str], beside: Sequence[str] = ()
) -> dict[str, Any]:
    """Return these members. Raises Unprocessable if one of `names` or `beside` comes twice."""
    if isinstance(given, _DuplicateNames) and not given.twice.isdisjoint((*names, *beside)):
        raise Unprocessable("malformed", TWICE)
    return {name: given[name] for name in names if name in given}


def _parse(body: bytes, *, is_lenient: bool) -> Any:
    """Return the JSON value in `body`; `_tidy` refuses NaN and the like later. Raises
    Unprocessable.

    Lenient: invalid UTF-8 becomes halves of surrogate pairs, and texts may hold control characters.
    """
    try:
        text = body.decode("utf-8", "surrogateescape" if is_lenient else "strict")
    except UnicodeDecodeError as error:
        raise Unprocessable(
            "malformed", f"the encoding must be UTF-8, byte {error.start} is not"
        ) from None
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_constant,
            parse_int=_parse_int if is_lenient else None,
            strict=not is_lenient,
        )
    except json.JSONDecodeError as error:
        raise Unprocessable(
            "malformed", f"not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        raise Unprocessable("malformed", f"nested deeper than {DEPTH_MAX}") from None
    except ValueError:
        raise Unprocessable("malformed", _TOO_MANY_DIGITS) from None


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list, send each of its orders as a record of its own"
    return (
        "a text, send the object without quotes around it"
        if isinstance(value, str)
        else redacted("", value)
    )


def _decode_plain(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a usual body at a third of the cost; None if `_parse` must look.

    Without escapes, the texts of a body in NFC are in NFC. Few brackets cannot be nested too
    deeply. If every `":` belongs to a name of the object, no name comes twice.
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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    doubled = _DuplicateNames(members)
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
    """Return the text in NFC, so that equal texts compare equal.

    Raises Unprocessable for half a pair.
    """
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Unprocessable(
            "malformed", "a text has half a surrogate pair, or bytes that are no UTF-8"
        ) from None
    return unicodedata.normalize("NFC", text)
