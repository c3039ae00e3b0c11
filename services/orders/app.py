"""Runs the orders service."""

from __future__ import annotations

from typing import Any

from services.orders import store
from services.orders.invariants import INVARIANTS
from services.orders.legs import Stage
from services.orders.reactions import HEARS, Deps
from shared import metrics, topics
from shared.database import Connection
from shared.sealing import Sealing
from shared.service import Wiring, main
from shared.settings import Settings


async def wire(settings: Settings, _pool: Any) -> Wiring:
    """The orders service of these settings."""
    sealing = Sealing.from_dir(settings.keys_dir)
    return Wiring("orders", topics.ORDERS, HEARS, Deps(sealing), sealing, gauges=measure, invariants=INVARIANTS)


async def measure(conn: Connection) -> None:
    """Set the gauges of open orders; a state without any reads 0."""
    found = {state: (count, oldest.timestamp()) for state, count, oldest in await store.count_open(conn)}
    for state in Stage:
        if state not in {"fulfilled", "rejected", "cancelled", "returned"}:
            count, oldest = found.get(state, (0, 0.0))
            metrics.ORDERS_OPEN.labels(state).set(count)
            metrics.OLDEST_OPEN.labels(state).set(oldest)


if __name__ == "__main__":
    main("orders", Settings, wire)
