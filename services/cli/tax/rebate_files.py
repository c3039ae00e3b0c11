"""Released export lists and VAT special invoices, from JSON lines or the running stack."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import orjson
from pydantic import BaseModel, Field, StrictBool, StringConstraints

from services.cli.connect import UsageError
from services.cli.tax.export_files import money
from services.cli.tax.field_types import Count, Decimals, HsCode, LineNo, Time
from services.cli.tax.json_lines import bytes_of, lines_of, text_of
from services.cli.tax.order_files import Part, read
from services.tax.rebates.invoices import Invoice
from services.tax.rebates.lists import Declared, ExportedLine, ReleasedList
from shared.clock import BEIJING, beijing_date

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Text = Annotated[str, StringConstraints(min_length=1, max_length=60, strip_whitespace=True)]
Shape = TypeVar("Shape", bound=BaseModel)


class GoodsLine(Part):
    """A line of a list."""

    line_no: LineNo
    sku: Text
    hs_code: HsCode
    quantity: Count
    unit: Text
    total: Decimals
    declaration: Text | None = None
    declaration_line: LineNo | None = None


class ListFile(Part):
    """A released export list; `declaration` applies to lines that name none of their own."""

    list_no: Text
    order_no: str = ""
    merchant: Text
    mode: Text
    released_at: Time
    currency: str
    declaration: Text | None = None
    statistics: StrictBool = False
    paid: StrictBool
    came_back: StrictBool = False
    lines: tuple[GoodsLine, ...] = Field(min_length=1, max_length=1000)


class InvoiceFile(Part):
    """A line of a VAT special invoice; `taxable` is its price without VAT, in CNY."""

    number: str = Field(pattern=r"^[0-9]{8,20}$")
    merchant: Text
    sku: Text
    quantity: Count
    unit: Text
    taxable: Decimals


def _documents(file: Path, shape: type[Shape]) -> Iterator[tuple[str, Shape]]:
    """Return each line of a file; raises UsageError with every fault: half a file is never
    claimed."""
    from services.tax.rulebook.files import load_nomenclature

    documents, wrong, known = [], [], load_nomenclature()
    for number, line in lines_of(bytes_of(file)):
        where = f"{file} line {number}"
        try:
            documents.append((where, read(where, text_of(where, line), shape, known)))
        except UsageError as error:
            wrong.append(str(error))
    if wrong:
        raise UsageError("\n".join(wrong))
    yield from documents


def lists_of(file: Path) -> list[ReleasedList]:
    return [_list(where, document) for where, document in _documents(file, ListFile)]


def _list(where: str, document: ListFile) -> ReleasedList:
    if document.released_at.tzinfo is None:
        raise UsageError(f"{where}: released_at: give a time with its offset")
    lines = tuple(
        ExportedLine(
            x.line_no,
            x.sku,
            x.hs_code.replace(".", ""),
            x.quantity,
            x.unit,
            money(f"{where}: lines[{i}].total", x.total, document.currency),
            Declared(number, x.declaration_line)
            if (number := x.declaration or document.declaration)
            else None,
        )
        for i, x in enumerate(document.lines)
    )
    return ReleasedList(
        document.list_no,
        document.merchant,
        document.mode,
        beijing_date(document.released_at),
        lines,
        document.order_no,
        document.statistics,
        document.paid,
        document.came_back,
    )


def invoices_of(file: Path) -> list[Invoice]:
    return [
        Invoice(
            x.number,
            x.merchant,
            x.sku,
            x.quantity,
            x.unit,
            money(f"{where}: taxable", x.taxable, "CNY"),
        )
        for where, x in _documents(file, InvoiceFile)
    ]


_RELEASED: Final = (
    "SELECT d.invt_no, d.state, m.doc, r.at, r.closed, coalesce(p.state IN ('captured', "
    "'settled'), false) AS paid, e.state AS list_state, "
    "e.month, s.state AS summary_state, s.info, s.cop_no, c.declared::text FROM "
    "customs.declaration d "
    "JOIN LATERAL (SELECT min(at) FILTER (WHERE followed) AS at, bool_or(status = '899') AS closed "
    "FROM customs.receipt "
    "WHERE order_id = d.order_id AND status IN ('800', '899') AND message_type = 'CEB604') r ON "
    "r.at >= $1 AND r.at < $2 "
    "JOIN customs.document m ON m.order_id = d.order_id AND m.kind = 'order' "
    "LEFT JOIN payments.payment p ON p.order_id = d.order_id LEFT JOIN customs.export_list e ON "
    "e.order_id = d.order_id "
    "LEFT JOIN customs.summary s ON s.summary_id = e.summary_id "
    "LEFT JOIN LATERAL (SELECT jsonb_agg(jsonb_build_array(l.line_no, x.entry_id, l.declared_line, "
    "x.stage)) AS declared "
    "FROM customs.summary_line l JOIN customs.summary_declaration x USING (decl_seq_no) WHERE "
    "l.invt_no = d.invt_no) c ON true "
    "WHERE d.direction = 'export' AND d.released AND d.invt_no IS NOT NULL AND d.created_at < $2"
)


async def lists_in(conn: Any, first: date) -> list[ReleasedList]:
    """Return the export lists released in the month of that first day, Beijing time, and their
    state."""
    from shared.events.orders import OrderPlaced

    begin = datetime(first.year, first.month, 1, tzinfo=BEIJING)
    end = (begin + timedelta(days=32)).replace(day=1)
    released = []
    async for row in conn.cursor(_RELEASED, begin, end):
        order = OrderPlaced.from_json(row["doc"])
        declared = {
            line_no: declaration for line_no, *declaration in orjson.loads(row["declared"] or "[]")
        }
        lines = tuple(
            ExportedLine(
                x.line_no,
                x.sku,
                x.hs_code,
                Decimal(x.quantity),
                x.unit,
                x.total,
                *_declared(row, declared.get(x.line_no)),
            )
            for x in order.lines
        )
        came_back = row["state"] not in {"released", "closed"}
        # Closed lists that are not among those to be consolidated are under statisticsFlag A.
        statistics = row["closed"] and row["list_state"] is None
        of = (
            row["invt_no"],
            order.merchant.code,
            order.mode,
            beijing_date(row["at"]),
            lines,
            order.order_no,
        )
        released.append(
            ReleasedList(*of, statistics=statistics, paid=row["paid"], came_back=came_back)
        )
    return released


def _declared(row: Any, declaration: Sequence[Any] | None) -> tuple[Declared | None, str]:
    """Return the closed declaration of a line, or why it is in none yet."""
    if declaration is not None:
        entry_id, line, stage = declaration
        if stage == "closed":
            return Declared(entry_id, line), ""
        return None, f"declaration {entry_id or 'without a number yet'} is {stage}, expected closed"
    return None, _waits(row)


def _waits(row: Any) -> str:
    match row["list_state"], row["summary_state"]:
        case None, _:
            return "the list is released and not closed (899) yet"
        case "open", _:
            return f"the lists of {row['month']} are not asked to be consolidated yet"
        case "set_aside", _:
            return (
                "customs refused to consolidate the list, and a person must look (crossborder "
                "customs summaries)"
            )
        case _, "refused":
            return f"customs refused request {row['cop_no']}: {row['info']}"
    return (
        f"request {row['cop_no']} is {row['summary_state']}, and customs has told of no "
        "declaration yet"
    )
