"""What shops and carriers send, all the way: nothing is taken in that cannot be carried to the end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.samples import case_of, submission
from shared import metrics, topics
from shared.clock import BEIJING
from shared.envelope import Outgoing
from shared.identity import order_id_of
from tests.conftest import Server
from tests.integration.world import World, opened
from tests.unit.orders.test_reading import HEAD, LINE, message

CANCEL: Final = (("ce_type", b"order.cancel-requested.v1"),)


@pytest.fixture
async def world(database: str, keys: Path) -> AsyncIterator[World]:
    async with opened(database, keys) as made:
        yield made


def sample(number: int, words: str = "", **how: Any) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(hours=2)
    return submission(
        how.pop("sample", "cherries"), number, seed=7, prefix="IN", at=at, marker=words, **how
    )


def submit(world: World, *orders: dict[str, Any]) -> None:
    world.publish(
        topics.SUBMISSIONS,
        [
            Outgoing("", order["order_no"].encode(), json.dumps(order).encode(), ())
            for order in orders
        ],
    )


async def test_an_order_that_cannot_be_named_costs_itself_only_of_a_ceb311_message(
    world: World,
) -> None:
    at = f"{datetime.now(timezone(timedelta(hours=8))) - timedelta(hours=1):%Y%m%d%H%M%S}"
    heads = [
        {**HEAD, "appTime": at, "orderNo": number} for number in ("XML-1", "XML-\u200b2", "XML-3")
    ]
    world.publish(
        topics.SUBMISSIONS, [Outgoing("", b"x", message(*((head, LINE) for head in heads)), ())]
    )
    await world.settle_down()
    assert await world.states() == {"XML-1": "fulfilled", "XML-3": "fulfilled"}
    (letter,) = await world.admin.fetch(
        "SELECT reason, error, entry, order_id FROM orders.dead_letter"
    )
    assert (letter["reason"], letter["entry"], letter["order_id"]) == ("invalid_value", 2, None)
    assert letter["error"].startswith(
        "entry 2: order_no: send it without characters that cannot be seen"
    )
    assert await world.broken() == {}


async def test_one_buyer_has_one_quota_a_year_whatever_year_the_orders_are_dated(
    world: World,
) -> None:
    dated = [
        {**sample(n, person=1), "placed_at": f"{year}-10-01T09:00:00+08:00"}
        for n, year in enumerate(range(2019, 2027))
    ]
    submit(world, *dated)
    await world.settle_down()
    assert set((await world.states()).values()) == {"fulfilled"}
    came = datetime.now(UTC) - timedelta(seconds=600)
    assert [row["year"] for row in await world.admin.fetch("SELECT year FROM tax.quota")] == [
        came.astimezone(BEIJING).year
    ]
    assert await world.broken() == {}


async def test_what_is_said_twice_is_no_error_of_the_database(
    world: World, postgres: Server
) -> None:
    """A shop, a carrier, a bank and an authority may say the same again, with or without the same id."""
    orders = [*(sample(n) for n in range(3)), sample(3, "newway"), sample(4, token="tok_busy")]
    orders.append(sample(5, token="tok_refund_declined"))
    submit(world, *orders)
    submit(world, *orders)
    spelled = [
        Outgoing("", o["order_no"].encode(), json.dumps(o, indent=1).encode(), ()) for o in orders
    ]
    world.publish(topics.SUBMISSIONS, spelled)
    await world.settle_down()
    world.publish(topics.SUBMISSIONS, [each._replace(value=each.value + b" ") for each in spelled])
    for topic in (topics.WAYBILLS, topics.RECEIPTS):
        again = [record for record in world.log[topic] if record.value]
        world.publish(topic, [Outgoing("", r.key or b"", r.value or b"", r.headers) for r in again])
    await world.settle_down()
    assert set((await world.states()).values()) == {"fulfilled"}
    back = {
        "platform": {"code": orders[5]["platform"]["code"]},
        "order_no": orders[5]["order_no"],
        "reason": "operator",
    }
    for indent in (None, None, 1):
        value = json.dumps(
            back | {"requested_at": datetime.now(UTC).isoformat()}, indent=indent
        ).encode()
        world.publish(
            topics.SUBMISSIONS, [Outgoing("", b"5", value, (("ce_type", b"return.requested.v1"),))]
        )
    await world.settle_down()
    if postgres.log is not None:
        name = await world.admin.fetchval("SELECT current_database()")
        found = [
            line
            for line in postgres.log.read_text("utf-8").splitlines()
            if f"@{name} ERROR" in line
        ]
        assert found == []


async def test_one_record_of_1970_puts_no_years_into_a_sum(world: World) -> None:
    def summed() -> float:
        return sum(
            sample.value
            for metric in (metrics.STAGE_SECONDS, metrics.QUEUE_DELAY)
            for family in metric.collect()
            for sample in family.samples
            if sample.name.endswith("_sum")
        )

    before = summed()
    stamped, called_off, good = sample(1), sample(2, "lost"), sample(3)
    submit(world, stamped, called_off, good)
    asked = {
        "platform": called_off["platform"],
        "order_no": called_off["order_no"],
        "reason": "buyer_request",
    }
    world.publish(topics.SUBMISSIONS, [Outgoing("", b"2", json.dumps(asked).encode(), CANCEL)])
    records = world.log[topics.SUBMISSIONS]
    records[0].timestamp_ms = int(datetime.now(UTC).timestamp())  # in seconds
    records[1].timestamp_ms = 0
    records[2].timestamp_ms = int(datetime(2199, 1, 1, tzinfo=UTC).timestamp() * 1000)
    records[3].timestamp_ms = 1
    await world.settle_down()
    assert await world.states() == {
        stamped["order_no"]: "rejected", called_off["order_no"]: "rejected", good["order_no"]: "fulfilled",
    }  # fmt: skip
    found = {(f["field"], f["found"], f["expected"]) for f in await faults_of(world, stamped)}
    assert found == {
        ("timestamp", "the record's own timestamp is 1970-01-21", "give milliseconds since 1970")
    }
    assert summed() - before < 24 * 3600
    stamps = await world.admin.fetch("SELECT received_at, updated_at FROM orders.orders")
    now = datetime.now(UTC)
    assert all(abs((at - now).total_seconds()) < 3600 for row in stamps for at in row)


async def faults_of(world: World, order: dict[str, Any]) -> list[dict[str, Any]]:
    told = await world.admin.fetchval(
        "SELECT summary -> 'faults' FROM orders.timeline WHERE order_id = $1 AND type = 'order.rejected.v1'",
        order_id(order),
    )
    found: list[dict[str, Any]] = json.loads(told or "[]")
    return found


async def test_free_text_a_mark_and_blanks_stand_in_nobodys_way(world: World) -> None:
    first, second, third = sample(1, "lost"), sample(2), sample(3)
    submit(world, first, {**second, "order_no": f" {second['order_no']}\u3000"})
    asked = {
        "platform": first["platform"],
        "order_no": f"{first['order_no']} ",
        "reason": "Zu klein.\nBitte \U0001f381 \ud83d" + "x" * 300,
    }
    world.publish(
        topics.SUBMISSIONS,
        [
            Outgoing("", b"1", json.dumps(asked).encode(), CANCEL),
            Outgoing("", b"3", b"\xef\xbb\xbf" + json.dumps(third).encode(), ()),
            Outgoing("", b"2", json.dumps(second).encode(), ()),
        ],
    )
    await world.settle_down()
    assert await world.states() == {
        first["order_no"]: "cancelled",
        second["order_no"]: "fulfilled",
        third["order_no"]: "fulfilled",
    }
    assert await world.admin.fetchval("SELECT count(*) FROM orders.dead_letter") == 0
    verdicts = await world.admin.fetch(
        "SELECT summary ->> 'verdict' AS v FROM orders.timeline WHERE type = 'order.resubmitted.v1'"
    )
    assert [row["v"] for row in verdicts] == ["exists"]


def order_id(order: dict[str, Any]) -> Any:
    return order_id_of(order["platform"]["code"], order["order_no"])


LODGED: Final = "lodged"
"""The authority of the sandbox has no waybill of its carrier for these orders, so their lists are lodged and wait for it."""


def parcel(order: dict[str, Any], number: str, **changed: Any) -> Outgoing:
    """A waybill for an order, as its carrier sends it."""
    to = order["consignee"]
    sent = {
        "platform_code": order["platform"]["code"], "order_no": order["order_no"], "logistics_code": "31229908QR",
        "logistics_name": "Sandbox Express", "logistics_no": number, "freight": "20.00", "gross_weight_kg": "9.5",
        "consignee": {name: to[name] for name in ("name", "phone", "country", "region", "city", "address")}, **changed,
    }  # fmt: skip
    return Outgoing("", order["order_no"].encode(), json.dumps(sent).encode(), ())


async def letters(world: World, service: str) -> list[str]:
    return [
        row["reason"]
        for row in await world.admin.fetch(f"SELECT reason FROM {service}.dead_letter")
    ]


async def listed(world: World, order: dict[str, Any], element: str = "logisticsNo") -> str | None:
    """The waybill's number, or another element, on the list that was lodged of an order."""
    texts = [(r.value or b"").decode() for r in world.log[topics.DECLARATIONS]]
    text = next((text for text in texts if order["order_no"] in text), None)
    if text is None:
        return None
    list_of = text[text.index(order["order_no"]) :]
    return list_of.split(f"<{element}>")[1].split("<")[0]


async def faults(world: World, order: dict[str, Any]) -> set[tuple[str, str]]:
    return {(fault["field"], fault["code"]) for fault in await faults_of(world, order)}


async def test_an_unreadable_or_unprintable_waybill_is_a_dead_letter_and_the_order_waits_for_a_good_one(
    world: World,
) -> None:
    order, export = sample(1, "lost"), sample(2, "lost", sample="garments_de")
    submit(world, order, export)
    await world.settle_down()
    bad = [
        Outgoing("", b"1", b"\xff\xfe{\x00}\x00", ()),
        Outgoing("", b"1", b"not json", ()),
        parcel(order, "YT\ufffe1"),
        parcel(order, "9" * 61),
        parcel(order, "YT1", logistics_name="x" * 101),
        parcel(order, "YT1", gross_weight_kg="１.5"),
        parcel(order, "YT1", pack_count=2),
        parcel(order, "YT1", order_no=order["order_no"] + "\u200b"),
        parcel(export, "9" * 33),
    ]
    world.publish(topics.WAYBILLS, bad)
    await world.settle_down()
    assert set((await world.states()).values()) == {"placed"}
    assert sorted(await letters(world, "customs")) == sorted(["malformed", *["invalid_value"] * 8])
    good = parcel(order, "9" * 60)
    world.publish(
        topics.WAYBILLS,
        [good._replace(value=b"\xef\xbb\xbf" + good.value), parcel(export, "9" * 32, pack_count=3)],
    )
    await world.settle_down()
    assert set((await world.states()).values()) == {LODGED}
    assert await listed(world, order) == "9" * 60
    assert await listed(world, export) == "9" * 32
    assert [await listed(world, each, "packNo") for each in (order, export)] == ["1", "3"]
    assert await world.broken() == {}


@pytest.mark.parametrize(
    "when", ["before it is placed", "while it waits", "at once", "after the match"]
)
async def test_a_waybill_is_corrected_until_the_list_is_lodged(world: World, when: str) -> None:
    order = sample(1, "lost")
    first, second = parcel(order, "YT1"), parcel(order, "YT2")
    if when == "before it is placed":
        world.publish(topics.WAYBILLS, [first, second])
        await world.advance(("customs", topics.WAYBILLS), 1)
        await world.advance(("customs", topics.WAYBILLS), 1)
        submit(world, order)
    elif when == "while it waits":
        submit(world, order)
        await world.advance(("orders", topics.SUBMISSIONS))
        await world.relay()
        await world.advance(("customs", topics.ORDERS))
        world.publish(topics.WAYBILLS, [first])
        await world.advance(("customs", topics.WAYBILLS))
        world.publish(topics.WAYBILLS, [second])
        await world.advance(("customs", topics.WAYBILLS))
    elif when == "at once":
        submit(world, order)
        await world.settle_down()
        world.publish(topics.WAYBILLS, [first, second])
    else:
        submit(world, order)
        await world.settle_down()
        world.publish(topics.WAYBILLS, [first])
        await world.advance(("customs", topics.WAYBILLS))
        assert await world.admin.fetchval("SELECT state FROM customs.declaration") == "matched"
        world.publish(topics.WAYBILLS, [second])
        await world.advance(("customs", topics.WAYBILLS))
        # The first number is free again.
        assert [
            row["logistics_no"]
            for row in await world.admin.fetch("SELECT logistics_no FROM customs.waybill_number")
        ] == ["YT2"]
    await world.settle_down()
    assert await world.states() == {order["order_no"]: LODGED}
    assert await listed(world, order) == "YT2"
    told = await world.admin.fetch(
        "SELECT summary FROM orders.timeline WHERE type = 'customs.waybill-corrected.v1'"
    )
    numbers = [
        (json.loads(row["summary"])["instead_of"], json.loads(row["summary"])["logistics_no"])
        for row in told
    ]
    assert numbers == ([] if when == "before it is placed" else [("YT1", "YT2")])
    # It is lodged now: a third changes nothing.
    world.publish(topics.WAYBILLS, [parcel(order, "YT3")])
    await world.settle_down()
    assert await world.states() == {order["order_no"]: LODGED}
    assert len(
        await world.admin.fetch(
            "SELECT FROM orders.timeline WHERE type = 'customs.waybill-corrected.v1'"
        )
    ) == len(told)
    assert await world.broken() == {}


async def test_a_correction_that_contradicts_the_order_ends_it_before_a_list_is_lodged(
    world: World,
) -> None:
    order = sample(1, "lost")
    submit(world, order)
    await world.settle_down()
    world.publish(topics.WAYBILLS, [parcel(order, "YT1")])
    await world.advance(("customs", topics.WAYBILLS))
    other = {**order["consignee"], "name": "测试收件人"}
    world.publish(topics.WAYBILLS, [parcel(order, "YT2", consignee=other)])
    await world.settle_down()
    assert await world.states() == {order["order_no"]: "rejected"}
    assert await faults(world, order) == {("consignee.name", "-503001")}
    assert await listed(world, order) is None
    assert await world.broken() == {}


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_number_on_two_live_orders_is_refused_for_the_second(
    world: World, at_once: bool
) -> None:
    first, second, third = sample(1, "lost"), sample(2, "lost"), sample(3, "lost")
    submit(world, first, second, third)
    await world.settle_down()
    world.publish(topics.WAYBILLS, [parcel(first, "YT1")])
    if not at_once:
        await world.settle_down()
    world.publish(
        topics.WAYBILLS, [parcel(second, "YT1"), parcel(third, "YT1", logistics_code="11059199PT")]
    )
    await world.settle_down()
    ends = {first["order_no"]: LODGED, second["order_no"]: "rejected", third["order_no"]: LODGED}
    assert await world.states() == ends
    assert await faults(world, second) == {("logistics_no", "-504015")}
    assert await world.broken() == {}


async def test_the_number_of_an_order_that_is_over_is_free(world: World) -> None:
    first, second = sample(1, "lost"), sample(2, "lost")
    submit(world, first, second)
    await world.settle_down()
    world.publish(topics.WAYBILLS, [parcel(first, "YT1")])
    await world.advance(("customs", topics.WAYBILLS))
    asked = {
        "platform": first["platform"],
        "order_no": first["order_no"],
        "reason": "buyer_request",
    }
    world.publish(topics.SUBMISSIONS, [Outgoing("", b"1", json.dumps(asked).encode(), CANCEL)])
    await world.advance(("orders", topics.SUBMISSIONS))
    await world.relay()
    await world.advance(("customs", topics.ORDERS))
    world.publish(topics.WAYBILLS, [parcel(second, "YT1")])
    await world.settle_down()
    assert await world.states() == {first["order_no"]: "cancelled", second["order_no"]: LODGED}
    assert await listed(world, second) == "YT1"


async def test_a_parcel_lighter_than_its_goods_and_another_address_are_told(world: World) -> None:
    light, other, same = sample(1, "lost"), sample(2, "lost"), sample(3, "lost")
    submit(world, light, other, same)
    await world.settle_down()
    to = same["consignee"]
    whole = {
        **to,
        "region": None,
        "city": None,
        "address": f"{to['region']} {to['city']} {to['address']}",
    }
    world.publish(
        topics.WAYBILLS,
        [
            parcel(light, "YT1", gross_weight_kg="0.5"),
            parcel(other, "YT2", consignee={**other["consignee"], "address": "另一条路1号"}),
            parcel(same, "YT3", consignee=whole),
        ],
    )
    await world.settle_down()
    assert list((await world.states()).values()) == ["rejected", "rejected", LODGED]
    assert await faults(world, light) == {("gross_weight_kg", "-503001")}
    told = await world.admin.fetchval("SELECT summary::text FROM orders.timeline WHERE type = 'customs.documents-mismatched.v1' "
                                      "AND order_id = $1", order_id(other))  # fmt: skip
    assert f"{len(other['consignee']['address'])} characters" in told
    assert "6 characters" in told
    assert other["consignee"]["address"] not in told


ODD: Final = {"name": "买买提\u2022阿卜杜拉", "address": "科技\u200b路1号"}
PLAIN: Final = {"name": "买买提\u00b7阿卜杜拉", "address": "科技路1号"}


async def make_earlier(world: World, kind: str, order: dict[str, Any]) -> None:
    """Store a document as release 0.1.0 would have, which knew no lengths and no ways to write an address."""
    sealing, to = world.sealing, order["consignee"]
    of = {"name": to["name"], "phone": to["phone"], "address": to["address"]}
    digests = {f"{name}_digest": sealing.digest_before(text) for name, text in of.items()}
    stored = json.loads(
        await world.admin.fetchval(
            "SELECT doc FROM customs.document WHERE order_id = $1 AND kind = $2",
            order_id(order),
            kind,
        )
    )
    if kind == "order":
        stored["consignee"] = {
            n: v
            for n, v in stored["consignee"].items()
            if "length" not in n and n != "address_digests"
        } | digests
        stored["buyer"] = {n: v for n, v in stored["buyer"].items() if "length" not in n}
        stored["buyer"]["name_digest"] = sealing.digest_before(order["buyer"]["name"])
    elif kind == "payment":
        stored = {n: v for n, v in stored.items() if "length" not in n}
        stored["payer_name_digest"] = sealing.digest_before(order["buyer"]["name"])
    else:
        stored = {
            n: v
            for n, v in stored.items()
            if "length" not in n and n != "consignee_address_digests"
        }
        stored |= {f"consignee_{name}": digest for name, digest in digests.items()}
    await world.admin.execute(
        "UPDATE customs.document SET doc = $3 WHERE order_id = $1 AND kind = $2",
        order_id(order),
        kind,
        json.dumps(stored).encode(),
    )


@pytest.mark.parametrize(
    ("stored", "spelled", "end"),
    [
        (("order", "payment"), ODD, LODGED),
        (("order", "payment"), PLAIN, LODGED),
        (("order",), ODD, LODGED),
        (("payment",), ODD, LODGED),
        (("order", "payment"), {"name": "买买提\u00b7阿卜"}, "rejected"),
        (("order", "payment"), {"address": "科技路2号"}, "rejected"),
    ],
    ids=ascii,
)
async def test_documents_of_the_release_before_are_compared_in_todays_spelling(
    world: World, stored: tuple[str, ...], spelled: dict[str, str], end: str
) -> None:
    order = sample(1, "lost")
    order["consignee"] |= ODD
    order["buyer"]["name"] = order["payment"]["payer"]["name"] = ODD["name"]
    submit(world, order)
    await world.settle_down()
    for kind in stored:
        await make_earlier(world, kind, order)
    world.publish(
        topics.WAYBILLS, [parcel(order, "YT1", consignee={**order["consignee"], **spelled})]
    )
    await world.settle_down()
    assert await world.states() == {order["order_no"]: end}
    assert await world.broken() == {}


async def test_a_waybill_of_the_release_before_is_compared_in_its_own_spelling(
    world: World,
) -> None:
    order = sample(1, "lost")
    order["consignee"] |= ODD
    world.publish(topics.WAYBILLS, [parcel(order, "YT1")])
    await world.settle_down()
    await make_earlier(world, "waybill", order)
    submit(world, order)
    await world.settle_down()
    assert await world.states() == {order["order_no"]: LODGED}


async def test_a_number_with_a_wrong_order_number_is_free_for_the_right_one(world: World) -> None:
    """The carrier mistyped the order: nobody placed that one, and what it sends again is for the right one."""
    order = sample(1, "lost")
    submit(world, order)
    await world.settle_down()
    world.publish(topics.WAYBILLS, [parcel({**order, "order_no": "IN-mistyped"}, "YT1")])
    await world.settle_down()
    world.publish(topics.WAYBILLS, [parcel(order, "YT1")])
    await world.settle_down()
    assert await world.states() == {order["order_no"]: LODGED}
    assert await listed(world, order) == "YT1"


async def test_a_number_that_was_given_to_the_wrong_order_is_free_once_that_is_corrected(
    world: World,
) -> None:
    first, second = sample(1, "lost"), sample(2, "lost")
    submit(world, first, second)
    await world.settle_down()
    for sent in (parcel(first, "YT1"), parcel(first, "YT2"), parcel(second, "YT1")):
        world.publish(topics.WAYBILLS, [sent])
        await world.advance(("customs", topics.WAYBILLS))
    await world.settle_down()
    assert await world.states() == {first["order_no"]: LODGED, second["order_no"]: LODGED}
    assert (await listed(world, first), await listed(world, second)) == ("YT2", "YT1")
    # One that came too late to be taken holds no number.
    world.publish(topics.WAYBILLS, [parcel(first, "YT3")])
    await world.settle_down()
    numbers = await world.admin.fetch("SELECT logistics_no FROM customs.waybill_number ORDER BY 1")
    assert [row["logistics_no"] for row in numbers] == ["YT1", "YT2"]


@pytest.mark.parametrize("kind", ["blurred_waybill", "second_waybill", "one_number"])
async def test_the_demos_kinds_of_waybills_end_as_they_say(world: World, kind: str) -> None:
    case = case_of(kind, 41, seed=7, prefix="KIND", at=datetime.now(UTC) - timedelta(hours=2))
    world.publish(
        topics.SUBMISSIONS, [Outgoing("", r.key, r.value, r.headers) for r in case.records]
    )
    await world.settle_down()
    world.clock.now += 10
    await world.settle_down()
    states = await world.states()
    assert set(states) == set(case.ends)
    assert all(states[no] in ends for no, ends in case.ends.items())
    if case.counts:
        assert Counter(states.values()) == case.counts
    assert len(await letters(world, "customs")) == (2 if kind == "blurred_waybill" else 0)
    assert await world.broken() == {}
