"""A principal is bound to its platforms: who has a key speaks for itself alone, and operators by the database."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.samples import submission
from shared import requests, topics
from shared.envelope import Outgoing, Record, first_headers
from shared.handler import pack_record
from shared.parties import sign
from tests.integration.test_reactions import CANCEL, RETURN, SUBMITTED, shop_record
from tests.integration.world import World, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHOP, STRANGER, CARRIER = (Ed25519PrivateKey.generate() for _ in range(3))
LETTERS = topics.dead_letters_of(topics.SUBMISSIONS)


@pytest.fixture
async def world(database: str, keys: Path) -> AsyncIterator[World]:
    async with opened(database, keys) as made:
        yield made


async def bind(world: World, service: str, code: str, key: Ed25519PrivateKey) -> None:
    """What `crossborder access party add` does."""
    await world.admin.execute(
        f"INSERT INTO {service}.party_key (code, public_key, added_by) VALUES ($1, $2, 'an operator')",
        code, key.public_key().public_bytes_raw(),
    )  # fmt: skip


def order(number: int) -> dict[str, Any]:
    return submission("cherries", number, seed=7, prefix="P", at=datetime.now(UTC) - timedelta(hours=2), person=number)


def signed(record: Outgoing, key: Ed25519PrivateKey) -> Outgoing:
    event_type = first_headers(record.headers)["ce_type"]
    return record._replace(headers=(*record.headers, sign(key, event_type, record.value)))


async def said(world: World, record: Outgoing) -> None:
    world.publish(record.topic, [record])
    await world.settle_down()


async def reasons(world: World, letters: str = LETTERS) -> list[str]:
    return [first_headers(r.headers)["dlq_reason"].decode() for r in world.log[letters]]


async def test_a_stranger_calls_off_no_order_of_a_bound_platform(world: World) -> None:
    mine = order(1)
    await bind(world, "orders", mine["platform"]["code"], SHOP)
    await said(world, signed(shop_record(mine["order_no"], mine, SUBMITTED), SHOP))
    assert await world.states() == {mine["order_no"]: "fulfilled"}
    asked = {"platform": mine["platform"], "order_no": mine["order_no"], "reason": "buyer_request"}
    for kind in (CANCEL, RETURN):
        await said(world, shop_record("x", asked, kind))
        await said(world, signed(shop_record("x", asked, kind), STRANGER))
    world.clock.now += 20
    await world.settle_down()
    assert await world.states() == {mine["order_no"]: "fulfilled"}
    assert await reasons(world) == ["signature"] * 4
    assert not world.bank.file.db.execute("SELECT sum(minor) FROM movement WHERE kind = 'refund'").fetchone()[0]
    await said(world, signed(shop_record("x", asked, RETURN), SHOP))
    world.clock.now += 20
    await world.settle_down()
    assert await world.states() == {mine["order_no"]: "returned"}
    assert await world.broken() == {}


async def test_an_order_in_the_name_of_a_bound_platform_is_none_however_its_code_is_spelt(world: World) -> None:
    mine = order(1)
    code = mine["platform"]["code"]
    await bind(world, "orders", code, SHOP)
    for n, spelt in enumerate((code, f" {code} ", f"{code[0]}\u200b{code[1:]}", code.translate(FULL_WIDTH)), 2):
        forged = order(n) | {"platform": mine["platform"] | {"code": spelt}}
        await said(world, shop_record(forged["order_no"], forged, SUBMITTED))
    assert not [s for s in (await world.states()).values() if s != "rejected"]
    rows = await world.admin.fetch("SELECT DISTINCT platform_code FROM orders.orders")
    assert code not in [row["platform_code"] for row in rows]


FULL_WIDTH = {ord(c): ord(c) + 0xFEE0 for c in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


async def test_a_platform_without_a_key_is_taken_at_its_word(world: World) -> None:
    await bind(world, "orders", "SOMEBODY01", SHOP)
    mine = order(1)
    await said(world, shop_record(mine["order_no"], mine, SUBMITTED)._replace(headers=()))
    assert await world.states() == {mine["order_no"]: "fulfilled"}


async def test_an_operator_calls_off_an_order_of_a_bound_platform_by_the_database(world: World) -> None:
    mine = order(1)
    await bind(world, "orders", mine["platform"]["code"], SHOP)
    asked = {"platform": mine["platform"], "order_no": mine["order_no"], "reason": "operator"}
    command = shop_record(mine["order_no"], asked, CANCEL)
    record = Record(topics.SUBMISSIONS, 0, 0, int(datetime.now(UTC).timestamp() * 1000), b"x", command.value, command.headers)
    async with world.pools["orders"].acquire() as conn:
        await requests.ask(conn, "orders", "command", "an operator", record=pack_record(record))
        await requests.ask(conn, "orders", "command", "an operator", record=pack_record(replace(record, value=b"{")))
    assert await requests.obey(world.handler("orders")) == 2
    rows = await world.admin.fetch("SELECT outcome, details FROM orders.operator_result ORDER BY request_id")
    assert [row["outcome"] for row in rows] == ["done", "failed"]
    assert orjson.loads(rows[1]["details"])["reason"] == "malformed"
    await said(world, signed(shop_record(mine["order_no"], mine, SUBMITTED), SHOP))
    assert await world.states() == {mine["order_no"]: "cancelled"}


async def test_a_waybill_in_the_name_of_a_bound_carrier_is_none(world: World) -> None:
    mine = order(1)
    published = world.publish

    def without_waybills(topic: str, records: Any) -> None:
        if topic != topics.WAYBILLS:
            published(topic, records)
            return
        waybills.extend(records)

    waybills: list[Outgoing] = []
    world.publish = without_waybills  # type: ignore[method-assign]
    await said(world, shop_record(mine["order_no"], mine, SUBMITTED))
    world.publish = published  # type: ignore[method-assign]
    (waybill,) = waybills
    await bind(world, "customs", orjson.loads(waybill.value)["logistics_code"], CARRIER)
    await said(world, waybill)
    assert await reasons(world, topics.dead_letters_of(topics.WAYBILLS)) == ["signature"]
    assert await world.states() == {mine["order_no"]: "placed"}
    await said(world, signed(waybill, CARRIER))
    assert await world.states() == {mine["order_no"]: "fulfilled"}


async def test_the_command_line_binds_a_platform_signs_for_it_and_speaks_for_it_as_an_operator(
    database: str, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from services.cli import orderfile, orders, parties, publish
    from services.cli.connect import Target, Wrong

    to = Target("", database, "", tmp_path)
    monkeypatch.setattr(parties, "target", lambda: to)
    mine, pem, other = order(1), tmp_path / "shop.pem", tmp_path / "other.pem"
    code = mine["platform"]["code"]
    other.write_text("no key")
    with pytest.raises(Wrong, match="give an Ed25519 key as PEM"):
        await asyncio.to_thread(parties.add, code, other, False)
    await asyncio.to_thread(parties.add, code, pem, False)
    assert pem.stat().st_mode & 0o777 == 0o600
    await asyncio.to_thread(parties.add, code, pem, False)
    assert [(row["code"], row["is"], row["removed_at"]) for row in await parties._list()] == [(code, "platform", None)]
    assert "nothing to do" in capsys.readouterr().err

    async with opened(database, keys) as world:
        value = json.dumps(mine).encode()
        (record,) = publish.signed([orderfile.submission_of(mine["order_no"], None, value)], pem)
        await said(world, Outgoing(topics.SUBMISSIONS, b"k", record.value, record.headers))
        assert await world.states() == {mine["order_no"]: "fulfilled"}

        async def obey() -> None:
            while not await requests.obey(world.handler("orders")):  # noqa: ASYNC110  another task asks
                await asyncio.sleep(0.05)

        task = asyncio.create_task(obey())
        await orders._publish(to, RETURN, mine["order_no"], "operator", None, {})
        await task
        for _ in range(2):
            world.clock.now += 20
            await world.settle_down()
        assert await world.states() == {mine["order_no"]: "returned"}
        await asyncio.to_thread(parties.remove, code, None, False)
        forged = order(2)
        (record,) = publish.signed([orderfile.submission_of(forged["order_no"], None, json.dumps(forged).encode())], pem)
        await said(world, Outgoing(topics.SUBMISSIONS, b"k", record.value, record.headers))
        assert await world.states() == {mine["order_no"]: "returned"}
