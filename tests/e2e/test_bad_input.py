"""Whatever is written to the intake, it is refused with reasons or becomes a dead letter.

A good order behind it passes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from deploy.samples import submission
from services.cli import topic_reader
from services.orders.intake.strict_json import JSON_BYTES_MAX
from shared.envelope import Record
from shared.topics import MESSAGE_BYTES_MAX, SUBMISSIONS, dead_letters_of
from tests.e2e.conftest import Running

BOUND_S: Final = 40.0
DLQ_HEADERS: Final = {
    "dlq_reason",
    "dlq_error",
    "dlq_service",
    "dlq_topic",
    "dlq_partition",
    "dlq_offset",
    "dlq_attempts",
    "dlq_at",
}
CEB: Final = 'xmlns="http://www.chinaport.gov.cn/ceb"'
BOMB: Final = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + "".join(
        f'<!ENTITY {name} "{f"&{inner};" * 10}">'
        for inner, name in zip("acdefghi", "cdefghij", strict=True)
    )
    + f"]><CEB311Message {CEB}><Order><OrderHead><orderNo>&j;</orderNo></OrderHead></Order>"
    + "</CEB311Message>"
)
EXTERNAL: Final = (
    f'<!DOCTYPE b [<!ENTITY x SYSTEM "file:///etc/passwd">]><CEB311Message {CEB}><Order><OrderHead>'
    "<orderNo>&x;</orderNo></OrderHead></Order></CEB311Message>"
)


AT: Final = datetime.now(UTC) - timedelta(hours=1)


def order(number: int) -> dict[str, Any]:
    return submission("cherries", number, seed=11, prefix="BAD", at=AT)


def json_of(made: dict[str, Any]) -> bytes:
    return json.dumps(made, ensure_ascii=False).encode()


LETTERS: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "cut off": ("malformed", lambda: json_of(order(1))[:-50]),
    "empty": ("malformed", lambda: b""),
    "not a document": ("unknown_shape", lambda: b"[1, 2, 3]"),
    "a word": ("malformed", lambda: b"order please"),
    "nobody named": ("invalid_value", lambda: json_of({**order(1), "order_no": None})),
    "nested without end": ("malformed", lambda: b'{"a":' * 40_000),
    "brackets without end": ("malformed", lambda: b"[" * 200_000),
    "a number without end": ("malformed", lambda: b'{"order_no": ' + b"9" * 200_000 + b"}"),
    "not a number": (
        "malformed",
        lambda: json_of(order(1)).replace(b'"204', b"NaN")[:-1] + b', "x": NaN}',
    ),
    "a name twice": ("malformed", lambda: json_of(order(1))[:-1] + b', "currency": "USD"}'),
    "half a surrogate pair": ("malformed", lambda: json_of(order(1))[:-1] + b', "x": "\\ud800"}'),
    "UTF-16": ("malformed", lambda: json.dumps(order(1)).encode("utf-16")),
    "GB18030": ("malformed", lambda: json.dumps(order(1), ensure_ascii=False).encode("gb18030")),
    "bytes": ("malformed", lambda: bytes(range(256)) * 8),
    "too large": ("too_large", lambda: json_of({**order(1), "note": "x" * 300_000})),
    "as large as the broker takes": (
        "too_large",
        lambda: b'{"note": "' + b"x" * (MESSAGE_BYTES_MAX - 140),
    ),
    "an entity bomb": ("malformed", BOMB.encode),
    "an external entity": ("malformed", EXTERNAL.encode),
    "XML in another encoding": (
        "malformed",
        lambda: f'<?xml version="1.0" encoding="GBK"?><CEB311Message {CEB}/>'.encode("gbk"),
    ),
    "XML of another kind": ("unknown_shape", f"<CEB621Message {CEB}/>".encode),
    "XML cut off": ("malformed", f"<CEB311Message {CEB}><Order>".encode),
    "XML too large": (
        "too_large",
        f"<CEB311Message {CEB}>{' ' * 1_100_000}</CEB311Message>".encode,
    ),
}
REFUSED: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "an amount that is a number": ("amount_paid", {"amount_paid": 204.1}),
    "an amount in words": ("goods_value", {"goods_value": "a lot"}),
    "a negative amount": ("freight", {"freight": "-20.00"}),
    "an absurd amount": ("amount_paid", {"amount_paid": "99999999999999"}),
    "an amount without end": ("goods_value", {"goods_value": "9" * 400}),
    "infinity": ("goods_value", {"goods_value": "Infinity"}),
    "a part of a fen": ("freight", {"freight": "20.001"}),
    "another number for a text": ("currency", {"currency": 156}),
    "lines that are none": ("lines", {"lines": {}}),
    "no lines": ("lines", {"lines": []}),
    "lines without end": ("lines", {"lines": [{}] * 5_000}),
    "a direction that is none": ("direction", {"direction": "sideways"}),
    "a mode that is none": ("mode", {"mode": "1234"}),
    "a country that is none": (
        "merchant.country",
        {"merchant": {"code": "46016602EV", "name": "M", "country": "XX"}},
    ),
    "a currency that is none": ("currency", {"currency": "XYZ"}),
    "a date in 2099": ("placed_at", {"placed_at": "2099-01-01T00:00:00+08:00"}),
    "a date that is none": ("placed_at", {"placed_at": "2026-02-30T00:00:00+08:00"}),
    "a time without offset": ("placed_at", {"placed_at": "2026-11-23T09:00:00"}),
    "nobody who buys": ("buyer", {"buyer": None}),
    "true for a buyer": ("buyer", {"buyer": True}),
    "nothing but a name": ("platform.name", {"platform": {"code": "1105910159", "name": "\x00"}}),
}


async def letters(stack: Running) -> dict[str, Record]:
    """The dead letters of the intake by key."""
    return {
        (r.key or b"").decode(): r
        async for r in topic_reader.read(stack.target, [dead_letters_of(SUBMISSIONS)])
    }


async def publish_all(stack: Running, good: dict[str, Any]) -> None:
    """Every bad record, and behind each on its own partition a good order with the same key."""
    records: list[tuple[bytes | None, bytes, tuple[tuple[str, bytes], ...]]] = []
    for i, (name, (_, value)) in enumerate(LETTERS.items()):
        records.append((name.encode(), value(), ()))
        behind = order(100 + i)
        good[behind["order_no"]] = behind
        records.append((name.encode(), json_of(behind), ()))
    for i, (name, (_, changes)) in enumerate(REFUSED.items()):
        records.append((name.encode(), json_of({**order(200 + i), **changes}), ()))
    await stack.publish(SUBMISSIONS, *records)


async def test_bad_input_is_refused_or_set_aside_and_good_orders_behind_it_pass(
    stack: Running,
) -> None:
    good: dict[str, Any] = {}
    await publish_all(stack, good)
    refused = {order(200 + i)["order_no"]: field for i, (field, _) in enumerate(REFUSED.values())}
    deadline = time.monotonic() + BOUND_S
    states: dict[str, Any] = {}
    while time.monotonic() < deadline:
        rows = await stack.fetch(
            "SELECT order_no, state, doc FROM orders.orders WHERE order_no LIKE 'BAD-%'"
        )
        states = {row["order_no"]: row for row in rows}
        if set(states) == set(good) | set(refused) and {states[no]["state"] for no in good} == {
            "fulfilled"
        }:
            break
        await asyncio.sleep(0.2)
    assert {no: states.get(no) and states[no]["state"] for no in good} == dict.fromkeys(
        good, "fulfilled"
    )
    for no, field in refused.items():
        faults = json.loads(states[no]["doc"])["faults"]
        assert states[no]["state"] == "rejected"
        assert field in {fault["field"] for fault in faults}, (no, faults)
        assert all(fault["rule"] and fault["expected"] for fault in faults)
    found = await letters(stack)
    for name, (reason, value) in LETTERS.items():
        head = dict(found[name].headers)
        assert set(head) >= DLQ_HEADERS, name
        assert head["dlq_reason"].decode() == reason, (name, head["dlq_error"])
        assert head["dlq_topic"] == SUBMISSIONS.encode()
        assert found[name].value == value(), name
    assert set(stack.restarts().values()) == {0}


async def test_a_record_beyond_the_limit_is_refused_by_the_producer_and_by_the_broker(
    stack: Running, tmp_path: Path
) -> None:
    value = b"x" * (10 * 1024 * 1024)
    for limit in (MESSAGE_BYTES_MAX, 20 * 1024 * 1024):
        producer = AIOKafkaProducer(bootstrap_servers=stack.bootstrap, max_request_size=limit)
        await producer.start()
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(SUBMISSIONS, value, b"huge")
        await producer.stop()
    file = tmp_path / "huge.jsonl"
    file.write_bytes(json_of({**order(1), "note": value.decode()}))
    status, out, err = await stack.command("publish", "--file", str(file))
    assert (status, out) == (2, "")
    assert f"at most {JSON_BYTES_MAX} bytes" in err


async def test_a_batch_that_unpacks_to_far_too_much_costs_nothing_but_itself(
    stack: Running,
) -> None:
    bomb = {
        "bootstrap_servers": stack.bootstrap,
        "compression_type": "zstd",
        "max_request_size": 2**28,
    }
    producer = AIOKafkaProducer(acks="all", **bomb)
    await producer.start()
    try:
        await producer.send_and_wait(
            SUBMISSIONS, b'{"note": "' + b"x" * (200 * 1024 * 1024), b"bomb"
        )
    finally:
        await producer.stop()
    behind = order(300)
    await stack.publish(SUBMISSIONS, (b"bomb", json_of(behind), ()))
    deadline = time.monotonic() + BOUND_S
    rows: list[Any] = []
    while time.monotonic() < deadline and not rows:
        await asyncio.sleep(0.2)
        rows = await stack.fetch(
            "SELECT 1 FROM orders.orders WHERE order_no = $1 AND state = 'fulfilled'",
            behind["order_no"],
        )
    assert rows
    told = [
        dict(letter.headers)
        async for letter in topic_reader.read(stack.target, [dead_letters_of(SUBMISSIONS)])
    ]
    assert [
        head["dlq_reason"]
        for head in told
        if head["dlq_error"].startswith(b"send fewer records in one batch")
    ] == [b"too_large"]
    assert set(stack.restarts().values()) == {0}
