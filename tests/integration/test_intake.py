"""What shops and carriers send, all the way: nothing is taken in that cannot be carried to the end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.samples import submission
from shared import topics
from shared.envelope import Outgoing
from shared.identity import order_id_of
from tests.integration.world import World, opened

BEIJING: Final = timezone(timedelta(hours=8))
CANCEL: Final = (("ce_type", b"order.cancel-requested.v1"),)


@pytest.fixture
async def world(database: str, keys: Path) -> AsyncIterator[World]:
    async with opened(database, keys) as made:
        yield made


def sample(number: int, words: str = "", **how: Any) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(hours=2)
    return submission(how.pop("sample", "cherries"), number, seed=7, prefix="IN", at=at, marker=words, **how)


def submit(world: World, *orders: dict[str, Any]) -> None:
    world.publish(
        topics.SUBMISSIONS, [Outgoing("", order["order_no"].encode(), json.dumps(order).encode(), ()) for order in orders]
    )


async def test_one_buyer_has_one_quota_a_year_whatever_year_the_orders_are_dated(world: World) -> None:
    dated = [{**sample(n, person=1), "placed_at": f"{year}-10-01T09:00:00+08:00"} for n, year in enumerate(range(2019, 2027))]
    submit(world, *dated)
    await world.settle_down()
    assert set((await world.states()).values()) == {"fulfilled"}
    came = datetime.now(UTC) - timedelta(seconds=600)
    assert [row["year"] for row in await world.admin.fetch("SELECT year FROM tax.quota")] == [came.astimezone(BEIJING).year]
    assert await world.broken() == {}


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
