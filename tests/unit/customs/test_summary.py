"""Consolidation decided on paper: months and deadlines, grouping, what a receipt and a result lead to, in any order."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.customs.ceb import codes
from services.customs.consolidation import months
from services.customs.consolidation.calendar import is_working_day
from services.customs.consolidation.domain import (
    LIVE,
    SUMMARY,
    Accepted,
    Closed,
    Declared,
    ListsFreed,
    Refused,
    Summary,
    SummaryPolicy,
    SummaryReply,
    SummaryState,
    apply_declarations,
    apply_reply,
    free,
)
from services.customs.consolidation.grouping import (
    Grouping,
    Head,
    IncompatibleLines,
    LinePlace,
    ListLine,
    check,
    group_lines,
)
from services.customs.consolidation.months import Month, closed_before, due_at, month_of, terms_on
from services.customs.consolidation.summary_declaration import (
    DECLARATION,
    DeclarationResult,
    DeclarationStage,
    Finished,
    NumberGiven,
    SentBack,
    SummaryDeclaration,
    apply_result,
    take_unpublished_stages,
)
from services.customs.policy_file import load
from shared.clock import BEIJING
from shared.money import Money
from shared.transitions import IllegalTransition
from shared.values import replace

AT = datetime(2026, 12, 2, 3, 0, tzinfo=UTC)
POLICY = SummaryPolicy(frozenset({"701009"}), 3, 5.0)
TERMS = load().summaries.terms


def beijing(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=BEIJING)


# --- months and deadlines


def test_a_month_is_beijings() -> None:
    assert month_of(datetime(2026, 11, 30, 15, 59, tzinfo=UTC)).label == "2026-11"
    assert month_of(datetime(2026, 11, 30, 16, 0, tzinfo=UTC)).label == "2026-12"
    assert month_of(beijing(2026, 12, 31)).ends == beijing(2027, 1, 1)


@given(st.integers(1_451_600_000, 4_070_900_000), st.sampled_from([0.5, 10.0, 86_400.0]))
def test_every_moment_is_in_its_month_and_months_follow_one_another(
    second: int, day_s: float
) -> None:
    at = datetime.fromtimestamp(second, UTC)
    month = month_of(at, day_s)
    assert month.begins <= at < month.ends
    assert month_of(month.ends + timedelta(milliseconds=1), day_s).begins == month.ends
    assert closed_before(month.ends + timedelta(seconds=1.5 * day_s), 2, day_s) == month.ends
    assert closed_before(month.begins + timedelta(seconds=0.5 * day_s), 2, day_s) < month.begins


@pytest.mark.parametrize(
    ("closed", "last_day"),
    [
        (beijing(2026, 11, 26), date(2026, 12, 15)),
        (beijing(2026, 7, 1), date(2026, 8, 17)),  # the 15th is a Saturday
        (beijing(2026, 1, 9), date(2026, 2, 24)),  # Spring Festival from the 15th to the 23rd
        (beijing(2016, 6, 3), date(2016, 7, 11)),  # by the 10th, a Sunday
    ],
)
def test_the_last_day_is_the_terms_or_the_next_working_day(
    closed: datetime, last_day: date
) -> None:
    month = month_of(closed)
    terms = terms_on(TERMS, month)
    assert terms is not None
    assert due_at(month, terms, is_working_day) == beijing(
        last_day.year, last_day.month, last_day.day
    ) + timedelta(days=1)


def test_terms_are_those_of_the_months_end_and_none_before_the_first() -> None:
    assert [terms_on(TERMS, month_of(beijing(2018, n, 1))) for n in (11, 12)] == list(TERMS[:2])
    assert terms_on(TERMS, month_of(beijing(2015, 1, 1))) is None
    assert all(terms.source for terms in TERMS)


def test_a_rehearsed_deadline_counts_its_own_days() -> None:
    month = month_of(AT, 0.5)
    assert (month.ends - month.begins).total_seconds() == 30 * 0.5
    assert due_at(month, TERMS[-1], lambda _: False, 0.5) == month.ends + timedelta(
        seconds=15 * 0.5
    )


# --- grouping

HEAD = Head("2244", "C1", "C1", "RU", "9610", "5")


def goods(invt_no: str = "E1", line_no: int = 1, head: Head = HEAD, hs: str = "6109100021", name: str = "tee", quantity: str = "2",
          unit: str = "piece", minor: int = 6000, currency: str = "EUR") -> ListLine:  # fmt: skip
    return ListLine(
        LinePlace(invt_no, line_no),
        head,
        head.country,
        hs,
        name,
        Decimal(quantity),
        unit,
        Money(minor, currency),
    )


lines = st.lists(
    st.builds(
        goods, invt_no=st.sampled_from("ABCDE"), line_no=st.integers(1, 40),
        head=st.sampled_from([HEAD, HEAD._replace(country="DE"), HEAD._replace(trade_mode="9710"), HEAD._replace(traf_mode="4")]),
        hs=st.sampled_from(["6109100021", "6109100029", "3304990039"]), name=st.sampled_from(["tee", "cream"]),
        quantity=st.integers(1, 9).map(str), unit=st.sampled_from(["piece", "kg"]), minor=st.integers(0, 9999),
        currency=st.sampled_from(["EUR", "USD"]),
    ),
    max_size=60, unique_by=lambda line: line.place,
)  # fmt: skip


@given(lines, st.integers(1, 5), st.sampled_from([8, 10]), st.booleans())
def test_every_line_is_declared_once_and_nothing_is_gained_or_lost(
    found: list[ListLine], most: int, digits: int, by_name: bool
) -> None:
    by = Grouping(most, digits, by_name)
    made = group_lines(found, by)
    assert Counter(
        place for each in made for line in each.lines for place in line.places
    ) == Counter(x.place for x in found)
    assert all(1 <= len(each.lines) <= most for each in made)
    for currency in ("EUR", "USD"):
        declared = sum(
            line.total.minor
            for each in made
            for line in each.lines
            if line.key.currency == currency
        )
        assert declared == sum(
            line.total.minor for line in found if line.total.currency == currency
        )
    for unit in ("piece", "kg"):
        assert sum(
            line.quantity for each in made for line in each.lines if line.key.unit == unit
        ) == sum(line.quantity for line in found if line.unit == unit)
    by_place = {line.place: line for line in found}
    for each in made:
        check(
            [(n, by_place[place]) for n, line in enumerate(each.lines, 1) for place in line.places],
            by,
        )
    assert made == group_lines(reversed(found), by), (
        "the order in which lists come makes no difference"
    )


def test_at_most_fifty_lines_then_another_declaration() -> None:
    made = group_lines([goods(hs=f"{n:010}", line_no=n) for n in range(1, 121)], Grouping(50))
    assert [len(each.lines) for each in made] == [50, 50, 20]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (goods("E2", head=HEAD._replace(country="DE")), "list E2 has another country"),
        (goods("E2", head=HEAD._replace(consignor="C2")), "another consignor"),
        (goods("E2", hs="6109100029"), "line 1: E2 line 1 has another hs_code"),
        (goods("E2", currency="USD"), "another currency"),
        (goods("E2", unit="kg"), "another unit"),
    ],
)
def test_what_may_not_be_in_one_line_is_named(other: ListLine, says: str) -> None:
    with pytest.raises(IncompatibleLines, match=says):
        check([(1, goods()), (1, other)], Grouping(50))
    with pytest.raises(IncompatibleLines, match="found 2 lines, expected at most 1"):
        check([(1, goods()), (2, goods("E2", hs="6109100029"))], Grouping(1))


# --- a request

REQUEST = Summary(UUID(int=1), "S1", parts=2, lines=3)


def receipt(
    meaning: Any = "accepted", seq: int = 1, status: str = "399", **more: Any
) -> SummaryReply:
    return SummaryReply("S1", seq, meaning, status, "said", AT, **more)


def test_a_request_is_accepted_once_all_of_its_messages_are() -> None:
    one, _ = apply_reply(REQUEST, receipt(sum_no="N1"), (), POLICY)
    assert (one.state, one.sum_no) == (SummaryState.REQUESTED, "N1")
    assert apply_reply(one, receipt(), (), POLICY)[0] == one, "twice is once"
    assert apply_reply(one, receipt(seq=2), (), POLICY)[0].state is SummaryState.ACCEPTED
    assert apply_reply(REQUEST, receipt("waiting", status="2"), (), POLICY)[0] == REQUEST


def test_a_refusal_that_names_lists_sets_them_aside_and_frees_the_others_at_once() -> None:
    refused, aside = apply_reply(
        REQUEST,
        receipt("returned", status="100", code="701005", named=("E1", "E9")),
        {"E1"},
        POLICY,
    )
    assert (refused.state, refused.again_at, set(aside)) == (SummaryState.REFUSED, AT, {"E1"})
    assert free(refused).state is SummaryState.SUPERSEDED
    assert apply_reply(refused, receipt("returned", seq=2, status="100"), (), POLICY) == (
        refused,
        frozenset(),
    ), "said of each message"


def test_a_refusal_that_asks_for_patience_is_waited_out_and_no_more_often_than_the_policy_says() -> (
    None
):
    told = receipt("returned", status="100", code="701009")
    assert apply_reply(REQUEST, told, (), POLICY)[0].again_at == AT + timedelta(seconds=5)
    third, _ = apply_reply(replace(REQUEST, attempt=3), told, (), POLICY)
    assert (third.state, third.again_at) == (SummaryState.REFUSED, None)


def test_any_other_refusal_waits_for_a_person() -> None:
    refused, aside = apply_reply(REQUEST, receipt("returned", status="100", code="1"), (), POLICY)
    assert (refused.state, refused.again_at, aside) == (SummaryState.REFUSED, None, frozenset())
    assert refused.state in LIVE, "its lists are nobody else's meanwhile"


EVENTS = (Accepted, Refused, Declared, Closed, ListsFreed)


@pytest.mark.parametrize("state", SummaryState)
@pytest.mark.parametrize("event", EVENTS)
def test_a_pair_of_the_request_is_in_the_table_or_illegal(state: SummaryState, event: type) -> None:
    if SUMMARY.allows(state, event()):
        assert SUMMARY.next(state, event()) in SummaryState
    else:
        with pytest.raises(IllegalTransition):
            SUMMARY.next(state, event())


@pytest.mark.parametrize("stage", DeclarationStage)
@pytest.mark.parametrize("event", [NumberGiven, SentBack, Finished])
def test_a_pair_of_the_declaration_is_in_the_table_or_illegal(
    stage: DeclarationStage, event: type
) -> None:
    if (stage, event) in {
        (DeclarationStage.GENERATED, Finished),
        (DeclarationStage.RETURNED, Finished),
    }:
        with pytest.raises(IllegalTransition):
            DECLARATION.next(stage, event())
    else:
        assert DECLARATION.next(stage, event()) in DeclarationStage


# --- what customs makes of it


def result(
    meaning: Any, state: str, entry_id: str | None = None, number: str = "D1", **more: Any
) -> DeclarationResult:
    return DeclarationResult("N1", number, meaning, state, AT, entry_id, **more)


GENERATED, NUMBERED = result("waiting", "1"), result("declared", "L", "0")
FINISHED, BACK = result("finished", "R", "0"), result("returned", "E")
WORDS = ((GENERATED, 3), (BACK, 0), (NUMBERED, 0), (FINISHED, 0))


def test_a_declaration_goes_from_generated_to_closed_and_each_is_said_once() -> None:
    d: SummaryDeclaration | None = None
    said: list[DeclarationStage] = []
    for told, count in WORDS:
        d, stages = take_unpublished_stages(apply_result(d, told, count))
        said += stages
        assert take_unpublished_stages(d) == (d, ())
        assert apply_result(d, told, count) == d, "twice is once"
    assert d is not None
    assert (d.stage, d.entry_id, said) == (
        DeclarationStage.CLOSED,
        "0",
        [DeclarationStage.DECLARED, DeclarationStage.CLOSED],
    )


@pytest.mark.parametrize("order", list(itertools.permutations(WORDS)))
def test_in_whatever_order_its_words_come_it_is_closed_once_its_lines_are_there(
    order: tuple[tuple[DeclarationResult, int], ...],
) -> None:
    d: SummaryDeclaration | None = None
    said: list[DeclarationStage] = []
    for told, count in order:
        d, stages = take_unpublished_stages(apply_result(d, told, count))
        said += stages
    assert d is not None
    assert (d.stage, said) == (
        DeclarationStage.CLOSED,
        [DeclarationStage.DECLARED, DeclarationStage.CLOSED],
    )


def test_lines_in_several_messages_are_waited_for() -> None:
    first = apply_result(None, result("declared", "L", "0", count=2, seq=1), 2)
    assert take_unpublished_stages(first) == (first, ())
    assert take_unpublished_stages(
        apply_result(first, result("declared", "L", "0", count=2, seq=2), 1)
    )[1] == (DeclarationStage.DECLARED,)


def test_a_decstate_nobody_knows_is_kept_and_changes_nothing() -> None:
    assert codes.dec_state("?") == "unknown"
    before = apply_result(None, NUMBERED, 3)
    after = apply_result(before, result("unknown", "?", "0"), 0)
    assert after == replace(before, dec_state="?")


def made(number: str, stage: DeclarationStage, count: int) -> SummaryDeclaration:
    return SummaryDeclaration(
        number,
        "N1",
        received_parts=frozenset({1}),
        lines=count,
        stage=stage,
        entry_id="0" if stage is not DeclarationStage.GENERATED else None,
    )


@pytest.mark.parametrize(
    ("stages", "state"),
    [
        ([(DeclarationStage.DECLARED, 3)], SummaryState.DECLARED),
        ([(DeclarationStage.DECLARED, 2)], SummaryState.ACCEPTED),
        ([(DeclarationStage.DECLARED, 2), (DeclarationStage.GENERATED, 1)], SummaryState.ACCEPTED),
        ([(DeclarationStage.DECLARED, 2), (DeclarationStage.CLOSED, 1)], SummaryState.DECLARED),
        ([(DeclarationStage.CLOSED, 2), (DeclarationStage.CLOSED, 1)], SummaryState.CLOSED),
        ([], SummaryState.ACCEPTED),
    ],
)
def test_a_request_is_where_the_last_of_its_declarations_is(
    stages: list[tuple[DeclarationStage, int]], state: SummaryState
) -> None:
    accepted = replace(REQUEST, state=SummaryState.ACCEPTED, sum_no="N1")
    assert (
        apply_declarations(
            accepted, [made(f"D{n}", stage, count) for n, (stage, count) in enumerate(stages)]
        ).state
        is state
    )


def test_what_customs_declared_after_all_is_refused_no_more() -> None:
    refused = replace(REQUEST, state=SummaryState.REFUSED, again_at=AT)
    after = apply_declarations(refused, [made("D1", DeclarationStage.DECLARED, 3)])
    assert (after.state, after.again_at) == (SummaryState.DECLARED, None)


receipts = st.builds(
    receipt, meaning=st.sampled_from(["waiting", "accepted", "returned"]), seq=st.integers(1, 2),
    status=st.sampled_from(["2", "399", "100"]), code=st.sampled_from([None, "701009", "1"]),
    sum_no=st.sampled_from([None, "N1"]), named=st.sampled_from([(), ("E1",)]),
)  # fmt: skip
results = st.builds(
    lambda word, number, count: (replace(word[0], decl_seq_no=number), count if word[1] else 0),
    st.sampled_from(WORDS), st.sampled_from(["D1", "D2"]), st.integers(1, 3),
)  # fmt: skip
RANK = {
    SummaryState.REQUESTED: 0,
    SummaryState.ACCEPTED: 1,
    SummaryState.REFUSED: 2,
    SummaryState.DECLARED: 3,
    SummaryState.CLOSED: 4,
}


@given(st.lists(receipts | results, max_size=25))
def test_whatever_customs_says_in_whatever_order_a_request_never_goes_back_and_each_word_is_said_once(
    words: list[Any],
) -> None:
    s, made, said = (
        REQUEST,
        dict[str, SummaryDeclaration](),
        Counter[tuple[str, DeclarationStage]](),
    )
    done = (SummaryState.DECLARED, SummaryState.CLOSED)
    for word in words:
        before = s
        if isinstance(word, SummaryReply):
            s, aside = apply_reply(s, word, word.named, POLICY)
            assert not aside or (
                before.state is not SummaryState.REFUSED and s.state is SummaryState.REFUSED
            )
        else:
            told, count = word
            stage = (
                made[told.decl_seq_no].stage
                if told.decl_seq_no in made
                else DeclarationStage.GENERATED
            )
            made[told.decl_seq_no], stages = take_unpublished_stages(
                apply_result(made.get(told.decl_seq_no), told, count)
            )
            said.update((told.decl_seq_no, each) for each in stages)
            assert (
                stage is not DeclarationStage.CLOSED
                or made[told.decl_seq_no].stage is DeclarationStage.CLOSED
            )
            s = apply_declarations(s, made.values())
            if s.state in done and before.state not in done:
                # What customs says later may contradict it; it was true of all lines when it was said.
                assert sum(d.lines for d in made.values()) == s.lines
                assert all(d.entry_id for d in made.values())
        assert RANK[s.state] >= RANK[before.state]
        assert s.sum_no == (before.sum_no or s.sum_no)
    assert all(times == 1 for times in said.values())


# --- policy


def test_the_policy_asks_for_patience_by_codes_that_are_known() -> None:
    for code in load().summaries.asking.ask_again:
        assert codes.error(code) is not None or codes.status(code).meaning_class == "technical"


def test_an_office_of_a_pilot_zone_may_have_a_flag_of_its_own() -> None:
    policy = load()
    office = policy.office("export", "9610", "RU")
    assert policy.statistics_of(office) == "B"
    assert policy.statistics_of(replace(office, statistics_flag="A")) == "A"


def test_month_is_a_month() -> None:
    assert month_of(AT) == Month("2026-12", beijing(2026, 12, 1), beijing(2027, 1, 1))
    assert months.DAY_S == 86_400


def test_a_failure_on_the_way_refuses_no_request_for_good_however_often_it_is_told() -> None:
    """Three outages of the e-port left the lists of a month to a person."""
    pauses = []
    for attempt in range(1, 20):
        s = Summary(UUID(int=1), "S1", 1, 3, attempt)
        told = SummaryReply("S1", 1, "returned", "-701004", "", AT, "-701004", on_the_way=True)
        after, aside = apply_reply(s, told, set(), POLICY)
        assert (after.state, aside) == (SummaryState.REFUSED, frozenset())
        assert after.again_at is not None
        pauses.append((after.again_at - AT).total_seconds())
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (5.0, 3600.0)
