"""Trouble of the database is nobody's fault: whatever ails the server, no record is given up and no order is held."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from deploy.embedded.postgres import SYSTEM_USER, EmbeddedPostgres, _let_through, _system_user
from services.cli.doctor import database as doctor_database
from services.schema import migrate
from shared import operator_requests, topics
from shared.batch import UNFORESEEN_MAX
from shared.clock import utc_now
from shared.database import CUT, connect_pool
from shared.envelope import Message
from shared.errors import TooManyGivenUp
from shared.handler import Handler
from shared.sealing import Sealing
from shared.settings import Settings
from shared.subscriptions import Outcome, Source, Subscriptions, on
from tests.integration.conftest import (
    TALLY_SUBSCRIPTIONS,
    Counted,
    TallyDeps,
    counted,
    offsets_begin,
    snapshot,
)
from tests.integration.test_handler import owed, totals

Make = Callable[..., Handler]
P0 = (topics.ORDERS, 0)
TALLY = (
    "CREATE TABLE tax.tally (order_id uuid PRIMARY KEY, total bigint NOT NULL CHECK (total < 1000000), version int NOT NULL);"
    "GRANT ALL ON tax.tally TO crossborder_tax"
)
PASSING = (
    "PostgresConnectionError", "FeatureNotSupportedError", "InvalidCachedStatementError", "ReadOnlySQLTransactionError",
    "InvalidPasswordError", "DeadlockDetectedError", "SerializationError", "DiskFullError", "OutOfMemoryError",
    "TooManyConnectionsError", "LockNotAvailableError", "QueryCanceledError", "CannotConnectNowError", "PostgresIOError",
    "UndefinedFileError", "InternalServerError", "DataCorruptedError", "IndexCorruptedError", "UnknownPostgresError",
    "UndefinedColumnError", "InsufficientPrivilegeError", "SnapshotTooOldError",
)  # fmt: skip


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A trace drawn with every local variable takes a second each."""
    with capture_logs():
        yield


async def nobody_is_blamed(pool: Any) -> bool:
    async with pool.acquire() as conn:
        return bool(
            await conn.fetchval(
                "SELECT NOT EXISTS (SELECT FROM dead_letter) AND NOT EXISTS (SELECT FROM held_order) AND NOT EXISTS (SELECT FROM parked)"
            )
        )


@contextmanager
def small_volume(place: Path, megabytes: int) -> Iterator[Path]:
    """A volume of its own under `place`, for the server's user; only root may mount one."""
    if os.geteuid() != 0:
        pytest.skip(
            "NOT TRIED: only root can mount a small volume, so nothing was shown of a full disk"
        )
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(
            f"NOT TRIED: no small volume can be mounted here, so nothing was shown of a full disk ({done.stderr.strip()})"
        )
    try:
        owner = _system_user(SYSTEM_USER)
        os.chown(place, owner.pw_uid, owner.pw_gid)
        _let_through(place)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("name", PASSING)
async def test_what_ails_the_server_is_raised_and_leaves_no_trace(
    tally_pool: Any, tally_handler: Make, name: str
) -> None:
    await offsets_begin(tally_pool, P0)
    before = await snapshot(tally_pool)
    ails = getattr(asyncpg, name)
    deps = TallyDeps(poison={5}, error=lambda: ails("passing"))
    for size in (1, 3, 40):
        with pytest.raises(ails):
            await tally_handler(deps).handle([counted(uuid4(), 5, i) for i in range(size)])
    assert await snapshot(tally_pool) == before


@pytest.mark.parametrize("name", PASSING)
async def test_what_ails_the_server_behind_a_replay_is_no_parked_records_fault(
    tally_pool: Any, tally_handler: Make, name: str
) -> None:
    await offsets_begin(tally_pool, P0)
    order = uuid4()
    first = counted(order, 666, 0)
    await tally_handler(TallyDeps(poison={666})).handle(
        [first, counted(order, 2, 1), counted(order, 777, 2)]
    )
    async with tally_pool.acquire() as conn:
        await operator_requests.ask(
            conn, "tax", "replay", "an operator", place=(topics.ORDERS, 0, 0)
        )
    before = await snapshot(tally_pool)
    ails = getattr(asyncpg, name)
    with pytest.raises(ails):
        await operator_requests.obey(
            tally_handler(TallyDeps(poison={777}, error=lambda: ails("passing")))
        )
    assert await snapshot(tally_pool) == before


@pytest.mark.parametrize("name", [
    "DataError", "NumericValueOutOfRangeError", "UniqueViolationError", "CheckViolationError", "RaiseError", "CardinalityViolationError",
    "ProgramLimitExceededError", "WithCheckOptionViolationError",
])  # fmt: skip
async def test_what_the_database_says_of_the_values_is_the_records_own(
    tally_pool: Any, tally_handler: Make, name: str
) -> None:
    await offsets_begin(tally_pool, P0)
    deps = TallyDeps(poison={5}, error=lambda: getattr(asyncpg, name)("no"))
    await tally_handler(deps).handle(
        [counted(uuid4(), amount, i) for i, amount in enumerate((4, 5, 6))]
    )
    assert await owed(tally_pool) == [1]
    assert sorted((await totals(tally_pool)).values()) == [4, 6]


async def test_a_full_tablespace_costs_no_record(
    tally_pool: Any, tally_handler: Make, database: str, tmp_path: Path
) -> None:
    conn = await asyncpg.connect(database)
    with small_volume(tmp_path / "small", 8) as volume:
        name = f"full_{uuid4().hex[:8]}"
        await conn.execute(f"CREATE TABLESPACE {name} LOCATION '{volume}'")
        try:
            await conn.execute(
                f"ALTER TABLE tax.tally SET TABLESPACE {name}; ALTER INDEX tax.tally_pkey SET TABLESPACE {name};"
                f"CREATE TABLE tax.filler (x text) TABLESPACE {name}; ALTER TABLE tax.filler ALTER x SET STORAGE PLAIN"
            )
            for rows in (400, 10, 1):
                with suppress(asyncpg.DiskFullError):
                    while True:
                        await conn.execute(
                            f"INSERT INTO tax.filler SELECT repeat('x', 2000) FROM generate_series(1, {rows})"
                        )
            await offsets_begin(tally_pool, P0)
            records = [counted(uuid4(), i + 1, i) for i in range(60)]
            with pytest.raises(asyncpg.DiskFullError):
                await tally_handler().handle(records)
            assert await nobody_is_blamed(tally_pool)
            await conn.execute("DROP TABLE tax.filler")
            async with tally_pool.acquire() as own:
                done = await own.fetchval("SELECT next FROM consumer_offset")
            await tally_handler().handle(records[done:])
            assert len(await totals(tally_pool)) == 60
            assert await nobody_is_blamed(tally_pool)
        finally:
            await conn.execute("DROP TABLE IF EXISTS tax.filler; DROP TABLE tax.tally")
            await conn.execute(f"DROP TABLESPACE {name}")
            await conn.close()


@asynccontextmanager
async def own_server(
    folder: Path, sealing: Sealing
) -> AsyncIterator[tuple[EmbeddedPostgres, Any, Handler]]:
    """A server under `folder`, a pool of the tally's service on it, and a handler."""
    server = EmbeddedPostgres(folder)
    await server.start()
    try:
        dsn = await server.ensure_database("own")
        await migrate(dsn)
        conn = await asyncpg.connect(dsn)
        await conn.execute(TALLY)
        await conn.close()
        pool = await connect_pool(Settings(postgres=dsn), "tax")
        try:
            await offsets_begin(pool, P0)
            yield (
                server,
                pool,
                Handler("tax", topics.TAX, TALLY_SUBSCRIPTIONS, pool, TallyDeps(), sealing=sealing),
            )
        finally:
            pool.terminate()
    finally:
        await server.stop()


def fill(place: Path) -> None:
    """Leave not a byte."""
    with place.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(b"x" * size)


async def handled(pool: Any) -> int:
    async with pool.acquire() as conn:
        return int(await conn.fetchval("SELECT next FROM consumer_offset"))


async def test_a_full_volume_costs_no_record(sealing: Sealing, tmp_path: Path) -> None:
    """Data, indexes and the log of changes: the server may end itself over it, and comes back when there is room."""
    with small_volume(tmp_path / "small", 160) as volume:
        async with own_server(volume / "postgres", sealing) as (server, pool, handler):
            records = [counted(uuid4(), 1, i) for i in range(60_000)]
            await handler.handle(records[:100])
            fill(volume / "filler")
            raised: Exception | None = None
            done = 100
            while raised is None and done < len(records):
                try:
                    await handler.handle(records[done : done + 500])
                    done += 500
                except Exception as error:  # noqa: BLE001  whatever the server says in its last hour
                    raised = error
            assert raised is not None, "the volume never was full"
            assert not isinstance(raised, TooManyGivenUp), raised
            (volume / "filler").unlink()
            if not server.running:
                await server.start()
            for _ in range(100):
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    done = await handled(pool)
                    break
            await handler.handle(records[done : done + 500])
            assert await nobody_is_blamed(pool), raised
            assert len(await totals(pool)) == await handled(pool) == done + 500


@pytest.mark.parametrize("left", range(13))
async def test_a_lock_table_with_hardly_a_place_left_costs_no_record(
    tally_pool: Any, tally_handler: Make, database: str, left: int
) -> None:
    """Every step of a batch may be the one that finds none: orders, tables, indexes, the dead letter's own."""
    await offsets_begin(tally_pool, P0)
    other = await asyncpg.connect(database)
    held = other.transaction()
    await held.start()
    base, taken = 10**12, 0
    for step in (4096, 256, 16, 1):
        with suppress(asyncpg.OutOfMemoryError):
            while True:
                async with other.transaction():
                    await other.execute(LOCKS, base + taken, base + taken + step - 1)
                taken += step
    # Those a savepoint gave back are kept by the transaction until it ends: let go of all, and take all but `left`.
    await held.rollback()
    held = other.transaction()
    await held.start()
    await other.execute(LOCKS, base, base + taken - left - 1)
    records = [counted(uuid4(), 1, i) for i in range(40)]
    ended: Exception | None = None
    try:
        await tally_handler().handle(records)
    except asyncpg.OutOfMemoryError as error:
        ended = error
    await held.rollback()
    await other.close()
    assert ended is not None
    assert await nobody_is_blamed(tally_pool)
    await tally_handler().handle(records[await handled(tally_pool) :])
    assert len(await totals(tally_pool)) == 40
    assert await nobody_is_blamed(tally_pool)


@pytest.mark.skipif(
    "CROSSBORDER_TEST_POSTGRES" in os.environ,
    reason="NOT TRIED: the server has settings of its own",
)
async def test_the_lock_table_has_room_for_a_batch_of_every_process_that_can_log_in(
    tally_pool: Any, tally_handler: Make, database: str
) -> None:
    await offsets_begin(tally_pool, P0)
    other = await asyncpg.connect(database)
    batch, connections = Settings().batch_records, int(await other.fetchval("SHOW max_connections"))
    async with other.transaction():
        await other.execute(LOCKS, 10**12, 10**12 + batch * (connections // 2 - 1) - 1)
        await tally_handler().handle([counted(uuid4(), 1, i) for i in range(batch)])
    await other.close()
    assert len(await totals(tally_pool)) == batch


async def test_doctor_looks_at_the_lock_table_of_the_server_it_finds(
    tally_pool: Any, database: str
) -> None:
    conn = await asyncpg.connect(database)
    check = await doctor_database._locks(conn)
    assert check.ok, check
    assert check.state.startswith(
        f"{await conn.fetchval('SHOW max_locks_per_transaction')} locks a connection, 4 processes"
    )
    await conn.close()


LOCKS = "SELECT count(pg_advisory_xact_lock(k)) FROM generate_series($1::bigint, $2::bigint) k"


async def reconnected(pool: Any, database: str) -> None:
    """End the service's connections, and wait until the pool knows it and has made new ones."""
    conn = await asyncpg.connect(database)
    await conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE usename = 'crossborder_tax' AND datname = current_database() AND pid <> pg_backend_pid()"
    )
    await conn.close()
    async with asyncio.timeout(10):
        while True:
            with suppress(*CUT):
                async with pool.acquire() as own:
                    await own.fetchval("SELECT 1")
                    return
            await asyncio.sleep(0.05)


async def test_a_read_only_server_costs_no_record(
    tally_pool: Any, tally_handler: Make, database: str
) -> None:
    """As after a failover to one that follows: every connection is made anew, and reads only."""
    await offsets_begin(tally_pool, P0)
    conn = await asyncpg.connect(database)
    name = await conn.fetchval("SELECT current_database()")
    await conn.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await reconnected(tally_pool, database)
    records = [counted(uuid4(), 1, i) for i in range(40)]
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await tally_handler().handle(records)
    await conn.execute("SET default_transaction_read_only = off")
    await conn.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    await conn.close()
    await reconnected(tally_pool, database)
    await tally_handler().handle(records)
    assert len(await totals(tally_pool)) == 40
    assert await nobody_is_blamed(tally_pool)


CHANGES = (
    "ALTER TABLE tax.tally ADD COLUMN note text", "ALTER TABLE tax.tally ADD COLUMN note text NOT NULL DEFAULT 'x'",
    "ALTER TABLE tax.tally DROP COLUMN more", "ALTER TABLE tax.tally ALTER COLUMN total TYPE numeric",
    "ALTER TABLE tax.tally ALTER COLUMN more TYPE text", "ALTER TABLE tax.tally ALTER COLUMN version TYPE bigint",
    "CREATE INDEX ON tax.tally (total)",
)  # fmt: skip


async def reads_all(conn: Any, batch: Sequence[Message], deps: TallyDeps) -> Outcome:
    """As services do: what is there of the orders, with every column, then the same rows written."""
    for m in batch:
        event: Any = m.event
        await conn.fetch("SELECT * FROM tally WHERE order_id = ANY($1::uuid[])", [m.order_id])
        await conn.fetch(
            "INSERT INTO tally AS t (order_id, total, version) VALUES ($1, $2, 1) ON CONFLICT (order_id) DO UPDATE "
            "SET total = t.total + excluded.total, version = t.version + 1 RETURNING *",
            m.order_id, event.amount,
        )  # fmt: skip
    return Outcome()


@pytest.mark.parametrize("change", CHANGES)
async def test_a_table_changed_beside_a_running_service_costs_no_record(
    tally_pool: Any, sealing: Sealing, database: str, change: str
) -> None:
    await offsets_begin(tally_pool, P0)
    conn = await asyncpg.connect(database)
    await conn.execute("ALTER TABLE tax.tally ADD COLUMN more int")
    handler = Handler(
        "tax",
        topics.TAX,
        Subscriptions(on(topics.ORDERS, Counted, do=reads_all)),
        tally_pool,
        TallyDeps(),
        sealing=sealing,
    )
    order = uuid4()
    for offset in range(6):  # so that every connection of the pool knows the statements
        await handler.handle([counted(order, 1, offset)])
    await conn.execute(change)
    await handler.handle([counted(order, 1, 6)])
    await handler.handle([counted(uuid4(), 1, 7), counted(order, 1, 8)])
    await conn.close()
    assert (await totals(tally_pool))[order] == 8
    assert await nobody_is_blamed(tally_pool)


async def test_a_column_of_another_type_ends_the_service_and_costs_no_record(
    tally_pool: Any, tally_handler: Make, database: str
) -> None:
    """The client refuses our numbers for what has become a text: no record's value is at fault."""
    await offsets_begin(tally_pool, P0)
    await tally_handler().handle([counted(uuid4(), 1, 0)])
    conn = await asyncpg.connect(database)
    await conn.execute(
        "ALTER TABLE tax.tally DROP CONSTRAINT tally_total_check, ALTER COLUMN total TYPE text"
    )
    with pytest.raises(asyncpg.PostgresError):
        await tally_handler().handle([counted(uuid4(), 1, i + 1) for i in range(40)])
    assert await nobody_is_blamed(tally_pool)
    await conn.execute("ALTER TABLE tax.tally ALTER COLUMN total TYPE bigint USING total::bigint")
    await conn.close()
    await tally_handler().handle([counted(uuid4(), 1, i + 1) for i in range(40)])
    assert len(await totals(tally_pool)) == 41


async def test_a_number_too_large_for_its_column_is_the_records_own(
    tally_pool: Any, tally_handler: Make, database: str
) -> None:
    await offsets_begin(tally_pool, P0)
    conn = await asyncpg.connect(database)
    await conn.execute("ALTER TABLE tax.tally ALTER COLUMN total TYPE smallint")
    await conn.close()
    await tally_handler().handle(
        [counted(uuid4(), 4, 0), counted(uuid4(), 2**62, 1), counted(uuid4(), 6, 2)]
    )
    assert await owed(tally_pool) == [1]


@pytest.mark.parametrize(
    "error", [lambda: KeyError("a bug"), lambda: asyncpg.CheckViolationError("no")]
)
async def test_so_many_unforeseen_failures_a_minute_are_ours_and_end_the_service(
    tally_pool: Any, tally_handler: Make, error: Callable[[], Exception]
) -> None:
    await offsets_begin(tally_pool, P0)
    records = [counted(uuid4(), 5, i) for i in range(60)]
    handler = tally_handler(TallyDeps(poison={5}, error=error))
    for _ in range(3):  # started anew, it gives up no more either
        with pytest.raises(TooManyGivenUp, match="look for the trace in the log of tax"):
            await handler.handle(records[await handled(tally_pool) :])
        assert await owed(tally_pool) == list(range(UNFORESEEN_MAX))
    await tally_handler().handle(records[UNFORESEEN_MAX:])
    assert len(await totals(tally_pool)) == 60 - UNFORESEEN_MAX
    async with tally_pool.acquire() as conn:
        await conn.execute("UPDATE dead_letter SET at = at - interval '61 seconds'")
    await handler.handle([counted(uuid4(), 5, 60)])
    assert await owed(tally_pool) == [*range(UNFORESEEN_MAX), 60]


async def test_so_many_that_cannot_even_be_decoded_end_the_service_after_as_many(
    tally_pool: Any, sealing: Sealing
) -> None:
    await offsets_begin(tally_pool, P0)

    def fails(_record: Any) -> Any:
        raise KeyError("a bug")

    table = Subscriptions(on(Source(topics.ORDERS, decode=fails), Counted, do=reads_all))
    handler = Handler("tax", topics.TAX, table, tally_pool, TallyDeps(), sealing=sealing)
    with pytest.raises(TooManyGivenUp):
        await handler.handle([counted(uuid4(), 5, i) for i in range(64)])
    assert len(await owed(tally_pool)) <= UNFORESEEN_MAX
    assert len(await owed(tally_pool)) == await handled(tally_pool) > UNFORESEEN_MAX // 2


async def test_any_number_of_records_we_refuse_ends_nothing(
    tally_pool: Any, tally_handler: Make
) -> None:
    await offsets_begin(tally_pool, P0)
    await tally_handler(TallyDeps(poison={5})).handle([counted(uuid4(), 5, i) for i in range(64)])
    assert len(await owed(tally_pool)) == 64


@pytest.mark.parametrize("about", [1, 7, 400])
async def test_one_transaction_locks_only_so_many_orders_however_many_each_record_is_about(
    tally_pool: Any, sealing: Sealing, about: int
) -> None:
    """A receipt of the authority is about a hundred lists: the lock table has room for `batch_records` orders a process."""
    await offsets_begin(tally_pool, P0)
    locked: list[int] = []

    def many(record: Any) -> list[Message]:
        place = (record.topic, record.partition, record.offset)
        return [
            Message(uuid4(), Counted.type, order, None, utc_now(), *place)
            for order in (uuid4() for _ in range(about))
        ]

    async def looks(conn: Any, batch: Sequence[Message], _deps: Any) -> Outcome:
        locked.append(
            await conn.fetchval(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            )
        )
        return Outcome()

    table = Subscriptions(on(Source(topics.ORDERS, decode=many), do=looks))
    handler = Handler(
        "tax", topics.TAX, table, tally_pool, TallyDeps(), sealing=sealing, orders_at_once=20
    )
    await handler.handle([counted(uuid4(), 1, i) for i in range(50)])
    assert max(locked) == (20 if about == 1 else 14 if about == 7 else 400)
    assert sum(locked) == 50 * about
    assert await handled(tally_pool) == 50
