"""Dated rules as data: regimes, tax classes and headings, as their files spell them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from shared.events.orders import Direction

Confidence = Literal["published", "secondary", "inferred", "unverified"]


def _decimal_string(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("write numbers as decimal strings, so that none passes through a float")
    return value


Rate = Annotated[Decimal, BeforeValidator(_decimal_string), Field(ge=0, le=10, allow_inf_nan=False)]
"""A share of a value; a duty may pass one, a consumption tax may not (it is part of its own base)."""
InclusiveRate = Annotated[Decimal, BeforeValidator(_decimal_string), Field(ge=0, lt=1, allow_inf_nan=False)]
Share = Annotated[Decimal, BeforeValidator(_decimal_string), Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[Decimal, BeforeValidator(_decimal_string), Field(ge=0, max_digits=15, decimal_places=2, allow_inf_nan=False)]
Source = Annotated[str, StringConstraints(min_length=3)]
Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
Hs = Annotated[str, StringConstraints(pattern=r"^(0[1-9]|[1-8]\d|9[0-7])(\d{2}){1,4}$")]
"""A prefix of a code of chapters 01 to 97: its heading of four digits, or six, eight or ten."""


class Row(BaseModel):
    """A rule with where it comes from; a key it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    source: Source
    confidence: Confidence = "published"


class Dated(Row):
    """A rule in force from its first to its last day, both included; without a last day it is in force still."""

    valid_from: date
    valid_to: date | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Dated:
        if self.valid_to is not None and self.valid_to < self.valid_from:
            raise ValueError(f"valid_to {self.valid_to} is before valid_from {self.valid_from}")
        return self

    def is_on(self, day: date) -> bool:
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)


class SingleLimit(Row):
    """What one order may be worth, and what happens beyond."""

    amount: Amount
    code: str
    one_piece: Literal["full-rate", "refuse"]
    several: Literal["full-rate", "refuse"]


class YearlyLimit(Row):
    """What one person may buy in a calendar year, Beijing time; beyond, the goods leave this channel."""

    amount: Amount
    code: str
    over: Literal["refuse"]


class Within(Row):
    """What is owed inside the limits: a duty rate, and the shares of consumption tax and VAT that are levied."""

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
    """A regime of retail import: limits, a reduced rate inside them, the full rate for one piece beyond."""

    kind: Literal["retail-import"]
    id: Id
    version: int
    name: str
    direction: Literal["import"]
    modes: tuple[str, ...]
    currency: Literal["CNY"]
    single: SingleLimit
    yearly: YearlyLimit
    within: Within
    waiver: Waiver
    rounding: Rounding


class Exempt(Dated):
    """A regime under which nothing is owed."""

    kind: Literal["exempt"]
    id: Id
    version: int
    name: str
    direction: Direction
    modes: tuple[str, ...]


Regime = RetailImport | Exempt


class Vat(Dated):
    """The value-added tax of a class of goods."""

    class_: Id = Field(alias="class")
    rate: Rate


class Consumption(Dated):
    """The consumption tax of a class of goods, from a dutiable value per content or per unit on where there is one."""

    class_: Id = Field(alias="class")
    rate: InclusiveRate
    per_content: dict[Literal["ml", "g", "piece"], Amount] | None = None
    per_unit: Amount | None = None

    @model_validator(mode="after")
    def _one_threshold(self) -> Consumption:
        if self.per_content is not None and self.per_unit is not None:
            raise ValueError("a threshold is per_content or per_unit, not both")
        return self


class Duty(Dated):
    """The import duty of a heading."""

    rate: Rate


class Heading(Dated):
    """A heading of the tariff: its classes, and its duty where it is known."""

    hs: Hs
    name: str
    vat: Id
    consumption: Id | None = None
    duty: tuple[Duty, ...] = ()


class Tariff(Row):
    """The rates of a country by heading."""

    id: Id
    version: int
    vat: tuple[Vat, ...]
    consumption: tuple[Consumption, ...] = ()
    heading: tuple[Heading, ...]


class RuleFault(ValueError):
    """The rules contradict each other: which row of which table, and why."""

    def __init__(self, table: str, index: int, reason: str) -> None:
        super().__init__(reason)
        self.table = table
        self.index = index


class _Placed(Protocol):
    @property
    def valid_from(self) -> date: ...
    @property
    def valid_to(self) -> date | None: ...


def check_periods(table: str, what: str, rows: Iterable[tuple[int, _Placed]]) -> None:
    """The rows of one thing follow each other without gap or overlap; raises RuleFault naming the later row."""
    before: _Placed | None = None
    for index, row in sorted(rows, key=lambda placed: placed[1].valid_from):
        if before is not None:
            _follows(table, what, index, before, row)
        before = row


def _follows(table: str, what: str, index: int, before: _Placed, row: _Placed) -> None:
    if before.valid_to is None or row.valid_from <= before.valid_to:
        until = before.valid_to or "on"
        raise RuleFault(table, index, f"{what} from {row.valid_from} overlaps the row from {before.valid_from} {until}")
    if row.valid_from != before.valid_to + timedelta(days=1):
        raise RuleFault(table, index, f"{what} has a gap from {before.valid_to} to {row.valid_from}")


def check_tariff(tariff: Tariff) -> None:
    """Every class and heading is dated without gap or overlap, and every class a heading names covers its days."""
    classed: tuple[tuple[str, tuple[Vat | Consumption, ...]], ...] = (("vat", tariff.vat), ("consumption", tariff.consumption))
    for name, classes in classed:
        for cls in {row.class_ for row in classes}:
            check_periods(name, f"class {cls}", [(i, row) for i, row in enumerate(classes) if row.class_ == cls])
    for hs in {row.hs for row in tariff.heading}:
        check_periods("heading", f"hs {hs}", [(i, row) for i, row in enumerate(tariff.heading) if row.hs == hs])
    for index, heading in enumerate(tariff.heading):
        check_periods("heading", f"the duty of hs {heading.hs}", [(index, duty) for duty in heading.duty])
        _covered(index, heading, "vat", heading.vat, tariff.vat)
        if heading.consumption is not None:
            _covered(index, heading, "consumption", heading.consumption, tariff.consumption)


def _covered(index: int, heading: Heading, kind: str, cls: str, rows: Sequence[Vat | Consumption]) -> None:
    dated = [row for row in rows if row.class_ == cls]
    if not dated:
        raise RuleFault("heading", index, f"hs {heading.hs} names the {kind} class {cls!r}, which is not there")
    ends = [row.valid_to for row in dated]
    last = None if None in ends else max(end for end in ends if end is not None)
    ends_early = last is not None and (heading.valid_to is None or heading.valid_to > last)
    if min(row.valid_from for row in dated) > heading.valid_from or ends_early:
        raise RuleFault("heading", index, f"hs {heading.hs} is in force on days without a rate of the {kind} class {cls!r}")
