"""What an assessment was worked out from is written down and read back without loss."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.tax.domain.assessment import Assessable, AssessableLine, assess
from services.tax.domain.record import Record, of_document
from shared.events.orders import NetContent
from shared.money import Money
from tests.unit.tax.orders import BAG, CHERRIES, CREAM, RULES, TODAY, TOY, cny

quantities = st.decimals(min_value="0.001", max_value=50, places=3)
contents = st.none() | st.builds(
    NetContent,
    value=st.decimals(min_value="0.1", max_value=500, places=1),
    unit=st.sampled_from(["ml", "g", "piece"]),
)
minor = st.integers(0, 600_000)
lines = st.builds(
    AssessableLine, line_no=st.integers(1, 99), hs_code=st.sampled_from([CHERRIES, CREAM, TOY, BAG, "1006309000"]), quantity=quantities,
    total=minor.map(lambda fen: Money(fen, "CNY")), net_content=contents, net_weight_kg=st.none() | quantities,
)  # fmt: skip


@st.composite
def orders(draw: st.DrawFn) -> Assessable:
    chosen = tuple(draw(st.lists(lines, min_size=1, max_size=4)))
    freight, insurance, discount = (Money(draw(minor), "CNY") for _ in range(3))
    goods = Money.total((line.total for line in chosen), "CNY")
    return Assessable(
        "import",
        draw(st.sampled_from(["9610", "1210"])),
        "CNY",
        chosen,
        goods,
        freight,
        insurance,
        discount,
        draw(st.sampled_from([None, "HK"])),
    )


@given(orders(), st.integers(0, 2_600_000))
def test_a_record_read_back_is_the_same_and_assesses_the_same(order: Assessable, used: int) -> None:
    record = Record(order, TODAY, Money(used, "CNY"), RULES.edition)
    again = of_document(json.loads(json.dumps(record.as_document())))
    assert again == record
    assert assess(again.order, again.on, again.used, RULES) == assess(
        order, TODAY, record.used, RULES
    )


def test_another_currency_keeps_its_decimals() -> None:
    line = AssessableLine(1, TOY, Decimal(1), Money.of("1200", "JPY"))
    none = Money.zero("JPY")
    order = Assessable(
        "import", "9610", "JPY", (line,), line.total, Money.of("300", "JPY"), none, none
    )
    record = Record(order, TODAY, cny(0), "e")
    assert of_document(record.as_document()) == record
    assert of_document(replace_total(record).as_document()) != record


def replace_total(record: Record) -> Record:
    dearer = replace(record.order.lines[0], total=Money.of("1201", "JPY"))
    return record._replace(order=replace(record.order, lines=(dearer,), goods_value=dearer.total))
