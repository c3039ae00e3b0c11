"""A slow kind of operation keeps no other from its turn, and a bank that asks for a pause gets it."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import orjson
import pytest
from aiohttp import web

from shared.effect_runner import EffectRunner
from shared.effects import backoff_s
from tests.integration.test_bank_says_anything import bank_that
from tests.integration.test_delivery import running
from tests.integration.test_payments import Rig, rig, unwinding

__all__ = ["rig"]


async def is_captured(rig: Rig, order_id: UUID) -> None:
    while await rig.told(order_id) != ["captured"]:  # noqa: ASYNC110  only the outbox knows
        await asyncio.sleep(0.01)


async def seconds_to_capture(rig: Rig, runner: EffectRunner, undone: list[UUID]) -> list[float]:
    """How long each of six new orders takes while another is refunded."""
    waits = []
    async with running(runner.run()):
        for order_id in undone:
            await rig.hear(unwinding(order_id))
            await asyncio.sleep(0.3)
            fresh = await rig.placed()
            began = time.monotonic()
            await rig.hear(fresh)
            runner.wake()
            async with asyncio.timeout(20):
                await is_captured(rig, fresh.order_id)
            waits.append(time.monotonic() - began)
    return waits


async def test_refunds_of_four_and_a_half_seconds_do_not_change_the_time_to_capture(
    rig: Rig,
) -> None:
    slow = [False]

    async def answering(request: web.Request, go: Any) -> Any:
        if slow[0] and request.path == "/v1/refunds":
            await asyncio.sleep(4.5)
        return await go()

    paid = [await rig.placed() for _ in range(12)]
    await rig.hear(*paid)
    await rig.ask_bank()
    async with bank_that(rig, answering) as runner:
        quick = await seconds_to_capture(rig, runner, [order.order_id for order in paid[:6]])
        slow[0] = True
        beside = await seconds_to_capture(rig, runner, [order.order_id for order in paid[6:]])
    print(
        "seconds to capture:",
        [round(s, 3) for s in quick],
        "beside slow refunds:",
        [round(s, 3) for s in beside],
    )
    assert sorted(beside)[3] < sorted(quick)[3] * 1.1 + 0.05
    await rig.ask_bank()
    assert rig.bank_moved()["refund"] == 12 * 20410


async def test_a_bank_that_asks_for_a_pause_is_left_alone_for_it_in_this_lane_only(
    rig: Rig,
) -> None:
    times: list[str] = []

    async def busy(request: web.Request, go: Any) -> Any:
        times.append(request.path)
        if request.path == "/v1/captures":
            raise web.HTTPTooManyRequests(headers={"Retry-After": "30"})
        return await go()

    orders = [await rig.placed() for _ in range(3)]
    await rig.hear(*orders)
    async with bank_that(rig, busy) as runner:
        async with running(runner.run()):
            await asyncio.sleep(2)
            await rig.hear(more := await rig.placed())
            await asyncio.sleep(2)
        assert times.count("/v1/captures") == 1
        assert times.count("/v1/authorisations") >= 2
        async with rig.pool.acquire() as conn:
            waits = await conn.fetch(
                "SELECT extract(epoch FROM next_at - now())::float8 AS s FROM effect WHERE kind = 'capture'"
            )
        assert len(waits) == 4
        assert all(20 < row["s"] < 34 for row in waits)
    await rig.ask_bank()
    assert [await rig.told(o.order_id) for o in (*orders, more)] == [["captured"]] * 4


async def test_a_bank_that_hangs_in_one_lane_hinders_no_other(rig: Rig) -> None:
    async def hanging(request: web.Request, go: Any) -> Any:
        if request.path == "/v1/refunds":
            await asyncio.sleep(30)
        return await go()

    paid = [await rig.placed() for _ in range(40)]
    await rig.hear(*paid)
    await rig.ask_bank()
    async with bank_that(rig, hanging, timeout_s=1.0) as runner:
        for order in paid:
            await rig.hear(unwinding(order.order_id))
        async with running(runner.run()):
            await asyncio.sleep(1.0)
            fresh = await rig.placed()
            began = time.monotonic()
            await rig.hear(fresh)
            async with asyncio.timeout(5):
                await is_captured(rig, fresh.order_id)
        assert time.monotonic() - began < 2
    await rig.ask_bank()
    assert rig.bank_moved()["refund"] == 40 * 20410


@pytest.mark.parametrize("word", ["pending", "nothing", "contradiction"])
async def test_slow_look_ups_do_not_change_the_time_to_capture(rig: Rig, word: str) -> None:
    """Captures without a word are looked up, slowly, by as many as come; new ones are captured as ever."""
    doubtful: set[str] = set()
    slow = [0.0]

    async def answering(request: web.Request, go: Any) -> Any:
        if request.path == "/v1/operations/query":
            await asyncio.sleep(slow[0])
        if request.path != "/v1/captures":
            return await go()
        asked = {item["key"]: item["reference"] for item in (await request.json())["items"]}
        items = orjson.loads((await go()).body)["items"]
        ours = [item for item in items if asked[item["key"]] in doubtful]
        for item in ours:
            item["status" if word == "pending" else "reference"] = word
        return web.json_response(
            {"items": [item for item in items if word != "nothing" or item not in ours]}
        )

    async with bank_that(rig, answering) as runner:
        waits: list[list[float]] = []
        async with running(runner.run()):
            for slow[0] in (0.0, 4.0):
                waits.append([])
                for _ in range(6):
                    beside, fresh = [await rig.placed() for _ in range(4)], await rig.placed()
                    if slow[0]:
                        doubtful |= {str(order.order_id) for order in beside}
                    began = time.monotonic()
                    await rig.hear(*beside, fresh)
                    runner.wake()
                    async with asyncio.timeout(30):
                        await is_captured(rig, fresh.order_id)
                    waits[-1].append(time.monotonic() - began)
    quick, slowly = (sorted(of) for of in waits)
    print(
        "seconds to capture:",
        [round(s, 3) for s in quick],
        "beside slow look-ups:",
        [round(s, 3) for s in slowly],
    )
    assert (
        slowly[3] < quick[3] * 1.1 + 0.3
    )  # a look-up takes 4 s; a busy machine some tenths of one
    doubtful.clear()
    await rig.ask_bank()


def test_a_backoff_has_jitter_and_stays_within_a_fifth() -> None:
    assert [backoff_s(n, lambda: 0.5) for n in (1, 2, 3, 20)] == [0.2, 0.4, 0.8, 60.0]
    assert backoff_s(20, lambda: 0.0) == 48
    assert len({backoff_s(5) for _ in range(20)}) > 1
