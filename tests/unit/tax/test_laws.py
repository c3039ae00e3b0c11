"""Laws of every assessment, whatever the goods, the mode and the day; and the combined rates, worked out here once more."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.tax.domain.assessment import Assessable, Assessment, assess
from shared.money import Money
from tests.unit.tax.orders import (
    BAG,
    CHERRIES,
    CREAM,
    RULES,
    TODAY,
    TOY,
    WATCH,
    WINE,
    Item,
    cny,
    order,
)

LIPSTICK, SHIRT = "3304100000", "6109100010"
DAYS: Final = [
    date(2015, 11, 23), date(2016, 4, 8), date(2016, 9, 30), date(2016, 10, 1), date(2017, 7, 1), date(2018, 5, 1), date(2018, 12, 31),
    date(2019, 1, 1), date(2019, 4, 1), TODAY,
]  # fmt: skip

days = st.sampled_from(DAYS)
modes = st.sampled_from(["9610", "1210", "personal", "0110"])
goods = st.sampled_from(
    [
        (TOY, None),
        (CHERRIES, None),
        (WINE, None),
        (SHIRT, None),
        (CREAM, "20 g"),
        (LIPSTICK, "3 piece"),
        (CREAM, "50 ml"),
    ]
)
fen = st.integers(0, 60_000)
lines = st.lists(st.tuples(goods, fen, st.integers(1, 4)), min_size=1, max_size=6)

Line = tuple[tuple[str, str | None], int, int]


def made(
    chosen: list[Line], mode: str = "9610", freight: int = 0, insurance: int = 0
) -> Assessable:
    items = [
        Item(hs, str(Money(minor, "CNY")), str(quantity), content)
        for (hs, content), minor, quantity in chosen
    ]
    return order(
        *items,
        mode=mode,
        freight=str(Money(freight, "CNY")),
        insurance=str(Money(insurance, "CNY")),
    )


def total_of(what: Assessable, on: date) -> int | None:
    """The tax in fen, None where the order is refused."""
    result = assess(what, on, cny(0), RULES)
    return result.total.minor if isinstance(result, Assessment) else None


def straddles(on: date, mode: str, *worth: int) -> bool:
    """Whether some of these values in fen are over the single limit and others are not, while those over it are taxed in full.

    The law's own gap of 2016 to 2018: an order of several pieces over the limit owes all taxes, its pieces apart the reduced
    ones. The regime of 2019 sends such orders away.
    """
    return (
        mode in ("9610", "1210")
        and date(2016, 4, 8) <= on < date(2019, 1, 1)
        and min(worth) <= 200_000 < max(worth)
    )


@given(
    st.sampled_from([(CREAM, "20 g"), (WATCH, None), (BAG, None), (WINE, None), (TOY, None)]), days, modes, st.integers(0, 2_599_000),
    st.integers(0, 1_000_000),
)  # fmt: skip
def test_a_higher_price_never_owes_less_across_every_limit_and_threshold(
    kind: tuple[str, str | None], on: date, mode: str, minor: int, more: int
) -> None:
    cheap, dear = (total_of(made([(kind, value, 1)], mode), on) for value in (minor, minor + more))
    # Refused for the dearer one is no lower tax; and what is refused by limit does not come in again at a higher price.
    assert dear is None or (cheap is not None and cheap <= dear)


@given(lines, days, modes, fen, fen, st.randoms(use_true_random=False))
def test_the_order_of_lines_changes_nothing(
    chosen: list[Line], on: date, mode: str, freight: int, insurance: int, chance: Random
) -> None:
    what = made(chosen, mode, freight, insurance)
    shuffled = list(what.lines)
    chance.shuffle(shuffled)
    one, other = (
        assess(w, on, cny(0), RULES) for w in (what, replace(what, lines=tuple(shuffled)))
    )
    assert type(one) is type(other)
    if isinstance(one, Assessment) and isinstance(other, Assessment):
        assert (one.total, one.payable, sorted(one.lines)) == (
            other.total,
            other.payable,
            sorted(other.lines),
        )


@given(lines, st.integers(1, 5), days, modes)
def test_splitting_an_order_by_lines_owes_the_same(
    chosen: list[Line], at: int, on: date, mode: str
) -> None:
    whole = total_of(made(chosen, mode), on)
    parts = [total_of(made(part, mode), on) for part in (chosen[:at], chosen[at:]) if part]
    worth = [sum(minor for _, minor, _ in part) for part in (chosen, chosen[:at], chosen[at:])]
    if whole is not None and None not in parts and not straddles(on, mode, *worth):
        assert whole == sum(part for part in parts if part is not None)


@given(goods, fen, st.integers(2, 8), days, modes)
def test_splitting_pieces_of_a_line_over_orders_never_lowers_the_tax_below_the_rounding(
    kind: tuple[str, str | None], each: int, pieces: int, on: date, mode: str
) -> None:
    whole = total_of(made([(kind, each * pieces, pieces)], mode), on)
    single = total_of(made([(kind, each, 1)], mode), on)
    if whole is not None and single is not None and not straddles(on, mode, each, each * pieces):
        # Of each order three taxes are rounded by half a fen at most, and of the whole one too.
        assert abs(whole - pieces * single) <= 3 * (pieces + 1) / 2


@given(lines, days, modes, fen, fen)
def test_lines_sum_to_the_head_and_every_rule_has_a_source(
    chosen: list[Line], on: date, mode: str, freight: int, insurance: int
) -> None:
    result = assess(made(chosen, mode, freight, insurance), on, cny(0), RULES)
    assert all(name in RULES.sources for name in result.rules)
    if isinstance(result, Assessment):
        assert (
            sum(line.dutiable_value for line in result.lines)
            == sum(minor for _, minor, _ in chosen) + freight + insurance
        )
        for tax in ("duty", "consumption_tax", "vat", "parcel_tax"):
            assert sum(getattr(line, tax) for line in result.lines) == getattr(result, tax).minor
        assert result.total == result.duty + result.consumption_tax + result.vat + result.parcel_tax
        assert 0 <= result.payable.minor <= result.total.minor


@given(lines, days, modes, fen)
def test_an_assessment_comes_out_the_same_again(
    chosen: list[Line], on: date, mode: str, used: int
) -> None:
    what = made(chosen, mode)
    assert assess(what, on, Money(used, "CNY"), RULES) == assess(
        what, on, Money(used, "CNY"), RULES
    )


# The combined rates, from the published formula and the rates of the day alone: nothing here is taken from the code or its files.

STANDARD: Final = [(date(2018, 4, 30), "17"), (date(2019, 3, 31), "16"), (date.max, "13")]
PRODUCE: Final = [
    (date(2017, 6, 30), "13"),
    (date(2018, 4, 30), "11"),
    (date(2019, 3, 31), "10"),
    (date.max, "9"),
]
COSMETICS: Final = [(date(2016, 9, 30), "30"), (date.max, "15")]


def rate_on(table: list[tuple[date, str]], on: date) -> Decimal:
    """The rate of the first row whose last day is not over, as a share."""
    return Decimal(next(rate for last, rate in table if on <= last)) / 100


RATES: Final = {
    TOY: ("0", STANDARD),
    SHIRT: ("0", STANDARD),
    CHERRIES: ("0", PRODUCE),
    WINE: ("10", STANDARD),
}


@given(
    st.sampled_from(sorted(RATES)),
    st.integers(0, 200_000),
    st.sampled_from([on for on in DAYS if on >= date(2016, 4, 8)]),
)
def test_the_reduced_tax_is_seventy_percent_of_the_combined_rate(
    hs: str, minor: int, on: date
) -> None:
    assume(hs != CHERRIES or on >= date(2016, 4, 16))  # fresh fruit came with the second list
    percent, table = RATES[hs]
    c, v = Decimal(percent) / 100, rate_on(table, on)
    expected = (Decimal(minor) / 100 * (c + v) / (1 - c) * Decimal("0.7")).quantize(
        Decimal("0.01"), ROUND_HALF_UP
    )
    total = total_of(made([((hs, None), minor, 2)]), on)
    assert total is not None
    # Two taxes are rounded one by one, the combined one once.
    assert abs(Decimal(total) / 100 - expected) <= Decimal("0.01")


@given(st.integers(20_000, 200_000), st.sampled_from([on for on in DAYS if on >= date(2016, 4, 8)]))
def test_dear_cosmetics_owe_seventy_percent_of_their_combined_rate(minor: int, on: date) -> None:
    c, v = rate_on(COSMETICS, on), rate_on(STANDARD, on)
    expected = Decimal(minor) / 100 * (c + v) / (1 - c) * Decimal("0.7")
    total = total_of(made([((LIPSTICK, "10 g"), minor, 1)]), on)
    assert total is not None
    assert abs(Decimal(total) / 100 - expected) <= Decimal("0.01")


@pytest.mark.parametrize(("on", "least", "d", "c", "v"), [
    (date(2016, 5, 7), 200_001, "0.14", "0.10", "0.17"), (date(2018, 5, 1), 200_001, "0.14", "0.10", "0.16"),
    (TODAY, 500_001, "0.14", "0.10", "0.13"),
])  # fmt: skip
@given(data=st.data())
def test_the_full_tax_is_the_combined_rate(
    on: date, least: int, d: str, c: str, v: str, data: st.DataObject
) -> None:
    minor = data.draw(st.integers(least, 1_999_999))
    duty, consumption, vat = Decimal(d), Decimal(c), Decimal(v)
    expected = Decimal(minor) / 100 * (duty + consumption + vat + duty * vat) / (1 - consumption)
    total = total_of(made([((WINE, None), minor, 1)]), on)
    assert total is not None
    assert abs(Decimal(total) / 100 - expected) <= Decimal("0.015")
