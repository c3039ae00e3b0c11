"""Fields that entries of several messages share: numbers, statuses, codes and times. Pure."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from functools import lru_cache
from typing import Final

from services.customs.ceb import codes
from shared.clock import BEIJING
from shared.xml import XmlRefused

# The authority writes `[Code:1800;Desc:…]`, sometimes `Code:1313` without brackets, or right behind
# a Chinese word.
_INNER_CODE: Final = re.compile(
    r"(?<![A-Za-z0-9_])Code\s*[:：]\s*(-?[0-9]{1,9})(?![0-9])", re.IGNORECASE
)


NUMBER_CHARS_MAX: Final = 64
"""Longer than any number of the family (taxNo: 50)."""


YEARS: Final = range(2000, 2200)
"""Years of a receipt's time: the family began in 2014, and terms are counted from it."""


_STATUS: Final = re.compile(r"-?[0-9]{1,10}")


EXPORT_NUMBER: Final = re.compile(r"[0-9]{8}E[0-9]{9,11}")
"""An invtNo of an export: customs, year, E and 9 to 11 digits (202205)."""


def require_fields(message_type: str, fields: dict[str, str], *names: str) -> None:
    if not fields.keys() >= frozenset(names):
        missing = [name for name in names if name not in fields]
        raise XmlRefused(f"{message_type} lacks {', '.join(missing)}", "unknown_shape")
    for name in names:
        if len(fields[name]) > NUMBER_CHARS_MAX:
            raise XmlRefused(
                f"{message_type}: {name} has more than {NUMBER_CHARS_MAX} characters",
                "invalid_value",
            )


def read_count(message_type: str, fields: dict[str, str], name: str) -> int:
    """Return a number from 1; 1 where it is absent: "not filled in where not split"."""
    value = fields.get(name, "1")
    if not (value.isascii() and value.isdecimal() and len(value) <= 9 and int(value) > 0):
        raise XmlRefused(f"{message_type}: {name} must be a number from 1", "invalid_value")
    return int(value)


def read_status(message_type: str, fields: dict[str, str]) -> str:
    # An unlisted status may be a port's own: the entry is stored for a person to look at.
    if not _STATUS.fullmatch(fields["returnStatus"]):
        raise XmlRefused(
            f"{message_type}: returnStatus must be a number of up to 10 digits", "invalid_value"
        )
    return fields["returnStatus"]


def code_in(info: str) -> str | None:
    """Return the code that a text gives as its reason: the last that is no "passed", else the last;
    None without codes.

    One text may report several checks: `[Code:1800;Desc:passed][Code:1313;Desc:yearly limit]` is a
    refusal for 1313.
    """
    plain = (
        info if info.isascii() else unicodedata.normalize("NFKC", info)
    )  # full-width letters and digits count too
    codes_in_text = _INNER_CODE.findall(plain)
    errors = [code for code in codes_in_text if not codes.is_passed(code)]
    return next(reversed(errors or codes_in_text), None)


@lru_cache(maxsize=256)
def return_time(value: str) -> datetime:
    """Read yyyyMMddHHmmssSSS, Beijing. Raises XmlRefused."""
    try:
        if len(value) != 17 or not (value.isascii() and value.isdecimal()):
            raise ValueError
        # Not by `strptime`, which takes ten times as long: every list has three receipts.
        day, clock = (
            (int(value[:4]), int(value[4:6]), int(value[6:8])),
            (int(value[8:10]), int(value[10:12]), int(value[12:14])),
        )
        if day[0] not in YEARS:
            raise ValueError
        return datetime(*day, *clock, int(value[14:]) * 1000, tzinfo=BEIJING)
    except ValueError:
        raise XmlRefused(
            "returnTime must be 17 digits, yyyyMMddHHmmssSSS, of the years 2000 to 2199",
            "invalid_value",
        ) from None
