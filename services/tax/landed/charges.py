"""What each charge of a regime comes to on the lines it holds for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from services.tax.landed.charge_rules import (
    Charge,
    ChargeKind,
    Collector,
    Status,
    groups,
    of_goods,
    of_origin,
)
from services.tax.landed.conversion import GIVEN, Currencies, NotKnown, RuleUsed, half_up
from services.tax.landed.destination import (
    Destination,
    DestinationRegime,
    Fee,
    StandardVat,
    TariffRate,
    other_rates,
    tariff_of,
)
from services.tax.rulebook.goods_lists import SHARED_DIGITS, lists_that_may_have, lists_with, may_be
from shared.money import EXPONENTS, Money


@dataclass(frozen=True, slots=True)
class ShippedLine:
    """One line of goods; `duty_rate` and `vat_rate` stand in for a rate that no rule file has. Weights in kilograms."""

    line_no: int
    hs_code: str
    origin: str
    quantity: Decimal
    total: Money
    weight_kg: Decimal
    duty_rate: Decimal | None = None
    vat_rate: Decimal | None = None


class Owed(NamedTuple):
    """A charge on some of the lines; `how` says how it came about."""

    kind: ChargeKind
    amount: Money
    collector: Collector
    lines: tuple[int, ...]
    rule: str
    status: Status
    how: str


@dataclass
class Work:
    """One consignment being worked out: all amounts in minor units of the corridor's currency."""

    of: Destination
    regime: DestinationRegime
    channel: str
    country: str
    on: date
    lines: Sequence[ShippedLine]
    goods: Sequence[int]
    freight: int
    insurance: int
    earlier: int
    earlier_kg: Decimal
    currencies: Currencies
    rules: dict[str, RuleUsed] = field(default_factory=dict)
    paid: dict[ChargeKind, list[Fraction]] = field(default_factory=dict)

    def use(self, rule: str, source: str, confidence: str, status: Status) -> None:
        self.rules.setdefault(rule, RuleUsed(rule, f"{source} ({confidence})", status))

    def minor(self, amount: Decimal) -> Fraction:
        scale: int = 10 ** EXPONENTS[self.of.currency]
        return Fraction(amount) * scale

    def lists_of(self, i: int) -> frozenset[str]:
        """The lists of goods that a line's code is on that day."""
        return lists_with(self.of.lists, self.lines[i].hs_code, self.on)

    def unsure_of(self, i: int) -> frozenset[str]:
        """The lists of goods of which a line's code does not tell whether they have it."""
        return lists_that_may_have(self.of.lists, self.lines[i].hs_code, self.on)

    def part(self, i: int, name: str) -> Fraction:
        """A line's own part of the goods, of the carriage shared by value, or of what was charged before."""
        if name == "goods":
            return Fraction(self.goods[i])
        if name in ("freight", "insurance"):
            whole, total = (self.freight if name == "freight" else self.insurance), sum(self.goods)
            return (
                Fraction(whole * self.goods[i], total)
                if total
                else Fraction(whole, len(self.goods))
            )
        return next(
            (amounts[i] for kind, amounts in self.paid.items() if kind == name), Fraction(0)
        )


def fees(work: Work) -> Iterable[Owed]:
    """What the country charges for handling the consignment; a fee in a currency of its own is crossed at the day's rate."""
    for fee in work.of.fee:
        if (
            fee.country == work.country
            and fee.is_on(work.on)
            and sum(work.goods) <= work.minor(fee.at_most)
        ):
            name = f"{work.of.id}/fee/{fee.country}/{fee.valid_from}"
            if fee.status == "unknown":
                reason = f"what {fee.country} charges for handling on {work.on} is not known: {fee.note or fee.source}"
                raise NotKnown(
                    "rule_unknown",
                    reason,
                    f"add it to the rule file of {work.of.id}, with its source",
                )
            work.use(name, fee.source, fee.confidence, fee.status)
            times = 1 if fee.method == "per-consignment" else len(_subheadings(work.lines))
            numbers = tuple(line.line_no for line in work.lines)
            amount, how = _fee(work, fee, times)
            yield Owed("fee", amount, fee.collector, numbers, name, fee.status, how)


def _fee(work: Work, fee: Fee, times: int) -> tuple[Money, str]:
    currency = fee.currency or work.of.currency
    one, how = Fraction(fee.amount), f"{times} of {fee.amount} {currency}"
    if fee.with_vat:
        vat = _standard_vat(work)
        one, how = one * (1 + Fraction(vat)), f"{how} and {_percent(vat)} on it"
    minor = times * half_up(one * 10 ** EXPONENTS[currency])
    return Money(work.currencies.minor(Money(minor, currency)), work.of.currency), how


def charges_of(work: Work, kind: ChargeKind) -> Iterable[Owed]:
    """The charges of a kind, each on the lines it holds for; those with a name are charged side by side, and told if they come to
    something."""
    found: list[Owed] = []
    paid = [Fraction(0)] * len(work.lines)
    for group in groups(row for row in work.regime.charge if row.kind == kind):
        rows = [row for row in group if row.holds_for(work.country, work.channel)]
        by_row: dict[int, list[int]] = {}
        for i, line in enumerate(work.lines):
            row = _row_of_goods(work, of_origin(rows, line.origin), i) if rows else None
            if row is not None:
                by_row.setdefault(rows.index(row), []).append(i)
        owed = [_owed(work, rows[index], lines, paid) for index, lines in sorted(by_row.items())]
        found += [one for one in owed if one.amount.minor or group[0].name is None]
    work.paid[kind] = paid
    return found


def _row_of_goods(work: Work, rows: Sequence[Charge], i: int) -> Charge | None:
    """The charge on a line by the lists it is on; raises NotKnown where its code does not tell that, and it matters."""
    lists = work.lists_of(i)
    row = _row_for(work, of_goods(rows, lists), i)
    for name in sorted(work.unsure_of(i)):
        other = _row_for(work, of_goods(rows, lists | {name}), i)
        if other is not row and not (
            other is not None and row is not None and other.method == row.method == "none"
        ):
            raise not_told(work.lines[i], f"the list {name} has it", "list the goods by six digits")
    return row


def not_told(line: ShippedLine, what: str, otherwise: str) -> NotKnown:
    """A code that does not tell something of goods: it is short, or only the destination's own digits would tell."""
    reason = f"HS code {line.hs_code} of line {line.line_no} does not tell whether {what}"
    ask = (
        "give ten digits"
        if len(line.hs_code) < SHARED_DIGITS
        else f"{otherwise}: the digits after these are each country's own"
    )
    return NotKnown("subheading_missing", reason, ask)


def _row_for(work: Work, rows: Sequence[Charge], i: int) -> Charge | None:
    for row in rows:
        pieces = max(Fraction(work.lines[i].quantity), Fraction(1))
        value = (
            work.goods[i] / pieces
            if row.basis == "piece"
            else Fraction(sum(work.goods) + work.earlier)
        )
        above = row.over is None or value > work.minor(row.over)
        if above and (row.at_most is None or value <= work.minor(row.at_most)):
            return row
    return None


def _owed(work: Work, row: Charge, lines: list[int], paid: list[Fraction]) -> Owed:
    name = f"{work.of.id}/{work.regime.id}/{row.kind}/{work.regime.charge.index(row) + 1}"
    work.use(name, row.source, row.confidence, row.status)
    if row.method == "unknown":
        reason = f"what {work.of.name} charges as {row.kind} on {work.on} is not known: {row.note or row.source}"
        raise NotKnown(
            "rule_unknown", reason, f"add it to the rule file of {work.of.id}, with its source"
        )
    exact, how = _METHODS[row.method](work, row, lines)
    whole = sum(exact, Fraction(0))
    amount = half_up(whole)
    for i, part in zip(lines, exact, strict=True):
        # What later charges are worked out on is the amount that is paid, so the rounded one.
        paid[i] += amount * part / whole if whole else Fraction(0)
    numbers = tuple(work.lines[i].line_no for i in lines)
    return Owed(
        row.kind, Money(amount, work.of.currency), row.collector, numbers, name, row.status, how
    )


def _none(_: Work, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    return [Fraction(0)] * len(lines), row.note or "not charged"


def _share(work: Work, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    assert row.rate is not None
    parts = [_base(work, row, i) * Fraction(row.rate) for i in lines]
    how = f"{_percent(row.rate)} of {' + '.join(row.base)}"
    if row.per_kg is None:
        return parts, how
    kilograms = [_weight(work, work.lines[i]) for i in lines]
    least = [weight * work.minor(row.per_kg) for weight in kilograms]
    return (
        least if sum(least) > sum(parts) else parts
    ), f"{how}, at least {row.per_kg} {work.of.currency} a kilogram"


def _top_up(work: Work, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    """What the duty of each line is below a share of its base."""
    assert row.rate is not None
    parts = [
        max(_base(work, row, i) * Fraction(row.rate) - work.part(i, "duty"), Fraction(0))
        for i in lines
    ]
    return parts, f"what the duty is below {_percent(row.rate)} of {' + '.join(row.base)}"


def _excess(work: Work, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    """A share of what is over the limit of value, at least so much for each kilogram over that of weight; both inside themselves."""
    assert row.rate is not None
    assert row.per_kg is not None
    assert row.limit is not None
    assert row.limit_kg is not None
    limit, limit_kg = work.minor(row.limit), Fraction(row.limit_kg)
    value = _over(Fraction(work.earlier), Fraction(sum(work.goods[i] for i in lines)), limit)
    weight = _over(
        Fraction(work.earlier_kg),
        sum((_weight(work, work.lines[i]) for i in lines), Fraction(0)),
        limit_kg,
    )
    owed = max(value * Fraction(row.rate), weight * work.minor(row.per_kg))
    how = f"{_percent(row.rate)} of what is over {row.limit} {work.of.currency}, at least {row.per_kg} a kilogram over {row.limit_kg} kg"
    return _spread(work, lines, owed), how


def _weight(work: Work, line: ShippedLine) -> Fraction:
    """A line's kilograms; raises NotKnown where they are not told: goods that weigh nothing would owe too little."""
    if line.weight_kg <= 0:
        reason = f"line {line.line_no} needs its weight: {work.of.name} charges by the kilogram"
        raise NotKnown("net_weight_missing", reason, "give net_weight_kg in the line")
    return Fraction(line.weight_kg)


def _over(earlier: Fraction, now: Fraction, limit: Fraction) -> Fraction:
    return max(earlier + now - limit, Fraction(0)) - max(earlier - limit, Fraction(0))


def _flat(work: Work, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    assert row.amount is not None
    times = (
        1 if row.method == "per-consignment" else len(_subheadings([work.lines[i] for i in lines]))
    )
    what = (
        "consignment" if row.method == "per-consignment" else f"tariff sub-heading, {times} of them"
    )
    return _spread(
        work, lines, times * work.minor(row.amount)
    ), f"{row.amount} {work.of.currency} a {what}"


def _subheadings(lines: Sequence[ShippedLine]) -> set[str]:
    """The tariff sub-headings of goods: the first six digits of their codes."""
    for line in lines:
        if len(line.hs_code) < 6:
            reason = f"HS code {line.hs_code} of line {line.line_no} names no tariff sub-heading, by which this is charged"
            raise NotKnown("subheading_missing", reason, "give at least six digits")
    return {line.hs_code[:6] for line in lines}


def _tariff(work: Work, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    parts, said = [], []
    for i in lines:
        rate = _duty_rate(work, work.lines[i])
        parts.append(_base(work, row, i) * Fraction(rate))
        said.append(f"{_percent(rate)} on line {work.lines[i].line_no}")
    return parts, f"of {' + '.join(row.base)}: {', '.join(said)}"


def _duty_rate(work: Work, line: ShippedLine) -> Decimal:
    if line.duty_rate is not None:
        work.use(
            f"{GIVEN}/duty/{line.line_no}",
            "duty_rate of the line, as it was given",
            "unverified",
            "settled",
        )
        return line.duty_rate
    rows: list[TariffRate] = [row for row in work.of.tariff if row.is_on(work.on)]
    found = tariff_of(rows, line.hs_code, line.origin)
    if found is not None and (others := other_rates(rows, found, line.hs_code, line.origin)):
        what = f"it owes {_percent(found.rate)} as HS {found.hs} or {_percent(others[0].rate)} as HS {others[0].hs}"
        raise not_told(line, what, "give duty_rate in the line")
    if found is None:
        reason = f"{work.of.id} has no duty rate for HS code {line.hs_code} of line {line.line_no} (origin {line.origin}) on {work.on}"
        raise NotKnown(
            "tariff_unknown",
            reason,
            "add a [[tariff]] row with its source, or give duty_rate in the line",
        )
    if found.status == "unknown":
        reason = f"the duty of HS code {line.hs_code} of line {line.line_no} on {work.on} is not known: {found.note or found.source}"
        raise NotKnown(
            "rule_unknown",
            reason,
            f"add it to the rule file of {work.of.id}, or give duty_rate in the line",
        )
    origin = f"/{'+'.join(found.origins)}" if found.origins else ""
    work.use(
        f"{work.of.id}/tariff/{found.hs}{origin}/{found.valid_from}",
        found.source,
        found.confidence,
        found.status,
    )
    return found.rate


def _vat(work: Work, row: Charge, lines: list[int]) -> tuple[list[Fraction], str]:
    parts, rates = [], set[Decimal]()
    for i in lines:
        rate = _vat_rate(work, work.lines[i])
        parts.append(_base(work, row, i) * Fraction(rate))
        rates.add(rate)
    return parts, f"{', '.join(_percent(rate) for rate in sorted(rates))} of {' + '.join(row.base)}"


def _vat_rate(work: Work, line: ShippedLine) -> Decimal:
    if line.vat_rate is not None:
        work.use(
            f"{GIVEN}/vat/{line.line_no}",
            "vat_rate of the line, as it was given",
            "unverified",
            "settled",
        )
        return line.vat_rate
    return _standard_vat(work, line)


def _standard_vat(work: Work, line: ShippedLine | None = None) -> Decimal:
    """The VAT of the country that day; raises NotKnown for goods that may owe a reduced one."""
    found: StandardVat | None = next(
        (r for r in work.of.vat if r.country == work.country and r.is_on(work.on)), None
    )
    if found is None or found.rate is None:
        why = "" if found is None else f": {found.note or found.source}"
        reason = f"the VAT of {work.country} on {work.on} is not known{why}"
        raise NotKnown(
            "rule_unknown",
            reason,
            f"add a [[vat]] row to the rule file of {work.of.id}, or give vat_rate in each line",
        )
    if line is not None and any(
        line.hs_code.startswith(hs) or may_be(hs, line.hs_code) for hs in found.reduced
    ):
        reason = f"HS code {line.hs_code} of line {line.line_no} may owe a reduced VAT in {work.country}, which no rule file has"
        raise NotKnown("vat_unknown", reason, "give vat_rate in the line")
    work.use(
        f"{work.of.id}/vat/{found.country}/{found.valid_from}",
        found.source,
        found.confidence,
        found.status,
    )
    return found.rate


_METHODS: Final = {
    "none": _none, "share": _share, "top-up": _top_up, "excess": _excess, "tariff": _tariff, "vat": _vat, "per-subheading": _flat,
    "per-consignment": _flat,
}  # fmt: skip


def _base(work: Work, row: Charge, i: int) -> Fraction:
    return sum((work.part(i, name) for name in row.base), Fraction(0))


def _spread(work: Work, lines: list[int], whole: Fraction) -> list[Fraction]:
    total = sum(work.goods[i] for i in lines)
    return [whole * work.goods[i] / total if total else whole / len(lines) for i in lines]


def _percent(rate: Decimal) -> str:
    return f"{(rate * 100).normalize():f} %"
