"""Duty and VAT rates of a line at its destination; a rate that is not known is never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from services.tax.landed.calculation import Calculation, ShippedLine
from services.tax.landed.conversion import GIVEN, NotKnown
from services.tax.landed.destination import (
    StandardVat,
    TariffRate,
)
from services.tax.rulebook.goods_lists import (
    SHARED_DIGITS,
    may_be,
)
from services.tax.rulebook.tariff import longest_prefix


def undecided_code(line: ShippedLine, what: str, advice: str) -> NotKnown:
    """Return the fault of a code that does not decide: too short, or the further digits are the
    destination's."""
    reason = f"HS code {line.hs_code} of line {line.line_no} does not tell whether {what}"
    ask = (
        "give ten digits"
        if len(line.hs_code) < SHARED_DIGITS
        else f"{advice}: the digits after these are each country's own"
    )
    return NotKnown("subheading_missing", reason, ask)


def duty_rate(work: Calculation, line: ShippedLine) -> Decimal:
    if line.duty_rate is not None:
        _use_given(work, line, "duty")
        return line.duty_rate
    rows: list[TariffRate] = [row for row in work.of.tariff if row.is_on(work.on)]
    row = tariff_of(rows, line.hs_code, line.origin)
    if row is not None and (others := other_rates(rows, row, line.hs_code, line.origin)):
        what = (
            f"it owes {percent(row.rate)} as HS {row.hs} or {percent(others[0].rate)} as HS "
            f"{others[0].hs}"
        )
        raise undecided_code(line, what, "give duty_rate in the line")
    if row is None:
        reason = (
            f"{work.of.id} has no duty rate for HS code {line.hs_code} of line {line.line_no} "
            f"(origin {line.origin}) on {work.on}"
        )
        raise NotKnown(
            "tariff_unknown",
            reason,
            "add a [[tariff]] row with its source, or give duty_rate in the line",
        )
    if row.status == "unknown":
        reason = (
            f"the duty of HS code {line.hs_code} of line {line.line_no} on {work.on} is not known: "
            f"{row.note or row.source}"
        )
        raise NotKnown(
            "rule_unknown",
            reason,
            f"add it to the rule file of {work.of.id}, or give duty_rate in the line",
        )
    origin = f"/{'+'.join(row.origins)}" if row.origins else ""
    work.use(
        f"{work.of.id}/tariff/{row.hs}{origin}/{row.valid_from}",
        row.source,
        row.confidence,
        row.status,
    )
    return row.rate


def _use_given(work: Calculation, line: ShippedLine, kind: str) -> None:
    source = f"{kind}_rate of the line, as it was given"
    work.use(f"{GIVEN}/{kind}/{line.line_no}", source, "unverified", "settled")


def vat_rate(work: Calculation, line: ShippedLine) -> Decimal:
    if line.vat_rate is not None:
        _use_given(work, line, "vat")
        return line.vat_rate
    return standard_vat(work, line)


def _may_be_reduced(row: StandardVat, line: ShippedLine) -> bool:
    return any(line.hs_code.startswith(hs) or may_be(hs, line.hs_code) for hs in row.reduced)


def standard_vat(work: Calculation, line: ShippedLine | None = None) -> Decimal:
    """Return the VAT of the country that day; raises NotKnown for goods that may owe a reduced
    rate."""
    row: StandardVat | None = next(
        (r for r in work.of.vat if r.country == work.country and r.is_on(work.on)), None
    )
    if row is None or row.rate is None:
        why = "" if row is None else f": {row.note or row.source}"
        reason = f"the VAT of {work.country} on {work.on} is not known{why}"
        raise NotKnown(
            "rule_unknown",
            reason,
            f"add a [[vat]] row to the rule file of {work.of.id}, or give vat_rate in each line",
        )
    if line is not None and _may_be_reduced(row, line):
        reason = (
            f"HS code {line.hs_code} of line {line.line_no} may owe a reduced VAT in "
            f"{work.country}, which no rule file has"
        )
        raise NotKnown("vat_unknown", reason, "give vat_rate in the line")
    work.use(
        f"{work.of.id}/vat/{row.country}/{row.valid_from}",
        row.source,
        row.confidence,
        row.status,
    )
    return row.rate


def percent(rate: Decimal) -> str:
    return f"{(rate * 100).normalize():f} %"


def other_rates(
    rows: Sequence[TariffRate], chosen: TariffRate, hs_code: str, origin: str
) -> list[TariffRate]:
    """Return the rows with another rate that a code may also stand for, for the same origins."""
    return [
        row
        for row in rows
        if row.rate != chosen.rate
        and (origin in row.origins) == (origin in chosen.origins)
        and may_be(row.hs, hs_code)
        and (origin in row.origins or not row.origins)
        and len(row.hs) > len(chosen.hs)
    ]


def tariff_of(rows: Sequence[TariffRate], hs_code: str, origin: str) -> TariffRate | None:
    """Return the row of the longest prefix, rows that name the origin first; None where none is
    known.

    `rows` are of one day.
    """
    for named in (True, False):
        those = (row for row in rows if (origin in row.origins if named else not row.origins))
        row = longest_prefix({row.hs: row for row in those}, hs_code)
        if row is not None:
            return row
    return None
