"""Timer for returns whose goods never came back: they are closed, so that no order
waits for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

from services.customs import return_store, store
from services.customs.deps import Deps
from services.customs.domain import return_decisions
from services.customs.fold import Fold
from shared.database import Connection
from shared.subscriptions import Outcome
from shared.timer_items import Items, of_order

EVERY_S: Final = 3600.0
RETURNS_MAX: Final = 500
"""Returns in one transaction; the next turn takes more."""
RETURNS: Final = Items("customs", "returns", of_order)


async def give_up_returns(conn: Connection, deps: Deps) -> Outcome:
    now = datetime.now(UTC)
    # No return is given up sooner after its application, so younger ones are not read.
    least = min((term.given_up_days for term in deps.policy.returns), default=0)
    old = await return_store.list_open_returns(conn, now - timedelta(days=least), RETURNS_MAX)
    if not old:
        return Outcome()

    async def act(some: Sequence[UUID]) -> Outcome:
        return await _give_up(conn, deps, some, now)

    return await RETURNS.each(conn, old, act)


async def _give_up(conn: Connection, deps: Deps, old: Sequence[UUID], now: datetime) -> Outcome:
    locked = await store.with_returns(conn, await store.lock(conn, old))
    fold = Fold.of(locked)
    for order_id in old:
        d = locked[order_id]
        cause = uuid5(order_id, f"return given up:{d.returns[-1].return_no if d.returns else 0}")
        fold.apply(return_decisions.give_up_return(d, now, deps.policy), cause, now)
    return await fold.save(conn, deps.authority)
