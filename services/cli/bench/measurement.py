"""What a run costs, by process of the embedded stack; and what broker and database can do bare."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

import psutil

from services.cli.connect import RunningStack, database, producer

RAW_S: Final = 3.0
MESSAGE: Final = os.urandom(1024)
ROWS: Final = 500
SAMPLE_S: Final = 0.5


def processes(known: Mapping[str, Any]) -> dict[str, list[psutil.Process]]:
    by_program: dict[str, list[psutil.Process]] = {}
    for name, program in known.get("programs", {}).items():
        try:
            root = psutil.Process(int(program["pid"]))
            by_program[name] = [root, *root.children(recursive=True)]
        except (psutil.Error, TypeError, KeyError):
            continue
    return by_program


def cpu_seconds(known: Mapping[str, Any]) -> dict[str, float]:
    return {name: sum(_cpu(p) for p in group) for name, group in processes(known).items()}


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    # A postmaster's time includes its ended backends.
    return float(times.user + times.system + times.children_user + times.children_system)


def rss_mib(known: Mapping[str, Any]) -> dict[str, float]:
    """Return each program's memory in MiB; PostgreSQL's shared pages count once (PSS)."""
    return {
        name: round(sum(_rss(p, shared=len(group) > 1) for p in group) / 2**20, 1)
        for name, group in processes(known).items()
    }


def _rss(process: psutil.Process, *, shared: bool) -> int:
    try:
        return int(process.memory_full_info().pss if shared else process.memory_info().rss)
    except (psutil.Error, AttributeError):
        return 0


HOPS: Final = (
    # Only hops in which nobody but the stack is waited for: an input, and the fact that follows.
    ("order.submitted.v1", "order.placed.v1"),
    ("order.placed.v1", "tax.assessed.v1"),
    ("receipt.800", "customs.goods-released.v1"),
    ("customs.goods-released.v1", "order.fulfilled.v1"),
)


async def own_ms(to: RunningStack, since_ms: int) -> list[float]:
    """Return each fulfilled order's own milliseconds: the sum of its `HOPS` on the log.

    Between hops the bank, the carrier, the authority or the open batch is waited for.
    That time is left out, and so are orders placed before `since_ms`.
    """
    from services.cli import topic_reader
    from shared import topics
    from shared.envelope import uuid_or_none

    wanted = {name for hop in HOPS for name in hop}
    at: dict[UUID, dict[str, float]] = {}
    logs = (topics.ORDERS, topics.TAX, topics.CUSTOMS)
    async for record in topic_reader.read(to, logs, since_ms=since_ms):
        kind = next((value.decode() for name, value in record.headers if name == "ce_type"), "")
        order_id = uuid_or_none(record.key) if kind in wanted else None
        if order_id is not None:
            at.setdefault(order_id, {}).setdefault(kind, float(record.timestamp_ms))
    ends = {"order.placed.v1", "order.fulfilled.v1"}
    ids = [order_id for order_id, times in at.items() if ends <= times.keys()]
    await _add_inputs(to, at, ids)
    whole = [at[order_id] for order_id in ids if at[order_id].keys() >= wanted]
    return [sum(times[after] - times[before] for before, after in HOPS) for times in whole]


_INPUTS: Final = {
    "order.submitted.v1": (
        "SELECT order_id, received_at AS at FROM orders.orders WHERE order_id = ANY($1::uuid[])"
    ),
    "receipt.800": (
        "SELECT order_id, min(at) AS at FROM customs.receipt "
        "WHERE status = '800' AND order_id = ANY($1::uuid[]) GROUP BY order_id"
    ),
}


async def _add_inputs(
    to: RunningStack, at: Mapping[UUID, dict[str, float]], ids: Sequence[UUID]
) -> None:
    async with database(to) as conn:
        for name, query in _INPUTS.items():
            for row in await conn.fetch(query, ids):
                at[row["order_id"]][name] = row["at"].timestamp() * 1000


def quantile(values: Sequence[float], share: float) -> float | None:
    if not values:
        return None
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))], 1)


@dataclass
class Peak:
    """The most memory each program had while `watch` ran."""

    known: Mapping[str, Any]
    mib: dict[str, float] = field(default_factory=dict)

    async def watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(SAMPLE_S * 10)  # a look costs tens of milliseconds

    def look(self) -> None:
        for name, mib in rss_mib(self.known).items():
            self.mib[name] = max(self.mib.get(name, 0.0), mib)


async def host_walks(seconds: float = 1.0) -> float:
    """Return the machine's speed now: walks of the baseline a second, over all cores.

    Cores of a shared host were seen to differ by a factor of two within a minute.
    """
    walkers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.cli.bench.cpu_baseline",
            str(seconds),
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(os.cpu_count() or 1)
    ]
    lines = await asyncio.gather(*(walker.communicate() for walker in walkers))
    return sum(int(out) for out, _ in lines) / seconds


async def raw_kafka(to: RunningStack, seconds: float = RAW_S) -> float:
    """Return messages of 1 KB a second with acks=all from one idempotent producer."""
    from shared.topics import Topic, create_topics

    topic = f"bench.raw.{uuid4().hex[:8]}"
    await create_topics(
        to.kafka, to.prefix, extra=[Topic(topic, ("bench",), ())], security=to.security
    )
    try:
        async with producer(to) as out:
            sent, began = 0, time.monotonic()
            while time.monotonic() - began < seconds:
                acks = [
                    await out.send(to.prefix + topic, value=MESSAGE, key=b"%d" % n)
                    for n in range(2000)
                ]
                await asyncio.gather(*acks)
                sent += len(acks)
            return sent / (time.monotonic() - began)
    finally:
        await _delete_topic(to, topic)


async def _delete_topic(to: RunningStack, topic: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=to.kafka, **to.security.options())
    await admin.start()
    try:
        await admin.delete_topics([to.prefix + topic])
    finally:
        await admin.close()


async def raw_postgres(to: RunningStack, seconds: float = RAW_S) -> float:
    """Return rows a second on one connection, 500 rows of an order's size a transaction."""
    table = f"bench_raw_{uuid4().hex[:8]}"
    async with database(to, write=True) as conn:
        await conn.execute(
            f"CREATE TABLE public.{table} (id uuid PRIMARY KEY, state text NOT NULL, doc bytea "
            "NOT NULL)"
        )
        try:
            done, began = 0, time.monotonic()
            while time.monotonic() - began < seconds:
                await conn.execute(
                    f"INSERT INTO public.{table} SELECT * FROM unnest($1::uuid[], $2::text[], "  # noqa: S608
                    "$3::bytea[])",
                    [uuid4() for _ in range(ROWS)],
                    ["placed"] * ROWS,
                    [MESSAGE] * ROWS,
                )
                done += ROWS
            return done / (time.monotonic() - began)
        finally:
            await conn.execute(f"DROP TABLE public.{table}")
