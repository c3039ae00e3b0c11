"""What a fault may show of a value: enough to correct it, nothing of a person."""

from __future__ import annotations

import re
from typing import Any, Final

ECHO_MAX: Final = 60

_PERSONS: Final = ("buyer", "consignee", "payment.payer")
"""No text below these is shown: a text in the wrong field of a person is likely the person."""

_WITHHELD: Final = frozenset({*_PERSONS, "payment", "payment.token"})
"""Fields whose text is not shown either: a text in the place of an object is likely the person.

With the token, whoever reads it could collect the payment."""

# A value in the wrong field must not reach the log: identity numbers (18 digits, or 15 of the old
# kind) and telephones, in any grouping and with any country code. No fault needs to show a run of
# 11 or more digits.
_LIKE_PERSONAL: Final = re.compile(r"\+?\d(?:[ -]?\d){10,}[Xx]?|\+\d(?:[ -]?\d){6,}")
_KINDS: Final[dict[type, str]] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    dict: "an object",
    list: "a list",
}


def redacted(field: str, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"{len(value)} characters" if _is_personal(field) else echo(value)
    kind = _KINDS.get(type(value), "something else")
    if _is_personal(field) or kind in ("an object", "a list", "something else"):
        return kind
    return f"{kind}, {echo(str(value).lower())}"


def _is_personal(field: str) -> bool:
    return field in _WITHHELD or field.startswith(tuple(f"{person}." for person in _PERSONS))


def echo(text: str) -> str:
    """Return a text of a field that is not personal, with what looks personal hidden."""
    if len(text) > ECHO_MAX:
        return f"{len(text)} characters"
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return _LIKE_PERSONAL.sub("(digits hidden)", shown)
