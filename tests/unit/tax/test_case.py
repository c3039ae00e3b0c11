"""What becomes of an order's assessment and of the buyer's quota: given facts, when one more, then these."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tax.domain.batch import decide_all  # fmt: skip
from services.tax.domain.case import TAX, CaseDecision, TaxCase, TaxState, decide, quota_key_of
from services.tax.domain.ledger import EntryKind, PersonYear, Quota, QuotaEntry
from shared.events.base import Event
from shared.events.customs import GoodsReleased
from shared.events.orders import OrderPlaced, OrderUnwinding, ReturnAccepted
from shared.events.tax import (
    TaxAssessed,
    TaxKept,
    TaxLine,
    TaxPosted,
    TaxRefused,
    TaxRestored,
    TaxVoided,
)
from shared.money import Money
from shared.transitions import IllegalTransition
from tests.unit.tax.orders import (
    BAG,
    PERSON,
    RULES,
    TOY,
    Item,
    cny,
    given_back,
    order_id,
    placed,
    released,
    unwinding,
)

YEAR = PersonYear(PERSON, 2026)


def case_in(state: TaxState) -> TaxCase:
    held = cny("1000.00") if state in {TaxState.ASSESSED, TaxState.POSTED} else cny(0)
    person, year = (PERSON, 2026) if state is not TaxState.REFUSED else (None, None)
    return TaxCase(order_id("A"), state, 3, person, year, "cbec-retail-2019", held, cny("91.00"))


ASSESSED = TaxAssessed(
    order_id=order_id("A"), regime="cbec-retail-2019", dutiable_value=cny("1000.00"), duty=cny(0), consumption_tax=cny(0),
    vat=cny("91.00"), parcel_tax=cny(0), total=cny("91.00"), rules=("r",), person_ref=PERSON, year=2026,
    lines=(TaxLine(line_no=1, dutiable_value=cny("1000.00"), duty=cny(0), consumption_tax=cny(0), vat=cny("91.00")),),
)  # fmt: skip


def step(case: TaxCase | None, event: Event, used: str = "0") -> CaseDecision:
    return decide(case, event, cny(used), RULES, ASSESSED)


def entered(kind: EntryKind, minor: int = 100_000, part: int = 0) -> tuple[QuotaEntry, ...]:
    return (QuotaEntry(YEAR, order_id("A"), kind, minor, part),)


RESERVED, POSTED, VOIDED = (
    entered(kind) for kind in (EntryKind.RESERVE, EntryKind.POST, EntryKind.VOID)
)
RESTORED = entered(EntryKind.RESTORE, part=1)


def said(followed: CaseDecision) -> tuple[type, ...]:
    return tuple(type(fact) for fact in followed.facts)


def test_a_placed_order_is_assessed_and_reserves_its_dutiable_value() -> None:
    after = step(None, placed("A", [Item(TOY, "1000.00")]))
    assert after.case == TaxCase(
        order_id("A"),
        TaxState.ASSESSED,
        1,
        PERSON,
        2026,
        "cbec-retail-2019",
        cny("1000.00"),
        cny("91.00"),
    )
    assert after.entries == RESERVED
    (fact,) = after.facts
    assert isinstance(fact, TaxAssessed)
    assert (fact.total, fact.person_ref, fact.year) == (cny("91.00"), PERSON, 2026)
    assert [line.vat for line in fact.lines] == [cny("91.00")]


MILK, IN_2015 = "1901101000", datetime(2015, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "assessed", "owed"), [("500.00", "50.00", "0.00"), ("501.00", "50.10", "50.10")]
)
def test_tax_that_is_waived_is_assessed_and_not_owed(value: str, assessed: str, owed: str) -> None:
    """Parcel tax of 50 yuan or less is not levied (GACC 2010 No. 43, art. 1)."""
    after = step(None, placed("A", [Item(MILK, value)], at=IN_2015))
    (fact,) = after.facts
    assert isinstance(fact, TaxAssessed)
    assert (fact.parcel_tax, fact.total, fact.owed, after.case.total) == (
        cny(assessed),
        cny(assessed),
        cny(owed),
        cny(owed),
    )
    assert fact.payable == (None if assessed == owed else cny(owed))
    posted = decide(after.case, released("A"), cny(0), RULES)
    assert posted.facts == (TaxPosted(order_id=order_id("A"), total=cny(owed)),)
    back = decide(posted.case, given_back("A"), cny(0), RULES, fact)
    (restored,) = back.facts
    assert isinstance(restored, TaxRestored)
    assert (restored.total, restored.remaining, back.case.state) == (
        cny(owed),
        cny(0),
        TaxState.RESTORED,
    )


@pytest.mark.parametrize(
    ("payable", "owed"), [(None, "70.00"), ("60.00", "60.00"), ("0.00", "0.00")]
)
def test_returns_give_back_what_was_owed_and_nothing_that_was_waived(
    payable: str | None, owed: str
) -> None:
    line = TaxLine(
        line_no=1,
        dutiable_value=cny("300.00"),
        duty=cny("10.00"),
        consumption_tax=cny("20.00"),
        vat=cny("40.00"),
    )
    assessed = ASSESSED.model_copy(update={
        "lines": (line,), "duty": cny("10.00"), "consumption_tax": cny("20.00"), "vat": cny("40.00"), "total": cny("70.00"),
        "payable": None if payable is None else cny(payable),
    })  # fmt: skip
    case = replace(
        case_in(TaxState.POSTED), person_ref=None, year=None, reserved=cny(0), total=assessed.owed
    )
    given = cny(0)
    for number, before in enumerate(("0", "1", "2"), 1):
        event = given_back("A", before=before, of="3", number=number, whole=number == 3)
        (fact,) = decide(case, event, cny(0), RULES, assessed).facts
        assert isinstance(fact, TaxRestored)
        case, given = decide(case, event, cny(0), RULES, assessed).case, given + fact.total
    assert (given, case.total, case.state) == (cny(owed), cny(0), TaxState.RESTORED)


def test_a_refused_order_reserves_nothing_and_says_limit_and_value() -> None:
    after = step(None, placed("A", [Item(TOY, "700.00")]), used="25500.00")
    assert (after.case.state, after.case.reserved, after.entries) == (TaxState.REFUSED, cny(0), ())
    assert after.facts == (
        TaxRefused(
            order_id=order_id("A"),
            code="1313",
            reason=after.facts[0].reason,  # type: ignore[attr-defined]
            limit="26000.00",
            value="26200.00",
        ),
    )


def test_an_export_takes_no_quota() -> None:
    after = step(None, placed("A", [Item(TOY, "90000.00")], direction="export"))
    assert (after.case.state, after.case.quota_key, after.entries) == (TaxState.ASSESSED, None, ())
    assert step(after.case, released("A")).entries == ()


def test_an_undone_order_that_was_never_placed_leaves_a_tombstone() -> None:
    after = step(None, unwinding("A"))
    assert (after.case.state, said(after), after.entries) == (TaxState.VOIDED, (TaxVoided,), ())
    late = step(after.case, placed("A", [Item(TOY, "1.00")]))
    assert (late.case, late.facts, late.entries) == (after.case, (), ())


def test_a_release_of_an_order_nobody_placed_is_illegal() -> None:
    with pytest.raises(IllegalTransition):
        step(None, released("A"))


@pytest.mark.parametrize(
    ("before", "event", "after", "facts", "entries"),
    [
        (TaxState.ASSESSED, unwinding("A"), TaxState.VOIDED, (TaxVoided,), VOIDED),
        (TaxState.ASSESSED, released("A"), TaxState.POSTED, (TaxPosted,), POSTED),
        (
            TaxState.ASSESSED,
            given_back("A"),
            TaxState.RESTORED,
            (TaxPosted, TaxRestored),
            POSTED + RESTORED,
        ),
        (TaxState.POSTED, given_back("A"), TaxState.RESTORED, (TaxRestored,), RESTORED),
        (TaxState.POSTED, given_back("A", in_time=False), TaxState.POSTED, (TaxKept,), ()),
        (TaxState.POSTED, released("A"), TaxState.POSTED, (), ()),
        (TaxState.REFUSED, unwinding("A"), TaxState.VOIDED, (TaxVoided,), ()),
        (TaxState.REFUSED, released("A"), TaxState.REFUSED, (), ()),
        (TaxState.VOIDED, released("A"), TaxState.VOIDED, (), ()),
        (TaxState.RESTORED, released("A"), TaxState.RESTORED, (), ()),
        (TaxState.VOIDED, placed("A", [Item(TOY, "1.00")]), TaxState.VOIDED, (), ()),
    ],
)
def test_legal_step(
    before: TaxState,
    event: Event,
    after: TaxState,
    facts: tuple[type, ...],
    entries: tuple[QuotaEntry, ...],
) -> None:
    case = case_in(before)
    followed = step(case, event)
    assert (followed.case.state, said(followed), followed.entries) == (after, facts, entries)
    assert followed.case.version == case.version + len(facts)
    assert followed.case.reserved == (cny("1000.00") if after is TaxState.POSTED else cny(0))
    assert all(getattr(fact, "total", case.total) == case.total for fact in followed.facts)
    assert followed.case.total == (
        cny(0) if after is TaxState.RESTORED and before is not after else case.total
    )


EVENTS = (placed("A", [Item(TOY, "1.00")]), unwinding("A"), released("A"), given_back("A"))
ILLEGAL = [
    (state, event) for state, event in product(TaxState, EVENTS) if not TAX.allows(state, event)
]


@pytest.mark.parametrize(("state", "event"), ILLEGAL)
def test_every_pair_outside_the_table_is_illegal(state: TaxState, event: Event) -> None:
    with pytest.raises(IllegalTransition):
        step(case_in(state), event)


def test_the_tables_hold_nothing_else() -> None:
    assert {event for _, event, _ in TAX} == {
        OrderPlaced,
        OrderUnwinding,
        GoodsReleased,
        ReturnAccepted,
        TaxRestored,
    }
    own = [row for row in TAX if row[1] is TaxRestored]
    assert len(ILLEGAL) == len(TaxState) * len(EVENTS) - len(list(TAX)) + len(own)


def test_the_quota_year_turns_at_beijing_midnight() -> None:
    before, after = (
        datetime(2026, 12, 31, 15, 59, tzinfo=UTC),
        datetime(2026, 12, 31, 16, 0, tzinfo=UTC),
    )
    assert quota_key_of(placed("A", [Item(TOY, "1")], at=before)).year == 2026
    assert quota_key_of(placed("A", [Item(TOY, "1")], at=after)).year == 2027


def test_the_last_fen_of_a_year_and_the_first_of_the_next_are_in_different_years() -> None:
    """One second apart at Beijing midnight: what is over the old year is within the new one, to the fen."""
    full = {YEAR: Quota(0, 2_600_000), PersonYear(PERSON, 2027): Quota()}
    last, first = (
        datetime(2026, 12, 31, 15, 59, 59, tzinfo=UTC),
        datetime(2026, 12, 31, 16, 0, 0, tzinfo=UTC),
    )
    after = decide_all(
        {},
        full,
        [placed("L", [Item(TOY, "0.01")], at=last), placed("F", [Item(TOY, "0.01")], at=first)],
        RULES,
    )
    assert {name: after.cases[order_id(name)].state for name in "LF"} == {
        "L": TaxState.REFUSED,
        "F": TaxState.ASSESSED,
    }
    assert [(e.key.year, e.amount_minor) for e in after.entries] == [(2027, 1)]
    # Undone in another year, it is given back to the year it was taken from.
    undone = decide_all(after.cases, after.quotas, [unwinding("F")], RULES)
    assert (undone.quotas[PersonYear(PERSON, 2027)], undone.quotas[YEAR]) == (
        Quota(),
        Quota(0, 2_600_000),
    )


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=6),
    st.integers(0, 2_600_000),
    st.integers(0, 400_000),
    st.integers(0, 300_000),
)
def test_a_restore_in_any_parts_undoes_the_post_to_the_fen(
    cuts: list[int], value: int, vat: int, consumption: int
) -> None:
    """However a line comes back in time, no part is lost to rounding: the quota, the tax and the case end at nothing."""
    worth, taxes, total = (
        Money(value, "CNY"),
        (Money(consumption, "CNY"), Money(vat, "CNY")),
        Money(vat + consumption, "CNY"),
    )
    line = TaxLine(
        line_no=1, dutiable_value=worth, duty=cny(0), consumption_tax=taxes[0], vat=taxes[1]
    )
    assessed = ASSESSED.model_copy(
        update={
            "lines": (line,),
            "consumption_tax": taxes[0],
            "vat": taxes[1],
            "total": total,
            "dutiable_value": worth,
        }
    )
    case = replace(case_in(TaxState.ASSESSED), reserved=worth, total=total)
    posted = decide(case, released("A"), cny(0), RULES, assessed)
    case, entries, not_levied, before, pieces = (
        posted.case,
        list(posted.entries),
        cny(0),
        0,
        sum(cuts),
    )
    for number, quantity in enumerate(cuts, 1):
        event = given_back(
            "A",
            str(quantity),
            before=str(before),
            of=str(pieces),
            number=number,
            whole=before + quantity == pieces,
        )
        after = decide(case, event, cny(0), RULES, assessed)
        (fact,) = after.facts
        assert isinstance(fact, TaxRestored)
        case, before, not_levied = after.case, before + quantity, not_levied + fact.total
        entries += after.entries
        assert (fact.remaining, fact.return_no) == (case.total, number)
    assert (case.state, case.reserved, case.total) == (TaxState.RESTORED, cny(0), cny(0))
    assert not_levied == total
    quota = Quota(value, 0)
    for entry in entries:
        quota = entry.apply(quota)
    assert quota == Quota()
    parts = [e.part for e in entries if e.kind is EntryKind.RESTORE]
    assert parts == sorted(set(parts)), "an entry for each part that gives something back, once"


def test_a_late_part_keeps_its_tax_and_quota_whatever_comes_in_time() -> None:
    late = decide(
        case_in(TaxState.POSTED),
        given_back("A", "1", of="4", in_time=False, whole=False),
        cny(0),
        RULES,
        ASSESSED,
    )
    assert late.facts == (TaxKept(order_id=order_id("A"), return_no=1, total=cny("22.75")),)
    rest = decide(
        late.case, given_back("A", "3", before="1", of="4", number=2), cny(0), RULES, ASSESSED
    )
    assert (rest.case.state, rest.case.reserved, rest.case.total) == (
        TaxState.POSTED,
        cny("250.00"),
        cny("22.75"),
    )


# Batches


def test_orders_of_one_person_in_a_batch_see_each_other() -> None:
    batch = [placed(str(n), [Item(TOY, "4000.00")]) for n in range(8)]
    after = decide_all({}, {}, batch, RULES)
    assert [case.state for case in after.cases.values()] == [TaxState.ASSESSED] * 6 + [
        TaxState.REFUSED
    ] * 2
    assert after.quotas == {YEAR: Quota(2_400_000, 0)}


def test_what_still_fits_after_a_refusal_is_taken_and_what_is_given_back_fits_again() -> None:
    big, small = placed("B", [Item(TOY, "4000.00")]), placed("C", [Item(TOY, "1000.00")])
    again = placed("D", [Item(TOY, "2000.00")])
    start = {YEAR: Quota(0, 2_500_000)}
    after = decide_all({}, start, [big, small, unwinding("C"), again], RULES)
    states = {name: after.cases[order_id(name)].state for name in "BCD"}
    assert states == {"B": TaxState.REFUSED, "C": TaxState.VOIDED, "D": TaxState.REFUSED}
    exact = decide_all({}, start, [placed("E", [Item(TOY, "1000.00")])], RULES)
    assert exact.quotas[YEAR].used == cny("26000.00")


def test_persons_and_years_have_quotas_of_their_own() -> None:
    batch = [
        placed("A", [Item(BAG, "20000.00")]),
        placed("B", [Item(BAG, "20000.00")], person=UUID(int=8)),
        placed("C", [Item(BAG, "20000.00")], at=datetime(2027, 1, 1, tzinfo=UTC)),
    ]
    after = decide_all({}, {}, batch, RULES)
    assert {case.state for case in after.cases.values()} == {TaxState.ASSESSED}
    assert len(after.quotas) == 3


commands = st.lists(
    st.tuples(
        st.sampled_from(["place", "release", "undo", "return", "return late"]),
        st.integers(0, 7),
        st.integers(1, 500_000),
    ),
    max_size=40,
)


@given(commands)
def test_a_quota_is_always_what_its_orders_hold_and_never_over_the_limit(
    steps: list[tuple[str, int, int]],
) -> None:
    cases: dict[UUID, TaxCase] = {}
    quota = Quota()
    ledger: list[QuotaEntry] = []
    assessed: dict[UUID, TaxAssessed] = {}
    backs: Counter[int] = Counter()
    for what, n, minor in steps:
        name = str(n)
        event: Event
        match what:
            case "place":
                event = placed(name, [Item(TOY, str(Money(minor, "CNY")))])
            case "release":
                event = released(name)
            case "undo":
                event = unwinding(name)
            case _:
                event = given_back(name, "1", of="3", before=str(backs[n]), number=backs[n] + 1, in_time=what == "return",
                                   whole=backs[n] == 2)  # fmt: skip
                if backs[n] == 3 or event.order_id not in assessed:
                    continue
        try:
            after = decide_all(cases, {YEAR: quota}, [event], RULES, assessed)
        except IllegalTransition:
            continue
        backs[n] += isinstance(event, ReturnAccepted)
        assessed |= {
            fact.order_id: fact
            for facts in after.facts
            for fact in facts
            if isinstance(fact, TaxAssessed)
        }
        cases, quota = dict(after.cases), after.quotas[YEAR]
        ledger += after.entries
        summed = Quota()
        for entry in ledger:
            summed = entry.apply(summed)
        assert summed == quota
        assert len({(e.order_id, e.kind, e.part) for e in ledger}) == len(ledger)
        held = {s: sum(c.reserved.minor for c in cases.values() if c.state is s) for s in TaxState}
        assert quota == Quota(held[TaxState.ASSESSED], held[TaxState.POSTED])
        assert sum(held.values()) == quota.reserved_minor + quota.posted_minor <= 2_600_000
