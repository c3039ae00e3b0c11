"""What the authority says against its own word becomes a case, and nobody's money moves by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.cli import cases as shown
from services.customs.cases import KINDS
from shared import cases, metrics
from tests.integration.receipts import declared, hear, placed, receipt, row_of
from tests.integration.test_receipts import number, row_604, withdrawn
from tests.integration.world import World, opened


@pytest.fixture
async def world(database: str, keys: Path) -> Any:
    async with opened(database, keys) as made:
        yield made


async def say(world: World, found: dict[str, Any], status: str, **more: str) -> None:
    await hear(world, receipt("CEB622", "InventoryReturn", row_of(found["cop_no"], status, **{"invtNo": number(1)} | more)))


async def found_in(world: World) -> list[tuple[str, int]]:
    return [(case.kind, case.times) for case in await cases.fetch(world.admin, schema="customs")]


async def test_goods_released_after_a_refusal_are_a_case_with_both_receipts(world: World) -> None:
    found = await placed(world)
    await say(world, found, "120")
    await say(world, found, "100", returnInfo="[Code:1313;Desc:x]")
    await say(world, found, "800", returnInfo="[Code:2600;Desc:x]")
    assert await world.states() == {found["order_no"]: "rejected"}
    assert (await declared(world, found["order_id"]))["state"] == "refused"
    [case] = await cases.fetch(world.admin, schema="customs")
    assert (case.kind, case.subject, case.order_id) == ("released_after_refusal", found["cop_no"], found["order_id"])
    assert (case.details["first"]["status"], case.details["first"]["code"]) == ("100", "1313")
    assert (case.details["then"]["status"], case.details["then"]["meaning"]) == ("800", "released")
    assert "refunded" in case.details["money"]
    assert (case.details["list"], case.details["number"], case.details["state"]) == (found["cop_no"], number(1), "refused")
    await say(world, found, "899")
    assert await found_in(world) == [("released_after_refusal", 2)]
    assert await world.broken() == {}


@pytest.mark.parametrize("status", ["100", "500", "501", "600", "700"])
async def test_goods_stopped_after_their_release_are_a_case(world: World, status: str) -> None:
    found = await placed(world)
    await say(world, found, "800")
    await say(world, found, status, returnTime="20261123120000001")
    assert await world.states() == {found["order_no"]: "fulfilled"}
    [case] = await cases.fetch(world.admin, schema="customs")
    assert (case.kind, case.details["first"]["status"], case.details["then"]["status"]) == (
        "refused_after_release",
        "800",
        status,
    )
    assert "settled" in case.details["money"]
    assert await world.broken() == {}


@pytest.mark.parametrize("status", ["2", "120", "300", "500"])
async def test_a_word_that_customs_said_before_the_release_and_comes_after_is_none(world: World, status: str) -> None:
    found = await placed(world)
    await say(world, found, "800")
    await say(world, found, status, returnTime="20261123115959999")
    assert await found_in(world) == []


async def test_two_numbers_of_a_list_and_one_number_of_two_lists_are_cases(world: World) -> None:
    a, b = await placed(world, 1), await placed(world, 2)
    await say(world, a, "120")
    await say(world, a, "120", invtNo=number(7))
    await say(world, b, "800", invtNo=number(1))
    assert sorted(await found_in(world)) == [("number_of_another", 1), ("two_numbers", 1)]
    assert (await declared(world, a["order_id"]))["invt_no"] == number(1)
    rows = [row_of(a["cop_no"], "120", invtNo=number(1)), row_of(b["cop_no"], "120", invtNo=number(2))]
    c, d = await placed(world, 3), await placed(world, 4)
    rows += [row_of(each["cop_no"], "120", invtNo=number(9)) for each in (c, d)]
    await hear(world, receipt("CEB622", "InventoryReturn", *rows))
    assert {(await declared(world, each["order_id"]))["invt_no"] for each in (c, d)} == {number(9), None}
    assert await world.admin.fetchval("SELECT count(*) FROM customs.dead_letter") == 0


async def test_declared_already_without_a_number_is_a_case_until_the_number_comes(world: World) -> None:
    found = await placed(world)
    await say(world, found, "-621004", invtNo="")
    assert (await declared(world, found["order_id"]))["state"] == "lodged"
    assert await found_in(world) == [("declared_unnumbered", 1)]
    await say(world, found, "120")
    assert await found_in(world) == []
    [case] = await cases.fetch(world.admin, schema="customs", open_only=False)
    assert case.closed_by == "customs"


@pytest.mark.parametrize("granted_first", [True, False])
async def test_a_withdrawn_list_that_is_released_is_a_case_in_either_order(world: World, granted_first: bool) -> None:
    found = await placed(world, sample="toys_us")
    found["invt_no"] = "22442026E000000001"
    await hear(world, receipt("CEB604", "InventoryReturn", row_604(found, "120")))
    await withdrawn(world, found)
    said = [
        receipt("CEB606", "InvtCancelReturn", row_604(found, "399")),
        receipt("CEB604", "InventoryReturn", row_604(found, "800")),
    ]
    for each in said if granted_first else said[::-1]:
        await hear(world, each)
    [case] = await cases.fetch(world.admin, schema="customs")
    assert (case.kind, case.details["state"]) == ("released_after_refusal", "withdrawn")
    assert {case.details["first"]["status"], case.details["then"]["status"]} == {"399", "800"}
    assert "refunded" in case.details["money"]


async def test_a_case_is_counted_shown_with_its_order_and_named_by_verify(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await placed(world)
    await say(world, found, "800")
    await say(world, found, "500", returnTime="20261123120000001")
    [case] = await shown.of_order(world.admin, found["order_id"])
    assert (case["service"], case["kind"], case["what_to_do"]) == (
        "customs",
        "refused_after_release",
        KINDS["refused_after_release"],
    )
    assert await shown.open_cases(world.admin) == [
        f"refused_after_release of {found['cop_no']}: `crossborder customs cases show {case['number']}`"
    ]
    monkeypatch.setitem(metrics.CASES_OPEN._sets, "kind", frozenset(KINDS))
    async with world.pools["customs"].acquire() as conn:
        await cases.measure(conn, "customs", KINDS)
        assert metrics.CASES_OPEN.labels("customs", "refused_after_release")._value.get() == 1
        assert await cases.close(conn, case["number"], verdict="closed", note="the office says: examined before", by="ops")
    assert await shown.open_cases(world.admin) == []
    await say(world, found, "500", returnTime="20261123120000001")
    assert await shown.open_cases(world.admin) == [], "the same word again"
