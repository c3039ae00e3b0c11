"""The orders service."""

from __future__ import annotations

from typing import Any

from services.orders.deps import Deps
from services.orders.handlers import SUBSCRIPTIONS
from services.orders.invariants import INVARIANTS
from services.orders.metrics import begin, measure
from shared import topics
from shared.sealing import Sealing
from shared.service import Wiring, main
from shared.settings import Settings


async def wire(settings: Settings, _pool: Any) -> Wiring:
    begin()
    sealing = Sealing.from_dir(settings.keys_dir)
    return Wiring(
        "orders",
        topics.ORDERS,
        SUBSCRIPTIONS,
        Deps(sealing, settings.probe_platform),
        sealing,
        gauges=measure,
        invariants=INVARIANTS,
    )


if __name__ == "__main__":
    main("orders", Settings, wire)
