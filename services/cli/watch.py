"""`crossborder watch`: orders by state, throughput and lag, live."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

import typer

from services.cli.connect import RunningStack, as_json, database, run, stdout, target


def register(app: typer.Typer) -> None:
    app.command()(watch)


def watch(
    every: float = typer.Option(1.0, min=0.2, help="seconds between two looks"),
    once: bool = typer.Option(False, "--once", help="look once"),
    json: bool = typer.Option(False, "--json", help="for machines: one look"),
) -> None:
    """Watch orders by state, throughput and lag, live."""
    to = target()
    if json:
        as_json(run(_once(to)))
        return
    with contextlib.suppress(KeyboardInterrupt):
        run(_watch(to, every, once))


async def _once(to: RunningStack) -> dict[str, Any]:
    async with database(to) as conn:
        return await look(to, conn)


async def look(to: RunningStack, conn: Any) -> dict[str, Any]:
    from services.cli import lag
    from services.cli.order import counts
    from services.schema import SERVICES

    waiting: dict[str, dict[str, int]] = {"outbox": {}, "effects": {}}
    for service in SERVICES:
        if await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{service}.outbox"):
            # The name is one of SERVICES, never from outside.
            query = (
                f"SELECT (SELECT count(*) FROM {service}.outbox), (SELECT count(*) FROM "  # noqa: S608
                f"{service}.effect)"
            )
            waiting["outbox"][service], waiting["effects"][service] = await conn.fetchrow(query)
    return {
        "at": time.time(),
        "orders": await counts.by_state(conn),
        "lag": await lag.lag_of(to),
        **waiting,
    }


async def _watch(to: RunningStack, every: float, once: bool) -> None:
    from rich.live import Live

    from services.cli.order import counts

    async with database(to) as conn:
        before = await look(to, conn)
        with Live(_page(before, 0.0), console=stdout(), auto_refresh=False) as live:
            while not once:
                await asyncio.sleep(every)
                now = await look(to, conn)
                ended = counts.ended(now["orders"]) - counts.ended(before["orders"])
                live.update(_page(now, ended / (now["at"] - before["at"])), refresh=True)
                before = now


def _page(look: Mapping[str, Any], per_second: float) -> Any:
    from services.cli.order import counts

    lines = {"ended a second:": f"{per_second:.1f}"}
    for name in ("lag", "outbox", "effects"):
        lines[f"{name}:"] = "  ".join(f"{service} {n}" for service, n in look[name].items())
    return counts.table(look["orders"], lines)
