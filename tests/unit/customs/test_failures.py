"""A failure on the way is no decision: what follows from each code of the e-port, and how long customs is patient."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from services.customs import policy_file
from services.customs.ceb import codes
from services.customs.ceb.fields import code_in
from services.customs.ceb.receipts import Receipt
from services.customs.domain import lodgement, replies
from services.customs.domain.declaration import (
    AuthorityReply,
    Declaration,
    DeclarationState,
    Remedy,
    RequestKind,
)
from services.customs.domain.lodgement import Lodged
from services.customs.domain.numbers import LISTS_MAX, cop_no_of, first_and_attempt
from services.customs.domain.returns import Return
from services.customs.lodging.domain import next_trial, reason_to_pause
from services.customs.receipts.decoding import _reply
from shared.clock import BEIJING
from shared.events import customs as said
from tests.unit.customs.documents import ORDER_ID, order, tax

RULES = policy_file.load().rules
AT = datetime(2026, 11, 23, 12, tzinfo=BEIJING)
INVT = "90072026I000000001"
STATE: dict[RequestKind, DeclarationState] = {
    "declare": DeclarationState.LODGED,
    "cancel": DeclarationState.WITHDRAWING,
    "return": DeclarationState.RETURNING,
}


def failure(code: str, on: RequestKind = "declare", attempt: int | None = None) -> AuthorityReply:
    """What the e-port says, as the gateway reads it."""
    return AuthorityReply(
        on,
        "returned",
        code,
        "",
        code,
        None,
        None,
        AT,
        attempt,
        technical=True,
        way=codes.way_of(code),
    )


def lodged(on: RequestKind = "declare") -> Declaration:
    asked = (Return(1, "asked", (), True, AT),) if on == "return" else ()
    number = None if on == "declare" else INVT
    return Declaration(
        ORDER_ID, state=STATE[on], attempt=1, invt_no=number, order=order(), tax=tax(), direction="import", returns=asked,
        released_at=AT if on == "return" else None,
    )  # fmt: skip


def test_the_policy_knows_the_class_of_a_code_that_nobody_looked_up() -> None:
    told = replace(failure("-621017"), way=None)
    found, _ = replies.apply_reply(lodged(), told, RULES, AT)
    assert (found.waiting, found.waiting_s) == ("declare", 5.0)


def once_more(found: Declaration) -> Declaration:
    assert found.waiting is not None
    return lodgement.record_lodging(found, Lodged(found.waiting, UUID(int=1), "G"))[0]


@pytest.mark.parametrize(
    ("code", "way"),
    [
        *[(code, "wait") for code in ("-621003", "-621009", "-621017", "-621020", "-621022", "-604001", "-3003", "3003", "4")],
        *[(code, "ours") for code in ("-621028", "-621029", "-601001", "1001", "-1001", "1004", "-1004", "-701001")],
        *[(code, "there") for code in ("-621004", "-621012")],
        *[(code, "decision") for code in ("-621001", "-621005", "-621018", "-602001", "-603001", "0002", "-2")],
        ("-621999", "wait"), ("-7", "wait"), ("100", None), ("120", None), ("1313", None), ("", None), ("-", None), ("-１", None),
    ],
)  # fmt: skip
def test_every_code_below_zero_has_a_class(code: str, way: Remedy | None) -> None:
    assert codes.way_of(code) == way


def test_every_code_of_the_lists_below_zero_has_its_class_and_its_source_in_data() -> None:
    for row in codes._data()["error"]:
        if row[0].startswith("-") or row[2:4] == ["spec", "202205 table 7-1"]:
            assert row[4] in ("decision", "there", "wait", "ours"), row
            assert row[3], row
    for row in codes._data()["failure"]:
        assert row[1] in ("decision", "there", "wait", "ours"), row
        assert row[3], row


@pytest.mark.parametrize("on", ["declare", "cancel", "return"])
def test_an_outage_refuses_nobody_however_often_it_is_told_of(on: RequestKind) -> None:
    """Three answers five seconds apart gave the money back."""
    found, now = lodged(on), AT
    pauses: list[float] = []
    while now - AT < timedelta(hours=24):
        found, _ = replies.apply_reply(found, failure("-621017", on, found.attempt), RULES, now)
        assert found.waiting == on
        pauses.append(found.waiting_s)
        now += timedelta(seconds=found.waiting_s)
        found = once_more(found)
        assert found.state is STATE[on]
    assert pauses == sorted(pauses), "the pauses grow"
    assert (pauses[0], pauses[-1]) == (5.0, 7200.0)
    assert len(pauses) < 40
    ended, facts = replies.apply_reply(
        found, failure("-621017", on, found.attempt), RULES, AT + timedelta(hours=25)
    )
    assert ended.waiting is None
    assert [type(fact).__name__ for fact in facts] == {
        "declare": ["ListRefused"],
        "cancel": [],
        "return": ["ReturnRefused"],
    }[on]


def test_a_way_that_is_free_again_is_found_soon_and_tried_seldom() -> None:
    """After half an hour half a minute went by: of the minute in which ten thousand lists are to be through."""
    paused, trials = timedelta(0), 0
    while paused < timedelta(hours=24):
        pause = next_trial("wait", paused)
        assert pause <= timedelta(seconds=10) or paused > timedelta(minutes=30)
        paused, trials = paused + pause, trials + 1
    assert pause == timedelta(seconds=60)
    assert trials < 2500


def test_patience_begins_anew_once_something_else_was_heard() -> None:
    found, _ = replies.apply_reply(lodged(), failure("4"), RULES, AT)
    found = once_more(found)
    found, _ = replies.apply_reply(
        found, AuthorityReply("declare", "accepted", "120", "", None, INVT, "B1", AT, 2), RULES, AT
    )
    assert found.waits_since is None


@pytest.mark.parametrize("on", ["declare", "cancel", "return"])
@pytest.mark.parametrize("code", ["-621028", "-621029", "-601001", "1001", "1004"])
def test_our_own_signature_refuses_nobody_ever(code: str, on: RequestKind) -> None:
    found = lodged(on)
    for days in range(10):
        found, _ = replies.apply_reply(
            found, failure(code, on, found.attempt), RULES, AT + timedelta(days=days)
        )
        assert (found.waiting, found.waiting_s) == (on, 0.0)
        found = once_more(found)


@pytest.mark.parametrize(("info", "way"), [
    ("[Code:-621029;Desc:x]", "ours"), ("[Code:-601001;Desc:x]", "ours"), ("[Code:-621017;Desc:x]", "wait"), ("[Code:-5]", "wait"),
    ("[Code:-621004;Desc:x]", None), ("[Code:-621018;Desc:x]", None), ("[Code:1313;Desc:x]", None), ("[Code:1001;Desc:x]", None),
])  # fmt: skip
def test_a_100_for_our_signature_or_a_blocked_way_refuses_nobody(
    info: str, way: Remedy | None
) -> None:
    receipt = Receipt("CEB622", "100", AT, info, None, "B1", INVT, code_in(info))
    told = _reply(receipt, "declare", 1)
    assert told.way == way
    found, facts = replies.apply_reply(replace(lodged(), invt_no=INVT), told, RULES, AT)
    assert [type(fact) for fact in facts] == [said.ListReturned if way else said.ListRefused]
    assert found.waiting == ("declare" if way else None)
    assert reason_to_pause(told, RULES.too_soon) == way


def test_what_was_spared_counts_for_no_correction() -> None:
    """An outage before the return of a list left it no correction."""
    found = lodged()
    for _ in range(5):
        found = once_more(
            replies.apply_reply(found, failure("4", attempt=found.attempt), RULES, AT)[0]
        )
    found, facts = replies.apply_reply(
        found,
        AuthorityReply("declare", "returned", "100", "", "130126", INVT, "B1", AT, found.attempt),
        RULES,
        AT,
    )
    assert [type(fact) for fact in facts] == [said.ListReturned]
    assert (found.waiting, found.attempt, found.spared) == ("declare", 6, 5)


@pytest.mark.parametrize("on", ["declare", "cancel", "return"])
def test_what_customs_has_already_changes_nothing(on: RequestKind) -> None:
    found = lodged(on)
    after, facts = replies.apply_reply(found, failure("-621004", on), RULES, AT)
    assert (after.state, after.waiting, facts) == (found.state, None, ())


def test_a_message_that_was_refused_whole_sends_its_lists_again_in_parts() -> None:
    told = replace(failure("0002"), way="again", part=UUID(int=5))
    found, facts = replies.apply_reply(lodged(), told, RULES, AT)
    assert (found.state, found.waiting, found.part, found.spared) == (
        DeclarationState.MATCHED,
        "declare",
        UUID(int=5),
        1,
    )
    assert [type(fact) for fact in facts] == [said.ListReturned]
    assert once_more(found).part is None
    # A word that came twice must not send it twice.
    assert replies.apply_reply(found, told, RULES, AT)[1] == ()


def test_lists_beyond_the_last_letter_keep_its_number_and_are_heard() -> None:
    found = replace(lodged(), attempt=LISTS_MAX + 7, spared=LISTS_MAX + 6)
    assert found.cop_no == cop_no_of(ORDER_ID, LISTS_MAX)
    attempt = first_and_attempt(found.cop_no)[1]
    after, facts = replies.apply_reply(
        found,
        AuthorityReply("declare", "accepted", "120", "", None, INVT, "B1", AT, attempt),
        RULES,
        AT,
    )
    assert (after.state, [type(fact) for fact in facts]) == (
        DeclarationState.ACCEPTED,
        [said.ListAccepted],
    )
