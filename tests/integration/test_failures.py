"""A failure on the way to customs is no decision: messages refused whole, an e-port that is out, a signature refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from math import ceil, log2
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from deploy.samples import submission
from sandbox.authority import lists as sandbox_lists
from sandbox.authority.document_match import Refusal
from sandbox.authority.policy import e_port_refusal
from sandbox.authority.receipts import format_fault, messages_of
from services.customs.lodging.timer import MESSAGES_MAX
from shared import topics
from shared.envelope import Outgoing
from tests.integration.test_reactions import CANCEL, RETURN, SUBMITTED, shop_record
from tests.integration.world import World, opened

AT = datetime.now(UTC) - timedelta(hours=2)
LISTS = 100


def submit(
    world: World, count: int, marker: Callable[[int], str] = lambda _: "", prefix: str = "FAIL"
) -> list[str]:
    orders = [
        submission("cherries", n, seed=7, prefix=prefix, at=AT, person=n, marker=marker(n))
        for n in range(1, count + 1)
    ]
    world.publish(
        topics.SUBMISSIONS, [shop_record(each["order_no"], each, SUBMITTED) for each in orders]
    )
    return [each["order_no"] for each in orders]


def lodged(world: World) -> list[bytes]:
    return [record.value or b"" for record in world.log[topics.DECLARATIONS]]


async def ended(world: World) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for order_no, state in (await world.states()).items():
        found.setdefault(state, set()).add(order_no)
    return found


async def pauses(world: World) -> list[tuple[str, str, str]]:
    return [
        tuple(row)
        for row in await world.admin.fetch("SELECT scope, reason, code FROM customs.pause")
    ]


async def open_cases(world: World) -> list[str]:
    return [
        row["kind"]
        for row in await world.admin.fetch("SELECT kind FROM customs.cases WHERE closed_at IS NULL")
    ]


@pytest.mark.parametrize(
    ("word", "bad"),
    [
        ("ceb900", {LISTS}),
        ("ceb900", {7, 8, 93}),
        ("ceb900_blind", {1}),
        ("ceb900_blind", {11, 24, 37, 50, 63}),
    ],
)
async def test_a_message_refused_whole_costs_the_bad_lists_only(
    bad: Collection[int], word: str, database: str, keys: Path
) -> None:
    """Ninety-nine orders were refused and refunded for a fault of one list among them."""
    async with opened(database, keys) as world:
        orders = submit(world, LISTS, lambda n: word if n in bad else "")
        await world.settle_down()
        found = await ended(world)
        assert found["rejected"] == {orders[n - 1] for n in bad}
        assert len(found["fulfilled"]) == LISTS - len(bad)
        messages = lodged(world)
        assert len(messages) <= 1 + 2 * len(bad) * ceil(log2(LISTS))
        if word == "ceb900":
            assert len(messages) <= 1 + 2 * len(bad), "the list that is named is tried alone"
        guids = [re.search(rb'guid="([^"]+)"', message) for message in messages]
        assert len({match[1] for match in guids if match}) == len(messages), (
            "each under a guid of its own"
        )
        assert await world.broken() == {}


def fault(guid: str, status: str, info: str) -> Outgoing:
    (made,) = messages_of(
        topics.RECEIPTS,
        [format_fault(guid, "CEB621Message", -2, info, 1_790_000_000.0)],
        1_790_000_000.0,
    )
    return made._replace(
        value=made.value.replace(b"<returnStatus>-2<", f"<returnStatus>{status}<".encode())
    )


async def names_told(
    world: World, told: Callable[[list[str]], str]
) -> tuple[int, dict[str, set[str]]]:
    """Refuse every message that has the first of the orders in it, with this text; the others are accepted by the sandbox."""
    orders = submit(world, 16, lambda _: "silent")
    await world.settle_down()
    answered = 0
    while answered < len(lodged(world)):
        for message in lodged(world)[answered:]:
            answered += 1
            guid = re.findall(rb'guid="([^"]+)"', message)[0].decode()
            inside = [
                number.decode() for number in re.findall(rb"<orderNo>([^<]+)</orderNo>", message)
            ]
            if orders[0] in inside:
                world.publish(topics.RECEIPTS, [fault(guid, "-2", told(inside))])
        await world.settle_down()
    return answered, await ended(world)


@pytest.mark.parametrize("told", ["order", "list", "place", "nobody", "wrong", "all"])
async def test_who_is_named_is_tried_alone_first(told: str, database: str, keys: Path) -> None:
    async with opened(database, keys) as world:
        numbers: dict[str, str] = {}

        def text(inside: list[str]) -> str:
            place = inside.index(first) + 1 if first in inside else 0
            other = next((number for number in inside if number != first), first)
            return {
                "order": f"[Code:0002;Desc:order {first} is wrong]", "list": f"[Code:0002;Desc:{numbers.get(first, first)}]",
                "place": f"[Code:0002;Desc:第{place}条数据格式错误]", "nobody": "[Code:0002;Desc:format]",
                "wrong": f"[Code:0002;Desc:{other}]", "all": f"[Code:0002;Desc:{' '.join(inside)}]",
            }[told]  # fmt: skip

        first = submission("cherries", 1, seed=7, prefix="FAIL", at=AT, person=1, marker="silent")[
            "order_no"
        ]
        sent, found = await names_told(world, text)
        assert found["rejected"] == {first}
        assert sent <= (
            3 if told in ("order", "list", "place") else 1 + 2 * 4 + (2 if told == "wrong" else 0)
        )
        assert len(found["lodged"]) == 15


@pytest.mark.parametrize(
    ("status", "info"),
    [("-9", "[Code:0009;Desc:x]"), ("-77", ""), ("-900001", "[Code:-900001;Desc:x]")],
)
async def test_a_900_with_a_code_in_no_list_is_divided_and_refuses_nobody(
    status: str, info: str, database: str, keys: Path
) -> None:
    """All of the message waited for a day, and were given up together then."""
    async with opened(database, keys) as world:
        orders = submit(world, 16, lambda _: "silent")
        await world.settle_down()
        answered, good = 0, []
        for _ in range(8):
            for message in lodged(world)[answered:]:
                answered += 1
                inside = re.findall(rb"<orderNo>([^<]+)</orderNo>", message)
                if orders[0].encode() in inside:
                    world.publish(
                        topics.RECEIPTS,
                        [fault(re.findall(rb'guid="([^"]+)"', message)[0].decode(), status, info)],
                    )
                else:
                    good += inside
            await world.settle_down()
        assert sorted(number.decode() for number in good) == orders[1:], (
            "each of the others left once without the first"
        )
        assert set(await ended(world)) == {"lodged"}
        assert await world.broken() == {}


@pytest.mark.parametrize("word", ["outage", "busy"])
async def test_an_order_whose_way_is_blocked_is_fulfilled_in_time(
    word: str, database: str, keys: Path
) -> None:
    async with opened(database, keys) as world:
        orders = submit(world, 20, lambda n: word if n % 2 else "")
        for _ in range(40):
            await world.settle_down()
            world.clock.now += 1
        assert (await ended(world))["fulfilled"] == set(orders)
        assert await pauses(world) == []
        assert await world.broken() == {}


async def outage(world: World, monkeypatch: pytest.MonkeyPatch, lists: int) -> tuple[int, float]:
    """Let so many lists wait through half an hour in which the e-port can send nothing to customs.

    Returns how many messages left in that time, and the seconds from its end until nothing is left to do.
    """
    ends = world.clock.now + 1800

    def blocked(entry: Any, last: Any, now: float, policy: Any) -> Any:
        return (
            Refusal(4, "发送海关失败") if now < ends else e_port_refusal(entry, last, now, policy)
        )

    monkeypatch.setattr(sandbox_lists, "e_port_refusal", blocked)
    orders = submit(world, lists)
    for _ in range(30):
        await world.settle_down()
        world.clock.now += 60
    assert set(await ended(world)) == {"lodged", "placed"}, (
        "placed: not one message with its list left"
    )
    assert [row[1:] for row in await pauses(world)] == [("wait", "4")]
    sent = len(lodged(world))
    await world.admin.execute("UPDATE customs.pause SET since = now() - interval '30 minutes'")
    began = monotonic()
    await world.settle_down()
    took_s = monotonic() - began
    assert (await ended(world)) == {"fulfilled": set(orders)}
    assert await pauses(world) == []
    assert await world.broken() == {}
    return sent, took_s


async def test_while_the_way_is_blocked_only_trials_leave_and_all_when_it_is_free(
    database: str, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an hour of outage: nobody is refused, little is sent, and all are through at once when it ends."""
    async with opened(database, keys) as world:
        sent, _ = await outage(world, monkeypatch, 1000)
        assert sent <= MESSAGES_MAX + 30, "messages of a hundred at first, then one list at a time"


async def test_a_refusal_of_our_signature_stops_lodging_refuses_nobody_and_goes_on_when_mended(
    database: str, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database, keys) as world:
        monkeypatch.setattr(world.authority._declarants, "check", _refused)
        orders = submit(world, 30)
        for _ in range(4):
            await world.settle_down()
        assert set(await ended(world)) == {"lodged"}
        assert await pauses(world) == [("*", "ours", "-621029")]
        assert await open_cases(world) == ["lodging_refused"]
        sent = len(lodged(world))
        more = submit(world, 5, prefix="MORE")
        await world.settle_down()
        assert len(lodged(world)) <= sent + 1, "nothing but a trial"
        monkeypatch.undo()
        for _ in range(3):
            await world.settle_down()
        assert (await ended(world))["fulfilled"] == {*orders, *more}
        assert await pauses(world) == []
        assert await open_cases(world) == []


def _refused(*_: Any) -> None:
    from sandbox.authority.signature import SignatureFault

    raise SignatureFault("of another key", differs=False)


@pytest.mark.parametrize(("status", "info", "reason"), [
    ("-3003", "timeout", "wait"), ("-1001", "[Code:1001;Desc:x]", "ours"), ("-1004", "[Code:1004;Desc:x]", "ours"),
])  # fmt: skip
async def test_a_900_for_the_way_or_the_signature_divides_nothing(
    status: str, info: str, reason: str, database: str, keys: Path
) -> None:
    async with opened(database, keys) as world:
        submit(world, 10, lambda _: "silent")
        await world.settle_down()
        guid = await world.admin.fetchval("SELECT message_guid FROM customs.batch")
        world.publish(topics.RECEIPTS, [fault(guid, status, info)])
        for channel in world.channels():
            await world.advance(channel)
        assert [row[1] for row in await pauses(world)] == [reason]
        assert (
            await world.admin.fetchval("SELECT count(*) FROM customs.waiting WHERE part IS NULL")
            == 10
        )
        assert await world.admin.fetchval("SELECT count(*) FROM customs.part") == 0
        assert await world.broken() == {}


@pytest.mark.parametrize("asked", [CANCEL, RETURN])
async def test_a_message_of_cancellations_or_returns_refused_whole_costs_the_bad_one_only(
    asked: str, database: str, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database, keys) as world:
        orders = submit(world, 8, lambda _: "hold" if asked == CANCEL else "")
        await world.settle_down()
        before = len(lodged(world))
        platform = submission("cherries", 1, seed=7, prefix="FAIL", at=AT, person=1)["platform"]
        monkeypatch.setattr(world.authority, "receive", lambda *_: [])  # answered below
        body = {"platform": platform, "reason": "does not please"}
        world.publish(
            topics.SUBMISSIONS,
            [shop_record(each, {**body, "order_no": each}, asked) for each in orders],
        )
        await world.settle_down()
        answered, alone = before, []
        while answered < len(lodged(world)):
            for message in lodged(world)[answered:]:
                answered += 1
                inside = re.findall(rb"<orderNo>([^<]+)</orderNo>", message)
                if orders[0].encode() in inside:
                    guid = re.findall(rb'guid="([^"]+)"', message)[0].decode()
                    world.publish(topics.RECEIPTS, [fault(guid, "-2", "[Code:0002;Desc:format]")])
                    alone += inside if len(inside) == 1 else []
            await world.settle_down()
        assert alone == [orders[0].encode()]
        assert answered - before <= 1 + 2 * 3
        rows = await world.admin.fetch(
            "SELECT o.order_no, d.state, d.cancel_refused FROM customs.declaration d JOIN orders.orders o USING (order_id)"
        )
        state = "withdrawing" if asked == CANCEL else "returning"
        refused = [
            row["order_no"] for row in rows if row["cancel_refused"] or row["state"] != state
        ]
        assert refused == [orders[0]]
        assert await world.broken() == {}
