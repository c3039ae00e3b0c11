"""What the bank says is believed where it answers what it was asked, names it all, and only there."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from services.payments.bank_commands import policy as bank_policy
from services.payments.bank_commands.replies import (
    BankRefusal,
    ContradictoryReply,
    ImplausibleReply,
    Meaning,
    interpret,
    record_of_command,
)
from services.payments.domain.bank import (
    Authorised,
    BankCommand,
    Capture,
    Captured,
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
from services.payments.domain.bank_replies import BankRecord, BankReply, one_line
from services.payments.lanes import Breaker, pause_of
from shared.errors import Misconfigured
from shared.money import Money
from shared.sealing import MASTER_KEYS, Sealing

ORDER = UUID(int=1)
OTHER = str(UUID(int=2))
PAID = Money(20410, "CNY")
NAMED = {"amount": "204.10", "currency": "CNY"}
AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
VOID = Void(order_id=ORDER, authorisation_no="A1")
CAPTURE = Capture(order_id=ORDER, authorisation_no="A1", amount=PAID)
REFUND = Refund(order_id=ORDER, payment_no="P1", amount=PAID)
REFUND_TAX = RefundTax(order_id=ORDER, payment_no="P1", amount=PAID)
TRANSFER = Transfer(order_id=ORDER, payment_book="B1", amount=PAID)
DONE: dict[str, dict[str, Any]] = {
    "capture": {
        "status": "captured", "payment_no": "P1", "enterprise_code": "E1", "paid_at": "2026-11-30T20:00:00+08:00",
        "payer": {"name": "n", "id_type": "1", "id_number": "i"}, **NAMED,
    },
    "refund": {"status": "refunded", "refund_no": "R1", "payment_no": "P1", **NAMED},
    "refund_tax": {"status": "refunded", "refund_no": "R1", "payment_no": "P1", **NAMED},
    "transfer": {"status": "transferred", "transfer_no": "T1", **NAMED},
}  # fmt: skip
MOVED = (CAPTURE, REFUND, REFUND_TAX, TRANSFER)
SEALING = Sealing({name: bytes(32) for name in MASTER_KEYS})


def answer(ask: BankCommand, **said: Any) -> BankReply:
    return BankReply.model_validate({"key": ask.intent_id, "reference": ask.reference} | said)


def said_to(ask: BankCommand, **said: Any) -> Meaning | None:
    return interpret(ask, answer(ask, **said), SEALING)


@pytest.mark.parametrize("code", ["AC04", "NOOR"])
def test_a_hold_the_bank_no_longer_has_is_gone(code: str) -> None:
    assert said_to(VOID, status="declined", code=code, reason="no such hold any more") == HoldGone(
        ORDER
    )


@pytest.mark.parametrize(
    "said",
    [
        {"status": "declined", "code": "AM05"},
        {"status": "declined"},
        {"status": "invalid", "code": "NOOR"},
    ],
)
def test_a_void_that_is_declined_otherwise_is_refused(said: dict[str, Any]) -> None:
    assert said_to(VOID, **said) == BankRefusal(
        said.get("code", "unspecified"), "the bank gave no reason"
    )


def test_a_voided_hold_is_let_go_and_what_is_undecided_is_no_word() -> None:
    assert said_to(VOID, status="voided", authorisation_no="A1") == Voided(ORDER)
    for status in ("pending", "error", "unknown_key"):
        assert interpret(REFUND, BankReply(key=REFUND.intent_id, status=status), SEALING) is None


@pytest.mark.parametrize(
    ("ask", "meant"),
    [
        (REFUND, Refunded(ORDER, "R1")),
        (REFUND_TAX, ExcessRefunded(ORDER, PAID, "R1")),
        (TRANSFER, Transferred(ORDER, "T1")),
    ],
    ids=lambda v: getattr(v, "kind", ""),
)
@pytest.mark.parametrize("said", [{}, {"amount": "204.1"}], ids=str)
def test_money_that_went_out_is_booked_where_the_bank_names_what_was_asked(
    ask: BankCommand, meant: object, said: dict[str, Any]
) -> None:
    assert said_to(ask, **DONE[ask.kind] | said) == meant


def test_a_capture_of_less_than_was_held_is_one() -> None:
    found = said_to(CAPTURE, **DONE["capture"] | {"amount": "203.10"})
    assert isinstance(found, Captured)
    assert (found.amount, found.paid_at) == (Money(20310, "CNY"), AT)


@pytest.mark.parametrize("ask", MOVED, ids=lambda ask: ask.kind)
@pytest.mark.parametrize(
    "name",
    [
        "reference",
        "amount",
        "currency",
        "payment_no",
        "refund_no",
        "transfer_no",
        "payer",
        "paid_at",
    ],
)
def test_an_answer_that_does_not_name_it_all_is_none(ask: BankCommand, name: str) -> None:
    said = {"reference": ask.reference} | DONE[ask.kind]
    if name not in said:
        return
    with pytest.raises(ImplausibleReply):
        interpret(
            ask, BankReply.model_validate({"key": ask.intent_id} | said | {name: None}), SEALING
        )


@pytest.mark.parametrize("ask", [*MOVED, VOID], ids=lambda ask: ask.kind)
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"amount": "204.11"}, "another_amount"),
        ({"amount": "9999999999999.99"}, "another_amount"),
        ({"amount": "0.00"}, "another_amount"),
        ({"currency": "USD"}, "another_currency"),
        ({"reference": OTHER}, "another_payment"),
        ({"authorisation_no": "A2"}, "another_payment"),
        ({"payment_no": "P2"}, "another_payment"),
        ({"payment_book": "B2"}, "another_payment"),
        ({"status": "settled"}, "impossible_answer"),
    ],
    ids=str,
)
def test_what_is_about_something_else_is_a_contradiction(
    ask: BankCommand, said: dict[str, Any], kind: str
) -> None:
    (name,) = said
    if name in {"amount", "currency"} and ask is VOID:
        return
    if name.endswith(("_no", "_book")) and getattr(ask, name, None) is None:
        return
    with pytest.raises(ContradictoryReply) as found:
        said_to(ask, **{"status": "voided"} | DONE.get(ask.kind, {}) | said)
    assert found.value.kind == kind


def test_a_hold_of_another_amount_is_a_contradiction_and_one_without_is_believed() -> None:
    from services.payments.domain.bank import Authorise
    from shared.events.persons import SealedPerson

    payer = SealedPerson(person_ref=ORDER, sealed=b"", id_type="1", name_digest="n", id_digest="i")
    ask = Authorise(order_id=ORDER, amount=PAID, token="tok", payer=payer, enterprise_code="E")
    assert said_to(ask, status="authorised", authorisation_no="A1") == Authorised(ORDER, "A1")
    with pytest.raises(ContradictoryReply):
        said_to(ask, status="authorised", authorisation_no="A1", amount="1.00", currency="CNY")


@pytest.mark.parametrize(
    "said",
    [
        {"amount": "1e999999"},
        {"amount": "٢٠٤"},
        {"amount": "-1.00"},
        {"amount": "1_000.00"},
        {"amount": 204.1},
        {"amount": "NaN"},
        {"currency": "cny"},
        {"payment_no": "P\u0000"},
        {"payment_no": 7},
        {"payment_no": "P" * 65},
        {"paid_at": 1e300},
        {"paid_at": "2026-11-30T12:00:00"},
        {"paid_at": "0001-01-01T00:00:00+14:00"},
        {"status": ["captured"]},
        {"payer": "nobody"},
        {"key": "mine"},
    ],
    ids=str,
)
def test_a_field_of_no_believable_shape_makes_the_answer_unreadable(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        answer(CAPTURE, **DONE["capture"] | said)


def test_the_banks_sentence_is_one_line_and_has_no_persons_number() -> None:
    assert (
        one_line("not 110101199003070038,\n13800138000\x00\ud800 nor 0.00 CNY")
        == "not ***, ***  nor 0.00 CNY"
    )
    assert len(one_line("no " * 10_000)) == 300


def test_of_several_refunds_ours_is_the_one_under_our_key_or_the_one_nobody_else_has() -> None:
    def record(number: str, key: UUID | None = None, **other: Any) -> BankRecord:
        said = (
            {"operation": "refund", "reference": REFUND.reference, "key": key}
            | DONE["refund"]
            | {"refund_no": number}
            | other
        )
        return BankRecord.model_validate(said)

    mine, theirs, unnamed = record("R1", REFUND.intent_id), record("R2", UUID(int=9)), record("R3")
    key = [REFUND.intent_id]
    assert record_of_command(REFUND, key, [theirs, mine], ()) == mine
    assert record_of_command(REFUND, key, [theirs], ()) is None
    assert record_of_command(REFUND, key, [theirs, unnamed], ()) == unnamed
    assert record_of_command(REFUND, key, [unnamed], {"R3"}) is None
    assert record_of_command(REFUND, key, [record("R4", amount="204.00")], ()) is None


def test_whether_and_when_the_bank_is_asked_anew_is_dated_data(tmp_path: Path) -> None:
    policy = bank_policy.load()
    today = date(2026, 11, 30)
    assert policy.pause_s("refund", "AM04", 1, today) == 900
    assert policy.pause_s("refund", "AM04", 8, today) is None
    assert policy.pause_s("authorise", "AM04", 1, today) is None
    assert policy.pause_s("refund", "AC04", 1, today) is None
    assert policy.memory(today).keys_s == 86400
    file = tmp_path / "bank.toml"
    good = bank_policy.POLICY.read_text()
    for wrong in (
        good.replace("900,", "-1,", 1),
        good.replace('"transfer"', '"gift"', 1),
        good.replace("2015-01-01", '"2015"', 1),
        "[",
    ):
        file.write_text(wrong)
        with pytest.raises(Misconfigured, match=r"mend bank\.toml"):
            bank_policy.load(file)


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [
        ("30", 30.0), ("0", 0.0), ("86400", 600.0), ("9" * 400, 600.0), ("Mon, 30 Nov 2026 12:01:00 GMT", 60.0),
        ("Mon, 30 Nov 2020 12:01:00 GMT", 0.0), ("soon", None), ("-5", None), ("1e9", None), ("٣", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_a_pause_is_as_long_as_the_bank_asks_up_to_ten_minutes(
    header: str | None, pause_s: float | None
) -> None:
    assert pause_of(header, AT) == pause_s


def test_a_lane_breaks_after_five_failures_in_a_row_and_a_pause_is_never_shorter_than_asked() -> (
    None
):
    breaker = Breaker(lambda: 0.5)
    for _ in range(4):
        breaker.failed(100.0)
    assert breaker.wait_s(100.0) == 0
    breaker.answered()
    for _ in range(5):
        breaker.failed(100.0)
    assert breaker.wait_s(100.0) == 0.5
    for _ in range(20):
        breaker.failed(100.0)
    assert breaker.wait_s(100.0) == 30.0
    breaker.asked_to_wait(100.0, 86400)
    assert 600 <= breaker.wait_s(100.0) <= 660
    assert breaker.wait_s(1000.0) == 0
