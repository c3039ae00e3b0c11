"""How texts from outside are read: one encoding, one spelling of a number, and one judgement of what is the same name or address."""

from __future__ import annotations

import unicodedata
from typing import Final

from shared.errors import Unprocessable

_BOM: Final = b"\xef\xbb\xbf"
_OTHER_BOMS: Final = (
    (b"\xff\xfe\x00\x00", "UTF-32"), (b"\x00\x00\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"),
)  # fmt: skip


def utf8(value: bytes) -> bytes:
    """The text of a record without a byte order mark and without blanks before it.

    Raises Unprocessable for UTF-16 and UTF-32, by name. Other bytes that are no UTF-8 are the parser's affair, which knows where.
    """
    text = value.removeprefix(_BOM).lstrip()
    # A text that begins with a letter, a bracket or a blank of one byte has a zero beside it in no encoding but these.
    if text[:1] in (b"\xff", b"\xfe", b"\x00") or text[1:2] == b"\x00":
        raise Unprocessable("malformed", f"send UTF-8: the value is {_encoding_of(value)}")
    return text


def _encoding_of(value: bytes) -> str:
    for mark, name in _OTHER_BOMS:
        if value.startswith(mark):
            return name
    zeros = value[:8].count(0)
    return "UTF-32" if zeros >= 6 else "UTF-16" if zeros >= 3 else "neither that nor any text"


def identifier(text: str) -> str:
    """A number or code as it is kept and compared: composed (NFC) and without blanks around it."""
    text = text.strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def hidden_in(text: str) -> str | None:
    """The first character of an `identifier` that nobody sees, and where it stands; None if all can be seen."""
    if text.isprintable():
        return None
    return next(f"U+{ord(c):04X} at character {at}" for at, c in enumerate(text, 1) if not c.isprintable())


def other_spelling_in(text: str) -> str | None:
    """The first character of an `identifier` that has a plainer spelling (NFKC), such as a full-width digit; None if none has.

    With it, two numbers that look alike would be two orders, or two persons.
    """
    if text.isascii():
        return None
    return next(
        (f"U+{ord(c):04X} at character {at}" for at, c in enumerate(text, 1) if unicodedata.normalize("NFKC", c) != c), None
    )
