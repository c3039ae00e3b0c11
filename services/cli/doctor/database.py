"""Checks of PostgreSQL: migrations, the lock table, and the keys of platforms and carriers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from services.cli.connect import (
    RunningStack,
)
from services.cli.doctor.check import Check

if TYPE_CHECKING:
    pass


async def _postgres(to: RunningStack) -> list[Check]:
    from services.cli.connect import database
    from services.schema import migrations

    async with database(to) as conn:
        checks = [Check("postgres", True, str(await conn.fetchval("SHOW server_version")))]
        checks.append(await _locks(conn))
        there = await conn.fetchval("SELECT to_regclass('migrations.applied') IS NOT NULL")
        rows = await conn.fetch(_APPLIED) if there else []
    applied = {(row["schema"], row["name"]): row["checksum"] for row in rows}
    return [*checks, *_migration_checks(applied, migrations())]


_APPLIED: Final = "SELECT schema, name, checksum FROM migrations.applied"


def _migration_checks(applied: Mapping[tuple[str, str], str], scripts: Any) -> Iterator[Check]:
    missing: list[str] = []
    changed: list[str] = []
    for script in scripts:
        key = (script.schema, script.name)
        if applied.get(key) != script.checksum:
            is_missing = script.repeatable or key not in applied
            (missing if is_missing else changed).append("/".join(key))
    todo = f"run `crossborder migrate`: {', '.join(missing)} missing" if missing else ""
    yield Check("migrations", not missing, f"{len(applied)} applied", todo)
    if changed:
        state = f"{', '.join(changed)} changed since"
        yield Check("migrations", False, state, "start with an empty database (`make clean`)")


async def _parties(to: RunningStack) -> list[Check]:
    from services.cli.access.parties import all_bound
    from services.cli.connect import database

    async with database(to) as conn:
        signing = [await conn.fetchval(_SIGNING.format(schema)) for schema in ("orders", "customs")]
        mute = [row["platform_code"] for row in await conn.fetch(_MUTE)] if all_bound(to) else []
    signers = f"{signing[0]} platforms and {signing[1]} carriers sign what they say"
    if not all_bound(to):
        apart = "" if to.security.tells_apart else ", since the broker has no users"
        return [
            Check(
                "parties",
                True,
                f"{signers}; every other may publish unsigned{apart}: docs/access.md",
            )
        ]
    todo = (
        f"give {', '.join(mute)} a key with `crossborder access party add`: what they say is "
        "refused"
        if mute
        else ""
    )
    return [Check("parties", not mute, f"{signers}; every other is refused", todo)]


_SIGNING: Final = "SELECT count(DISTINCT code) FROM {0}.party_key WHERE removed_at IS NULL"


_MUTE: Final = (
    "SELECT DISTINCT platform_code FROM orders.orders o WHERE ended_at IS NULL AND NOT EXISTS "
    "(SELECT FROM orders.party_key k WHERE k.code = o.platform_code AND k.removed_at IS NULL) "
    "ORDER BY 1 LIMIT 5"
)


async def _locks(conn: Any) -> Check:
    from services.schema import SERVICES
    from shared.database import POOL_MAX

    locks, connections = [
        int(await conn.fetchval(f"SHOW {name}"))
        for name in ("max_locks_per_transaction", "max_connections")
    ]
    roles = [f"crossborder_{service}" for service in SERVICES]
    processes = await conn.fetchval(
        "SELECT coalesce(sum(greatest(hosts, ceil(open::numeric / $2))), 0)::int FROM (SELECT "
        "count(*) AS open, "
        "count(DISTINCT coalesce(client_addr, '0.0.0.0')) AS hosts FROM pg_stat_activity WHERE "
        "usename = ANY($1::text[]) GROUP BY usename)",
        roles,
        POOL_MAX,
    )
    return locks_check(locks, connections, max(processes, len(SERVICES)), batch_records())


def locks_check(locks: int, connections: int, processes: int, batch: int) -> Check:
    from shared.database import locks_wanted

    wanted = locks_wanted(processes, batch, connections)
    todo = (
        f"set max_locks_per_transaction of PostgreSQL to {wanted} or more and restart it"
        if locks < wanted
        else ""
    )
    return Check(
        "lock table",
        not todo,
        f"{locks} locks a connection, {processes} processes with batches of {batch}",
        todo,
    )


def batch_records() -> int:
    """Return CROSSBORDER_BATCH_RECORDS as the services have it, given the same environment."""
    from pydantic import ValidationError

    from shared.settings import Settings

    try:
        return Settings().batch_records
    except ValidationError:
        return int(Settings.model_fields["batch_records"].default)
