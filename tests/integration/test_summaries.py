"""Consolidation of export lists on the real tables: asked for once a month, followed to the closed declaration, never twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.samples import submission
from sandbox.authority.receipts import (
    Receipt,
    format_fault,
    messages_of,
    new_guid,
    receipt_of,
    return_time,
)
from services.cli.connect import database as connection
from services.cli.connect import target
from services.cli.customs import summaries
from services.cli.tax.rebate_files import lists_in
from services.customs.consolidation.months import month_of
from services.customs.consolidation.publication import publish_pending
from services.customs.consolidation.requests import make_requests
from shared import cases, topics
from shared.outcomes import write
from tests.integration.test_reactions import RETURN, SUBMITTED, shop_record
from tests.integration.world import World, opened


@pytest.fixture
async def world(database: str, keys: Path) -> AsyncIterator[World]:
    async with opened(database, keys) as made:
        yield made


async def placed(world: World, *markers: str, sample: str = "toys_us", first: int = 1) -> list[str]:
    """Exports on their way to being closed; returns their numbers."""
    at = datetime.now(UTC) - timedelta(hours=2)
    numbers = []
    for number, marker in enumerate(markers, first):
        made = submission(sample, number, seed=7, marker=marker, prefix="SUM", at=at, person=number)
        world.publish(topics.SUBMISSIONS, [shop_record(made["order_no"], made, SUBMITTED)])
        numbers.append(made["order_no"])
    await world.settle_down()
    await passes(world, 1)
    return numbers


async def passes(world: World, *seconds: float) -> None:
    for each in seconds:
        world.clock.now += each
        await world.settle_down()


async def month_ends(world: World) -> None:
    """The third day of the next month comes."""
    ends = month_of(datetime.fromtimestamp(world.clock.now, UTC)).ends
    world.clock.now = (ends + timedelta(days=2)).timestamp()
    await world.settle_down()


async def states(world: World) -> list[str]:
    return [
        row["state"]
        for row in await world.admin.fetch(
            "SELECT state FROM customs.summary ORDER BY requested_at, attempt, lists DESC"
        )
    ]


async def lists(world: World) -> list[str]:
    return [
        row["state"]
        for row in await world.admin.fetch(
            "SELECT state FROM customs.export_list ORDER BY closed_at, invt_no"
        )
    ]


async def facts(world: World, order_no: str) -> list[str]:
    rows = await world.admin.fetch(
        "SELECT t.type FROM orders.timeline t JOIN orders.orders o USING (order_id) WHERE o.order_no = $1 AND t.source = 'customs' "
        "AND (t.type LIKE 'customs.summary%' OR t.type LIKE 'customs.%consolidated%') ORDER BY t.id",
        order_no,
    )
    return [row["type"].removeprefix("customs.").removesuffix(".v1") for row in rows]


async def test_the_lists_of_a_month_are_asked_for_declared_and_closed(world: World) -> None:
    numbers = await placed(world, "", "", "")
    assert await states(world) == []
    assert await lists(world) == ["open"] * 3
    await month_ends(world)
    assert await states(world) == ["accepted"]
    await passes(world, 1)
    assert await states(world) == ["declared"]
    assert await lists(world) == ["consolidated"] * 3
    await passes(world, 1)
    assert await states(world) == ["closed"]
    for number in numbers:
        assert await facts(world, number) == [
            "summary-requested",
            "list-consolidated",
            "consolidated-declaration-closed",
        ]
    assert await world.states() == dict.fromkeys(numbers, "fulfilled")
    assert await world.broken() == {}


async def test_a_list_that_is_refused_is_set_aside_and_the_others_are_asked_for_anew(
    world: World,
) -> None:
    numbers = await placed(world, "", "sum_refused", "")
    await month_ends(world)
    await passes(world, 1, 1)
    assert await states(world) == ["superseded", "closed"]
    assert sorted(await lists(world)) == ["consolidated", "consolidated", "set_aside"]
    assert await facts(world, numbers[1]) == ["summary-requested", "summary-refused"]
    assert await facts(world, numbers[0]) == [
        "summary-requested", "summary-refused", "summary-requested", "list-consolidated", "consolidated-declaration-closed",
    ]  # fmt: skip
    told = await world.admin.fetchval(
        "SELECT t.summary FROM orders.timeline t JOIN orders.orders o USING (order_id) WHERE o.order_no = $1 "
        "AND t.type = 'customs.summary-refused.v1'",
        numbers[1],
    )
    assert json.loads(told)["set_aside"] is True
    assert "701005" in told
    assert await world.broken() == {}


async def test_a_request_told_to_wait_is_made_anew_and_one_refused_for_good_waits_for_a_person(
    world: World,
) -> None:
    await placed(world, "sum_wait")
    await month_ends(world)
    assert await states(world) == ["refused"]
    await passes(world, 6, 1, 1)
    assert await states(world) == ["superseded", "closed"]
    await placed(world, "sum_no", first=2)
    await month_ends(world)
    await passes(world, 86_400, 86_400)
    assert await states(world) == ["superseded", "closed", "refused"]
    assert await world.broken() == {}


async def test_silence_leaves_the_request_open_and_nothing_asks_twice(world: World) -> None:
    await placed(world, "sum_silent")
    await month_ends(world)
    await passes(world, 86_400, 86_400)
    assert await states(world) == ["requested"]
    assert await lists(world) == ["requested"]
    assert await world.broken() == {}


@pytest.mark.parametrize("marker", ["sum_dup", "dec_returned"])
async def test_words_said_twice_and_a_returned_declaration_end_closed(
    world: World, marker: str
) -> None:
    numbers = await placed(world, marker)
    await month_ends(world)
    await passes(world, 1, 1, 1)
    assert await states(world) == ["closed"]
    assert await facts(world, numbers[0]) == [
        "summary-requested",
        "list-consolidated",
        "consolidated-declaration-closed",
    ]
    assert await world.broken() == {}


async def test_goods_that_came_back_before_are_not_taken_up_and_those_on_their_way_wait(
    world: World,
) -> None:
    kept, back = await placed(world, "", "")
    asked = {
        "platform": submission("toys_us", 2, seed=7)["platform"],
        "order_no": back,
        "reason": "too small",
    }
    world.publish(topics.SUBMISSIONS, [shop_record(back, asked, RETURN)])
    await world.settle_down()
    assert (await world.states())[back] == "withdrawing"
    await month_ends(world)
    await passes(world, 1, 1)
    assert (await world.states())[back] == "returned"
    assert await facts(world, kept) == [
        "summary-requested",
        "list-consolidated",
        "consolidated-declaration-closed",
    ]
    assert await facts(world, back) == []
    assert sorted(await lists(world)) == ["consolidated", "returned"]
    assert await world.broken() == {}


async def test_two_replicas_and_one_that_dies_make_one_request(world: World) -> None:
    await placed(world, "", "")
    world.clock.now = (
        month_of(datetime.fromtimestamp(world.clock.now, UTC)).ends + timedelta(days=2)
    ).timestamp()
    pool, deps, sealing = world.pools["customs"], world.deps["customs"], world.sealing

    async def turn(*, dies: bool = False) -> None:
        async with pool.acquire() as conn, conn.transaction():
            for action in (make_requests, publish_pending):
                await write(conn, "customs", topics.CUSTOMS, await action(conn, deps), sealing)
            if dies:
                raise ConnectionError

    with pytest.raises(ConnectionError):
        await turn(dies=True)
    assert await states(world) == []
    assert await world.admin.fetchval("SELECT count(*) FROM customs.outbox") == 0
    await asyncio.gather(turn(), turn())
    await turn()
    assert await states(world) == ["requested"]
    assert (
        await world.admin.fetchval(
            "SELECT count(*) FROM customs.outbox WHERE topic = 'authority.declarations'"
        )
        == 1
    )
    await passes(world, 0, 1, 1)
    assert await states(world) == ["closed"]
    assert await world.broken() == {}


async def test_a_request_is_divided_into_messages_and_what_is_left_is_the_next(
    world: World,
) -> None:
    await placed(world, *[""] * 5)
    rules = world.deps["customs"].consolidation
    small = replace(
        rules.policy, summaries=replace(rules.policy.summaries, lists_max=2, messages_max=2)
    )
    world.deps["customs"] = replace(
        world.deps["customs"], consolidation=replace(rules, policy=small)
    )
    await month_ends(world)
    await passes(world, 1, 1)
    assert await states(world) == ["closed", "closed"]
    parts = await world.admin.fetch(
        "SELECT lists FROM customs.summary_part ORDER BY lists, message_guid"
    )
    assert [row["lists"] for row in parts] == [1, 2, 2]
    assert await world.broken() == {}


def result(head: dict[str, str], *lines: dict[str, str]) -> Receipt:
    fields = {
        "guid": new_guid(), "customsCode": "2244", "sumNo": "S20261201999999999", "opDate": return_time(1796000000.0),
        "declSeqNo": "S20261201999999998", "decState": "1", "agentCode": "A", "agentName": "A", "ebcCode": "B", "ebcName": "B",
        "declAgentCode": "A", "declAgentName": "A", "grossWeight": "1", "netWeight": "1", "msgCount": "1", "msgSeqNo": "1",
    } | head  # fmt: skip
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    items = "".join(
        f"<SummaryResultList>{''.join(f'<{name}>{value}</{name}>' for name, value in each.items())}</SummaryResultList>"
        for each in lines
    )
    xml = f"<SummaryResult><SummaryResultHead>{inside}</SummaryResultHead>{items}</SummaryResult>"
    return Receipt("792", "GUID", fields["decState"], "", fields["sumNo"], xml)


async def letters(world: World) -> list[str]:
    found = [dict(record.headers) for record in world.log["authority.receipts.dead-letters"]]
    return [head["dlq_error"].decode() for head in found]


async def test_a_result_that_is_not_of_our_lists_is_a_dead_letter_that_says_why(
    world: World,
) -> None:
    await placed(world, "")
    await month_ends(world)
    (row,) = await world.admin.fetch("SELECT invt_no FROM customs.export_list")
    line = {
        "invtNo": row["invt_no"],
        "logisticsNo": "X",
        "gseqno": "1",
        "gnum": "1",
        "gcode": "9503008900",
    }
    spoiled = [
        result({}, line | {"invtNo": "22442026E999999999"}),
        result({}, line),
        result(
            {"sumNo": await world.admin.fetchval("SELECT sum_no FROM customs.summary")},
            line | {"gnum": "9"},
        ),
    ]
    for each in spoiled:
        world.publish(topics.RECEIPTS, messages_of(topics.RECEIPTS, [each], world.clock.now))
        await world.settle_down()
    told = await letters(world)
    assert [
        "is in no summary request" in told[0],
        "found S20261201999999999" in told[1],
        "has no line 9" in told[2],
    ] == [True] * 3
    await passes(world, 1, 1)
    assert await states(world) == ["closed"]
    assert await world.broken() == {}


async def test_a_declaration_of_nobody_is_a_case_until_a_person_or_its_request_settles_it(
    world: World,
) -> None:
    """Nobody could end the broken promise."""
    world.publish(topics.RECEIPTS, messages_of(topics.RECEIPTS, [result({})], world.clock.now))
    await world.settle_down()
    await world.admin.execute(
        "UPDATE customs.summary_declaration SET came_at = now() - interval '2 days'"
    )
    await world.lodge()
    await world.lodge()
    [case] = await cases.fetch(world.admin, schema="customs")
    assert (case.kind, case.subject, case.times) == (
        "declaration_of_nobody",
        "S20261201999999998",
        1,
    )
    assert set(await world.broken()) == {"customs_declaration_has_its_lines"}
    await world.admin.execute("SET search_path TO customs")
    assert await cases.close(
        world.admin, case.number, verdict="closed", note="of another company", by="a person"
    )
    await world.lodge()
    assert await cases.fetch(world.admin, schema="customs") == []
    assert await world.broken() == {}


@pytest.mark.parametrize(
    ("status", "info", "again"), [("-2", "[Code:0002;Desc:schema]", False), ("-77", "x", True)]
)
async def test_a_request_that_fails_the_format_check_is_refused(
    world: World, status: str, info: str, again: bool
) -> None:
    """One that is refused for a reason in no list is asked for again: it may have been the way."""
    await placed(world, "sum_silent")
    await month_ends(world)
    guid = await world.admin.fetchval("SELECT message_guid FROM customs.summary_part")
    fault = format_fault(guid, "CEB701Message", -2, info, world.clock.now)
    [said] = messages_of(topics.RECEIPTS, [fault], world.clock.now)
    value = (said.value or b"").replace(b"<returnStatus>-2<", f"<returnStatus>{status}<".encode())
    world.publish(topics.RECEIPTS, [said._replace(value=value)])
    for channel in world.channels():
        await world.advance(channel)
    row = await world.admin.fetchrow(
        "SELECT state, again_at IS NOT NULL AS again FROM customs.summary"
    )
    assert tuple(row) == ("refused", again)
    assert await world.broken() == {}


@pytest.mark.parametrize("refusal_first", [False, True])
async def test_a_receipt_and_a_refusal_of_its_message_in_one_batch_end_alike_in_either_order(
    world: World, refusal_first: bool
) -> None:
    """The table's order decides which handler runs first, not the order of the batch."""
    await placed(world, "sum_silent")
    await month_ends(world)
    part = await world.admin.fetchrow(
        "SELECT p.message_guid, s.cop_no FROM customs.summary_part p JOIN customs.summary s USING (summary_id)"
    )
    now, guid = world.clock.now, part["message_guid"]
    fields = {"agentCode": "4403260001", "ebcCode": "4403260002", "copNo": part["cop_no"], "preNo": "B1", "sumNo": "S1",
              "msgSeqNo": "1"}  # fmt: skip
    said = [
        receipt_of("summary", "603", guid, fields, 399, "", now),
        format_fault(guid, "CEB701Message", -2, "cvc-pattern-valid", now),
    ]
    both = said[::-1] if refusal_first else said
    world.publish(topics.RECEIPTS, messages_of(topics.RECEIPTS, both, now))
    channel = ("customs", topics.RECEIPTS)
    assert len(world.pending(channel)) == 2
    await world.advance(channel)
    row = await world.admin.fetchrow("SELECT state, sum_no, accepted FROM customs.summary")
    assert tuple(row) == ("refused", "S1", [1])
    assert await world.broken() == {}


async def test_what_never_may_be_is_found(world: World) -> None:
    await placed(world, "", "")
    await month_ends(world)
    await passes(world, 1, 1)
    lines = "(SELECT count(*) FROM customs.summary_line)"
    number = "(SELECT sum_no FROM customs.summary_declaration)"
    for change, back, broken in (
        (
            "summary_line SET quantity = quantity + 1",
            "summary_line SET quantity = quantity - 1",
            "declared_lines_are_the_lists",
        ),
        ("summary SET lists = 3", "summary SET lists = 2", "customs_summary_holds_its_lists"),
        (
            "summary_declaration SET lines = 9",
            f"summary_declaration SET lines = {lines}",
            "customs_declaration_has_its_lines",
        ),
        (
            "summary SET sum_no = 'S'",
            f"summary SET sum_no = {number}",
            "customs_list_is_declared_by_its_own_request",
        ),
    ):
        await world.admin.execute(f"UPDATE customs.{change}")
        assert set(await world.broken()) == {broken}, change
        await world.admin.execute(f"UPDATE customs.{back}")
        assert await world.broken() == {}, back


async def test_a_person_asks_before_the_timer_asks_anew_and_takes_up(
    world: World, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSBORDER_POSTGRES", database)
    await placed(world, "")
    month = month_of(datetime.fromtimestamp(world.clock.now, UTC)).label
    before = await summaries._list(None, 10)
    assert [(row["month"], row["state"], row["lists"]) for row in before["to_consolidate"]] == [
        (month, "open", 1)
    ]
    assert before["to_consolidate"][0]["days_left"] >= 14
    assert await summaries._request("2001-01") == 0
    assert await summaries._request(month) == 1
    await world.settle_down()
    await passes(world, 1, 1)
    (done,) = (await summaries._list(month, 10))["requests"]
    assert (done["state"], [each["stage"] for each in done["declarations"]]) == (
        "closed",
        ["closed"],
    )
    assert await world.admin.fetchval("SELECT count(*) FROM customs.month_asked") == 0

    await placed(world, "sum_no", first=2)
    await summaries._request(month)
    await world.settle_down()
    refused = (await summaries._list(month, 1))["requests"][0]
    assert (refused["state"], refused["waits_for_a_person"]) == ("refused", True)
    again = summaries._AGAIN, summaries._REFUSED
    assert await summaries._update(*again, refused["cop_no"][:-1]) == refused["cop_no"]
    assert await summaries._update(*again, refused["cop_no"]) is None
    world.clock.now = max(world.clock.now, datetime.now(UTC).timestamp()) + 1
    await world.settle_down()
    assert await states(world) == ["closed", "superseded"]

    await placed(world, "sum_refused", first=3)
    await summaries._request(month)
    await world.settle_down()
    number = await world.admin.fetchval(
        "SELECT invt_no FROM customs.export_list WHERE state = 'set_aside'"
    )
    assert await summaries._update(summaries._TAKE_UP, summaries._SET_ASIDE, number[:-1]) == number
    assert "set_aside" not in await lists(world)
    assert await world.broken() == {}


async def test_lists_under_summary_statistics_are_never_taken_up(
    world: World, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deps = world.deps["customs"]
    simplified = replace(deps.authority, policy=replace(deps.authority.policy, statistics_flag="A"))
    world.deps["customs"] = replace(deps, authority=simplified)
    await placed(world, "")
    month = month_of(datetime.fromtimestamp(world.clock.now, UTC))
    await month_ends(world)
    assert await lists(world) == await states(world) == []
    monkeypatch.setenv("CROSSBORDER_POSTGRES", database)
    async with connection(target()) as conn, conn.transaction():
        (found,) = await lists_in(conn, month.begins.date())
    assert found.statistics
    assert await world.broken() == {}
