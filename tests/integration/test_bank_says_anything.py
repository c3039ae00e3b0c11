"""The bank may say anything: forgotten keys, refusals, other payments' answers, half bodies; on a real database, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from sandbox.bank import ledger as bank_ledger
from sandbox.bank.http import application
from services.payments import handlers
from services.payments.bank_commands.policy import in_force
from services.payments.bank_commands.sender import BankSender
from services.payments.bank_commands.settlement import Verdict, settle
from services.payments.bank_commands.store import key_of
from services.payments.domain.bank import Refund
from services.payments.http_bank import HttpBank
from shared import cases
from shared.cases import StoredCase
from shared.effect_runner import EffectRunner
from shared.failpoints import Failpoints, Killed
from tests.integration.test_payments import PAYER, Rig, given_back, released, rig, unwinding

__all__ = ["rig"]

Answering = Callable[
    [web.Request, Callable[[], Awaitable[web.StreamResponse]]], Awaitable[web.StreamResponse]
]


@contextlib.contextmanager
def doing(
    kind: str, do: Callable[[Any, Any], dict[str, Any]]
) -> Iterator[Callable[[Any, Any], dict[str, Any]]]:
    """The sandbox bank does `do` in place of its own."""
    real = bank_ledger.DO[kind]
    bank_ledger.DO[kind] = do
    try:
        yield real
    finally:
        bank_ledger.DO[kind] = real


@contextlib.asynccontextmanager
async def bank_that(
    rig: Rig, answering: Answering, *, timeout_s: float = 5.0
) -> AsyncIterator[EffectRunner]:
    """A runner whose bank's answers go through `answering`."""

    @web.middleware
    async def between(request: web.Request, handler: Any) -> web.StreamResponse:
        await request.read()
        return await answering(request, lambda: handler(request))

    app = application(rig.line.bank)
    app.middlewares.append(between)
    server = web.AppRunner(app)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    http = HttpBank(f"http://127.0.0.1:{server.addresses[0][1]}", timeout_s=timeout_s)
    yield EffectRunner(
        "payments", rig.pool, None, BankSender(http, rig.sealing, rig.pool).send, handlers.handle_replies, rig._finish, lambda _o: None,
        sealing=rig.sealing,
    )  # fmt: skip
    await http.close()
    await server.cleanup()


async def now_due(rig: Rig) -> None:
    async with rig.pool.acquire() as conn:
        await conn.execute("UPDATE effect SET next_at = now()")


async def ask(rig: Rig, runner: EffectRunner, rounds: int) -> None:
    for _ in range(rounds):
        await now_due(rig)
        await runner.once()


async def open_cases(rig: Rig) -> list[StoredCase]:
    async with rig.pool.acquire() as conn:
        return await cases.fetch(conn)


async def talk_of(rig: Rig, order_id: UUID) -> list[tuple[str, int, str, str | None]]:
    async with rig.pool.acquire() as conn:
        rows = await conn.fetch(
            "SELECT kind, attempt, status, number FROM bank_talk WHERE order_id = $1 ORDER BY at, attempt",
            order_id,
        )
    return [tuple(row) for row in rows]


def conflicts(kind: str) -> float:
    labels = {"service": "payments", "kind": kind, "outcome": "conflict"}
    return REGISTRY.get_sample_value("crossborder_effects_total", labels) or 0.0


async def forget_everything(rig: Rig) -> None:
    rig.line.bank.file.db.execute("DELETE FROM operation")


async def captured(rig: Rig) -> UUID:
    placed = await rig.placed()
    await rig.hear(placed)
    await rig.ask_bank()
    assert await rig.told(placed.order_id) == ["captured"]
    return placed.order_id


# --- a bank that forgets


async def test_a_capture_whose_key_was_forgotten_is_captured(rig: Rig) -> None:
    placed = await rig.placed()
    await rig.hear(placed)
    await rig.runner().once()
    rig.line.cut = "after"
    await now_due(rig)
    await rig.runner().once()
    rig.line.cut = ""
    await forget_everything(rig)
    await rig.ask_bank()
    assert await rig.told(placed.order_id) == ["captured"]
    assert rig.bank_moved() == {"capture": 20410}
    await rig.hear(unwinding(placed.order_id))
    await rig.ask_bank()
    assert rig.bank_moved() == {"capture": 20410, "refund": 20410}


@pytest.mark.parametrize("step", ["authorise", "void", "refund"])
async def test_whatever_key_was_forgotten_nothing_is_done_twice(rig: Rig, step: str) -> None:
    placed = await rig.placed()
    await rig.hear(placed)
    if step == "void":
        await rig.runner().once()
        rig.line.cut = "before"
        await now_due(rig)
        await rig.runner().once()
        rig.line.cut = ""
        with doing(
            "capture",
            lambda _d, item: bank_ledger.answer_to(
                item, "declined", code="AG01", reason="not allowed"
            ),
        ):
            await rig.ask_bank(1)
    if step == "refund":
        await rig.ask_bank()
        await rig.hear(released(placed.order_id), given_back(placed.order_id))
    rig.line.cut = "after"
    await now_due(rig)
    await rig.runner().once()
    rig.line.cut = ""
    await forget_everything(rig)
    await rig.ask_bank()
    ends = {
        "authorise": ["captured"],
        "void": ["declined"],
        "refund": ["captured", "settled", "return-refunded"],
    }
    assert await rig.told(placed.order_id) == ends[step]
    moved = {
        "authorise": {"capture": 20410},
        "void": {},
        "refund": {"capture": 20410, "refund": 20410},
    }
    assert rig.bank_moved() == moved[step]
    assert len(rig.line.bank.file.db.execute("SELECT * FROM authorisation").fetchall()) == 1


async def test_past_the_memory_of_keys_the_bank_is_asked_by_reference_and_by_no_key(
    rig: Rig,
) -> None:
    order_id = await captured(rig)
    await rig.hear(unwinding(order_id))
    rig.line.cut = "after"
    await rig.runner().once()
    rig.line.cut = ""
    async with rig.pool.acquire() as conn:
        await conn.execute("UPDATE effect SET created_at = now() - interval '25 hours'")
    asked: list[Any] = []

    async def noting(request: web.Request, go: Any) -> Any:
        asked.append((request.path, *orjson.loads(await request.read())))
        return await go()

    async with bank_that(rig, noting) as runner:
        await ask(rig, runner, 1)
    assert asked == [("/v1/operations/query", "references")]
    assert await rig.told(order_id) == ["captured", "refunded"]
    assert rig.bank_moved()["refund"] == 20410


async def test_past_the_memory_nothing_is_sent_to_a_bank_that_cannot_be_asked_by_reference(
    rig: Rig,
) -> None:
    order_id = await captured(rig)
    await rig.hear(unwinding(order_id))
    async with rig.pool.acquire() as conn:
        await conn.execute(
            "UPDATE effect SET created_at = now() - interval '25 hours', attempts = 3"
        )

    async def old_bank(request: web.Request, go: Any) -> Any:
        if b"references" in await request.read():
            raise web.HTTPBadRequest
        return await go()

    async with bank_that(rig, old_bank) as runner:
        await ask(rig, runner, 3)
    assert [(c.kind, c.times) for c in await open_cases(rig)] == [("unanswered", 3)]
    assert "refund" not in rig.bank_moved()
    async with rig.pool.acquire() as conn:
        await conn.execute("UPDATE effect SET created_at = now()")
    await rig.ask_bank()
    assert await open_cases(rig) == []


# --- a bank that refuses


async def test_a_refund_declined_once_is_made_under_a_new_key(rig: Rig) -> None:
    order_id = await captured(rig)
    await rig.hear(unwinding(order_id))
    with doing(
        "refund",
        lambda _d, item: bank_ledger.answer_to(
            item, "declined", code="AM04", reason="not so much today"
        ),
    ):
        await rig.ask_bank(1)
    async with rig.pool.acquire() as conn:
        wait = await conn.fetchval("SELECT extract(epoch FROM next_at - now()) FROM effect")
        attempts = await conn.fetch("SELECT number, state, code FROM bank_attempt ORDER BY number")
    assert 890 < wait < 1000
    assert [tuple(a) for a in attempts] == [(1, "refused", "AM04"), (2, "open", None)]
    await rig.verify()
    await rig.ask_bank()
    assert await rig.told(order_id) == ["captured", "refunded"]
    assert rig.bank_moved() == {"capture": 20410, "refund": 20410}
    intent = Refund(
        order_id=order_id,
        payment_no="",
        amount=(await rig.state(order_id)).captured,  # type: ignore[arg-type]
    ).intent_id
    keys = {
        row[0]
        for row in rig.line.bank.file.db.execute("SELECT key FROM operation WHERE kind = 'refund'")
    }
    assert keys == {str(intent), str(key_of(intent, 2))}
    assert [(k, n, s) for k, n, s, _ in await talk_of(rig, order_id)][2:] == [
        ("refund", 1, "declined"),
        ("refund", 2, "refunded"),
    ]
    assert await open_cases(rig) == []


async def test_an_answer_that_is_lost_keeps_its_key_and_never_begins_an_attempt(rig: Rig) -> None:
    order_id = await captured(rig)
    await rig.hear(unwinding(order_id))
    rig.line.cut = "before"
    await rig.ask_bank(3)
    async with rig.pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM bank_attempt") == 0
    rig.line.cut = ""
    await rig.ask_bank()
    assert rig.bank_moved()["refund"] == 20410


async def test_two_attempts_are_never_open_at_once(rig: Rig) -> None:
    insert = "INSERT INTO bank_attempt (intent_id, number, order_id, kind, key, state) VALUES ($1, $2, $1, 'refund', $3, 'open')"
    async with rig.pool.acquire() as conn, conn.transaction():
        intent = uuid4()
        await conn.execute(insert, intent, 1, uuid4())
        with pytest.raises(asyncpg.UniqueViolationError, match="one_open_attempt"):
            async with conn.transaction():
                await conn.execute(insert, intent, 2, uuid4())
        await conn.execute("DELETE FROM bank_attempt")


async def test_after_each_reason_there_are_as_many_attempts_as_its_row_says_and_then_a_case(
    rig: Rig,
) -> None:
    of_refunds = {
        code: rows[-1] for code, rows in in_force().reasons.items() if "refund" in rows[-1].kinds
    }
    attempts = {code: len(row.pauses_s) + 1 for code, row in of_refunds.items()} | {
        "AC04": 1,
        "ZZ99": 1,
    }
    orders = [await rig.placed() for _ in attempts]
    codes = {str(order.order_id): code for order, code in zip(orders, attempts, strict=True)}
    await rig.hear(*orders)
    await rig.ask_bank()
    await rig.hear(*(unwinding(order.order_id) for order in orders))
    with doing(
        "refund",
        lambda _d, i: bank_ledger.answer_to(i, "declined", code=codes[i["reference"]], reason="no"),
    ):
        await rig.ask_bank(max(attempts.values()) + 4)
    async with rig.pool.acquire() as conn:
        rows = await conn.fetch(
            "SELECT order_id, count(*) AS n, count(DISTINCT key) AS keys FROM bank_attempt GROUP BY 1"
        )
        assert (
            await conn.fetchval("SELECT count(*) FROM bank_attempt WHERE state <> 'refused'") == 0
        )
    assert {codes[str(row["order_id"])]: row["n"] for row in rows} == attempts
    assert all(row["keys"] == row["n"] for row in rows)
    found = await open_cases(rig)
    assert {c.details["code"]: (c.kind, c.details["attempt"]) for c in found} == {
        c: ("refused", n) for c, n in attempts.items()
    }
    assert rig.bank_moved() == {"capture": len(orders) * 20410}


async def test_who_dies_after_a_refusal_has_not_shortened_the_pause(rig: Rig) -> None:
    order_id = await captured(rig)
    await rig.hear(unwinding(order_id))
    await now_due(rig)
    with (
        doing(
            "refund",
            lambda _d, item: bank_ledger.answer_to(
                item, "declined", code="AM04", reason="not today"
            ),
        ),
        pytest.raises(Killed),
    ):
        await rig.runner(Failpoints("effect_after_call", in_process=True)).once()
    async with rig.pool.acquire() as conn:
        row = await conn.fetchrow(
            "SELECT extract(epoch FROM next_at - now())::float8 AS wait, attempts FROM effect"
        )
        assert await conn.fetchval("SELECT count(*) FROM bank_attempt WHERE state = 'open'") == 1
    assert row["wait"] > 800
    await rig.ask_bank()
    assert rig.bank_moved() == {"capture": 20410, "refund": 20410}


async def test_two_claimants_of_one_refusal_begin_one_attempt(rig: Rig) -> None:
    order_id = await captured(rig)
    await rig.hear(unwinding(order_id))
    with doing(
        "refund",
        lambda _d, item: bank_ledger.answer_to(
            item, "declined", code="AM04", reason="not so much today"
        ),
    ):
        await now_due(rig)
        effects = await rig.runner()._claim()
        teller = BankSender(rig.http, rig.sealing, rig.pool)
        await asyncio.gather(*(teller.send("refund", effects) for _ in range(4)))
    async with rig.pool.acquire() as conn:
        assert await conn.fetchval("SELECT array_agg(state ORDER BY number) FROM bank_attempt") == [
            "refused",
            "open",
        ]
    await rig.ask_bank()
    assert rig.bank_moved()["refund"] == 20410


async def test_a_refund_refused_for_good_is_one_case_with_the_banks_sentence_and_one_conflict(
    rig: Rig,
) -> None:
    order_id = await captured(rig)
    before = conflicts("refund")
    await rig.hear(unwinding(order_id))
    with doing(
        "refund",
        lambda _d, item: bank_ledger.answer_to(
            item, "declined", code="AC04", reason=f"account of {PAYER.id_number} closed"
        ),
    ):
        await rig.ask_bank(6)
    (case,) = await open_cases(rig)
    assert (case.kind, case.order_id, case.times) == ("refused", order_id, 1)
    assert (case.details["code"], case.details["bank_says"]) == ("AC04", "account of *** closed")
    assert conflicts("refund") == before + 1
    assert rig.line.asked[-3:].count("/v1/refunds") <= 1
    await rig.verify()
    async with rig.pool.acquire() as conn:
        assert PAYER.id_number not in repr(await conn.fetch("SELECT * FROM bank_talk"))


async def test_money_refunded_at_the_banks_own_desk_is_one_case_that_names_the_refund(
    rig: Rig,
) -> None:
    order_id = await captured(rig)
    payment_no = (await rig.state(order_id)).payment_no
    assert payment_no
    desk = {
        "key": str(uuid4()),
        "reference": str(order_id),
        "payment_no": payment_no,
        "amount": "204.10",
        "currency": "CNY",
    }
    rig.line.bank.perform("refund", [desk], time.time())
    before = conflicts("refund")
    await rig.hear(unwinding(order_id))
    await rig.ask_bank(5)
    (case,) = await open_cases(rig)
    assert (case.kind, case.times) == ("refunded_elsewhere", 1)
    assert case.details["bank_says"] == "0.00 CNY are left to refund"
    (found,) = case.details["refunds_at_the_bank"]
    assert found.endswith(" 204.10 CNY")
    assert conflicts("refund") == before + 1


async def test_a_hold_that_is_gone_because_it_was_captured_is_a_case_and_not_let_go(
    rig: Rig,
) -> None:
    """The bank captures, says that it declines, and of the void that it has no such hold any more."""
    placed = await rig.placed()
    await rig.hear(placed)

    def captures_and_declines(desk: Any, item: Any) -> dict[str, Any]:
        real(desk, item)
        return bank_ledger.answer_to(item, "declined", code="AG01", reason="not allowed")

    def gone(_desk: Any, item: Any) -> dict[str, Any]:
        return bank_ledger.answer_to(item, "declined", code="AC04", reason="the hold is closed")

    with doing("capture", captures_and_declines) as real, doing("void", gone):
        await rig.ask_bank(6)
    assert rig.bank_moved() == {"capture": 20410}
    (case,) = await open_cases(rig)
    assert (case.kind, case.order_id) == ("impossible_answer", placed.order_id)
    assert "of 204.10 CNY, which it declined" in case.details["found"]
    assert str((await rig.state(placed.order_id)).state) == "voiding"


@pytest.mark.parametrize("fault", ["left out", "amount", "currency", "reference", "status"])
async def test_an_order_the_bank_has_no_word_on_is_a_case_once_it_was_patiently_asked(
    rig: Rig, fault: str
) -> None:
    """It answers each time, and of this one payment never so that it can be read: a person must ask it."""
    placed = await rig.placed()
    await rig.hear(placed)
    bad: dict[str, Any] = {
        "amount": 204.1,
        "currency": "cny",
        "reference": None,
        "status": "CAPTURED",
    }

    async def answering(request: web.Request, go: Any) -> Any:
        found = await go()
        if (
            fault == ""
            or request.path == "/v1/authorisations"
            or "references" in await request.json()
        ):
            return found
        items = orjson.loads(found.body)["items"]
        return web.json_response(
            {"items": [] if fault == "left out" else [item | {fault: bad[fault]} for item in items]}
        )

    async with bank_that(rig, answering) as runner:
        await ask(rig, runner, 4)
        assert await open_cases(rig) == []
        async with rig.pool.acquire() as conn:
            await conn.execute("UPDATE effect SET created_at = now() - interval '20 minutes'")
        await ask(rig, runner, 2)
        assert [(c.kind, c.order_id) for c in await open_cases(rig)] == [
            ("unanswered", placed.order_id)
        ]
        fault = ""
        async with rig.pool.acquire() as conn:
            await conn.execute("UPDATE effect SET created_at = now()")
        await ask(rig, runner, 2)
    assert await rig.told(placed.order_id) == ["captured"]
    assert await open_cases(rig) == []


@pytest.mark.parametrize("code", ["AM05", "DU03", "DU05"])
async def test_what_was_done_already_by_a_bank_whose_books_cannot_be_asked_is_a_case(
    rig: Rig, code: str
) -> None:
    order_id = await captured(rig)
    await rig.hear(unwinding(order_id))

    async def answering(request: web.Request, go: Any) -> Any:
        if request.path == "/v1/operations/query" and "references" in await request.json():
            raise web.HTTPNotFound
        return await go()

    with doing(
        "refund",
        lambda _d, item: bank_ledger.answer_to(item, "declined", code=code, reason="done already"),
    ):
        async with bank_that(rig, answering) as runner:
            await ask(rig, runner, 3)
    (case,) = await open_cases(rig)
    assert (case.kind, case.details["code"]) == ("impossible_answer", code)
    async with rig.pool.acquire() as conn, conn.transaction():
        await cases.close(conn, case.number, verdict="done", note="the bank said so", by="ops")
        await settle(conn, case, Verdict("done", bank_no="R1"))
    await rig.ask_bank(3)
    assert str((await rig.state(order_id)).state) == "refunded"


async def test_what_is_asked_after_in_vain_is_a_case_though_the_bank_answers_by_key(
    rig: Rig,
) -> None:
    placed = await rig.placed()
    await rig.hear(placed)
    broken = [True]

    async def answering(request: web.Request, go: Any) -> Any:
        document = await request.json()
        if broken[0] and (request.path == "/v1/captures" or "references" in document):
            raise web.HTTPInternalServerError
        return await go()

    async with bank_that(rig, answering) as runner:
        await ask(rig, runner, 3)
        async with rig.pool.acquire() as conn:
            await conn.execute("UPDATE effect SET created_at = now() - interval '20 minutes'")
        await ask(rig, runner, 2)
        assert [c.kind for c in await open_cases(rig)] == ["unanswered"]
        broken[0] = False
        async with rig.pool.acquire() as conn:
            await conn.execute("UPDATE effect SET created_at = now()")
        await ask(rig, runner, 3)
    assert await rig.told(placed.order_id) == ["captured"]


# --- a bank that answers something else


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"currency": "USD"}, "another_currency"),
        ({"amount": "300.00"}, "another_amount"),
        ({"reference": str(UUID(int=7))}, "another_payment"),
        ({"status": "transferred"}, "impossible_answer"),
    ],
    ids=str,
)
async def test_an_answer_about_something_else_is_a_case_and_the_money_is_looked_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], kind: str
) -> None:
    placed = await rig.placed()
    before = conflicts("capture")
    await rig.hear(placed)
    await rig.runner().once()
    with doing("capture", lambda desk, item: bank_ledger.capture(desk, item) | wrong):
        await rig.ask_bank()
    assert await rig.told(placed.order_id) == ["captured"]
    assert (await rig.state(placed.order_id)).captured == placed.amount_paid
    (case,) = await open_cases(rig)
    assert (case.kind, case.order_id) == (kind, placed.order_id)
    assert conflicts("capture") == before + 1
    assert rig.bank_moved() == {"capture": 20410}


async def test_the_answer_of_another_payment_under_our_key_is_never_booked(rig: Rig) -> None:
    a, b = await rig.placed(), await rig.placed()
    await rig.hear(a, b)
    await rig.runner().once()
    first: dict[str, Any] = {}

    def stuck(desk: Any, item: Any) -> dict[str, Any]:
        found = bank_ledger.capture(desk, item)
        first.update(first or found)
        return first | {"key": item["key"]}

    with doing("capture", stuck):
        await rig.ask_bank()
    states = [await rig.state(order.order_id) for order in (a, b)]
    assert len({s.payment_no for s in states}) == 2
    assert [await rig.told(order.order_id) for order in (a, b)] == [["captured"], ["captured"]]
    assert [case.kind for case in await open_cases(rig)] == ["another_payment"]


BODIES: dict[str, Callable[[bytes], web.Response]] = {
    "null": lambda _b: web.json_response({"items": None}),
    "a number": lambda _b: web.json_response({"items": 7}),
    "an object": lambda _b: web.json_response({"items": {}}),
    "numbers": lambda _b: web.json_response({"items": [1, 2.5, None, "x", []]}),
    "not json": lambda _b: web.Response(body=b"<html>504</html>", content_type="text/html"),
    "half": lambda b: web.Response(body=b[: len(b) // 2]),
    "ten megabytes": lambda b: web.Response(body=b[:-1] + b" " * 10_000_000 + b"}"),
    "deep": lambda _b: web.Response(body=b'{"items":' + b"[" * 100_000),
    "1e999999": lambda b: web.Response(body=b.replace(b'"204.10"', b'"1e999999"')),
    "zero byte": lambda b: web.Response(body=b.replace(b'"authorisation_no":"', b'"authorisation_no":"\\u0000')),
    "empty": lambda _b: web.Response(),
    "500": lambda _b: web.Response(status=500),
    "moved": lambda _b: web.Response(status=302, headers={"Location": "/v1/captures"}),
    "latin": lambda b: web.Response(body=b.replace(b"CNY", b"\xe9NY")),
    "compressed": lambda _b: web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
async def test_what_cannot_be_read_is_as_if_nothing_had_been_heard(rig: Rig, name: str) -> None:
    placed = await rig.placed()
    await rig.hear(placed)

    async def garbled(_request: web.Request, go: Any) -> Any:
        found = await go()
        return BODIES[name](found.body)

    async with bank_that(rig, garbled) as runner:
        await ask(rig, runner, 3)
    assert await rig.told(placed.order_id) == []
    await rig.ask_bank()
    assert await rig.told(placed.order_id) == ["captured"]
    assert rig.bank_moved() == {"capture": 20410}
    assert len(rig.line.bank.file.db.execute("SELECT * FROM authorisation").fetchall()) == 1


async def test_a_bank_that_sends_a_byte_now_and_then_is_not_waited_for(rig: Rig) -> None:
    placed = await rig.placed()
    await rig.hear(placed)

    async def trickling(request: web.Request, _go: Any) -> Any:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.05)
        return response

    async with bank_that(rig, trickling, timeout_s=0.2) as runner, asyncio.timeout(5):
        await ask(rig, runner, 1)
    await rig.ask_bank()
    assert await rig.told(placed.order_id) == ["captured"]


# --- a bank that cannot bear one item


@pytest.mark.parametrize("number", [1, 2, 20, 60])
async def test_the_others_of_a_bulk_are_paid_and_the_poison_is_a_case(
    rig: Rig, number: int
) -> None:
    placed = [await rig.placed("tok_poison"), *[await rig.placed() for _ in range(number)]]
    await rig.hear(*placed)
    await rig.ask_bank(number.bit_length() + 3)
    assert [await rig.told(order.order_id) for order in placed[1:]] == [["captured"]] * number
    await rig.ask_bank(3)
    (case,) = await open_cases(rig)
    assert (case.kind, case.order_id) == ("poison", placed[0].order_id)
    assert rig.bank_moved() == {"capture": number * 20410}


async def test_a_bank_that_fails_on_everything_makes_no_cases(rig: Rig) -> None:
    placed = [await rig.placed() for _ in range(8)]
    await rig.hear(*placed)

    async def failing(_request: web.Request, _go: Any) -> Any:
        raise web.HTTPInternalServerError

    async with bank_that(rig, failing) as runner:
        await ask(rig, runner, 12)
    assert await open_cases(rig) == []
    await rig.ask_bank()
    assert rig.bank_moved() == {"capture": 8 * 20410}


async def test_a_payment_that_a_broken_bank_left_open_for_a_day_is_a_case_with_a_way_out(
    rig: Rig,
) -> None:
    placed = await rig.placed()
    await rig.hear(placed)

    async def broken(_request: web.Request, _go: Any) -> web.StreamResponse:
        return web.Response(text="<html>back soon</html>", content_type="text/html")

    async with bank_that(rig, broken) as runner:
        for hours, kinds in ((23, []), (25, ["unanswered"])):
            await ask(rig, runner, 1)
            async with rig.pool.acquire() as conn:
                await conn.execute(
                    "UPDATE effect SET created_at = now() - make_interval(hours => $1)", hours
                )
            await ask(rig, runner, 2)
            assert [c.kind for c in await open_cases(rig)] == kinds
    (case,) = await open_cases(rig)
    async with rig.pool.acquire() as conn, conn.transaction():
        await cases.close(conn, case.number, verdict="not-done", note="the bank said so", by="ops")
        await settle(conn, case, Verdict("not-done"))
    await rig.ask_bank(2)
    assert await rig.told(placed.order_id) == ["declined"]


# --- what is kept


async def test_no_number_and_no_value_date_is_overwritten(rig: Rig) -> None:
    order_id = await captured(rig)
    await rig.hear(released(order_id), given_back(order_id))
    await rig.ask_bank()
    async with rig.pool.acquire() as conn:
        rows = await conn.fetch(
            "SELECT kind, status, number, minor, currency, paid_at IS NOT NULL FROM bank_talk ORDER BY at"
        )
        for sql in ("UPDATE bank_talk SET number = ''", "DELETE FROM bank_talk"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(sql)
    assert [(r[0], r[1], r[3], r[4], r[5]) for r in rows] == [
        ("authorise", "authorised", 20410, "CNY", False),
        ("capture", "captured", 20410, "CNY", True),
        ("refund", "refunded", 20410, "CNY", True),
    ]
    assert len({r[2] for r in rows}) == 3
