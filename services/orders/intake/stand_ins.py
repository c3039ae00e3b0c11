"""Harmless values for broken ones, so that one broken value does not hide the other faults."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Final

Step = str | int
"""One step of a path: the name of a member or the index of a line."""


_STAND_IN: Final[dict[str, Any]] = {
    "order_no": "-",
    "placed_at": "2026-01-01T00:00:00+00:00",
    "direction": "import",
    "mode": "9610",
    "platform": {"code": "1105910159", "name": "-"},
    "merchant": {"code": "1105910159", "name": "-", "country": None},
    "buyer": {"name": "-", "id_type": "1", "id_number": "-", "phone": None},
    "consignee": {
        "name": "-",
        "phone": "-",
        "country": "CN",
        "region": None,
        "city": None,
        "address": "-",
        "postcode": None,
    },
    "payment": {
        "enterprise_code": "1105910159",
        "token": "-",
        "payer": {"name": "-", "id_type": "1", "id_number": "-"},
    },
    "currency": "CNY",
    "lines": [
        {
            "line_no": 1,
            "sku": "-",
            "name": "-",
            "hs_code": "0000000000",
            "origin": "CN",
            "brand": None,
            "gtin": None,
            "quantity": "1",
            "unit": "kg",
            "net_weight_kg": "1",
            "net_content": {"value": "1", "unit": "g"},
            "unit_price": "1",
            "total": "1",
        }
    ],
    "goods_value": "1",
    "freight": "0",
    "insurance": "0",
    "discount": "0",
    "tax_withheld": "0",
    "amount_paid": "1",
    "logistics_no": None,
}


def mended(document: dict[str, Any], broken: Iterable[tuple[Step, ...]]) -> dict[str, Any]:
    sound = copy.deepcopy(document)
    for steps in broken:
        value: Any = _STAND_IN
        place: Any = sound
        for step in steps[:-1]:
            value = value[0 if isinstance(step, int) else step]
            place = place[step]
        value = value[0 if isinstance(steps[-1], int) else steps[-1]]
        place[steps[-1]] = copy.deepcopy(value)
    return sound
