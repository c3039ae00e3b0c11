"""What is owed: published and computed cases, every limit at its edge, and laws that hold for any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tax.domain.assessment import Assessable, Assessment, dutiable_values
from services.tax.rulebook.ratios import owed
from shared.clock import beijing_date
from shared.money import CurrencyMismatch, Money
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
    assessed,
    order,
    refused,
    taxes,
)

IN_2016 = date(2016, 5, 7)


@pytest.mark.parametrize(
    ("case", "what", "on", "expected"),
    [
        (
            "T1 skin cream of 21.25 a gram",
            order(Item(CREAM, "425.00", content="20 g")),
            TODAY,
            ("0.00", "52.50", "45.50"),
        ),
        ("T2 goods at 13 %", order(Item(TOY, "1000.00")), TODAY, ("0.00", "0.00", "91.00")),
        (
            "T3 fresh produce at 9 %",
            order(Item(CHERRIES, "300.00")),
            TODAY,
            ("0.00", "0.00", "18.90"),
        ),
        (
            "T6 several pieces worth the limit",
            order(Item(TOY, "5000.00", quantity="5")),
            TODAY,
            ("0.00", "0.00", "455.00"),
        ),
        (
            "T8a the bag over the limit of 2016",
            order(Item(BAG, "3000.00")),
            IN_2016,
            ("300.00", "0.00", "561.00"),
        ),
        (
            "T8b the same bag under the limit of 2019",
            order(Item(BAG, "3000.00")),
            TODAY,
            ("0.00", "0.00", "273.00"),
        ),
        (
            "T9 wine at full rate, 482 a thousand",
            order(Item(WINE, "3000.00")),
            IN_2016,
            ("420.00", "380.00", "646.00"),
        ),
        (
            "wine at full rate today",
            order(Item(WINE, "6000.00")),
            TODAY,
            ("840.00", "760.00", "988.00"),
        ),
        (
            "wine within the limits",
            order(Item(WINE, "1000.00")),
            TODAY,
            ("0.00", "77.78", "101.11"),
        ),
        (
            "a watch of 20,000 at full rate",
            order(Item(WATCH, "20000.00")),
            TODAY,
            ("2200.00", "5550.00", "3607.50"),
        ),
        ("T14 too small to tax", order(Item(TOY, "0.05")), TODAY, ("0.00", "0.00", "0.00")),
        ("nothing small is waived", order(Item(TOY, "1.00")), TODAY, ("0.00", "0.00", "0.09")),
    ],
)
def test_case_owes_as_published_or_computed(
    case: str, what: Assessable, on: date, expected: tuple[str, str, str]
) -> None:
    result = assessed(what, on)
    assert taxes(result) == expected
    assert result.payable == result.total == result.duty + result.consumption_tax + result.vat


def test_wine_of_a_thousand_at_the_rates_of_2016_owes_482() -> None:
    full = owed(Decimal("0.14"), Decimal("0.10"), Decimal("0.17"), Decimal(1), Decimal(1))
    assert (full.duty.of(100_000), full.consumption_tax.of(100_000), full.vat.of(100_000)) == (
        14000,
        12667,
        21533,
    )


def test_tax_is_rounded_per_line_and_freight_goes_by_largest_remainder() -> None:
    what = order(*[Item(TOY, "33.33")] * 3, freight="10.00")
    result = assessed(what)
    assert dutiable_values(what) == [3667, 3666, 3666]
    assert [line.vat for line in result.lines] == [334, 334, 334]
    assert str(result.total) == "10.02"


def test_vouchers_do_not_reduce_the_dutiable_value() -> None:
    with_voucher = assessed(
        order(Item(TOY, "1000.00"), freight="20.00", insurance="5.00", discount="300.00")
    )
    assert str(with_voucher.dutiable_value) == "1025.00"


def test_an_assessment_names_regime_version_and_every_rule_with_a_source() -> None:
    result = assessed(order(Item(CREAM, "425.00", content="20 g"), Item(CHERRIES, "10.00")))
    assert (result.regime, result.version) == ("cbec-retail-2019", 1)
    assert {
        "cbec-retail-2019@1",
        "tariff-cn/heading/080929/2015-01-01",
        "tariff-cn/vat/agricultural/2019-04-01",
    } <= set(result.rules)
    assert "tariff-cn/consumption/skin-care/2016-10-01" in result.rules
    assert all(len(RULES.sources[name]) > 5 for name in result.rules)
    full = assessed(order(Item(BAG, "6000.00")))
    assert "tariff-cn/duty/420221/2026-01-01" in full.rules
    assert "cbec-retail-2019/within" not in full.rules


# Limits, each at its edge


def test_one_fen_over_the_single_limit_is_full_rate_for_one_piece_and_refused_for_several() -> None:
    assert str(assessed(order(Item(BAG, "5000.00"))).duty) == "0.00"
    assert str(assessed(order(Item(BAG, "5000.01"))).duty) == "300.00"
    for several in (
        order(Item(BAG, "5000.01", quantity="2")),
        order(Item(BAG, "5000.00"), Item(TOY, "0.01")),
    ):
        refusal = refused(several)
        assert (refusal.code, refusal.limit, refusal.value) == ("-621005", "5000.00", "5000.01")


def test_freight_counts_towards_the_single_limit() -> None:
    assert refused(order(Item(TOY, "4990.00", quantity="2"), freight="10.01")).code == "-621005"


def test_the_yearly_limit_includes_its_last_fen() -> None:
    assert assessed(order(Item(TOY, "700.00")), used="25300.00").total.minor
    refusal = refused(order(Item(TOY, "700.00")), used="25300.01")
    assert (refusal.code, refusal.limit, refusal.value) == ("1313", "26000.00", "26000.01")


def test_t12_used_25500_and_700_more_is_refused() -> None:
    assert refused(order(Item(TOY, "700.00")), used="25500.00").value == "26200.00"


def test_full_rate_counts_to_the_year_and_the_year_speaks_first() -> None:
    assert str(assessed(order(Item(BAG, "6000.00"))).counted) == "6000.00"
    assert refused(order(Item(BAG, "6000.00")), used="20000.01").code == "1313"
    assert refused(order(Item(BAG, "30000.00", quantity="2"))).code == "1313"


def test_limits_of_2016_are_their_own() -> None:
    assert assessed(order(Item(BAG, "2000.00", quantity="2")), IN_2016).regime == "cbec-retail-2016"


def test_in_2016_what_is_over_a_limit_is_taxed_in_full_and_beyond_the_year_counts_no_more() -> None:
    several = assessed(order(Item(BAG, "2000.01", quantity="2")), IN_2016)
    assert (str(several.duty), str(several.vat), str(several.counted)) == (
        "200.00",
        "374.00",
        "2000.01",
    )
    within, over = (
        assessed(order(Item(BAG, "100.00")), IN_2016, used=used)
        for used in ("19900.00", "19900.01")
    )
    assert (str(within.duty), str(within.vat), str(within.counted)) == ("0.00", "11.90", "100.00")
    assert (str(over.duty), str(over.vat), over.counted) == ("10.00", "18.70", None)


@pytest.mark.parametrize(
    ("content", "under", "at"),
    [
        ("20 g", "199.99", "200.00"),
        ("20 ml", "199.99", "200.00"),
        ("4 piece", "59.99", "60.00"),
        ("0.5 g", "4.99", "5.00"),
    ],
)
def test_cosmetics_are_taxed_from_the_threshold_of_their_net_content_on(
    content: str, under: str, at: str
) -> None:
    assert assessed(order(Item(CREAM, under, content=content))).consumption_tax.minor == 0
    assert assessed(order(Item(CREAM, at, content=content))).consumption_tax.minor > 0


def test_the_threshold_counts_all_units_of_the_line_and_its_freight() -> None:
    assert (
        assessed(order(Item(CREAM, "400.00", quantity="2", content="20 g"))).consumption_tax.minor
        > 0
    )
    assert (
        assessed(order(Item(CREAM, "399.99", quantity="2", content="20 g"))).consumption_tax.minor
        == 0
    )
    assert (
        assessed(
            order(Item(CREAM, "399.99", quantity="2", content="20 g"), freight="0.01")
        ).consumption_tax.minor
        > 0
    )


def test_watches_are_taxed_from_ten_thousand_each_on() -> None:
    assert assessed(order(Item(WATCH, "9999.99"))).consumption_tax.minor == 0
    assert assessed(order(Item(WATCH, "10000.00"))).consumption_tax.minor > 0


# Refusals


def test_a_cosmetic_without_net_content_is_refused_not_guessed() -> None:
    refusal = refused(order(Item(TOY, "1.00"), Item(CREAM, "425.00")))
    assert refusal.code == "net_content_missing"
    assert "line 2" in refusal.reason


@pytest.mark.parametrize("hs_code", ["0101210000", "9999999999", "330", "", "not-a-code"])
def test_a_heading_without_a_rate_is_refused_by_name(hs_code: str) -> None:
    refusal = refused(order(Item(hs_code, "10.00")))
    assert (refusal.code, refusal.value) == ("tariff_unknown", hs_code)


def test_a_longer_row_counts_even_where_it_says_less() -> None:
    assert (
        assessed(order(Item("3304990010", "10.00", content="50 g")), IN_2016).consumption_tax.minor
        == 0
    )
    assert assessed(order(Item(CREAM, "10.00")), IN_2016).consumption_tax.minor > 0


def test_full_rate_without_a_known_duty_is_refused_by_name() -> None:
    refusal = refused(order(Item("0802990000", "6000.00")))
    assert refusal.code == "tariff_unknown"
    assert "duty" in refusal.reason
    assert assessed(order(Item("0802990000", "60.00"))).vat.minor > 0


@pytest.mark.parametrize(
    ("what", "on"),
    [
        (order(Item(TOY, "1.00")), date(2012, 4, 14)),
        (order(Item(TOY, "1.00"), mode="9710"), TODAY),
        (order(Item(TOY, "1.00"), direction="export"), date(2013, 12, 31)),
    ],
)
def test_no_regime_in_force_is_said_and_not_guessed(what: Assessable, on: date) -> None:
    refusal = refused(what, on)
    assert refusal.code == "no_regime_in_force"
    assert f"no regime in force on {on}" in refusal.reason


def test_a_currency_without_a_rate_is_refused_by_name() -> None:
    refusal = refused(order(Item(TOY, "1.000"), currency="KWD"))
    assert (refusal.code, refusal.value) == ("rate_missing", "KWD")
    assert "KWD" in refusal.reason
    assert str(TODAY) in refusal.reason


def test_amounts_that_contradict_each_other_are_an_error() -> None:
    what = order(Item(TOY, "1.00"))
    with pytest.raises(ValueError, match="goods_value"):
        dutiable_values(replace(what, goods_value=Money.of("2.00", "CNY")))
    with pytest.raises(CurrencyMismatch):
        dutiable_values(replace(what, freight=Money.zero("USD")))


@pytest.mark.parametrize("mode", ["9610", "9710", "9810", "1210"])
def test_an_export_owes_nothing_in_any_currency_and_takes_no_quota(mode: str) -> None:
    result = assessed(
        order(Item("0101210000", "90000.00"), direction="export", mode=mode, currency="EUR"),
        used="26000.00",
    )
    assert (result.regime, str(result.total), result.counted) == ("cn-export-retail", "0.00", None)
    assert result.dutiable_value == Money.of("90000.00", "EUR")


@pytest.mark.parametrize(
    ("on", "vat"),
    [
        (date(2016, 4, 8), "119.00"), (date(2018, 4, 30), "119.00"), (date(2018, 5, 1), "112.00"), (date(2018, 12, 31), "112.00"),
        (date(2019, 1, 1), "112.00"), (date(2019, 3, 31), "112.00"), (date(2019, 4, 1), "91.00"), (date(2030, 1, 1), "91.00"),
    ],
)  # fmt: skip
def test_vat_is_that_of_the_day(on: date, vat: str) -> None:
    assert str(assessed(order(Item(TOY, "1000.00")), on).vat) == vat


def test_the_day_turns_at_beijing_midnight() -> None:
    assert beijing_date(datetime(2018, 12, 31, 15, 59, 59, tzinfo=UTC)) == date(2018, 12, 31)
    assert beijing_date(datetime(2018, 12, 31, 16, 0, 0, tzinfo=UTC)) == date(2019, 1, 1)


# Laws

prices = st.integers(min_value=0, max_value=100_000)
goods = st.sampled_from([TOY, CHERRIES, WINE, "6109100010"])


def _order(lines: list[tuple[str, int]], freight: int = 0) -> Assessable:
    items = [Item(hs, str(Decimal(minor).scaleb(-2)), quantity="2") for hs, minor in lines]
    return order(*items, freight=str(Decimal(freight).scaleb(-2)))


@given(goods, st.integers(min_value=0, max_value=499_999), st.integers(min_value=0, max_value=100))
def test_a_higher_price_never_owes_less(hs_code: str, minor: int, more: int) -> None:
    dearer = min(minor + more, 500_000)
    assert assessed(_order([(hs_code, minor)])).total <= assessed(_order([(hs_code, dearer)])).total


@given(
    st.lists(st.tuples(goods, prices), min_size=1, max_size=4),
    st.integers(min_value=0, max_value=50_000),
)
def test_the_order_of_lines_changes_nothing(lines: list[tuple[str, int]], freight: int) -> None:
    what = _order(lines, freight)
    backwards = replace(what, lines=what.lines[::-1])
    assert assessed(what).total == assessed(backwards).total
    assert sorted(assessed(what).lines) == sorted(assessed(backwards).lines)


@given(goods, prices, prices)
def test_splitting_a_line_changes_the_tax_by_less_than_its_rounding(
    hs_code: str, one: int, other: int
) -> None:
    whole = assessed(_order([(hs_code, one + other)])).total.minor
    parts = assessed(_order([(hs_code, one), (hs_code, other)])).total.minor
    # Two taxes, and in each two roundings against one: at most half a fen three times over.
    assert abs(whole - parts) <= 3


@given(
    st.lists(st.tuples(goods, prices), min_size=1, max_size=4),
    st.integers(min_value=0, max_value=50_000),
)
def test_lines_sum_to_the_head(lines: list[tuple[str, int]], freight: int) -> None:
    result = assessed(_order(lines, freight))
    assert (
        sum(line.dutiable_value for line in result.lines)
        == sum(minor for _, minor in lines) + freight
    )
    for tax in ("duty", "consumption_tax", "vat"):
        assert sum(getattr(line, tax) for line in result.lines) == getattr(result, tax).minor


def _combined(value: Decimal, d: Decimal, c: Decimal, v: Decimal, share: Decimal) -> Decimal:
    """The tax of a value by the one combined rate (d + c + v + dv) / (1 - c), written apart from the code under test."""
    return ((d + c + v + d * v) / (1 - c) * share * value).quantize(Decimal("0.01"), ROUND_HALF_UP)


RATES = {
    TOY: ("0", "0.13"),
    CHERRIES: ("0", "0.09"),
    WINE: ("0.10", "0.13"),
    "6109100010": ("0", "0.13"),
}


@given(goods, st.integers(min_value=0, max_value=500_000))
def test_the_reduced_tax_agrees_with_the_combined_rate(hs_code: str, minor: int) -> None:
    c, v = (Decimal(rate) for rate in RATES[hs_code])
    expected = _combined(Decimal(minor) / 100, Decimal(0), c, v, Decimal("0.7"))
    assert abs(assessed(_order([(hs_code, minor)])).total.major - expected) <= Decimal("0.01")


@given(
    st.sampled_from([(BAG, "0.06", "0", "0.13"), (WINE, "0.14", "0.10", "0.13")]),
    st.integers(500_001, 2_600_000),
)
def test_the_full_tax_agrees_with_the_combined_rate(
    row: tuple[str, str, str, str], minor: int
) -> None:
    hs_code, *rates = row
    d, c, v = (Decimal(rate) for rate in rates)
    what = order(Item(hs_code, str(Decimal(minor).scaleb(-2))))
    result = assessed(what)
    assert isinstance(result, Assessment)
    assert abs(
        result.total.major - _combined(Decimal(minor) / 100, d, c, v, Decimal(1))
    ) <= Decimal("0.02")
