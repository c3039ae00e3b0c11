"""What must be true between the services' tables, each as the query that finds what breaks it."""

from __future__ import annotations

from typing import Final

from shared.invariants import Invariant


def each_service(service: str) -> tuple[Invariant, ...]:
    """What the kernel promises of every service's schema. `service` is one of services.schema.SERVICES."""
    return (
        Invariant(
            f"{service}_outbox_published",
            f"SELECT topic || ' outbox row ' || id FROM {service}.outbox ORDER BY id LIMIT "  # noqa: S608
            "1000",
            "a decided record was not published",
        ),
        Invariant(
            f"{service}_effects_answered",
            f"SELECT order_id::text FROM {service}.effect WHERE created_at < now() - interval '1 "  # noqa: S608
            ""
            "minute'",
            "an outside party was asked over a minute ago and nobody knows its answer",
        ),
        Invariant(
            f"{service}_parked_is_held",
            f"SELECT DISTINCT p.order_id::text FROM {service}.parked p LEFT JOIN {service}.held_order h "  # noqa: S608
            ""
            "USING (order_id) "
            "WHERE h.order_id IS NULL",
            "records of an order are parked though it is not held, so nothing will ever free them",
        ),
    )


BETWEEN: Final = (
    Invariant(
        "fulfilled_is_released",
        "SELECT coalesce(o.order_id, d.order_id)::text FROM (SELECT order_id FROM orders.orders WHERE state "
        "= 'fulfilled') o "
        "FULL JOIN (SELECT order_id FROM customs.declaration WHERE state IN ('released', 'closed')) d USING "
        "(order_id) "
        "LEFT JOIN orders.orders w ON w.order_id = coalesce(o.order_id, d.order_id) "
        "WHERE o.order_id IS NULL AND coalesce(w.state, '') NOT IN ('withdrawing', 'unwinding') OR "
        "d.order_id IS NULL",
        "an order is fulfilled without a release, or goods are released without the order being fulfilled",
    ),
    Invariant(
        "fulfilled_is_paid",
        "SELECT o.order_id::text FROM orders.orders o LEFT JOIN payments.payment p USING (order_id) WHERE "
        "o.state = 'fulfilled' "
        "AND (p.order_id IS NULL OR p.state NOT IN ('captured', 'settled') OR p.captured_minor <> "
        "o.amount_paid_minor "
        "OR p.refunded_minor <> 0 OR p.currency <> o.currency)",
        "an order is fulfilled and the bank did not take exactly what it asked",
    ),
    Invariant(
        "fulfilled_is_settled",
        "SELECT o.order_id::text FROM orders.orders o JOIN payments.payment p USING (order_id) "
        "WHERE (o.state = 'fulfilled') <> (p.state = 'settled') AND o.state IN ('fulfilled', 'rejected', "
        "'cancelled', 'returned')",
        "a merchant waits for the money of released goods, or has that of goods that were not",
    ),
    Invariant(
        "undone_is_unpaid",
        "SELECT o.order_id::text FROM orders.orders o JOIN payments.payment p USING (order_id) "
        "WHERE o.state IN ('rejected', 'cancelled', 'returned') AND p.captured_minor <> p.refunded_minor",
        "an order came to nothing and the buyer's money was not given back",
    ),
    Invariant(
        "undone_is_not_asked",
        "SELECT o.order_id::text FROM orders.orders o JOIN payments.payment p USING (order_id) "
        "WHERE o.state IN ('rejected', 'cancelled', 'returned') AND p.state NOT IN ('declined', 'voided', "
        "'refunded')",
        "an order came to nothing and its payment is still open",
    ),
    Invariant(
        "fulfilled_is_taxed",
        "SELECT o.order_id::text FROM orders.orders o LEFT JOIN tax.tax_case c USING (order_id) "
        "WHERE (o.state = 'fulfilled' AND c.state IS DISTINCT FROM 'posted') "
        "OR (o.state IN ('rejected', 'cancelled', 'returned') AND c.state IN ('assessed', 'posted'))",
        "the tax of released goods was not posted, or that of an order that came to nothing still stands",
    ),
    Invariant(
        "payment_has_order",
        "SELECT p.order_id::text FROM payments.payment p LEFT JOIN orders.orders o USING (order_id) WHERE o.order_id IS NULL",
        "a payment has no order",
    ),
    Invariant(
        "declaration_has_order",
        "SELECT d.order_id::text FROM customs.declaration d LEFT JOIN orders.orders o USING (order_id) "
        "WHERE o.order_id IS NULL AND 'order' = ANY(d.present)",
        "a list has no order",
    ),
    Invariant(
        "unwinding_ends",
        "SELECT o.order_id::text FROM orders.orders o WHERE o.state = 'unwinding' AND o.updated_at < now() - "
        "interval '2 minutes'",
        "an order has been unwinding for two minutes",
    ),
)
