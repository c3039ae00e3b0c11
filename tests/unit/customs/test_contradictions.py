"""Which words of the authority contradict what it said before."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from services.customs.cases import KINDS, LODGING_REFUSED
from services.customs.domain import contradictions
from services.customs.domain.contradictions import find_contradiction
from services.customs.domain.declaration import (
    CLEARED,
    PENDING,
    AuthorityReply,
    Declaration,
    DeclarationState,
)
from tests.unit.customs.test_orders_of_words import (
    GRANTED,
    INVT,
    RULES,
    SETS,
    heard,
    lodged,
    withdrawing,
    word,
)

OTHER = "90072026I000000002"


def standing(state: DeclarationState) -> Declaration:
    released = state in (*CLEARED, DeclarationState.RETURNING, DeclarationState.RETURNED)
    return replace(
        withdrawing(), state=state, released=released, status="800" if released else "120"
    )


def numbered(answer: AuthorityReply, invt_no: str | None) -> AuthorityReply:
    return replace(answer, invt_no=invt_no)


@pytest.mark.parametrize("status", ["800", "899"])
@pytest.mark.parametrize("state", DeclarationState)
def test_a_release_of_what_was_refused_is_one(state: DeclarationState, status: str) -> None:
    undone = {
        DeclarationState.REFUSED,
        DeclarationState.WITHDRAWN,
        DeclarationState.MISMATCHED,
        DeclarationState.DETAINED,
        DeclarationState.SHIPPED_BACK,
    }
    assert (
        find_contradiction(standing(state), word(status), RULES) == "released_after_refusal"
    ) is (state in undone)


@pytest.mark.parametrize("status", ["100", "500", "501", "502", "503", "505", "599", "600", "700"])
@pytest.mark.parametrize("state", DeclarationState)
def test_a_stop_of_what_was_released_is_one(state: DeclarationState, status: str) -> None:
    goes_out = {*CLEARED, DeclarationState.RETURNING}
    assert (
        find_contradiction(standing(state), word(status), RULES) == "refused_after_release"
    ) is (state in goes_out)


@pytest.mark.parametrize(
    "status", ["1", "2", "3", "4", "120", "300", "399", "400", "800", "899", "-621004", "-621012"]
)
@pytest.mark.parametrize("state", [*CLEARED, *PENDING])
def test_ordinary_words_are_none(state: DeclarationState, status: str) -> None:
    assert find_contradiction(standing(state), word(status), RULES) is None


def test_a_release_and_a_granted_cancellation_are_one_in_either_order() -> None:
    for status in ("800", "899"):
        after, _ = heard(withdrawing(), [GRANTED])
        assert find_contradiction(after, word(status), RULES) == "released_after_refusal"
        after, _ = heard(withdrawing(), [word(status)])
        assert find_contradiction(after, GRANTED, RULES) == "released_after_refusal"


def test_a_second_number_of_a_list_is_one_and_the_first_stays() -> None:
    after, _ = heard(lodged(), [word("120")])
    second = numbered(word("800"), OTHER)
    assert find_contradiction(after, second, RULES) == "two_numbers"
    after, _ = heard(after, [second])
    assert (after.invt_no, after.state) == (INVT, DeclarationState.RELEASED)
    again = replace(withdrawing(), state=DeclarationState.LODGED, attempt=2)
    new = replace(numbered(word("120"), OTHER), attempt=2)
    assert find_contradiction(again, new, RULES) is None
    assert heard(again, [new])[0].invt_no == OTHER
    late = replace(numbered(word("120"), INVT), attempt=1)
    assert find_contradiction(heard(again, [new])[0], late, RULES) is None
    assert heard(again, [new, late])[0].invt_no == OTHER


def test_declared_already_without_a_number_is_one() -> None:
    there = word("-621004")
    assert find_contradiction(lodged(), there, RULES) == "declared_unnumbered"
    assert find_contradiction(heard(lodged(), [word("120")])[0], there, RULES) is None
    assert (
        find_contradiction(replace(lodged(), state=DeclarationState.MATCHED), there, RULES) is None
    )
    assert find_contradiction(lodged(), word("-621012"), RULES) in (None, "declared_unnumbered")


@pytest.mark.parametrize("name", ["corrected", "refused", "not withdrawn and released"])
def test_words_that_only_overtake_one_another_are_none(name: str) -> None:
    start, words, _ = SETS[name]
    for order_of in permutations(words):
        found = start
        for each in order_of:
            assert find_contradiction(found, each, RULES) in (None, "declared_unnumbered")
            found, _ = heard(found, [each])


def test_every_kind_says_what_to_do_and_every_state_what_was_done() -> None:
    assert set(contradictions.ContradictionKind.__args__) | {LODGING_REFUSED} == set(KINDS)  # type: ignore[attr-defined]
    assert {*contradictions.MONEY} == {
        *contradictions.UNDONE,
        *CLEARED,
        DeclarationState.RETURNING,
        DeclarationState.RETURNED,
    }
