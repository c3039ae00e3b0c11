"""What China does about the taxes inside an exported good: refund, exemption, or taxation; which route applies, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

from pydantic import Field, StrictBool, StrictInt, model_validator

from services.tax.landed.conversion import half_up
from services.tax.rulebook.goods_lists import HsPrefix
from services.tax.rulebook.rows import Dated, Id, Row, RuleFault, Share, Version, check_periods
from shared.money import Money

Fact = Literal[
    "taxpayer", "exporter", "tax_registered", "rebate_filed", "declaration_data", "proceeds_collected", "vat_special_invoice",
    "valid_voucher", "pilot_zone", "goods_recorded", "customs_in_zone", "mode", "rebate_cancelled",
]  # fmt: skip
"""What a route may ask. The last two follow from the order itself, the rest the exporter must say."""
FACTS: Final[tuple[Fact, ...]] = get_args(Fact)
DERIVED: Final[tuple[Fact, ...]] = ("mode", "rebate_cancelled")
WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "taxpayer": ("general", "small-scale"),
    "exporter": ("trader", "producer"),
}
"""Facts that are one of some words; all others are true or false."""

Found = bool | str
Facts = Mapping[str, Found]
Vat = Literal["refund", "exempt", "taxed"]
UNDETERMINED: Final = "cn-export-undetermined"
MIXED: Final = "cn-export-mixed"


class Condition(Row):
    """What must be so for a route; not asked of the modes in `not_modes`, nor where the facts in `unless` are so."""

    fact: Fact
    expected: tuple[StrictBool | str, ...] = Field(min_length=1)
    what: str
    not_modes: tuple[str, ...] = ()
    unless: dict[Fact, StrictBool | str] = Field(default_factory=dict)

    def is_asked(self, facts: Facts) -> bool:
        return facts.get("mode") not in self.not_modes and all(
            facts.get(fact) != value for fact, value in self.unless.items()
        )

    @model_validator(mode="after")
    def _possible(self) -> Condition:
        words = WORDS.get(self.fact)
        for value in self.expected:
            fits = (
                isinstance(value, str)
                if self.fact == "mode"
                else value in words
                if words
                else isinstance(value, bool)
            )
            if not fits:
                told = (
                    ", ".join(words)
                    if words
                    else "mode codes"
                    if self.fact == "mode"
                    else "true, false"
                )
                raise ValueError(f"expected {value!r} is no value of {self.fact} ({told})")
        return self


class Route(Dated):
    """A way of treating VAT and consumption tax of exported goods; lower ranks are tried first."""

    id: Id
    rank: StrictInt
    name: str
    vat: Vat
    deemed_income: StrictBool = False
    condition: tuple[Condition, ...] = ()


class DeemedIncome(Dated):
    """Enterprise income tax on a deemed basis: a share of the sales is income, a share of that is tax."""

    income_share: Share
    tax_rate: Share


class ExportRoutes(Row):
    """All routes, the one without conditions last: it takes what no other does."""

    kind: Literal["export-routes"]
    id: Id
    version: Version
    route: tuple[Route, ...] = Field(min_length=1)
    deemed_income: tuple[DeemedIncome, ...] = ()

    @model_validator(mode="after")
    def _together(self) -> ExportRoutes:
        ids = {route.id for route in self.route}
        for name in ids:
            check_periods(
                "route",
                f"the route {name}",
                [(i, r) for i, r in enumerate(self.route) if r.id == name],
            )
        for index, route in enumerate(self.route):
            for other in self.route[:index]:
                if (other.id == route.id) != (other.rank == route.rank):
                    raise RuleFault(
                        "route",
                        index,
                        f"the rank {route.rank} of {route.id} must be its own in every period",
                    )
        check_periods("deemed_income", "deemed income", list(enumerate(self.deemed_income)))
        last = max(self.route, key=lambda route: route.rank)
        for index, route in enumerate(self.route):
            if (not route.condition) != (route.id == last.id):
                raise RuleFault(
                    "route",
                    index,
                    "the route of the highest rank, and only that, has no conditions",
                )
            if route.valid_from < min(r.valid_from for r in self.route if r.id == last.id):
                raise RuleFault(
                    "route",
                    index,
                    f"it begins before {last.id}, which must take what no other does",
                )
        return self


class RebateRate(Dated):
    """The rate at which VAT on goods is refunded; `cancelled` where the State Council ended it."""

    hs: HsPrefix
    rate: Share
    cancelled: StrictBool = False

    @model_validator(mode="after")
    def _none_left(self) -> RebateRate:
        if self.cancelled and self.rate:
            raise ValueError("a cancelled rebate has the rate 0")
        return self


class RebateRates(Row):
    """Rebate rates by HS prefix; a heading that is not here is refused by name."""

    kind: Literal["export-rebates"]
    id: Id
    version: Version
    rate: tuple[RebateRate, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _dated(self) -> RebateRates:
        for hs in {row.hs for row in self.rate}:
            check_periods(
                "rate", f"hs {hs}", [(i, row) for i, row in enumerate(self.rate) if row.hs == hs]
            )
        return self

    def on(self, hs_code: str, day: date) -> RebateRate | None:
        """The row of the longest prefix that day; None where none is known, also if a longer prefix is not in force, or if the code is
        so short that goods of it have several rates."""
        prefixes = [row for row in self.rate if hs_code.startswith(row.hs)]
        longest = max((len(row.hs) for row in prefixes), default=0)
        found = next((row for row in prefixes if len(row.hs) == longest and row.is_on(day)), None)
        longer = [
            row
            for row in self.rate
            if len(row.hs) > len(hs_code) and row.hs.startswith(hs_code) and row.is_on(day)
        ]
        if found is not None and any(
            (row.rate, row.cancelled) != (found.rate, found.cancelled) for row in longer
        ):
            return None
        return found


class Merchant(Dated):
    """What holds of an exporter in a period, by its customs registration number or credit code."""

    code: Annotated[str, Field(pattern=r"^[0-9A-Z]{10}([0-9A-Z]{8})?$")]
    facts: dict[Fact, StrictBool | str]

    @model_validator(mode="after")
    def _said(self) -> Merchant:
        check_facts({str(fact): value for fact, value in self.facts.items()})
        return self


class Merchants(Row):
    """The exporters a house works for."""

    kind: Literal["export-merchants"]
    id: Id
    version: Version
    merchant: tuple[Merchant, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _dated(self) -> Merchants:
        for code in {row.code for row in self.merchant}:
            check_periods(
                "merchant",
                f"merchant {code}",
                [(i, m) for i, m in enumerate(self.merchant) if m.code == code],
            )
        return self

    def facts_of(self, code: str | None, day: date) -> Facts:
        row = next((row for row in self.merchant if row.code == code and row.is_on(day)), None)
        return {} if row is None else {str(fact): value for fact, value in row.facts.items()}


def check_facts(found: Mapping[str, Any]) -> None:
    """Raises ValueError naming the first fact that is unknown, follows from the order itself, or has no such value."""
    for name, value in found.items():
        if name not in FACTS or name in DERIVED:
            known = ", ".join(fact for fact in FACTS if fact not in DERIVED)
            raise ValueError(f"{name!r} is no fact an exporter says (known: {known})")
        words = WORDS.get(name)
        if (value not in words) if words else not isinstance(value, bool):
            raise ValueError(f"{name}: expected {' or '.join(words) if words else 'true or false'}")


class Checked(NamedTuple):
    """A condition as it was found: met, not met, or not known (None)."""

    route: str
    fact: str
    what: str
    found: str
    expected: str
    met: bool | None
    source: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The route of one kind of goods, and each condition that was looked at on the way to it; `missing` are facts that were not
    said and decide, so that no route can be named."""

    regime: str
    vat: Vat | None
    deemed_income: bool
    checked: tuple[Checked, ...]
    missing: tuple[str, ...]
    rules: tuple[str, ...]


class ExportBook(NamedTuple):
    """The rules of exports: routes and rebate rates."""

    routes: ExportRoutes
    rebates: RebateRates
    edition: str


def decide(book: ExportBook, on: date, mode: str, hs_code: str, said: Facts) -> Decision | None:
    """The route of goods exported that day, the conditions tried in the order of their ranks; None before the first rules.

    The day is that of the export as the customs declaration tells it (MOF and STA 2026 No. 2 art. 4). What nobody said is not
    taken as no: if it decides, the answer is that it is missing.
    """
    row = book.rebates.on(hs_code, on)
    facts: dict[str, Found] = {**said, "mode": mode} | (
        {} if row is None else {"rebate_cancelled": row.cancelled}
    )
    routes = sorted(
        (route for route in book.routes.route if route.is_on(on)), key=lambda route: route.rank
    )
    if not routes:
        return None
    checked: list[Checked] = []
    rules = [] if row is None else [_rate_rule(book, row)]
    for route in routes:
        asked = [
            _check(route, condition, facts)
            for condition in route.condition
            if condition.is_asked(facts)
        ]
        checked += asked
        rules.append(f"{book.routes.id}@{book.routes.version}/{route.id}/{route.valid_from}")
        if any(condition.met is False for condition in asked):
            continue
        if missing := tuple(condition.fact for condition in asked if condition.met is None):
            return Decision(UNDETERMINED, None, False, tuple(checked), missing, tuple(rules))
        return Decision(route.id, route.vat, route.deemed_income, tuple(checked), (), tuple(rules))
    raise AssertionError("the last route has no conditions")


def _check(route: Route, condition: Condition, facts: Facts) -> Checked:
    found = facts.get(condition.fact)
    met = None if found is None else found in condition.expected
    expected = " or ".join(_told(value) for value in condition.expected)
    said = "not said" if found is None else _told(found)
    source = f"{condition.source} ({condition.confidence})"
    return Checked(route.id, condition.fact, condition.what, said, expected, met, source)


def _told(value: Found) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else value


def _rate_rule(book: ExportBook, row: RebateRate) -> str:
    return f"{book.rebates.id}@{book.rebates.version}/{row.hs}/{row.valid_from}"


def sources_of(book: ExportBook) -> Mapping[str, str]:
    """Every rule a decision may name: its source, with the confidence in brackets."""
    found = {
        f"{book.routes.id}@{book.routes.version}/{route.id}/{route.valid_from}": f"{route.source} ({route.confidence})"
        for route in book.routes.route
    }
    rates = {_rate_rule(book, row): f"{row.source} ({row.confidence})" for row in book.rebates.rate}
    deemed = {
        _deemed_rule(book, row): f"{row.source} ({row.confidence})"
        for row in book.routes.deemed_income
    }
    return found | rates | deemed


def _deemed_rule(book: ExportBook, row: DeemedIncome) -> str:
    return f"{book.routes.id}@{book.routes.version}/deemed-income/{row.valid_from}"


def refund_of(purchase: Money, rate: Decimal) -> Money:
    """What a trader gets back of the price without VAT on the special invoice: that price times the rebate rate, to the fen.

    财税[2012]39号 art. 5(2): exemption and refund for foreign-trade enterprises that do not produce.
    """
    return purchase.times(rate)


class Deemed(NamedTuple):
    """Enterprise income tax on a deemed basis, and its rule."""

    income: Money
    tax: Money
    rule: str


def deemed_income_of(book: ExportBook, sales: Money, on: date) -> Deemed | None:
    """4 % of the sales are income, taxed at the ordinary rate; reliefs of small enterprises are not taken. None before 2020.

    STA 2019 No. 36 art. 3-4.
    """
    row = next((found for found in book.routes.deemed_income if found.is_on(on)), None)
    if row is None:
        return None
    return Deemed(
        sales.times(row.income_share),
        sales.times(row.income_share * row.tax_rate),
        _deemed_rule(book, row),
    )


def output_vat_of(sales: Money, vat: Decimal) -> Money:
    """The VAT inside a price, as for a sale at home: price / (1 + rate) × rate, to the fen.

    财税[2012]39号 art. 7(2): goods whose refund was cancelled, and others that may not be refunded or exempted.
    """
    rate = Fraction(vat)
    return Money(half_up(sales.minor * rate / (1 + rate)), sales.currency)


def regime_of(decisions: Sequence[Decision]) -> str:
    """One name for an order: that of its lines if they agree, undetermined if one is, else mixed."""
    names = {decision.regime for decision in decisions}
    if UNDETERMINED in names:
        return UNDETERMINED
    return names.pop() if len(names) == 1 else MIXED
