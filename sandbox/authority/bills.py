"""The authority's tax bills: what each released list is billed, by its word; CEB816 and CEB818 as the schema wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Final
from xml.sax.saxutils import escape

from sandbox.authority.duties import LineTax, part_of, taxes_of
from sandbox.authority.receipts import Receipt, new_guid, return_time
from sandbox.authority.register import Bill, Entry
from sandbox.documents import words_of
from shared.money import Money

BILLED_AFTER_DAYS: Final = 1
LATE_DAYS: Final = 35
"""The word `latebill`: the bill comes within the time of payment."""
CONSOLIDATED_AFTER_DAYS: Final = 31
"""Payment falls due from the 31st to the 45th day after the release (GACC 2018 No. 194)."""
HIGH_FEN: Final = 30
"""The word `billhigh`: what is billed too much."""


def days_until_billed(entry: Entry) -> int | None:
    """On which day after its release a list is billed, None if never."""
    words = words_of(entry.order_no)
    if "nobill" in words or entry.family != "621":
        return None
    return LATE_DAYS if "latebill" in words else BILLED_AFTER_DAYS


def lines_of(entry: Entry, left: Mapping[int, Fraction]) -> list[LineTax]:
    """What the list is billed, of each line the part that is left to tax; raises duties.NoRate.

    A word in the order number makes the first line's VAT wrong.
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
    entry: Entry, bill: Bill, lines: Sequence[LineTax], origin: str, at: float
) -> list[Receipt]:
    """The CEB816 of a list: once, or twice by `dupbill`, or once more with another amount by `contrabill`."""
    words = words_of(entry.order_no)
    told = [_bill(entry, bill, lines, origin, at)]
    if "dupbill" in words:
        told.append(told[0])
    if "contrabill" in words:
        told.append(
            _bill(entry, bill, [replace(lines[0], vat=lines[0].vat + 100), *lines[1:]], origin, at)
        )
    return told


def _bill(entry: Entry, bill: Bill, lines: Sequence[LineTax], origin: str, at: float) -> Receipt:
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
    xml = f"<Tax>{_element('TaxHeadRd', head)}{''.join(_element('TaxListRd', item) for item in items)}</Tax>"
    return Receipt("816", origin, 1, "", entry.cop_no, xml)


def status_of(entry: Entry, bill: Bill, origin: str, at: float) -> Receipt:
    """The CEB818 of a bill that was consolidated or is void."""
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
