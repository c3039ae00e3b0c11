"""What an assessment was worked out from, written down so that it can be worked out again and by other rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from services.tax.domain.assessable import NOTHING, Assessable, AssessableLine
from shared.events.orders import NetContent
from shared.money import Money


class Record(NamedTuple):
    """The inputs of one assessment: the order, the day, what the buyer's year held before it in value and in kilograms, and the
    edition of the rules."""

    order: Assessable
    on: date
    used: Money
    edition: str
    used_kg: Mapping[str, Decimal] = NOTHING

    def as_document(self) -> dict[str, Any]:
        """Without a person: goods, amounts and the country they come from."""
        order = self.order
        found: dict[str, Any] = {
            "edition": self.edition, "on": self.on.isoformat(), "used": str(self.used), "direction": order.direction,
            "mode": order.mode, "currency": order.currency, "lines": [_line(line) for line in order.lines],
        }  # fmt: skip
        for name in ("freight", "insurance", "discount"):
            amount: Money = getattr(order, name)
            if amount.minor:
                found[name] = str(amount)
        if self.used_kg:
            found["used_kg"] = {hs: f"{kilograms:f}" for hs, kilograms in self.used_kg.items()}
        if order.sent_from is not None:
            found["sent_from"] = order.sent_from
        return found


def _line(line: AssessableLine) -> list[Any]:
    """Number, HS code, quantity, total; then net content with its unit and net weight where there are any, none for none before them."""
    content = line.net_content
    found: list[Any] = [line.line_no, line.hs_code, str(line.quantity), str(line.total)]
    if content is not None or line.net_weight_kg is not None:
        found.append(None if content is None else [str(content.value), content.unit])
    if line.net_weight_kg is not None:
        found.append(str(line.net_weight_kg))
    return found


def of_document(found: Mapping[str, Any]) -> Record:
    """The record that was written; raises KeyError or ValueError for what was not."""
    currency = found["currency"]
    lines = tuple(_read(line, currency) for line in found["lines"])
    freight, insurance, discount = (
        Money.of(found.get(name, "0"), currency) for name in ("freight", "insurance", "discount")
    )
    goods = Money.total((line.total for line in lines), currency)
    order = Assessable(
        found["direction"],
        found["mode"],
        currency,
        lines,
        goods,
        freight,
        insurance,
        discount,
        found.get("sent_from"),
    )
    used_kg = {hs: Decimal(kilograms) for hs, kilograms in found.get("used_kg", {}).items()}
    return Record(
        order,
        date.fromisoformat(found["on"]),
        Money.of(found["used"], "CNY"),
        found["edition"],
        used_kg,
    )


def _read(line: Sequence[Any], currency: str) -> AssessableLine:
    line_no, hs_code, quantity, total, content, weight = [*line, None, None][:6]
    return AssessableLine(
        line_no, hs_code, Decimal(quantity), Money.of(total, currency),
        None if content is None else NetContent(value=Decimal(content[0]), unit=content[1]),
        None if weight is None else Decimal(weight),
    )  # fmt: skip
