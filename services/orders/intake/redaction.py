"""What a refusal may say about a value it found: enough to mend it, and nothing of a person."""

from __future__ import annotations

import re
from typing import Any, Final

ECHO_MAX: Final = 60

_PERSONS: Final = ("buyer", "consignee", "payment.payer")
"""Nothing below these is echoed, the kind of document and the place no more than a name: what stands in the wrong field of a
person is likely the person."""

_WITHHELD: Final = frozenset({*_PERSONS, "payment", "payment.token"})
"""A text in place of an object is likely the person in one line. The token is no person's but lets whoever reads it collect
the payment."""

# A value put into the wrong field must not reach the log: identity numbers (18, or 15 of the old kind) and telephones, in any
# grouping and with whatever country code. A run of 11 digits and more is none of the values a refusal needs to quote.
_LIKE_PERSONAL: Final = re.compile(r"\+?\d(?:[ -]?\d){10,}[Xx]?|\+\d(?:[ -]?\d){6,}")
_KINDS: Final[dict[type, str]] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    dict: "an object",
    list: "a list",
}


def redacted(field: str, value: Any) -> str:
    """The value as a refusal may show it, at most ECHO_MAX characters."""
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
    """A text that is not personal by its place, yet may be by mistake."""
    if len(text) > ECHO_MAX:
        return f"{len(text)} characters"
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return _LIKE_PERSONAL.sub("(digits hidden)", shown)
