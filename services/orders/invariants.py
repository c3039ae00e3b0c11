"""What must always be true of orders' tables; each query returns the orders that break it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from services.orders.domain.external_states import Stage
from services.orders.domain.stages import ENDED
from shared.invariants import Invariant


def _quoted(stages: Iterable[Stage]) -> str:
    return ", ".join(f"'{stage}'" for stage in stages)


_ENDED: Final = _quoted(ENDED)
_WITH_TERMS: Final = _quoted(
    (
        Stage.PLACED,
        Stage.LODGED,
        Stage.WITHDRAWING,
        Stage.UNWINDING,
        Stage.FULFILLED,
        Stage.RETURNED,
    )
)

INVARIANTS: Final[tuple[Invariant, ...]] = (
    Invariant(
        "orders_end_has_time",
        "SELECT order_id::text FROM orders.orders "  # noqa: S608
        f"WHERE (ended_at IS NOT NULL) <> (state IN ({_ENDED}))",
        "an order has ended without a time, or is open with one",
    ),
    Invariant(
        "orders_open_has_terms",
        "SELECT order_id::text FROM orders.orders "  # noqa: S608
        f"WHERE state IN ({_WITH_TERMS}) "
        "AND (num_nulls(platform_code, corridor, direction, mode, currency, placed_at, "
        "goods_value_minor, amount_paid_minor) > 0 "
        "OR goods_value_minor <= 0 OR amount_paid_minor <= 0)",
        "an order was placed without its terms: goods, parties or amounts are missing",
    ),
    Invariant(
        "orders_end_is_told_once",
        "SELECT o.order_id::text FROM orders.orders o LEFT JOIN orders.timeline t "  # noqa: S608
        "ON t.order_id = o.order_id AND t.source = 'orders' "
        "AND t.type = 'order.' || o.state || '.v1' "
        f"WHERE o.state IN ({_ENDED}) GROUP BY o.order_id HAVING count(t.id) <> 1",
        "an order has ended, and its timeline does not show that exactly once",
    ),
    Invariant(
        "orders_number_once",
        "SELECT min(order_id::text) FROM orders.orders "
        "GROUP BY platform_code, order_no HAVING count(*) > 1",
        "two orders have the same number on one platform",
    ),
)
