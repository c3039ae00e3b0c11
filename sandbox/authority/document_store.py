"""The three documents of an order as platform, bank and carrier pushed them.

The first of each stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from sandbox.authority.bodies import Bodies
from sandbox.documents import PaymentDocument, SubmittedOrder, WaybillDocument
from sandbox.storage import File


class DocumentStore:
    """Rows of the authority's file; every method runs inside the caller's transaction."""

    def __init__(self, file: File, bodies: Bodies) -> None:
        self._file = file
        self._bodies = bodies

    def add_orders(self, submissions: Iterable[SubmittedOrder]) -> list[str]:
        """Record the orders that add up; return the ids of their orders.

        Only the first document of an order counts, also of two in one call.
        """
        rows = [
            (str(order.order_id), orjson.dumps(self._bodies.order(order)))
            for order in submissions
            if order.adds_up
        ]
        self._file.db.executemany("INSERT OR IGNORE INTO order_document VALUES (?, ?)", rows)
        return list(dict.fromkeys(order_id for order_id, _ in rows))

    def add_payments(self, payments: Sequence[PaymentDocument]) -> list[str]:
        self._file.db.executemany(
            "INSERT OR IGNORE INTO payment_document VALUES (?, ?, ?)",
            [(p.reference, p.payment_no, orjson.dumps(self._bodies.payment(p))) for p in payments],
        )
        return [payment.reference for payment in payments]

    def add_waybills(self, waybills: Sequence[WaybillDocument]) -> list[str]:
        self._file.db.executemany(
            "INSERT OR IGNORE INTO waybill_document VALUES (?, ?, ?, ?)",
            [
                (
                    w.logistics_code,
                    w.logistics_no,
                    w.order_id,
                    orjson.dumps(self._bodies.waybill(w)),
                )
                for w in waybills
            ],
        )
        return [waybill.order_id for waybill in waybills]

    def of_orders(
        self, order_ids: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, Any], dict[tuple[str, str, str], Any]]:
        """Return order and payment bodies by order id, waybill bodies by order id, carrier and
        number.
        """
        orders = self._file.by_key(
            "SELECT order_id, body FROM order_document"
            " WHERE order_id IN (SELECT value FROM json_each(?))",
            order_ids,
        )
        payments = self._file.by_key(
            "SELECT reference, body FROM payment_document"
            " WHERE reference IN (SELECT value FROM json_each(?))",
            order_ids,
        )
        waybills = self._file.by_key(
            "SELECT order_id, logistics_code, logistics_no, body FROM waybill_document"
            " WHERE order_id IN (SELECT value FROM json_each(?))",
            order_ids,
        )
        return (
            {order_id: orjson.loads(body) for order_id, body in orders},
            {reference: orjson.loads(body) for reference, body in payments},
            {
                (order_id, code, number): orjson.loads(body)
                for order_id, code, number, body in waybills
            },
        )
