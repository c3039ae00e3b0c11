"""The metrics of orders: known labels start at 0, gauges read the tables."""

from __future__ import annotations

from services.orders import store
from services.orders.domain.external_states import Stage
from shared import metrics
from shared.database import Connection


def begin() -> None:
    corridors = (*metrics.CORRIDORS, metrics.OTHER)
    metrics.ORDERS.begin(Stage, corridors)
    metrics.STAGE_SECONDS.begin(metrics.STAGES, corridors)
    metrics.ORDERS_OPEN.begin(metrics.OPEN_STATES)
    metrics.OLDEST_OPEN.begin(metrics.OPEN_STATES)


async def measure(conn: Connection) -> None:
    by_state = {
        state: (count, oldest.timestamp()) for state, count, oldest in await store.count_open(conn)
    }
    for state in metrics.OPEN_STATES:
        count, oldest = by_state.get(state, (0, 0.0))
        metrics.ORDERS_OPEN.labels(state).set(count)
        metrics.OLDEST_OPEN.labels(state).set(oldest)
