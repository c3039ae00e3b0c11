"""The database of each release, with orders in every state, is brought to the present and keeps every invariant."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import asyncpg
import pytest

from deploy.embedded.postgres import binaries
from services.cli.verify.app import invariants
from services.cli.verify.cross_service_invariants import BETWEEN
from services.schema import SERVICES, migrate, migrations
from shared.database import connect_pool
from shared.errors import Misconfigured
from shared.metrics import ENDS
from shared.settings import Settings

WAITS = ("_outbox_published", "_effects_answered", "_no_old_effects", "_bill_in_time")
"""What was under way when the dump was made has waited since then: these say so, and are right. So do those between
services: the dump was made while facts were on their way from one to the other."""
DUMPS = sorted((Path(__file__).resolve().parents[1] / "released").glob("*.sql.gz"))


def load(dsn: str, dump: Path) -> None:
    command = [
        str(binaries() / "psql"),
        "--quiet",
        "--no-psqlrc",
        "--set",
        "ON_ERROR_STOP=1",
        "--dbname",
        dsn,
    ]
    subprocess.run(
        command, input=gzip.decompress(dump.read_bytes()), check=True, capture_output=True
    )


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.name)
async def test_a_released_database_is_brought_to_the_present(
    dump: Path, empty_database: str
) -> None:
    load(empty_database, dump)
    conn = await asyncpg.connect(empty_database)
    before = await conn.fetchval("SELECT count(*) FROM orders.orders")
    await conn.close()
    await migrate(empty_database)
    assert await migrate(empty_database) == []
    conn = await asyncpg.connect(empty_database)
    assert await conn.fetchval("SELECT count(*) FROM orders.orders") == before
    held = [i for i in invariants() if i not in BETWEEN and not i.name.endswith(WAITS)]
    broken = {i.name: rows for i in held if (rows := await conn.fetch(i.sql))}
    await conn.close()
    assert broken == {}


async def test_the_released_databases_have_orders_in_every_state(empty_database: str) -> None:
    found: set[str] = set()
    for dump in DUMPS:
        conn = await asyncpg.connect(empty_database)
        await conn.execute(
            "DROP SCHEMA IF EXISTS orders, payments, tax, customs, vault, migrations CASCADE"
        )
        load(empty_database, dump)
        found |= {
            row["state"] for row in await conn.fetch("SELECT DISTINCT state FROM orders.orders")
        }
        await conn.close()
    assert {"placed", "lodged", "withdrawing", *ENDS} <= found


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.name)
async def test_a_migrated_database_has_the_tables_columns_and_rights_of_a_new_one(
    dump: Path, database: str, empty_database: str
) -> None:
    load(empty_database, dump)
    await migrate(empty_database)
    assert await described(empty_database) == await described(database)


async def described(dsn: str) -> list[tuple[str, ...]]:
    """Columns, constraints, indexes and rights of the services' schemas, order of columns aside."""
    conn = await asyncpg.connect(dsn)
    found = await conn.fetch(
        "SELECT table_schema || '.' || table_name, column_name, data_type || is_nullable || coalesce(column_default, '') "
        "FROM information_schema.columns WHERE table_schema = ANY($1) "
        "UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace::regnamespace::text = ANY($1) "
        "UNION ALL SELECT schemaname || '.' || tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = ANY($1) "
        "UNION ALL SELECT table_schema || '.' || table_name, grantee, privilege_type FROM information_schema.table_privileges "
        "WHERE table_schema = ANY($1)",
        [*SERVICES, "vault"],
    )  # fmt: skip
    await conn.close()
    return sorted(tuple(map(str, row)) for row in found)


async def test_a_changed_released_script_is_refused_by_name(database: str) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute(
        "UPDATE migrations.applied SET checksum = 'another' WHERE schema = 'tax' AND name = 'schema'"
    )
    await conn.close()
    with pytest.raises(Misconfigured, match=r"tax/schema was changed after it had run here"):
        await migrate(database)


async def test_rights_are_granted_again_after_another_script_of_their_schema(
    empty_database: str,
) -> None:
    await migrate(empty_database)
    numbered = next(
        (
            m
            for m in migrations()
            if m.schema == "tax" and m.name not in ("kernel", "schema", "rights")
        ),
        None,
    )
    assert numbered is not None
    conn = await asyncpg.connect(empty_database)
    await conn.execute(
        "DROP SCHEMA tax CASCADE; DELETE FROM migrations.applied WHERE schema = 'tax' AND name <> 'rights'"
    )
    await conn.close()
    ran = await migrate(empty_database)
    assert ran[-1] == "tax/rights"
    pool = await connect_pool(Settings(postgres=empty_database), "tax")
    try:
        assert await pool.fetchval("SELECT count(*) FROM consumer_offset") == 0
    finally:
        await pool.close()
