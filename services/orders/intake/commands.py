"""Cancellations and return requests as shops send them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

from services.orders.intake.schema_faults import named
from services.orders.intake.submission import DECIMAL, CancelRequested, ReturnRequested
from shared.errors import Unprocessable
from shared.events.orders import ReturnPart
from shared.identity import order_id_of
from shared.intake_types import CANCEL_REQUESTED

REASONS: Final = (
    "buyer_request",
    "operator",
    "out_of_stock",
    "duplicate",
    "fraud_suspected",
    "wrong_address",
    "damaged",
    "not_as_described",
    "recalled",
)
"""Reasons that are shown as they are, since they name nobody; of any other text the length is
shown."""


PARTS_MAX: Final = 100
"""Lines of one return request: the maximum of an order."""


def read_command(kind: str, document: dict[str, Any]) -> CancelRequested | ReturnRequested:
    order_no, platform_code = named(document)
    shown = _reason(document.get("reason"))
    order_id = order_id_of(platform_code, order_no)
    if kind == CANCEL_REQUESTED:
        return CancelRequested(order_id, order_no, platform_code, shown)
    refund_if_late = document.get("refund_if_late", True)
    if not isinstance(refund_if_late, bool):
        raise Unprocessable("invalid_value", "refund_if_late must be true or false")
    return ReturnRequested(
        order_id,
        order_no,
        platform_code,
        shown,
        _read_parts(document.get("lines")),
        refund_if_late,
    )


def _reason(given: Any) -> str:
    """Return the reason as it may be shown; no reason makes a command invalid.

    People write names and addresses into it, and no pattern recognises all of them. The text itself
    stays with the request, on the intake topic.
    """
    if given is None or given == "":
        return "not given"
    if not isinstance(given, str):
        return "not a text"
    return given.strip() if given.strip() in REASONS else f"{len(given)} characters"


def _read_parts(lines: Any) -> tuple[ReturnPart, ...]:
    """Return the lines of a return request, as `[{"line_no": 1, "quantity": "2"}]`.

    A line without quantity means all that is left of it.
    """
    if lines is None:
        return ()
    if not isinstance(lines, list) or not 1 <= len(lines) <= PARTS_MAX:
        raise Unprocessable(
            "invalid_value",
            f"lines must be a list of 1 to {PARTS_MAX} lines, or be left out for all of the order",
        )
    return tuple(_read_part(number, line) for number, line in enumerate(lines))


def _read_part(number: int, line: Any) -> ReturnPart:
    if not isinstance(line, dict):
        raise Unprocessable(
            "invalid_value",
            f"lines[{number}] must be an object with line_no and, if not all is meant, quantity",
        )
    line_no, quantity = line.get("line_no"), line.get("quantity")
    if not isinstance(line_no, int) or isinstance(line_no, bool) or not 0 < line_no < 1000:
        raise Unprocessable(
            "invalid_value", f"lines[{number}].line_no must be the number of a line of the order"
        )
    if quantity is None:
        return ReturnPart(line_no=line_no)
    if (
        not isinstance(quantity, str)
        or not re.fullmatch(DECIMAL, quantity)
        or Decimal(quantity) <= 0
    ):
        raise Unprocessable(
            "invalid_value",
            f'lines[{number}].quantity must be a decimal above 0 in a string, as "2"',
        )
    return ReturnPart(line_no=line_no, quantity=Decimal(quantity))
