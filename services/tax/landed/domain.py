"""What a consignment costs at its destination: goods, carriage, and every charge with who collects it and by which rule."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from services.tax.landed.charge_rules import ORDER, ChargeKind
from services.tax.landed.charges import Owed, ShippedLine, Work, charges_of, fees, not_told
from services.tax.landed.conversion import Currencies, NotKnown, RuleUsed
from services.tax.landed.destination import Destination, DestinationRegime
from services.tax.rulebook.exchange import ExchangeRates
from shared.money import Money

IOSS: Final = re.compile(r"IM[0-9]{10}")
"""The identification number of a seller in the Import One-Stop Shop (form unverified)."""


@dataclass(frozen=True, slots=True)
class Consignment:
    """One parcel to one person; `earlier` is what that person got before in the month or day that a limit counts."""

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
    """What the buyer's parcel costs in all, in the corridor's currency; `local` is the same in the country's own, if another."""

    corridor: str
    destination: str
    regime: str
    channel: str
    value: Money
    freight: Money
    insurance: Money
    charges: tuple[Owed, ...]
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
class NotLanded:
    """No amount can be said without guessing: why, and what to add so that it can."""

    corridor: str
    code: str
    reason: str
    ask: str
    regime: str | None = None
    rules: tuple[RuleUsed, ...] = ()


def landed(
    parcel: Consignment, on: date, destinations: Iterable[Destination], rates: ExchangeRates | None,
    given: Mapping[str, Decimal] | None = None,
) -> Landed | NotLanded:  # fmt: skip
    """The landed cost of a consignment that arrives that day, or what is missing to say it.

    `rates` are those of China's rule files, crossed over CNY; `given` says what one unit of a currency is in the corridor's.
    A rule whose status is unknown, a heading without a rate, a currency without one: each is refused by name, none is guessed.
    """
    corridor = f"{parcel.sent_from}-{parcel.country}"
    of = next((found for found in destinations if parcel.country in found.countries), None)
    if of is None:
        reason = f"no rule file has the corridor {corridor}"
        return NotLanded(
            corridor,
            "corridor_unknown",
            reason,
            "add a rule file dest-*.toml that names the country",
        )
    regime = next((found for found in of.regime if found.is_on(on)), None)
    if regime is None or regime.status == "unknown":
        return _no_regime(corridor, of, regime, on)
    currencies = Currencies(of.currency, on, rates, given or {})
    try:
        work = _begin(parcel, of, regime, on, currencies)
        charges = [*(owed for kind in ORDER for owed in charges_of(work, kind)), *fees(work)]
        return _landed(corridor, parcel, work, charges, currencies)
    except NotKnown as unknown:
        return NotLanded(corridor, *unknown.told, regime.id, tuple(currencies.used.values()))


def _no_regime(
    corridor: str, of: Destination, regime: DestinationRegime | None, on: date
) -> NotLanded:
    ask = f"add a regime for {on} to the rule file of {of.id}, with its source"
    if regime is None:
        return NotLanded(
            corridor, "corridor_unknown", f"{of.id} has no regime for {corridor} on {on}", ask
        )
    reason = f"what {of.name} charges on {on} is not known: {regime.note or regime.source}"
    used = (RuleUsed(f"{of.id}/{regime.id}", f"{regime.source} ({regime.confidence})", "unknown"),)
    return NotLanded(corridor, "corridor_unknown", reason, ask, regime.id, used)


def _begin(
    parcel: Consignment,
    of: Destination,
    regime: DestinationRegime,
    on: date,
    currencies: Currencies,
) -> Work:
    if parcel.mode not in of.modes:
        reason = f"{of.id} has the rules of parcels to consumers ({', '.join(of.modes)}), not of mode {parcel.mode}"
        raise NotKnown(
            "mode_not_covered",
            reason,
            "ask a customs broker of the destination: it is an ordinary import there",
        )
    channel = (
        parcel.channel
        or ("ioss" if parcel.ioss and "ioss" in regime.channels else regime.default_channel)
        or ""
    )
    if channel not in regime.channels:
        known = ", ".join(regime.channels)
        raise NotKnown(
            "channel_unknown", f"{regime.id} has no channel {channel!r}", f"give one of {known}"
        )
    if parcel.ioss is not None and IOSS.fullmatch(parcel.ioss) is None:
        raise NotKnown(
            "ioss_malformed",
            "the IOSS number is not IM and ten digits",
            "give the seller's IOSS number",
        )
    for line in parcel.lines:
        if line.hs_code.startswith(regime.not_covered):
            reason = f"{regime.id} does not cover HS code {line.hs_code} of line {line.line_no}: {regime.note or 'other rules hold for it'}"
            raise NotKnown("goods_not_covered", reason, "ask the carrier or a broker")
    goods = [currencies.minor(line.total) for line in parcel.lines]
    earlier = (
        currencies.minor(parcel.earlier)
        if parcel.earlier is not None and regime.counts != "consignment"
        else 0
    )
    earlier_kg = parcel.earlier_kg if regime.counts != "consignment" else Decimal(0)
    freight, insurance = currencies.minor(parcel.freight), currencies.minor(parcel.insurance)
    work = Work(
        of,
        regime,
        channel,
        parcel.country,
        on,
        parcel.lines,
        goods,
        freight,
        insurance,
        earlier,
        earlier_kg,
        currencies,
    )
    work.use(f"{of.id}/{regime.id}", regime.source, regime.confidence, regime.status)
    return work


def _landed(
    corridor: str, parcel: Consignment, work: Work, charges: list[Owed], currencies: Currencies
) -> Landed:
    currency = work.of.currency
    goods, freight, insurance = (
        Money(minor, currency) for minor in (sum(work.goods), work.freight, work.insurance)
    )
    total = Money.total((goods, freight, insurance, *(owed.amount for owed in charges)), currency)
    notices = [
        notice.text
        for notice in work.of.notice
        if notice.is_on(work.on) and _concerns(notice.countries, work.country)
    ]
    notices += [
        f"disputed: {rule.id}: {rule.source}"
        for rule in work.rules.values()
        if rule.status == "disputed"
    ]
    if parcel.channel is None and len(work.regime.channels) > 1:
        notices.append(
            f"no channel was given: {work.channel} is assumed (others: {', '.join(work.regime.channels)})"
        )
    if parcel.earlier is None and work.regime.counts != "consignment":
        notices.append(
            f"the limit counts all that one person gets in a {work.regime.counts}: nothing earlier was given"
        )
    if parcel.discounted:
        notices.append("the discount is not taken off the value: a voucher is part of the price")
    local, why = currencies.local(total, work.of.countries[work.country])
    notices += why
    return Landed(
        corridor, f"{work.of.id}@{work.of.version}", work.regime.id, work.channel, goods, freight, insurance, tuple(charges), total,
        local, (*work.rules.values(), *currencies.used.values()), tuple(notices), _declared(work),
    )  # fmt: skip


def _concerns(countries: Sequence[str], country: str) -> bool:
    return not countries or country in countries


def _declared(work: Work) -> tuple[str, ...]:
    """The dataset of the declaration and its procedure codes: H7 for low intrinsic values, H1 beyond and for goods outside the relief;
    none where that is not told.

    Intrinsic value: the price without VAT and without separately shown transport (AEAT manual, ED 14 14). Relief: Regulation (EC)
    1186/2009 art. 23 and 24.
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
        raise not_told(work.lines[unsure], "H7 will do for it", "list the goods by six digits")
    if beyond or any(
        not work.lists_of(i).isdisjoint(regime.h1_goods) for i in range(len(work.lines))
    ):
        return ("H1",)
    return ("H7", *regime.h7_codes.get(work.channel, ()))
