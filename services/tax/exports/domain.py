"""How China treats the taxes inside an exported good: refund, exemption or taxation. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, StrictBool, StrictInt, model_validator

from services.tax.rulebook.goods_lists import HsPrefix
from services.tax.rulebook.rows import Dated, Id, Row, RuleFault, Share, Version
from services.tax.rulebook.rule_periods import check_periods

Fact = Literal[
    "taxpayer",
    "exporter",
    "tax_registered",
    "rebate_filed",
    "declaration_data",
    "proceeds_collected",
    "vat_special_invoice",
    "valid_voucher",
    "pilot_zone",
    "goods_recorded",
    "customs_in_zone",
    "mode",
    "rebate_cancelled",
]
"""The facts of routes. The last two follow from the order itself, the exporter gives the rest."""
FACTS: Final[tuple[Fact, ...]] = get_args(Fact)
DERIVED: Final[tuple[Fact, ...]] = ("mode", "rebate_cancelled")
WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "taxpayer": ("general", "small-scale"),
    "exporter": ("trader", "producer"),
}
"""Facts whose value is one of these words; all others are true or false."""

FactValue = bool | str
Facts = Mapping[str, FactValue]
Vat = Literal["refund", "exempt", "taxed"]


class Condition(Row):
    """A condition of a route; skipped for the modes in `not_modes`, and where the facts in `unless`
    hold."""

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
            if self.fact == "mode":
                fits, known = isinstance(value, str), "mode codes"
            elif words:
                fits, known = value in words, ", ".join(words)
            else:
                fits, known = isinstance(value, bool), "true, false"
            if not fits:
                raise ValueError(f"expected {value!r} is no value of {self.fact} ({known})")
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
    """Enterprise income tax on a deemed basis: a share of the sales is income, a share of that is
    tax."""

    income_share: Share
    tax_rate: Share


class ExportRoutes(Row):
    """All routes; the last has no conditions, so it takes what no other does."""

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
        self._check_ranks()
        check_periods("deemed_income", "deemed income", list(enumerate(self.deemed_income)))
        self._check_last()
        return self

    def _check_ranks(self) -> None:
        for index, route in enumerate(self.route):
            for other in self.route[:index]:
                if (other.id == route.id) != (other.rank == route.rank):
                    reason = f"the rank {route.rank} of {route.id} must be its own in every period"
                    raise RuleFault("route", index, reason)

    def _check_last(self) -> None:
        last = max(self.route, key=lambda route: route.rank).id
        begins = min(route.valid_from for route in self.route if route.id == last)
        for index, route in enumerate(self.route):
            if (not route.condition) != (route.id == last):
                reason = "the route of the highest rank, and only that, has no conditions"
                raise RuleFault("route", index, reason)
            if route.valid_from < begins:
                reason = f"it begins before {last}, which must take what no other does"
                raise RuleFault("route", index, reason)


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
    """Rebate rates by HS prefix; a heading without a row is refused by name."""

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
        """Return the row of the longest prefix that day, None where none is known.

        None too if a longer prefix is not in force, or if goods of a short code have several rates.
        """
        prefixes = [row for row in self.rate if hs_code.startswith(row.hs)]
        longest = max((len(row.hs) for row in prefixes), default=0)
        best = next((row for row in prefixes if len(row.hs) == longest and row.is_on(day)), None)
        if best is None:
            return None
        rates = {(row.rate, row.cancelled) for row in self._longer(hs_code, day)}
        return best if rates <= {(best.rate, best.cancelled)} else None

    def _longer(self, hs_code: str, day: date) -> list[RebateRate]:
        longer = [row for row in self.rate if len(row.hs) > len(hs_code)]
        return [row for row in longer if row.hs.startswith(hs_code) and row.is_on(day)]


class Merchant(Dated):
    """Facts of an exporter in a period, by its customs registration number or credit code."""

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


def check_facts(facts: Mapping[str, Any]) -> None:
    """Raise ValueError naming the first fact that is unknown, derived from the order, or has a
    wrong value."""
    for name, value in facts.items():
        if name not in FACTS or name in DERIVED:
            known = ", ".join(fact for fact in FACTS if fact not in DERIVED)
            raise ValueError(f"{name!r} is no fact an exporter says (known: {known})")
        words = WORDS.get(name)
        if (value not in words) if words else not isinstance(value, bool):
            raise ValueError(f"{name}: expected {' or '.join(words) if words else 'true or false'}")
