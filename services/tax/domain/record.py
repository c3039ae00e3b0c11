"""The inputs of an assessment as a document, from which any set of rules can assess it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from services.tax.domain.assessable import NOTHING, Assessable, AssessableLine
from shared.events.orders import NetContent
from shared.money import Money


class Record(NamedTuple):
    """The inputs of one assessment: order, day, the buyer's year before it, and the edition of the
    rules."""

    order: Assessable
    on: date
    used: Money
    edition: str
    used_kg: Mapping[str, Decimal] = NOTHING

    def as_document(self) -> dict[str, Any]:
        order = self.order
        document: dict[str, Any] = {
            "edition": self.edition,
            "on": self.on.isoformat(),
            "used": str(self.used),
            "direction": order.direction,
            "mode": order.mode,
            "currency": order.currency,
            "lines": [_line(line) for line in order.lines],
        }
        for name in ("freight", "insurance", "discount"):
            amount: Money = getattr(order, name)
            if amount.minor:
                document[name] = str(amount)
        if self.used_kg:
            document["used_kg"] = {hs: f"{kilograms:f}" for hs, kilograms in self.used_kg.items()}
        if order.sent_from is not None:
            document["sent_from"] = order.sent_from
        return document


def _line(line: AssessableLine) -> list[Any]:
    """Return number, HS code, quantity and total; then net content with unit and net weight, where
    known.

    A missing content before a weight is None.
    """
    content = line.net_content
    fields: list[Any] = [line.line_no, line.hs_code, str(line.quantity), str(line.total)]
    if content is not None or line.net_weight_kg is not None:
        fields.append(None if content is None else [str(content.value), content.unit])
    if line.net_weight_kg is not None:
        fields.append(str(line.net_weight_kg))
    return fields


def of_document(document: Mapping[str, Any]) -> Record:
    """Return the record of a document; raises KeyError or ValueError for a malformed one."""
    currency = document["currency"]
    lines = tuple(_read(line, currency) for line in document["lines"])
    freight, insurance, discount = (
        Money.of(document.get(name, "0"), currency) for name in ("freight", "insurance", "discount")
    )
    goods = Money.total((line.total for line in lines), currency)
    order = Assessable(
        document["direction"],
        document["mode"],
        currency,
        lines,
        goods,
        freight,
        insurance,
        discount,
        document.get("sent_from"),
    )
    used_kg = {hs: Decimal(kilograms) for hs, kilograms in document.get("used_kg", {}).items()}
    return Record(
        order,
        date.fromisoformat(document["on"]),
        Money.of(document["used"], "CNY"),
        document["edition"],
        used_kg,
    )


def _read(line: Sequence[Any], currency: str) -> AssessableLine:
    line_no, hs_code, quantity, total, content, weight = [*line, None, None][:6]
    return AssessableLine(
        line_no,
        hs_code,
        Decimal(quantity),
        Money.of(total, currency),
        None if content is None else NetContent(value=Decimal(content[0]), unit=content[1]),
        None if weight is None else Decimal(weight),
    )
