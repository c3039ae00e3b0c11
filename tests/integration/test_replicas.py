"""Two replicas of a real service on a real broker: what one order or one person may have once, they have once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from sandbox.authority.messages import read_message
from services.customs.app import CustomsSettings
from services.customs.app import wire as wire_customs
from services.tax.app import TaxSettings
from services.tax.app import wire as wire_tax
from shared import topics
from shared.database import connect_pool
from shared.envelope import Record, headers_of
from shared.events.orders import Line, OrderPlaced, Party
from shared.events.persons import SealedConsignee, SealedPerson
from shared.money import Money
from shared.service import Service, Wire
from shared.settings import Settings
from shared.subscriptions import EmittedEvent
from tests.integration.test_delivery import publish, read_all, until
from tests.integration.test_reactions import DOCUMENTS, STORIES, Cast
from tests.integration.world import Channel, World, opened

LIMIT_FEN: Final = 26_000_00


@pytest.fixture
async def named_topics(kafka: str, topic_prefix: str) -> str:
    await topics.create_topics(kafka, topic_prefix, partitions=4)
    return topic_prefix


@contextlib.asynccontextmanager
async def two_replicas(
    role: str, wire: Wire, settings: Callable[[int], Settings]
) -> AsyncIterator[list[list[EmittedEvent]]]:
    """Both run and have partitions; yields what each has announced."""
    said: list[list[EmittedEvent]] = [[], []]
    async with contextlib.AsyncExitStack() as stack:
        services = []
        for number in range(2):
            own = settings(number)
            pool = await connect_pool(own, role)
            stack.callback(pool.terminate)
            wiring = replace(await wire(own, pool), observe=said[number].extend)
            services.append(Service(wiring, own, pool))
        stop = asyncio.Event()
        running = [asyncio.create_task(service.run(stop)) for service in services]
        try:
            await asyncio.gather(*(service.consumer.ready.wait() for service in services))
            yield said
        finally:
            stop.set()
            await asyncio.gather(*running)


def placed(person: SealedPerson, fen: int) -> OrderPlaced:
    """An import of one bottle at this price, without freight."""
    value, none = Money(fen, "CNY"), Money.zero("CNY")
    line = Line(
        line_no=1, sku="W", name="Wine", hs_code="2204210000", origin="FR", quantity=Decimal(1), unit="bottle",
        net_weight_kg=Decimal("0.75"),
        unit_price=value.major, total=value,
    )  # fmt: skip
    consignee = SealedConsignee(
        person_ref=person.person_ref,
        sealed=b"",
        country="CN",
        name_digest="n",
        phone_digest="p",
        address_digest="a",
    )
    return OrderPlaced(
        order_id=uuid4(), order_no="Q-1", placed_at=datetime(2026, 11, 23, tzinfo=UTC), direction="import", mode="9610",
        corridor="FR-CN", platform=Party(code="1105910159", name="P"), merchant=Party(code="46016602EV", name="M"), buyer=person,
        payer=person, consignee=consignee, payment_enterprise="440316T004", payment_token="tok_ok", currency="CNY", lines=(line,),
        goods_value=value, freight=none, insurance=none, discount=none, tax_withheld=none, amount_paid=value,
    )  # fmt: skip


async def rows(dsn: str, query: str) -> list[Any]:
    conn = await asyncpg.connect(dsn)
    try:
        return list(await conn.fetch(query))
    finally:
        await conn.close()


async def test_a_thousand_orders_of_one_person_at_two_replicas_use_the_yearly_quota_to_the_last_that_fits(
    kafka: str, named_topics: str, database: str, keys: Path
) -> None:
    chance = random.Random(5)
    person = SealedPerson(
        person_ref=uuid4(), sealed=b"", id_type="1", name_digest="n", id_digest="i"
    )
    orders = [placed(person, chance.randrange(1, 400_00)) for _ in range(1000)]
    records = [
        Record(
            topics.ORDERS, 0, 0, 0, str(order.order_id).encode(), order.to_json(),
            headers_of(event_id=uuid4(), event_type=order.type, source="test", at=datetime.now(UTC), version=1),
        )
        for order in orders
    ]  # fmt: skip

    def settings(number: int) -> Settings:
        # Small batches, so that the replicas meet at the person's row as often as can be.
        return TaxSettings(
            kafka=kafka,
            postgres=database,
            topic_prefix=named_topics,
            keys=keys,
            replica=number,
            batch_records=10,
        )

    async with two_replicas("tax", wire_tax, settings) as said:
        await publish(kafka, named_topics + topics.ORDERS, records)

        async def decided() -> bool:
            return len(said[0]) + len(said[1]) >= len(orders)

        await until(decided)
    assert min(len(facts) for facts in said) > 100, "one replica did it all"
    value = {order.order_id: order.goods_value.minor for order in orders}
    cases = await rows(database, "SELECT order_id, state, reserved_minor FROM tax.tax_case")
    assert Counter(case["state"] for case in cases).keys() == {"assessed", "refused"}
    assert {
        case["order_id"]: case["reserved_minor"] for case in cases if case["state"] == "assessed"
    } == {
        case["order_id"]: value[case["order_id"]] for case in cases if case["state"] == "assessed"
    }
    (quota,) = await rows(database, "SELECT reserved_minor, posted_minor FROM tax.quota")
    used = sum(case["reserved_minor"] for case in cases)
    assert (quota["reserved_minor"], quota["posted_minor"]) == (used, 0)
    assert used <= LIMIT_FEN
    # Nothing was given back, so what fits now would have fitted whenever it was refused.
    assert [
        fen
        for case in cases
        if case["state"] == "refused" and (fen := value[case["order_id"]]) <= LIMIT_FEN - used
    ] == []


async def documents_of(dsn: str, keys: Path, orders: int) -> list[tuple[str, Record]]:
    """The four documents of each of so many orders, as the real services and the carrier make them."""
    kept: dict[tuple[UUID, str], tuple[str, Record]] = {}

    async def keep(world: World, channel: Channel, records: list[Record]) -> None:
        if channel[0] != "customs":
            await world.handle(channel, records)
            return
        for record in records:
            for m in world.decoded(channel, record):
                kept[m.order_id, m.type] = (channel[1], record)

    async with opened(dsn, keys, keep) as world:
        cast = Cast(world)
        cast.submit([STORIES["released"], STORIES["exported"]] * (orders // 2))
        await world.settle_down()
    return list(kept.values())


def shuffled(found: Sequence[tuple[str, Record]]) -> list[tuple[str, Record]]:
    return random.Random(9).sample(found, len(found))


async def test_documents_in_any_order_at_two_replicas_make_each_order_one_list(
    kafka: str, named_topics: str, database: str, keys: Path
) -> None:
    documents = await documents_of(database, keys, 300)
    assert len(documents) == 300 * len(DOCUMENTS)

    def settings(number: int) -> Settings:
        return CustomsSettings(
            kafka=kafka,
            postgres=database,
            topic_prefix=named_topics,
            keys=keys,
            replica=number,
            batch_records=20,
        )

    async with two_replicas("customs", wire_customs, settings) as said:
        for start in range(0, len(documents), 100):
            by_topic: dict[str, list[Record]] = {}
            for topic, record in shuffled(documents)[start : start + 100]:
                by_topic.setdefault(topic, []).append(record)
            for topic, found in by_topic.items():
                await publish(kafka, named_topics + topic, found)

        async def lodged() -> bool:
            left = (
                "SELECT (SELECT count(*) FROM customs.declaration WHERE state = 'lodged') AS lodged, "
                "(SELECT count(*) FROM customs.outbox) AS pending"
            )
            (found,) = await rows(database, left)
            return (found["lodged"], found["pending"]) == (300, 0)

        await until(lodged)
    declared = Counter(
        document.head["orderNo"]
        for record in await read_all(kafka, named_topics + topics.DECLARATIONS)
        for document in read_message(record.value).documents
    )
    assert (len(declared), set(declared.values())) == (300, {1})
    facts = [fact.event for facts in said for fact in facts]
    assert {(fact.type, getattr(fact, "attempt", 0)) for fact in facts} <= {
        ("customs.list-lodged.v1", 1)
    }
    handled = await rows(
        database,
        "SELECT topic, part FROM customs.consumer_offset WHERE next > 0 AND topic = 'orders.events'",
    )
    assert len(handled) == 4
