"""The route of exported goods, and the tax or refund that follows from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from services.tax.exports.domain import (
    Condition,
    DeemedIncome,
    ExportRoutes,
    Facts,
    FactValue,
    RebateRate,
    RebateRates,
    Route,
    Vat,
)
from services.tax.landed.conversion import half_up
from shared.money import Money

UNDETERMINED: Final = "cn-export-undetermined"


MIXED: Final = "cn-export-mixed"


class CheckedCondition(NamedTuple):
    """A checked condition: met, not met, or not known (None)."""

    route: str
    fact: str
    what: str
    actual: str
    expected: str
    met: bool | None
    source: str


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """The route of one kind of goods, and each condition checked on the way.

    `missing` are deciding facts that were not given, so that no route can be named.
    """

    regime: str
    vat: Vat | None
    deemed_income: bool
    checked: tuple[CheckedCondition, ...]
    missing: tuple[str, ...]
    rules: tuple[str, ...]


class ExportBook(NamedTuple):
    """The rules of exports: routes and rebate rates."""

    routes: ExportRoutes
    rebates: RebateRates
    edition: str


def decide_route(
    book: ExportBook, on: date, mode: str, hs_code: str, given: Facts
) -> RouteDecision | None:
    """Return the route of goods exported that day, by rank; None before the first rules.

    The day is the export's day on the customs declaration (MOF and STA 2026 No. 2 art. 4). A fact
    that was not given is not taken as no: if it decides, the result names it as missing.
    """
    routes = _routes_on(book, on)
    if not routes:
        return None
    facts: dict[str, FactValue] = {**given, "mode": mode}
    checked: list[CheckedCondition] = []
    rules: list[str] = []
    if (row := book.rebates.on(hs_code, on)) is not None:
        facts["rebate_cancelled"] = row.cancelled
        rules.append(_rate_rule(book, row))
    for route in routes:
        results = _check_all(route, facts)
        checked += results
        rules.append(_route_rule(book, route))
        if any(condition.met is False for condition in results):
            continue
        if missing := tuple(condition.fact for condition in results if condition.met is None):
            return RouteDecision(UNDETERMINED, None, False, tuple(checked), missing, tuple(rules))
        return RouteDecision(
            route.id, route.vat, route.deemed_income, tuple(checked), (), tuple(rules)
        )
    raise AssertionError("the last route has no conditions")


def _routes_on(book: ExportBook, on: date) -> list[Route]:
    routes = (route for route in book.routes.route if route.is_on(on))
    return sorted(routes, key=lambda route: route.rank)


def _check_all(route: Route, facts: Facts) -> list[CheckedCondition]:
    applicable = (condition for condition in route.condition if condition.is_asked(facts))
    return [_check(route, condition, facts) for condition in applicable]


def _check(route: Route, condition: Condition, facts: Facts) -> CheckedCondition:
    value = facts.get(condition.fact)
    met = None if value is None else value in condition.expected
    expected = " or ".join(_as_text(value) for value in condition.expected)
    actual = "not said" if value is None else _as_text(value)
    source = f"{condition.source} ({condition.confidence})"
    return CheckedCondition(route.id, condition.fact, condition.what, actual, expected, met, source)


def _as_text(value: FactValue) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else value


def _route_rule(book: ExportBook, route: Route) -> str:
    return f"{book.routes.id}@{book.routes.version}/{route.id}/{route.valid_from}"


def _rate_rule(book: ExportBook, row: RebateRate) -> str:
    return f"{book.rebates.id}@{book.rebates.version}/{row.hs}/{row.valid_from}"


def sources_of(book: ExportBook) -> Mapping[str, str]:
    routes = {
        _route_rule(book, route): f"{route.source} ({route.confidence})"
        for route in book.routes.route
    }
    rates = {_rate_rule(book, row): f"{row.source} ({row.confidence})" for row in book.rebates.rate}
    deemed = {
        _deemed_rule(book, row): f"{row.source} ({row.confidence})"
        for row in book.routes.deemed_income
    }
    return routes | rates | deemed


def _deemed_rule(book: ExportBook, row: DeemedIncome) -> str:
    return f"{book.routes.id}@{book.routes.version}/deemed-income/{row.valid_from}"


def refund_of(purchase: Money, rate: Decimal) -> Money:
    """Return what a trader gets back: the price without VAT on the special invoice times the rebate
    rate.

    财税[2012]39号 art. 5(2): exemption and refund for foreign-trade enterprises that do not
    produce.
    """
    return purchase.times(rate)


class Deemed(NamedTuple):
    """Enterprise income tax on a deemed basis, and its rule."""

    income: Money
    tax: Money
    rule: str


def deemed_income_of(book: ExportBook, sales: Money, on: date) -> Deemed | None:
    """Return the income tax on deemed income; None before 2020.

    4 % of the sales are income, taxed at the ordinary rate (STA 2019 No. 36 art. 3-4). Reliefs of
    small enterprises are not applied.
    """
    row = next((each for each in book.routes.deemed_income if each.is_on(on)), None)
    if row is None:
        return None
    return Deemed(
        sales.times(row.income_share),
        sales.times(row.income_share * row.tax_rate),
        _deemed_rule(book, row),
    )


def output_vat_of(sales: Money, vat: Decimal) -> Money:
    """Return the VAT inside a price, as for a sale at home: price / (1 + rate) × rate, to the fen.

    财税[2012]39号 art. 7(2): goods whose refund was cancelled, and others that may not be
    refunded or exempted.
    """
    rate = Fraction(vat)
    return Money(half_up(sales.minor * rate / (1 + rate)), sales.currency)


def regime_of(decisions: Sequence[RouteDecision]) -> str:
    """Return one name for an order: the common route of its lines, undetermined, or mixed."""
    names = {decision.regime for decision in decisions}
    if UNDETERMINED in names:
        return UNDETERMINED
    return names.pop() if len(names) == 1 else MIXED
