"""How texts from outside are read: one encoding, one spelling of a number, and one judgement of what is the same name or address."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache
from typing import Any, Final

import orjson

from shared.errors import Unprocessable

# No control characters, none of those that reorder or hide text on the screen of whoever examines the order, and none that
# XML, which customs is written to in, cannot carry (U+FFFE, U+FFFF).
_UNSEEN: Final = r"\p{Cc}\x{2028}\x{2029}\x{202A}-\x{202E}\x{2066}-\x{2069}\x{FEFF}\x{FFFE}\x{FFFF}"
# Marks alone, fillers, selectors and the empty braille cell print nothing: a name made of them is a blank one.
_BLANK: Final = r"\s\p{Cf}\p{Cn}\p{M}\p{Default_Ignorable_Code_Point}\x{2800}"
TEXT: Final = rf"^[^{_UNSEEN}]*[^{_BLANK}{_UNSEEN}][^{_UNSEEN}]*$"
"""What a text must match that is printed for customs; a pattern of pydantic's."""

_IGNORABLE: Final = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F),
    (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
"""Default_Ignorable_Code_Point of Unicode 15: what a screen shows nothing for, though Python may call it printable."""
_INVISIBLE: Final = frozenset(code for first, last in _IGNORABLE for code in range(first, last + 1))
_SEEN_AS_NOTHING: Final = re.compile(
    f"[{''.join(f'{chr(a)}-{chr(b)}' for a, b in _IGNORABLE)}\u2800]"
)

_BOM: Final = b"\xef\xbb\xbf"
_OTHER_BOMS: Final = (
    (b"\xff\xfe\x00\x00", "UTF-32"), (b"\x00\x00\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"),
)  # fmt: skip


def utf8(value: bytes) -> bytes:
    """The text of a record without byte order marks and blanks before it, in whatever order they stand.

    Raises Unprocessable for UTF-16 and UTF-32, by name. Other bytes that are no UTF-8 are the parser's affair, which knows where.
    """
    text = value.lstrip()
    while text.startswith(_BOM):
        text = text[len(_BOM) :].lstrip()
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


TWICE: Final = "a name comes twice in one object"
"""Two readers might each take another one of the two values."""
_SPACED_COLON: Final = re.compile(rb'"\s+:')


def has_name_twice(body: bytes) -> bool:
    """Whether an object of this JSON text has a name twice; False for what is no JSON."""
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
    """Whether each `":` of a JSON text ends a name: no quotation mark is escaped, and no blank stands before a colon."""
    return b'\\"' not in body and not _SPACED_COLON.search(body)


def has_each_name_once(body: bytes, document: Any) -> bool:
    """Whether no object of a JSON text, whose names can be counted, has a name twice; `document` is what a parser made of it."""
    return _names_in(document) == body.count(b'":')


def _names_in(value: Any) -> int:
    """How many names of members there are, at every depth of what a JSON parser made."""
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
    """A name comes twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


def identifier(text: str) -> str:
    """A number or code as it is kept and compared: composed (NFC) and without blanks around it."""
    text = text.strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def hidden_in(text: str) -> str | None:
    """The first character of an `identifier` that nobody sees, and where it stands; None if all can be seen."""
    if text.isprintable() and (text.isascii() or not _SEEN_AS_NOTHING.search(text)):
        return None
    return next(
        f"U+{ord(c):04X} at character {at}"
        for at, c in enumerate(text, 1)
        if not c.isprintable() or _SEEN_AS_NOTHING.match(c)
    )


def other_spelling_in(text: str) -> str | None:
    """The first character of an `identifier` that has a plainer spelling (NFKC), such as a full-width digit; None if none has.

    With it, two numbers that look alike would be two orders, or two persons.
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
    """What two people write of one name: width, case, blanks, invisible characters and the shape of the middle dot do not count."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_ALIKE)
    return " ".join(text.split()).casefold()


def normal_before(text: str) -> str:
    """`normal` as release 0.1.0 had it, of which digests are stored: invisible characters and the shape of a dot counted."""
    return " ".join(
        (text if text.isascii() else unicodedata.normalize("NFKC", text)).split()
    ).casefold()


_ALIKE: Final = {
    **dict.fromkeys(_INVISIBLE),
    **dict.fromkeys((0x2022, 0x2027, 0x2219, 0x22C5, 0x30FB), "\N{MIDDLE DOT}"),
}


def address_forms(region: str | None, city: str | None, address: str) -> tuple[str, ...]:
    """The ways to write one address: the street alone, behind its city, and behind region and city.

    Two addresses are the same if they share one. Some write region and city before the street, some in fields of their own,
    some both; "Guangdong province" is Guangdong.
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
    """An address in one spelling: commas are blanks, and there are none beside Han characters."""
    found = " ".join(normal(text).translate(_COMMAS).split())
    return found if found.isascii() or " " not in found else _NO_BLANK.sub("", found)


@lru_cache(maxsize=4096)
def _place(text: str) -> str:
    """A region or city without the word for what it is."""
    return _SUFFIX.sub("", _parted(text))


def _joined(before: str, behind: str) -> str:
    """Two parts of an address as `_parted` would have them together."""
    if not before or not behind:
        return before or behind
    is_han = "\u3400" <= before[-1] <= "\u9fff" or "\u3400" <= behind[0] <= "\u9fff"
    return before + behind if is_han else f"{before} {behind}"


def _behind(line: str, name: str) -> str:
    """What stands behind a place at the beginning of an address; all of it if it does not begin there."""
    if not name or not line.startswith(name):
        return line
    rest = line[len(name) :]
    if rest[:1].isascii() and rest[:1].isalnum():
        return line  # another word that begins alike
    found = _NEXT_SUFFIX.match(rest)
    rest = rest[found.end() :] if found else rest
    return rest.lstrip() or line
