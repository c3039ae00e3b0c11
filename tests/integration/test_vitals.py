"""What a service shows of itself is what is in its tables, its pool and its topics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import web
from aiokafka import AIOKafkaProducer
from prometheus_client import REGISTRY

from services.payments.http_bank import HttpBank
from shared import dead_letter_store, inbox, operator_requests, topics, watchdog
from shared.envelope import Record
from shared.errors import Unavailable
from shared.handler import Handler
from shared.invariants import Invariant
from shared.sealing import Sealing
from shared.service import Service, Wiring
from shared.settings import Settings
from tests.integration.conftest import TALLY_SUBSCRIPTIONS, TallyDeps, counted, offsets_begin

MakeHandler = Callable[..., Handler]


def shown(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(f"crossborder_{name}", labels)
    assert found is not None, f"{name}{labels} is not shown"
    return found


async def replay(handler: Handler, poison: Record) -> None:
    """What `crossborder dlq replay` asks for."""
    async with handler.pool.acquire() as conn:
        await operator_requests.ask(
            conn,
            "tax",
            "replay",
            "an operator",
            place=(poison.topic, poison.partition, poison.offset),
        )
    assert await operator_requests.obey(handler) == 1


async def until(seen: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await seen():  # noqa: ASYNC110  it is another task's work that is waited for
            await asyncio.sleep(0.05)


async def measured(pool: Any) -> None:
    async with pool.acquire() as conn:
        await inbox.measure(conn, "tax", list(TALLY_SUBSCRIPTIONS.sources))


async def test_a_dead_letter_is_owed_until_its_replay_is_handled(
    tally_pool: Any, tally_handler: MakeHandler
) -> None:
    order, deps = uuid4(), TallyDeps(poison={13})
    poison = counted(order, 13, 0)
    await offsets_begin(tally_pool, (topics.ORDERS, 0))
    await tally_handler(deps).handle([poison, counted(order, 1, 1)])
    await measured(tally_pool)
    assert shown("dead_letters_unreplayed_records", service="tax", topic=topics.ORDERS) == 1
    assert shown("dead_letters_unreplayed_records", service="tax", topic=topics.PAYMENTS) == 0
    assert (
        time.time() - shown("dead_letters_oldest_unreplayed_timestamp_seconds", service="tax") < 60
    )
    assert shown("held_orders", service="tax") == 1
    assert shown("parked_records", service="tax") == 1
    assert time.time() - shown("held_orders_oldest_timestamp_seconds", service="tax") < 60

    await replay(
        tally_handler(deps), poison
    )  # its cause is not mended yet: given up again, owed once
    await measured(tally_pool)
    assert shown("dead_letters_unreplayed_records", service="tax", topic=topics.ORDERS) == 1

    await replay(tally_handler(), poison)
    await measured(tally_pool)
    assert shown("dead_letters_unreplayed_records", service="tax", topic=topics.ORDERS) == 0
    assert shown("dead_letters_oldest_unreplayed_timestamp_seconds", service="tax") == 0
    assert shown("held_orders", service="tax") == 0
    assert shown("parked_records", service="tax") == 0


async def test_a_batch_rolled_back_counts_no_dead_letter(
    tally_pool: Any, tally_handler: MakeHandler
) -> None:
    labels = {"service": "tax", "topic": topics.ORDERS, "reason": "invalid_value"}
    before = REGISTRY.get_sample_value("crossborder_dead_letters_total", labels) or 0
    await offsets_begin(tally_pool, (topics.ORDERS, 0))
    poison = counted(uuid4(), 13, 5)  # not where the stored offset is
    with pytest.raises(inbox.Fenced):
        await tally_handler(TallyDeps(poison={13})).handle([poison])
    assert (REGISTRY.get_sample_value("crossborder_dead_letters_total", labels) or 0) == before


async def test_letters_the_log_no_longer_has_are_forgotten(tally_pool: Any) -> None:
    async with tally_pool.acquire() as conn:
        for _ in range(2):
            await dead_letter_store.note_dead_letter(
                conn, dead_letter_store.Letter(topics.ORDERS, 0, 1, "malformed")
            )
        assert await dead_letter_store.expire_dead_letters(conn, topics.ORDERS, 3600) == 0
        await conn.execute("UPDATE dead_letter SET at = now() - interval '2 hours'")
        assert await dead_letter_store.expire_dead_letters(conn, topics.PAYMENTS, 3600) == 0
        assert await dead_letter_store.expire_dead_letters(conn, topics.ORDERS, 3600) == 1
    assert topics.retention_s_of(topics.SUBMISSIONS) == 3 * 86400


@dataclass
class Still:
    """A consumer or relay that has stood for a while."""

    stood_s: float
    behind: int = 0

    @property
    def last_progress(self) -> float:
        return time.monotonic() - self.stood_s

    async def lag(self) -> dict[Any, int]:
        return {("orders.events", 0): self.behind}


@pytest.mark.parametrize(
    ("consumer", "relay", "part"),
    [(Still(40, behind=3), Still(0), "consumer"), (Still(0), Still(70), "relay")],
)
async def test_the_watchdog_says_what_stood_and_the_next_process_shows_that_it_bit(
    tally_pool: Any, consumer: Any, relay: Any, part: str
) -> None:
    watched = watchdog.Vitals("tax", tally_pool, consumer, relay, [])
    with pytest.raises(watchdog.Stuck) as bitten:
        await asyncio.wait_for(watched._watch(), 10)
    assert time.time() - shown("watchdog_progress_timestamp_seconds", service="tax", part=part) > 30
    before = (
        REGISTRY.get_sample_value(
            "crossborder_process_ends_total", {"service": "tax", "reason": f"watchdog_{part}"}
        )
        or 0
    )
    await watchdog.note_end(tally_pool, bitten.value)
    await watchdog.note_end(tally_pool, bitten.value)
    async with tally_pool.acquire() as conn:
        await watched._show_ends(conn)
        await watched._show_ends(conn)
    assert shown("process_ends_total", service="tax", reason=f"watchdog_{part}") == before + 2


async def test_the_watchdog_leaves_a_consumer_alone_that_has_nothing_to_do(tally_pool: Any) -> None:
    idle: Any = Still(40, behind=0)
    moving: Any = Still(0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watchdog.Vitals("tax", tally_pool, idle, moving, [])._watch(), 6)
    assert (
        time.time() - shown("watchdog_progress_timestamp_seconds", service="tax", part="consumer")
        < 10
    )


def test_the_end_of_a_process_is_counted_by_what_a_person_would_do() -> None:
    assert watchdog.reason_of(Unavailable("x")) == "unavailable"
    assert watchdog.reason_of(asyncpg.ConnectionDoesNotExistError("x")) == "unavailable"
    assert watchdog.reason_of(KeyError("x")) == "unexpected"


async def test_a_broken_invariant_is_shown_with_when_and_how_long_it_was_looked_at(
    tally_pool: Any,
) -> None:
    nothing: Any = Still(0)
    broken = Invariant("tax_test_broken", "SELECT 'a' UNION ALL SELECT 'b'", "never")
    watched = watchdog.Vitals("tax", tally_pool, nothing, nothing, [], invariants=[broken])
    assert shown("invariant_violations", invariant="tax_test_broken") == 0
    assert shown("invariant_last_check_timestamp_seconds", invariant="tax_test_broken") == 0
    assert await watched.look_at(broken) == 2
    assert shown("invariant_violations", invariant="tax_test_broken") == 2
    assert (
        time.time() - shown("invariant_last_check_timestamp_seconds", invariant="tax_test_broken")
        < 5
    )
    assert 0 < shown("invariant_check_seconds", invariant="tax_test_broken") < 5


async def test_who_waits_for_a_connection_is_counted(tally_pool: Any) -> None:
    taken = [await tally_pool.acquire() for _ in range(tally_pool.get_max_size())]
    assert watchdog.waiting_for(tally_pool) == 0

    async def take() -> Any:
        return await tally_pool.acquire()

    late = [asyncio.create_task(take()) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert watchdog.waiting_for(tally_pool) == 3
    for conn in taken:
        await tally_pool.release(conn)
    for task in late:
        await tally_pool.release(await task)
    assert watchdog.waiting_for(tally_pool) == 0


async def test_a_running_service_shows_its_lag_delay_pool_and_loop(
    kafka: str, topic_prefix: str, database: str, tally_pool: Any, sealing: Sealing
) -> None:
    await topics.create_topics(kafka, topic_prefix, partitions=1)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for number in range(20):
        record = counted(uuid4(), number, number)
        await producer.send(
            topic_prefix + topics.ORDERS, record.value, key=record.key, headers=list(record.headers)
        )
    await producer.stop()
    settings = Settings(kafka=kafka, postgres=database, topic_prefix=topic_prefix)
    service = Service(
        Wiring("tax", topics.TAX, TALLY_SUBSCRIPTIONS, TallyDeps(), sealing), settings, tally_pool
    )
    before = REGISTRY.get_sample_value(
        "crossborder_event_queue_delay_seconds_count", {"service": "tax", "topic": topics.ORDERS}
    )
    stop = asyncio.Event()
    task = asyncio.create_task(service.run(stop))

    async def tallied() -> bool:
        async with tally_pool.acquire() as conn:
            return bool(await conn.fetchval("SELECT count(*) FROM tally") == 20)

    async def caught_up() -> bool:
        lag = REGISTRY.get_sample_value(
            "crossborder_consumer_lag_records", {"topic": topics.ORDERS, "partition": "0"}
        )
        return lag == 0

    await until(tallied)
    await until(caught_up)
    assert shown("event_queue_delay_seconds_count", service="tax", topic=topics.ORDERS) > (
        before or 0
    )
    assert shown("db_pool_connections", service="tax", state="max") == tally_pool.get_max_size()
    assert shown("db_pool_connections", service="tax", state="open") >= shown(
        "db_pool_connections", service="tax", state="busy"
    )
    assert 0 <= shown("event_loop_lag_seconds", service="tax") < 15
    assert shown("consumer_in_flight_records", service="tax") == 0
    assert time.time() - shown("consumer_last_poll_timestamp_seconds", service="tax") < 5
    assert shown("consumer_assigned_partitions", service="tax") == 2
    stop.set()
    await task


async def test_lag_counts_what_is_fetched_and_not_handled(
    kafka: str, topic_prefix: str, database: str, tally_pool: Any, sealing: Sealing
) -> None:
    """A batch that hangs in its transaction is work undone: the watchdog must see it as lag."""
    await topics.create_topics(kafka, topic_prefix, partitions=1)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    record = counted(uuid4(), 1, 0)
    await producer.send_and_wait(
        topic_prefix + topics.ORDERS, record.value, key=record.key, headers=list(record.headers)
    )
    await producer.stop()
    settings = Settings(kafka=kafka, postgres=database, topic_prefix=topic_prefix)
    service = Service(
        Wiring("tax", topics.TAX, TALLY_SUBSCRIPTIONS, TallyDeps(), sealing), settings, tally_pool
    )
    stop = asyncio.Event()

    async def in_hand() -> bool:
        return (
            shown("consumer_in_flight_records", service="tax")
            == 1
            == sum((await service.consumer.lag()).values())
        )

    async def done() -> bool:
        return not any((await service.consumer.lag()).values())

    async with tally_pool.acquire() as conn, conn.transaction():
        await conn.execute("LOCK TABLE tally")
        task = asyncio.create_task(service.run(stop))
        await until(in_hand)
    await until(done)
    stop.set()
    await task


async def test_calls_of_the_bank_are_counted_by_how_they_ended() -> None:
    async def answer(request: web.Request) -> web.Response:
        match request.path:
            case "/v1/captures":
                raise web.HTTPBadGateway
            case "/v1/voids":
                return web.Response(text="<html>")
            case "/v1/refunds":
                await asyncio.sleep(2)
        return web.json_response({"items": []})

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    expected = {"authorise": "ok", "capture": "error", "void": "unreadable", "refund": "timeout"}

    def count(operation: str, outcome: str) -> float:
        labels = {"party": "bank", "operation": operation, "outcome": outcome}
        return REGISTRY.get_sample_value("crossborder_party_calls_total", labels) or 0

    before = {operation: count(operation, outcome) for operation, outcome in expected.items()}
    bank = HttpBank(url, timeout_s=0.5)
    for operation in expected:
        await bank.send(operation, [{"key": str(uuid4())}])
    await bank.close()
    assert {o: count(o, outcome) - before[o] for o, outcome in expected.items()} == dict.fromkeys(
        expected, 1
    )
    assert time.time() - shown("party_last_success_timestamp_seconds", party="bank") < 30
    assert shown("party_calls_in_flight", party="bank") == 0
    assert shown("party_answer_seconds_count", party="bank", operation="refund") >= 1
    await runner.cleanup()

    gone = count("query", "unreachable")
    away = HttpBank(url, timeout_s=0.5)
    await away.query([uuid4()])
    await away.close()
    assert count("query", "unreachable") == gone + 1


@dataclass
class Broker:
    """A consumer whose broker answers or does not."""

    there: bool = True

    async def reaches_broker(self) -> bool:
        return self.there


async def test_what_does_not_answer_is_shown_as_down_and_again_as_up(tally_pool: Any) -> None:
    broker = Broker()
    looks = watchdog.Vitals("tax", tally_pool, broker, None, [])  # type: ignore[arg-type]
    for there, looked, expected in (
        (True, 1.0, (1, 1)),
        (False, 1.0, (0, 1)),
        (True, 60.0, (1, 0)),
        (True, 1.0, (1, 1)),
    ):
        broker.there, looks.measured = there, time.monotonic() - looked
        await looks.reach()
        found = [
            shown("dependency_up", service="tax", dependency=name) for name in ("kafka", "postgres")
        ]
        assert tuple(found) == expected
