"""Runs the orders service."""

from __future__ import annotations

from typing import Any

from services.orders import store
from services.orders.domain.external_states import Stage
from services.orders.handlers import HEARS, Deps
from services.orders.invariants import INVARIANTS
from shared import metrics, topics
from shared.database import Connection
from shared.sealing import Sealing
from shared.service import Wiring, main
from shared.settings import Settings


async def wire(settings: Settings, _pool: Any) -> Wiring:
    """The orders service of these settings."""
    begin()
    sealing = Sealing.from_dir(settings.keys_dir)
    return Wiring(
        "orders", topics.ORDERS, HEARS, Deps(sealing, settings.probe_platform), sealing, gauges=measure, invariants=INVARIANTS
    )


def begin() -> None:
    """Make the children that are known beforehand, at 0."""
    corridors = (*metrics.CORRIDORS, metrics.OTHER)
    metrics.ORDERS.begin(Stage, corridors)
    metrics.STAGE_SECONDS.begin(metrics.STAGES, corridors)
    metrics.ORDERS_OPEN.begin(metrics.OPEN_STATES)
    metrics.OLDEST_OPEN.begin(metrics.OPEN_STATES)


async def measure(conn: Connection) -> None:
    """Set the gauges of open orders; a state without any reads 0."""
    found = {state: (count, oldest.timestamp()) for state, count, oldest in await store.count_open(conn)}
    for state in metrics.OPEN_STATES:
        count, oldest = found.get(state, (0, 0.0))
        metrics.ORDERS_OPEN.labels(state).set(count)
        metrics.OLDEST_OPEN.labels(state).set(oldest)


if __name__ == "__main__":
    main("orders", Settings, wire)
