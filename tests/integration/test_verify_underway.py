"""`verify` while facts are on their way: what waits in an outbox, or to be read, breaks no promise; what is lost does."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from services.cli import lag
from services.cli.connect import RunningStack
from services.cli.verify import app as verify
from services.cli.verify import log_invariants, reconciliation, report
from services.cli.verify.findings import Finding
from shared import outbox, topics
from shared.clock import utc_now
from shared.database import connect_pool
from shared.envelope import Outgoing, headers_of
from shared.failpoints import Failpoints, Killed
from shared.relay import Relay
from shared.settings import Settings
from tests.integration.test_cli import DECLARED
from tests.integration.test_delivery import empty, running, until
from tests.integration.test_ends import write_plain, writer

PARTITIONS: Final = 6
HELD: Final = "log_agrees_with_tables"
WAITS: Final = "customs_outbox_published"


@pytest.fixture
async def to(kafka: str, database: str, topic_prefix: str, home: Path) -> RunningStack:
    await topics.create_topics(kafka, topic_prefix, partitions=PARTITIONS)
    return RunningStack(kafka, database, topic_prefix, home)


@pytest.fixture
async def customs(database: str) -> AsyncIterator[Any]:
    pool = await connect_pool(Settings(postgres=database), "customs")
    yield pool
    pool.terminate()


def relay_of(to: RunningStack, pool: Any, service: str = "customs", **more: Any) -> Relay:
    return Relay(service, pool, to.kafka, prefix=to.prefix, **more)


def fact(order_id: UUID, version: int, service: str = "customs") -> Outgoing:
    heads = headers_of(
        event_id=uuid4(), event_type="list.lodged.v1", source=service, at=utc_now(), version=version
    )
    return Outgoing(f"{service}.events", str(order_id).encode(), b"{}", heads)


async def decide(pool: Any, orders: Sequence[UUID], version: int) -> None:
    """Customs decides one more fact of each order, as a service does: the table and the outbox in one transaction."""
    async with pool.acquire() as conn, conn.transaction():
        if version == 1:
            await conn.execute(DECLARED, list(orders), [1] * len(orders))
            await conn.execute("UPDATE customs.declaration SET state = 'collecting', attempt = 0")
        else:
            await conn.execute(
                "UPDATE customs.declaration SET version = $2 WHERE order_id = ANY($1::uuid[])",
                list(orders),
                version,
            )
        await outbox.append(conn, None, [fact(order_id, version) for order_id in orders])


async def published(to: RunningStack, pool: Any) -> None:
    async with running(relay_of(to, pool).run()):
        await until(lambda: empty(pool, "outbox"))


def by_name(findings: Sequence[Finding]) -> dict[str, Finding]:
    return {f.name: f for f in findings}


def broken(findings: Sequence[Finding]) -> set[str]:
    return {f.name for f in findings if not f.ok and not f.act}


async def test_facts_that_wait_in_an_outbox_are_told_of_and_break_nothing(
    to: RunningStack, customs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its relay is down: one order waits with its first fact, others with their second or their second and third."""
    orders = [uuid4() for _ in range(40)]
    await decide(customs, orders[:30], 1)
    await published(to, customs)
    await decide(customs, orders[:20], 2)
    await decide(customs, orders[:10], 3)
    await decide(customs, orders[30:], 1)
    found = await verify.judge(to, 1.5)
    assert broken(found) == set()
    assert len(by_name(found)[WAITS].offending) == 40
    assert not all(f.ok for f in found), "the exit status is not 0"
    rows = {row["name"]: row for row in report.as_document(found)["invariants"]}
    assert (rows[WAITS]["ok"], rows[WAITS]["act"], rows[HELD]["ok"], rows[HELD]["act"]) == (
        False,
        True,
        True,
        False,
    )
    err = capsys.readouterr().err
    assert f"looking again, for up to 2 s while nothing moves: {WAITS}" in err
    report.show(found)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "ACT: records of customs wait to be published: start customs if it is down, else look at its log",
        f"  {by_name(found)[WAITS].offending[0]}",
    ]
    assert lines[-2].startswith("all ")
    await published(to, customs)
    assert all(f.ok for f in await verify.judge(to, 0) if f.name != "no_lag")


async def test_the_program_that_does_not_publish_is_named(
    to: RunningStack, customs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await decide(customs, [uuid4()], 1)
    program = {
        "name": "customs",
        "state": "waiting",
        "restarts": 4,
        "pid": None,
        "log": "customs.log",
    }
    known = {"programs": {"customs": program}, "ports": {}}
    monkeypatch.setattr(RunningStack, "known", property(lambda _to: known))
    says = by_name(await verify.judge(to, 0))[WAITS].says
    assert (
        says
        == "records of customs wait to be published: customs is down after 4 restarts, see customs.log"
    )
    program |= {"state": "running", "restarts": 0, "pid": os.getpid()}
    assert (
        "customs runs and does not, see its log" in by_name(await verify.judge(to, 0))[WAITS].says
    )


@pytest.mark.parametrize("step", ["relay_after_read", "relay_after_send", "relay_after_delete"])
async def test_a_relay_killed_at_any_step_breaks_nothing(
    to: RunningStack, customs: Any, step: str
) -> None:
    """After it has sent and before it has deleted a fact is in the outbox and in the log."""
    orders = [uuid4() for _ in range(30)]
    for version in (1, 2):
        await decide(customs, orders, version)
    with pytest.raises(Killed):
        await relay_of(to, customs, failpoints=Failpoints(step, in_process=True)).run()
    found = await verify.judge(to, 0)
    assert broken(found) == set()
    assert by_name(found)[WAITS].ok is (step == "relay_after_delete")


async def test_what_is_lost_is_broken_though_other_facts_wait(
    to: RunningStack, customs: Any
) -> None:
    """Neither in the log nor in the outbox: the last fact, one before a fact that waits, and all of an order."""
    orders = [uuid4() for _ in range(30)]
    last, before, whole = orders[:3]
    await decide(customs, orders[2:], 1)
    await customs.execute("DELETE FROM outbox WHERE key = $1", str(whole).encode())
    await decide(customs, orders[:2], 1)
    await published(to, customs)
    for version in (2, 3):
        await decide(customs, orders[:2] + orders[3:], version)
    gone = [
        headers
        for order_id, version in ((last, 3), (before, 2))
        if (headers := await headers_at(customs, order_id, version))
    ]
    await customs.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", gone)
    found = by_name(await verify.judge(to, 0))
    assert sorted(found[HELD].offending) == sorted([
        f"{last} customs.declaration has 3, the log 2",
        f"{before} customs.declaration has 3, the log 1",
        f"{whole} customs.declaration has 1, the log 0",
    ])  # fmt: skip
    assert not found[WAITS].ok


async def headers_at(pool: Any, order_id: UUID, version: int) -> int:
    """The outbox row of this fact."""
    rows = await pool.fetch("SELECT id, headers FROM outbox WHERE key = $1", str(order_id).encode())
    (number,) = [
        r["id"] for r in rows if ["order_version", str(version)] in orjson.loads(r["headers"])
    ]
    return int(number)


async def test_while_facts_are_decided_and_the_relay_loses_its_connection_nothing_is_broken(
    to: RunningStack, customs: Any
) -> None:
    """The tables move on while the log is read, and the relay publishes what they say a second later."""
    stop = asyncio.Event()
    orders = [uuid4() for _ in range(60)]
    await decide(customs, orders, 1)

    async def deciding() -> None:
        version = 1
        while not stop.is_set():
            version += 1
            await decide(customs, orders, version)
            if version % 10 == 0:
                await cut(to, customs)

    async with running(relay_of(to, customs).run()):
        work = asyncio.create_task(deciding())
        try:
            for _ in range(6):
                found = {f.name: f.offending for f in await log_invariants.judge(to)}
                assert (found[HELD], found["facts_without_hole"]) == ((), ())
        finally:
            stop.set()
            await work
        await until(lambda: empty(customs, "outbox"))
    assert {f.name for f in await log_invariants.judge(to) if not f.ok} == set()


async def cut(to: RunningStack, pool: Any) -> None:
    """End the connections of the service that do not work just now, and its relay's."""
    conn = await asyncpg.connect(to.postgres)
    await conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' "
        "AND datname = current_database() AND pid <> pg_backend_pid()"
    )
    await conn.close()
    await pool.expire_connections()


async def test_a_fact_behind_an_open_transaction_is_in_the_log(
    to: RunningStack, customs: Any, kafka: str
) -> None:
    orders = [uuid4() for _ in range(30)]
    await decide(customs, orders, 1)
    await published(to, customs)
    async with writer(kafka, f"{to.prefix}stranger") as stranger:
        await stranger.begin_transaction()
        for number in (0, 1, 4):
            await stranger.send_and_wait(f"{to.prefix}customs.events", b"{}", partition=number)
        await decide(customs, orders, 2)
        await published(to, customs)
        found = by_name(await verify.judge(to, 0))
        assert found[HELD].offending == ()
        assert len(found["no_open_transaction"].offending) == 3
        await customs.execute("UPDATE customs.declaration SET version = 3")
        assert len(by_name(await verify.judge(to, 0))[HELD].offending) == 30
        await stranger.abort_transaction()


UNWINDING: Final = (
    "INSERT INTO orders.orders (order_id, order_no, state, doc, version, received_at, updated_at) "
    "SELECT o, o::text, 'unwinding', '{}', 0, now(), now() - interval '5 minutes' FROM unnest($1::uuid[]) o"
)
QUOTA: Final = (
    "WITH made AS (INSERT INTO tax.tax_case (order_id, state, version, person_ref, year, reserved_minor, total_minor) "
    "VALUES ($1, 'posted', 0, $2, 2026, 500, 0)) "
    "INSERT INTO tax.quota VALUES ($2, 2026, 0, 500)"
)


async def test_between_services_an_order_whose_fact_waits_or_is_unread_breaks_nothing(
    to: RunningStack, kafka: str, database: str
) -> None:
    """A fact of orders waits in its outbox, then in the log for payments; only when it was read must payments agree."""
    waits, rests = uuid4(), uuid4()
    orders = await connect_pool(Settings(postgres=database), "orders")
    admin = await asyncpg.connect(database)
    await admin.execute(UNWINDING, [waits, rests])
    await admin.execute(QUOTA, waits, uuid4())
    async with orders.acquire() as conn:
        await outbox.append(conn, None, [fact(waits, 1, "orders")])
    names = ("unwinding_ends", "quota_is_what_customs_released")

    async def of_both() -> list[tuple[str, ...]]:
        found = by_name(await verify.judge(to, 0))
        return [found[name].offending for name in names]

    assert await of_both() == [(str(rests),), ()]
    async with running(relay_of(to, orders, "orders").run()):
        await until(lambda: empty(orders, "outbox"))
    await write_plain(kafka, f"{to.prefix}orders.events", 3, 5)
    found = by_name(await verify.judge(to, 0))
    assert [found[name].offending for name in names] == [(str(rests),), ()]
    assert found["no_lag"].act
    assert found["no_lag"].offending
    assert "start payments if it is down" in found["no_lag"].says
    for b in await lag.partition_lags(to):
        await admin.execute(
            f"INSERT INTO {b.service}.consumer_offset VALUES ($1, $2, $3)", *b.place, b.end
        )
    first, second = await of_both()
    assert (set(first), len(second)) == ({str(waits), str(rests)}, 1)
    await admin.execute(
        "INSERT INTO payments.held_order (order_id, reason) VALUES ($1, 'unexpected')", waits
    )
    assert await of_both() == [(str(rests),), ()], "it waits for a person, who is told so"
    await admin.close()
    orders.terminate()


async def test_what_the_authority_said_and_customs_has_not_read_is_no_disagreement(
    to: RunningStack, kafka: str, database: str
) -> None:
    path = to.home / "sandbox" / "authority.db"
    path.parent.mkdir()
    order_id = str(uuid4())
    admin = await asyncpg.connect(database)
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("CREATE TABLE register (order_id TEXT, state TEXT, released_at REAL)")
        file.execute(
            "CREATE TABLE consolidated (invt_no TEXT, line INTEGER, decl_seq_no TEXT, declared_line INTEGER)"
        )
        file.execute("CREATE TABLE outbox (id INTEGER)")
        file.execute("INSERT INTO register VALUES (?, 'declared', 1.0)", (order_id,))
        file.execute("INSERT INTO consolidated VALUES ('I1', 1, 'D1', 1)")

        async def wrong() -> dict[str, tuple[str, ...]]:
            return {f.name: f.offending for f in await reconciliation.authority(to) if not f.ok}

        both = {
            "authority_declarations": ("I1 line 1: D1",),
            "authority_register": (f"{order_id} released by the authority only",),
        }
        assert await wrong() == both
        file.execute("INSERT INTO outbox VALUES (1)")
        assert await wrong() == {}
        file.execute("DELETE FROM outbox")
        await write_plain(kafka, to.prefix + topics.RECEIPTS, 4, 1)
        assert await wrong() == {}
        await admin.execute(
            "INSERT INTO customs.consumer_offset VALUES ($1, 4, 1)", topics.RECEIPTS
        )
        assert await wrong() == both
        file.execute("INSERT INTO outbox VALUES (1)")
        await admin.execute(DECLARED, [UUID(int=5)], [1])
        await admin.execute("UPDATE customs.declaration SET state = 'released'")
        assert await wrong() == {"authority_register": (f"{UUID(int=5)} released by customs only",)}
    await admin.close()
