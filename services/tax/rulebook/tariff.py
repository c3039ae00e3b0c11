"""Goods in the rule files: the tariff, the classes of parcel articles, the positive list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, model_validator

from services.tax.rulebook.rows import (
    Amount,
    Dated,
    Hs,
    Id,
    InclusiveRate,
    Rate,
    Row,
    RuleFault,
    Share,
    Version,
    decimal_string,
)
from services.tax.rulebook.rule_periods import check_periods, faults_of

PREFIX_DIGITS: Final = (10, 8, 6, 4)
"""Lengths of a prefix, the longest first, since the longest one counts."""

CODE_DIGITS: Final = PREFIX_DIGITS[0]
"""Digits of a code in China's tariff."""

T = TypeVar("T")


def longest_prefix(rows: Mapping[str, T], hs_code: str) -> T | None:
    for digits in PREFIX_DIGITS:
        if digits <= len(hs_code) and hs_code[:digits] in rows:
            return rows[hs_code[:digits]]
    return None


def longer(rows: Mapping[str, T], hs_code: str) -> list[T]:
    """Return the rows of longer prefixes that a code shorter than ten digits may stand for."""
    if len(hs_code) >= CODE_DIGITS:
        return []
    return [
        row
        for prefix, row in sorted(rows.items())
        if len(prefix) > len(hs_code) and prefix.startswith(hs_code)
    ]


class Vat(Dated):
    """The value-added tax of a class of goods."""

    class_: Id = Field(alias="class")
    rate: Share


class Consumption(Dated):
    """The consumption tax of a class of goods, where given only from a value per content or unit
    on."""

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

    kind: Literal["tariff"]
    id: Id
    version: Version
    vat: tuple[Vat, ...]
    consumption: tuple[Consumption, ...] = ()
    heading: tuple[Heading, ...]


class Article(Dated):
    """The class of goods in a parcel.

    Another class applies where a piece is worth `dear_from` yuan, or where goods owe consumption
    tax.
    """

    hs: Hs
    class_: Id = Field(alias="class")
    dear_from: Amount | None = None
    dear_class: Id | None = None
    taxed_class: Id | None = None

    @model_validator(mode="after")
    def _one_condition(self) -> Article:
        if (self.dear_from is None) != (self.dear_class is None):
            raise ValueError("dear_from and dear_class go together")
        if self.dear_class is not None and self.taxed_class is not None:
            raise ValueError("another class is for dear goods or for taxed ones, not both")
        return self

    @property
    def classes(self) -> tuple[Id, ...]:
        return tuple(
            name for name in (self.class_, self.dear_class, self.taxed_class) if name is not None
        )


class Articles(Row):
    """A classification of parcel articles."""

    kind: Literal["parcel-articles"]
    id: Id
    version: Version
    article: tuple[Article, ...] = Field(min_length=1)


Kilograms = Annotated[
    Decimal, BeforeValidator(decimal_string), Field(gt=0, max_digits=12, allow_inf_nan=False)
]


class Listed(Dated):
    """Whether goods are on the positive list, by which modes, and how much a person may buy in a
    year."""

    hs: Hs
    listed: StrictBool
    modes: tuple[str, ...] = ()
    kg_a_year: Kilograms | None = None
    note: str = ""


class ListEdition(Dated):
    """A published edition of the list."""

    name: str
    lines: StrictInt = Field(gt=0)


class PositiveList(Row):
    """Goods that retail e-commerce may import; a heading without a row is not known to be among
    them."""

    kind: Literal["positive-list"]
    id: Id
    version: Version
    edition: tuple[ListEdition, ...] = Field(min_length=1)
    goods: tuple[Listed, ...] = Field(min_length=1)


class Nomenclature(Row):
    """The number of headings in each chapter of the Harmonized System: other codes cannot exist."""

    kind: Literal["hs-nomenclature"]
    id: Id
    version: Version
    headings: dict[str, StrictInt]

    def has(self, hs: str) -> bool:
        return 1 <= int(hs[2:4]) <= self.headings.get(hs[:2], 0)


Graded = TypeVar("Graded", Heading, Article, Listed)


def in_force_by_prefix(rows: Iterable[Graded], day: date) -> dict[str, Graded | None]:
    """Return the rows of a day by prefix; None for a listed prefix not in force.

    The None prevents a shorter prefix from applying.
    """
    by_prefix: dict[str, Graded | None] = {}
    for row in rows:
        if row.is_on(day):
            by_prefix[row.hs] = row
        else:
            by_prefix.setdefault(row.hs, None)
    return by_prefix


def check_tariff(tariff: Tariff, known: Nomenclature | None = None) -> None:
    """Check that classes and headings have no gap or overlap, and that classes cover their
    headings' days."""
    classed: tuple[tuple[str, tuple[Vat | Consumption, ...]], ...] = (
        ("vat", tariff.vat),
        ("consumption", tariff.consumption),
    )
    for name, classes in classed:
        for cls in {row.class_ for row in classes}:
            check_periods(
                name,
                f"class {cls}",
                [(i, row) for i, row in enumerate(classes) if row.class_ == cls],
            )
    check_prefixes("heading", tariff.heading, known)
    for index, heading in enumerate(tariff.heading):
        check_periods(
            "heading", f"the duty of hs {heading.hs}", [(index, duty) for duty in heading.duty]
        )
        _covered(index, heading, "vat", heading.vat, tariff.vat)
        if heading.consumption is not None:
            _covered(index, heading, "consumption", heading.consumption, tariff.consumption)


def _covered(
    index: int, heading: Heading, kind: str, cls: str, rows: Sequence[Vat | Consumption]
) -> None:
    dated = [row for row in rows if row.class_ == cls]
    if not dated:
        reason = f"hs {heading.hs} names the {kind} class {cls!r}, which is not there"
        raise RuleFault("heading", index, reason)
    first = min(row.valid_from for row in dated)
    last = max(row.valid_to or date.max for row in dated)
    if first > heading.valid_from or (heading.valid_to or date.max) > last:
        reason = f"hs {heading.hs} is in force on days without a rate of the {kind} class {cls!r}"
        raise RuleFault("heading", index, reason)


def check_prefixes(table: str, rows: Sequence[Graded], known: Nomenclature | None) -> None:
    by_hs: dict[str, list[tuple[int, Graded]]] = {}
    for index, row in enumerate(rows):
        if known is not None and not known.has(row.hs):
            raise RuleFault(
                table,
                index,
                f"hs {row.hs} is unknown: chapter {row.hs[:2]} has "
                f"{known.headings.get(row.hs[:2], 0)} headings",
            )
        by_hs.setdefault(row.hs, []).append((index, row))
    for hs, dated in by_hs.items():
        check_periods(table, f"hs {hs}", dated)


def check_articles(articles: Articles, known: Nomenclature | None) -> None:
    with faults_of(articles.id):
        check_prefixes("article", articles.article, known)


def check_list(positive: PositiveList, known: Nomenclature | None) -> None:
    with faults_of(positive.id):
        check_periods("edition", "the list", list(enumerate(positive.edition)))
        check_prefixes("goods", positive.goods, known)
