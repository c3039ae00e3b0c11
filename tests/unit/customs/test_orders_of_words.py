"""Receipts come in any order and more than once: whatever the order, one list ends in one state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any, Final
from uuid import UUID

import pytest

from services.customs import policy_file
from services.customs.ceb.codes import find_status
from services.customs.ceb.receipts import Receipt
from services.customs.domain import declaration as d
from services.customs.domain import lodgement, replies
from services.customs.domain.declaration import AuthorityReply, Declaration, DeclarationState
from services.customs.domain.lodgement import Lodged
from services.customs.domain.returns import Return
from services.customs.receipts.decoding import ANSWERS, _reply
from tests.unit.customs.documents import ORDER_ID, order, tax
from tests.unit.customs.test_declaration import APPLIED, RELEASED_AT

RULES: Final = policy_file.load(None).rules
INVT: Final = "90072026I000000001"
HISTORY: Final = {"version"}
"""What tells of the way and not of the end: how many facts were said."""


def word(status: str, code: str | None = None, message: str = "CEB622") -> AuthorityReply:
    """What is heard of list 1, as the gateway reads it."""
    told = Receipt(
        message, status, RELEASED_AT, "", None, "B1", None if status.startswith("-") else INVT,
        code or (status if status.startswith("-") else None),
    )  # fmt: skip
    assert find_status(status) is not None
    return _reply(told, ANSWERS[message], 1)


def lodged() -> Declaration:
    matched = Declaration(
        ORDER_ID,
        state=DeclarationState.MATCHED,
        direction="import",
        waiting="declare",
        order=order(),
        tax=tax(),
    )
    return lodgement.record_lodging(matched, Lodged("declare", UUID(int=1), "G"))[0]


def withdrawing() -> Declaration:
    return replace(
        lodged(),
        state=DeclarationState.WITHDRAWING,
        invt_no=INVT,
        pre_no="B1",
        status="120",
        stored=True,
    )


GRANTED: Final = word("399", message="CEB624")
REFUSED: Final = word("100", message="CEB624")
SETS: Final[dict[str, tuple[Declaration, Sequence[AuthorityReply], DeclarationState]]] = {
    "released": (
        lodged(),
        [word(s) for s in ("2", "120", "300", "500", "600", "800", "899")],
        DeclarationState.CLOSED,
    ),
    "corrected": (
        lodged(),
        [word("2"), word("120"), word("100", "130126"), word("-621004")],
        DeclarationState.MATCHED,
    ),
    "refused": (
        lodged(),
        [word("2"), word("120"), word("100", "1313"), word("-621004")],
        DeclarationState.REFUSED,
    ),
    "examined": (
        lodged(),
        [word(s) for s in ("2", "120", "300", "500")],
        DeclarationState.EXAMINATION,
    ),
    "held and examined": (
        lodged(),
        [word(s) for s in ("505", "120", "600", "500", "300")],
        DeclarationState.EXAMINATION,
    ),
    "held": (lodged(), [word(s) for s in ("505", "120", "300", "600")], DeclarationState.HELD),
    "never failed": (
        lodged(),
        [word("4"), word("2"), word("120"), word("300")],
        DeclarationState.REVIEW,
    ),
    "failed twice and was there": (
        lodged(),
        [word("-621041"), word("-621017"), word("120")],
        DeclarationState.ACCEPTED,
    ),
    "failed and corrected": (
        lodged(),
        [word("4"), word("2"), word("120"), word("100", "130126")],
        DeclarationState.MATCHED,
    ),
    "refused by us and corrected": (
        lodged(),
        [word("-621029"), word("120"), word("100", "130126")],
        DeclarationState.MATCHED,
    ),
    "failed and refused": (
        lodged(),
        [word("-621017"), word("120"), word("100", "1313"), word("500")],
        DeclarationState.REFUSED,
    ),
    "returned for two reasons": (
        lodged(),
        [word("120"), word("100", "130126"), word("100", "1313")],
        DeclarationState.REFUSED,
    ),
    "failed and detained": (
        lodged(),
        [word("4"), word("120"), word("501")],
        DeclarationState.DETAINED,
    ),
    "detained": (
        lodged(),
        [word(s) for s in ("2", "120", "500", "501")],
        DeclarationState.DETAINED,
    ),
    "shipped back": (
        lodged(),
        [word(s) for s in ("2", "120", "300", "700")],
        DeclarationState.SHIPPED_BACK,
    ),
    "withdrawn and released": (withdrawing(), [GRANTED, word("800")], DeclarationState.WITHDRAWN),
    "withdrawn and closed": (withdrawing(), [GRANTED, word("899")], DeclarationState.WITHDRAWN),
    "withdrawn, released and closed": (
        withdrawing(),
        [GRANTED, word("800"), word("899"), word("120")],
        DeclarationState.WITHDRAWN,
    ),
    "not withdrawn and released": (
        withdrawing(),
        [REFUSED, word("800")],
        DeclarationState.RETURNING,
    ),
    "not withdrawn and closed": (
        withdrawing(),
        [REFUSED, word("800"), word("899")],
        DeclarationState.RETURNING,
    ),
}


def columns(found: Declaration) -> dict[str, Any]:
    told = {name: getattr(found, name) for name in Declaration.__dataclass_fields__}
    return {name: value for name, value in told.items() if name not in HISTORY}


class Hearing:
    """Answers words one after another. Answering is pure, so a word is worked out once for all equal states."""

    def __init__(self, words: Sequence[AuthorityReply]) -> None:
        self._words = words  # kept, since they are known by identity below
        self._states: dict[Declaration, Declaration] = {}
        self._after: dict[tuple[int, int], tuple[Declaration, list[str]]] = {}

    def heard(
        self, start: Declaration, words: Sequence[AuthorityReply]
    ) -> tuple[Declaration, list[str]]:
        facts: list[str] = []
        start = self._states.setdefault(start, start)
        for each in words:
            step = id(start), id(each)
            if step not in self._after:
                after, more = replies.apply_reply(start, each, RULES, APPLIED)
                assert after.version == start.version + len(more)
                self._after[step] = (
                    self._states.setdefault(after, after),
                    [type(fact).__name__ for fact in more],
                )
            start, more_facts = self._after[step]
            facts += more_facts
        return start, facts


def heard(start: Declaration, words: Sequence[AuthorityReply]) -> tuple[Declaration, list[str]]:
    return Hearing(words).heard(start, words)


@pytest.mark.parametrize(("start", "words", "end"), SETS.values(), ids=SETS)
def test_any_order_of_receipts_ends_in_one_state(
    start: Declaration, words: Sequence[AuthorityReply], end: DeclarationState
) -> None:
    ends, hearing = [], Hearing(words)
    for order_of in permutations(words):
        found, facts = hearing.heard(start, order_of)
        ends.append(columns(found))
        # A list may be returned twice: on the way to customs, and by it.
        assert all(facts.count(fact) == 1 for fact in facts if fact != "ListReturned"), (
            "each fact is said once"
        )
    assert {each["state"] for each in ends} == {end}
    # 800 and 899 both let the goods go: which of the two was the first of a withdrawn list's words is of no account.
    assert all({**each, "status": ""} == {**ends[0], "status": ""} for each in ends)


@pytest.mark.parametrize(("start", "words", "end"), SETS.values(), ids=SETS)
def test_and_so_does_any_order_of_receipts_that_come_more_than_once(
    start: Declaration, words: Sequence[AuthorityReply], end: DeclarationState
) -> None:
    """Each word is heard again at every later place; longer sets are tried with one word doubled at a time."""
    hearing = Hearing(words)
    for order_of in permutations(words):
        for twice in range(len(order_of)) if len(order_of) < 6 else (0, len(order_of) - 1):
            for again in range(twice + 1, len(order_of) + 1):
                found, _ = hearing.heard(
                    start, [*order_of[:again], order_of[twice], *order_of[again:]]
                )
                assert found.state is end
        found, _ = hearing.heard(start, [*order_of, *order_of, *order_of[::-1]])
        assert found.state is end


@pytest.mark.parametrize("state", DeclarationState)
def test_a_word_that_is_ignored_changes_no_column(state: DeclarationState) -> None:
    start = replace(
        withdrawing(),
        state=state,
        released=state in (*d.CLEARED, DeclarationState.RETURNING, DeclarationState.RETURNED),
        status="x",
    )
    if state is DeclarationState.RETURNING:
        start = replace(
            start, returns=(Return(1, "asked", (), True, APPLIED),), released_at=RELEASED_AT
        )
    words = [
        word(s)
        for s in (
            "1",
            "2",
            "3",
            "4",
            "120",
            "300",
            "399",
            "400",
            "500",
            "501",
            "505",
            "600",
            "700",
            "800",
            "899",
        )
    ]
    words += (
        [word(s) for s in ("-621004", "-621012", "-621017", "-1", "18")]
        if find_status("18")
        else [word("-621004"), word("-1")]
    )
    words += [word("100", code) for code in ("130126", "1313")] + [
        word(s, message="CEB624") for s in ("2", "120", "300")
    ]
    for each in words:
        found, facts = replies.apply_reply(start, each, RULES, APPLIED)
        changed = {name for name, value in columns(found).items() if value != columns(start)[name]}
        assert facts or not changed or changed - {"status", "waits_since"}, each


def test_a_release_that_waits_for_the_cancellation_is_said_when_that_is_refused() -> None:
    found, facts = heard(
        withdrawing(), [word("800"), word("500"), word("501"), word("100", "1313"), word("899")]
    )
    assert (found.state, found.release_waits, facts) == (DeclarationState.WITHDRAWING, True, [])
    found, facts = heard(found, [REFUSED])
    assert (found.state, found.released, facts) == (
        DeclarationState.RETURNING,
        True,
        ["GoodsReleased", "ReturnOpened"],
    )


@pytest.mark.parametrize(
    "code",
    [
        "4",
        "-621003",
        "-621009",
        "-621017",
        "-621020",
        "-621022",
        "-604001",
        "-3003",
        "-621029",
        "-99999",
    ],
)
def test_an_answer_that_tells_no_way_is_judged_by_the_lists_of_the_authority(code: str) -> None:
    told = AuthorityReply(
        "declare",
        "returned",
        code,
        "",
        code if code.startswith("-") else None,
        None,
        "B1",
        RELEASED_AT,
        1,
        True,
    )
    found, facts = heard(lodged(), [told])
    assert (found.state, found.waiting, facts) == (
        DeclarationState.MATCHED,
        "declare",
        ["ListReturned"],
    )
