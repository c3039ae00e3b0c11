"""Lines of the documents for the authority, with their statutory quantities."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from services.customs.ceb.documents import (
    DraftLine,
    ReturnLine,
)
from services.customs.particulars import NotLodgeable
from services.customs.policy import Policy
from services.customs.statutory_units import in_unit
from shared.events.orders import Line, OrderPlaced

_SMALLEST: Final = Decimal("0.00001")


def draft_line(policy: Policy, line: Line, order: OrderPlaced, *, bonded: bool) -> DraftLine:
    unit, second = policy.statutory_units(line.hs_code)
    second_quantity = in_unit(line, second) if second else None
    return DraftLine(
        line_no=line.line_no,
        sku=line.sku,
        name=line.name,
        model=_model(line),
        hs_code=line.hs_code,
        origin=line.origin if order.direction == "import" else order.consignee.country,
        quantity=line.quantity,
        unit=line.unit,
        statutory_quantity=_statutory(line, unit),
        statutory_unit=unit,
        second_quantity=second_quantity,
        second_unit=None if second_quantity is None else second,
        unit_price=line.unit_price,
        total=line.total,
        gtin=line.gtin,
        record_no=line.sku if bonded else None,
    )


def draft_return_line(policy: Policy, line: Line, quantity: Decimal) -> ReturnLine:
    unit, second = policy.statutory_units(line.hs_code)
    weight = (
        line.net_weight_kg
        if quantity == line.quantity
        else _part(line.net_weight_kg, quantity, line.quantity)
    )
    line = line.model_copy(update={"quantity": quantity, "net_weight_kg": weight})
    second_quantity = in_unit(line, second) if second else None
    return ReturnLine(
        line_no=line.line_no,
        hs_code=line.hs_code,
        name=line.name,
        quantity=line.quantity,
        unit=line.unit,
        model=_model(line),
        statutory_quantity=_statutory(line, unit),
        statutory_unit=unit,
        second_quantity=second_quantity,
        second_unit=None if second_quantity is None else second,
    )


def _model(line: Line) -> str:
    """Return gmodel: brand and content where known, else the name of the goods, which the
    specification allows [202205]. An unknown brand is not "none": branded goods would be declared
    as unbranded.
    """
    parts = [line.brand] if line.brand is not None else []
    if line.net_content is not None:
        parts.append(f"{line.net_content.value.normalize():f}{line.net_content.unit}")
    return "|".join(parts) or line.name


def _statutory(line: Line, unit: str) -> Decimal:
    """Return the quantity in the first statutory unit, which a list must have. Raises NotLodgeable
    where it is unknown.
    """
    quantity = in_unit(line, unit)
    if quantity is None:
        raise NotLodgeable(
            f"{line.quantity:f} {line.unit} of tariff line {line.hs_code}",
            field=f"lines[{line.line_no}].unit",
            rule="statutory_quantity_is_known",
            expected=f"a quantity in {unit}, or goods whose net content tells it",
        )
    return quantity


def _part(weight_kg: Decimal, quantity: Decimal, of: Decimal) -> Decimal:
    """Return the weight of part of a line, with the five decimals of a message and never 0."""
    return max((weight_kg * quantity / of).quantize(_SMALLEST), _SMALLEST)
