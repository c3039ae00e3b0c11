"""A small service of the tests' own, so that the kernel's promises are shown without any business in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.customs.ceb.sign import ensure_keys
from shared import database, topics
from shared.clock import utc_now
from shared.envelope import Message, Outgoing, Record, headers_of
from shared.errors import Unprocessable
from shared.events.base import Event
from shared.failpoints import Failpoints
from shared.handler import Handler
from shared.sealing import Sealing, ensure_master_keys
from shared.settings import Settings
from shared.subscriptions import EmittedEvent, Outcome, Subscriptions, on


class Counted(Event):
    """Something happened to a tally."""

    type: ClassVar[str] = "test.counted.v1"
    amount: int


class Tallied(Event):
    """The tally moved."""

    type: ClassVar[str] = "test.tallied.v1"
    total: int


@dataclass
class TallyDeps:
    """What the reaction is told to trip over."""

    poison: set[int] = field(default_factory=set)
    error: Callable[[], Exception] = lambda: Unprocessable(
        "invalid_value", "this amount cannot be tallied"
    )
    large: set[int] = field(default_factory=set)
    calls: int = 0


async def tally(conn: Any, batch: Sequence[Message], deps: TallyDeps) -> Outcome:
    """Add each amount to its order's total."""
    deps.calls += 1
    outcome = Outcome()
    for m in batch:
        if m.event.amount in deps.poison:
            raise deps.error()
        row = await conn.fetchrow(
            "INSERT INTO tally AS t (order_id, total, version) VALUES ($1, $2, 1) ON CONFLICT (order_id) DO UPDATE "
            "SET total = t.total + excluded.total, version = t.version + 1 RETURNING total, version",
            m.order_id, m.event.amount,
        )  # fmt: skip
        if m.event.amount in deps.large:
            outcome.records.append(Outgoing(topics.TAX, b"k", b"x" * topics.MESSAGE_BYTES_MAX, ()))
        outcome.facts.append(
            EmittedEvent(
                Tallied(order_id=m.order_id, total=row["total"]), m.event_id, row["version"]
            )
        )
    return outcome


TALLY_SUBSCRIPTIONS = Subscriptions(
    on(topics.ORDERS, Counted, do=tally),
    on(topics.PAYMENTS, Counted, do=tally),
)


def counted(
    order_id: UUID, amount: int, offset: int, *, topic: str = topics.ORDERS, partition: int = 0, event_id: UUID | None = None,
    extra: tuple[tuple[str, bytes], ...] = (),
) -> Record:  # fmt: skip
    """A record as the broker would deliver it."""
    headers = headers_of(
        event_id=event_id or uuid4(), event_type=Counted.type, source="test", at=utc_now()
    )
    event = Counted(order_id=order_id, amount=amount)
    return Record(
        topic,
        partition,
        offset,
        1_700_000_000_000,
        str(order_id).encode(),
        event.to_json(),
        (*headers, *extra),
    )


@pytest.fixture(scope="session")
def sealing(tmp_path_factory: pytest.TempPathFactory) -> Sealing:
    keys: Path = tmp_path_factory.mktemp("keys")
    ensure_master_keys(keys)
    return Sealing.from_dir(keys)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the master keys and the declarant's signing keys."""
    folder = tmp_path_factory.mktemp("all-keys")
    ensure_master_keys(folder)
    ensure_keys(folder)
    return folder


@pytest.fixture
async def tally_pool(database: str) -> AsyncIterator[Any]:
    """A pool on the schema of `tax` with one more table, for the tally."""
    conn = await asyncpg.connect(database)
    await conn.execute(
        "CREATE TABLE tax.tally (order_id uuid PRIMARY KEY, total bigint NOT NULL CHECK (total < 1000000), version int NOT NULL);"
        "GRANT ALL ON tax.tally TO crossborder_tax"
    )
    await conn.close()
    pool = await _pool(database)
    yield pool
    pool.terminate()


async def _pool(dsn: str) -> Any:
    from shared.database import connect_pool

    return await connect_pool(Settings(postgres=dsn), "tax")


@pytest.fixture
def tally_handler(tally_pool: Any, sealing: Sealing) -> Callable[..., Handler]:
    """Makes handlers of the tally service."""

    def make(deps: TallyDeps | None = None, points: Failpoints | None = None) -> Handler:
        return Handler(
            "tax",
            topics.TAX,
            TALLY_SUBSCRIPTIONS,
            tally_pool,
            deps or TallyDeps(),
            sealing=sealing,
            failpoints=points,
        )

    return make


async def offsets_begin(pool: Any, *partitions: tuple[str, int]) -> None:
    """What an assignment does first."""
    from shared import inbox

    async with pool.acquire() as conn:
        await inbox.known_offsets(conn, dict.fromkeys(partitions, 0))


async def snapshot(pool: Any) -> dict[str, Any]:
    """Everything the service has in its tables, to compare before and after."""
    async with pool.acquire() as conn:
        tables = await conn.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1",
        )
        return {
            t["tablename"]: sorted(map(repr, await conn.fetch(f'SELECT * FROM "{t["tablename"]}"')))
            for t in tables
        }


__all__ = ["database"]
