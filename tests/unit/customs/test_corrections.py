"""A list that customs returned and its correction: one live list, in every order in which their words can come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from services.customs.domain import cancellation, documents, lodgement, replies
from services.customs.domain import declaration as d
from services.customs.domain.declaration import (
    AuthorityReply,
    Declaration,
    DeclarationPolicy,
    DeclarationState,
)
from services.customs.domain.lodgement import Lodged
from services.customs.domain.numbers import LISTS_MAX, cop_no_of, first_and_attempt
from shared.clock import BEIJING
from shared.events import Event
from shared.events import customs as said
from shared.events.orders import WithdrawalAsked
from tests.unit.customs.documents import ORDER_ID, order, payment, tax, waybill

POLICY = DeclarationPolicy(
    correctable={"130126"},
    too_soon={"-621041"},
    attempts_max=3,
    too_soon_wait_s=5.0,
    there_already={"-621004", "-621012"},
)
AT = datetime(2026, 11, 23, 12, tzinfo=BEIJING)
INVT = "90072026I000000001"
RETURNED = ("returned", "100", "130126")
TOO_SOON = ("returned", "-621041", "-621041")
ACCEPTED, EXAMINATION, RELEASED = (
    ("accepted", "120", None),
    ("examination", "500", None),
    ("released", "800", None),
)
DECLARED_ALREADY = ("returned", "-621004", "-621004")
NO_AMENDMENT = ("returned", "-621012", "-621012")
Word = tuple[str, str, str | None]


def word(attempt: int, told: Word, number: str | None = INVT) -> AuthorityReply:
    meaning, status, code = told
    technical = status.startswith("-")
    return AuthorityReply(
        "declare",
        meaning,  # type: ignore[arg-type]
        status,
        "",
        code,
        number,
        f"B{attempt}",
        AT,
        attempt,
        technical,
    )


@dataclass(frozen=True)
class Border:
    """A declaration, and the authority's words that are on their way to it: any may come next."""

    found: Declaration
    on_the_way: tuple[AuthorityReply, ...]
    lodged: int = 1
    facts: tuple[Event, ...] = field(default=(), compare=False)

    def heard(self, index: int, plan: Sequence[Sequence[Word]]) -> Border:
        """The word is followed; a list that is to be lodged now is, and the authority answers it."""
        left = (*self.on_the_way[:index], *self.on_the_way[index + 1 :])
        found, facts = replies.apply_reply(self.found, self.on_the_way[index], POLICY)
        if found.waiting != "declare":
            return Border(found, left, self.lodged, (*self.facts, *facts))
        assert self.lodged < len(plan), "a list was lodged although the one before is live"
        found, more = lodgement.record_lodging(found, Lodged("declare", UUID(int=1), "G"))
        new = tuple(word(found.attempt, told) for told in plan[self.lodged])
        return Border(found, (*left, *new), self.lodged + 1, (*self.facts, *facts, *more))


def every_end(plan: Sequence[Sequence[Word]], begin: Declaration) -> Iterator[Border]:
    """Every border this can come to, over every order of arrival; what answers a list comes after it was lodged."""
    first = Border(begin, tuple(word(1, told) for told in plan[0]))
    seen, left = {first}, [first]
    while left:
        border = left.pop()
        if not border.on_the_way:
            yield border
        for index in range(len(border.on_the_way)):
            then = border.heard(index, plan)
            if then not in seen:
                seen.add(then)
                left.append(then)


def lodged() -> Declaration:
    papers = {
        "order": order(),
        "payment": payment(),
        "tax": tax(),
        "waybill": waybill(),
        "direction": "import",
    }
    found = Declaration(
        ORDER_ID,
        state=DeclarationState.MATCHED,
        present=documents.ALL_DOCUMENTS,
        **papers,  # type: ignore[arg-type]
    )
    return lodgement.record_lodging(found, Lodged("declare", UUID(int=1), "G"))[0]


PLANS: list[list[list[Word]]] = [
    [[RETURNED, RETURNED], [ACCEPTED, RELEASED]],
    [
        [ACCEPTED, RETURNED, RETURNED, RETURNED],
        [ACCEPTED, ACCEPTED, EXAMINATION, RELEASED, RELEASED],
    ],
    [[ACCEPTED, EXAMINATION, RETURNED, RETURNED], [ACCEPTED, RELEASED]],
    [[TOO_SOON, TOO_SOON], [RETURNED, RETURNED], [ACCEPTED, RELEASED]],
    [[RETURNED, RETURNED], [RETURNED, RETURNED], [ACCEPTED, RELEASED, RELEASED]],
    # A message that came twice: the e-port refuses it the second time, and customs goes on with the list.
    [[ACCEPTED, DECLARED_ALREADY, EXAMINATION, RELEASED, DECLARED_ALREADY]],
    [[ACCEPTED, RETURNED, DECLARED_ALREADY], [ACCEPTED, NO_AMENDMENT, RELEASED]],
]


@pytest.mark.parametrize("plan", PLANS)
def test_each_list_is_corrected_once_and_the_last_released_in_every_order_of_arrival(
    plan: list[list[Word]],
) -> None:
    """A word said again has other bytes, thus another message id, and the inbox lets it in."""
    ends = list(every_end(plan, lodged()))
    assert ends
    for end in ends:
        assert (end.lodged, end.found.attempt, end.found.state) == (
            len(plan),
            len(plan),
            DeclarationState.RELEASED,
        )


def test_a_correction_that_is_returned_too_is_refused_by_its_own_word_alone() -> None:
    """Attempts run out by words on each list, not by the same word said again."""
    for end in every_end(
        [[RETURNED, RETURNED], [RETURNED, RETURNED], [RETURNED, RETURNED]], lodged()
    ):
        assert (end.lodged, end.found.state) == (3, DeclarationState.REFUSED)


def test_what_is_said_again_of_a_returned_list_grants_no_withdrawal_of_its_correction() -> None:
    """It would give the money back for goods that are still to be released."""
    found, _ = replies.apply_reply(lodged(), word(1, RETURNED), POLICY)
    found, _ = lodgement.record_lodging(found, Lodged("declare", UUID(int=2), "H"))
    found, _ = cancellation.apply_withdrawal(
        found, WithdrawalAsked(order_id=ORDER_ID, reason="buyer"), AT, POLICY
    )
    assert (found.state, found.waiting) == (DeclarationState.WITHDRAWING, "cancel")
    assert replies.apply_reply(found, word(1, RETURNED), POLICY) == (found, ())
    after, (fact,) = replies.apply_reply(found, word(2, RETURNED), POLICY)
    assert (after.state, type(fact)) == (DeclarationState.WITHDRAWN, said.ListWithdrawn)


def test_a_number_that_only_a_late_word_on_the_list_before_tells_is_taken_from_it() -> None:
    found, _ = replies.apply_reply(lodged(), word(1, RETURNED, None), POLICY)
    found, _ = lodgement.record_lodging(found, Lodged("declare", UUID(int=2), "H"))
    found, _ = cancellation.apply_withdrawal(
        found, WithdrawalAsked(order_id=ORDER_ID, reason="buyer"), AT, POLICY
    )
    assert (found.state, found.waiting) == (DeclarationState.WITHDRAWING, None)
    after, facts = replies.apply_reply(found, word(1, ACCEPTED), POLICY)
    assert (after.state, after.waiting, after.invt_no, after.pre_no, facts) == (
        DeclarationState.WITHDRAWING,
        "cancel",
        INVT,
        "B1",
        (),
    )


def test_the_number_a_correction_was_given_is_not_taken_back_by_a_late_word_on_the_list_before() -> (
    None
):
    found, _ = replies.apply_reply(lodged(), word(1, TOO_SOON, None), POLICY)
    found, _ = lodgement.record_lodging(found, Lodged("declare", UUID(int=2), "H"))
    found, _ = replies.apply_reply(found, word(2, ACCEPTED), POLICY)
    after, facts = replies.apply_reply(found, word(1, TOO_SOON, None), POLICY)
    assert (after, facts) == (found, ())


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (RELEASED, DeclarationState.RELEASED),
        (("detained", "501", None), DeclarationState.DETAINED),
        (("shipback", "700", None), DeclarationState.SHIPPED_BACK),
    ],
)
def test_what_became_of_the_goods_counts_under_whichever_number_it_is_said(
    told: Word, state: DeclarationState
) -> None:
    found, _ = replies.apply_reply(lodged(), word(1, RETURNED), POLICY)
    found, _ = lodgement.record_lodging(found, Lodged("declare", UUID(int=2), "H"))
    assert replies.apply_reply(found, word(1, told), POLICY)[0].state is state


@pytest.mark.parametrize(
    "told", [ACCEPTED, ("review", "300", None), EXAMINATION, ("held", "600", None), RELEASED]
)
def test_a_list_that_only_the_e_port_refused_is_taken_up_again_when_customs_goes_on_with_it(
    told: Word,
) -> None:
    """The message came twice and the second was too soon: a second list beside the live one would be refused, or examined too."""
    found, facts = replies.apply_reply(lodged(), word(1, TOO_SOON, None), POLICY)
    assert (found.state, found.waiting, [type(f) for f in facts]) == (
        DeclarationState.MATCHED,
        "declare",
        [said.ListReturned],
    )
    found, facts = replies.apply_reply(found, word(1, told), POLICY)
    assert (found.waiting, found.attempt, found.invt_no, len(facts)) == (None, 1, INVT, 1)
    assert found.state is (DeclarationState.RELEASED if told is RELEASED else d._PROGRESS[told[0]])


def test_a_lesser_word_that_the_return_overtook_does_not_stop_the_correction() -> None:
    found, _ = replies.apply_reply(lodged(), word(1, RETURNED), POLICY)
    assert replies.apply_reply(found, word(1, ACCEPTED), POLICY)[0].waiting == "declare"
    assert (
        replies.apply_reply(found, word(1, EXAMINATION), POLICY)[0].state
        is DeclarationState.MATCHED
    )


@pytest.mark.parametrize(
    ("told", "state"),
    [(RELEASED, DeclarationState.RELEASED), (("closed", "899", None), DeclarationState.CLOSED), (("detained", "501", None), DeclarationState.DETAINED),
     (("shipback", "700", None), DeclarationState.SHIPPED_BACK)],
)  # fmt: skip
def test_what_becomes_of_the_goods_of_a_returned_list_stops_its_correction(
    told: Word, state: DeclarationState
) -> None:
    found, _ = replies.apply_reply(lodged(), word(1, RETURNED), POLICY)
    found, facts = replies.apply_reply(found, word(1, told), POLICY)
    assert (found.state, found.waiting, found.attempt, len(facts)) == (
        state,
        None,
        1,
        2 if state is DeclarationState.CLOSED else 1,
    )


@pytest.mark.parametrize(
    "state",
    [
        DeclarationState.ACCEPTED,
        DeclarationState.REVIEW,
        DeclarationState.EXAMINATION,
        DeclarationState.HELD,
    ],
)
@pytest.mark.parametrize("code", ["-621004", "-621041", "-603001", "-1"])
def test_no_word_of_the_e_port_undoes_a_list_that_customs_has(
    state: DeclarationState, code: str
) -> None:
    """It would give the money back for goods that are still to be released, or lodge a second list beside a live one."""
    found = replace(lodged(), state=state, invt_no=INVT)
    assert replies.apply_reply(found, word(1, ("returned", code, code)), POLICY)[1] == ()
    assert replies.apply_reply(found, word(1, ("returned", code, code)), POLICY)[0].state is state


def test_a_list_that_is_declared_already_waits_for_what_customs_says_of_it() -> None:
    found, facts = replies.apply_reply(lodged(), word(1, DECLARED_ALREADY, None), POLICY)
    assert (found.state, found.waiting, facts) == (DeclarationState.LODGED, None, ())
    found, _ = replies.apply_reply(found, word(1, RELEASED), POLICY)
    assert found.state is DeclarationState.RELEASED


def test_no_word_of_the_e_port_grants_the_withdrawal_of_a_list_that_customs_has() -> None:
    asked = WithdrawalAsked(order_id=ORDER_ID, reason="buyer")
    numbered, _ = cancellation.apply_withdrawal(
        replies.apply_reply(lodged(), word(1, ACCEPTED), POLICY)[0], asked, AT, POLICY
    )
    assert (
        replies.apply_reply(numbered, word(1, ("returned", "-603001", "-603001")), POLICY)[0].state
        is DeclarationState.WITHDRAWING
    )
    unnumbered, _ = cancellation.apply_withdrawal(lodged(), asked, AT, POLICY)
    assert (
        replies.apply_reply(unnumbered, word(1, DECLARED_ALREADY, None), POLICY)[0].state
        is DeclarationState.WITHDRAWING
    )
    after, (fact,) = replies.apply_reply(
        unnumbered, word(1, ("returned", "-2", "0002"), None), POLICY
    )
    assert (after.state, type(fact)) == (DeclarationState.WITHDRAWN, said.ListWithdrawn)


def test_each_list_of_an_order_has_a_number_of_its_own_by_which_the_first_is_found() -> None:
    numbers = [cop_no_of(ORDER_ID, attempt) for attempt in range(1, LISTS_MAX + 1)]
    assert len(set(numbers)) == LISTS_MAX
    assert {len(number) for number in numbers} == {20}
    assert [first_and_attempt(number) for number in numbers] == [
        (numbers[0], n) for n in range(1, LISTS_MAX + 1)
    ]
    assert cop_no_of(ORDER_ID, 0) == numbers[0]
    for foreign in ("SHOP-1", "1" * 20, "A" * 20, ""):
        assert first_and_attempt(foreign) == (foreign, None)


def test_times_tell_nothing_about_which_list_is_meant() -> None:
    """A receipt's time is another's clock: a word on the correction may be dated before the word that called for it."""
    found, _ = replies.apply_reply(lodged(), word(1, RETURNED), POLICY)
    found, _ = lodgement.record_lodging(found, Lodged("declare", UUID(int=2), "H"))
    early = replace(word(2, RELEASED), at=AT - timedelta(hours=1))
    assert replies.apply_reply(found, early, POLICY)[0].state is DeclarationState.RELEASED
