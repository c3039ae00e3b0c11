"""PostgreSQL: the pool of a service's own role, and migrations that run once however many start at the same time."""

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
"""An asyncpg connection; the library has no type marker."""

POOL_MAX: Final = 8
"""Connections of one process of a service at most."""
LOOKING_MAX: Final = 4
"""How many of them are for timers, gauges and operators' requests; the others are for records and effects."""
LOCKS_KEPT: Final = 32
"""Locks of tables and indexes a connection needs besides those on orders; most find room in its own few places."""
SCRAM_ITERATIONS: Final = 4096
MIGRATION_LOCK: Final = 0x63726F7373
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
"""The connection ended, in the words of the database's client: nobody else says these."""
LOST: Final = (*CUT, OSError, TimeoutError)
"""The connection died, so the outcome of what ran on it is unknown: run it again, the offsets tell which way it went."""
DATA: Final = (
    asyncpg.CardinalityViolationError,  # 21: two rows of one statement are the same
    asyncpg.DataError,  # 22
    asyncpg.IntegrityConstraintViolationError,  # 23
    asyncpg.TriggeredDataChangeViolationError,  # 27
    asyncpg.WithCheckOptionViolationError,  # 44
    asyncpg.ProgramLimitExceededError,  # 54: too long for an index, nested too deeply
    asyncpg.PLPGSQLError,  # P0: our own functions refuse
)
"""The database refuses the values themselves: these classes of SQLSTATE, and no other, may be a record's own fault."""
SCHEMA: Final = (
    asyncpg.SyntaxOrAccessError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
)
"""The statement itself is wrong here: a table, column or right of another release. No record can help it."""
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
"""Trouble of the server, and nothing is wrong with the record: run it again. The SQLSTATE class is behind each."""
OUTDATED: Final = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)
"""A table was changed beside a running service. The client has forgotten its plans by then, so the next try makes new ones."""


def is_of_values(error: BaseException) -> bool:
    """Whether the database or its client refuses the values themselves; False for every other trouble of theirs.

    A value of another type than the parameter's, which the client says, is none of these: the column is of another release.
    """
    return isinstance(error, DATA) and not (error.severity is None and _is_of_another_type(error))


def is_of_database(error: BaseException) -> bool:
    """Whether the error is the database's or its client's, whatever it says."""
    return isinstance(error, (asyncpg.PostgresError, *LOST))


def _is_of_another_type(error: BaseException) -> bool:
    cause = error.__cause__ or error.__context__
    return cause is not None and (isinstance(cause, TypeError) or _is_of_another_type(cause))


async def copied(
    conn: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> bool:
    """Write rows that are new as good as always, within a transaction; False if one of them is there already, and none is written.

    COPY writes whole pages at once and asks each index once, so it costs the server 2.5 µs a row where an `INSERT … ON CONFLICT`
    costs 4.1 (500 rows of an id, 100,000 there), and half the log. Who gets False writes them by the latter.
    """
    try:
        async with conn.transaction():
            await conn.copy_records_to_table(table, columns=columns, records=rows)
    except asyncpg.UniqueViolationError:
        return False
    return True


async def check_now(conn: Connection) -> None:
    """Have the database check what it would check at the commit, so that the error is known while it is known whose it is.

    Called at the end of a savepoint; raises what the commit would.
    """
    await conn.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")


class _Pooled(asyncpg.Connection):  # type: ignore[misc]
    """A connection that comes back to its pool as it is, not by a question to the server each time.

    Nothing here changes a session beyond its transaction, which is rolled back all the same; the one lock that belongs to a
    session is the relay's, and its connection is ended.
    """

    __slots__ = ()

    def get_reset_query(self) -> str:
        return ""


async def connect_pool(
    settings: Settings, role: str, *, size: int = POOL_MAX, plan_once: bool = False
) -> Any:
    """A pool logged in as `crossborder_<role>`, whose search path is the schema `<role>`.

    `plan_once`: for statements that find rows by their keys. The server plans each once a connection.

    Raises Misconfigured for a DSN, database or role that trying again does not mend, Unavailable if nobody answers.
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
        # A certificate that is not trusted is a ValueError too, and may be the server's fault as well as ours.
        raise Unavailable(
            f"PostgreSQL is not trusted at {redacted(settings.postgres)}: {error}"
        ) from error
    except asyncpg.exceptions.ClientConfigurationError as error:
        raise Misconfigured(f"{_SET_POSTGRES}: {error}") from None
    except (ValueError, OverflowError):
        # The library's words quote a part of the DSN, and in one that is wrong the password may stand anywhere.
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
"""For statements that look at a whole table: what is best depends on how much is there."""
_PLAN_ONCE: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""For statements that take rows by their keys. A plan kept from the time when a table was empty would scan the table for each row
(statements of over 5 s on 20,000 open effects), so the planner may not choose scans, nor the joins that need them."""
_SET_POSTGRES: Final = "set CROSSBORDER_POSTGRES to a DSN as postgresql://USER@HOST:PORT/DATABASE"


def locks_wanted(processes: int, batch_records: int, connections: int) -> int:
    """What the server's `max_locks_per_transaction` must be at least, for so many processes of services.

    Each locks the orders of one batch at a time, at most `batch_records`. The server's one lock table has room for
    `max_locks_per_transaction` times `max_connections` (`connections`), whoever takes them.
    """
    return LOCKS_KEPT + math.ceil(processes * batch_records / connections)


def redacted(dsn: str) -> str:
    """The DSN without its password."""
    head, at, tail = dsn.rpartition("@")
    return f"{head.split(':', 2)[0]}://…@{tail}" if at and head.count(":") > 1 else dsn


def with_password(dsn: str, password: str | None) -> str:
    """The DSN with the password in it; one that has a password already, or names no user, stays as it is."""
    scheme, _, rest = dsn.partition("://")
    user, at, place = rest.partition("@")
    if not password or not at or ":" in user:
        return dsn
    return f"{scheme}://{user}:{quote(password, safe='')}@{place}"


def scram_verifier(password: str, salt: bytes | None = None) -> str:
    """What PostgreSQL keeps instead of a password (RFC 5803), so that the password itself never reaches its log."""
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
    """One SQL script of one schema; a released script is never edited, a new one is added.

    A repeatable script may be edited: it runs again after a change of its own and after each other
    script of its schema.
    """

    schema: str
    name: str
    sql: str
    repeatable: bool = False

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


async def apply(
    dsn: str,
    roles: Sequence[str],
    migrations: Sequence[Migration],
    passwords: Mapping[str, str] | None = None,
) -> list[str]:
    """Make the roles and schemas and run each script once, in order, each in a transaction; returns what ran.

    Roles in `passwords` get these, each time anew. Raises Misconfigured if a script that ran before has changed since.
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
        # Nobody needs tables of his own; what belongs to a database does not come with a copy of it, so it is said each time.
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
    # Roles belong to the whole cluster: another database of it, or a migration at the same time, may have made it.
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
