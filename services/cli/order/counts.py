"""Orders by state, as `watch`, `bench` and `demo` show them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from services.cli.order.lookup import ENDS, STATES

if TYPE_CHECKING:
    from rich.table import Table


async def by_state(conn: Any, order_ids: Collection[UUID] | None = None) -> dict[str, int]:
    rows = await conn.fetch(
        "SELECT state, count(*) AS n FROM orders.orders WHERE $1::uuid[] IS NULL OR order_id = "
        "ANY($1::uuid[]) GROUP BY state",
        None if order_ids is None else list(order_ids),
    )
    return {row["state"]: row["n"] for row in rows}


def ended(counts: Mapping[str, int]) -> int:
    return sum(counts.get(state, 0) for state in ENDS)


def table(counts: Mapping[str, int], lines: Mapping[str, str] | None = None) -> Table:
    from rich.table import Table

    page = Table(*(state.replace("_", " ") for state in STATES), box=None, caption_justify="left")
    page.add_row(*(str(counts.get(state, 0) or "·") for state in STATES))
    if lines:
        page.caption = "\n".join(f"{name} {text}" for name, text in lines.items())
    return page
