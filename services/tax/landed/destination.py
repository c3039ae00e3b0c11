"""The rule file of a destination: dated regimes of charges by value and channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import product
from typing import Literal

from pydantic import Field, PrivateAttr, StrictBool, field_validator, model_validator

from services.tax.landed.charge_rules import (
    Amount,
    Charge,
    Collector,
    Judged,
    groups,
    of_goods,
    of_origin,
)
from services.tax.rulebook.goods_lists import GoodsList, HsPrefix, overlap
from services.tax.rulebook.rows import Country, Hs, Id, Rate, Row, RuleFault, Share, Version
from services.tax.rulebook.rule_periods import check_periods
from shared.money import EXPONENTS, Money, MoneyError


class DestinationRegime(Judged):
    """What is charged in a period, and through which channels goods come in."""

    id: Id
    name: str
    counts: Literal["consignment", "month", "day"] = "consignment"
    """What a limit of value counts: one consignment, or all of one person in a month or day."""
    channels: tuple[Id, ...] = ()
    default_channel: Id | None = None
    not_covered: tuple[HsPrefix, ...] = ()
    h7_at_most: Amount | None = None
    """The intrinsic value up to which the short declaration H7 is enough; None where none exists.

    Beyond it H1 is needed.
    """
    h1_goods: tuple[Id, ...] = ()
    """Lists of goods, by their files' ids, for which H7 will not do at any value."""
    h7_codes: dict[Id, tuple[str, ...]] = Field(default_factory=dict)
    charge: tuple[Charge, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> DestinationRegime:
        if self.status == "unknown":
            if self.charge:
                raise ValueError("a regime of unknown rules has no charges")
            return self
        if not self.charge or not self.channels or self.default_channel not in self.channels:
            raise ValueError(
                "a regime names its channels, one of them as default_channel, and its charges"
            )
        for charge in self.charge:
            if strange := set(charge.channels) - set(self.channels):
                raise ValueError(
                    f"a {charge.kind} names the channel {min(strange)!r}, which the regime does "
                    "not have"
                )
        if self.h7_at_most is not None and set(self.h7_codes) != set(self.channels):
            raise ValueError("h7_codes names the procedure codes of every channel")
        return self


class StandardVat(Judged):
    """The standard VAT or GST of a country.

    Goods of `reduced` chapters may owe less: their rate is asked for, never assumed.
    """

    country: Country
    rate: Share | None = None
    reduced: tuple[HsPrefix, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> StandardVat:
        if (self.rate is None) != (self.status == "unknown"):
            raise ValueError('a rate is missing exactly where status is "unknown"')
        return self


class TariffRate(Judged):
    """The import duty of a heading, additions by origin included, for the named origins or for all
    others."""

    hs: Hs
    rate: Rate
    origins: tuple[Country, ...] = ()


class Fee(Judged):
    """A country's charge for handling consignments up to a value; it is no part of the base of VAT.

    `amount` is in the fee's own currency where it names one, else in the destination's. `at_most`
    is always in the destination's. `with_vat`: the country's standard VAT is charged on the fee and
    included.
    """

    country: Country
    method: Literal["per-subheading", "per-consignment"]
    amount: Amount
    currency: str = ""
    with_vat: StrictBool = False
    at_most: Amount
    collector: Collector


class Notice(Judged):
    """What is known to be missing from the amounts in a period."""

    text: str
    countries: tuple[Country, ...] = ()


class Destination(Row):
    """The rules of a customs territory: its countries, in one currency, by date without gap or
    overlap."""

    kind: Literal["destination"]
    id: Id
    version: Version
    name: str
    currency: str
    modes: tuple[str, ...] = Field(min_length=1)
    """The supervision modes of China's customs by which parcels to consumers leave.

    Goods that leave in bulk follow other rules.
    """
    countries: dict[Country, str] = Field(min_length=1)
    """Each country with its own currency; empty where that is not one of those supported here."""
    regime: tuple[DestinationRegime, ...] = Field(min_length=1)
    vat: tuple[StandardVat, ...] = ()
    tariff: tuple[TariffRate, ...] = ()
    fee: tuple[Fee, ...] = ()
    notice: tuple[Notice, ...] = ()
    _lists: dict[str, GoodsList] = PrivateAttr(default_factory=dict)

    @property
    def lists(self) -> Mapping[str, GoodsList]:
        return self._lists

    def with_lists(self, lists: Mapping[str, GoodsList]) -> Destination:
        """Return the destination with its lists of goods; raises RuleFault if one is missing or two
        overlap."""
        check_lists(self, lists)
        copy = self.model_copy()
        copy._lists = {name: lists[name] for name in sorted(names_of_lists(self))}
        return copy

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
                raise ValueError(
                    f"countries: the currency {currency!r} of {code} is unknown; expected a code "
                    "of ISO 4217"
                )
        check_periods("regime", "the regime", list(enumerate(self.regime)))
        if len({regime.id for regime in self.regime}) < len(self.regime):
            raise ValueError("two regimes have one id")
        for index, regime in enumerate(self.regime):
            for charge in regime.charge:
                _in_currency(index, charge, self.currency)
            check_bands(index, regime, self.countries)
        self._rates()
        self._fees()
        return self

    def _fees(self) -> None:
        for index, fee in enumerate(self.fee):
            currency = fee.currency or self.currency
            if currency not in EXPONENTS:
                raise RuleFault(
                    "fee", index, f"currency {currency!r} is unknown; expected a code of ISO 4217"
                )
            for name, of in (("amount", currency), ("at_most", self.currency)):
                try:
                    Money.of(getattr(fee, name), of)
                except MoneyError as error:
                    raise RuleFault("fee", index, f"{name}: {error}") from None

    def _rates(self) -> None:
        tables: tuple[tuple[str, tuple[StandardVat | Fee, ...]], ...] = (
            ("vat", self.vat),
            ("fee", self.fee),
        )
        for name, rows in tables:
            for index, row in enumerate(rows):
                if row.country not in self.countries:
                    raise RuleFault(
                        name, index, f"country {row.country} is not of this destination"
                    )
            for country in {row.country for row in rows}:
                dated = [(i, r) for i, r in enumerate(rows) if r.country == country]
                check_periods(name, f"the {name} of {country}", dated)
        self._duties()

    def _duties(self) -> None:
        by_goods: dict[tuple[str, tuple[str, ...]], list[tuple[int, TariffRate]]] = {}
        for index, row in enumerate(self.tariff):
            by_goods.setdefault((row.hs, row.origins), []).append((index, row))
        for (hs, _), dated in by_goods.items():
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
    """Check that exactly one charge of a kind and name applies to each value, channel, origin and
    list.

    Raises RuleFault with the gap.
    """
    origins = ("", *sorted({origin for charge in regime.charge for origin in charge.origins}))
    for rows in groups(regime.charge):
        ways = product(regime.channels, sorted(countries), origins)
        for channel, country, origin in ways:
            held = of_origin([row for row in rows if row.holds_for(country, channel)], origin)
            kind = " ".join(filter(None, (rows[0].kind, rows[0].name)))
            where = f"{kind} by {channel} to {country}"
            _continuous(index, where, of_goods(held, frozenset()))
            for goods in _lists_of(held):
                on_list = of_goods(held, frozenset({goods}))
                _continuous(index, f"{where} on goods of {goods}", on_list)


def _lists_of(rows: Iterable[Charge]) -> list[str]:
    return sorted({name for row in rows for name in row.goods})


def names_of_lists(destination: Destination) -> set[str]:
    return {
        name for regime in destination.regime for row in regime.charge for name in row.goods
    } | {name for regime in destination.regime for name in regime.h1_goods}


def check_lists(destination: Destination, lists: Mapping[str, GoodsList]) -> None:
    """Check that every named list exists, and that no goods are on two lists of one group; raises
    RuleFault."""
    for index, regime in enumerate(destination.regime):
        for name in (*(name for row in regime.charge for name in row.goods), *regime.h1_goods):
            if name not in lists:
                reason = (
                    f"goods: there is no list {name!r}; a file goods-*.toml with that id was "
                    "expected"
                )
                raise RuleFault("regime", index, reason)
        for rows in groups(regime.charge):
            ids = _lists_of(rows)
            if (hs := overlap(lists[name] for name in ids)) is not None:
                raise RuleFault(
                    "regime",
                    index,
                    f"{rows[0].kind}: hs {hs} is on two of the lists {', '.join(ids)}",
                )


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
