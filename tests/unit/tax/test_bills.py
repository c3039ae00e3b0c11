"""A tax bill against what was withheld and assessed: who bears the difference, when it is paid, and every legal step."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tax.bills.corrections import correct
from services.tax.bills.domain import (
    BILL,
    Bill,
    BillState,
    CaseDecided,
    CaseReason,
    GoodsReturned,
    PaymentDue,
    begin,
    decide,
)
from services.tax.bills.policy import BILLS, load
from services.tax.bills.terms import BillPolicy, BillTerms, day_begins, outcome_of
from shared.errors import Misconfigured
from shared.events.customs import TaxBillConsolidated, TaxBillContradicted, TaxBilled, TaxBillVoided
from shared.events.customs import TaxBillCorrected as Corrected
from shared.events.tax import TaxBillCorrected, TaxBillDisputed, TaxBillDue, TaxBillSettled
from shared.money import Money
from shared.transitions import IllegalTransition

ORDER = UUID(int=7)
TERMS = BillTerms(
    booked_at_most=50, person_above=10_000, pay_on_day=33, pay_to_day=45, missing_on_day=31
)
POLICY = BillPolicy(((date(2015, 1, 1), TERMS),))
RELEASED = datetime(2026, 11, 23, 1, tzinfo=UTC)


def yuan(minor: int) -> Money:
    return Money(minor, "CNY")


def billed(total: int, withheld: int = 1210) -> TaxBilled:
    return TaxBilled(
        order_id=ORDER, invt_no="I", tax_no="I_0", duty=yuan(0), consumption_tax=yuan(0), vat=yuan(total), total=yuan(total),
        withheld=yuan(withheld), merchant_code="M", released_at=RELEASED,
    )  # fmt: skip


CONSOLIDATED = TaxBillConsolidated(order_id=ORDER, tax_no="I_0", payment_book="B1")
VOIDED = TaxBillVoided(order_id=ORDER, tax_no="I_0")
CONTRADICTED = TaxBillContradicted(
    order_id=ORDER, tax_no="I_0", total=yuan(1210), other_tax_no="I_1", other_total=yuan(1310)
)
PAY = PaymentDue(uuid4(), 3)


def begun(total: int = 1210, withheld: int = 1210, assessed: int = 1210) -> Bill:
    return begin(billed(total, withheld), yuan(assessed), POLICY).bill


@pytest.mark.parametrize(
    ("withheld", "assessed", "found", "outcome"),
    [
        (1210, 1210, 1210, "exact"), (1210, 1210, 1260, "booked"), (1210, 1210, 1160, "booked"), (1210, 1210, 1261, "claim"),
        (1210, 1210, 1159, "refund"), (1200, 1210, 1210, "booked"), (1000, 1210, 1210, "claim"), (1500, 1210, 1210, "refund"),
        (0, 10_000, 10_000, "claim"), (0, 10_001, 10_001, None), (1210, 1210, 11_211, None), (1210, 11_211, 1210, None),
    ],
)  # fmt: skip
def test_who_bears_the_difference(
    withheld: int, assessed: int, found: int, outcome: str | None
) -> None:
    assert outcome_of(yuan(withheld), yuan(assessed), yuan(found), TERMS) == outcome


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_buyer_never_bears_what_was_withheld_too_little(
    withheld: int, assessed: int, found: int
) -> None:
    outcome = outcome_of(yuan(withheld), yuan(assessed), yuan(found), TERMS)
    assert outcome in {
        None,
        *(
            ["exact"]
            if withheld == found
            else ["booked", "claim" if found > withheld else "refund"]
        ),
    }


def test_a_bill_within_reason_is_settled_by_rule() -> None:
    decision = begin(billed(1240), yuan(1210), POLICY)
    (fact,) = decision.events
    assert isinstance(fact, TaxBillSettled)
    assert (fact.outcome, fact.withheld, fact.assessed, fact.billed) == (
        "booked",
        yuan(1210),
        yuan(1210),
        yuan(1240),
    )
    assert (decision.bill.state, decision.opened) == (BillState.SETTLED, ())


def test_a_bill_far_off_moves_nothing_until_a_person_has_decided() -> None:
    decision = begin(billed(20_000), yuan(1210), POLICY)
    assert isinstance(decision.events[0], TaxBillDisputed)
    assert (decision.bill.state, decision.opened) == (BillState.DISPUTED, (CaseReason.FAR_OFF,))
    known = decide(decision.bill, CONSOLIDATED).bill
    assert known.state is BillState.DISPUTED
    for ours, outcome in ((False, "claim"), (True, "booked")):
        decided = decide(known, CaseDecided(ours))
        assert decided.bill.state is BillState.CONSOLIDATED
        assert isinstance(decided.events[0], TaxBillSettled)
        assert decided.events[0].outcome == outcome
    assert decide(decision.bill, CaseDecided(ours=False)).bill.state is BillState.SETTLED


def test_what_is_consolidated_is_handed_over_once() -> None:
    bill = decide(begun(), CONSOLIDATED).bill
    due = decide(bill, PAY)
    (fact,) = due.events
    assert isinstance(fact, TaxBillDue)
    assert (fact.payment_book, fact.bills, fact.amount, fact.payment_id) == (
        "B1",
        3,
        yuan(1210),
        PAY.payment_id,
    )
    with pytest.raises(IllegalTransition):
        decide(due.bill, PAY)


def test_a_bill_of_nothing_is_done_without_a_payment() -> None:
    bill = decide(begun(0, 0, 0), CONSOLIDATED).bill
    assert decide(bill, PAY).events == ()


def test_what_is_not_consolidated_is_not_paid() -> None:
    for bill in (begun(), begun(20_000)):
        with pytest.raises(IllegalTransition):
            decide(bill, PAY)


@pytest.mark.parametrize("state", BillState)
def test_goods_that_came_back_are_taken_out_unless_the_bill_was_handed_over(
    state: BillState,
) -> None:
    bill = Bill(
        ORDER, "I_0", state, yuan(1), yuan(1), yuan(1), "M", RELEASED, RELEASED, "exact", "B1"
    )
    rightly = (
        state
        if state in (BillState.DUE, BillState.VOIDED, BillState.RETURNED)
        else BillState.RETURNED
    )
    assert decide(bill, GoodsReturned()).bill.state is rightly


def test_a_void_of_what_was_handed_over_is_for_a_person() -> None:
    due = decide(decide(begun(), CONSOLIDATED).bill, PAY).bill
    assert decide(due, VOIDED).opened == (CaseReason.VOIDED,)
    assert decide(due, VOIDED).bill.state is BillState.DUE


@pytest.mark.parametrize("heard", [billed(9_999), CONTRADICTED])
def test_a_second_bill_changes_nothing(heard: TaxBilled | TaxBillContradicted) -> None:
    for bill in (begun(), decide(begun(), CONSOLIDATED).bill, begun(20_000)):
        decision = decide(bill, heard)
        assert (decision.bill, decision.events) == (bill, ())


def test_every_pair_of_the_table_can_be_followed() -> None:
    heard = {
        TaxBilled: billed(1), TaxBillContradicted: CONTRADICTED, TaxBillConsolidated: CONSOLIDATED, TaxBillVoided: VOIDED,
        CaseDecided: CaseDecided(ours=True), PaymentDue: PAY, GoodsReturned: GoodsReturned(),
    }  # fmt: skip
    for state in BillState:
        bill = Bill(
            ORDER, "I_0", state, yuan(1), yuan(1), yuan(1), "M", RELEASED, RELEASED, "exact", "B1"
        )
        legal = {event for of, event, _ in BILL if of is state}
        for kind, event in heard.items():
            if kind in legal:
                decide(bill, event)  # type: ignore[arg-type]
            else:
                with pytest.raises(IllegalTransition):
                    decide(bill, event)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("released", "paid", "until"),
    [
        ("2026-11-23T15:59:59+00:00", "2026-12-25T16:00:00+00:00", "2027-01-07T16:00:00+00:00"),
        ("2026-11-23T16:00:00+00:00", "2026-12-26T16:00:00+00:00", "2027-01-08T16:00:00+00:00"),
    ],
)
def test_days_are_calendar_days_in_beijing(released: str, paid: str, until: str) -> None:
    at = datetime.fromisoformat(released)
    bill = begin(billed(1210).model_copy(update={"released_at": at}), yuan(1210), POLICY).bill
    assert (bill.pay_at, bill.pay_until) == (
        datetime.fromisoformat(paid),
        datetime.fromisoformat(until),
    )


@given(st.floats(0.05, 86_400), st.integers(0, 60))
def test_a_shorter_day_keeps_the_order_of_days(day_s: float, days: int) -> None:
    begins = day_begins(RELEASED, days, day_s)
    assert begins <= day_begins(RELEASED, days + 1, day_s)
    assert begins <= RELEASED + timedelta(seconds=days * day_s + 1e-3)


def test_the_policy_that_comes_along_can_be_read() -> None:
    assert load().on(date(2026, 11, 23)).pay_to_day == 45


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('booked_at_most = "0.50"', 'booked_at_most = "100.01"', "more than person_above"),
        ('booked_at_most = "0.50"', "booked_at_most = 0.5", "decimal string"),
        ('booked_at_most = "0.50"', 'booked_at_most = "0.505"', "two decimals"),
        ("pay_on_day = 33", "pay_on_day = 46", "between pay_from_day and pay_to_day"),
        ("valid_from = 2015-01-01", "valid_form = 2015-01-01", "terms.0"),
        ("[[terms]]", "[[terms", "bills"),
    ],
)
def test_a_bad_policy_is_refused_by_name_and_reason(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    text = BILLS.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "bills.toml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(Misconfigured, match=says):
        load(tmp_path / "bills.toml")


def corrected(total: int, returns: int = 1) -> Corrected:
    return Corrected(
        order_id=ORDER, invt_no="I", tax_no="I_1", replaces="I_0", duty=yuan(0), consumption_tax=yuan(0), vat=yuan(total),
        total=yuan(total), returns=returns,
    )  # fmt: skip


def test_a_bill_that_was_void_before_its_dispute_was_over_is_settled_by_the_one_that_replaces_it() -> (
    None
):
    """Payments heard of no bill yet, so a correction would be of nothing: the simulation found it."""
    void = decide(begun(total=99_999), VOIDED).bill
    found = correct(void, corrected(1_210), yuan(1_210), TERMS)
    assert (found.bill.state, found.bill.outcome) == (BillState.SETTLED, "exact")
    assert [type(fact) for fact in found.events] == [TaxBillSettled]


def test_one_that_is_as_far_off_as_the_void_one_is_a_persons_case_again() -> None:
    void = decide(begun(total=99_999), VOIDED).bill
    found = correct(void, corrected(99_998), yuan(1_210), TERMS)
    assert (found.bill.state, found.events, found.opened) == (
        BillState.DISPUTED,
        (),
        (CaseReason.FAR_OFF,),
    )
    decided = decide(found.bill, CaseDecided(ours=True, owed=yuan(1_210)))
    assert (decided.bill.state, decided.bill.tax_no) == (BillState.SETTLED, "I_1")
    assert [type(fact) for fact in decided.events] == [TaxBillSettled]


def test_a_bill_that_was_settled_and_void_is_corrected() -> None:
    void = decide(begun(), VOIDED).bill
    assert [type(fact) for fact in correct(void, corrected(605), yuan(605), TERMS).events] == [
        TaxBillCorrected
    ]
