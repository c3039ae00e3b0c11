"""Amounts and messages of tax bills: what a word makes of them, CEB816 and CEB818 as the schema
requires.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Final
from xml.sax.saxutils import escape

from sandbox.authority.duties import LineTax, part_of, taxes_of
from sandbox.authority.receipts import Receipt, new_guid, return_time
from sandbox.authority.register import RegisterEntry, TaxBill
from sandbox.documents import words_of
from shared.money import Money

BILLED_AFTER_DAYS: Final = 1
LATE_DAYS: Final = 35
"""The word `latebill`: the bill arrives within the time of payment."""
CONSOLIDATED_AFTER_DAYS: Final = 31
"""Payment falls due from the 31st to the 45th day after the release (GACC 2018 No. 194)."""
HIGH_FEN: Final = 30
"""The word `billhigh`: the excess of the bill."""


def days_until_billed(entry: RegisterEntry) -> int | None:
    """Return the days from release to bill, None for a list that is never billed."""
    words = words_of(entry.order_no)
    if "nobill" in words or entry.family != "621":
        return None
    return LATE_DAYS if "latebill" in words else BILLED_AFTER_DAYS


def lines_of(entry: RegisterEntry, left: Mapping[int, Fraction]) -> list[LineTax]:
    """Return the billed lines; `left` is the taxed share of each line. Raises duties.NoRate.

    A word in the order number falsifies the first line's VAT.
    """
    lines = [part_of(line, left[line.number]) for line in taxes_of(entry.body) if left[line.number]]
    words = words_of(entry.order_no)
    first, total = lines[0], sum(line.total for line in lines)
    if "billhigh" in words:
        first = replace(first, vat=first.vat + HIGH_FEN)
    if "billlow" in words:
        first = replace(first, vat=max(0, first.vat - total // 5))
    if "billfar" in words:
        first = replace(first, vat=first.vat + 2 * total + 10_000)
    return [first, *lines[1:]]


def issued(
    entry: RegisterEntry, bill: TaxBill, lines: Sequence[LineTax], origin: str, at: float
) -> list[Receipt]:
    """Return the CEB816 of a list: one, two alike by `dupbill`, or a second one 1.00 higher by
    `contrabill`.
    """
    words = words_of(entry.order_no)
    receipts = [_bill(entry, bill, lines, origin, at)]
    if "dupbill" in words:
        receipts.append(receipts[0])
    if "contrabill" in words:
        first = replace(lines[0], vat=lines[0].vat + 100)
        receipts.append(_bill(entry, bill, [first, *lines[1:]], origin, at))
    return receipts


def _bill(
    entry: RegisterEntry, bill: TaxBill, lines: Sequence[LineTax], origin: str, at: float
) -> Receipt:
    fields = entry.body["fields"]
    head = {
        "guid": new_guid(),
        "returnTime": return_time(at),
        "invtNo": entry.invt_no or "",
        "taxNo": bill.tax_no or "",
        "customsTax": _yuan(sum(line.duty for line in lines)),
        "valueAddedTax": _yuan(sum(line.vat for line in lines)),
        "consumptionTax": _yuan(sum(line.consumption for line in lines)),
        "status": "1",
        "assureCode": fields.get("assureCode", ""),
        "ebcCode": fields["ebcCode"],
        "logisticsCode": entry.body["waybill"][0],
        "agentCode": fields["agentCode"],
        "customsCode": fields["customsCode"],
    }
    items = [
        {
            "gnum": str(line.number),
            "gcode": line.code,
            "taxPrice": _yuan(line.value),
            "customsTax": _yuan(line.duty),
            "valueAddedTax": _yuan(line.vat),
            "consumptionTax": _yuan(line.consumption),
        }
        for line in lines
    ]
    inside = _element("TaxHeadRd", head) + "".join(_element("TaxListRd", item) for item in items)
    return Receipt("816", origin, 1, "", entry.cop_no, f"<Tax>{inside}</Tax>")


def status_of(entry: RegisterEntry, bill: TaxBill, origin: str, at: float) -> Receipt:
    head = {
        "guid": new_guid(),
        "returnTime": return_time(at),
        "invtNo": entry.invt_no or "",
        "taxNo": bill.tax_no or "",
        "status": str(bill.state),
        "entDutyNo": bill.book or "",
    }
    return Receipt(
        "818", origin, bill.state, "", entry.cop_no, f"<Tax>{_element('TaxHeadStatus', head)}</Tax>"
    )


def _element(name: str, fields: dict[str, str]) -> str:
    inside = "".join(
        f"<{field}>{escape(value)}</{field}>" for field, value in fields.items() if value
    )
    return f"<{name}>{inside}</{name}>"


def _yuan(minor: int) -> str:
    return str(Money(minor, "CNY"))
