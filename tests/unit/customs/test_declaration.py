"""A declaration from its first document to the authority's last word, in every order things can come."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.customs.domain import declaration as d
from services.customs.domain.declaration import Answer, Declaration, Lodged, Policy, State
from shared.events import customs as said
from shared.events.orders import OrderUnwinding, WithdrawalAsked
from shared.transitions import IllegalTransition
from tests.unit.customs.documents import ORDER_ID, order, payment, tax, waybill

POLICY = Policy(correctable={"130126", "1332"}, too_soon={"-621041"}, attempts_max=3, too_soon_wait_s=2.0)
MISMATCH = said.Mismatch(
    code="1332", field="amount_paid", left=said.Side(document="order", value="1"), right=said.Side(document="payment", value="2")
)
INVT = "90072026I000000001"


def agree(*_: object) -> list[said.Mismatch]:
    return []


def disagree(*_: object) -> list[said.Mismatch]:
    return [MISMATCH]


def at(state: State, **more: Any) -> Declaration:
    return Declaration(ORDER_ID, state=state, invt_no=INVT, attempt=1, **more)


def heard(meaning: str, status: str = "", on: str = "declare", code: str | None = None) -> Answer:
    return Answer(on, meaning, status, "", code, INVT)  # type: ignore[arg-type]


def kinds(facts: tuple[Any, ...]) -> list[str]:
    return [type(fact).__name__ for fact in facts]


@pytest.mark.parametrize("arrival", list(permutations([order(), payment(), tax(), waybill()])))
def test_the_list_is_made_once_all_four_are_there_in_any_order_of_arrival(arrival: tuple[Any, ...]) -> None:
    found: Declaration | None = None
    for i, document in enumerate(arrival):
        found, facts = d.collect(found, document, agree)
        assert facts == ()
        assert found.state is (State.MATCHED if i == 3 else State.COLLECTING)
    assert found is not None
    assert found.waiting == "declare"


@pytest.mark.parametrize("arrival", list(permutations([order(), payment(), tax(), waybill()])))
def test_a_mismatch_is_said_once_and_no_list_is_made(arrival: tuple[Any, ...]) -> None:
    found: Declaration | None = None
    said_so: list[str] = []
    for document in arrival:
        found, facts = d.collect(found, document, disagree)
        said_so += kinds(facts)
    assert found is not None
    assert (said_so, found.state, found.waiting) == (["DocumentsMismatched"], State.MISMATCHED, None)


def test_a_document_that_comes_twice_or_late_changes_nothing() -> None:
    matched = replace(at(State.MATCHED), present=d.ALL_DOCUMENTS, order=order(), payment=payment(), tax=tax(), waybill=waybill())
    for document in (order(), payment(), tax(), waybill()):
        assert d.collect(matched, document, disagree) == (matched, ())
    first = d.collect(None, waybill(), agree)[0]
    second = waybill().model_copy(update={"logistics_no": "W2"})
    assert d.collect(first, second, agree)[0].waybill == waybill()


@pytest.mark.parametrize(
    ("state", "expected", "facts", "waiting"),
    [
        (State.COLLECTING, State.WITHDRAWN, ["ListWithdrawn"], None),
        (State.MATCHED, State.WITHDRAWN, ["ListWithdrawn"], None),
        *[(s, State.WITHDRAWING, [], "cancel") for s in d.PENDING],
        (State.RELEASED, State.RETURNING, ["ReturnOpened"], "return"),
        (State.CLOSED, State.RETURNING, ["ReturnOpened"], "return"),
        *[(s, s, [], None) for s in (*d.OVER, State.WITHDRAWING, State.RETURNING)],
    ],
)
def test_a_withdrawal_at_every_stage_has_the_outcome_the_stage_allows(
    state: State, expected: State, facts: list[str], waiting: str | None
) -> None:
    after, found = d.withdraw(at(state), WithdrawalAsked(order_id=ORDER_ID, reason="buyer"))
    assert (after.state, kinds(found), after.waiting) == (expected, facts, waiting)


def test_a_withdrawal_before_any_document_stops_the_list_for_good() -> None:
    after, facts = d.withdraw(None, WithdrawalAsked(order_id=ORDER_ID, reason="buyer"))
    assert kinds(facts) == ["ListWithdrawn"]
    for document in (order(), payment(), tax(), waybill()):
        after, facts = d.collect(after, document, agree)
        assert (after.state, facts) == (State.WITHDRAWN, ())


def test_a_withdrawal_before_customs_gave_a_number_waits_for_the_number() -> None:
    after, _ = d.withdraw(replace(at(State.LODGED), invt_no=None), WithdrawalAsked(order_id=ORDER_ID, reason="buyer"))
    assert (after.state, after.waiting) == (State.WITHDRAWING, None)
    after, facts = d.answer(after, heard("accepted", "120"), POLICY)
    assert (after.state, after.waiting, facts) == (State.WITHDRAWING, "cancel", ())


def test_a_granted_cancellation_withdraws_the_list() -> None:
    after, facts = d.answer(at(State.WITHDRAWING), heard("granted", "399", "cancel"), POLICY)
    assert (after.state, kinds(facts)) == (State.WITHDRAWN, ["ListWithdrawn"])


@pytest.mark.parametrize("order_of_arrival", list(permutations([heard("returned", "100", "cancel"), heard("released", "800")])))
def test_a_cancellation_that_comes_too_late_becomes_a_return_whichever_is_heard_first(
    order_of_arrival: tuple[Answer, ...],
) -> None:
    found, facts = at(State.WITHDRAWING), []
    for entry in order_of_arrival:
        found, more = d.answer(found, entry, POLICY)
        facts += kinds(more)
    assert (found.state, found.waiting, facts) == (State.RETURNING, "return", ["GoodsReleased", "ReturnOpened"])
    found, more = d.answer(found, heard("granted", "399", "return"), POLICY)
    assert (found.state, kinds(more)) == (State.RETURNED, ["GoodsReturned"])


def test_a_refused_return_leaves_the_sale_standing() -> None:
    after, facts = d.answer(at(State.RETURNING), heard("returned", "100", "return"), POLICY)
    assert (after.state, kinds(facts)) == (State.CLOSED, ["ReturnRefused"])


@pytest.mark.parametrize(
    ("meaning", "status", "expected", "fact"),
    [
        ("accepted", "120", State.ACCEPTED, "ListAccepted"), ("review", "300", State.REVIEW, "ListInReview"),
        ("examination", "500", State.EXAMINATION, "ExaminationOrdered"), ("held", "600", State.HELD, "GoodsHeld"),
        ("released", "800", State.RELEASED, "GoodsReleased"), ("closed", "899", State.RELEASED, "GoodsReleased"),
        ("detained", "501", State.DETAINED, "GoodsDetained"), ("shipback", "700", State.SHIPPED_BACK, "ReturnShipmentOrdered"),
    ],
)  # fmt: skip
def test_each_receipt_leads_to_its_state_and_says_its_fact_once(meaning: str, status: str, expected: State, fact: str) -> None:
    after, facts = d.answer(at(State.LODGED), heard(meaning, status), POLICY)
    assert (after.state, kinds(facts), after.version) == (expected, [fact], 1)
    again, more = d.answer(after, heard(meaning, status), POLICY)
    if meaning != "closed":
        assert (again.state, more) == (expected, ())


@pytest.mark.parametrize("late", ["accepted", "review", "examination", "held", "detained", "returned"])
def test_no_word_after_the_release_undoes_it(late: str) -> None:
    after, facts = d.answer(at(State.RELEASED, released=True), heard(late, "500"), POLICY)
    assert (after.state, facts) == (State.RELEASED, ())


@pytest.mark.parametrize("late", ["detained", "shipback", "held", "released"])
def test_no_word_after_the_release_undoes_it_while_a_cancellation_is_under_way(late: str) -> None:
    """Seed 182 of the simulation: 800, then a cancellation, then a contradicting 501."""
    found = at(State.WITHDRAWING, released=True, waiting="cancel")
    after, facts = d.answer(found, heard(late, "501"), POLICY)
    assert (after.state, after.waiting, facts) == (State.WITHDRAWING, "cancel", ())


@pytest.mark.parametrize("released", [True, False])
def test_a_cancellation_that_cannot_be_printed_opens_a_return_where_the_goods_are_released(released: bool) -> None:
    """Seed 551 of the simulation: it waited for ever."""
    found = at(State.WITHDRAWING, released=released, waiting="cancel")
    after, facts = d.unlodgeable(found, "cancel", "the buyer's key was deleted")
    assert after.cancel_refused
    if released:
        assert (after.state, after.waiting, kinds(facts)) == (State.RETURNING, "return", ["ReturnOpened"])
    else:
        assert (after.state, after.waiting, facts) == (State.WITHDRAWING, None, ())
        after, facts = d.answer(after, heard("released", "800"), POLICY)
        assert (after.state, after.waiting, kinds(facts)) == (State.RETURNING, "return", ["GoodsReleased", "ReturnOpened"])


def test_a_returned_list_is_corrected_and_lodged_again_as_an_amendment() -> None:
    after, facts = d.answer(at(State.ACCEPTED), heard("returned", "100", code="130126"), POLICY)
    assert (after.state, after.waiting, kinds(facts)) == (State.MATCHED, "declare", ["ListReturned"])
    assert d.correction_of(after) == "2"
    after, facts = d.lodged(after, Lodged("declare", UUID(int=1), "G"))
    assert (after.state, after.attempt, kinds(facts)) == (State.LODGED, 2, ["ListLodged"])


def test_resubmitted_too_soon_waits_and_is_new_again_since_customs_never_stored_it() -> None:
    after, _ = d.answer(at(State.LODGED), heard("returned", "-621041", code="-621041"), POLICY)
    assert (after.waiting, after.waiting_s, d.correction_of(after)) == ("declare", 2.0, "1")


@pytest.mark.parametrize("case", [("9999", 1), ("130126", 3)])
def test_what_no_correction_can_mend_is_refused_with_its_code(case: tuple[str, int]) -> None:
    code, attempt = case
    after, facts = d.answer(replace(at(State.ACCEPTED), attempt=attempt), heard("returned", "100", code=code), POLICY)
    assert (after.state, kinds(facts)) == (State.REFUSED, ["ListRefused"])
    assert isinstance(facts[0], said.ListRefused)
    assert facts[0].faults[0].code == code


def test_an_order_undone_for_its_own_reasons_leaves_no_list_and_no_word() -> None:
    event = OrderUnwinding(order_id=ORDER_ID, towards="rejected", released=False)
    for found in (None, at(State.COLLECTING), at(State.MATCHED, waiting="declare")):
        after, facts = d.stop(found, event)
        assert (after.state, after.waiting, facts) == (State.WITHDRAWN, None, ())
    assert d.stop(at(State.REFUSED), event) == (at(State.REFUSED), ())


def test_every_pair_that_is_not_a_row_is_refused() -> None:
    rows = {(state, event) for state, event, _ in d.LIST}
    for state in State:
        for event in said.CustomsEvent.__subclasses__() + said.ReceiptEvent.__subclasses__():
            if (state, event) not in rows:
                with pytest.raises(IllegalTransition):
                    d.LIST.next(state, event.model_construct())  # type: ignore[call-arg]


MEANINGS = (
    "waiting",
    "accepted",
    "review",
    "examination",
    "held",
    "released",
    "closed",
    "returned",
    "detained",
    "shipback",
    "granted",
)
steps = st.one_of(
    st.sampled_from([order(), payment(), tax(), waybill()]),
    st.just(WithdrawalAsked(order_id=ORDER_ID, reason="x")),
    st.just("lodge"),
    st.tuples(
        st.sampled_from(MEANINGS),
        st.sampled_from(["declare", "cancel", "return"]),
        st.sampled_from([None, "130126", "-621041", "9"]),
    ),
)


@given(st.lists(steps, max_size=40))
def test_no_sequence_of_words_breaks_the_machine_and_at_most_one_end_is_said(sequence: list[Any]) -> None:
    found: Declaration | None = None
    facts: list[Any] = []
    for step in sequence:
        more: tuple[Any, ...] = ()
        if isinstance(step, WithdrawalAsked):
            found, more = d.withdraw(found, step)
        elif step == "lodge":
            if found is not None and found.waiting is not None:
                found, more = d.lodged(found, Lodged(found.waiting, UUID(int=1), "G"))
        elif isinstance(step, tuple):
            if found is not None:
                found, more = d.answer(found, heard(step[0], "1", step[1], step[2]), POLICY)
        else:
            found, more = d.collect(found, step, agree)
        facts += more
        assert found is None or found.version == len(facts)
    said_kinds = kinds(tuple(facts))
    assert said_kinds.count("GoodsReleased") <= 1
    ends = ("DocumentsMismatched", "ListRefused", "GoodsDetained", "ReturnShipmentOrdered", "ListWithdrawn", "GoodsReturned")
    assert sum(said_kinds.count(end) for end in ends) <= 1
