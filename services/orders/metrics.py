"""The metrics of orders: known labels begin at 0, counts follow the commit, gauges read the tables."""

from __future__ import annotations

from services.orders import store
from services.orders.domain.external_states import Stage
from shared import metrics
from shared.database import Connection


def begin() -> None:
    """Make the children that are known beforehand, at 0."""
    corridors = (*metrics.CORRIDORS, metrics.OTHER)
    metrics.ORDERS.begin(Stage, corridors)
    metrics.STAGE_SECONDS.begin(metrics.STAGES, corridors)
    metrics.ORDERS_OPEN.begin(metrics.OPEN_STATES)
    metrics.OLDEST_OPEN.begin(metrics.OPEN_STATES)


async def measure(conn: Connection) -> None:
    """Set the gauges of open orders; a state without any reads 0."""
    found = {
        state: (count, oldest.timestamp()) for state, count, oldest in await store.count_open(conn)
    }
    for state in metrics.OPEN_STATES:
        count, oldest = found.get(state, (0, 0.0))
        metrics.ORDERS_OPEN.labels(state).set(count)
        metrics.OLDEST_OPEN.labels(state).set(oldest)
