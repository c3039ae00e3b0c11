"""Whatever a payment waits for, a person's word is a way out, and the books, the bank and the order agree afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from sandbox.bank import ledger as bank_ledger
from services.cli.cases import of_order
from services.cli.connect import RunningStack, UsageError
from services.cli.order.waits import waits_of
from services.cli.payments.app import settle_case
from services.payments.bank_commands.settlement import VERDICTS, NotSettled, Verdict, settle
from services.payments.cases import KINDS
from services.payments.customs_debt import store as debt_store
from services.payments.customs_debt.handlers import outbound
from services.payments.customs_debt.tax_due import TaxDue, TaxDueState
from services.payments.domain.bank import RefundTax, Transfer
from services.payments.domain.payment_states import PaymentState
from shared import cases, effect_runner, effects
from shared.cases import StoredCase
from shared.money import Money
from tests.integration.test_bank_says_anything import (
    captured,
    doing,
    forget_everything,
    open_cases,
    talk_of,
)
from tests.integration.test_payments import Rig, cny, given_back, released, rig, unwinding

__all__ = ["rig"]

STAYS = Money.zero("CNY")


def refused(_desk: Any, item: Any) -> dict[str, Any]:
    return bank_ledger.answer_to(item, "declined", code="AG01", reason="not allowed")


def nothing(_desk: Any, item: Any) -> dict[str, Any]:
    return bank_ledger.answer_to(item, "pending")


async def say(rig: Rig, verdict: Verdict, number: int | None = None, times: int = 4) -> None:
    """What `crossborder payments cases settle` does in its transaction, and what the service does next."""
    (case,) = [c for c in await open_cases(rig) if number in (None, c.number)]
    async with rig.pool.acquire() as conn, conn.transaction():
        await cases.close(
            conn, case.number, verdict=verdict.word, note="the bank said so", by="ops"
        )
        await settle(conn, case, verdict)
    await rig.ask_bank(times)


async def waiting(rig: Rig, state: PaymentState) -> UUID:
    """An order whose payment is in this state, with a case for a person."""
    placed = await rig.placed()
    kind = {
        PaymentState.AUTHORISING: "authorise",
        PaymentState.AUTHORISED: "capture",
        PaymentState.VOIDING: "void",
    }.get(state, "refund")
    await rig.hear(placed)
    with doing(kind, nothing if kind in {"authorise", "capture"} else refused):
        if kind == "void":
            with doing("capture", refused):
                await rig.ask_bank(3)
        else:
            await rig.ask_bank(3)
        if state is PaymentState.REFUNDING:
            await rig.hear(unwinding(placed.order_id))
        if state is PaymentState.RETURNING:
            await rig.hear(released(placed.order_id), given_back(placed.order_id))
        async with rig.pool.acquire() as conn:
            await conn.execute("UPDATE effect SET created_at = now() - interval '1 hour'")
        await rig.ask_bank(3)
    async with rig.pool.acquire() as conn:
        await conn.execute("UPDATE effect SET created_at = now()")
    assert (await rig.state(placed.order_id)).state is state
    assert [c.order_id for c in await open_cases(rig)] == [placed.order_id]
    return placed.order_id


AWAITED = (
    PaymentState.AUTHORISING,
    PaymentState.AUTHORISED,
    PaymentState.VOIDING,
    PaymentState.REFUNDING,
    PaymentState.RETURNING,
)
"""The states in which the bank's word is waited for; the others wait for other services, or for nothing."""
DONE = Verdict("done", bank_no="X1")
OFF = Verdict("write-off", account="own_funds")
WALK: dict[tuple[PaymentState, str], tuple[Verdict, PaymentState, list[str]]] = {
    (PaymentState.AUTHORISING, "done"): (DONE, PaymentState.VOIDING, []),
    (PaymentState.AUTHORISING, "not-done"): (
        Verdict("not-done"),
        PaymentState.DECLINED,
        ["declined"],
    ),
    (PaymentState.AUTHORISING, "ask-again"): (
        Verdict("ask-again"),
        PaymentState.CAPTURED,
        ["captured"],
    ),
    (PaymentState.AUTHORISING, "new-attempt"): (
        Verdict("new-attempt"),
        PaymentState.CAPTURED,
        ["captured"],
    ),
    (PaymentState.AUTHORISED, "done"): (DONE, PaymentState.CAPTURED, ["captured"]),
    (PaymentState.AUTHORISED, "not-done"): (
        Verdict("not-done"),
        PaymentState.DECLINED,
        ["declined"],
    ),
    (PaymentState.AUTHORISED, "ask-again"): (
        Verdict("ask-again"),
        PaymentState.CAPTURED,
        ["captured"],
    ),
    (PaymentState.AUTHORISED, "new-attempt"): (
        Verdict("new-attempt"),
        PaymentState.CAPTURED,
        ["captured"],
    ),
    (PaymentState.VOIDING, "done"): (DONE, PaymentState.DECLINED, ["declined"]),
    (PaymentState.VOIDING, "not-done"): (Verdict("not-done"), PaymentState.DECLINED, ["declined"]),
    (PaymentState.VOIDING, "new-attempt"): (
        Verdict("new-attempt"),
        PaymentState.DECLINED,
        ["declined"],
    ),
    (PaymentState.REFUNDING, "done"): (DONE, PaymentState.REFUNDED, ["captured", "refunded"]),
    (PaymentState.REFUNDING, "not-done"): (
        Verdict("not-done"),
        PaymentState.REFUNDED,
        ["captured", "refunded"],
    ),
    (PaymentState.REFUNDING, "new-attempt"): (
        Verdict("new-attempt"),
        PaymentState.REFUNDED,
        ["captured", "refunded"],
    ),
    (PaymentState.REFUNDING, "write-off"): (OFF, PaymentState.REFUNDED, ["captured", "refunded"]),
    (PaymentState.RETURNING, "done"): (
        DONE,
        PaymentState.SETTLED,
        ["captured", "settled", "return-refunded"],
    ),
    (PaymentState.RETURNING, "not-done"): (
        Verdict("not-done"),
        PaymentState.SETTLED,
        ["captured", "settled", "return-refunded"],
    ),
    (PaymentState.RETURNING, "new-attempt"): (
        Verdict("new-attempt"),
        PaymentState.SETTLED,
        ["captured", "settled", "return-refunded"],
    ),
    (PaymentState.RETURNING, "write-off"): (
        OFF,
        PaymentState.SETTLED,
        ["captured", "settled", "return-refunded"],
    ),
}


def test_no_state_that_waits_for_the_bank_is_without_a_way_out() -> None:
    assert {state for state, _ in WALK} == set(AWAITED)
    assert {word for _, word in WALK} == set(VERDICTS) - {"noted", "captured"}
    assert all(KINDS.values())


@pytest.mark.parametrize(("state", "word"), WALK, ids=str)
async def test_every_word_leads_out_of_every_state(
    rig: Rig, state: PaymentState, word: str
) -> None:
    verdict, end, told = WALK[state, word]
    order_id = await waiting(rig, state)
    if (state, word) == (PaymentState.AUTHORISING, "done"):
        # The bank knows no hold of this number, so the capture is declined, and the hold let go.
        with doing("void", nothing):
            await say(rig, verdict)
    else:
        if word == "ask-again":  # the bank gave no answer and recorded none
            await forget_everything(rig)
        await say(rig, verdict)
    assert (await rig.state(order_id)).state is end
    assert await rig.told(order_id) == told or end is PaymentState.VOIDING
    if end is PaymentState.VOIDING:
        await rig.ask_bank()
    assert await open_cases(rig) == []
    if verdict.word in {"done", "not-done", "write-off"}:
        assert any(
            status in {"done", "not_done", "written_off", "refunded"}
            for _, _, status, _ in await talk_of(rig, order_id)
        )
    await rig.verify()


async def books(rig: Rig) -> dict[str, int]:
    async with rig.pool.acquire() as conn:
        return {
            r["account"]: r["minor"]
            for r in await conn.fetch("SELECT * FROM balance")
            if r["minor"]
        }


async def test_what_is_written_off_stands_against_the_named_account_and_what_is_done_is_gone(
    rig: Rig,
) -> None:
    order_id = await waiting(rig, PaymentState.REFUNDING)
    await say(rig, Verdict("done", bank_no="DESK-7", amount="100.00", account="own_funds"))
    assert await books(rig) == {"bank_clearing": 10410, "own_funds": -10410}
    refund = (await rig.facts(order_id))[-1]
    assert (refund.amount, refund.refund_no) == (cny("100.00"), "DESK-7")  # type: ignore[attr-defined]
    assert (await talk_of(rig, order_id))[-1] == ("refund", 1, "done", "DESK-7")


async def test_what_a_person_is_shown_of_an_order_has_the_banks_own_sentence(rig: Rig) -> None:
    from services.cli.order import details

    order_id = await waiting(rig, PaymentState.REFUNDING)
    conn = await asyncpg.connect(rig.dsn)
    try:
        shown = await details.of_order(conn, order_id)
    finally:
        await conn.close()
    (case,) = shown["cases"]
    assert (case["kind"], case["details"]["bank_says"]) == ("refused", "not allowed")
    said = [
        (r["asked"], r["attempt"], r["answered"], r["code"], r["says"])
        for r in shown["money"]["bank"]
    ]
    assert ("refund", 1, "declined", "AG01", "not allowed") in said
    await say(rig, OFF)


async def test_a_capture_of_another_amount_by_a_persons_word_is_booked_as_it_is(rig: Rig) -> None:
    order_id = await waiting(rig, PaymentState.AUTHORISED)
    await say(rig, Verdict("done", bank_no="P9", amount="300.00"))
    assert await books(rig) == {"bank_clearing": 30000, "buyer_funds": -30000}
    await rig.hear(unwinding(order_id))
    with doing(
        "refund",
        lambda _d, i: bank_ledger.answer_to(
            i, "refunded", payment_no="P9", refund_no="R9", amount="300.00", currency="CNY"
        ),
    ):
        await rig.ask_bank()
    assert await books(rig) == {}


TAX_OFF = Verdict("write-off", account="tax_difference")
TAX_WALK: list[tuple[Verdict, list[tuple[str, str, int]]]] = [
    (DONE, [("refund_tax", "bank_clearing", -200)]),
    (
        Verdict("done", bank_no="D1", amount="1.50", account="tax_difference"),
        [("refund_tax", "bank_clearing", -150), ("write_off_tax", "tax_difference", -50)],
    ),
    (Verdict("not-done"), [("refund_tax", "bank_clearing", -200)]),
    (Verdict("new-attempt"), [("refund_tax", "bank_clearing", -200)]),
    (Verdict("ask-again"), [("refund_tax", "bank_clearing", -200)]),
    (TAX_OFF, [("write_off_tax", "tax_difference", -200)]),
]


@pytest.mark.parametrize(("verdict", "booked"), TAX_WALK, ids=str)
async def test_every_word_leads_out_of_a_refund_of_tax(
    rig: Rig, verdict: Verdict, booked: list[tuple[str, str, int]]
) -> None:
    assert {word.word for word, _ in TAX_WALK} == set(VERDICTS) - {"noted", "captured"}
    order_id = await captured(rig)
    payment = await rig.state(order_id)
    ask = RefundTax(order_id=order_id, payment_no=payment.payment_no or "", amount=cny("2.00"))
    async with rig.pool.acquire() as conn, conn.transaction():
        await conn.execute("UPDATE payment SET excess_minor = 200")
        await effects.record_commands(
            conn,
            rig.sealing,
            [outbound(ask, b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
        )
    with doing("refund", refused):
        await rig.ask_bank(2)
    if verdict.word == "ask-again":
        await forget_everything(rig)
    await say(rig, verdict)
    async with rig.pool.acquire() as conn:
        found = await conn.fetch(
            "SELECT purpose, account, amount_minor FROM journal WHERE amount_minor < 0 AND purpose <> 'capture' ORDER BY 1"
        )
        assert [tuple(row) for row in found] == booked
        assert await conn.fetchval("SELECT count(*) FROM effect") == 0
    assert await rig.told(order_id) == ["captured", "tax-refunded"]
    assert await open_cases(rig) == []
    admin = await asyncpg.connect(rig.dsn)
    await admin.execute("DELETE FROM payments.journal; DELETE FROM payments.payment")
    await admin.close()


@pytest.mark.parametrize("word", sorted(set(VERDICTS) - {"noted", "captured"}))
async def test_every_word_but_a_write_off_leads_out_of_a_transfer_to_customs(
    rig: Rig, word: str
) -> None:
    payment_id = uuid4()
    async with rig.pool.acquire() as conn, conn.transaction():
        await debt_store.gather(conn, payment_id, "B1", 1, cny("12.10"), 1)
        ask = Transfer(order_id=payment_id, payment_book="B1", amount=cny("12.10"))
        await effects.record_commands(conn, rig.sealing, [outbound(ask, None)])
    with doing("transfer", refused):
        await rig.ask_bank(3)
    if word == "write-off":
        with pytest.raises(NotSettled, match="settle transfer as done or not-done"):
            await say(rig, OFF)
        word = "not-done"
    if word == "ask-again":
        await forget_everything(rig)
    await say(rig, Verdict(word, bank_no="T1" if word == "done" else None))
    async with rig.pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM effect") == 0
        assert (await conn.fetchval("SELECT transfer_no FROM tax_payment") == "T1") is (
            word == "done"
        )
    assert rig.bank_moved().get("transfer", 0) == (0 if word == "done" else 1210)
    assert await open_cases(rig) == []
    admin = await asyncpg.connect(rig.dsn)
    await admin.execute("DELETE FROM payments.tax_payment")
    await admin.close()


async def test_an_order_whose_tax_cannot_be_paid_says_so(rig: Rig) -> None:
    order_id, payment_id = await captured(rig), uuid4()
    due = TaxDue(
        order_id,
        "T1",
        TaxDueState.DUE,
        cny("12.10"),
        cny("12.10"),
        "exact",
        "M",
        STAYS,
        payment_id,
        "B1",
    )
    async with rig.pool.acquire() as conn, conn.transaction():
        await debt_store.save(conn, [due])
        await debt_store.gather(conn, payment_id, "B1", 1, cny("12.10"), 1)
        ask = Transfer(order_id=payment_id, payment_book="B1", amount=cny("12.10"))
        await effects.record_commands(conn, rig.sealing, [outbound(ask, None)])
    with doing("transfer", refused):
        await rig.ask_bank(3)
    admin = await asyncpg.connect(rig.dsn)
    (case,) = await of_order(admin, order_id)
    (waits,) = await waits_of(admin, order_id, "fulfilled", [case])
    assert (
        waits
        == f"a person: case {case['number']} of payments (refused), `crossborder payments cases show {case['number']}`"
    )
    await say(rig, Verdict("done", bank_no="T1"))
    assert await of_order(admin, order_id) == []
    await admin.close()


async def test_a_transfer_declined_once_is_made_later(rig: Rig) -> None:
    payment_id = uuid4()
    async with rig.pool.acquire() as conn, conn.transaction():
        await debt_store.gather(conn, payment_id, "B1", 1, cny("12.10"), 1)
        ask = Transfer(order_id=payment_id, payment_book="B1", amount=cny("12.10"))
        await effects.record_commands(conn, rig.sealing, [outbound(ask, None)])
    with doing(
        "transfer",
        lambda _d, item: bank_ledger.answer_to(
            item, "declined", code="AM04", reason="insufficient funds today"
        ),
    ):
        await rig.ask_bank(1)
    await rig.ask_bank(4)
    assert rig.bank_moved() == {"transfer": 1210}
    assert await open_cases(rig) == []
    admin = await asyncpg.connect(rig.dsn)
    await admin.execute("DELETE FROM payments.tax_payment")
    await admin.close()


async def test_of_two_who_settle_a_case_at_once_the_first_is_obeyed(
    rig: Rig, tmp_path: Path
) -> None:
    order_id = await waiting(rig, PaymentState.REFUNDING)
    (case,) = await open_cases(rig)
    to = RunningStack("", rig.dsn, "", tmp_path)
    words = (OFF, Verdict("new-attempt"), DONE, OFF)
    follows = await asyncio.gather(
        *(settle_case(to, case.number, word, "the bank said so") for word in words)
    )
    assert [found is None for found in follows].count(False) == 1
    async with rig.pool.acquire() as conn:
        assert (
            await conn.fetchval(
                "SELECT count(*) FROM bank_attempt WHERE state = 'written_off' OR number > 1 OR bank_no > ''"
            )
            == 1
        )
    await rig.ask_bank()
    assert (await rig.state(order_id)).state is PaymentState.REFUNDED


async def test_a_person_and_the_banks_answer_do_not_wait_for_one_another(
    rig: Rig, tmp_path: Path
) -> None:
    await waiting(rig, PaymentState.REFUNDING)
    (case,) = await open_cases(rig)
    async with rig.pool.acquire() as conn:
        answered = conn.transaction()
        await answered.start()
        await conn.execute(
            "SELECT FROM effect FOR UPDATE"
        )  # as the answer is recorded: the instruction, then its cases
        settling = asyncio.create_task(
            settle_case(
                RunningStack("", rig.dsn, "", tmp_path), case.number, OFF, "the bank said so"
            )
        )
        await asyncio.sleep(0.5)
        assert await cases.close(
            conn, case.number, verdict="answered", note="the bank answered", by="payments"
        )
        await answered.commit()
    assert await settling is None
    await rig.ask_bank()


@pytest.mark.parametrize(
    "second",
    [Verdict("new-attempt"), Verdict("not-done"), Verdict("ask-again"), OFF, DONE],
    ids=str,
)
async def test_one_instruction_takes_one_word_however_many_cases_it_has(
    rig: Rig, second: Verdict
) -> None:
    order_id = await waiting(rig, PaymentState.REFUNDING)
    (first,) = await open_cases(rig)
    async with rig.pool.acquire() as conn:
        async with conn.transaction():
            await cases.open_all(
                conn, [cases.Case("unanswered", first.subject, order_id, dict(first.details))]
            )
            other = next(case for case in await cases.fetch(conn) if case.number != first.number)
            await settle(conn, first, DONE)
        with pytest.raises(NotSettled, match="settle it as noted in a minute"):
            async with conn.transaction():
                await settle(conn, other, second)
    await rig.ask_bank()
    assert rig.bank_moved() == {"capture": 20410}
    assert (await rig.state(order_id)).refund_no == "X1"
    async with rig.pool.acquire() as conn, conn.transaction():
        assert "nothing is open" in await settle(conn, other, Verdict("noted"))


async def test_what_is_under_way_to_the_bank_ends_before_it_is_asked_anew(rig: Rig) -> None:
    await waiting(rig, PaymentState.AUTHORISED)
    (case,) = await open_cases(rig)
    async with rig.pool.acquire() as conn:
        for word, least in (("ask-again", -1), ("new-attempt", effect_runner.CALL_S - 5)):
            async with conn.transaction():
                await settle(conn, case, Verdict(word))
            wait_s = await conn.fetchval(
                "SELECT extract(epoch FROM next_at - now())::float8 FROM effect"
            )
            assert least < wait_s <= effect_runner.CALL_S
    await rig.ask_bank()


async def test_what_was_asked_again_and_refused_again_is_a_case_again(rig: Rig) -> None:
    await waiting(rig, PaymentState.REFUNDING)
    with doing("refund", refused):
        await say(rig, Verdict("ask-again"))
        assert [c.kind for c in await open_cases(rig)] == ["refused"]
        await say(rig, Verdict("new-attempt"))
        assert [c.details["attempt"] for c in await open_cases(rig)] == [2]
    await say(rig, OFF)


@pytest.mark.parametrize(
    ("state", "verdict", "says"),
    [
        (PaymentState.REFUNDING, Verdict("done"), "--number"),
        (PaymentState.REFUNDING, Verdict("done", bank_no="R", amount="204.11"), "at most 204.10"),
        (
            PaymentState.REFUNDING,
            Verdict("done", bank_no="R", amount="1e2"),
            "at most 204.10|--amount|--account",
        ),
        (PaymentState.REFUNDING, Verdict("done", bank_no="R", amount="100.00"), "--account"),
        (PaymentState.REFUNDING, Verdict("write-off"), "own_funds or tax_difference"),
        (
            PaymentState.REFUNDING,
            Verdict("write-off", account="bank_clearing"),
            "own_funds or tax_difference",
        ),
        (PaymentState.REFUNDING, Verdict("noted"), "still owes"),
        (
            PaymentState.AUTHORISED,
            Verdict("write-off", account="own_funds"),
            "only what is owed to a buyer",
        ),
        (PaymentState.AUTHORISING, Verdict("done", bank_no="A", amount="1.00"), "of nothing else"),
    ],
    ids=str,
)
async def test_a_word_that_does_not_fit_changes_nothing(
    rig: Rig, state: PaymentState, verdict: Verdict, says: str
) -> None:
    await waiting(rig, state)
    (case,) = await open_cases(rig)
    async with rig.pool.acquire() as conn:
        before = await conn.fetch("SELECT * FROM bank_attempt")
        with pytest.raises(NotSettled, match=says):
            async with conn.transaction():
                await settle(conn, case, verdict)
        assert await conn.fetch("SELECT * FROM bank_attempt") == before


async def test_a_contradiction_that_was_answered_is_noted(rig: Rig) -> None:
    placed = await rig.placed("tok_swapped")
    await rig.hear(placed)
    await rig.ask_bank()
    assert await rig.told(placed.order_id) == ["captured"]
    (case,) = await open_cases(rig)
    assert isinstance(case, StoredCase)
    async with rig.pool.acquire() as conn, conn.transaction():
        with pytest.raises(NotSettled, match="noted"):
            await settle(conn, case, DONE)
        await settle(conn, case, Verdict("noted"))


async def test_the_command_settles_a_case_once_and_leaves_it_open_where_the_word_does_not_fit(
    rig: Rig, tmp_path: Path
) -> None:
    order_id = await waiting(rig, PaymentState.REFUNDING)
    (case,) = await open_cases(rig)
    to = RunningStack("", rig.dsn, "", tmp_path)
    with pytest.raises(NotSettled):
        await settle_case(to, case.number, Verdict("done"), "the bank said so")
    with pytest.raises(UsageError, match="say why"):
        await settle_case(to, case.number, OFF, " ")
    assert [c.number for c in await open_cases(rig)] == [case.number]
    assert (
        await settle_case(to, case.number, OFF, "the account is closed")
        == "what is owed is written off against own_funds"
    )
    assert await settle_case(to, case.number, OFF, "the account is closed") is None
    await rig.ask_bank(2)
    assert (await rig.state(order_id)).state is PaymentState.REFUNDED
    assert rig.bank_moved() == {"capture": 20410}


def captures_and_declines(desk: Any, item: Any) -> dict[str, Any]:
    bank_ledger.capture(desk, item)
    return bank_ledger.answer_to(item, "declined", code="AG01", reason="not allowed")


def hold_is_closed(_desk: Any, item: Any) -> dict[str, Any]:
    return bank_ledger.answer_to(item, "declined", code="AC04", reason="the hold is closed")


async def captured_and_declined(rig: Rig) -> tuple[UUID, str]:
    """An order whose capture the bank declined and did, and the bank's number of that capture."""
    placed = await rig.placed()
    await rig.hear(placed)
    with doing("capture", captures_and_declines), doing("void", hold_is_closed):
        await rig.ask_bank(6)
    assert (await rig.state(placed.order_id)).state is PaymentState.VOIDING
    (case,) = await open_cases(rig)
    return placed.order_id, str(case.details["found"]).split("capture ")[1].split()[0]


@pytest.mark.parametrize("undone", ["never", "before", "while", "after"])
async def test_a_capture_that_was_declined_and_done_is_booked_and_goes_back(
    rig: Rig, undone: str
) -> None:
    order_id, number = await captured_and_declined(rig)
    if undone == "before":
        await rig.hear(unwinding(order_id))
    await say(rig, Verdict("captured", bank_no=number), times=1)
    assert (await rig.state(order_id)).state is PaymentState.GIVING_BACK
    await rig.verify()
    if undone == "while":
        await rig.hear(unwinding(order_id))
    await rig.ask_bank(4)
    if undone == "after":
        await rig.hear(unwinding(order_id))
    payment = await rig.state(order_id)
    assert payment.state is (PaymentState.DECLINED if undone == "never" else PaymentState.VOIDED)
    assert payment.refunded == cny("204.10")
    assert await rig.told(order_id) == ["declined"] + ["voided"] * (undone != "never")
    assert rig.bank_moved() == {"capture": 20410, "refund": 20410}
    assert await open_cases(rig) == []
    await rig.verify()


async def test_only_a_void_can_be_settled_as_captured_and_with_no_more_than_was_asked(
    rig: Rig,
) -> None:
    order_id, number = await captured_and_declined(rig)
    with pytest.raises(NotSettled, match=r"at most 204\.10 CNY"):
        await say(rig, Verdict("captured", bank_no=number, amount="204.11"))
    with pytest.raises(NotSettled, match="--number"):
        await say(rig, Verdict("captured"))
    await say(rig, Verdict("captured", bank_no=number))
    assert (await rig.state(order_id)).refunded == cny("204.10")
    other = await waiting(rig, PaymentState.REFUNDING)
    with pytest.raises(NotSettled, match="only a void"):
        await say(rig, Verdict("captured", bank_no="X1"))
    assert (await rig.state(other)).state is PaymentState.REFUNDING
