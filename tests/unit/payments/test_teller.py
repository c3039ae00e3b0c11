"""What the bank says is believed where it answers what it was asked, and only there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from services.payments.domain.bank import (
    Ask,
    ExcessRefunded,
    HoldGone,
    Refund,
    Refunded,
    RefundTax,
    Transfer,
    Transferred,
    Void,
    Voided,
)
from services.payments.gateway import BankAnswer, Item
from services.payments.teller import PERSON_S, Teller
from shared.effects import Answered, Effect, Unknown
from shared.money import Money
from shared.sealing import MASTER_KEYS, Sealing

ORDER = UUID(int=1)
VOID = Void(order_id=ORDER, authorisation_no="A1")
PAID = Money(20410, "CNY")
REFUND = Refund(order_id=ORDER, payment_no="P1", amount=PAID)
REFUND_TAX = RefundTax(order_id=ORDER, payment_no="P1", amount=PAID)
TRANSFER = Transfer(order_id=ORDER, payment_book="B1", amount=PAID)
DONE: dict[str, dict[str, Any]] = {
    "refund": {"status": "refunded", "refund_no": "R1"},
    "refund_tax": {"status": "refunded", "refund_no": "R1"},
    "transfer": {"status": "transferred", "transfer_no": "T1"},
}


class OneAnswer:
    """A bank that says the same of whatever it is asked."""

    def __init__(self, **said: Any) -> None:
        self.said = said

    async def send(self, kind: str, items: Sequence[Item], *, again: bool = False) -> dict[UUID, BankAnswer]:
        return await self.query([UUID(item["key"]) for item in items])

    async def query(self, keys: Sequence[UUID]) -> dict[UUID, BankAnswer]:
        return {key: BankAnswer(key=key, **self.said) for key in keys}

    async def close(self) -> None:
        pass


async def word_on(ask: Ask, attempts: int = 1, **said: Any) -> Answered | Unknown:
    sealing = Sealing({name: bytes(32) for name in MASTER_KEYS})
    effect = Effect(ask.intent_id, ask.order_id, ask.kind, ask.model_dump_json().encode(), attempts)
    (word,) = await Teller(OneAnswer(**said), sealing, None).perform(ask.kind, [effect])
    return word


def conflicts(kind: str) -> float:
    labels = {"service": "payments", "kind": kind, "outcome": "conflict"}
    return REGISTRY.get_sample_value("crossborder_effects_total", labels) or 0.0


async def is_left_to_a_person(ask: Ask, **said: Any) -> bool:
    before = conflicts(ask.kind)
    word = await word_on(ask, **said)
    return isinstance(word, Unknown) and word.retry_s == PERSON_S and conflicts(ask.kind) == before + 1


@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.parametrize("code", ["AC04", "NOOR"])
async def test_a_hold_the_bank_no_longer_has_is_gone_whenever_it_says_so(code: str, attempts: int) -> None:
    word = await word_on(VOID, attempts, status="declined", code=code, reason="no such hold any more")
    assert isinstance(word, Answered)
    assert word.answer == HoldGone(ORDER)


@pytest.mark.parametrize(
    "said",
    [
        {"status": "declined", "code": "AM05", "reason": "the authorisation is captured"},
        {"status": "declined"},
        {"status": "invalid", "code": "NOOR"},
        {"status": "captured", "code": "AC04"},
    ],
)
async def test_a_void_that_is_refused_otherwise_is_left_to_a_person(said: dict[str, Any]) -> None:
    assert await is_left_to_a_person(VOID, **said)


async def test_a_voided_hold_is_let_go() -> None:
    word = await word_on(VOID, status="voided", authorisation_no="A1")
    assert isinstance(word, Answered)
    assert word.answer == Voided(ORDER)
    assert not await is_left_to_a_person(REFUND, status="pending")


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (REFUND, Refunded(ORDER, "R1")),
        (REFUND_TAX, ExcessRefunded(ORDER, PAID, "R1")),
        (TRANSFER, Transferred(ORDER, "T1")),
    ],
    ids=lambda v: getattr(v, "kind", ""),
)
@pytest.mark.parametrize("said", [{}, {"amount": "204.10", "currency": "CNY"}, {"amount": "204.1"}, {"currency": "CNY"}], ids=str)
async def test_money_that_went_out_is_booked_where_the_bank_names_what_was_asked_or_nothing(
    ask: Ask, answer: object, said: dict[str, Any]
) -> None:
    word = await word_on(ask, **DONE[ask.kind], **said)
    assert isinstance(word, Answered)
    assert word.answer == answer


@pytest.mark.parametrize("ask", [REFUND, REFUND_TAX, TRANSFER], ids=lambda ask: ask.kind)
@pytest.mark.parametrize(
    "said",
    [
        {"amount": "1.00", "currency": "CNY"},
        {"amount": "204.11"},
        {"amount": "204.10", "currency": "USD"},
        {"currency": "USD"},
        {"currency": "JPY"},
        {"amount": "all of it"},
    ],
    ids=str,
)
async def test_another_amount_than_was_asked_for_is_no_answer(ask: Ask, said: dict[str, Any]) -> None:
    assert await is_left_to_a_person(ask, **DONE[ask.kind], **said)


@pytest.mark.parametrize("ask", [REFUND, REFUND_TAX], ids=lambda ask: ask.kind)
async def test_a_refund_of_another_payment_is_no_answer(ask: Ask) -> None:
    assert await is_left_to_a_person(ask, **DONE[ask.kind], payment_no="OTHER")
    word = await word_on(ask, **DONE[ask.kind], payment_no="P1")
    assert isinstance(word, Answered)
