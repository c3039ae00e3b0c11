"""Whatever comes over the line from the bank, a call ends in time and says only what was heard; over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from services.payments.bulks import ALONE_MAX
from services.payments.http_bank import HttpBank
from services.payments.lanes import FAILURES_MAX, PAUSE_MAX_S, pause_of

Speaking = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def item(key: UUID | None = None) -> dict[str, Any]:
    return {
        "key": str(key or uuid4()),
        "reference": "r",
        "amount": "1.00",
        "currency": "CNY",
        "authorisation_no": "A",
    }


def ok(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join(
        [b"HTTP/1.1 200 OK", b"content-length: %d" % len(body), *headers, b"", body]
    )


def answer(*items: dict[str, Any]) -> bytes:
    return ok(
        orjson.dumps(
            {
                "items": [
                    {"key": i["key"], "status": "pending", "reference": i["reference"]}
                    for i in items
                ]
            }
        )
    )


@contextlib.asynccontextmanager
async def speaking(speak: Speaking, *, timeout_s: float = 0.3) -> AsyncIterator[HttpBank]:
    """A bank whose server says what `speak` writes to each request's body."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                await speak(await reader.readexactly(length), writer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    bank = HttpBank(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=timeout_s)
    try:
        yield bank
    finally:
        await bank.close()
        server.close()


def status(code: int, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join(
        [b"HTTP/1.1 %d No" % code, b"content-length: %d" % len(body), *headers, b"", body]
    )


HTML = b"<html><body>back soon</body></html>"
SAID: dict[str, bytes] = {
    "nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "HTML": ok(HTML, b"content-type: text/html"),
    "an empty body": ok(b""),
    "null": ok(b"null"),
    "a list": ok(b"[]"),
    "items null": ok(b'{"items":null}'),
    "items an object": ok(b'{"items":{"0":{}}}'),
    "items a number": ok(b'{"items":1e999999}'),
    "items deep": ok(b'{"items":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "items of none": ok(
        b'{"items":[null,[],1,"x",{},{"key":null},{"key":1},{"key":"x"},{"key":{"a":[null]}}]}'
    ),
    "an empty list": ok(b'{"items":[]}'),
    "half a body": ok(b'{"items":[{"key":"'),
    "a body cut": b'HTTP/1.1 200 OK\r\ncontent-length: 4000\r\n\r\n{"items":[',
    "gzip": ok(b"\x1f\x8b\x08\x00", b"content-encoding: gzip"),
    "UTF-16": ok('{"items":[]}'.encode("utf-16")),
    "two lengths": ok(b'{"items":[]}', b"content-length: 3"),
    "a chunk that is none": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000,
    "TLS": b"\x15\x03\x01\x00\x02\x02\x28",
    "elsewhere": status(307, b"location: http://127.0.0.1:1/v1/captures"),
    "elsewhere with the answer": status(302, b"location: /v1/captures", body=b'{"items":[]}'),
    **{
        f"status {code}": status(code)
        for code in (400, 401, 403, 404, 407, 409, 410, 413, 422, 425, 429, 500, 502, 503, 504, 599)
    },
}


@pytest.mark.parametrize("name", SAID)
async def test_what_is_no_answer_is_as_if_nothing_had_been_heard(name: str) -> None:
    async def speak(_body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(SAID[name])
        await writer.drain()
        writer.close()

    items = [item() for _ in range(3)]
    async with speaking(speak) as bank:
        async with asyncio.timeout(10):
            heard = await bank.send("capture", items)
            asked = await bank.query([UUID(i["key"]) for i in items], "capture")
            records = await bank.find("capture", ["r"])
    assert (heard.answers, heard.poison, asked.answers) == ({}, set(), {})
    assert not any(records.by_reference.values())
    spoken = {i["key"] for i in items} if name in {"an empty list", "items of none"} else set()
    assert (heard.spoken, asked.spoken) == (spoken, spoken)


async def chunks_for_ever(_body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
        await writer.drain()


async def a_byte_at_a_time(_body: bytes, writer: asyncio.StreamWriter) -> None:
    for byte in answer(*(item() for _ in range(20))):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.2)


async def processing_for_ever(_body: bytes, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def silence(_body: bytes, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def reset(_body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize(
    "speak",
    [chunks_for_ever, a_byte_at_a_time, processing_for_ever, silence, reset],
    ids=lambda f: f.__name__,
)
async def test_no_answer_takes_longer_than_four_timeouts(speak: Speaking) -> None:
    async with speaking(speak) as bank:
        began = time.monotonic()
        heard = await bank.send("capture", [item()])
        assert time.monotonic() - began < 8 * 0.3 + 1
    assert (heard.answers, heard.poison, heard.spoken) == ({}, set(), set())


async def test_a_bank_that_is_not_there_is_none() -> None:
    for url in ("http://127.0.0.1:1", "http://no-such-bank.invalid"):
        bank = HttpBank(url, timeout_s=1.0)
        heard = await bank.send("capture", [item()])
        assert not heard.answers
        await bank.close()


@pytest.mark.parametrize("code", [401, 403, 407])
async def test_a_bank_that_refuses_our_own_key_is_left_alone_and_no_item_is_to_blame(
    code: int,
) -> None:
    calls = [0]

    async def speak(body: bytes, writer: asyncio.StreamWriter) -> None:
        calls[0] += 1
        writer.write(answer(*orjson.loads(body)["items"]) if calls[0] == 1 else status(code))

    items = [item() for _ in range(8)]
    async with speaking(speak) as bank:
        await bank.send("capture", items)
        for _ in range(20):
            heard = await bank.send("capture", items)
            assert not heard.poison
            if bank.wait_s("capture"):
                break
        assert bank.wait_s("capture") > 0
        assert calls[0] <= 1 + 2 * FAILURES_MAX * len(items)
        assert bank.wait_s("refund") == 0


async def test_one_item_that_a_filter_forbids_is_found_and_the_others_are_heard() -> None:
    """A filter before the bank answers 403 to any request with one item in it."""
    items = [item() for _ in range(20)]
    poison = items[7]["key"]

    async def speak(body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(
            status(403) if poison.encode() in body else answer(*orjson.loads(body)["items"])
        )

    heard_of: set[UUID] = set()
    found: set[UUID] = set()
    async with speaking(speak) as bank:
        for _ in range(5 + 3 + ALONE_MAX):
            rest = [i for i in items if UUID(i["key"]) not in heard_of]
            heard = await bank.send("capture", rest, again=True)
            heard_of |= heard.answers.keys()
            found |= heard.poison
        assert bank.wait_s("capture") == 0 or len(heard_of) == 19
    assert len(heard_of) == 19
    assert found == {UUID(poison)}


A, B, C = (UUID(int=number) for number in (1, 2, 3))


def told(key: object, **more: object) -> dict[str, object]:
    return {"key": str(key), "status": "pending"} | more


@pytest.mark.parametrize(
    ("items", "heard_of"),
    [
        ([told(B), told(A)], {A, B}),
        ([told(A)], {A}),
        ([told(A), told(B), told(C)], {A, B}),
        ([told(A), told(A), told(B)], {A, B}),
        ([told(A), told(A, status="captured"), told(B)], {B}),
        ([told(A), told(A, code="X"), told(A), told(B)], {B}),
        ([told(A, amount="1e2"), told(B)], {B}),
        ([told(A, amount=1.5), told(B)], {B}),
        ([told(A, amount="12345678901234567.00"), told(B)], {B}),
        ([told(A, amount=12345678901234567), told(B)], {B}),
        ([told(A, amount="-1.00"), told(B)], {B}),
        ([told(A, currency="cny"), told(B)], {B}),
        ([told(A, paid_at=1764500000), told(B)], {B}),
        ([told(A, paid_at="9999-12-31T23:59:59Z"), told(B)], {B}),
        ([told(A, paid_at="2026-11-30T12:00:00"), told(B)], {B}),
        ([told(A, payer=None, amount=None), told(B)], {A, B}),
        ([told(A, payer={"name": None}), told(B)], {B}),
        ([told(A, reference=1), told(B)], {B}),
        ([told(A, status="Captured"), told(B)], {B}),
        ([told(A, status=None), told(B)], {B}),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, set) else str(value),
)
async def test_of_a_bulk_each_answer_is_read_by_itself(
    items: list[dict[str, object]], heard_of: set[UUID]
) -> None:
    async def speak(_body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(orjson.dumps({"items": items})))

    async with speaking(speak) as bank:
        heard = await bank.send("capture", [item(A), item(B)])
    assert set(heard.answers) == heard_of
    assert heard.spoken == {str(A), str(B)}


@pytest.mark.parametrize(
    ("text", "pause_s"),
    [
        ("30", 30.0), ("0", 0.0), (" 30 ", 30.0), ("1000000000", PAUSE_MAX_S), ("9" * 5000, PAUSE_MAX_S), ("-30", None), ("1.5", None),
        ("soon", None), ("", None), ("٣٠", None), ("Mon, 30 Nov 2026 12:00:30 GMT", 30.0), ("Mon, 30 Nov 2026 11:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", PAUSE_MAX_S), ("Fri, 31 Dec 9999 23:59:59 -2359", PAUSE_MAX_S),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0), ("Mon, 30 Nov 2026 12:00:30 +9999", None), ("Mon, 99 Foo 2026 99:99:99 GMT", None),
    ],
)  # fmt: skip
def test_a_pause_is_as_long_as_the_bank_asks_up_to_ten_minutes(
    text: str, pause_s: float | None
) -> None:
    assert pause_of(text, datetime(2026, 11, 30, 12, tzinfo=UTC)) == pause_s
