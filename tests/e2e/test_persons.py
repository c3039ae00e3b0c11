"""Canary persons are in orders of every kind; inside, nobody finds them anywhere.

In clear they are where an outside party writes or reads them: the intake and the wire to carrier
and authority, which have short retention and access of their own, and the dead letters of these.
The sandboxes' files are the outside parties' own: a bank knows its payers. Everything else is
searched: topics, tables, logs, metrics and what the commands show.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import aiohttp
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from sandbox.authority.receipts import messages_of, receipt_of
from services.cli import topic_reader
from services.customs.domain.numbers import cop_no_of
from shared.clock import utc_now
from shared.envelope import headers_of
from shared.identity import order_id_of
from shared.topics import DECLARATIONS, RECEIPTS, SUBMISSIONS, TOPICS, WAYBILLS, dead_letters_of
from tests.e2e.canaries import (
    BROKEN,
    MARKS,
    NAME,
    PHONE,
    POSTCODE,
    Canaries,
    broken,
    ceb311,
    needles,
    seen_in,
)
from tests.e2e.conftest import Running

OUTSIDE: Final = {
    name
    for topic in (SUBMISSIONS, WAYBILLS, DECLARATIONS, RECEIPTS)
    for name in (topic, dead_letters_of(topic))
}
ENDS_S: Final = 60.0
SUBMITTED, CANCEL, RETURN = "order.submitted.v1", "order.cancel-requested.v1", "return.requested.v1"

CUTS: Final[tuple[Callable[[bytes], bytes], ...]] = (
    lambda value: value[:-30],
    lambda value: value.replace(b"\xe9", b"\xff"),
    lambda value: b"<!DOCTYPE x>" + value,
)
"""Ways to make a record that nobody can read."""


@dataclass
class Published:
    """What was published: each order's number and right end, and every canary."""

    stack: Running
    canaries: Canaries = field(default_factory=Canaries)
    ends: dict[str, str] = field(default_factory=dict)

    async def submit(self, made: dict[str, Any], end: str, value: bytes | None = None) -> None:
        if end:
            self.ends[made["order_no"]] = end
        await self.publish(
            made["order_no"],
            value or json.dumps(made, ensure_ascii=self._is_odd()).encode(),
            SUBMITTED,
        )

    def _is_odd(self) -> bool:
        return len(self.ends) % 2 == 1

    async def ask(self, made: dict[str, Any], wire_type: str, reason: str, end: str) -> None:
        self.ends[made["order_no"]] = end
        asked = {"platform": made["platform"], "order_no": made["order_no"], "reason": reason}
        await self.publish(made["order_no"], json.dumps(asked).encode(), wire_type)

    async def publish(self, key: str, value: bytes, wire_type: str) -> None:
        headers = headers_of(event_id=uuid4(), event_type=wire_type, source="shop", at=utc_now())
        await self.stack.publish(
            WAYBILLS if wire_type.startswith("waybill") else SUBMISSIONS,
            (key.encode(), value, headers),
        )

    async def come_to_their_ends(self) -> None:
        deadline = time.monotonic() + ENDS_S
        while wrong := await self.wrong():
            assert time.monotonic() < deadline, wrong
            await asyncio.sleep(0.2)

    async def wrong(self) -> dict[str, Any]:
        rows = await self.stack.fetch(
            "SELECT order_no, state FROM orders.orders WHERE order_no = ANY($1)", list(self.ends)
        )
        states = {row["order_no"]: row["state"] for row in rows}
        return {no: states.get(no) for no, end in self.ends.items() if states.get(no) != end}


async def _publish_first(p: Published) -> None:
    """Orders of every kind, all at once."""
    order, canaries = p.canaries.order, p.canaries
    await p.submit(order(), "fulfilled")
    await p.submit(order("toys_us"), "fulfilled")
    await p.submit(order("lotion", marker="return"), "fulfilled")
    for how in (
        {"payer": True},
        {"token": "tok_declined"},
        {"token": "tok_other_payer"},
        {"marker": "badway"},
        {"marker": "reject"},
    ):
        await p.submit(order(**how), "rejected")
    for field_, breaks in BROKEN.values():
        await p.submit(broken(order(), field_, breaks), "rejected")
    await p.submit(
        order() | {"nickname": canaries.person()["name"], canaries.person()["name"]: 1}, "fulfilled"
    )
    xml, bad_xml = order(), broken(order(), "buyer.id_number", lambda value: value[:-1] + "?")
    await p.submit(xml, "fulfilled", ceb311(xml))
    await p.submit(bad_xml, "rejected", ceb311(bad_xml))
    for cut in CUTS:
        bad = order()
        await p.submit(bad, "", cut(json.dumps(bad, ensure_ascii=False).encode()))
    again = order()
    await p.submit(again, "fulfilled")
    await p.submit(again | {"consignee": order()["consignee"]}, "fulfilled")


async def _publish_more(p: Published) -> None:
    """What is asked and said of orders that are there already."""
    cancelled, returned, refused = (
        p.canaries.order(marker="lost"),
        p.canaries.order(),
        p.canaries.order(marker="silent"),
    )
    await p.submit(cancelled, "placed")
    await p.submit(returned, "fulfilled")
    await p.submit(refused, "lodged")
    await p.come_to_their_ends()
    await p.ask(cancelled, CANCEL, f"{cancelled['buyer']['id_number']} asked for it", "cancelled")
    to, buyer = returned["consignee"], returned["buyer"]
    await p.ask(
        returned,
        RETURN,
        f"{buyer['name']} (+86{buyer['phone']}) of {to['address']} says it is not sweet",
        "returned",
    )
    order_id = order_id_of(refused["platform"]["code"], refused["order_no"])
    text = f"[Code:99;Desc:订购人{refused['buyer']['name']}与{refused['buyer']['id_number']}不匹配]"
    fields = {"copNo": cop_no_of(order_id), "preNo": "B20261123000000001", "customsCode": "2244"}
    receipt = receipt_of("list", "621", "A" * 36, fields, 100, text, time.time())
    for record in messages_of(RECEIPTS, [receipt], time.time()):
        await p.stack.publish(RECEIPTS, (record.key, record.value, record.headers))
    p.ends[refused["order_no"]] = "rejected"
    # A waybill that cannot be read, with somebody's address in it.
    waybill = {
        "order_id": str(order_id),
        "consignee": p.canaries.order()["consignee"] | {"country": p.canaries.person()["name"]},
    }
    await p.publish(str(order_id), json.dumps(waybill).encode(), "waybill.issued.v1")
    await p.come_to_their_ends()


@pytest.fixture(scope="module")
async def published(stack: Running) -> AsyncIterator[Published]:
    p = Published(stack)
    await _publish_first(p)
    await _publish_more(p)
    yield p
    assert set(stack.restarts().values()) == {0}


async def topic_bytes(stack: Running, names: list[str]) -> dict[str, bytes]:
    """Each topic's records, with their keys and headers, in one piece."""
    found: dict[str, bytearray] = {name: bytearray() for name in names}
    async for r in topic_reader.read(stack.target, names):
        parts = [
            r.key or b"",
            r.value or b"",
            *(part for name, value in r.headers for part in (name.encode(), value)),
        ]
        found[r.topic] += b"\0".join(parts) + b"\0"
    return {name: bytes(text) for name, text in found.items()}


def test_every_form_of_a_canary_is_found() -> None:
    forms = [form for mark in MARKS for form in needles(mark)]
    assert min(map(len, forms)) >= 6
    for text in (f"司马{NAME}甲", f"{PHONE}07"):
        for form in (
            text.encode(),
            json.dumps(text).encode(),
            text.encode().hex().encode(),
            repr(text.encode()).encode(),
        ):
            assert seen_in(b"before " + form + b" after")
        for before in range(3):
            assert seen_in(base64.b64encode(b"x" * before + text.encode() + b" after"))
    assert seen_in(f'"{POSTCODE}"'.encode()) == {POSTCODE}
    assert seen_in(f"0.{POSTCODE} a{POSTCODE} {POSTCODE}7".encode()) == set()


async def test_canaries_are_found_where_they_may_be(published: Published) -> None:
    assert {topic.name for topic in TOPICS if topic.personal} == OUTSIDE
    found = await topic_bytes(published.stack, sorted(OUTSIDE))
    intake = found[SUBMISSIONS]
    missing = {
        v
        for v in published.canaries.values
        if v.encode() not in intake and json.dumps(v)[1:-1].encode() not in intake
    }
    assert len(missing) <= len(published.canaries.values) // 4, (
        "the rest stands in XML, cut off, or in waybills"
    )
    for topic in (SUBMISSIONS, WAYBILLS, DECLARATIONS):
        assert seen_in(found[topic]) >= {NAME, PHONE}, topic


async def test_no_topic_inside_has_a_canary(published: Published) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=published.stack.bootstrap)
    await admin.start()
    there = set(await admin.list_topics())
    await admin.close()
    found = await topic_bytes(published.stack, sorted(there - OUTSIDE))
    assert len(found["orders.events"]) > 10_000
    assert {topic: seen for topic, text in found.items() if (seen := seen_in(text))} == {}


async def test_no_table_has_a_canary(published: Published) -> None:
    tables = await published.stack.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname NOT "
        "IN ('pg_catalog', 'information_schema')"
    )
    assert {row["name"].split(".")[0] for row in tables} >= {
        "orders",
        "payments",
        "tax",
        "customs",
        "vault",
    }
    found = {}
    for (name,) in tables:
        rows = await published.stack.fetch(f"SELECT * FROM {name}")
        text = b"\0".join(
            value if isinstance(value, bytes) else str(value).encode()
            for row in rows
            for value in row.values()
        )
        if seen := seen_in(text):
            found[name] = seen
    assert found == {}


async def test_no_row_deleted_since_had_a_canary(published: Published) -> None:
    """The write-ahead log has what instructions, outboxes and parked records were while they
    waited.
    """
    await published.stack.fetch("CHECKPOINT")
    files = [
        path for path in (published.stack.home / "postgres").rglob("pg_wal/*") if path.is_file()
    ]
    assert files
    assert {
        path.name: seen for path in files if (seen := seen_in(path.read_bytes()) - {POSTCODE})
    } == {}


async def test_no_log_has_a_canary(published: Published) -> None:
    files = [path for path in (published.stack.home / "logs").rglob("*") if path.is_file()]
    assert {path.stem for path in files} >= {
        "orders",
        "payments",
        "tax",
        "customs",
        "streams",
        "sandbox",
        "kafka",
        "postgres",
    }
    assert any("record given up" in path.read_text() for path in files)
    assert {path.name: seen for path in files if (seen := seen_in(path.read_bytes()))} == {}


async def test_no_metric_has_a_canary(published: Published) -> None:
    found = {}
    async with aiohttp.ClientSession() as session:
        for name in published.stack.stack.programs:
            async with session.get(
                f"http://127.0.0.1:{published.stack.ports[name]}/metrics"
            ) as answer:
                text = await answer.read()
                assert b"crossborder_" in text
                if seen := seen_in(text):
                    found[name] = seen
    assert found == {}


async def test_no_command_shows_a_canary(published: Published) -> None:
    from services.cli.connect import _plain
    from services.cli.order import app as order_app

    for no in published.ends:
        shown = json.dumps(
            await order_app._show(published.stack.target, no), default=_plain, ensure_ascii=False
        )
        assert seen_in(shown.encode()) == set(), no
    rejected = next(no for no, end in published.ends.items() if end == "rejected")
    commands = (
        ["order", "show", rejected],
        ["order", "show", rejected, "--json"],
        ["dlq", "list", "--json"],
        ["order", "list", "--json"],
    )
    for status, out, err in await asyncio.gather(
        *(published.stack.command(*words) for words in commands)
    ):
        assert status == 0
        assert len(out) > 100
        assert seen_in(out.encode() + err.encode()) == set()
