"""What all rule files have in common: the names of their rules, and their first and last days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Final, NamedTuple

from services.tax.exports.domain import ExportRoutes, RebateRates
from services.tax.landed.charge_rules import Charge, Judged
from services.tax.landed.destination import Destination
from services.tax.rulebook import files
from services.tax.rulebook.exchange import ExchangeRates
from services.tax.rulebook.goods_lists import GoodsList
from services.tax.rulebook.rows import (
    Dated,
    Exempt,
    GeneralTrade,
    ParcelTax,
    RetailImport,
    Row,
    day_after,
)
from services.tax.rulebook.tariff import Articles, PositiveList, Tariff
from shared.clock import BEIJING

OtherDocument = Destination | GoodsList | ExportRoutes | RebateRates
Document = files.Document | OtherDocument


class End(NamedTuple):
    """A table and its last day; `carried_over` where an earlier period stands in for the last
    one."""

    table: str
    last: date
    carried_over: bool = False

    @property
    def over(self) -> datetime:
        return datetime.combine(day_after(self.last) or self.last, time.min, BEIJING)

    def left(self, today: date) -> int:
        """Return how many days are left after today; negative once the last day is over."""
        return (self.last - today).days


def rows_of_other(document: OtherDocument) -> Iterator[tuple[str, Row]]:
    of, head = document.id, f"{document.id}@{document.version}"
    yield head, document
    match document:
        case Destination():
            yield from _of_destination(document)
        case GoodsList():
            yield from ((f"{of}/{row.hs}/{row.valid_from}", row) for row in document.goods)
        case ExportRoutes():
            yield from (
                (f"{head}/{route.id}/{route.valid_from}", route) for route in document.route
            )
            yield from (
                (f"{head}/deemed-income/{row.valid_from}", row) for row in document.deemed_income
            )
        case RebateRates():
            yield from ((f"{head}/{row.hs}/{row.valid_from}", row) for row in document.rate)


def _of_destination(destination: Destination) -> Iterator[tuple[str, Row]]:
    of = destination.id
    for regime in destination.regime:
        yield f"{of}/{regime.id}", regime
        yield from (
            (f"{of}/{regime.id}/{row.kind}/{i}", row) for i, row in enumerate(regime.charge, 1)
        )
    yield from ((f"{of}/vat/{vat.country}/{vat.valid_from}", vat) for vat in destination.vat)
    for rate in destination.tariff:
        origins = f"/{'+'.join(rate.origins)}" if rate.origins else ""
        yield f"{of}/tariff/{rate.hs}{origins}/{rate.valid_from}", rate
    yield from ((f"{of}/fee/{fee.country}/{fee.valid_from}", fee) for fee in destination.fee)
    yield from ((f"{of}/notice/{i}", notice) for i, notice in enumerate(destination.notice, 1))


def first_day(document: Document) -> date | None:
    return min((row.valid_from for row in _dated(document)), default=None)


def last_day(document: Document) -> date | None:
    """Return the last day of a file; None where it has no end, or no days.

    A rule whose status is `unknown` does not count.
    """
    ends = [row.valid_to for row in _dated(document)]
    return None if not ends or None in ends else max(end for end in ends if end is not None)


_ROWS: Final[Mapping[type[Row], str]] = {
    Tariff: "heading",
    Articles: "article",
    PositiveList: "edition",
    ExchangeRates: "period",
    GoodsList: "goods",
    ExportRoutes: "route",
    RebateRates: "rate",
}
"""The rows whose days are those of the table."""


def _dated(document: Document) -> Sequence[Dated]:
    if isinstance(document, Dated):
        return (document,)
    if isinstance(document, Destination):
        return [regime for regime in document.regime if regime.status != "unknown"]
    name = _ROWS.get(type(document))
    return () if name is None else getattr(document, name)


def ends_of(documents: Iterable[Document]) -> list[End]:
    """Return the files that end on some day, the earliest first.

    A regime is left out if others follow it in all its modes.
    """
    all_documents = list(documents)
    regimes = [
        document
        for document in all_documents
        if isinstance(document, RetailImport | ParcelTax | GeneralTrade | Exempt)
    ]
    ends = []
    for document in all_documents:
        last = last_day(document)
        if last is None or (document in regimes and _is_followed(document, regimes)):
            continue
        carried = isinstance(document, ExchangeRates) and any(
            period.carried_over for period in document.period
        )
        ends.append(End(document.id, last, carried))
    return sorted(ends, key=lambda end: (end.last, end.table))


def part_ends_of(documents: Iterable[Document]) -> list[End]:
    """Return where the VAT of a country ends before the file of its destination does."""
    ends = [
        End(f"{document.id}/vat/{country}", last)
        for document in documents
        if isinstance(document, Destination)
        for country in document.countries
        if (last := _last_vat_day(document, country)) is not None
    ]
    return sorted(ends, key=lambda end: (end.last, end.table))


def _last_vat_day(destination: Destination, country: str) -> date | None:
    rows = [row for row in destination.vat if row.country == country and row.status != "unknown"]
    days = [row.valid_to for row in rows if row.valid_to is not None]
    return max(days) if days and len(days) == len(rows) else None


class Unknown(NamedTuple):
    """A rule whose content is not known: what needs it is refused by this name, never guessed.

    Without a last day it is unknown until today.
    """

    rule: str
    first: date
    last: date | None
    why: str


def unknown_in(documents: Iterable[Document]) -> list[Unknown]:
    unknown = []
    for document in (each for each in documents if isinstance(each, Destination)):
        days: Dated = document.regime[0]
        for name, row in rows_of_other(document):
            days = row if isinstance(row, Dated) else days  # a charge has the days of its regime
            if isinstance(row, Judged | Charge) and row.status == "unknown":
                unknown.append(Unknown(name, days.valid_from, days.valid_to, _why(row)))
    return unknown


def _why(row: Judged | Charge) -> str:
    why = row.note or row.source
    if not isinstance(row, Charge):
        return why
    parts = {
        "by": row.channels,
        "from": row.origins,
        "to": row.countries,
        "on": row.goods,
        "over": () if row.over is None else (str(row.over),),
        "up to": () if row.at_most is None else (str(row.at_most),),
    }
    conditions = [f"{word} {', '.join(values)}" for word, values in parts.items() if values]
    return f"{row.kind} {'; '.join(conditions)}: {why}" if conditions else f"{row.kind}: {why}"


Regime = RetailImport | ParcelTax | GeneralTrade | Exempt


def _is_followed(document: Document, regimes: Sequence[Regime]) -> bool:
    assert isinstance(document, RetailImport | ParcelTax | GeneralTrade | Exempt)
    last = document.valid_to
    after = None if last is None else day_after(last)
    if after is None:
        return False
    follow = [
        other for other in regimes if other.direction == document.direction and other.is_on(after)
    ]
    return set(document.modes) <= {mode for other in follow for mode in other.modes}
