"""What the authority says is heard entry by entry, under whichever number it names a list."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.cli.connect import RunningStack
from services.cli.customs import notices
from services.cli.order import app as order
from shared import topics
from shared.envelope import Outgoing, first_headers
from tests.integration.receipts import declared, hear, placed, receipt, row_of
from tests.integration.test_reactions import CANCEL, shop_record
from tests.integration.world import World, opened

LETTERS = topics.dead_letters_of(topics.RECEIPTS)


@pytest.fixture
async def world(database: str, keys: Path) -> Any:
    async with opened(database, keys) as made:
        yield made


async def owed(world: World) -> list[tuple[int, int]]:
    rows = await world.admin.fetch("SELECT at_offset, entry FROM customs.dead_letter ORDER BY 1, 2")
    return [tuple(row) for row in rows]


def number(n: int) -> str:
    return f"22442026I{n:09d}"


async def given_again(world: World, offset: int, entry: int, record: Outgoing) -> None:
    """What `crossborder dlq replay` does: the letter is owed no longer once its record is back in the topic."""
    await world.admin.execute(
        "DELETE FROM customs.dead_letter WHERE topic = $1 AND part = 0 AND at_offset = $2 AND entry = $3",
        topics.RECEIPTS, offset, entry,
    )  # fmt: skip
    await hear(world, record)


async def test_one_entry_that_cannot_be_read_is_one_dead_letter_and_the_others_are_followed(
    world: World,
) -> None:
    found = [await placed(world, n) for n in range(3)]
    rows = [row_of(d["cop_no"], "800", invtNo=number(n)) for n, d in enumerate(found)]
    rows[1]["returnTime"] = "20261123120000"
    await hear(world, receipt("CEB622", "InventoryReturn", *rows))
    assert [(await declared(world, d["order_id"]))["state"] for d in found] == [
        "released",
        "lodged",
        "released",
    ]
    [letter] = world.log[LETTERS]
    heads = first_headers(letter.headers)
    assert (heads["dlq_entry"], heads["dlq_reason"]) == (b"2", b"invalid_value")
    assert heads["dlq_error"].startswith(b"entry 2: returnTime must be 17 digits")
    [(offset, entry)] = await owed(world)
    assert entry == 2
    assert found[1]["cop_no"].encode() in (letter.value or b"")
    assert found[0]["cop_no"].encode() not in (letter.value or b"")

    mended = (letter.value or b"").replace(b">20261123120000<", b">20261123120000000<")
    again = tuple(h for h in letter.headers if not h[0].startswith("dlq_"))
    await given_again(world, offset, 2, Outgoing(topics.RECEIPTS, b"k", mended, again))
    assert (await declared(world, found[1]["order_id"]))["state"] == "released"
    assert await owed(world) == []
    assert await world.broken() == {}


async def test_a_replay_that_fails_again_is_owed_anew_and_two_letters_of_a_record_are_two(
    world: World,
) -> None:
    found = await placed(world)
    bad = row_of(found["cop_no"], "")
    await hear(
        world, receipt("CEB622", "InventoryReturn", bad, row_of(found["cop_no"], "120"), bad)
    )
    assert (await declared(world, found["order_id"]))["state"] == "accepted"
    (first, one), (second, other) = await owed(world)
    assert (first == second, one, other) == (True, 1, 3)
    letter = world.log[LETTERS][0]
    await given_again(world, first, 1, Outgoing(topics.RECEIPTS, b"k", letter.value or b"", ()))
    assert [entry for _, entry in await owed(world)] == [3, 0]


async def test_an_entry_that_cannot_be_handled_costs_no_other_of_its_record(world: World) -> None:
    """A result for a list that is in no request of ours, among results that only tell of declarations."""
    head = "<customsCode>2244</customsCode><sumNo>S{n}</sumNo><declSeqNo>D{n}</declSeqNo><decState>1</decState>"
    head += "<opDate>20261201120000000</opDate>"
    plain = [f"<SummaryResultHead>{head.format(n=n)}</SummaryResultHead>" for n in range(5)]
    line = "<invtNo>22442026E000000009</invtNo><logisticsNo>1</logisticsNo><gseqno>1</gseqno><gnum>1</gnum><gcode>9503008900</gcode>"
    plain[3] += f"<SummaryResultList>{line}</SummaryResultList>"
    await hear(world, receipt("CEB792", "SummaryResult", *plain))
    rows = await world.admin.fetch("SELECT decl_seq_no FROM customs.summary_declaration ORDER BY 1")
    assert [row["decl_seq_no"] for row in rows] == ["D0", "D1", "D2", "D4"]
    assert [entry for _, entry in await owed(world)] == [4]
    [letter] = world.log[LETTERS]
    assert b">D3<" in (letter.value or b"")
    assert b">D2<" not in (letter.value or b"")
    assert first_headers(letter.headers)["dlq_error"].startswith(
        b"entry 4: CEB792: list 22442026E000000009 is in no"
    )


async def test_a_foreign_number_of_ours_is_no_matter_where_customs_own_is_known(
    world: World,
) -> None:
    a, b = await placed(world, 1), await placed(world, 2)
    await hear(world, receipt(
        "CEB622", "InventoryReturn", row_of(a["cop_no"], "120", invtNo=number(1), preNo="B20261123000000011"),
        row_of(b["cop_no"], "120", preNo="B20261123000000012"),
    ))  # fmt: skip
    await hear(world, receipt(
        "CEB622", "InventoryReturn", row_of("1105910159", "800", invtNo=number(1), preNo="B20261123000000099"),
        row_of("DAAAAAAAAAAAAAAAAAAA", "500", preNo="B20261123000000012"),
    ))  # fmt: skip
    assert (await declared(world, a["order_id"]))["state"] == "released"
    assert (await declared(world, b["order_id"]))["state"] == "examination"


async def test_a_number_of_the_e_port_that_two_lists_have_finds_none(world: World) -> None:
    a, b = await placed(world, 1), await placed(world, 2)
    await hear(
        world, receipt("CEB622", "InventoryReturn", *(row_of(d["cop_no"], "120") for d in (a, b)))
    )
    await hear(world, receipt("CEB622", "InventoryReturn", row_of("1105910159", "500")))
    assert {(await declared(world, d["order_id"]))["state"] for d in (a, b)} == {"accepted"}
    assert await owed(world) == []


async def test_receipts_that_need_nothing_are_kept(world: World) -> None:
    common = {
        "returnStatus": "120",
        "returnTime": "20261123120000000",
        "returnInfo": "[Code:1800;Desc:逻辑校验通过]",
    }
    await hear(
        world,
        receipt(
            "CEB312", "OrderReturn", {"ebpCode": "1", "ebcCode": "2", "orderNo": "N1"} | common
        ),
        receipt("CEB512", "LogisticsReturn", {"logisticsCode": "1", "logisticsNo": "W1"} | common),
        receipt("CEB712", "DeliveryReturn", {"copNo": "X1"} | common),
    )
    rows = await world.admin.fetch(
        "SELECT message_type, status, code, numbers::text FROM customs.notice ORDER BY id"
    )
    assert [tuple(row) for row in rows] == [
        ("CEB312", "120", "1800", '{"ebpCode": "1", "orderNo": "N1"}'),
        ("CEB512", "120", "1800", '{"logisticsNo": "W1", "logisticsCode": "1"}'),
        ("CEB712", "120", "1800", '{"copNo": "X1"}'),
    ]
    assert await owed(world) == []


async def test_an_order_shows_what_was_said_of_the_documents_that_others_lodge(
    world: World, database: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await placed(world)
    common = {"returnStatus": "120", "returnTime": "20261123120000000", "returnInfo": "x"}
    payment_no = await world.admin.fetchval("SELECT payment_no FROM payments.payment")
    waybill = await world.admin.fetchrow(
        "SELECT logistics_code, logistics_no FROM customs.waybill_number"
    )
    platform = found["submission"]["platform"]["code"]
    await hear(
        world,
        receipt(
            "CEB312",
            "OrderReturn",
            {"ebpCode": platform, "orderNo": found["order_no"]}
            | common
            | {"returnStatus": "-301010"},
        ),
        receipt(
            "CEB312", "OrderReturn", {"ebpCode": "another's", "orderNo": found["order_no"]} | common
        ),
        receipt("CEB404", "ReceiptsReturn", {"orderNo": found["order_no"]} | common),
        receipt(
            "CEB412", "PaymentReturn", {"payCode": "1", "payTransactionId": payment_no} | common
        ),
        receipt(
            "CEB512",
            "LogisticsReturn",
            {"logisticsCode": waybill[0], "logisticsNo": waybill[1]} | common,
        ),
        receipt(
            "CEB512",
            "LogisticsReturn",
            {"logisticsCode": waybill[0], "logisticsNo": "of another"} | common,
        ),
    )
    shown = await order._show(RunningStack("127.0.0.1:1", database, "", home), found["order_no"])
    told = [(each["message_type"], each["status"]) for each in shown["declaration"]["notices"]]
    assert told == [("CEB312", "-301010"), ("CEB404", "120"), ("CEB412", "120"), ("CEB512", "120")]
    assert shown["declaration"]["notices"][0]["meaning"] == "duplicate order number"
    monkeypatch.setenv("CROSSBORDER_POSTGRES", database)
    assert len(await notices._list(None, None, 50)) == 6
    assert [each["status"] for each in await notices._list(None, "CEB312", 1)] == ["120"]
    assert [
        each["message_type"] for each in await notices._list(found["order_no"], "CEB412", 50)
    ] == ["CEB412"]


async def test_the_same_receipt_in_gbk_and_in_an_envelope_is_heard(world: World) -> None:
    a, b = await placed(world, 1), await placed(world, 2)
    plain = receipt(
        "CEB622",
        "InventoryReturn",
        row_of(a["cop_no"], "800", invtNo=number(1), returnInfo="[Code:2600;Desc:放行]"),
    )
    gbk = plain.value.decode().replace("UTF-8", "GBK").encode("gbk")
    other = receipt("CEB622", "InventoryReturn", row_of(b["cop_no"], "800", invtNo=number(2)))
    data = base64.b64encode(other.value).decode()
    wrapped = f'<DxpMsg xmlns="http://www.chinaport.gov.cn/dxp" ver="1.0"><TransInfo/><Data>{data}</Data></DxpMsg>'.encode()
    await hear(world, plain._replace(value=gbk), other._replace(value=wrapped))
    assert {(await declared(world, d["order_id"]))["state"] for d in (a, b)} == {"released"}
    assert await owed(world) == []


async def test_the_letter_of_an_entry_says_which_to_the_command_line(world: World) -> None:
    from services.cli.dlq.letters import DeadLetter

    found = await placed(world)
    await hear(
        world,
        receipt(
            "CEB622", "InventoryReturn", row_of(found["cop_no"], "120"), row_of(found["cop_no"], "")
        ),
    )
    [letter] = world.log[LETTERS]
    [(offset, _)] = await owed(world)
    made = DeadLetter(replace(letter, topic=LETTERS))
    assert made.lies_at == f"{topics.RECEIPTS}/0/{offset}/2"
    assert made.owed_as == ("customs", topics.RECEIPTS, 0, offset, 2)
    assert made.again()[-1] == ("dlq_origin", f"{topics.RECEIPTS}/0/{offset}/2".encode())


def row_604(found: dict[str, Any], status: str, **more: str) -> dict[str, str]:
    order_no = found["order_no"]
    told = {
        "agentCode": "1105910159",
        "ebcCode": "1",
        "ebpCode": "1",
        "orderNo": order_no,
        "statisticsFlag": "B",
    }
    row = row_of(found["cop_no"], status, invtNo=found["invt_no"]) | told | more
    del row["customsCode"]
    return row


async def withdrawn(world: World, found: dict[str, Any]) -> None:
    """The shop takes the order back; from now on the authority says what the test lets it say."""
    world.outside = lambda: None  # type: ignore[method-assign]
    asked = {
        "order_no": found["order_no"],
        "platform": found["submission"]["platform"],
        "reason": "x",
    }
    world.publish(topics.SUBMISSIONS, [shop_record(found["order_no"], asked, CANCEL)])
    await world.settle_down()


@pytest.mark.parametrize("granted_first", [True, False])
@pytest.mark.parametrize("status", ["800", "899"])
async def test_a_withdrawn_list_is_of_no_month_in_whichever_order_it_is_told(
    world: World, status: str, granted_first: bool
) -> None:
    found = await placed(world, sample="toys_us")
    found["invt_no"] = "22442026E000000001"
    await hear(world, receipt("CEB604", "InventoryReturn", row_604(found, "120")))
    await withdrawn(world, found)
    assert (await declared(world, found["order_id"]))["state"] == "withdrawing"
    granted = receipt(
        "CEB606", "InvtCancelReturn", row_604(found, "399", preNo="B20261123000000077")
    )
    over = receipt("CEB604", "InventoryReturn", row_604(found, status))
    for said in (granted, over) if granted_first else (over, granted):
        await hear(world, said)
        assert await world.broken() == {}
    after = await declared(world, found["order_id"])
    assert (after["state"], after["status"], after["released"]) == ("withdrawn", "399", False)
    assert await world.states() == {found["order_no"]: "cancelled"}
    assert await world.admin.fetchval("SELECT count(*) FROM customs.export_list") == 0


async def test_a_refused_cancellation_of_a_closed_list_leaves_it_in_its_month(world: World) -> None:
    found = await placed(world, sample="toys_us")
    found["invt_no"] = "22442026E000000001"
    await hear(world, receipt("CEB604", "InventoryReturn", row_604(found, "120")))
    await withdrawn(world, found)
    await hear(world, receipt("CEB604", "InventoryReturn", row_604(found, "899")))
    assert await world.broken() == {}
    assert (await declared(world, found["order_id"]))["released"] is False
    await hear(world, receipt("CEB606", "InvtCancelReturn", row_604(found, "100")))
    after = await declared(world, found["order_id"])
    assert (after["state"], after["released"]) == ("returning", True)
    assert await world.admin.fetchval("SELECT state FROM customs.export_list") == "open"
    assert await world.broken() == {}


async def test_a_word_that_leads_to_nothing_changes_no_row_of_a_list(world: World) -> None:
    found = await placed(world)
    for status in ("120", "800"):
        await hear(
            world,
            receipt("CEB622", "InventoryReturn", row_of(found["cop_no"], status, invtNo=number(1))),
        )
    before = await declared(world, found["order_id"])
    for status in ("2", "120", "300", "800", "-621004", "18", "4"):
        await hear(
            world,
            receipt("CEB622", "InventoryReturn", row_of(found["cop_no"], status, invtNo=number(1))),
        )
    assert await declared(world, found["order_id"]) == before
    followed = await world.admin.fetch(
        "SELECT status FROM customs.receipt WHERE followed ORDER BY id"
    )
    assert [row["status"] for row in followed] == ["120", "800", "2"]
