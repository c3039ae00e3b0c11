"""The landed cost of a consignment: goods, carriage, and every charge with collector and rule."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import chain
from typing import Final

from services.tax.landed.calculation import Calculation, ChargeOwed, ShippedLine
from services.tax.landed.charge_rules import ORDER, ChargeKind
from services.tax.landed.charges import charges_of, fees
from services.tax.landed.conversion import Currencies, NotKnown, RuleUsed
from services.tax.landed.destination import Destination, DestinationRegime
from services.tax.landed.rate_lookup import undecided_code
from services.tax.rulebook.exchange import ExchangeRates
from shared.money import Money

IOSS: Final = re.compile(r"IM[0-9]{10}")
"""The identification number of a seller in the Import One-Stop Shop (form unverified)."""


@dataclass(frozen=True, slots=True)
class Consignment:
    """One parcel to one person; `earlier` is what that person got before in the period of a
    limit."""

    country: str
    currency: str
    lines: tuple[ShippedLine, ...]
    freight: Money
    insurance: Money
    channel: str | None = None
    ioss: str | None = None
    earlier: Money | None = None
    earlier_kg: Decimal = Decimal(0)
    discounted: bool = False
    sent_from: str = "CN"
    mode: str = "9610"


@dataclass(frozen=True, slots=True)
class Landed:
    """The buyer's total cost of a parcel, in the corridor's currency; `local` is in the country's
    own."""

    corridor: str
    destination: str
    regime: str
    channel: str
    value: Money
    freight: Money
    insurance: Money
    charges: tuple[ChargeOwed, ...]
    total: Money
    local: Money | None
    rules: tuple[RuleUsed, ...]
    notices: tuple[str, ...]
    declaration: tuple[str, ...] = ()

    def sum_of(self, kind: ChargeKind) -> Money:
        return Money.total(
            (owed.amount for owed in self.charges if owed.kind == kind), self.total.currency
        )


@dataclass(frozen=True, slots=True)
class UnknownCost:
    """No amount can be computed without guessing: why, and what to add."""

    corridor: str
    code: str
    reason: str
    ask: str
    regime: str | None = None
    rules: tuple[RuleUsed, ...] = ()


def landed_cost(
    parcel: Consignment,
    on: date,
    destinations: Iterable[Destination],
    rates: ExchangeRates | None,
    given: Mapping[str, Decimal] | None = None,
) -> Landed | UnknownCost:
    """Return the landed cost of a consignment that arrives that day, or what is missing.

    `rates` are those of China's rule files, crossed over CNY. `given` has the value of one unit of
    a currency in the corridor's. An unknown rule, a heading without rate and a currency without
    rate are refused by name; nothing is guessed.
    """
    corridor = f"{parcel.sent_from}-{parcel.country}"
    of = _destination_of(parcel, destinations)
    if of is None:
        reason = f"no rule file has the corridor {corridor}"
        advice = "add a rule file dest-*.toml that names the country"
        return UnknownCost(corridor, "corridor_unknown", reason, advice)
    regime = next((each for each in of.regime if each.is_on(on)), None)
    if regime is None or regime.status == "unknown":
        return _no_regime(corridor, of, regime, on)
    currencies = Currencies(of.currency, on, rates, given or {})
    try:
        work = _begin(parcel, of, regime, on, currencies)
        charges = [*chain.from_iterable(charges_of(work, kind) for kind in ORDER), *fees(work)]
        return _result(corridor, parcel, work, charges, currencies)
    except NotKnown as unknown:
        return UnknownCost(corridor, *unknown.told, regime.id, tuple(currencies.used.values()))


def _destination_of(parcel: Consignment, destinations: Iterable[Destination]) -> Destination | None:
    return next((each for each in destinations if parcel.country in each.countries), None)


def _no_regime(
    corridor: str, of: Destination, regime: DestinationRegime | None, on: date
) -> UnknownCost:
    ask = f"add a regime for {on} to the rule file of {of.id}, with its source"
    if regime is None:
        return UnknownCost(
            corridor, "corridor_unknown", f"{of.id} has no regime for {corridor} on {on}", ask
        )
    reason = f"what {of.name} charges on {on} is not known: {regime.note or regime.source}"
    used = (RuleUsed(f"{of.id}/{regime.id}", f"{regime.source} ({regime.confidence})", "unknown"),)
    return UnknownCost(corridor, "corridor_unknown", reason, ask, regime.id, used)


def _begin(
    parcel: Consignment,
    of: Destination,
    regime: DestinationRegime,
    on: date,
    currencies: Currencies,
) -> Calculation:
    _check_covered(parcel, of, regime)
    counts_earlier = regime.counts != "consignment"
    earlier = parcel.earlier if counts_earlier else None
    work = Calculation(
        of=of,
        regime=regime,
        channel=_channel(parcel, regime),
        country=parcel.country,
        on=on,
        lines=parcel.lines,
        goods=[currencies.minor(line.total) for line in parcel.lines],
        freight=currencies.minor(parcel.freight),
        insurance=currencies.minor(parcel.insurance),
        earlier=0 if earlier is None else currencies.minor(earlier),
        earlier_kg=parcel.earlier_kg if counts_earlier else Decimal(0),
        currencies=currencies,
    )
    work.use(f"{of.id}/{regime.id}", regime.source, regime.confidence, regime.status)
    return work


def _check_covered(parcel: Consignment, of: Destination, regime: DestinationRegime) -> None:
    if parcel.mode not in of.modes:
        modes = ", ".join(of.modes)
        reason = (
            f"{of.id} has the rules of parcels to consumers ({modes}), not of mode {parcel.mode}"
        )
        advice = "ask a customs broker of the destination: it is an ordinary import there"
        raise NotKnown("mode_not_covered", reason, advice)
    _channel(parcel, regime)
    if parcel.ioss is not None and IOSS.fullmatch(parcel.ioss) is None:
        reason = "the IOSS number is not IM and ten digits"
        raise NotKnown("ioss_malformed", reason, "give the seller's IOSS number")
    for line in parcel.lines:
        if line.hs_code.startswith(regime.not_covered):
            why = regime.note or "other rules hold for it"
            goods = f"HS code {line.hs_code} of line {line.line_no}"
            reason = f"{regime.id} does not cover {goods}: {why}"
            raise NotKnown("goods_not_covered", reason, "ask the carrier or a broker")


def _channel(parcel: Consignment, regime: DestinationRegime) -> str:
    by_ioss = "ioss" if parcel.ioss and "ioss" in regime.channels else None
    channel = parcel.channel or by_ioss or regime.default_channel or ""
    if channel not in regime.channels:
        reason = f"{regime.id} has no channel {channel!r}"
        raise NotKnown("channel_unknown", reason, f"give one of {', '.join(regime.channels)}")
    return channel


def _result(
    corridor: str,
    parcel: Consignment,
    work: Calculation,
    charges: list[ChargeOwed],
    currencies: Currencies,
) -> Landed:
    currency = work.of.currency
    goods, freight, insurance = (
        Money(minor, currency) for minor in (sum(work.goods), work.freight, work.insurance)
    )
    total = Money.total((goods, freight, insurance, *(owed.amount for owed in charges)), currency)
    local, why = currencies.local(total, work.of.countries[work.country])
    return Landed(
        corridor=corridor,
        destination=f"{work.of.id}@{work.of.version}",
        regime=work.regime.id,
        channel=work.channel,
        value=goods,
        freight=freight,
        insurance=insurance,
        charges=tuple(charges),
        total=total,
        local=local,
        rules=(*work.rules.values(), *currencies.used.values()),
        notices=(*_notices(parcel, work), *why),
        declaration=_declared(work),
    )


def _notices(parcel: Consignment, work: Calculation) -> Iterator[str]:
    current = (notice for notice in work.of.notice if notice.is_on(work.on))
    yield from (each.text for each in current if _concerns(each.countries, work.country))
    yield from _disputed(work)
    if parcel.channel is None and len(work.regime.channels) > 1:
        others = ", ".join(work.regime.channels)
        yield f"no channel was given: {work.channel} is assumed (others: {others})"
    if parcel.earlier is None and work.regime.counts != "consignment":
        counted = f"the limit counts all that one person gets in a {work.regime.counts}"
        yield f"{counted}: nothing earlier was given"
    if parcel.discounted:
        yield "the discount is not taken off the value: a voucher is part of the price"


def _disputed(work: Calculation) -> Iterator[str]:
    for rule in work.rules.values():
        if rule.status == "disputed":
            yield f"disputed: {rule.id}: {rule.source}"


def _concerns(countries: Sequence[str], country: str) -> bool:
    return not countries or country in countries


def _declared(work: Calculation) -> tuple[str, ...]:
    """Return the dataset of the declaration and its procedure codes; none where they are not known.

    H7 is for low intrinsic values, H1 beyond and for goods outside the relief. Intrinsic value: the
    price without VAT and without separately shown transport (AEAT manual, ED 14 14). Relief:
    Regulation (EC) 1186/2009 art. 23 and 24.
    """
    regime = work.regime
    if regime.h7_at_most is None:
        return ()
    beyond = sum(work.goods) > work.minor(regime.h7_at_most)
    unsure = next(
        (i for i in range(len(work.lines)) if not work.unsure_of(i).isdisjoint(regime.h1_goods)),
        None,
    )
    if unsure is not None and not beyond:
        raise undecided_code(
            work.lines[unsure], "H7 will do for it", "list the goods by six digits"
        )
    if beyond or any(
        not work.lists_of(i).isdisjoint(regime.h1_goods) for i in range(len(work.lines))
    ):
        return ("H1",)
    return ("H7", *regime.h7_codes.get(work.channel, ()))
