"""The bank over real HTTP: every word of its language, idempotency by key, and the statement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from sandbox.authority.bodies import is_resident_id
from sandbox.bank.http import application
from sandbox.bank.ledger import OTHER_PAYER, TOKENS
from sandbox.bank.party import HANG_S, SLOW_S, Bank
from sandbox.language import LANGUAGE, Phrase, words
from tests.unit.sandbox.papers import BUYER, ENTERPRISE, NOW

ROWS = [row for row in LANGUAGE if row.party == "bank"]
PAYER = {"name": "张三", "id_type": "1", "id_number": BUYER}


class Shop:
    """Speaks to the bank as the payments service does."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self.client = client

    async def post(self, path: str, *items: dict[str, Any]) -> list[dict[str, Any]]:
        response = await self.client.post(f"/v1/{path}", json={"items": items})
        assert response.status == 200
        found: list[dict[str, Any]] = (await response.json())["items"]
        return found

    async def one(self, path: str, item: dict[str, Any]) -> dict[str, Any]:
        return (await self.post(path, item))[0]

    async def ask(self, *keys: str) -> list[dict[str, Any]]:
        response = await self.client.post("/v1/operations/query", json={"keys": keys})
        found: list[dict[str, Any]] = (await response.json())["items"]
        return found

    async def books(self, *references: str) -> list[dict[str, Any]]:
        response = await self.client.post("/v1/operations/query", json={"references": references})
        found: list[dict[str, Any]] = (await response.json())["items"]
        return found

    async def get(self, path: str) -> Any:
        return await (await self.client.get(path)).json()

    async def authorise(self, token: str, reference: str = "order") -> dict[str, Any]:
        return await self.one("authorisations", authorisation(token, reference))

    async def captured(self, token: str = "tok_ok", reference: str = "order") -> dict[str, Any]:
        held = await self.authorise(token, reference)
        return await self.one("captures", capture(held["authorisation_no"], reference))


def authorisation(token: str, reference: str = "order", **changed: Any) -> dict[str, Any]:
    item = {
        "key": f"{reference}-a",
        "reference": reference,
        "amount": "204.10",
        "currency": "CNY",
        "token": token,
        "payer": PAYER,
        "enterprise_code": ENTERPRISE,
    }
    return item | changed


def capture(number: str, reference: str = "order", **changed: Any) -> dict[str, Any]:
    item = {
        "key": f"{reference}-c",
        "reference": reference,
        "authorisation_no": number,
        "amount": "204.10",
        "currency": "CNY",
    }
    return item | changed


def refund(payment_no: str, amount: str, key: str = "order-r") -> dict[str, Any]:
    return {
        "key": key,
        "reference": "order",
        "payment_no": payment_no,
        "amount": amount,
        "currency": "CNY",
    }


@pytest.fixture
def bank() -> Bank:
    # A hundredth of the language's delays, so that "2 s later" is 20 ms.
    return Bank(pace=0.01)


@pytest.fixture
async def shop(bank: Bank) -> AsyncIterator[Shop]:
    async with TestClient(TestServer(application(bank))) as client:
        yield Shop(client)


async def _rehearse(shop: Shop, row: Phrase) -> list[str]:
    """What the bank says when each step of the row is asked for in turn."""
    said: list[str] = []
    held, payment_no = "", ""
    for step in row.does:
        match step[0]:
            case "?":
                said.append("?" + (await _asked(shop, step[1:]))["status"])
            case "&":
                (found,) = [r for r in await shop.books("order") if r["operation"] == "capture"]
                assert found["reference"] == "order"
                said.append("&" + found["status"])
            case "!":
                said.append(
                    await _lost(
                        shop, capture(held) if held else authorisation(row.word), bool(held)
                    )
                )
            case _:
                item = (
                    refund(payment_no, "204.10", "order-r" + "2" * (step[0] == "+"))
                    if payment_no
                    else capture(held)
                )
                path = "refunds" if payment_no else "captures"
                answer = await (shop.one(path, item) if held else shop.authorise(row.word))
                held = held or answer.get("authorisation_no", "")
                payment_no = answer.get("payment_no") or payment_no
                said.append("+" * (step[0] == "+") + answer["status"])
    return said


async def _lost(shop: Shop, item: dict[str, Any], held: bool) -> str:
    """What becomes of a bulk whose answer does not arrive."""
    try:
        async with asyncio.timeout(HANG_S * 0.01 / 2):
            response = await shop.client.post(
                "/v1/captures" if held else "/v1/authorisations", json={"items": [item]}
            )
            if response.status != 200:
                assert response.headers.get("Retry-After") == (
                    "1" if response.status == 429 else None
                )
                return "!busy" if response.status == 429 else f"!{response.status}"
            assert (await response.json())["items"] is None
            return "!null"
    except TimeoutError:
        return "!hang"
    except aiohttp.ClientConnectionError:
        return "!hangup"


async def _asked(shop: Shop, wanted: str) -> dict[str, Any]:
    async with asyncio.timeout(5):
        while True:
            (told,) = await shop.ask("order-c")
            if told["status"] == wanted:
                return told
            await asyncio.sleep(SLOW_S * 0.01 / 4)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.word)
async def test_the_bank_speaks_every_row_of_its_language(shop: Shop, row: Phrase) -> None:
    assert await _rehearse(shop, row) == list(row.does)


def test_the_bank_knows_no_token_that_the_language_does_not_name() -> None:
    assert words("bank") == TOKENS


async def test_same_key_and_body_is_answered_the_same_and_moves_money_once(shop: Shop) -> None:
    first = await shop.captured()
    assert await shop.captured() == first
    statement = await shop.get("/v1/statement")
    nothing = {"refunded": "0.00", "refunds": 0, "transferred": "0.00", "transfers": 0}
    assert statement["currencies"] == {"CNY": {"captured": "204.10", "captures": 1, **nothing}}


async def test_a_transfer_to_customs_is_made_once(shop: Shop) -> None:
    asked = {
        "key": "t1",
        "reference": "P",
        "payment_book": "2244L1",
        "amount": "12.10",
        "currency": "CNY",
    }
    first = await shop.one("transfers", asked)
    assert (first["status"], first["amount"]) == ("transferred", "12.10")
    assert await shop.one("transfers", asked) == first
    assert (await shop.one("transfers", {**asked, "amount": "12.11"}))["status"] == "conflict"
    found = (await shop.get("/v1/statement"))["currencies"]["CNY"]
    assert (found["transferred"], found["transfers"]) == ("12.10", 1)


async def test_same_key_with_another_body_is_a_conflict(shop: Shop) -> None:
    await shop.authorise("tok_ok")
    answer = await shop.one("authorisations", authorisation("tok_ok", amount="1.00"))
    assert answer["status"] == "conflict"
    assert (await shop.one("captures", capture("A", key="order-a")))["status"] == "conflict"


async def test_an_authorisation_is_captured_once_even_under_two_keys(shop: Shop) -> None:
    held = await shop.authorise("tok_ok")
    pair = [capture(held["authorisation_no"], key=key) for key in ("k1", "k2")]
    assert [answer["status"] for answer in await shop.post("captures", *pair)] == [
        "captured",
        "declined",
    ]


async def test_no_more_is_captured_than_was_authorised(shop: Shop) -> None:
    held = await shop.authorise("tok_ok")
    answer = await shop.one("captures", capture(held["authorisation_no"], amount="204.11"))
    assert (answer["status"], answer["code"]) == ("declined", "AM09")


async def test_no_more_is_refunded_than_was_captured(shop: Shop) -> None:
    paid = await shop.captured()
    asked = [
        refund(paid["payment_no"], amount, key)
        for amount, key in (("200.00", "r1"), ("4.11", "r2"), ("4.10", "r3"))
    ]
    assert [answer["status"] for answer in await shop.post("refunds", *asked)] == [
        "refunded",
        "declined",
        "refunded",
    ]
    assert (await shop.get("/v1/statement"))["currencies"]["CNY"]["refunded"] == "204.10"


async def test_a_voided_authorisation_cannot_be_captured_nor_a_captured_one_voided(
    shop: Shop,
) -> None:
    held = await shop.authorise("tok_ok")
    void = {"key": "v", "reference": "order", "authorisation_no": held["authorisation_no"]}
    assert (await shop.one("voids", void))["status"] == "voided"
    assert (await shop.one("captures", capture(held["authorisation_no"])))["status"] == "declined"
    other = await shop.authorise("tok_ok", "other")
    await shop.one("captures", capture(other["authorisation_no"], "other"))
    late = {"key": "w", "reference": "other", "authorisation_no": other["authorisation_no"]}
    assert (await shop.one("voids", late))["status"] == "declined"


async def test_a_hold_that_ran_out_can_be_neither_captured_nor_voided(shop: Shop) -> None:
    held = await shop.authorise("tok_expired")
    void = {"key": "v", "reference": "order", "authorisation_no": held["authorisation_no"]}
    for path, item in (("captures", capture(held["authorisation_no"])), ("voids", void)):
        answer = await shop.one(path, item)
        assert (answer["status"], answer["code"]) == ("declined", "AC04")
    strange = await shop.one("voids", void | {"key": "w", "authorisation_no": "A0"})
    assert (strange["status"], strange["code"]) == ("declined", "NOOR")


async def test_a_capture_on_its_way_cannot_be_voided_yet() -> None:
    bank = Bank()
    held = bank.perform("authorise", [authorisation("tok_slow")], NOW)[0][0]
    bank.perform("capture", [capture(held["authorisation_no"])], NOW)
    void = {"key": "v", "reference": "order", "authorisation_no": held["authorisation_no"]}
    assert bank.perform("void", [void], NOW)[0][0]["status"] == "error"
    assert bank.perform("void", [void], NOW + SLOW_S)[0][0]["status"] == "declined"


async def test_the_capture_names_the_payer_the_bank_holds(shop: Shop) -> None:
    paid = await shop.captured()
    assert (paid["payer"], paid["enterprise_code"], paid["amount"]) == (PAYER, ENTERPRISE, "204.10")
    assert paid["paid_at"].endswith("+08:00")
    assert (await shop.captured("tok_other_payer", "b"))["payer"] == OTHER_PAYER
    assert is_resident_id(OTHER_PAYER["id_number"])
    assert (await shop.captured("tok_short", "c"))["amount"] == "203.10"


async def test_a_hang_up_hides_the_answers_of_the_whole_bulk_but_not_their_effects(
    shop: Shop,
) -> None:
    bad, good = await shop.authorise("tok_hangup", "bad"), await shop.authorise("tok_ok", "good")
    bulk = [capture(bad["authorisation_no"], "bad"), capture(good["authorisation_no"], "good")]
    with pytest.raises(aiohttp.ClientConnectionError):
        await shop.post("captures", *bulk)
    assert [told["status"] for told in await shop.ask("bad-c", "good-c", "none")] == [
        "captured",
        "captured",
        "unknown_key",
    ]
    assert [answer["status"] for answer in await shop.post("captures", *bulk)] == [
        "captured",
        "captured",
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": "1.001"},
        {"amount": "-1"},
        {"amount": 1},
        {"currency": "XXX"},
        {"payer": None},
        {"key": ""},
        {"reference": None},
    ],
)
async def test_a_malformed_item_is_invalid_and_leaves_its_neighbours_alone(
    shop: Shop, changed: dict[str, Any]
) -> None:
    answers = await shop.post(
        "authorisations", authorisation("tok_ok", "a") | changed, authorisation("tok_ok", "b")
    )
    assert [answer["status"] for answer in answers] == ["invalid", "authorised"]


async def test_an_unknown_token_is_declined(shop: Shop) -> None:
    assert (await shop.authorise("tok_nobody"))["code"] == "AC01"


@pytest.mark.parametrize(("body", "status"), [(b"[]", 400), (b"{", 400), (b'{"items": [1]}', 400)])
async def test_a_request_that_is_no_bulk_is_refused(bank: Bank, body: bytes, status: int) -> None:
    async with TestClient(TestServer(application(bank))) as client:
        assert (await client.post("/v1/captures", data=body)).status == status


async def test_more_than_500_items_are_refused(bank: Bank) -> None:
    async with TestClient(TestServer(application(bank))) as client:
        assert (await client.post("/v1/captures", json={"items": [{}] * 501})).status == 413


async def test_the_statement_pages_through_every_movement(shop: Shop) -> None:
    paid = await shop.captured()
    await shop.one("refunds", refund(paid["payment_no"], "4.10"))
    first = await shop.get("/v1/statement/operations?after=0&limit=1")
    second = await shop.get(f"/v1/statement/operations?after={first['next']}&limit=1")
    found = [
        (item["kind"], item["reference"], item["amount"], item["currency"])
        for item in first["items"] + second["items"]
    ]
    assert found == [("capture", "order", "204.10", "CNY"), ("refund", "order", "4.10", "CNY")]
    assert (await shop.get(f"/v1/statement/operations?after={second['next']}"))["items"] == []


async def test_operations_can_be_asked_by_url(shop: Shop) -> None:
    await shop.captured()
    told = await shop.get("/v1/operations?key=order-c&key=nothing")
    assert [item["status"] for item in told["items"]] == ["captured", "unknown_key"]


def test_a_killed_bank_remembers_what_it_answered(tmp_path: Path) -> None:
    bank = Bank(tmp_path / "bank.db")
    held = bank.perform("authorise", [authorisation("tok_ok")], NOW)[0][0]
    paid = bank.perform("capture", [capture(held["authorisation_no"])], NOW)[0][0]
    again = Bank(tmp_path / "bank.db")
    assert again.perform("capture", [capture(held["authorisation_no"])], NOW)[0][0] == paid
    assert again.ask(["order-c"], NOW)[0] == paid
    bank.file.close()
    again.file.close()
