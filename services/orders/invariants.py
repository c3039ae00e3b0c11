"""What must be true of orders' tables at every moment, each as the query that finds the orders which break it."""

from __future__ import annotations

from typing import Final

from shared.invariants import Invariant

INVARIANTS: Final[tuple[Invariant, ...]] = (
    Invariant(
        "orders_end_has_time",
        "SELECT order_id::text FROM orders.orders "
        "WHERE (ended_at IS NOT NULL) <> (state IN ('fulfilled', 'rejected', 'cancelled', 'returned'))",
        "an order is at its end without a time, or open with one",
    ),
    Invariant(
        "orders_open_has_terms",
        "SELECT order_id::text FROM orders.orders "
        "WHERE state IN ('placed', 'lodged', 'withdrawing', 'unwinding', 'fulfilled', 'returned') "
        "AND (num_nulls(platform_code, corridor, direction, mode, currency, placed_at, goods_value_minor, amount_paid_minor) > 0 "
        "OR goods_value_minor <= 0 OR amount_paid_minor <= 0)",
        "an order was placed without saying what is bought for how much",
    ),
    Invariant(
        "orders_end_is_told_once",
        "SELECT o.order_id::text FROM orders.orders o LEFT JOIN orders.timeline t "
        "ON t.order_id = o.order_id AND t.source = 'orders' AND t.type = 'order.' || o.state || '.v1' "
        "WHERE o.state IN ('fulfilled', 'rejected', 'cancelled', 'returned') GROUP BY o.order_id HAVING count(t.id) <> 1",
        "an order is at an end that its timeline does not tell of exactly once",
    ),
    Invariant(
        "orders_number_once",
        "SELECT min(order_id::text) FROM orders.orders GROUP BY platform_code, order_no HAVING count(*) > 1",
        "two orders have one number on one platform",
    ),
)
