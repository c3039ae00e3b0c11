"""What becomes of the kilograms that the positive list allows a person in a year."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tax.domain.assessment import Assessment, assess
from services.tax.domain.batch import BatchDecision, decide_all  # fmt: skip
from services.tax.domain.case import TaxCase, TaxState, decide
from services.tax.domain.ledger import EntryKind, PersonYear, Quota, Weight, WeightEntry, milligrams
from services.tax.domain.record import of_document
from services.tax.domain.weights import LineWeight, is_weighed
from shared.events.base import Event
from shared.events.orders import OrderPlaced
from shared.events.tax import TaxAssessed, TaxRefused
from tests.unit.tax.orders import (
    PERSON,
    RULES,
    TODAY,
    TOY,
    Item,
    cny,
    given_back,
    order,
    order_id,
    placed,
    released,
    unwinding,
)  # fmt: skip

RICE, RICE_SEED, SUGAR = "1006309000", "1006102190", "1701999000"
YEAR = PersonYear(PERSON, 2026)
KG = 1_000_000
LIMIT = 20 * KG


def rice(
    name: str,
    kilograms: str,
    *,
    quantity: str = "1",
    person: UUID = PERSON,
    at: datetime | None = None,
) -> OrderPlaced:
    return placed(
        name, [Item(RICE, "10.00", quantity=quantity, weight=kilograms)], person=person, at=at
    )


def entry(
    kind: EntryKind, kilograms: str, *, part: int = 0, hs: str = "1006", line_no: int = 1
) -> WeightEntry:
    return WeightEntry(YEAR, order_id("A"), line_no, hs, kind, milligrams(Decimal(kilograms)), part)


def first(*items: Item) -> tuple[TaxCase, TaxAssessed, tuple[WeightEntry, ...]]:
    followed = decide(None, placed("A", items), cny(0), RULES)
    (fact,) = followed.facts
    assert isinstance(fact, TaxAssessed)
    return followed.case, fact, followed.weighed


def test_an_order_reserves_the_weight_of_each_line_that_is_limited_and_of_no_other() -> None:
    case, _, entries = first(
        Item(RICE, "10.00", weight="5"),
        Item(TOY, "10.00", weight="9"),
        Item(SUGAR, "1.00", weight="1.5"),
    )
    assert entries == (
        entry(EntryKind.RESERVE, "5"),
        entry(EntryKind.RESERVE, "1.5", hs="1701", line_no=3),
    )
    assert case.weights == (
        LineWeight(1, "1006", 5 * KG, 5 * KG),
        LineWeight(3, "1701", 1_500_000, 1_500_000),
    )


def test_a_release_posts_and_the_end_of_an_order_voids_what_it_reserved() -> None:
    case, _, _ = first(Item(RICE, "10.00", weight="5"))
    posted = decide(case, released("A"), cny(0), RULES)
    assert (posted.weighed, posted.case.weights) == ((entry(EntryKind.POST, "5"),), case.weights)
    voided = decide(case, unwinding("A"), cny(0), RULES)
    assert (voided.weighed, voided.case.weights) == (
        (entry(EntryKind.VOID, "5"),),
        (LineWeight(1, "1006", 5 * KG, 0),),
    )


def test_what_comes_back_in_time_is_restored_part_by_part_and_what_is_late_is_not() -> None:
    case, fact, _ = first(Item(RICE, "10.00", quantity="3", weight="1"))
    one = decide(case, given_back("A", "1", of="3", whole=False), cny(0), RULES, fact)
    assert one.weighed == (entry(EntryKind.POST, "1"), entry(EntryKind.RESTORE, "0.333333", part=1))
    late = given_back("A", "1", before="1", of="3", number=2, in_time=False, whole=False)
    two = decide(one.case, late, cny(0), RULES, fact)
    assert two.weighed == ()
    three = decide(
        two.case, given_back("A", "1", before="2", of="3", number=3), cny(0), RULES, fact
    )
    assert three.weighed == (entry(EntryKind.RESTORE, "0.333333", part=3),)
    assert three.case.weights == (LineWeight(1, "1006", KG, 333_334),)


def test_orders_of_a_year_are_weighed_together_and_one_that_fits_after_a_refusal_is_taken() -> None:
    batch = [rice("A", "12"), rice("B", "8.001"), rice("C", "8"), rice("D", "0.001")]
    after = decide_all({}, {}, batch, RULES)
    assert [case.state.value for case in after.cases.values()] == [
        "assessed",
        "refused",
        "assessed",
        "refused",
    ]
    (refusal,) = after.facts[1]
    assert isinstance(refusal, TaxRefused)
    assert (refusal.code, refusal.limit, refusal.value) == (
        "weight_over_yearly",
        "20 kg",
        "20.001 kg",
    )
    assert after.quotas[YEAR].weights == {"1006": Weight(LIMIT, 0)}
    undone = decide_all(after.cases, after.quotas, [unwinding("A"), rice("E", "12")], RULES)
    assert undone.cases[order_id("E")].state is TaxState.ASSESSED


def test_persons_and_years_have_weights_of_their_own() -> None:
    turn = [datetime(2026, 12, 31, 15, 59, tzinfo=UTC), datetime(2026, 12, 31, 16, tzinfo=UTC)]
    batch = [
        rice("A", "20", at=turn[0]),
        rice("B", "20", at=turn[1]),
        rice("C", "20", person=UUID(int=8)),
    ]
    after = decide_all({}, {}, batch, RULES)
    assert {case.state for case in after.cases.values()} == {TaxState.ASSESSED}


@pytest.mark.parametrize(
    "used",
    [{"1006": "15"}, {"100630": "15"}, {"1006309000": "15"}, {"10061021": "7", "100630": "8"}],
)
def test_what_was_counted_by_a_shorter_or_longer_prefix_counts_too(used: Mapping[str, str]) -> None:
    before = {hs: Decimal(kilograms) for hs, kilograms in used.items()}
    for kilograms, inside in (("5", True), ("5.00001", False)):
        result = assess(order(Item(RICE, "1.00", weight=kilograms)), TODAY, cny(0), RULES, before)
        assert isinstance(result, Assessment) == inside


def test_an_order_that_is_assessed_again_from_its_record_knows_what_the_year_weighed() -> None:
    quota = Quota(0, 0, {"1006": Weight(KG, 18_500_000), "1701": Weight()})
    after = decide_all({}, {YEAR: quota}, [rice("A", "0.5")], RULES)
    record = after.records[order_id("A")]
    assert record.as_document()["used_kg"] == {"1006": "19.5"}
    assert of_document(record.as_document()) == record
    assert (
        "used_kg"
        not in decide_all({}, {}, [rice("A", "0.5")], RULES).records[order_id("A")].as_document()
    )


def test_only_orders_of_limited_goods_are_weighed() -> None:
    assert is_weighed(rice("A", "1"), RULES)
    assert not is_weighed(placed("A", [Item(TOY, "1.00")]), RULES)
    assert not is_weighed(placed("A", [Item(RICE, "1.00", weight="99")], direction="export"), RULES)
    assert not is_weighed(rice("A", "99", at=datetime(2015, 11, 23, tzinfo=UTC)), RULES), (
        "a parcel is not weighed"
    )


def test_a_part_of_a_milligram_counts_as_one() -> None:
    assert [milligrams(Decimal(kg)) for kg in ("0.0000001", "1", "0.333333")] == [1, KG, 333_333]


commands = st.lists(
    st.tuples(
        st.sampled_from(["place", "release", "undo", "return", "return late"]),
        st.integers(0, 7),
        st.integers(1, 12 * KG),
    ),
    max_size=40,
)


@given(commands)
def test_a_weight_is_always_what_its_orders_hold_and_its_ledger_and_never_over_the_limit(
    steps: list[tuple[str, int, int]],
) -> None:
    cases: dict[UUID, TaxCase] = {}
    assessed: dict[UUID, TaxAssessed] = {}
    quotas: Mapping[PersonYear, Quota] = {}
    entries: list[WeightEntry] = []
    for step, number, mg in steps:
        event = _happens(step, str(number), mg, cases)
        if event is not None:
            after: BatchDecision = decide_all(cases, quotas, [event], RULES, assessed)
            cases, quotas = dict(after.cases), after.quotas
            assessed |= {
                f.order_id: f for facts in after.facts for f in facts if isinstance(f, TaxAssessed)
            }
            entries += after.weighed
            _judge(cases, quotas.get(YEAR, Quota()), entries)
    assert len({(e.order_id, e.line_no, e.kind, e.part) for e in entries}) == len(entries)


def _happens(step: str, name: str, mg: int, cases: Mapping[UUID, TaxCase]) -> Event | None:
    case = cases.get(order_id(name))
    if step == "place":
        return rice(name, f"{Decimal(mg) / KG:f}") if case is None else None
    if case is None or case.state not in (TaxState.ASSESSED, TaxState.POSTED):
        return None
    if step == "undo":
        return unwinding(name) if case.state is TaxState.ASSESSED else None
    if step == "release":
        return released(name)
    back = sum(w.whole_mg - w.held_mg for w in case.weights)
    return given_back(name, in_time=step == "return") if not back else None


def _judge(cases: Mapping[UUID, TaxCase], quota: Quota, entries: list[WeightEntry]) -> None:
    held = {
        state: sum(
            w.held_mg for case in cases.values() if case.state is state for w in case.weights
        )
        for state in (TaxState.ASSESSED, TaxState.POSTED)
    }
    weight = quota.weights.get("1006", Weight())
    assert (weight.reserved_mg, weight.posted_mg) == (
        held[TaxState.ASSESSED],
        held[TaxState.POSTED],
    )
    assert weight.reserved_mg + weight.posted_mg <= LIMIT
    ledger = Quota()
    for each in entries:
        ledger = each.apply(ledger)
    assert ledger.weights.get("1006", Weight()) == weight
