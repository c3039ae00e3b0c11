"""What `publish --follow` tells of orders: the faults of a refused one, the steps of any other, and when a number is used up."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.samples import submission
from services.cli.connect import RunningStack
from services.cli.order import steps
from shared import topics
from shared.envelope import Outgoing
from shared.identity import order_id_of
from tests.integration.world import World, opened


@pytest.fixture
async def world(database: str, keys: Path) -> AsyncIterator[World]:
    async with opened(database, keys) as made:
        yield made


async def test_what_became_of_the_orders_that_were_followed(world: World, database: str) -> None:
    at = datetime.now(UTC) - timedelta(hours=2)
    good, bad = (submission("cherries", number, seed=7, prefix="FO", at=at) for number in (1, 2))
    wrong = bad | {"lines": [{**bad["lines"][0], "total": "1.00"}]}
    publish(world, good, wrong)
    await world.settle_down()
    publish(world, bad)
    await world.settle_down()
    to = RunningStack("", database, "", Path())
    ids = [order_id_of(each["platform"]["code"], each["order_no"]) for each in (good, bad)]
    found = await steps.outcomes_of(to, ids, {ids[0]: "fulfilled", ids[1]: "exists"})
    accepted, refused = (found[order_id] for order_id in ids)
    assert (accepted["state"], accepted["faults"]) == ("fulfilled", [])
    assert accepted["steps"][0]["type"] == "order.placed.v1"
    assert accepted["steps"][0]["since_first_s"] == 0
    assert {"payment.captured.v1", "tax.assessed.v1", "customs.goods-released.v1"} <= {
        s["type"] for s in accepted["steps"]
    }
    assert (refused["state"], refused["verdict"][:21]) == ("rejected", "exists_with_different")
    assert all(
        {"field", "rule", "found", "expected", "code"} <= fault.keys()
        for fault in refused["faults"]
    )
    lines = list(steps.lines_of("NO", "rejected", refused))
    assert any(line.startswith("  fault lines[0].total: ") for line in lines)
    assert steps.what_to_send("NO", "exists", refused) is not None
    many = [*ids, *(order_id_of("P", str(n)) for n in range(steps.STEPS_OF_MAX))]
    assert "steps" not in (await steps.outcomes_of(to, many, {}))[ids[0]]


def publish(world: World, *orders: dict[str, Any]) -> None:
    world.publish(
        topics.SUBMISSIONS,
        [
            Outgoing("", order["order_no"].encode(), json.dumps(order).encode(), ())
            for order in orders
        ],
    )
