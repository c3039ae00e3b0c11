"""The sales view on a real broker: its totals are exactly right, whatever becomes of its workers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from deploy.embedded.process import free_port
from services.orders.domain import sales_results
from services.orders.intake.placed_order import PROBE
from shared import topics
from shared.clock import utc_now
from shared.envelope import headers_of
from shared.events.orders import (
    OrderCancelled,
    OrderFulfilled,
    OrderRejected,
    OrderResubmitted,
    OrdersEvent,
)
from shared.kafka import METADATA_MS
from shared.money import Money
from shared.producer import partition_of
from shared.streams import STUCK_S

pytestmark = pytest.mark.slow

CORRIDORS = ("US-CN", "CN-RU", "CN-EU")


def event_of(number: int) -> OrdersEvent:
    """Mostly fulfilled orders; every tenth ended otherwise; synthetic orders and events of no interest are among them."""
    order_id, corridor = UUID(int=number), CORRIDORS[number % 3]
    if number % 10 == 6:
        corridor = PROBE
    if number % 10 == 7:
        return OrderRejected(
            order_id=order_id, order_no=f"A-{number}", corridor=corridor, faults=()
        )
    if number % 10 == 8:
        return OrderCancelled(
            order_id=order_id, order_no=f"A-{number}", corridor=corridor, reason="-"
        )
    if number % 10 == 9:
        return OrderResubmitted(order_id=order_id, order_no=f"A-{number}", verdict="exists")
    goods, paid = Money(1000 + number, "CNY"), Money(1200 + number, "CNY")
    return OrderFulfilled(
        order_id=order_id, order_no=f"A-{number}", corridor=corridor, direction="import", goods_value=goods, amount_paid=paid,
    )  # fmt: skip


def expected(numbers: Iterable[int]) -> dict[str, tuple[dict[str, int], int, int]]:
    """Per corridor: counts by stage, goods value and amount paid in fen."""
    found = {corridor: (Counter[str](), [0, 0]) for corridor in CORRIDORS}
    for number in numbers:
        event = event_of(number)
        if isinstance(event, OrderResubmitted) or number % 10 == 6:
            continue
        counts, sums = found[CORRIDORS[number % 3]]
        counts[event.type.split(".")[1]] += 1
        if isinstance(event, OrderFulfilled):
            sums[0] += event.goods_value.minor
            sums[1] += event.amount_paid.minor
    return {
        corridor: (dict(counts), sums[0], sums[1]) for corridor, (counts, sums) in found.items()
    }


class Bench:
    """The topics of one test, what was published, and what the view says."""

    def __init__(self, kafka: str, prefix: str, home: Path) -> None:
        self.kafka, self.prefix, self.home = kafka, prefix, home
        self.source = topics.named(topics.ORDERS, prefix)
        self.records: list[tuple[bytes | None, bytes | None]] = []
        self.workers: list[Worker] = []

    async def start(self) -> None:
        await topics.create_topics(self.kafka, self.prefix)
        self._producer = AIOKafkaProducer(bootstrap_servers=self.kafka, enable_idempotence=True)
        self._reader = AIOKafkaConsumer(bootstrap_servers=self.kafka, auto_offset_reset="earliest")
        await self._producer.start()
        await self._reader.start()
        name = topics.named(topics.SALES, self.prefix)
        self._reader.assign([TopicPartition(name, p) for p in range(topics.PARTITIONS)])

    async def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        await self._producer.stop()
        await self._reader.stop()

    async def publish(self, numbers: range, per_second: float = 0) -> None:
        for number in numbers:
            event = event_of(number)
            headers = headers_of(
                event_id=uuid5(NAMESPACE_URL, str(number)),
                event_type=event.type,
                source="orders",
                at=utc_now(),
            )
            key = str(event.order_id).encode()
            place = partition_of(key, topics.PARTITIONS)
            await self._producer.send(
                self.source, event.to_json(), key=key, headers=list(headers), partition=place
            )
            if per_second and number % 20 == 0:
                await asyncio.sleep(20 / per_second)
        await self._producer.flush()

    def worker(self) -> Worker:
        self.workers.append(Worker(self))
        return self.workers[-1]

    async def totals(self) -> dict[str, tuple[dict[str, int], int, int]]:
        for records in (await self._reader.getmany(timeout_ms=200)).values():
            self.records += [(record.key, record.value) for record in records]
        return {
            corridor: (
                {str(stage): n for stage, n in total.counts.items() if n},
                total.verified_minor["CNY"],
                total.paid_minor["CNY"],
            )
            for corridor, total in sales_results.totals_of(self.records).items()
        }

    async def count(self) -> int:
        return sum(sum(counts.values()) for counts, *_ in (await self.totals()).values())

    async def until(self, count: int, within_s: float = 60) -> None:
        """Wait until the view has counted so many events."""
        deadline = time.monotonic() + within_s
        while await self.count() < count:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{await self.count()} of {count} counted: {[w.tail() for w in self.workers]}"
                )

    async def commit(self, ahead: bool) -> None:
        """Say to the broker that everything, or nothing, was consumed."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka,
            group_id=f"{self.prefix}streams-sales",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            tps = [TopicPartition(self.source, p) for p in range(topics.PARTITIONS)]
            consumer.assign(tps)
            await consumer.commit(
                await consumer.end_offsets(tps) if ahead else dict.fromkeys(tps, 0)
            )
        finally:
            await consumer.stop()


class Worker:
    """One process of the view."""

    def __init__(self, bench: Bench) -> None:
        self.port = free_port()
        self._log = bench.home / f"worker-{self.port}.log"
        env = {
            **os.environ, "CROSSBORDER_KAFKA": bench.kafka, "CROSSBORDER_TOPIC_PREFIX": bench.prefix,
            "CROSSBORDER_HOME": str(bench.home), "CROSSBORDER_METRICS_PORT": str(self.port),
        }  # fmt: skip
        with self._log.open("wb") as out:
            command = [sys.executable, "-m", "services.orders.streams"]
            self.process = subprocess.Popen(command, env=env, stdout=out, stderr=out)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, within_s: float) -> int:
        return await asyncio.to_thread(self.process.wait, within_s)

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await client.get(f"http://127.0.0.1:{self.port}{path}")

    async def ready(self, within_s: float = 40) -> None:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if (await self.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
        raise TimeoutError(self.tail())

    def tail(self) -> str:
        return self._log.read_text()[-1500:]


@pytest.fixture
async def bench(kafka: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(kafka, topic_prefix, tmp_path)
    await bench.start()
    yield bench
    await bench.close()


async def test_totals_are_exact_though_the_worker_is_killed_twice(bench: Bench) -> None:
    publishing = asyncio.create_task(bench.publish(range(2000), per_second=250))
    for counted in (300, 900):
        worker = bench.worker()
        await bench.until(count=counted)
        worker.kill()
    last = bench.worker()
    await publishing
    await bench.until(count=1600)
    assert await bench.totals() == expected(range(2000))

    await last.ready()
    # Killed before it wrote its table, a view begins with nothing to show, and shows what it read so far every 2 s.
    shown = 'crossborder_stream_orders{corridor="US-CN",stage="fulfilled",window="hour"}'
    async with asyncio.timeout(20):
        while shown not in (page := (await last.get("/metrics")).text):  # noqa: ASYNC110  of another process
            await asyncio.sleep(0.5)
    assert "crossborder_verified_sales_minor_total" in page
    assert (await last.get("/healthz")).status_code == 200


async def test_a_view_to_which_a_broker_just_started_names_no_partitions_has_them_soon(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    bench = Bench(kafka, topic_prefix, tmp_path)
    await (
        bench.worker().ready()
    )  # a group whose leader saw topics without partitions: nobody has any
    await bench.start()
    try:
        await bench.publish(range(500))
        await bench.until(count=400, within_s=40)
        assert await bench.totals() == expected(range(500))
    finally:
        await bench.close()


async def test_a_view_that_sees_no_changelog_beside_its_topic_ends_and_counts_nothing(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    bench = Bench(kafka, topic_prefix, tmp_path)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(bench.source, topics.PARTITIONS, 1)])
    await admin.close()
    early = bench.worker()
    assert await early.ended(within_s=40) == 1
    assert "changelog has no partitions yet" in early.tail()
    await bench.start()
    try:
        await bench.publish(range(500))
        bench.worker()
        await bench.until(count=400)
        assert await bench.totals() == expected(range(500))
    finally:
        await bench.close()


async def test_marks_of_transactions_are_no_lag_and_no_hole_that_ends_the_view(
    bench: Bench,
) -> None:
    """Behind the last record of several partitions, and between records; half of the transactions were given up."""
    worker = bench.worker()
    writer = AIOKafkaProducer(
        bootstrap_servers=bench.kafka, transactional_id=f"{bench.prefix}relay"
    )
    plain, bench._producer = bench._producer, writer
    await writer.start()
    try:
        for begin in (0, 100, 200):
            await writer.begin_transaction()
            await bench.publish(range(begin, begin + 100))
            await writer.commit_transaction()
            await bench.until(count=(begin + 100) * 8 // 10)
    finally:
        bench._producer = plain
        await writer.stop()
    await bench.publish(range(300, 320))
    await bench.until(count=256)
    async with (
        AIOKafkaProducer(
            bootstrap_servers=bench.kafka, transactional_id=f"{bench.prefix}relay"
        ) as last,
        last.transaction(),
    ):
        for partition in range(topics.PARTITIONS):
            await last.send(bench.source, b"{}", partition=partition)
    await worker.ready()

    async def lag() -> dict[str, float]:
        lines = (await worker.get("/metrics")).text.splitlines()
        return {
            line.split()[0]: float(line.split()[1])
            for line in lines
            if line.startswith("crossborder_consumer_lag_records{")
        }

    async with asyncio.timeout(30):
        while set((await lag()).values()) != {0.0} or len(await lag()) != topics.PARTITIONS:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    assert worker.process.poll() is None, worker.tail()
    assert await bench.totals() == expected(range(320))


async def test_only_what_was_committed_counts_and_an_open_transaction_ends_no_view(
    bench: Bench,
) -> None:
    worker = bench.worker()
    await bench.publish(range(100))
    plain = bench._producer

    async def writer(name: str, numbers: range) -> AIOKafkaProducer:
        made = AIOKafkaProducer(
            bootstrap_servers=bench.kafka,
            transactional_id=f"{bench.prefix}{name}",
            transaction_timeout_ms=300_000,
        )
        await made.start()
        await made.begin_transaction()
        bench._producer = made
        await bench.publish(numbers)
        bench._producer = plain
        return made

    aborted, committed = (
        await writer("aborted", range(100, 200)),
        await writer("committed", range(200, 300)),
    )
    await aborted.abort_transaction()
    await committed.commit_transaction()
    await bench.until(count=160)
    open_ = await writer("open", range(300, 400))
    await bench.publish(range(400, 420))
    await bench.until(count=160)
    await asyncio.sleep(STUCK_S + 5)
    counted = [*range(100), *range(200, 300)]
    assert await bench.totals() == expected(counted)
    assert worker.process.poll() is None, worker.tail()
    worker.kill()
    worker = bench.worker()
    await worker.ready()
    await open_.commit_transaction()
    await bench.until(count=256)
    assert await bench.totals() == expected([*counted, *range(300, 420)])
    for each in (aborted, committed, open_):
        await each.stop()


async def test_partitions_that_somebody_adds_to_its_topic_cost_the_view_nothing(
    bench: Bench,
) -> None:
    worker = bench.worker()
    await bench.publish(range(100))
    await bench.until(count=80)
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.kafka)
    await admin.start()
    await admin.create_partitions({bench.source: NewPartitions(2 * topics.PARTITIONS)})
    await admin.close()
    await asyncio.sleep(METADATA_MS / 1000 + 5)
    await bench.publish(range(100, 200))
    await bench.until(count=160)
    worker.kill()
    worker = bench.worker()
    await worker.ready()
    await bench.publish(range(200, 300))
    await bench.until(count=240)
    assert await bench.totals() == expected(range(300))


async def test_what_a_relay_sent_twice_counts_once_also_over_a_kill(bench: Bench) -> None:
    first = bench.worker()
    await bench.publish(range(300))
    await bench.publish(range(200, 300))
    await bench.until(count=240)
    first.kill()
    await bench.publish(range(250, 400))
    bench.worker()
    await bench.until(count=320)
    await bench.publish(range(350, 500))
    await bench.until(count=400)
    assert await bench.totals() == expected(range(500))


async def test_tables_outlive_their_worker_and_a_commit_ahead_or_behind_changes_nothing(
    bench: Bench,
) -> None:
    await bench.publish(range(500))
    worker = bench.worker()
    await bench.until(count=400)
    for ahead in (True, False):
        worker.send(signal.SIGTERM)
        assert await worker.ended(10) == 0
        more = range(500, 600) if ahead else range(600, 700)
        await bench.publish(more)
        await bench.commit(ahead)
        worker = bench.worker()
        await bench.until(count=more.stop * 8 // 10)
        assert await bench.totals() == expected(range(more.stop))


async def test_totals_are_exact_though_a_worker_joins_and_another_sleeps_through_its_session(
    bench: Bench,
) -> None:
    sleeper = bench.worker()
    await sleeper.ready()
    publishing = asyncio.create_task(bench.publish(range(3000), per_second=120))
    await bench.until(count=200)
    bench.worker()
    await bench.until(count=500)
    sleeper.send(signal.SIGSTOP)
    await bench.until(count=1700)
    sleeper.send(signal.SIGCONT)
    assert await sleeper.ended(15) == 1
    assert "slept through its session" in sleeper.tail()
    await publishing
    await bench.until(count=2400)
    assert await bench.totals() == expected(range(3000))
