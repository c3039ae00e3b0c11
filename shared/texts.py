"""How texts from outside are read and compared: encodings, numbers, names and addresses."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache
from typing import Any, Final

import orjson

from shared.errors import Unprocessable

# No control characters, and no characters that reorder or hide text on the examiner's screen. Also
# none that XML, the format for customs, cannot carry (U+FFFE, U+FFFF).
_UNSEEN: Final = r"\p{Cc}\x{2028}\x{2029}\x{202A}-\x{202E}\x{2066}-\x{2069}\x{FEFF}\x{FFFE}\x{FFFF}"
# Marks alone, fillers, selectors and the empty braille cell print nothing. A name of these is
# blank.
_BLANK: Final = r"\s\p{Cf}\p{Cn}\p{M}\p{Default_Ignorable_Code_Point}\x{2800}"
TEXT: Final = rf"^[^{_UNSEEN}]*[^{_BLANK}{_UNSEEN}][^{_UNSEEN}]*$"
"""Pattern (of pydantic) of a text that is printed for customs."""

_IGNORABLE: Final = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
"""Default_Ignorable_Code_Point of Unicode 15: invisible, though Python may call it printable."""
_INVISIBLE: Final = frozenset(code for first, last in _IGNORABLE for code in range(first, last + 1))
_SEEN_AS_NOTHING: Final = re.compile(
    f"[{''.join(f'{chr(a)}-{chr(b)}' for a, b in _IGNORABLE)}\u2800]"
)

_BOM: Final = b"\xef\xbb\xbf"
_OTHER_BOMS: Final = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def utf8(value: bytes) -> bytes:
    """Return a record's text without the byte order marks and blanks before it, in any order.

    Raises Unprocessable for UTF-16 and UTF-32, by name. Other bytes that are not UTF-8 pass: the
    parser can say where they are.
    """
    text = value.lstrip()
    while text.startswith(_BOM):
        text = text[len(_BOM) :].lstrip()
    # A text begins with a letter, a bracket or a blank of one byte. Only UTF-16 and UTF-32 put a
    # zero beside it.
    if text[:1] in (b"\xff", b"\xfe", b"\x00") or text[1:2] == b"\x00":
        raise Unprocessable("malformed", f"send UTF-8: the value is {_encoding_of(value)}")
    return text


def _encoding_of(value: bytes) -> str:
    for mark, name in _OTHER_BOMS:
        if value.startswith(mark):
            return name
    zeros = value[:8].count(0)
    return "UTF-32" if zeros >= 6 else "UTF-16" if zeros >= 3 else "neither that nor any text"


TWICE: Final = "a name comes twice in one object"
"""Why such a text is refused: two readers might each take another of the two values."""
_SPACED_COLON: Final = re.compile(rb'"\s+:')


def has_name_twice(body: bytes) -> bool:
    """Tell whether an object of this JSON text has a name twice. False for invalid JSON."""
    try:
        if names_can_be_counted(body):
            return not has_each_name_once(body, orjson.loads(body))
        json.loads(body, object_pairs_hook=_once)
    except _Twice:
        return True
    except (ValueError, RecursionError):
        return False
    return False


def names_can_be_counted(body: bytes) -> bool:
    """Tell whether each `":` of a JSON text ends a name.

    It does if no quotation mark is escaped and no blank stands before a colon.
    """
    return b'\\"' not in body and not _SPACED_COLON.search(body)


def has_each_name_once(body: bytes, document: Any) -> bool:
    """Tell whether no object of a JSON text has a name twice.

    The names of the text must be countable. `document` is the parsed text.
    """
    return _names_in(document) == body.count(b'":')


def _names_in(value: Any) -> int:
    """Count the names of members at every depth of a parsed JSON text."""
    count, inside = 0, value
    if type(value) is dict:
        count, inside = len(value), value.values()
    elif type(value) is not list:
        return 0
    for each in inside:
        if type(each) is dict or type(each) is list:
            count += _names_in(each)
    return count


class _Twice(Exception):
    """An object has a name twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


def identifier(text: str) -> str:
    """Return a number or code as stored and compared: composed (NFC), without blanks around it."""
    text = text.strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def hidden_in(text: str) -> str | None:
    """Return code point and place of the first invisible character of an `identifier`, or None."""
    if text.isprintable() and (text.isascii() or not _SEEN_AS_NOTHING.search(text)):
        return None
    return next(
        f"U+{ord(c):04X} at character {at}"
        for at, c in enumerate(text, 1)
        if not c.isprintable() or _SEEN_AS_NOTHING.match(c)
    )


def other_spelling_in(text: str) -> str | None:
    """Return code point and place of the first character with a plainer spelling, or None.

    An example is a full-width digit (NFKC changes it). With such a character, two numbers that look
    alike would be two orders or two persons. `text` is an `identifier`.
    """
    if text.isascii():
        return None
    return next(
        (
            f"U+{ord(c):04X} at character {at}"
            for at, c in enumerate(text, 1)
            if unicodedata.normalize("NFKC", c) != c
        ),
        None,
    )


def normal(text: str) -> str:
    """Return the form in which two spellings of one name are equal.

    Width, case, blanks, invisible characters and the shape of the middle dot do not count.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_ALIKE)
    return " ".join(text.split()).casefold()


def normal_before(text: str) -> str:
    """Return the `normal` of release 0.1.0, whose digests are still stored.

    Invisible characters and the shape of a dot counted then.
    """
    return " ".join(
        (text if text.isascii() else unicodedata.normalize("NFKC", text)).split()
    ).casefold()


_ALIKE: Final = {
    **dict.fromkeys(_INVISIBLE),
    **dict.fromkeys((0x2022, 0x2027, 0x2219, 0x22C5, 0x30FB), "\N{MIDDLE DOT}"),
}


def address_forms(region: str | None, city: str | None, address: str) -> tuple[str, ...]:
    """Return the ways to write an address: the street alone, after its city, after region and city.

    Two addresses are the same if they share a form. Senders write region and city before the
    street, in fields of their own, or both. "Guangdong province" is Guangdong.
    """
    region_name, city_name = _place(region or ""), _place(city or "")
    line = _parted(address)
    street = _behind(_behind(line, region_name), city_name)
    in_town = _joined(city_name, street)
    found = _SUFFIXES.match(line)
    plain = line if found is None else f"{found[1]}{found[2] or ''}{line[found.end() :]}"
    return tuple(sorted({line, plain, street, in_town, _joined(region_name, in_town)}))


_HAN: Final = "\u3400-\u9fff"
_AREA: Final = "特别行政区|自治区|省|市"  # special region, autonomous region, province, city
_TOWN: Final = "自治州|地区|盟|市"  # autonomous prefecture, prefecture, league, city
_SUFFIXES: Final = re.compile(f"([{_HAN}]{{2,8}}?)(?:{_AREA})(?:([{_HAN}]{{2,8}}?)(?:{_TOWN}))?")
_SUFFIX: Final = re.compile(f"(?<=[{_HAN}]{{2}})(?:{_AREA}|{_TOWN})$")
_NEXT_SUFFIX: Final = re.compile(f"(?:{_AREA}|{_TOWN})")
_NO_BLANK: Final = re.compile(f"(?<=[{_HAN}]) | (?=[{_HAN}])")
_COMMAS: Final = str.maketrans(",;\u3001", "   ")


def _parted(text: str) -> str:
    """Return an address in one spelling: commas become blanks.

    No blank stands beside a Han character.
    """
    found = " ".join(normal(text).translate(_COMMAS).split())
    return found if found.isascii() or " " not in found else _NO_BLANK.sub("", found)


@lru_cache(maxsize=4096)
def _place(text: str) -> str:
    """Return a region or city without the word for its kind."""
    return _SUFFIX.sub("", _parted(text))


def _joined(before: str, behind: str) -> str:
    """Join two parts of an address as `_parted` would write them together."""
    if not before or not behind:
        return before or behind
    is_han = "\u3400" <= before[-1] <= "\u9fff" or "\u3400" <= behind[0] <= "\u9fff"
    return before + behind if is_han else f"{before} {behind}"


def _behind(line: str, name: str) -> str:
    """Return the address after a place at its beginning; the whole if it begins otherwise."""
    if not name or not line.startswith(name):
        return line
    rest = line[len(name) :]
    if rest[:1].isascii() and rest[:1].isalnum():
        return line  # a longer word with the same beginning
    found = _NEXT_SUFFIX.match(rest)
    rest = rest[found.end() :] if found else rest
    return rest.lstrip() or line
