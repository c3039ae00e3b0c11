"""The server keeps one plan for each statement on an order's way: none scans a table, though most tables were empty when it was made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from shared.database import Connection
from tests.integration.test_reactions import STORIES, play, played_in

SMALL: Final = {"guarantee": "one row"}
"""Tables that may be scanned, and why."""
_OF_COPY: Final = re.compile(r"SELECT (\"\w+\"(, )?)+ FROM \"\w+\" LIMIT 1")
"""How the client learns the types of the columns that it copies rows into."""


async def _prepared(pool: Any) -> set[str]:
    """The statements that the connections of a pool have prepared, as the server has them."""
    held = [await pool.acquire() for _ in range(pool.get_max_size())]
    try:
        rows = [
            row
            for conn in held
            for row in await conn.fetch(
                "SELECT statement, custom_plans FROM pg_prepared_statements"
            )
        ]
    finally:
        for conn in held:
            await pool.release(conn)
    assert not any(row["custom_plans"] for row in rows), "a statement was planned for its values"
    texts = {row["statement"].strip() for row in rows if "pg_" not in row["statement"]}
    return {
        text
        for text in texts
        if re.match(r"(SELECT|INSERT|UPDATE|DELETE|WITH)\b", text) and not _OF_COPY.fullmatch(text)
    }


async def _plan(admin: Connection, schema: str, statement: str) -> str:
    await admin.execute(
        f"SET search_path TO {schema}; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; "
        "CREATE OR REPLACE FUNCTION pg_temp.plan(statement text) RETURNS SETOF text LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (GENERIC_PLAN) ' || statement; END $$"
    )
    return "\n".join(row[0] for row in await admin.fetch("SELECT pg_temp.plan($1)", statement))


async def test_no_statement_on_an_orders_way_scans_a_table(database: str, keys: Path) -> None:
    async with played_in(database, keys) as cast:
        cast.submit(list(STORIES.values()))
        await play(cast, cast.world.settle_down)
        assert await cast.wrong() == {}
        scans, count = {}, 0
        for service, pool in cast.world.pools.items():
            for statement in await _prepared(pool):
                count += 1
                plan = await _plan(cast.world.admin, service, statement)
                scanned = set(re.findall(r"Seq Scan on (\w+)", plan)) - SMALL.keys()
                if scanned or "Hash Join" in plan or "Merge Join" in plan:
                    scans[service, statement] = plan
    assert count > 60
    assert scans == {}
