"""Whatever stands in a record's headers, it is read or given up, and what goes on is bounded."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.samples import submission
from services.customs import handlers as customs
from services.orders import handlers
from services.payments import handlers as payments
from services.tax import handlers as tax
from shared import topics
from shared.dead_letters import dead_letter
from shared.envelope import Message, Record, traceparent_of
from shared.errors import Unprocessable
from shared.handler import Handler
from shared.outbox import fits, unpack_headers
from shared.sealing import Sealing, ensure_master_keys
from shared.subscriptions import Source, Subscriptions, on

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ORDER = json.dumps(submission("cherries", 1, seed=1)).encode()


@pytest.fixture
def sealing(tmp_path: Path) -> Sealing:
    ensure_master_keys(tmp_path)
    return Sealing.from_dir(tmp_path)


def orders(pool: Any = None, sealing: Any = None) -> Handler:
    return Handler("orders", topics.ORDERS, handlers.SUBSCRIPTIONS, pool, None, sealing=sealing)


def record(value: bytes = ORDER, *headers: tuple[str, bytes], **changes: Any) -> Record:
    return Record(
        topics.SUBMISSIONS,
        0,
        5,
        changes.get("timestamp_ms", 1_700_000_000_000),
        b"k",
        value,
        headers,
    )


@pytest.mark.parametrize(
    "value",
    [
        b"x" * 1_000_000, TRACE + b"-more", TRACE[:-1], TRACE.upper(), b"ff" + TRACE[2:], TRACE.replace(b"-", b"_"), TRACE + b"\n",
        b"00-" + b"0" * 32 + TRACE[35:], b"\xff" * 55, b"",
    ],
)  # fmt: skip
def test_only_a_well_formed_trace_goes_on(value: bytes) -> None:
    assert traceparent_of(value) is None
    (found,) = orders().decode(record(ORDER, ("traceparent", value)))  # type: ignore[misc]
    assert found.traceparent is None
    (found,) = orders().decode(record(ORDER, ("traceparent", TRACE)))  # type: ignore[misc]
    assert found.traceparent == TRACE


async def nothing(*_: Any, **__: Any) -> None:
    """A query nobody needs the answer of."""


class Pool:
    """A database of which every write succeeds, and what was written to the outbox and forgotten of the dead letters."""

    def __init__(self) -> None:
        self.letters: list[dict[str, bytes]] = []
        self.forgotten: list[Any] = []

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Pool]:
        yield self

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield

    async def execute(self, sql: str, *given: Any) -> None:
        if sql.startswith("DELETE FROM dead_letter"):
            self.forgotten += zip(*given, strict=True)

    async def fetch(self, sql: str, *given: Any) -> list[dict[str, Any]]:
        # Every offset stands where a batch here begins.
        return [
            {"topic": topic, "part": part, "next": 5} for topic, part, _ in zip(*given, strict=True)
        ]

    async def fetchval(self, _sql: str, *_given: Any) -> int:
        return 0

    async def copy_records_to_table(self, _table: str, *, columns: Any, records: Any) -> None:
        self.letters += [dict(unpack_headers(headers)) for _topic, _key, headers, *_ in records]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (record(b"junk", ("dlq_origin", b"orders.submissions/0/1")), "malformed"),
        (record(b"junk", ("dlq_replay", b"orders.submissions.dead-letters/0/1")), "malformed"),
        (record(timestamp_ms=-(10**17)), "invalid_value"),
        (record(timestamp_ms=10**17), "invalid_value"),
        (record(timestamp_ms=-1), "invalid_value"),
        (record(timestamp_ms=-(2**63)), "invalid_value"),
    ],
)
async def test_what_stands_around_a_value_makes_a_dead_letter_at_most(
    record: Record, reason: str, sealing: Sealing
) -> None:
    pool = Pool()
    await orders(pool, sealing).handle([record])
    assert [letter["dlq_reason"].decode() for letter in pool.letters] == [reason]
    assert pool.forgotten == []


async def test_a_decoder_with_a_fault_costs_the_record_it_fails_on_and_no_other(
    sealing: Sealing,
) -> None:
    def faulty(record: Record) -> Sequence[Message]:
        if record.offset == 6:
            raise RecursionError("a fault of ours, which quotes 张三")
        raise Unprocessable("malformed", "junk")

    pool = Pool()
    table = Subscriptions(on(Source(topics.SUBMISSIONS, decode=faulty, intake=True), do=nothing))  # type: ignore[arg-type]
    handler = Handler("orders", topics.ORDERS, table, pool, None, sealing=sealing)
    await handler.handle([replace(record(b"junk"), offset=offset) for offset in (5, 6, 7)])
    assert [letter["dlq_reason"] for letter in pool.letters] == [
        b"malformed",
        b"unexpected",
        b"malformed",
    ]
    assert pool.letters[1]["dlq_error"] == b"RecursionError"


NAMES = (
    "ce_type",
    "ce_id",
    "ce_source",
    "ce_specversion",
    "traceparent",
    "dlq_origin",
    "dlq_replay",
    "content-type",
    "n\ufffdme",
)
WORDS = (
    b"order.submitted.v1",
    b"order.cancel-requested.v1",
    b"waybill.issued.v1",
    b"order.placed.v1",
    b"1.0",
    TRACE,
    b"",
    None,
)
IDS = (b"0af76519-16cd-43dd-8448-eb211c80319c", b"orders.submissions/0/1", b"9" * 5_000)
HEADERS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from((*WORDS, *IDS)) | st.binary(max_size=60)),
    max_size=5,
)
VALUES = (
    st.none()
    | st.binary(max_size=60)
    | st.sampled_from([ORDER, b"{}", b"[]", b"null", b"<a/>", ORDER[:-20]])
)
SERVICES = {
    "orders": handlers.SUBSCRIPTIONS,
    "payments": payments.SUBSCRIPTIONS,
    "tax": tax.SUBSCRIPTIONS,
    "customs": customs.SUBSCRIPTIONS,
}
HEARD = [(service, topic) for service, table in SERVICES.items() for topic in table.sources]


@settings(max_examples=500)
@given(
    st.sampled_from(HEARD),
    st.none() | st.binary(max_size=40),
    VALUES,
    HEADERS,
    st.integers(-(2**63), 2**63 - 1),
)
def test_no_record_of_any_topic_crashes_its_reader(
    at: tuple[str, str],
    key: bytes | None,
    value: bytes | None,
    headers: list[tuple[str, Any]],
    timestamp_ms: int,
) -> None:
    service, topic = at
    handler = Handler(service, f"{service}.events", SERVICES[service], None, None, sealing=None)
    made = Record(topic, 0, 5, timestamp_ms, key, value, tuple(headers))
    found = handler.decode(made)
    handler.orders_held_by(made)
    if isinstance(found, Unprocessable):
        assert found.reason != "unexpected"
        assert fits(dead_letter(service, made, found))
