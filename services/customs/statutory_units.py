"""The statutory quantity of an order's line, where the order tells it. Pure."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from shared.events.orders import Line

SMALLEST: Final = Decimal("0.00001")
"""A message has room for five decimals."""
ARTICLES: Final = frozenset({"unit", "piece", "pcs", "item"})
"""Units of the code set that all mean one article (台, 个, 件)."""
_WEIGHTS: Final = {"kg": Decimal(1), "g": Decimal(1000), "t": Decimal("0.001")}
_CONTENTS: Final = {
    ("ml", "ml"): Decimal(1),
    ("ml", "l"): Decimal("0.001"),
    ("piece", "piece"): Decimal(1),
}
"""How much of a statutory unit one content unit of the goods makes."""


def in_unit(line: Line, unit: str) -> Decimal | None:
    """Return a line's quantity in a statutory unit, to five decimals; None where the order does not
    tell it.

    Weights come from the net weight, articles from the count, contents from one unit's content.
    """
    if unit in _WEIGHTS:
        return _rounded(line.net_weight_kg * _WEIGHTS[unit])
    if unit == line.unit or {unit, line.unit} <= ARTICLES:
        return line.quantity
    content = line.net_content
    factor = None if content is None else _CONTENTS.get((content.unit, unit))
    if content is None or factor is None:
        return None
    return _rounded(content.value * line.quantity * factor)


def _rounded(quantity: Decimal) -> Decimal:
    return (
        quantity
        if quantity == quantity.quantize(SMALLEST)
        else max(quantity.quantize(SMALLEST, ROUND_HALF_UP), SMALLEST)
    )
