"""Rows of the rule files: what every row carries, and the regimes."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    model_validator,
)

from shared.events.orders import Direction

Confidence = Literal["published", "secondary", "inferred", "unverified"]


_DECIMAL: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")


def decimal_string(value: Any) -> Any:
    """Return a number of a rule file; raises ValueError for one that TOML reads as float or
    integer."""
    if not isinstance(value, str):
        raise ValueError("write numbers as decimal strings, so that none passes through a float")
    if _DECIMAL.fullmatch(value) is None:
        raise ValueError("a decimal string has digits and a point only, like 0.13")
    return value


_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def a_day(value: Any) -> Any:
    """Return a day of a rule file; raises ValueError for a time or a number (seconds since
    1970)."""
    if isinstance(value, datetime) or not isinstance(value, date | str):
        raise ValueError("write a day like 2026-11-23, without a time")
    if isinstance(value, str) and _DAY.fullmatch(value) is None:
        raise ValueError("write a day like 2026-11-23")
    return value


Day = Annotated[date, BeforeValidator(a_day)]
Version = StrictInt

RATE_MAX: Final = 4
"""The highest share a charge may be. Tobacco owes 350 % in the United States, the highest duty of
any corridor here. A rate written as percent ("9" for "0.09") is refused."""
Rate = Annotated[
    Decimal, BeforeValidator(decimal_string), Field(ge=0, le=RATE_MAX, allow_inf_nan=False)
]
"""A share of a value. A duty may exceed one; a consumption tax may not, as it is part of its own
base."""
InclusiveRate = Annotated[
    Decimal, BeforeValidator(decimal_string), Field(ge=0, lt=1, allow_inf_nan=False)
]
Share = Annotated[Decimal, BeforeValidator(decimal_string), Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[
    Decimal,
    BeforeValidator(decimal_string),
    Field(ge=0, max_digits=15, decimal_places=2, allow_inf_nan=False),
]
Source = Annotated[str, StringConstraints(min_length=3)]
Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
Hs = Annotated[str, StringConstraints(pattern=r"^(0[1-9]|[1-8][0-9]|9[0-7])([0-9]{2}){1,4}$")]
"""A prefix of a code of chapters 01 to 97, with four, six, eight or ten digits."""


Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2."""


class Row(BaseModel):
    """A rule with its source; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    source: Source
    confidence: Confidence = "published"


class Dated(Row):
    """A rule in force from its first to its last day, both included; without a last day it is
    open."""

    valid_from: Day
    valid_to: Day | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Dated:
        if self.valid_to is not None and self.valid_to < self.valid_from:
            raise ValueError(f"valid_to {self.valid_to} is before valid_from {self.valid_from}")
        return self

    def is_on(self, day: date) -> bool:
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)


def day_after(day: date) -> date | None:
    """Return the next day; None after the calendar's last, so `valid_to = 9999-12-31` means no
    end."""
    return None if day == date.max else day + timedelta(days=1)


class SingleLimit(Row):
    """The limit of one order, and what happens beyond it."""

    amount: Amount
    code: str
    one_piece: Literal["full-rate", "refuse"]
    several: Literal["full-rate", "refuse"]


class YearlyLimit(Row):
    """The limit of a person's calendar year, Beijing time.

    Beyond it, goods leave this channel, or owe all taxes in full and count to no year.
    """

    amount: Amount
    code: str
    over: Literal["full-rate", "refuse"]


class ReducedRates(Row):
    """The rates inside the limits: a duty, and the levied shares of consumption tax and VAT."""

    duty: Rate
    consumption_share: Share
    vat_share: Share


class Waiver(Row):
    """Tax up to this amount is not levied."""

    tax_at_most: Amount


class Rounding(Row):
    """How tax is rounded; there is one way so far."""

    to: Literal["fen"]
    method: Literal["half-up"]
    each: Literal["line"]


class RetailImport(Dated):
    """A regime of retail import: limits, a reduced rate inside them, the full rate for one piece
    beyond.

    Only goods on the positive list are admitted. For refused goods the fallback regime tells what
    they would owe.
    """

    kind: Literal["retail-import"]
    id: Id
    version: Version
    name: str
    direction: Literal["import"]
    modes: tuple[str, ...]
    currency: Literal["CNY"]
    single: SingleLimit
    yearly: YearlyLimit
    reduced_rates: ReducedRates = Field(alias="within")
    waiver: Waiver
    rounding: Rounding
    positive_list: Id
    fallback_regime: Id = Field(alias="otherwise")


class ParcelLimit(Row):
    """The limit of a parcel of several pieces; one indivisible piece may be worth more."""

    amount: Amount
    code: str
    sent_from: tuple[Country, ...] = ()


class ParcelRate(Row):
    """The rate of a class of articles."""

    class_: Id = Field(alias="class")
    name: str
    rate: Share


class ParcelTax(Dated):
    """The single tax on personal parcels (行邮税): rates by class, limits by sending country, a
    waiver."""

    kind: Literal["parcel-tax"]
    id: Id
    version: Version
    name: str
    direction: Literal["import"]
    modes: tuple[str, ...]
    currency: Literal["CNY"]
    articles: Id
    limit: tuple[ParcelLimit, ...] = Field(min_length=1)
    rate: tuple[ParcelRate, ...] = Field(min_length=1)
    waiver: Waiver
    rounding: Rounding

    @model_validator(mode="after")
    def _told_apart(self) -> ParcelTax:
        if sum(not limit.sent_from for limit in self.limit) != 1:
            raise ValueError(
                "one limit, and only one, must hold for every other place: without sent_from"
            )
        named = [place for limit in self.limit for place in limit.sent_from]
        classes = [rate.class_ for rate in self.rate]
        for what, names in (("sent_from", named), ("class", classes)):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{what} {min(twice)!r} overlaps: it is there twice")
        return self


class GeneralTrade(Dated):
    """Imports outside the retail channel: all taxes in full; a duty up to the waiver is not
    levied."""

    kind: Literal["general-trade"]
    id: Id
    version: Version
    name: str
    direction: Literal["import"]
    modes: tuple[str, ...]
    currency: Literal["CNY"]
    duty_waiver: Waiver
    rounding: Rounding


class Exempt(Dated):
    """A regime under which nothing is owed."""

    kind: Literal["exempt"]
    id: Id
    version: Version
    name: str
    direction: Direction
    modes: tuple[str, ...]


Regime = RetailImport | ParcelTax | GeneralTrade | Exempt


class RuleFault(ValueError):
    """The rules contradict each other: names the file's id, the table, the row and the reason."""

    def __init__(self, table: str, index: int, reason: str) -> None:
        super().__init__(reason)
        self.table = table
        self.index = index
        self.of: str | None = None
