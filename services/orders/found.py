"""What a refusal may say about a value it found: enough to mend it, and nothing of a person."""

from __future__ import annotations

import re
from typing import Any, Final

ECHO_MAX: Final = 60

PERSONAL: Final = frozenset(
    {
        "buyer.name",
        "buyer.id_number",
        "buyer.phone",
        "payment.token",
        "payment.payer.name",
        "payment.payer.id_number",
        "consignee.name",
        "consignee.phone",
        "consignee.address",
        "consignee.postcode",
    }
)
"""Never echoed. The token is no person's but lets whoever reads it collect the payment."""

_HOLDERS: Final = frozenset(field[:dot] for field in PERSONAL for dot, sign in enumerate(field) if sign == ".")
"""What personal fields stand in: a text in place of the object is likely the person in one line."""

# A value put into the wrong field must not reach the log: identity numbers (18, or 15 of the old kind) and mobiles.
_LIKE_PERSONAL: Final = re.compile(r"(?<![0-9])(?:[0-9]{17}[0-9Xx]|[0-9]{15}|1[3-9][0-9]{9})(?![0-9])")
_KINDS: Final[dict[type, str]] = {bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list"}


def found_of(field: str, value: Any) -> str:
    """The value as a refusal may show it, at most ECHO_MAX characters."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"{len(value)} characters" if field in PERSONAL or field in _HOLDERS else echo(value)
    kind = _KINDS.get(type(value), "something else")
    if field in PERSONAL or kind in ("an object", "a list", "something else"):
        return kind
    return f"{kind}, {echo(str(value).lower())}"


def echo(text: str) -> str:
    """A text that is not personal by its place, yet may be by mistake."""
    if len(text) > ECHO_MAX:
        return f"{len(text)} characters"
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return _LIKE_PERSONAL.sub("(digits hidden)", shown)
