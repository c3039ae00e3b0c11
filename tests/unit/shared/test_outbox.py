"""What is too large for its topic: nothing of the kind gets into the outbox, and if it does, nobody waits for it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from shared import outbox, topics
from shared.envelope import Outgoing, Record
from shared.errors import Unprocessable
from shared.handler import CUT_BYTES, dead_letter
from shared.kafka import Security
from shared.outbox import Relay, make_producer, pack_headers

HUGE = b'{"note": "' + b"x" * (10 * 1024 * 1024) + b'"}'
TOO_LARGE = Unprocessable("too_large", "a submission has at most 262144 bytes")


def row(number: int, size: int = 4) -> dict[str, Any]:
    key = f"order-{number % 5}".encode()
    return {"id": number, "topic": topics.ORDERS, "key": key, "headers": pack_headers(()), "value": b"x" * size, "sealed": False}


class Table:
    """An outbox, and a pool with one connection to it."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = list(rows)
        self.emptied = asyncio.Event()
        self.left = {r["id"] for r in rows if len(r["value"]) > topics.MESSAGE_BYTES_MAX}

    async def acquire(self) -> Table:
        return self

    async def release(self, _conn: Table) -> None:
        pass

    def terminate(self) -> None:
        pass

    async def fetchval(self, *_: Any) -> bool:
        return True

    async def fetch(self, _sql: str, most: int, without: Sequence[int]) -> list[dict[str, Any]]:
        return [r for r in self.rows if r["id"] not in without][:most]

    async def execute(self, _sql: str, ids: Sequence[int]) -> None:
        self.rows = [r for r in self.rows if r["id"] not in ids]
        if {r["id"] for r in self.rows} == self.left:
            self.emptied.set()

    async def copy_records_to_table(self, *_: Any, **__: Any) -> None:
        raise AssertionError("nothing may be written")


class Broker:
    """A producer whose broker takes batches of MESSAGE_BYTES_MAX at most; counts the values it took."""

    def __init__(self, real: AIOKafkaProducer, took: list[int]) -> None:
        self._real, self._took = real, took

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def partitions_for(self, _topic: str) -> range:
        return range(12)

    def create_batch(self) -> Any:
        return self._real.create_batch()

    async def send_batch(self, batch: Any, _topic: str, *, partition: int) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        if batch.size() > topics.MESSAGE_BYTES_MAX:
            done.set_exception(MessageSizeTooLargeError())
        else:
            self._took.append(batch.record_count())
            done.set_result(None)
        return done


@pytest.mark.parametrize("large", [(0,), (7,), (29,), (0, 1), (5, 20, 21)])
async def test_a_record_the_broker_finds_too_large_stays_alone_and_the_others_pass(large: tuple[int, ...]) -> None:
    table = Table([row(i, topics.MESSAGE_BYTES_MAX + 1 if i in large else 4) for i in range(30)])
    real, took = make_producer("127.0.0.1:1", "p"), list[int]()
    real._closed = True  # never started, so there is nothing to close

    def make(_bootstrap: str, _name: str, _security: Security) -> Any:
        return Broker(real, took)

    relay = asyncio.create_task(Relay("orders", table, "", make=make).run())
    async with asyncio.timeout(30):
        await table.emptied.wait()
    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)
    assert [r["id"] for r in table.rows] == list(large)
    assert sum(took) >= 30 - len(large)


@pytest.mark.parametrize("where", ["value", "key", "headers"])
async def test_a_record_its_topic_would_not_take_does_not_get_into_the_outbox(where: str) -> None:
    much = b"x" * topics.MESSAGE_BYTES_MAX
    record = {
        "value": Outgoing(topics.ORDERS, b"k", much, ()), "key": Outgoing(topics.ORDERS, much, b"", ()),
        "headers": Outgoing(topics.ORDERS, b"k", b"", (("a", much),)),
    }[where]  # fmt: skip
    with pytest.raises(Unprocessable, match=r"orders\.events has 2097") as refused:
        await outbox.append(Table([]), None, [Outgoing(topics.ORDERS, b"k", b"small", ()), record])
    assert refused.value.reason == "too_large"


@pytest.mark.parametrize(
    "record",
    [
        Record("orders.submissions", 3, 5, 0, b"k", HUGE, (("ce_id", b"1"),)),
        Record("orders.submissions", 3, 5, 0, HUGE, b"small", (("ce_id", b"1"),)),
        Record("orders.submissions", 3, 5, 0, b"k", b"small", (("ce_id", b"1"), ("a", HUGE), ("b", b"2"))),
        Record("orders.submissions", 3, 5, 0, b"k", b"small", (("ce_id", b"1"), ("x" * len(HUGE), b""))),
        Record("orders.submissions", 3, 5, 0, b"k", b"small", (("ce_id", b"1"), *(("a", b"1") for _ in range(1_000_000)))),
    ],
    ids=["value", "key", "a header", "the name of a header", "a million headers"],
)
def test_a_dead_letter_too_large_for_its_topic_is_cut_and_says_so(record: Record) -> None:
    letter = dead_letter("orders", record, TOO_LARGE)
    head = dict(letter.headers)
    assert outbox.fits(letter)
    assert letter.value == (record.value or b"")[:CUT_BYTES]
    assert (head["ce_id"], head["dlq_topic"], head["dlq_partition"], head["dlq_offset"]) == (
        b"1",
        b"orders.submissions",
        b"3",
        b"5",
    )
    assert int(head["dlq_bytes"]) == len(record.value or b"")
    assert head["dlq_sha256"].decode() == hashlib.sha256(record.value or b"").hexdigest()


def test_the_largest_record_the_broker_takes_uncompressed_is_a_whole_dead_letter() -> None:
    value = b"x" * topics.MESSAGE_BYTES_MAX
    letter = dead_letter("orders", Record("orders.submissions", 3, 5, 0, b"k", value, ()), TOO_LARGE)
    assert letter.value == value
    assert "dlq_sha256" not in dict(letter.headers)
