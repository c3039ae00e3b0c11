"""What a destination charges on goods that come in, as its rule file spells it: dated regimes of charges by value and channel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from services.tax.domain.goods import longest
from services.tax.domain.rules import Country, Dated, Hs, Id, Rate, Row, RuleFault, check_periods, decimal_string
from shared.money import EXPONENTS, Money, MoneyError

Status = Literal["settled", "disputed", "unknown"]
"""Whether sources agree on a rule, contradict each other, or say nothing: what is unknown is never guessed."""
ChargeKind = Literal["duty", "surcharge", "vat", "fee"]
ORDER: Final[tuple[Literal["duty", "surcharge", "vat"], ...]] = ("duty", "surcharge", "vat")
"""What is charged first may be part of the base of what comes later."""
Method = Literal["none", "tariff", "share", "excess", "per-subheading", "per-consignment", "vat", "unknown"]
Collector = Literal["nobody", "ioss-seller", "seller", "importer", "carrier", "operator"]
Part = Literal["goods", "freight", "insurance", "duty", "surcharge"]

Amount = Annotated[Decimal, BeforeValidator(decimal_string), Field(ge=0, max_digits=15, allow_inf_nan=False)]
Hs2 = Annotated[str, StringConstraints(pattern=r"^\d{2,10}$")]
"""A prefix of a code that may be a chapter alone."""


class Judged(Dated):
    """A dated rule, and whether its sources agree."""

    status: Status = "settled"
    note: str = ""


class Charge(Row):
    """One charge of a regime: who collects it, on what, how much.

    It holds for values over `over` and up to `at_most` (both of the corridor's currency, the upper one included), for the
    channels and origins it names (for all others where it names none). `basis` says what is compared: the intrinsic value of
    the consignment, or of one piece of each line.
    """

    kind: Literal["duty", "surcharge", "vat"]
    method: Method
    collector: Collector
    channels: tuple[Id, ...] = ()
    origins: tuple[Country, ...] = ()
    over: Amount | None = None
    at_most: Amount | None = None
    basis: Literal["consignment", "piece"] = "consignment"
    rate: Rate | None = None
    amount: Amount | None = None
    per_kg: Amount | None = None
    limit: Amount | None = None
    limit_kg: Amount | None = None
    base: tuple[Part, ...] = ()
    countries: tuple[Country, ...] = ()
    status: Status = "settled"
    note: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Charge:
        needs = {
            "share": ("rate", "base"), "excess": ("rate", "per_kg", "limit", "limit_kg"), "tariff": ("base",), "vat": ("base",),
            "per-subheading": ("amount",), "per-consignment": ("amount",),
        }.get(self.method, ())  # fmt: skip
        for name in needs:
            if getattr(self, name) in (None, ()):
                raise ValueError(f"a charge by method {self.method!r} needs {name}")
        for name in ("rate", "amount", "per_kg", "limit", "limit_kg"):
            if getattr(self, name) is not None and name not in (*needs, *(("per_kg",) if self.method == "share" else ())):
                raise ValueError(f"{name} says nothing to a charge by method {self.method!r}")
        if self.over is not None and self.at_most is not None and self.over >= self.at_most:
            raise ValueError(f"over {self.over} is not below at_most {self.at_most}")
        if (self.method == "unknown") != (self.status == "unknown"):
            raise ValueError('method "unknown" and status "unknown" go together')
        late = [part for part in self.base if part in ORDER and ORDER.index(part) >= ORDER.index(self.kind)]
        if late:
            raise ValueError(f"the base of {self.kind} cannot hold {late[0]}, which is worked out later")
        if (self.method == "none") != (self.collector == "nobody") and self.method != "unknown":
            raise ValueError("what is not charged is collected by nobody, and only that")
        return self

    def holds_for(self, country: str, channel: str) -> bool:
        return (not self.countries or country in self.countries) and (not self.channels or channel in self.channels)


class DestinationRegime(Judged):
    """What is charged in a period, and through which channels goods come in."""

    id: Id
    name: str
    counts: Literal["consignment", "month", "day"] = "consignment"
    """What the limit of a value counts: one consignment, or all that one person got in a month or day."""
    channels: tuple[Id, ...] = ()
    default_channel: Id | None = None
    not_covered: tuple[Hs2, ...] = ()
    h7_at_most: Amount | None = None
    """The intrinsic value up to which the short declaration H7 will do; H1 beyond. None where there is no such thing."""
    h7_codes: dict[Id, tuple[str, ...]] = Field(default_factory=dict)
    charge: tuple[Charge, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> DestinationRegime:
        if self.status == "unknown":
            if self.charge:
                raise ValueError("a regime of unknown rules has no charges")
            return self
        if not self.charge or not self.channels or self.default_channel not in self.channels:
            raise ValueError("a regime names its channels, one of them as default_channel, and its charges")
        for charge in self.charge:
            if strange := set(charge.channels) - set(self.channels):
                raise ValueError(f"a {charge.kind} names the channel {min(strange)!r}, which the regime does not have")
        if self.h7_at_most is not None and set(self.h7_codes) != set(self.channels):
            raise ValueError("h7_codes names the procedure codes of every channel")
        return self


class StandardVat(Judged):
    """The standard VAT or GST of a country. Goods of `reduced` chapters may owe less: their rate is asked for, never assumed."""

    country: Country
    rate: Rate | None = None
    reduced: tuple[Hs2, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> StandardVat:
        if (self.rate is None) != (self.status == "unknown"):
            raise ValueError('a rate is missing exactly where status is "unknown"')
        return self


class TariffRate(Judged):
    """The import duty of a heading, for the origins named or for all others; what is added by origin is in it."""

    hs: Hs
    rate: Rate
    origins: tuple[Country, ...] = ()


class Fee(Judged):
    """What a country charges besides for handling consignments up to a value; it is no part of the base of VAT."""

    country: Country
    method: Literal["per-subheading", "per-consignment"]
    amount: Amount
    at_most: Amount
    collector: Collector


class Notice(Judged):
    """What is known to be missing from the amounts in a period."""

    text: str
    countries: tuple[Country, ...] = ()


class Destination(Row):
    """The rules of a customs territory: its countries, in one currency, by date without gap or overlap."""

    kind: Literal["destination"]
    id: Id
    version: int
    name: str
    currency: str
    modes: tuple[str, ...] = Field(min_length=1)
    """By which supervision modes of China's customs parcels to consumers leave; what leaves in bulk goes by other rules."""
    countries: dict[Country, str] = Field(min_length=1)
    """Each country with its own currency; empty where that is not one of those supported here."""
    regime: tuple[DestinationRegime, ...] = Field(min_length=1)
    vat: tuple[StandardVat, ...] = ()
    tariff: tuple[TariffRate, ...] = ()
    fee: tuple[Fee, ...] = ()
    notice: tuple[Notice, ...] = ()

    @field_validator("currency")
    @classmethod
    def _currency(cls, currency: str) -> str:
        if currency not in EXPONENTS:
            raise ValueError(f"currency {currency!r} is unknown; expected a code of ISO 4217")
        return currency

    @model_validator(mode="after")
    def _together(self) -> Destination:
        for code, currency in self.countries.items():
            if currency and currency not in EXPONENTS:
                raise ValueError(f"countries: the currency {currency!r} of {code} is unknown; expected a code of ISO 4217")
        check_periods("regime", "the regime", list(enumerate(self.regime)))
        if len({regime.id for regime in self.regime}) < len(self.regime):
            raise ValueError("two regimes have one id")
        for index, regime in enumerate(self.regime):
            for charge in regime.charge:
                _in_currency(index, charge, self.currency)
            check_bands(index, regime, self.countries)
        self._rates()
        return self

    def _rates(self) -> None:
        tables: tuple[tuple[str, tuple[StandardVat | Fee, ...]], ...] = (("vat", self.vat), ("fee", self.fee))
        for name, rows in tables:
            for index, row in enumerate(rows):
                if row.country not in self.countries:
                    raise RuleFault(name, index, f"country {row.country} is not of this destination")
            for country in {row.country for row in rows}:
                check_periods(name, f"the {name} of {country}", [(i, r) for i, r in enumerate(rows) if r.country == country])
        keys = {(row.hs, row.origins) for row in self.tariff}
        for hs, origins in keys:
            dated = [(i, r) for i, r in enumerate(self.tariff) if (r.hs, r.origins) == (hs, origins)]
            check_periods("tariff", f"hs {hs}", dated)


def _in_currency(index: int, charge: Charge, currency: str) -> None:
    for name in ("over", "at_most", "amount", "per_kg", "limit"):
        amount: Decimal | None = getattr(charge, name)
        if amount is not None:
            try:
                Money.of(amount, currency)
            except MoneyError as error:
                raise RuleFault("regime", index, f"{charge.kind} {name}: {error}") from None


def check_bands(index: int, regime: DestinationRegime, countries: Iterable[str]) -> None:
    """Of each kind of charge there is exactly one for every value, channel, origin and country; raises RuleFault with the gap."""
    origins = {origin for charge in regime.charge for origin in charge.origins}
    for kind in {charge.kind for charge in regime.charge}:
        rows = [charge for charge in regime.charge if charge.kind == kind]
        for channel in regime.channels:
            for country in sorted(countries):
                for origin in (*sorted(origins), ""):
                    held = of_origin([row for row in rows if row.holds_for(country, channel)], origin)
                    _continuous(index, f"{kind} by {channel} to {country}", held)


def of_origin(rows: Sequence[Charge], origin: str) -> list[Charge]:
    """The charges on goods of an origin: those that name it, else those that name none."""
    named = [row for row in rows if origin in row.origins]
    return named or [row for row in rows if not row.origins]


def _continuous(index: int, what: str, rows: Sequence[Charge]) -> None:
    if len({row.basis for row in rows}) > 1:
        raise RuleFault("regime", index, f"{what}: its bands compare different values (basis)")
    reached: Decimal | None = Decimal(0)
    for row in sorted(rows, key=lambda row: row.over or Decimal(0)):
        begins = row.over or Decimal(0)
        if reached is None or begins < reached:
            raise RuleFault("regime", index, f"{what}: bands overlap from {begins}")
        if begins > reached:
            raise RuleFault("regime", index, f"{what}: a gap from {reached} to {begins}")
        reached = row.at_most
    if reached is not None:
        raise RuleFault("regime", index, f"{what}: nothing is said of values over {reached}")


def tariff_of(rows: Sequence[TariffRate], hs_code: str, origin: str) -> TariffRate | None:
    """The row of the longest prefix, those that name the origin first; None where no rate is known. `rows` are of one day."""
    for named in (True, False):
        those = (row for row in rows if (origin in row.origins if named else not row.origins))
        found = longest({row.hs: row for row in those}, hs_code)
        if found is not None:
            return found
    return None
