"""A principal is bound to its platforms: who has a key speaks for itself alone, and operators by the database."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy import secrets
from deploy.samples import submission
from deploy.samples.generate import PLATFORM_CODE
from sandbox.carrier.party import EXPRESS, POST
from services import schema
from services.cli.access import own_parties
from shared import operator_requests, topics
from shared.dead_letters import pack_record
from shared.envelope import Outgoing, Record, first_headers
from shared.identity import order_id_of
from shared.kafka import Security
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
    return submission(
        "cherries",
        number,
        seed=7,
        prefix="P",
        at=datetime.now(UTC) - timedelta(hours=2),
        person=number,
    )


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
    assert not world.bank.file.db.execute(
        "SELECT sum(minor) FROM movement WHERE kind = 'refund'"
    ).fetchone()[0]
    await said(world, signed(shop_record("x", asked, RETURN), SHOP))
    world.clock.now += 20
    await world.settle_down()
    assert await world.states() == {mine["order_no"]: "returned"}
    assert await world.broken() == {}


async def test_an_order_in_the_name_of_a_bound_platform_is_none_however_its_code_is_spelt(
    world: World,
) -> None:
    mine = order(1)
    code = mine["platform"]["code"]
    await bind(world, "orders", code, SHOP)
    for n, spelt in enumerate(
        (code, f" {code} ", f"{code[0]}\u200b{code[1:]}", code.translate(FULL_WIDTH)), 2
    ):
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


async def test_an_operator_calls_off_an_order_of_a_bound_platform_by_the_database(
    world: World,
) -> None:
    mine = order(1)
    await bind(world, "orders", mine["platform"]["code"], SHOP)
    asked = {"platform": mine["platform"], "order_no": mine["order_no"], "reason": "operator"}
    command = shop_record(mine["order_no"], asked, CANCEL)
    record = Record(
        topics.SUBMISSIONS,
        0,
        0,
        int(datetime.now(UTC).timestamp() * 1000),
        b"x",
        command.value,
        command.headers,
    )
    async with world.pools["orders"].acquire() as conn:
        await operator_requests.ask(
            conn, "orders", "command", "an operator", record=pack_record(record)
        )
        await operator_requests.ask(
            conn,
            "orders",
            "command",
            "an operator",
            record=pack_record(replace(record, value=b"{")),
        )
    assert await operator_requests.obey(world.handler("orders")) == 2
    rows = await world.admin.fetch(
        "SELECT outcome, details FROM orders.operator_result ORDER BY request_id"
    )
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


async def test_where_the_broker_tells_its_users_apart_nobody_speaks_without_a_key(
    world: World,
) -> None:
    world.all_bound = True
    mine = order(1)
    code = mine["platform"]["code"]
    await said(world, shop_record(mine["order_no"], mine, SUBMITTED))
    await said(world, shop_record(mine["order_no"], mine, SUBMITTED)._replace(headers=()))
    assert await world.states() == {}
    await bind(world, "orders", code, SHOP)
    await said(world, signed(shop_record(mine["order_no"], mine, SUBMITTED), SHOP))
    assert await world.states() == {mine["order_no"]: "placed"}, "the carrier has no key yet"
    assert await reasons(world, topics.dead_letters_of(topics.WAYBILLS)) == ["signature"]
    (letter,) = world.log[topics.dead_letters_of(topics.WAYBILLS)]
    await bind(world, "customs", orjson.loads(letter.value or b"")["logistics_code"], CARRIER)
    sent = Outgoing(
        topics.WAYBILLS,
        letter.key or b"",
        letter.value or b"",
        (("ce_type", b"waybill.issued.v1"),),
    )
    await said(world, signed(sent, STRANGER))
    assert await world.states() == {mine["order_no"]: "placed"}
    await said(world, signed(sent, CARRIER))
    assert await world.states() == {mine["order_no"]: "fulfilled"}
    asked = {"platform": mine["platform"], "order_no": mine["order_no"], "reason": "buyer_request"}
    await said(world, shop_record("x", asked, CANCEL))
    assert await world.states() == {mine["order_no"]: "fulfilled"}
    assert await reasons(world) == ["signature"] * 3


def several(number: int) -> dict[str, Any]:
    """An order of four of one thing."""
    made = order(number)
    line = made["lines"][0]
    each, four = Decimal(line["unit_price"]), Decimal(4)
    line |= {"quantity": "4", "total": f"{each * four:.2f}", "net_weight_kg": "4.000"}
    rest = sum(Decimal(made[name]) for name in ("freight", "insurance", "tax_withheld")) - Decimal(
        made["discount"]
    )
    return made | {
        "lines": [line],
        "goods_value": line["total"],
        "amount_paid": f"{each * four + rest:.2f}",
    }


async def test_what_was_signed_once_counts_once_whoever_sends_it_again_and_whenever(
    world: World,
) -> None:
    mine = several(1)
    await bind(world, "orders", mine["platform"]["code"], SHOP)
    await said(world, signed(shop_record(mine["order_no"], mine, SUBMITTED), SHOP))
    assert await world.states() == {mine["order_no"]: "fulfilled"}
    asked = {
        "platform": mine["platform"],
        "order_no": mine["order_no"],
        "lines": [{"line_no": 1, "quantity": "1"}],
    }
    back = signed(shop_record("x", asked, RETURN), SHOP)
    replayed = back._replace(
        key=b"another",
        headers=tuple(
            (n, b"%d" % len(n) if n in ("ce_id", "ce_source", "ce_time") else v)
            for n, v in back.headers
        ),
    )

    async def returned(record: Outgoing) -> int:
        await said(world, record)
        world.clock.now += 20
        await world.settle_down()
        return len(
            [
                r
                for r in world.log[topics.ORDERS]
                if first_headers(r.headers)["ce_type"] == b"order.partly-returned.v1"
            ]
        )

    assert await returned(back) == 1
    assert await returned(replayed) == 1
    # A year later, when everything else that was heard is forgotten.
    await world.admin.execute("UPDATE orders.inbox SET seen_at = seen_at - interval '1 year'")
    await world.admin.execute("SELECT orders.forget_inbox(15)")
    assert await returned(replayed) == 1
    # Who means it says it anew.
    assert (
        await returned(
            signed(shop_record("x", asked | {"requested_at": "2026-12-01T00:00:00Z"}, RETURN), SHOP)
        )
        == 2
    )
    assert await world.broken() == {}


async def test_a_waybill_that_was_corrected_is_not_brought_back_by_who_sends_it_again(
    world: World,
) -> None:
    mine = order(1) | {"order_no": "P-corrected~lost"}
    await bind(world, "customs", EXPRESS.code, CARRIER)
    document = {
        "platform_code": mine["platform"]["code"], "order_no": mine["order_no"], "logistics_code": EXPRESS.code,
        "logistics_name": EXPRESS.name, "logistics_no": "YT1", "freight": mine["freight"], "gross_weight_kg": "9",
        "consignee": mine["consignee"],
    }  # fmt: skip
    first, second = (
        signed(
            Outgoing(
                topics.WAYBILLS,
                b"",
                json.dumps(document | {"logistics_no": number}).encode(),
                ISSUED,
            ),
            CARRIER,
        )
        for number in ("YT1", "YT2")
    )
    for waybill in (first, second, first._replace(headers=(*first.headers, ("ce_id", b"another")))):
        await said(world, waybill)
    rows = await world.admin.fetch("SELECT doc FROM customs.later_waybill ORDER BY id")
    assert [orjson.loads(row["doc"])["logistics_no"] for row in rows] == ["YT2"]
    assert await reasons(world, topics.dead_letters_of(topics.WAYBILLS)) == []


ISSUED = (("ce_type", b"waybill.issued.v1"),)


async def test_a_signed_waybill_is_of_no_order_but_the_one_it_names(world: World) -> None:
    mine, other = order(1), order(2)
    await bind(world, "customs", EXPRESS.code, CARRIER)
    world.carrier._key = STRANGER
    for each in (mine, other):
        await said(world, shop_record(each["order_no"], each, SUBMITTED))
    letters = world.log[topics.dead_letters_of(topics.WAYBILLS)]
    document = {
        n: v
        for n, v in orjson.loads(letters[0].value or b"").items()
        if n not in ("order_id", "order_no", "platform_code")
    }
    ids = [
        str(order_id_of(each["platform"]["code"], each["order_no"])).encode()
        for each in (mine, other)
    ]
    unnamed = Outgoing(
        topics.WAYBILLS, ids[0], json.dumps(document).encode(), (("ce_type", b"waybill.issued.v1"),)
    )
    for key in ids:
        await said(world, signed(unnamed, CARRIER)._replace(key=key))
    assert set((await world.states()).values()) == {"placed"}
    assert (
        await reasons(world, topics.dead_letters_of(topics.WAYBILLS))
        == ["signature"] * 2 + ["unknown_shape"] * 2
    )
    named = json.dumps(document | {"order_id": ids[0].decode()}).encode()
    await said(world, signed(unnamed._replace(value=named, key=ids[1]), CARRIER))
    assert await world.states() == {mine["order_no"]: "fulfilled", other["order_no"]: "placed"}


async def test_the_stack_binds_its_own_parties_and_never_brings_back_a_key_that_was_removed(
    database: str, tmp_path: Path
) -> None:
    secrets.make(tmp_path / "secrets")
    found = schema.party_keys_in(tmp_path / "secrets")
    first = await own_parties.register(database, found, "PROBE00001")
    assert sorted(first) == sorted(
        [f"operators {PLATFORM_CODE}", "operators PROBE00001", "probe PROBE00001", f"shops {PLATFORM_CODE}",
         f"sandbox {EXPRESS.code}", f"sandbox {POST.code}"]
    )  # fmt: skip
    conn = await asyncpg.connect(database)
    try:
        await conn.execute(
            "UPDATE orders.party_key SET removed_at = now(), removed_by = 'an operator' WHERE code = $1",
            PLATFORM_CODE,
        )
        assert await own_parties.register(database, found, "PROBE00001") == []
        assert not await conn.fetchval(
            "SELECT count(*) FROM orders.party_key WHERE code = $1 AND removed_at IS NULL",
            PLATFORM_CODE,
        )
        (tmp_path / "secrets" / "party_shops").unlink()
        secrets.make(tmp_path / "secrets")
        assert await own_parties.register(
            database, schema.party_keys_in(tmp_path / "secrets"), "PROBE00001"
        ) == [f"shops {PLATFORM_CODE}"]
    finally:
        await conn.close()


TAKEN = "may publish unsigned, since the broker has no users"


async def test_doctor_says_in_one_line_who_must_sign_and_who_cannot(
    world: World, database: str, tmp_path: Path
) -> None:
    from services.cli.connect import RunningStack
    from services.cli.doctor import database as doctor_database

    open_stack = RunningStack("", database, "", tmp_path)
    secured = replace(open_stack, security=Security("SASL_PLAINTEXT", "operators", "a password"))
    mine = order(1) | {"order_no": "P-waits~lost"}
    await said(world, shop_record(mine["order_no"], mine, SUBMITTED))
    assert await world.states() == {mine["order_no"]: "placed"}
    (check,) = await doctor_database._parties(open_stack)
    assert (check.ok, check.state) == (
        True,
        f"0 platforms and 0 carriers sign what they say; every other {TAKEN}: docs/access.md",
    )
    (check,) = await doctor_database._parties(secured)
    assert (check.ok, check.todo) == (
        False, f"give {mine['platform']['code']} a key with `crossborder access party add`: what they say is refused",
    )  # fmt: skip
    await bind(world, "orders", mine["platform"]["code"], SHOP)
    (check,) = await doctor_database._parties(secured)
    assert (check.ok, check.state) == (
        True,
        "1 platforms and 0 carriers sign what they say; every other is refused",
    )


async def test_the_command_line_binds_a_platform_signs_for_it_and_speaks_for_it_as_an_operator(
    database: str,
    keys: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from services.cli import publish, samples, submission_files
    from services.cli.access import parties
    from services.cli.connect import RunningStack, UsageError
    from services.cli.order import requests

    to = RunningStack("", database, "", tmp_path)
    monkeypatch.setattr(parties, "target", lambda: to)
    mine, pem, other = order(1), tmp_path / "shop.pem", tmp_path / "other.pem"
    code = mine["platform"]["code"]
    other.write_text("no key")
    stranger = tmp_path / "stranger.pem"
    parties._made(stranger)
    with pytest.raises(UsageError, match="give an Ed25519 key as PEM"):
        await asyncio.to_thread(parties.add, code, other, False)
    await asyncio.to_thread(parties.add, code, pem, False)
    assert pem.stat().st_mode & 0o777 == 0o600
    await asyncio.to_thread(parties.add, code, pem, False)
    assert [(row["code"], row["is"], row["removed_at"]) for row in await parties._list()] == [
        (code, "platform", None)
    ]
    assert "nothing to do" in capsys.readouterr().err

    unsigned = [submission_files.submission_of(mine["order_no"], None, json.dumps(mine).encode())]
    with pytest.raises(
        UsageError, match=f"sign the record with the key of {code}.*Nothing was published"
    ):
        await publish._require_heard(to, unsigned)
    with pytest.raises(UsageError, match="Nothing was published"):
        await publish._require_heard(replace(to, party_pem=stranger.read_bytes()), unsigned)
    await publish._require_heard(replace(to, party_pem=pem.read_bytes()), unsigned)
    await publish._require_heard(to, publish.signed(unsigned, pem))
    await publish._require_heard(to, samples.samples("malformed", 1, 1))

    async with opened(database, keys) as world:
        value = json.dumps(mine).encode()
        (record,) = publish.signed(
            [submission_files.submission_of(mine["order_no"], None, value)], pem
        )
        await said(world, Outgoing(topics.SUBMISSIONS, b"k", record.value, record.headers))
        assert await world.states() == {mine["order_no"]: "fulfilled"}

        async def obey() -> None:
            while not await operator_requests.obey(world.handler("orders")):  # noqa: ASYNC110  another task asks
                await asyncio.sleep(0.05)

        task = asyncio.create_task(obey())
        await requests._publish(to, RETURN, mine["order_no"], "operator", None, {})
        await task
        for _ in range(2):
            world.clock.now += 20
            await world.settle_down()
        assert await world.states() == {mine["order_no"]: "returned"}
        await asyncio.to_thread(parties.remove, code, None, False)
        forged = order(2)
        (record,) = publish.signed(
            [submission_files.submission_of(forged["order_no"], None, json.dumps(forged).encode())],
            pem,
        )
        await said(world, Outgoing(topics.SUBMISSIONS, b"k", record.value, record.headers))
        assert await world.states() == {mine["order_no"]: "returned"}
