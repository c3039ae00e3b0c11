"""Every (role, table, privilege) tried on a live database: each answers as declared here, by hand, and not by the code's own rule."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from deploy import secrets
from deploy.embedded.postgres import EmbeddedPostgres
from services.schema import SERVICES, migrate, passwords_in
from shared.database import connect_pool
from shared.errors import Misconfigured
from shared.settings import Settings

APPEND_ONLY: Final = {
    "inbox", "said", "operator_request", "operator_result",
    "orders.timeline", "payments.journal", "customs.document", "customs.batch", "customs.receipt", "tax.quota_entry",
    "tax.weight_entry", "tax.rule_set", "tax.rebate_claim", "tax.rebate_line", "tax.rebate_invoice", "orders.submission",
    "customs.summary_part", "customs.summary_line", "customs.notice", "customs.later_waybill",
    "customs.part", "payments.bank_talk",
}  # fmt: skip
"""Tables every service has, and with their schema those of one. A new one is said here and in its own comment (`Append only: …`)."""
VAULT: Final = {
    "orders": {"SELECT", "INSERT"},
    "payments": {"SELECT"},
    "customs": {"SELECT"},
    "tax": set(),
}
TRIES: Final = {
    "SELECT": "SELECT FROM {table} WHERE false",
    "INSERT": "INSERT INTO {table} DEFAULT VALUES",
    "UPDATE": "UPDATE {table} SET {column} = DEFAULT WHERE false",
    "DELETE": "DELETE FROM {table} WHERE false",
    "TRUNCATE": "TRUNCATE {table}",
    "TRIGGER": "CREATE TRIGGER mine BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER": "ALTER TABLE {table} ADD COLUMN mine int",
    "DROP": "DROP TABLE {table} CASCADE",
}
TABLES: Final = (
    "SELECT n.nspname AS schema, c.relname AS name, (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid "
    "AND a.attnum > 0 ORDER BY a.attnum LIMIT 1) AS column FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY($1) ORDER BY 1, 2"
)


def declared(service: str, schema: str, table: str) -> set[str]:
    """What a service may do with a table."""
    if schema == "vault":
        return VAULT[service]
    if schema != service:
        return set()
    if table in APPEND_ONLY or f"{schema}.{table}" in APPEND_ONLY:
        return {"SELECT", "INSERT"}
    return {"SELECT", "INSERT", "UPDATE", "DELETE"}


async def allowed(conn: Any, statement: str) -> bool:
    """Whether the server lets this role run it; whatever it does is undone. Another error comes after that question."""
    undo = conn.transaction()
    await undo.start()
    try:
        await conn.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return False
    except (asyncpg.IntegrityConstraintViolationError, asyncpg.RaiseError):
        return True
    else:
        return True
    finally:
        await undo.rollback()


@pytest.fixture
async def logins(database: str) -> AsyncIterator[dict[str, Any]]:
    """A connection of each service's own role, of a database that was migrated as a real one is."""
    await migrate(database)
    found = {
        service: await asyncpg.connect(database, user=f"crossborder_{service}")
        for service in SERVICES
    }
    yield found
    for conn in found.values():
        await conn.close()


async def test_each_role_may_do_with_each_table_what_is_declared_and_nothing_else(
    database: str, logins: dict[str, Any]
) -> None:
    root = await asyncpg.connect(database)
    tables = await root.fetch(TABLES, [*SERVICES, "vault", "migrations"])
    await root.close()
    assert {t["schema"] for t in tables} == {*SERVICES, "vault", "migrations"}
    wrong = []
    for service, conn in logins.items():
        for t in tables:
            may = declared(service, t["schema"], t["name"])
            for privilege, statement in TRIES.items():
                said = statement.format(
                    table=f'{t["schema"]}."{t["name"]}"', column=f'"{t["column"]}"'
                )
                if await allowed(conn, said) != (privilege in may):
                    wrong.append(
                        f"{service} {privilege} {t['schema']}.{t['name']}: declared {privilege in may}"
                    )
    assert wrong == []


@pytest.mark.parametrize("statement", [
    "CREATE TABLE {own}.mine (n int)", "CREATE TABLE public.mine (n int)", "CREATE TEMPORARY TABLE mine (n int)", "CREATE SCHEMA mine",
    "CREATE ROLE mine", "ALTER ROLE postgres PASSWORD 'x'", "ALTER ROLE CURRENT_USER SUPERUSER",
    "SET ROLE postgres", "SELECT * FROM pg_authid", "COPY (SELECT 1) TO PROGRAM 'true'", "SELECT pg_read_file('PG_VERSION')",
    "CREATE FUNCTION {own}.mine() RETURNS int LANGUAGE sql RETURN 1",
])  # fmt: skip
async def test_no_role_makes_anything_or_reaches_the_server(
    logins: dict[str, Any], statement: str
) -> None:
    for service, conn in logins.items():
        assert not await allowed(conn, statement.format(own=service)), f"{service}: {statement}"


async def test_the_inbox_forgets_what_the_topics_have_forgotten_and_nothing_younger(
    database: str, logins: dict[str, Any]
) -> None:
    root = await asyncpg.connect(database)
    for schema in SERVICES:
        await root.execute(
            f"INSERT INTO {schema}.inbox SELECT gen_random_uuid(), now() - make_interval(days => d) FROM unnest('{{1,14,16,40}}'::int[]) d"
        )
    for service, conn in logins.items():
        await conn.execute(f"SET search_path TO {service}")
        with pytest.raises(asyncpg.RaiseError, match="keep the inbox for 15 days or more"):
            await conn.fetchval("SELECT forget_inbox(14)")
        assert await conn.fetchval("SELECT forget_inbox(15)") == 2
        assert await conn.fetchval("SELECT count(*) FROM inbox") == 2
        other = next(s for s in SERVICES if s != service)
        assert not await allowed(conn, f"SELECT {other}.forget_inbox(15)")
    await root.close()


async def test_a_roles_password_is_changed_while_its_service_works(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    secrets.make(folder)
    postgres = EmbeddedPostgres(tmp_path / "postgres", passwords=True)
    await postgres.start()
    try:
        dsn = await postgres.ensure_database("guarded")
        await migrate(dsn, passwords_in(folder))
        file = folder / "postgres_tax"
        before = await connect_pool(
            Settings(postgres=dsn, postgres_password_file=file), "tax", size=1
        )
        old = file.read_text()
        file.unlink()
        secrets.make(folder)
        assert file.read_text() != old
        await migrate(dsn, passwords_in(folder))
        # The connections that are open stay; new ones need the new password.
        assert await before.fetchval("SELECT current_user") == "crossborder_tax"
        after = await connect_pool(
            Settings(postgres=dsn, postgres_password_file=file), "tax", size=1
        )
        assert await after.fetchval("SELECT count(*) FROM inbox") == 0
        for wrong in (Settings(postgres=dsn, postgres_password=old), Settings(postgres=dsn)):
            with pytest.raises(Misconfigured, match="crossborder_tax cannot log in"):
                await connect_pool(wrong, "tax")
        with pytest.raises(Misconfigured, match="crossborder_orders cannot log in"):
            await connect_pool(Settings(postgres=dsn, postgres_password_file=file), "orders")
        missing = Settings(
            postgres=dsn.replace("/guarded", "/nowhere"), postgres_password_file=file
        )
        with pytest.raises(
            Misconfigured, match=r"set CROSSBORDER_POSTGRES: database \"nowhere\" does not exist"
        ):
            await connect_pool(missing, "tax")
        for pool in (before, after):
            pool.terminate()
        written = postgres.log.read_text()
        assert [name for name in secrets.NAMES if (folder / name).read_text() in written] == []
    finally:
        await postgres.stop()
