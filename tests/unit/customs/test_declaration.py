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
from services.customs.domain import (
    cancellation,
    documents,
    lodgement,
    replies,
    return_decisions,
    returns,
)
from services.customs.domain import declaration as d
from services.customs.domain.declaration import (
    AuthorityReply,
    Declaration,
    DeclarationPolicy,
    DeclarationState,
)
from services.customs.domain.lodgement import Lodged
from services.customs.domain.returns import Return
from shared.clock import BEIJING
from shared.events import EVENT_TYPES
from shared.events import customs as said
from shared.events.orders import OrderUnwinding, ReturnPart, WithdrawalAsked
from shared.transitions import IllegalTransition
from tests.unit.customs.documents import ORDER_ID, order, payment, tax, waybill

TERMS = policy_file.load(None).return_terms
POLICY = DeclarationPolicy(correctable={"130126", "1332"}, too_soon={"-621041"}, attempts_max=3, too_soon_wait_s=2.0, returns=TERMS,
                there_already={"-621004"})  # fmt: skip
RELEASED_AT = datetime(2026, 11, 23, 23, 59, 59, tzinfo=BEIJING)
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


def at(state: DeclarationState, **more: Any) -> Declaration:
    papers: dict[str, Any] = {
        "order": order(),
        "tax": tax(),
        "released_at": RELEASED_AT,
        "direction": "import",
    }
    asked = (Return(1, "asked", (), True, APPLIED),) if state is DeclarationState.RETURNING else ()
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
) -> AuthorityReply:
    return AuthorityReply(on, meaning, status, "", code, INVT, pre_no, when)  # type: ignore[arg-type]


def kinds(facts: tuple[Any, ...]) -> list[str]:
    return [type(fact).__name__ for fact in facts]


@pytest.mark.parametrize("arrival", list(permutations([order(), payment(), tax(), waybill()])))
def test_the_list_is_made_once_all_four_are_there_in_any_order_of_arrival(
    arrival: tuple[Any, ...],
) -> None:
    found: Declaration | None = None
    for i, document in enumerate(arrival):
        found, facts = documents.apply_document(found, document, agree)
        assert facts == ()
        assert found.state is (DeclarationState.MATCHED if i == 3 else DeclarationState.COLLECTING)
    assert found is not None
    assert found.waiting == "declare"


@pytest.mark.parametrize("arrival", list(permutations([order(), payment(), tax(), waybill()])))
def test_a_mismatch_is_said_once_and_no_list_is_made(arrival: tuple[Any, ...]) -> None:
    found: Declaration | None = None
    said_so: list[str] = []
    for document in arrival:
        found, facts = documents.apply_document(found, document, disagree)
        said_so += kinds(facts)
    assert found is not None
    assert (said_so, found.state, found.waiting) == (
        ["DocumentsMismatched"],
        DeclarationState.MISMATCHED,
        None,
    )


def test_a_document_that_comes_twice_or_late_changes_nothing() -> None:
    matched = replace(
        at(DeclarationState.MATCHED),
        present=documents.ALL_DOCUMENTS,
        order=order(),
        payment=payment(),
        tax=tax(),
        waybill=waybill(),
    )
    for document in (order(), payment(), tax(), waybill()):
        assert documents.apply_document(matched, document, disagree) == (matched, ())
    for state in DeclarationState:
        lodged = replace(matched, state=state, attempt=1)
        if state is not DeclarationState.COLLECTING:
            assert documents.apply_document(lodged, SECOND, disagree) == (lodged, ())


SECOND = waybill().model_copy(update={"logistics_no": "W2"})


def test_a_waybill_is_corrected_until_the_list_is_lodged_and_the_order_is_told() -> None:
    first = documents.apply_document(None, waybill(), agree)[0]
    # Nobody has placed the order yet, so there is no timeline to tell it in.
    assert documents.apply_document(first, SECOND, agree) == (replace(first, waybill=SECOND), ())
    placed = documents.apply_document(first, order(), agree)[0]
    corrected, facts = documents.apply_document(placed, SECOND, agree)
    assert [
        (f.logistics_no, f.instead_of) for f in facts if isinstance(f, said.WaybillCorrected)
    ] == [("W2", "W1")]
    assert (corrected.waybill, corrected.state, corrected.version) == (
        SECOND,
        DeclarationState.COLLECTING,
        placed.version + 1,
    )
    assert documents.apply_document(corrected, SECOND, agree) == (corrected, ())


def test_a_waybill_that_is_corrected_after_the_match_must_match_too() -> None:
    matched = replace(
        at(DeclarationState.MATCHED),
        present=documents.ALL_DOCUMENTS,
        order=order(),
        payment=payment(),
        tax=tax(),
        waybill=waybill(),
    )
    matched = replace(matched, attempt=0)
    kept, facts = documents.apply_document(matched, SECOND, agree)
    assert (kept.state, kept.waybill, kept.waiting, kinds(facts)) == (
        DeclarationState.MATCHED, SECOND, matched.waiting, ["WaybillCorrected"],
    )  # fmt: skip
    over, facts = documents.apply_document(matched, SECOND, disagree)
    assert (over.state, over.waiting, kinds(facts)) == (
        DeclarationState.MISMATCHED,
        None,
        ["WaybillCorrected", "DocumentsMismatched"],
    )


@pytest.mark.parametrize(
    ("state", "expected", "facts", "waiting"),
    [
        (DeclarationState.COLLECTING, DeclarationState.WITHDRAWN, ["ListWithdrawn"], None),
        (DeclarationState.MATCHED, DeclarationState.WITHDRAWN, ["ListWithdrawn"], None),
        *[(s, DeclarationState.WITHDRAWING, [], "cancel") for s in d.PENDING],
        (DeclarationState.RELEASED, DeclarationState.RETURNING, ["ReturnOpened"], "return"),
        (DeclarationState.CLOSED, DeclarationState.RETURNING, ["ReturnOpened"], "return"),
        *[
            (s, s, [], None)
            for s in (*d.OVER, DeclarationState.WITHDRAWING, DeclarationState.RETURNING)
        ],
    ],
)
def test_a_withdrawal_at_every_stage_has_the_outcome_the_stage_allows(
    state: DeclarationState, expected: DeclarationState, facts: list[str], waiting: str | None
) -> None:
    after, found = cancellation.apply_withdrawal(at(state), ASKED, APPLIED, POLICY)
    assert (after.state, kinds(found), after.waiting) == (expected, facts, waiting)


def test_a_withdrawal_before_any_document_stops_the_list_for_good() -> None:
    after, facts = cancellation.apply_withdrawal(None, ASKED, APPLIED, POLICY)
    assert kinds(facts) == ["ListWithdrawn"]
    for document in (order(), payment(), tax(), waybill()):
        after, facts = documents.apply_document(after, document, agree)
        assert (after.state, facts) == (DeclarationState.WITHDRAWN, ())


def test_a_withdrawal_before_customs_gave_a_number_waits_for_the_number() -> None:
    after, _ = cancellation.apply_withdrawal(
        replace(at(DeclarationState.LODGED), invt_no=None), ASKED, APPLIED, POLICY
    )
    assert (after.state, after.waiting) == (DeclarationState.WITHDRAWING, None)
    after, facts = replies.apply_reply(after, heard("accepted", "120"), POLICY)
    assert (after.state, after.waiting, facts) == (DeclarationState.WITHDRAWING, "cancel", ())


def test_a_granted_cancellation_withdraws_the_list() -> None:
    after, facts = replies.apply_reply(
        at(DeclarationState.WITHDRAWING), heard("granted", "399", "cancel"), POLICY
    )
    assert (after.state, kinds(facts)) == (DeclarationState.WITHDRAWN, ["ListWithdrawn"])


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
    found, said_so = at(DeclarationState.WITHDRAWING), []
    for entry in words if granted_first else words[::-1]:
        found, facts = replies.apply_reply(found, entry, POLICY)
        said_so += kinds(facts)
    assert (found.state, said_so) == (DeclarationState.WITHDRAWN, ["ListWithdrawn"])
    assert (found.released, found.status, found.waiting) == (False, "399", None)


def test_a_cancellation_granted_after_the_release_was_followed_becomes_a_return() -> None:
    found, facts = replies.apply_reply(
        at(DeclarationState.WITHDRAWING, released=True), heard("granted", "399", "cancel"), POLICY
    )
    assert (found.state, found.waiting, kinds(facts)) == (
        DeclarationState.RETURNING,
        "return",
        ["ReturnOpened"],
    )


@pytest.mark.parametrize(
    ("state", "on"),
    [(DeclarationState.WITHDRAWING, "cancel"), (DeclarationState.RETURNING, "return")],
)
def test_a_request_that_did_not_reach_customs_is_made_again(
    state: DeclarationState, on: str
) -> None:
    """Status 4 refuses nothing: the buyer would be told of a refusal that customs never spoke."""
    found, facts = replies.apply_reply(
        at(state), heard("returned", "4", on), replace(POLICY, too_soon={"-621041", "4"})
    )
    assert (found.state, found.waiting, found.waiting_s, facts) == (state, on, 2.0, ())
    found, facts = lodgement.record_lodging(found, Lodged(on, UUID(int=2), "H"))  # type: ignore[arg-type]
    assert (found.state, found.waiting, found.cancel_refused, facts) == (state, None, False, ())


def test_a_status_in_no_list_changes_nothing() -> None:
    for state in DeclarationState:
        found = at(state)
        for on in ("declare", "cancel", "return"):
            assert replies.apply_reply(found, heard("unknown", "401", on), POLICY) == (found, ())


@pytest.mark.parametrize(
    "order_of_arrival",
    list(permutations([heard("returned", "100", "cancel"), heard("released", "800")])),
)
def test_a_cancellation_that_comes_too_late_becomes_a_return_whichever_is_heard_first(
    order_of_arrival: tuple[AuthorityReply, ...],
) -> None:
    found, facts = at(DeclarationState.WITHDRAWING), []
    for entry in order_of_arrival:
        found, more = replies.apply_reply(found, entry, POLICY)
        facts += kinds(more)
    assert (found.state, found.waiting, facts) == (
        DeclarationState.RETURNING,
        "return",
        ["GoodsReleased", "ReturnOpened"],
    )
    found, more = replies.apply_reply(found, heard("granted", "399", "return"), POLICY)
    assert (found.state, kinds(more)) == (DeclarationState.RETURNING, ["ReturnGranted"])
    found, more = replies.apply_reply(found, heard("released", "800", "return"), POLICY)
    assert (found.state, kinds(more)) == (DeclarationState.RETURNED, ["GoodsReturned"])


def test_a_refused_return_leaves_the_sale_standing() -> None:
    after, facts = replies.apply_reply(
        at(DeclarationState.RETURNING), heard("returned", "100", "return"), POLICY
    )
    assert (after.state, kinds(facts)) == (DeclarationState.CLOSED, ["ReturnRefused"])


@pytest.mark.parametrize(
    ("meaning", "status", "expected", "fact"),
    [
        ("accepted", "120", DeclarationState.ACCEPTED, "ListAccepted"), ("review", "300", DeclarationState.REVIEW, "ListInReview"),
        ("examination", "500", DeclarationState.EXAMINATION, "ExaminationOrdered"), ("held", "600", DeclarationState.HELD, "GoodsHeld"),
        ("released", "800", DeclarationState.RELEASED, "GoodsReleased"),
        ("detained", "501", DeclarationState.DETAINED, "GoodsDetained"), ("shipback", "700", DeclarationState.SHIPPED_BACK, "ReturnShipmentOrdered"),
    ],
)  # fmt: skip
def test_each_receipt_leads_to_its_state_and_says_its_fact_once(
    meaning: str, status: str, expected: DeclarationState, fact: str
) -> None:
    after, facts = replies.apply_reply(at(DeclarationState.LODGED), heard(meaning, status), POLICY)
    assert (after.state, kinds(facts), after.version) == (expected, [fact], 1)
    assert replies.apply_reply(after, heard(meaning, status), POLICY) == (after, ())


@pytest.mark.parametrize("before", [*d.PENDING, DeclarationState.MATCHED])
def test_a_list_that_is_closed_before_its_release_was_heard_was_released(
    before: DeclarationState,
) -> None:
    after, facts = replies.apply_reply(at(before), heard("closed", "899"), POLICY)
    assert (after.state, after.released, kinds(facts), after.version) == (
        DeclarationState.CLOSED,
        True,
        ["GoodsReleased", "ListClosed"],
        2,
    )
    assert replies.apply_reply(after, heard("released", "800"), POLICY) == (after, ())


@pytest.mark.parametrize(
    "late", ["accepted", "review", "examination", "held", "detained", "returned"]
)
def test_no_word_after_the_release_undoes_it(late: str) -> None:
    after, facts = replies.apply_reply(
        at(DeclarationState.RELEASED, released=True), heard(late, "500"), POLICY
    )
    assert (after.state, facts) == (DeclarationState.RELEASED, ())


@pytest.mark.parametrize("late", ["detained", "shipback", "held", "released"])
def test_no_word_after_the_release_undoes_it_while_a_cancellation_is_under_way(late: str) -> None:
    """Seed 182 of the simulation: 800, then a cancellation, then a contradicting 501."""
    found = at(DeclarationState.WITHDRAWING, released=True, waiting="cancel")
    after, facts = replies.apply_reply(found, heard(late, "501"), POLICY)
    assert (after.state, after.waiting, facts) == (DeclarationState.WITHDRAWING, "cancel", ())


@pytest.mark.parametrize("released", [True, False])
def test_a_cancellation_that_cannot_be_printed_opens_a_return_where_the_goods_are_released(
    released: bool,
) -> None:
    """Seed 551 of the simulation: it waited for ever."""
    found = at(DeclarationState.WITHDRAWING, released=released, waiting="cancel")
    after, facts = lodgement.refuse_unprintable(
        found, "cancel", "the buyer's key was deleted", APPLIED, POLICY
    )
    assert after.cancel_refused
    if released:
        assert (after.state, after.waiting, kinds(facts)) == (
            DeclarationState.RETURNING,
            "return",
            ["ReturnOpened"],
        )
    else:
        assert (after.state, after.waiting, facts) == (DeclarationState.WITHDRAWING, None, ())
        after, facts = replies.apply_reply(after, heard("released", "800"), POLICY)
        assert (after.state, after.waiting, kinds(facts)) == (
            DeclarationState.RETURNING,
            "return",
            ["GoodsReleased", "ReturnOpened"],
        )


def test_a_returned_list_is_corrected_and_lodged_again_as_an_amendment() -> None:
    after, facts = replies.apply_reply(
        at(DeclarationState.ACCEPTED), heard("returned", "100", code="130126"), POLICY
    )
    assert (after.state, after.waiting, kinds(facts)) == (
        DeclarationState.MATCHED,
        "declare",
        ["ListReturned"],
    )
    assert lodgement.correction_of(after) == "2"
    after, facts = lodgement.record_lodging(after, Lodged("declare", UUID(int=1), "G"))
    assert (after.state, after.attempt, kinds(facts)) == (
        DeclarationState.LODGED,
        2,
        ["ListLodged"],
    )


def test_resubmitted_too_soon_waits_and_is_new_again_since_customs_never_stored_it() -> None:
    after, _ = replies.apply_reply(
        at(DeclarationState.LODGED), heard("returned", "-621041", code="-621041"), POLICY
    )
    assert (after.waiting, after.waiting_s, lodgement.correction_of(after)) == ("declare", 2.0, "1")


@pytest.mark.parametrize("case", [("9999", 1), ("130126", 3)])
def test_what_no_correction_can_mend_is_refused_with_its_code(case: tuple[str, int]) -> None:
    code, attempt = case
    after, facts = replies.apply_reply(
        replace(at(DeclarationState.ACCEPTED), attempt=attempt),
        heard("returned", "100", code=code),
        POLICY,
    )
    assert (after.state, kinds(facts)) == (DeclarationState.REFUSED, ["ListRefused"])
    assert isinstance(facts[0], said.ListRefused)
    assert facts[0].faults[0].code == code


def test_an_order_undone_for_its_own_reasons_leaves_no_list_and_no_word() -> None:
    event = OrderUnwinding(order_id=ORDER_ID, towards="rejected")
    for found in (
        None,
        at(DeclarationState.COLLECTING),
        at(DeclarationState.MATCHED, waiting="declare"),
    ):
        after, facts = cancellation.apply_unwinding(found, event)
        assert (after.state, after.waiting, facts) == (DeclarationState.WITHDRAWN, None, ())
    assert cancellation.apply_unwinding(at(DeclarationState.REFUSED), event) == (
        at(DeclarationState.REFUSED),
        (),
    )


def test_every_pair_that_is_not_a_row_is_refused() -> None:
    rows = {(state, event) for state, event, _ in d.LIST}
    for state in DeclarationState:
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
            found, more = cancellation.apply_withdrawal(found, step, APPLIED, POLICY)
        elif step == "lodge":
            if found is not None and found.waiting is not None:
                found, more = lodgement.record_lodging(
                    found, Lodged(found.waiting, UUID(int=1), "G")
                )
        elif isinstance(step, tuple):
            if found is not None:
                code = step[2] or ""
                told = replace(
                    heard(step[0], code or "1", step[1], step[2]), technical=code.startswith("-")
                )
                found, more = replies.apply_reply(found, told, POLICY)
        else:
            found, more = documents.apply_document(found, step, agree)
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
    return datetime(2026, 11, 23, hour, tzinfo=BEIJING) + timedelta(days=days)


@pytest.mark.parametrize(("when", "opened"), [
    (days_after(1), True), (days_after(30, 23), True), (days_after(31) - timedelta(seconds=1), True), (days_after(31), False),
])  # fmt: skip
def test_a_return_is_applied_for_until_the_midnight_that_ends_the_thirtieth_day(
    when: datetime, opened: bool
) -> None:
    after, (fact,) = cancellation.apply_withdrawal(
        at(DeclarationState.RELEASED), ASKED, when, POLICY
    )
    assert isinstance(fact, said.ReturnOpened if opened else said.ReturnRefused)
    assert after.state is (DeclarationState.RETURNING if opened else DeclarationState.RELEASED)
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
    found, (granted,) = replies.apply_reply(
        at(DeclarationState.RETURNING), heard("granted", "399", "return"), POLICY
    )
    assert isinstance(granted, said.ReturnGranted)
    assert granted.back_by.isoformat() == "2027-01-07"
    after, (fact,) = replies.apply_reply(
        found, heard("released", "800", "return", when=when), POLICY
    )
    assert isinstance(fact, said.GoodsReturned)
    assert (fact.in_time, after.returns[-1].state, after.returns[-1].back_at) == (
        in_time,
        "back" if in_time else "late",
        when,
    )


def test_what_was_released_before_the_rule_changed_must_be_back_within_thirty_days() -> None:
    old = datetime(2020, 3, 27, 12, tzinfo=BEIJING)
    for released_at, days, in_time in (
        (old, 30, True),
        (old, 31, False),
        (old + timedelta(days=1), 45, True),
    ):
        found = at(DeclarationState.RETURNING, released_at=released_at)
        _, (fact,) = replies.apply_reply(
            found,
            heard("released", "800", "return", when=released_at + timedelta(days=days)),
            POLICY,
        )
        assert isinstance(fact, said.GoodsReturned)
        assert fact.in_time is in_time
    assert returns.terms_on(TERMS, "import", old.date() - timedelta(days=4000)) is None
    after, (refused,) = cancellation.apply_withdrawal(
        at(DeclarationState.RELEASED, released_at=old - timedelta(days=4000)), ASKED, old, POLICY
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
    found = at(DeclarationState.RETURNING)
    if granted:
        found, _ = replies.apply_reply(found, heard("granted", "399", "return"), POLICY)
    after, facts = return_decisions.give_up_return(found, when, POLICY)
    if not given_up:
        assert (after, facts) == (found, ())
        return
    assert (after.state, after.waiting, after.returns[-1].state) == (
        DeclarationState.CLOSED,
        None,
        "refused",
    )
    assert kinds(facts) == ["ReturnRefused"]
    assert "2027-04-07" in facts[0].info  # type: ignore[attr-defined]
    assert return_decisions.give_up_return(after, when + timedelta(days=1), POLICY) == (
        after,
        (),
    ), "once"
    late, said_late = replies.apply_reply(
        after, heard("released", "800", "return", when=when), POLICY
    )
    assert (late.state, said_late) == (DeclarationState.CLOSED, ())


@pytest.mark.parametrize(
    "state",
    [
        DeclarationState.RELEASED,
        DeclarationState.CLOSED,
        DeclarationState.LODGED,
        DeclarationState.WITHDRAWN,
    ],
)
def test_what_is_no_open_return_is_not_given_up(state: DeclarationState) -> None:
    found = at(state)
    assert return_decisions.give_up_return(found, days_after(10_000), POLICY) == (found, ())


def two_of(line_no: int, quantity: str | None = None) -> WithdrawalAsked:
    part = ReturnPart(line_no=line_no, quantity=None if quantity is None else Decimal(quantity))
    return ASKED.model_copy(update={"lines": (part,)})


def give_back(
    found: Declaration, asked: WithdrawalAsked, number: int
) -> tuple[Declaration, list[Any]]:
    facts: list[Any] = []
    found, more = cancellation.apply_withdrawal(found, asked, APPLIED, POLICY)
    facts += more
    for meaning, status in (("granted", "399"), ("released", "800")):
        if found.state is DeclarationState.RETURNING:
            found, more = replies.apply_reply(
                found, heard(meaning, status, "return", pre_no=f"T{number}"), POLICY
            )
            facts += more
    return found, facts


def test_a_list_comes_back_line_by_line_and_no_more_of_a_line_than_is_left() -> None:
    whole = order().lines[0].quantity
    found, facts = give_back(at(DeclarationState.RELEASED), two_of(1, "1"), 1)
    assert kinds(tuple(facts)) == ["ReturnOpened", "ReturnGranted", "GoodsPartlyReturned"]
    assert found.state is DeclarationState.CLOSED
    (line,) = [x for x in facts[-1].lines if x.line_no == 1]
    assert (line.quantity, line.returned_before, line.ordered) == (1, 0, whole)
    for asked, why in (
        (two_of(1, str(whole)), "at most"),
        (two_of(99), "found none"),
        (two_of(1, "0"), "more than 0"),
    ):
        same, (refused,) = cancellation.apply_withdrawal(found, asked, APPLIED, POLICY)
        assert isinstance(refused, said.ReturnRefused)
        assert why in refused.info
        assert same == replace(found, version=found.version + 1)
    twice = ASKED.model_copy(update={"lines": (ReturnPart(line_no=1), ReturnPart(line_no=1))})
    assert kinds(cancellation.apply_withdrawal(found, twice, APPLIED, POLICY)[1]) == [
        "ReturnRefused"
    ]
    found, facts = give_back(found, ASKED, 2)
    assert (found.state, kinds(tuple(facts))) == (
        DeclarationState.RETURNED,
        ["ReturnOpened", "ReturnGranted", "GoodsReturned"],
    )
    assert all(x.returned == x.ordered for x in facts[-1].lines)


def test_a_late_word_on_an_earlier_return_says_nothing_about_the_one_that_is_open() -> None:
    found, _ = give_back(at(DeclarationState.RELEASED), two_of(1, "1"), 1)
    found, _ = cancellation.apply_withdrawal(found, ASKED, APPLIED, POLICY)
    for meaning, status in (("granted", "399"), ("released", "800"), ("returned", "100")):
        after, facts = replies.apply_reply(
            found, heard(meaning, status, "return", pre_no="T1"), POLICY
        )
        assert (after.state, after.returns, facts) == (
            DeclarationState.RETURNING,
            found.returns,
            (),
        )


def test_a_return_that_was_refused_takes_nothing_and_may_be_asked_for_again() -> None:
    found, _ = cancellation.apply_withdrawal(at(DeclarationState.RELEASED), ASKED, APPLIED, POLICY)
    found, facts = replies.apply_reply(
        found, heard("returned", "100", "return", pre_no="T1"), POLICY
    )
    assert (found.state, kinds(facts), found.returns[-1].state) == (
        DeclarationState.CLOSED,
        ["ReturnRefused"],
        "refused",
    )
    found, told = give_back(found, ASKED, 2)
    assert (found.state, told[-1].return_no) == (DeclarationState.RETURNED, 2)
