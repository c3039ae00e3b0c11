"""One instruction that the bank cannot bear costs itself only: its bulk is halved until it stands alone, and it is a case."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import ceil, log2
from typing import Any

import orjson
import pytest
from aiohttp import web

from services.payments import bulks
from services.payments.domain.bank import Authorise
from services.payments.domain.payment_states import PaymentState
from shared.identity import uuid5
from tests.integration.test_bank_says_anything import ask, bank_that, now_due, open_cases
from tests.integration.test_payments import Rig, rig

__all__ = ["rig"]

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(kind: type[web.HTTPException]) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        raise kind()

    return answer


def body(text: str) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type="application/json")

    return answer


async def hang(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(1.5)
    raise web.HTTPInternalServerError


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    raise web.HTTPInternalServerError


ANSWERS: dict[str, Answer] = {
    "400": status(web.HTTPBadRequest), "422": status(web.HTTPUnprocessableEntity), "500": status(web.HTTPInternalServerError),
    "502": status(web.HTTPBadGateway), "503": status(web.HTTPServiceUnavailable), "504": status(web.HTTPGatewayTimeout),
    "hangs": hang, "hangs up": hang_up, "html": body("<html>sorry</html>"), "null": body('{"items": null}'),
}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "count", "place"),
    [
        *((answer, 20, 7) for answer in ANSWERS),
        *((answer, *few) for answer in ("500", "504") for few in ((2, 0), (40, 39))),
    ],
)
async def test_n_orders_are_paid_after_log2_n_rounds_though_the_bank_cannot_bear_one(
    rig: Rig, answer: str, count: int, place: int
) -> None:
    orders = [await rig.placed() for _ in range(count)]
    poison = str(uuid5(orders[place].order_id, Authorise.kind)).encode()
    sizes: list[int] = []

    async def breaks(request: web.Request, go: Callable[[], Awaitable[web.StreamResponse]]) -> Any:
        sent = await request.read()
        if request.path != "/v1/operations/query" and poison in sent:
            sizes.append(len(orjson.loads(sent)["items"]))
            return await ANSWERS[answer](request)
        return await go()

    await rig.hear(*orders)
    rounds = ceil(log2(count)) + 3
    async with bank_that(rig, breaks, timeout_s=0.5) as runner:
        for _ in range(rounds + 1):  # and one for the capture that follows
            await now_due(rig)
            await runner.once()
            if await states(rig) == {PaymentState.AUTHORISING: 1, PaymentState.CAPTURED: count - 1}:
                break
        assert await states(rig) == {
            PaymentState.AUTHORISING: 1,
            PaymentState.CAPTURED: count - 1,
        }, sizes
        await ask(rig, runner, 6)
        assert sizes[-1] == 1
        (case,) = await open_cases(rig)
        assert (case.kind, case.order_id) == ("poison", orders[place].order_id)
    await rig.ask_bank()
    assert await rig.told(orders[place].order_id) == ["captured"]
    assert rig.bank_moved() == {"capture": count * 20410}


async def states(rig: Rig) -> dict[PaymentState, int]:
    async with rig.pool.acquire() as conn:
        rows = await conn.fetch("SELECT state, count(*) AS n FROM payment GROUP BY state")
    return {PaymentState(row["state"]): row["n"] for row in rows}


async def test_a_bank_that_fails_on_every_question_is_asked_few(rig: Rig) -> None:
    """A bad day of the bank: halving must not multiply what it is asked."""
    orders = [await rig.placed() for _ in range(40)]
    asked: list[str] = []

    async def failing(request: web.Request, _go: Any) -> Any:
        asked.append(request.path)
        raise web.HTTPInternalServerError

    await rig.hear(*orders)
    async with bank_that(rig, failing) as runner:
        await ask(rig, runner, 1)
        first = len(asked)
        await ask(rig, runner, 1)
    assert first <= 6
    assert len(asked) - first <= 12
    await rig.ask_bank()


async def test_requests_are_limited_in_bytes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulks, "BULK_BYTES_MAX", 2000)
    orders = [await rig.placed() for _ in range(30)]
    sizes: list[int] = []

    async def counts(request: web.Request, go: Callable[[], Awaitable[web.StreamResponse]]) -> Any:
        if request.path == "/v1/authorisations":
            sizes.append(len(await request.read()))
        return await go()

    await rig.hear(*orders)
    async with bank_that(rig, counts) as runner:
        await ask(rig, runner, 2)
    assert len(sizes) > 1
    assert max(sizes) <= 2000 + 64
    assert await states(rig) == {PaymentState.CAPTURED: 30}
