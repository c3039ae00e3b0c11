"""The amount of each charge of a regime on the lines it applies to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from services.tax.landed.calculation import Calculation, ChargeOwed
from services.tax.landed.charge_rules import (
    Charge,
    ChargeKind,
    groups,
    of_goods,
    of_origin,
)
from services.tax.landed.conversion import NotKnown, half_up
from services.tax.landed.destination import (
    Fee,
)
from services.tax.landed.methods import METHODS, subheadings
from services.tax.landed.rate_lookup import (
    percent,
    standard_vat,
    undecided_code,
)
from shared.money import EXPONENTS, Money


def fees(work: Calculation) -> Iterable[ChargeOwed]:
    """Yield the country's handling fees; a fee in another currency is converted at the day's
    rate."""
    for fee in work.of.fee:
        if (
            fee.country == work.country
            and fee.is_on(work.on)
            and sum(work.goods) <= work.minor(fee.at_most)
        ):
            name = f"{work.of.id}/fee/{fee.country}/{fee.valid_from}"
            if fee.status == "unknown":
                reason = (
                    f"what {fee.country} charges for handling on {work.on} is not known: "
                    f"{fee.note or fee.source}"
                )
                raise NotKnown(
                    "rule_unknown",
                    reason,
                    f"add it to the rule file of {work.of.id}, with its source",
                )
            work.use(name, fee.source, fee.confidence, fee.status)
            times = 1 if fee.method == "per-consignment" else len(subheadings(work.lines))
            numbers = tuple(line.line_no for line in work.lines)
            amount, how = _fee(work, fee, times)
            yield ChargeOwed("fee", amount, fee.collector, numbers, name, fee.status, how)


def _fee(work: Calculation, fee: Fee, times: int) -> tuple[Money, str]:
    currency = fee.currency or work.of.currency
    one, how = Fraction(fee.amount), f"{times} of {fee.amount} {currency}"
    if fee.with_vat:
        vat = standard_vat(work)
        one, how = one * (1 + Fraction(vat)), f"{how} and {percent(vat)} on it"
    minor = times * half_up(one * 10 ** EXPONENTS[currency])
    return Money(work.currencies.minor(Money(minor, currency)), work.of.currency), how


def charges_of(work: Calculation, kind: ChargeKind) -> Iterable[ChargeOwed]:
    """Yield the charges of a kind, each on its lines; charges with a name only if they are not
    zero."""
    charges: list[ChargeOwed] = []
    paid = [Fraction(0)] * len(work.lines)
    for group in groups(row for row in work.regime.charge if row.kind == kind):
        owed = [_owed(work, row, lines, paid) for row, lines in _lines_by_row(work, group)]
        charges += [one for one in owed if one.amount.minor or group[0].name is None]
    work.paid[kind] = paid
    return charges


def _lines_by_row(work: Calculation, group: Sequence[Charge]) -> list[tuple[Charge, list[int]]]:
    rows = [row for row in group if row.holds_for(work.country, work.channel)]
    if not rows:
        return []
    by_row: dict[int, list[int]] = {}
    for i, line in enumerate(work.lines):
        row = _row_of_goods(work, of_origin(rows, line.origin), i)
        if row is not None:
            by_row.setdefault(rows.index(row), []).append(i)
    return [(rows[index], lines) for index, lines in sorted(by_row.items())]


def _row_of_goods(work: Calculation, rows: Sequence[Charge], i: int) -> Charge | None:
    """Return the charge on a line by its lists; raises NotKnown where the code decides nothing and
    it matters."""
    lists = work.lists_of(i)
    row = _row_for(work, of_goods(rows, lists), i)
    for name in sorted(work.unsure_of(i)):
        other = _row_for(work, of_goods(rows, lists | {name}), i)
        if other is not row and not (
            other is not None and row is not None and other.method == row.method == "none"
        ):
            raise undecided_code(
                work.lines[i], f"the list {name} has it", "list the goods by six digits"
            )
    return row


def _row_for(work: Calculation, rows: Sequence[Charge], i: int) -> Charge | None:
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


def _owed(work: Calculation, row: Charge, lines: list[int], paid: list[Fraction]) -> ChargeOwed:
    name = f"{work.of.id}/{work.regime.id}/{row.kind}/{work.regime.charge.index(row) + 1}"
    work.use(name, row.source, row.confidence, row.status)
    if row.method == "unknown":
        reason = (
            f"what {work.of.name} charges as {row.kind} on {work.on} is not known: "
            f"{row.note or row.source}"
        )
        raise NotKnown(
            "rule_unknown", reason, f"add it to the rule file of {work.of.id}, with its source"
        )
    exact, how = METHODS[row.method](work, row, lines)
    whole = sum(exact, Fraction(0))
    amount = half_up(whole)
    for i, part in zip(lines, exact, strict=True):
        # What later charges are worked out on is the amount that is paid, so the rounded one.
        paid[i] += amount * part / whole if whole else Fraction(0)
    numbers = tuple(work.lines[i].line_no for i in lines)
    return ChargeOwed(
        row.kind, Money(amount, work.of.currency), row.collector, numbers, name, row.status, how
    )
