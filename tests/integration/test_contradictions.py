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
    await hear(
        world,
        receipt(
            "CEB622",
            "InventoryReturn",
            row_of(found["cop_no"], status, **{"invtNo": number(1)} | more),
        ),
    )


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
    assert (case.kind, case.subject, case.order_id) == (
        "released_after_refusal",
        found["cop_no"],
        found["order_id"],
    )
    assert (case.details["first"]["status"], case.details["first"]["code"]) == ("100", "1313")
    assert (case.details["then"]["status"], case.details["then"]["meaning"]) == ("800", "released")
    assert "refunded" in case.details["money"]
    assert (case.details["list"], case.details["number"], case.details["state"]) == (
        found["cop_no"],
        number(1),
        "refused",
    )
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
async def test_a_word_that_customs_said_before_the_release_and_comes_after_is_none(
    world: World, status: str
) -> None:
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
    rows = [
        row_of(a["cop_no"], "120", invtNo=number(1)),
        row_of(b["cop_no"], "120", invtNo=number(2)),
    ]
    c, d = await placed(world, 3), await placed(world, 4)
    rows += [row_of(each["cop_no"], "120", invtNo=number(9)) for each in (c, d)]
    await hear(world, receipt("CEB622", "InventoryReturn", *rows))
    assert {(await declared(world, each["order_id"]))["invt_no"] for each in (c, d)} == {
        number(9),
        None,
    }
    assert await world.admin.fetchval("SELECT count(*) FROM customs.dead_letter") == 0


async def test_declared_already_without_a_number_is_a_case_until_the_number_comes(
    world: World,
) -> None:
    found = await placed(world)
    await say(world, found, "-621004", invtNo="")
    assert (await declared(world, found["order_id"]))["state"] == "lodged"
    assert await found_in(world) == [("declared_unnumbered", 1)]
    await say(world, found, "120")
    assert await found_in(world) == []
    [case] = await cases.fetch(world.admin, schema="customs", open_only=False)
    assert case.closed_by == "customs"


@pytest.mark.parametrize("granted_first", [True, False])
async def test_a_withdrawn_list_that_is_released_is_a_case_in_either_order(
    world: World, granted_first: bool
) -> None:
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


async def test_a_case_is_counted_and_shown_with_its_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await placed(world)
    await say(world, found, "800")
    await say(world, found, "500", returnTime="20261123120000001")
    [case] = await shown.of_order(world.admin, found["order_id"])
    assert (case["service"], case["kind"], case["what_to_do"]) == (
        "customs",
        "refused_after_release",
        KINDS["refused_after_release"],
    )
    monkeypatch.setitem(metrics.CASES_OPEN._sets, "kind", frozenset(KINDS))
    async with world.pools["customs"].acquire() as conn:
        await cases.measure(conn, "customs", KINDS)
        assert metrics.CASES_OPEN.labels("customs", "refused_after_release")._value.get() == 1
        assert await cases.close(
            conn,
            case["number"],
            verdict="closed",
            note="the office says: examined before",
            by="ops",
        )
    assert await shown.of_order(world.admin, found["order_id"]) == []
    await say(world, found, "500", returnTime="20261123120000001")
    assert await shown.of_order(world.admin, found["order_id"]) == [], "the same word again"


BILL = (
    "<TaxHeadRd><guid>G</guid><returnTime>20261201120000000</returnTime><invtNo>{invt_no}</invtNo><taxNo>{invt_no}_0</taxNo>"
    "<customsTax>0</customsTax><valueAddedTax>1.00</valueAddedTax><consumptionTax>0</consumptionTax><status>1</status></TaxHeadRd>"
    "<TaxListRd><gnum>1</gnum><gcode>1</gcode><taxPrice>1</taxPrice><customsTax>0</customsTax><valueAddedTax>1.00</valueAddedTax>"
    "<consumptionTax>0</consumptionTax></TaxListRd>"
)
STATUS = (
    "<TaxHeadStatus><guid>G</guid><returnTime>20261201120000000</returnTime><invtNo>{invt_no}</invtNo><taxNo>{invt_no}_0</taxNo>"
    "<status>3</status></TaxHeadStatus>"
)


@pytest.mark.parametrize(("message", "form"), [("CEB816", BILL), ("CEB818", STATUS)])
async def test_a_bill_of_an_export_or_of_nobody_is_refused_at_the_door(
    world: World, message: str, form: str
) -> None:
    mine, export = (
        await placed(world, 1, marker="nobill"),
        await placed(world, 2, sample="toys_us", marker="hold"),
    )
    assert (mine["state"], export["direction"]) == ("released", "export")
    # Customs numbers exports with an E; one of another form is known by its list all the same.
    odd = export["invt_no"].replace("E", "X")
    await world.admin.execute(
        "UPDATE customs.declaration SET invt_no = $1 WHERE order_id = $2", odd, export["order_id"]
    )
    numbers = [mine["invt_no"], "22442026E000000001", odd, number(999_999)]
    await hear(world, receipt(message, "Tax", *(form.format(invt_no=each) for each in numbers)))
    refused = await world.admin.fetch(
        "SELECT entry, reason FROM customs.dead_letter ORDER BY entry"
    )
    assert [tuple(row) for row in refused] == [
        (2, "invalid_value"),
        (3, "invalid_value"),
        (4, "invalid_value"),
    ]
    rows = await world.admin.fetch("SELECT invt_no FROM customs.tax_bill")
    assert [row["invt_no"] for row in rows] == [mine["invt_no"]]
    for service in ("tax", "payments", "orders"):
        assert await world.admin.fetchval(f"SELECT count(*) FROM {service}.held_order") == 0
        assert await world.admin.fetchval(f"SELECT count(*) FROM {service}.dead_letter") == 0


async def test_a_bill_that_overtakes_the_number_of_its_list_is_kept(world: World) -> None:
    found = await placed(world)
    assert found["invt_no"] is None
    await hear(
        world,
        receipt("CEB816", "Tax", BILL.format(invt_no=number(1)), BILL.format(invt_no=number(2))),
    )
    assert await world.admin.fetchval("SELECT count(*) FROM customs.dead_letter") == 0
    await say(world, found, "800")
    assert await world.admin.fetchval(
        "SELECT billed_said FROM customs.tax_bill WHERE invt_no = $1", number(1)
    )
    await world.admin.execute("UPDATE customs.tax_bill SET came_at = now() - interval '2 hours'")
    await world.lodge()
    [case] = await cases.fetch(world.admin, schema="customs")
    assert (case.kind, case.subject, case.details) == (
        "bill_of_nobody",
        f"{number(2)}_0",
        {"list": number(2)},
    )


async def test_a_bill_of_nobody_is_one_case_that_closes_when_its_list_gets_known(
    world: World,
) -> None:
    found = await placed(world)
    await hear(
        world,
        receipt("CEB816", "Tax", BILL.format(invt_no=number(1)), BILL.format(invt_no=number(2))),
    )
    await world.admin.execute("UPDATE customs.tax_bill SET came_at = now() - interval '2 days'")
    for _ in range(3):
        await world.lodge()
    assert await found_in(world) == [("bill_of_nobody", 1)] * 2
    await say(world, found, "800")
    [left] = await cases.fetch(world.admin, schema="customs")
    assert left.subject == f"{number(2)}_0"
    assert set(await world.broken()) == {"customs_bill_has_its_list"}
    await world.admin.execute("SET search_path TO customs")
    assert await cases.close(
        world.admin, left.number, verdict="closed", note="of another company", by="a person"
    )
    assert not await cases.close(
        world.admin, left.number, verdict="closed", note="once more", by="a person"
    )
    await world.lodge()
    assert await found_in(world) == []
    assert await world.broken() == {}, "nothing is left to do for anybody"
