"""A declaration from its first document to the authority's last word, in every order things can come."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.customs import policy_file
from services.customs.domain import declaration as d
from services.customs.domain import returns
from services.customs.domain.declaration import Answer, Declaration, Lodged, Policy, State
from services.customs.domain.returns import Return
from shared.events import EVENT_TYPES
from shared.events import customs as said
from shared.events.orders import OrderUnwinding, ReturnPart, WithdrawalAsked
from shared.transitions import IllegalTransition
from tests.unit.customs.documents import ORDER_ID, order, payment, tax, waybill

TERMS = policy_file.load(None).return_terms
POLICY = Policy(correctable={"130126", "1332"}, too_soon={"-621041"}, attempts_max=3, too_soon_wait_s=2.0, returns=TERMS,
                there_already={"-621004"})  # fmt: skip
RELEASED_AT = datetime(2026, 11, 23, 23, 59, 59, tzinfo=returns.BEIJING)
APPLIED = RELEASED_AT + timedelta(days=3)
ASKED = WithdrawalAsked(order_id=ORDER_ID, reason="buyer")
MISMATCH = said.Mismatch(
    code="1332",
    field="amount_paid",
    left=said.Side(document="order", value="1"),
    right=said.Side(document="payment", value="2"),
)
INVT = "90072026I000000001"


def agree(*_: object) -> list[said.Mismatch]:
    return []


def disagree(*_: object) -> list[said.Mismatch]:
    return [MISMATCH]


def at(state: State, **more: Any) -> Declaration:
    papers: dict[str, Any] = {
        "order": order(),
        "tax": tax(),
        "released_at": RELEASED_AT,
        "direction": "import",
    }
    asked = (Return(1, "asked", (), True, APPLIED),) if state is State.RETURNING else ()
    return Declaration(
        ORDER_ID, state=state, invt_no=INVT, **(papers | {"returns": asked, "attempt": 1} | more)
    )


def heard(
    meaning: str,
    status: str = "",
    on: str = "declare",
    code: str | None = None,
    when: datetime = APPLIED,
    pre_no: str | None = None,
) -> Answer:
    return Answer(on, meaning, status, "", code, INVT, pre_no, when)  # type: ignore[arg-type]


def kinds(facts: tuple[Any, ...]) -> list[str]:
    return [type(fact).__name__ for fact in facts]


@pytest.mark.parametrize("arrival", list(permutations([order(), payment(), tax(), waybill()])))
def test_the_list_is_made_once_all_four_are_there_in_any_order_of_arrival(
    arrival: tuple[Any, ...],
) -> None:
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
    assert (said_so, found.state, found.waiting) == (
        ["DocumentsMismatched"],
        State.MISMATCHED,
        None,
    )


def test_a_document_that_comes_twice_or_late_changes_nothing() -> None:
    matched = replace(
        at(State.MATCHED),
        present=d.ALL_DOCUMENTS,
        order=order(),
        payment=payment(),
        tax=tax(),
        waybill=waybill(),
    )
    for document in (order(), payment(), tax(), waybill()):
        assert d.collect(matched, document, disagree) == (matched, ())
    for state in State:
        lodged = replace(matched, state=state, attempt=1)
        if state is not State.COLLECTING:
            assert d.collect(lodged, SECOND, disagree) == (lodged, ())


SECOND = waybill().model_copy(update={"logistics_no": "W2"})


def test_a_waybill_is_corrected_until_the_list_is_lodged_and_the_order_is_told() -> None:
    first = d.collect(None, waybill(), agree)[0]
    # Nobody has placed the order yet, so there is no timeline to tell it in.
    assert d.collect(first, SECOND, agree) == (replace(first, waybill=SECOND), ())
    placed = d.collect(first, order(), agree)[0]
    corrected, facts = d.collect(placed, SECOND, agree)
    assert [
        (f.logistics_no, f.instead_of) for f in facts if isinstance(f, said.WaybillCorrected)
    ] == [("W2", "W1")]
    assert (corrected.waybill, corrected.state, corrected.version) == (
        SECOND,
        State.COLLECTING,
        placed.version + 1,
    )
    assert d.collect(corrected, SECOND, agree) == (corrected, ())


def test_a_waybill_that_is_corrected_after_the_match_must_match_too() -> None:
    matched = replace(
        at(State.MATCHED),
        present=d.ALL_DOCUMENTS,
        order=order(),
        payment=payment(),
        tax=tax(),
        waybill=waybill(),
    )
    matched = replace(matched, attempt=0)
    kept, facts = d.collect(matched, SECOND, agree)
    assert (kept.state, kept.waybill, kept.waiting, kinds(facts)) == (
        State.MATCHED, SECOND, matched.waiting, ["WaybillCorrected"],
    )  # fmt: skip
    over, facts = d.collect(matched, SECOND, disagree)
    assert (over.state, over.waiting, kinds(facts)) == (
        State.MISMATCHED,
        None,
        ["WaybillCorrected", "DocumentsMismatched"],
    )


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
    after, found = d.withdraw(at(state), ASKED, APPLIED, POLICY)
    assert (after.state, kinds(found), after.waiting) == (expected, facts, waiting)


def test_a_withdrawal_before_any_document_stops_the_list_for_good() -> None:
    after, facts = d.withdraw(None, ASKED, APPLIED, POLICY)
    assert kinds(facts) == ["ListWithdrawn"]
    for document in (order(), payment(), tax(), waybill()):
        after, facts = d.collect(after, document, agree)
        assert (after.state, facts) == (State.WITHDRAWN, ())


def test_a_withdrawal_before_customs_gave_a_number_waits_for_the_number() -> None:
    after, _ = d.withdraw(replace(at(State.LODGED), invt_no=None), ASKED, APPLIED, POLICY)
    assert (after.state, after.waiting) == (State.WITHDRAWING, None)
    after, facts = d.answer(after, heard("accepted", "120"), POLICY)
    assert (after.state, after.waiting, facts) == (State.WITHDRAWING, "cancel", ())


def test_a_granted_cancellation_withdraws_the_list() -> None:
    after, facts = d.answer(at(State.WITHDRAWING), heard("granted", "399", "cancel"), POLICY)
    assert (after.state, kinds(facts)) == (State.WITHDRAWN, ["ListWithdrawn"])


@pytest.mark.parametrize("status", ["800", "899"])
@pytest.mark.parametrize("granted_first", [True, False])
def test_a_granted_cancellation_withdraws_the_list_whether_the_release_comes_before_or_after(
    status: str, granted_first: bool
) -> None:
    """Nothing follows from a release while the cancellation is under way, so nothing has to be taken back."""
    words = [
        heard("granted", "399", "cancel"),
        heard("released" if status == "800" else "closed", status),
    ]
    found, said_so = at(State.WITHDRAWING), []
    for entry in words if granted_first else words[::-1]:
        found, facts = d.answer(found, entry, POLICY)
        said_so += kinds(facts)
    assert (found.state, said_so) == (State.WITHDRAWN, ["ListWithdrawn"])
    assert (found.released, found.status, found.waiting) == (False, "399", None)


def test_a_cancellation_granted_after_the_release_was_followed_becomes_a_return() -> None:
    found, facts = d.answer(
        at(State.WITHDRAWING, released=True), heard("granted", "399", "cancel"), POLICY
    )
    assert (found.state, found.waiting, kinds(facts)) == (
        State.RETURNING,
        "return",
        ["ReturnOpened"],
    )


@pytest.mark.parametrize(
    ("state", "on"), [(State.WITHDRAWING, "cancel"), (State.RETURNING, "return")]
)
def test_a_request_that_did_not_reach_customs_is_made_again(state: State, on: str) -> None:
    """Status 4 refuses nothing: the buyer would be told of a refusal that customs never spoke."""
    found, facts = d.answer(
        at(state), heard("returned", "4", on), replace(POLICY, too_soon={"-621041", "4"})
    )
    assert (found.state, found.waiting, found.waiting_s, facts) == (state, on, 2.0, ())
    found, facts = d.lodged(found, Lodged(on, UUID(int=2), "H"))  # type: ignore[arg-type]
    assert (found.state, found.waiting, found.cancel_refused, facts) == (state, None, False, ())


def test_a_status_in_no_list_changes_nothing() -> None:
    for state in State:
        found = at(state)
        for on in ("declare", "cancel", "return"):
            assert d.answer(found, heard("unknown", "401", on), POLICY) == (found, ())


@pytest.mark.parametrize(
    "order_of_arrival",
    list(permutations([heard("returned", "100", "cancel"), heard("released", "800")])),
)
def test_a_cancellation_that_comes_too_late_becomes_a_return_whichever_is_heard_first(
    order_of_arrival: tuple[Answer, ...],
) -> None:
    found, facts = at(State.WITHDRAWING), []
    for entry in order_of_arrival:
        found, more = d.answer(found, entry, POLICY)
        facts += kinds(more)
    assert (found.state, found.waiting, facts) == (
        State.RETURNING,
        "return",
        ["GoodsReleased", "ReturnOpened"],
    )
    found, more = d.answer(found, heard("granted", "399", "return"), POLICY)
    assert (found.state, kinds(more)) == (State.RETURNING, ["ReturnGranted"])
    found, more = d.answer(found, heard("released", "800", "return"), POLICY)
    assert (found.state, kinds(more)) == (State.RETURNED, ["GoodsReturned"])


def test_a_refused_return_leaves_the_sale_standing() -> None:
    after, facts = d.answer(at(State.RETURNING), heard("returned", "100", "return"), POLICY)
    assert (after.state, kinds(facts)) == (State.CLOSED, ["ReturnRefused"])


@pytest.mark.parametrize(
    ("meaning", "status", "expected", "fact"),
    [
        ("accepted", "120", State.ACCEPTED, "ListAccepted"), ("review", "300", State.REVIEW, "ListInReview"),
        ("examination", "500", State.EXAMINATION, "ExaminationOrdered"), ("held", "600", State.HELD, "GoodsHeld"),
        ("released", "800", State.RELEASED, "GoodsReleased"),
        ("detained", "501", State.DETAINED, "GoodsDetained"), ("shipback", "700", State.SHIPPED_BACK, "ReturnShipmentOrdered"),
    ],
)  # fmt: skip
def test_each_receipt_leads_to_its_state_and_says_its_fact_once(
    meaning: str, status: str, expected: State, fact: str
) -> None:
    after, facts = d.answer(at(State.LODGED), heard(meaning, status), POLICY)
    assert (after.state, kinds(facts), after.version) == (expected, [fact], 1)
    assert d.answer(after, heard(meaning, status), POLICY) == (after, ())


@pytest.mark.parametrize("before", [*d.PENDING, State.MATCHED])
def test_a_list_that_is_closed_before_its_release_was_heard_was_released(before: State) -> None:
    after, facts = d.answer(at(before), heard("closed", "899"), POLICY)
    assert (after.state, after.released, kinds(facts), after.version) == (
        State.CLOSED,
        True,
        ["GoodsReleased", "ListClosed"],
        2,
    )
    assert d.answer(after, heard("released", "800"), POLICY) == (after, ())


@pytest.mark.parametrize(
    "late", ["accepted", "review", "examination", "held", "detained", "returned"]
)
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
def test_a_cancellation_that_cannot_be_printed_opens_a_return_where_the_goods_are_released(
    released: bool,
) -> None:
    """Seed 551 of the simulation: it waited for ever."""
    found = at(State.WITHDRAWING, released=released, waiting="cancel")
    after, facts = d.unlodgeable(found, "cancel", "the buyer's key was deleted", APPLIED, POLICY)
    assert after.cancel_refused
    if released:
        assert (after.state, after.waiting, kinds(facts)) == (
            State.RETURNING,
            "return",
            ["ReturnOpened"],
        )
    else:
        assert (after.state, after.waiting, facts) == (State.WITHDRAWING, None, ())
        after, facts = d.answer(after, heard("released", "800"), POLICY)
        assert (after.state, after.waiting, kinds(facts)) == (
            State.RETURNING,
            "return",
            ["GoodsReleased", "ReturnOpened"],
        )


def test_a_returned_list_is_corrected_and_lodged_again_as_an_amendment() -> None:
    after, facts = d.answer(at(State.ACCEPTED), heard("returned", "100", code="130126"), POLICY)
    assert (after.state, after.waiting, kinds(facts)) == (
        State.MATCHED,
        "declare",
        ["ListReturned"],
    )
    assert d.correction_of(after) == "2"
    after, facts = d.lodged(after, Lodged("declare", UUID(int=1), "G"))
    assert (after.state, after.attempt, kinds(facts)) == (State.LODGED, 2, ["ListLodged"])


def test_resubmitted_too_soon_waits_and_is_new_again_since_customs_never_stored_it() -> None:
    after, _ = d.answer(at(State.LODGED), heard("returned", "-621041", code="-621041"), POLICY)
    assert (after.waiting, after.waiting_s, d.correction_of(after)) == ("declare", 2.0, "1")


@pytest.mark.parametrize("case", [("9999", 1), ("130126", 3)])
def test_what_no_correction_can_mend_is_refused_with_its_code(case: tuple[str, int]) -> None:
    code, attempt = case
    after, facts = d.answer(
        replace(at(State.ACCEPTED), attempt=attempt), heard("returned", "100", code=code), POLICY
    )
    assert (after.state, kinds(facts)) == (State.REFUSED, ["ListRefused"])
    assert isinstance(facts[0], said.ListRefused)
    assert facts[0].faults[0].code == code


def test_an_order_undone_for_its_own_reasons_leaves_no_list_and_no_word() -> None:
    event = OrderUnwinding(order_id=ORDER_ID, towards="rejected")
    for found in (None, at(State.COLLECTING), at(State.MATCHED, waiting="declare")):
        after, facts = d.stop(found, event)
        assert (after.state, after.waiting, facts) == (State.WITHDRAWN, None, ())
    assert d.stop(at(State.REFUSED), event) == (at(State.REFUSED), ())


def test_every_pair_that_is_not_a_row_is_refused() -> None:
    rows = {(state, event) for state, event, _ in d.LIST}
    for state in State:
        for event in [kind for kind in EVENT_TYPES.values() if issubclass(kind, said.CustomsEvent)]:
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
    "unknown",
)
steps = st.one_of(
    st.sampled_from([order(), payment(), tax(), waybill()]),
    st.just(WithdrawalAsked(order_id=ORDER_ID, reason="x")),
    st.just("lodge"),
    st.tuples(
        st.sampled_from(MEANINGS),
        st.sampled_from(["declare", "cancel", "return"]),
        st.sampled_from([None, "130126", "-621041", "-621004", "9"]),
    ),
)


@given(st.lists(steps, max_size=40))
def test_no_sequence_of_words_breaks_the_machine_and_at_most_one_end_is_said(
    sequence: list[Any],
) -> None:
    found: Declaration | None = None
    facts: list[Any] = []
    for step in sequence:
        more: tuple[Any, ...] = ()
        if isinstance(step, WithdrawalAsked):
            found, more = d.withdraw(found, step, APPLIED, POLICY)
        elif step == "lodge":
            if found is not None and found.waiting is not None:
                found, more = d.lodged(found, Lodged(found.waiting, UUID(int=1), "G"))
        elif isinstance(step, tuple):
            if found is not None:
                code = step[2] or ""
                told = replace(
                    heard(step[0], code or "1", step[1], step[2]), technical=code.startswith("-")
                )
                found, more = d.answer(found, told, POLICY)
        else:
            found, more = d.collect(found, step, agree)
        facts += more
        assert found is None or found.version == len(facts)
    said_kinds = kinds(tuple(facts))
    assert said_kinds.count("GoodsReleased") <= 1
    ends = (
        "DocumentsMismatched",
        "ListRefused",
        "GoodsDetained",
        "ReturnShipmentOrdered",
        "ListWithdrawn",
        "GoodsReturned",
    )
    assert sum(said_kinds.count(end) for end in ends) <= 1


# Returns


def days_after(days: int, hour: int = 0) -> datetime:
    """So many calendar days after the release in Beijing, which was a second before midnight."""
    return datetime(2026, 11, 23, hour, tzinfo=returns.BEIJING) + timedelta(days=days)


@pytest.mark.parametrize(("when", "opened"), [
    (days_after(1), True), (days_after(30, 23), True), (days_after(31) - timedelta(seconds=1), True), (days_after(31), False),
])  # fmt: skip
def test_a_return_is_applied_for_until_the_midnight_that_ends_the_thirtieth_day(
    when: datetime, opened: bool
) -> None:
    after, (fact,) = d.withdraw(at(State.RELEASED), ASKED, when, POLICY)
    assert isinstance(fact, said.ReturnOpened if opened else said.ReturnRefused)
    assert after.state is (State.RETURNING if opened else State.RELEASED)
    assert (after.waiting, len(after.returns)) == (("return", 1) if opened else (None, 0))
    if isinstance(fact, said.ReturnRefused):
        assert "31 days after the release, expected at most 30 (GACC 2020 No. 45" in fact.info


@pytest.mark.parametrize(
    ("when", "in_time"),
    [(days_after(45, 23), True), (days_after(46), False), (days_after(300), False)],
)
def test_goods_are_back_in_time_until_the_midnight_that_ends_the_forty_fifth_day(
    when: datetime, in_time: bool
) -> None:
    found, (granted,) = d.answer(at(State.RETURNING), heard("granted", "399", "return"), POLICY)
    assert isinstance(granted, said.ReturnGranted)
    assert granted.back_by.isoformat() == "2027-01-07"
    after, (fact,) = d.answer(found, heard("released", "800", "return", when=when), POLICY)
    assert isinstance(fact, said.GoodsReturned)
    assert (fact.in_time, after.returns[-1].state, after.returns[-1].back_at) == (
        in_time,
        "back" if in_time else "late",
        when,
    )


def test_what_was_released_before_the_rule_changed_must_be_back_within_thirty_days() -> None:
    old = datetime(2020, 3, 27, 12, tzinfo=returns.BEIJING)
    for released_at, days, in_time in (
        (old, 30, True),
        (old, 31, False),
        (old + timedelta(days=1), 45, True),
    ):
        found = at(State.RETURNING, released_at=released_at)
        _, (fact,) = d.answer(
            found,
            heard("released", "800", "return", when=released_at + timedelta(days=days)),
            POLICY,
        )
        assert isinstance(fact, said.GoodsReturned)
        assert fact.in_time is in_time
    assert returns.terms_on(TERMS, "import", old.date() - timedelta(days=4000)) is None
    after, (refused,) = d.withdraw(
        at(State.RELEASED, released_at=old - timedelta(days=4000)), ASKED, old, POLICY
    )
    assert isinstance(refused, said.ReturnRefused)
    assert after.returns == ()


@pytest.mark.parametrize("granted", [False, True])
@pytest.mark.parametrize(
    ("when", "given_up"), [(days_after(135, 23), False), (days_after(136), True)]
)
def test_goods_that_never_come_back_are_waited_for_ninety_days_past_the_term(
    granted: bool, when: datetime, given_up: bool
) -> None:
    found = at(State.RETURNING)
    if granted:
        found, _ = d.answer(found, heard("granted", "399", "return"), POLICY)
    after, facts = d.give_up_return(found, when, POLICY)
    if not given_up:
        assert (after, facts) == (found, ())
        return
    assert (after.state, after.waiting, after.returns[-1].state) == (State.CLOSED, None, "refused")
    assert kinds(facts) == ["ReturnRefused"]
    assert "2027-04-07" in facts[0].info  # type: ignore[attr-defined]
    assert d.give_up_return(after, when + timedelta(days=1), POLICY) == (after, ()), "once"
    late, said_late = d.answer(after, heard("released", "800", "return", when=when), POLICY)
    assert (late.state, said_late) == (State.CLOSED, ())


@pytest.mark.parametrize("state", [State.RELEASED, State.CLOSED, State.LODGED, State.WITHDRAWN])
def test_what_is_no_open_return_is_not_given_up(state: State) -> None:
    found = at(state)
    assert d.give_up_return(found, days_after(10_000), POLICY) == (found, ())


def two_of(line_no: int, quantity: str | None = None) -> WithdrawalAsked:
    part = ReturnPart(line_no=line_no, quantity=None if quantity is None else Decimal(quantity))
    return ASKED.model_copy(update={"lines": (part,)})


def give_back(
    found: Declaration, asked: WithdrawalAsked, number: int
) -> tuple[Declaration, list[Any]]:
    facts: list[Any] = []
    found, more = d.withdraw(found, asked, APPLIED, POLICY)
    facts += more
    for meaning, status in (("granted", "399"), ("released", "800")):
        if found.state is State.RETURNING:
            found, more = d.answer(
                found, heard(meaning, status, "return", pre_no=f"T{number}"), POLICY
            )
            facts += more
    return found, facts


def test_a_list_comes_back_line_by_line_and_no_more_of_a_line_than_is_left() -> None:
    whole = order().lines[0].quantity
    found, facts = give_back(at(State.RELEASED), two_of(1, "1"), 1)
    assert kinds(tuple(facts)) == ["ReturnOpened", "ReturnGranted", "GoodsPartlyReturned"]
    assert found.state is State.CLOSED
    (line,) = [x for x in facts[-1].lines if x.line_no == 1]
    assert (line.quantity, line.returned_before, line.ordered) == (1, 0, whole)
    for asked, why in (
        (two_of(1, str(whole)), "at most"),
        (two_of(99), "found none"),
        (two_of(1, "0"), "more than 0"),
    ):
        same, (refused,) = d.withdraw(found, asked, APPLIED, POLICY)
        assert isinstance(refused, said.ReturnRefused)
        assert why in refused.info
        assert same == replace(found, version=found.version + 1)
    twice = ASKED.model_copy(update={"lines": (ReturnPart(line_no=1), ReturnPart(line_no=1))})
    assert kinds(d.withdraw(found, twice, APPLIED, POLICY)[1]) == ["ReturnRefused"]
    found, facts = give_back(found, ASKED, 2)
    assert (found.state, kinds(tuple(facts))) == (
        State.RETURNED,
        ["ReturnOpened", "ReturnGranted", "GoodsReturned"],
    )
    assert all(x.returned == x.ordered for x in facts[-1].lines)


def test_a_late_word_on_an_earlier_return_says_nothing_about_the_one_that_is_open() -> None:
    found, _ = give_back(at(State.RELEASED), two_of(1, "1"), 1)
    found, _ = d.withdraw(found, ASKED, APPLIED, POLICY)
    for meaning, status in (("granted", "399"), ("released", "800"), ("returned", "100")):
        after, facts = d.answer(found, heard(meaning, status, "return", pre_no="T1"), POLICY)
        assert (after.state, after.returns, facts) == (State.RETURNING, found.returns, ())


def test_a_return_that_was_refused_takes_nothing_and_may_be_asked_for_again() -> None:
    found, _ = d.withdraw(at(State.RELEASED), ASKED, APPLIED, POLICY)
    found, facts = d.answer(found, heard("returned", "100", "return", pre_no="T1"), POLICY)
    assert (found.state, kinds(facts), found.returns[-1].state) == (
        State.CLOSED,
        ["ReturnRefused"],
        "refused",
    )
    found, told = give_back(found, ASKED, 2)
    assert (found.state, told[-1].return_no) == (State.RETURNED, 2)
