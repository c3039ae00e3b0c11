"""Types of the fields in submissions, with the checks of their spelling."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

FIRST_DAY: Final = date(2000, 1, 1)


LAST_DAY: Final = date(2099, 12, 31)
"""Bounds of a declaration's day: no rule is older, and none is meant for later."""


HS_CODE: Final = r"^[0-9]{4}(\.?[0-9]{2}){0,3}$"


DECIMAL_PATTERN: Final = re.compile(r"-?[0-9]{1,60}(\.[0-9]{1,60})?")


TIME_PATTERN: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)"
    r"(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)


_NO_NUMBER: Final = {"NaN", "sNaN", "Infinity", "-Infinity", "inf", "-inf"}


def _decimal_string(value: Any) -> Any:
    """Require digits and a point: no exponents, underscores, blanks, or digits of other scripts."""
    if not isinstance(value, str):
        raise ValueError('write it as a decimal string, like "12.00"')
    if DECIMAL_PATTERN.fullmatch(value) is None and value not in _NO_NUMBER:
        raise PydanticCustomError("decimal_parsing", "Input should be a valid decimal")
    return value


def _whole_number(value: Any) -> Any:
    """Require a JSON integer: `"1"` and `1.0` beside `1` would be one line number in two
    spellings."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


def _country(value: str) -> str:
    from services.orders.intake.codes import is_country

    if not is_country(value):
        raise PydanticCustomError("is_country", "ISO 3166-1 alpha-2 in capitals, like US")
    return value


def parse_time(value: Any) -> Any:
    """Parse RFC 3339 with any number of fraction digits, of a year from 2000 to 2099.

    A time without offset is allowed here, as `--at` may replace it.
    """
    parsed = TIME_PATTERN.fullmatch(value) if isinstance(value, str) else None
    try:
        if parsed is None:
            raise ValueError
        day, clock, fraction, offset = parsed.groups()
        seconds = clock if len(clock) > 5 else f"{clock}:00"
        beyond = f".{(fraction or '0')[:6]:0<6}{(offset or '').upper().replace('Z', '+00:00')}"
        moment = datetime.fromisoformat(f"{day}T{seconds}{beyond}")
    except ValueError:
        raise PydanticCustomError("datetime_parsing", "Input should be a valid datetime") from None
    if not FIRST_DAY.year <= moment.year <= LAST_DAY.year:
        raise PydanticCustomError("is_time", "a time of a year from 2000 to 2099")
    return moment


Decimals = Annotated[
    Decimal, BeforeValidator(_decimal_string), Field(ge=0, allow_inf_nan=False, max_digits=24)
]


Count = Annotated[Decimals, Field(gt=0)]


HsCode = Annotated[str, Field(pattern=HS_CODE)]


LineNo = Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=999_999)]


Time = Annotated[datetime, BeforeValidator(parse_time)]


CountryCode = Annotated[str, Field(pattern="^[A-Z]{2}$"), AfterValidator(_country)]
