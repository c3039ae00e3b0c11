"""What an order waits for is one line of `order show`: a record, a person, the bank, a paper, or the port's word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.cli import connect
from services.cli.connect import RunningStack
from services.cli.order import app as order
from services.cli.order import receipt
from tests.integration.test_tax_bills import days_pass, placed
from tests.integration.world import World, opened


@pytest.fixture
async def world(database: str, keys: Path) -> AsyncIterator[World]:
    async with opened(database, keys) as made:
        yield made


@pytest.fixture
def to(database: str, home: Path) -> RunningStack:
    return RunningStack("127.0.0.1:1", database, "", home)


async def show(to: RunningStack, order_no: str) -> dict[str, Any]:
    return await order._show(to, order_no)


async def test_an_order_at_its_end_waits_for_nothing_and_shows_its_tax_bill(
    world: World, to: RunningStack
) -> None:
    order_no = await placed(world)
    await days_pass(world, 2, 34)
    found = await show(to, order_no)
    assert found["state"] == "fulfilled"
    assert found["waits_for"] == []
    bill = found["tax"]["bill"]
    assert (bill["state"], bill["payment"], bill["billed"]) == (
        "due",
        "paid",
        found["tax"]["total"],
    )
    assert [word["asked"] for word in found["money"]["bank"]][:2] == ["authorise", "capture"]


async def test_an_order_says_which_paper_it_waits_for(world: World, to: RunningStack) -> None:
    order_no = await placed(world, "lost")
    [line] = (await show(to, order_no))["waits_for"]
    assert line.startswith("waybill (a paper is missing): customs has waited since ")


async def test_an_order_says_which_record_holds_it(world: World, to: RunningStack) -> None:
    order_no = await placed(world, "lost")
    order_id = await world.admin.fetchval("SELECT order_id FROM orders.orders")
    await world.admin.execute(
        "INSERT INTO tax.held_order (order_id, reason) VALUES ($1, 'unexpected')", order_id
    )
    await world.admin.execute(
        "INSERT INTO tax.dead_letter (topic, part, at_offset, reason, order_id) VALUES ('orders.events', 3, 17, 'unexpected', $1)",
        order_id,
    )
    line = (await show(to, order_no))["waits_for"][0]
    assert line.startswith("a person: tax gave up record orders.events/3/17 (unexpected) at ")


async def test_an_order_says_what_the_port_said_last(world: World, to: RunningStack) -> None:
    order_no = await placed(world, "silent")
    lines = (await show(to, order_no))["waits_for"]
    assert len(lines) == 1
    assert lines[0].startswith(
        (
            "customs: the list is lodged and has no receipt yet",
            "customs' decision; its last reply: ",
        )
    )


async def test_what_is_printed_holds_no_value_of_the_language(
    world: World,
    to: RunningStack,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connect, "PIPE_COLUMNS", 400)
    order_no = await placed(world)
    await days_pass(world, 2)
    receipt.print_receipt(await show(to, order_no))
    out = capsys.readouterr().out
    assert "+0.000 s" in out
    for value in ("None", "True", "False", "Decimal(", "UUID(", "datetime", "{'", "['"):
        assert value not in out
