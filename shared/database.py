"""PostgreSQL: the connection pool of each service's own role, the errors, and the migrations."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import math
import os
import ssl
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import asyncpg

from shared.errors import Misconfigured, Unavailable
from shared.settings import Settings

Connection = Any
"""An asyncpg connection. The library has no type annotations."""

POOL_MAX: Final = 8
"""The most connections of one process of a service."""
LOOKING_MAX: Final = 4
"""The most of these connections for timers, gauges and operators' requests.

The other connections are for records and effects.
"""
LOCKS_KEPT: Final = 32
"""Locks on tables and indexes that a connection needs besides the locks on orders.

Most of them find room in the few places that each connection has of its own.
"""
SCRAM_ITERATIONS: Final = 4096
MIGRATION_LOCK: Final = 0x63726F7373
"""The key of the advisory lock that `apply` takes."""
CUT: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
)
"""Errors of a connection that ended. Only the database's client raises them."""
LOST: Final = (*CUT, OSError, TimeoutError)
"""Errors of a connection that died, so that the outcome of its transaction is unknown.

Run the same work again: the stored offsets tell whether it was committed.
"""
DATA: Final = (
    asyncpg.CardinalityViolationError,  # 21: two rows of one statement are the same
    asyncpg.DataError,  # 22
    asyncpg.IntegrityConstraintViolationError,  # 23
    asyncpg.TriggeredDataChangeViolationError,  # 27
    asyncpg.WithCheckOptionViolationError,  # 44
    asyncpg.ProgramLimitExceededError,  # 54: too long for an index, nested too deeply
    asyncpg.PLPGSQLError,  # P0: our own functions refuse
)
"""Errors by which the database refuses the values themselves.

Only these classes of SQLSTATE may be the fault of a record.
"""
SCHEMA: Final = (
    asyncpg.SyntaxOrAccessError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
)
"""Errors of the statement itself: a table, column or right is of another release.

No record is at fault.
"""
RETRYABLE: Final = (
    asyncpg.FeatureNotSupportedError,  # 0A: a plan made before a table was changed
    asyncpg.InvalidCursorStateError,  # 24
    asyncpg.InvalidTransactionStateError,  # 25: read-only, or ended by a failure before
    asyncpg.InvalidSQLStatementNameError,  # 26
    asyncpg.InvalidAuthorizationSpecificationError,  # 28
    asyncpg.InvalidTransactionTerminationError,  # 2D
    asyncpg.TransactionRollbackError,  # 40: deadlock, serialization
    asyncpg.InsufficientResourcesError,  # 53: disk, memory, lock table, connections
    asyncpg.ObjectNotInPrerequisiteStateError,  # 55: a lock that is not available
    asyncpg.OperatorInterventionError,  # 57: cancelled, shut down
    asyncpg.PostgresSystemError,  # 58: an error of the disk
    asyncpg.InternalServerError,  # XX
    asyncpg.UnknownPostgresError,
)
"""Errors of the server, where no record is at fault: run the same work again.

The comment behind each error names its class of SQLSTATE.
"""
OUTDATED: Final = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)
"""Errors after a table was changed while the service runs.

The client has forgotten its plans by then, so the next attempt makes new plans.
"""


def is_of_values(error: BaseException) -> bool:
    """Tell whether the database or its client refuses the values themselves.

    False if the client reports a value of another type than the parameter's. In that case the
    column is of another release, and no value is at fault.
    """
    return isinstance(error, DATA) and not (error.severity is None and _is_of_another_type(error))


def is_of_database(error: BaseException) -> bool:
    """Tell whether the database or its client raised the error, of whatever kind."""
    return isinstance(error, (asyncpg.PostgresError, *LOST))


def _is_of_another_type(error: BaseException) -> bool:
    cause = error.__cause__ or error.__context__
    return cause is not None and (isinstance(cause, TypeError) or _is_of_another_type(cause))


async def copied(
    conn: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> bool:
    """Write rows that are almost always new, in a savepoint of the caller's transaction.

    Return False if one of the rows exists already. Then none is written, and the caller must use
    `INSERT … ON CONFLICT`.

    COPY writes whole pages at once and asks each index once. A row costs the server 2.5 µs with
    COPY and 4.1 µs with `INSERT … ON CONFLICT`. That was measured with 500 rows of an id, in a
    table of 100,000 rows. COPY also writes half as much log.
    """
    try:
        async with conn.transaction():
            await conn.copy_records_to_table(table, columns=columns, records=rows)
    except asyncpg.UniqueViolationError:
        return False
    return True


async def check_now(conn: Connection) -> None:
    """Check the deferred constraints now instead of at the commit.

    Call this at the end of a savepoint: the caller still knows which record is at fault. Raises the
    same errors as the commit would.
    """
    await conn.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")


class _Pooled(asyncpg.Connection):  # type: ignore[misc]
    """A connection that returns to its pool without a query to reset the session.

    No code here changes a session beyond its transaction, and an open transaction is rolled back
    anyway. Only the relay takes a lock that belongs to a session, and its connection is closed.
    """

    __slots__ = ()

    def get_reset_query(self) -> str:
        return ""


async def connect_pool(
    settings: Settings, role: str, *, size: int = POOL_MAX, plan_once: bool = False
) -> Any:
    """Return a pool that logs in as `crossborder_<role>`, with the schema `<role>` as search path.

    `size`: the most connections. `plan_once`: for statements that find rows by their keys. The
    server then plans each statement once for each connection.

    Raises Misconfigured for a DSN, database or role that a retry does not mend. Raises Unavailable
    for a server that does not answer, lets nobody in, or has no trusted certificate.
    """
    given = settings.database_password
    password = {"password": given} if given else {}
    try:
        return await asyncpg.create_pool(
            settings.postgres,
            connection_class=_Pooled,
            user=f"crossborder_{role}",
            min_size=1,
            max_size=size,
            command_timeout=20,
            timeout=10,
            **password,
            server_settings={
                "search_path": role,
                "application_name": f"crossborder-{role}",
                "statement_timeout": "15000",
                "lock_timeout": "5000",
                "idle_in_transaction_session_timeout": "15000",
                "jit": "off",
                "random_page_cost": "1.1",
                **(_PLAN_ONCE if plan_once else _PLAN_ANEW),
            },
        )
    except ssl.SSLError as error:
        # This error is a ValueError too, so it comes first. An untrusted certificate may be the
        # fault of the server or ours.
        raise Unavailable(
            f"PostgreSQL is not trusted at {redacted(settings.postgres)}: {error}"
        ) from error
    except asyncpg.exceptions.ClientConfigurationError as error:
        raise Misconfigured(f"{_SET_POSTGRES}: {error}") from None
    except (ValueError, OverflowError):
        # The library's message quotes part of the DSN. In a wrong DSN the password may stand
        # anywhere, so the message is left out.
        raise Misconfigured(
            f"{_SET_POSTGRES}: in this one host or port is none, or the password is not "
            "percent-encoded"
        ) from None
    except asyncpg.InvalidCatalogNameError as error:
        raise Misconfigured(
            "create the database and run `crossborder migrate`, or set CROSSBORDER_POSTGRES: "
            f"{error}"
        ) from None
    except LOST as error:
        raise Unavailable(
            f"PostgreSQL does not answer at {redacted(settings.postgres)}: {error}"
        ) from error
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise Misconfigured(
            f"run `crossborder migrate`: the role crossborder_{role} cannot log in ({error})"
        ) from None
    except RETRYABLE as error:
        raise Unavailable(
            f"PostgreSQL lets nobody in at {redacted(settings.postgres)}: {error}"
        ) from error


_PLAN_ANEW: Final = {"plan_cache_mode": "force_custom_plan"}
"""For statements that look at a whole table: the best plan depends on the number of rows."""
_PLAN_ONCE: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""For statements that take rows by their keys.

A plan from a time when the table was empty would scan the whole table for each row. Such statements
took over 5 s on 20,000 open effects. So the planner may choose neither scans nor the joins that
need scans.
"""
_SET_POSTGRES: Final = "set CROSSBORDER_POSTGRES to a DSN as postgresql://USER@HOST:PORT/DATABASE"


def locks_wanted(processes: int, batch_records: int, connections: int) -> int:
    """Return the least `max_locks_per_transaction` that the server needs for so many processes.

    `processes`: of services. Each locks the orders of one batch at a time, at most `batch_records`.
    `connections`: the server's `max_connections`. Its one lock table has room for the product of
    both settings, whoever takes the locks.
    """
    return LOCKS_KEPT + math.ceil(processes * batch_records / connections)


def redacted(dsn: str) -> str:
    """Return the DSN without its password."""
    head, at, tail = dsn.rpartition("@")
    return f"{head.split(':', 2)[0]}://…@{tail}" if at and head.count(":") > 1 else dsn


def with_password(dsn: str, password: str | None) -> str:
    """Return the DSN with the password in it.

    A DSN that has a password already, or names no user, stays as it is.
    """
    scheme, _, rest = dsn.partition("://")
    user, at, place = rest.partition("@")
    if not password or not at or ":" in user:
        return dsn
    return f"{scheme}://{user}:{quote(password, safe='')}@{place}"


def scram_verifier(password: str, salt: bytes | None = None) -> str:
    """Return the text that PostgreSQL stores instead of a password (RFC 5803).

    The password itself then never reaches the server's log. `salt`: random by default. Raises
    Misconfigured for a password with characters outside ASCII.
    """
    if not password.isascii():
        raise Misconfigured(
            "use a role password of ASCII characters only: others are normalised before they are "
            "compared"
        )
    salt = salt or os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    kept = ":".join(b64encode(part).decode() for part in (stored, server))
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{b64encode(salt).decode()}${kept}"


@dataclass(frozen=True)
class Migration:
    """One SQL script of one schema. A released script is never edited: a new script is added.

    A repeatable script may be edited. It runs again after a change of its own text, and after each
    other script of its schema.
    """

    schema: str
    name: str
    sql: str
    repeatable: bool = False

    @property
    def checksum(self) -> str:
        """Return the SHA-256 digest of the script, in hexadecimal digits."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


async def apply(
    dsn: str,
    roles: Sequence[str],
    migrations: Sequence[Migration],
    passwords: Mapping[str, str] | None = None,
) -> list[str]:
    """Make the roles and schemas, and run each script once, in order, each in a transaction.

    Return the names of the scripts that ran, as `schema/name`. A lock keeps other runs waiting: a
    script runs once, however many processes start at the same time. `passwords`: by role, set anew
    at each run. Raises Misconfigured if a script that ran here was changed since then, unless the
    script is repeatable.
    """
    conn = await asyncpg.connect(dsn, timeout=10)
    try:
        await conn.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        await conn.execute(
            "CREATE SCHEMA IF NOT EXISTS migrations; CREATE TABLE IF NOT EXISTS migrations.applied "
            "("
            "schema text, name text, checksum text NOT NULL, at timestamptz NOT NULL DEFAULT "
            "now(), PRIMARY KEY (schema, name))"
        )
        # No role needs temporary tables or the schema `public`. Rights on a database are lost in a
        # copy of the database, so they are revoked at each run.
        await conn.execute(
            "DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', "
            "current_database()); END $$; "
            "REVOKE ALL ON SCHEMA public FROM PUBLIC"
        )
        for role in roles:
            await _ensure_role(conn, role, (passwords or {}).get(role))
        ran: list[Migration] = []
        for migration in migrations:
            again = migration.repeatable and any(m.schema == migration.schema for m in ran)
            if await _apply_one(conn, migration, again=again):
                ran.append(migration)
        return [f"{m.schema}/{m.name}" for m in ran]
    finally:
        await conn.close()


async def _ensure_role(conn: Connection, role: str, password: str | None) -> None:
    # Roles belong to the whole cluster. Another database of the cluster, or a migration that runs
    # at the same time, may have made this role.
    with contextlib.suppress(asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        await conn.execute(f'CREATE ROLE "crossborder_{role}" LOGIN')
    if password:
        change = await conn.fetchval(
            "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)",
            f"crossborder_{role}",
            scram_verifier(password),
        )
        await conn.execute(change)


async def _apply_one(conn: Connection, migration: Migration, *, again: bool) -> bool:
    known = await conn.fetchval(
        "SELECT checksum FROM migrations.applied WHERE schema = $1 AND name = $2",
        migration.schema,
        migration.name,
    )
    if known == migration.checksum and not again:
        return False
    if known not in (None, migration.checksum) and not migration.repeatable:
        raise Misconfigured(
            "start with an empty database (`make clean`) or add a new migration: "
            f"{migration.schema}/{migration.name} "
            "was changed after it had run here"
        )
    async with conn.transaction():
        await conn.execute(f'CREATE SCHEMA IF NOT EXISTS "{migration.schema}"')
        await conn.execute(f'SET LOCAL search_path TO "{migration.schema}"')
        await conn.execute(migration.sql)
        await conn.execute(
            "INSERT INTO migrations.applied (schema, name, checksum) VALUES ($1, $2, $3) "
            "ON CONFLICT (schema, name) DO UPDATE SET checksum = excluded.checksum, at = now()",
            migration.schema,
            migration.name,
            migration.checksum,
        )
    return True
