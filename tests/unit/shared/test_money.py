"""Money adds up, to the minor unit, in every currency."""

import operator
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.money import EXPONENTS, CurrencyMismatch, Money, MoneyError, share_by_largest_remainder

WIRE = TypeAdapter(Money)
currencies = st.sampled_from(sorted(EXPONENTS))


@given(st.integers(-(10**15), 10**15), currencies)
def test_wire_form_reads_back_as_the_same_amount(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    assert WIRE.validate_json(WIRE.dump_json(money)) == money


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("425.00", "CNY", 42500),
        ("425", "CNY", 42500),
        ("425", "JPY", 425),
        ("4.250", "KWD", 4250),
        ("-0.01", "EUR", -1),
    ],
)
def test_major_units_become_minor_units_exactly(amount: str, currency: str, minor: int) -> None:
    assert Money.of(amount, currency).minor == minor


@pytest.mark.parametrize(
    "amount", ["1.001", "NaN", "Infinity", "1e400", "", "abc", "99999999999999999999"]
)
def test_what_is_not_an_amount_of_the_currency_is_refused(amount: str) -> None:
    with pytest.raises(MoneyError):
        Money.of(amount, "CNY")


def test_a_json_number_is_not_money() -> None:
    with pytest.raises(ValidationError):
        WIRE.validate_json('{"amount": 425.0, "currency": "CNY"}')


def test_unknown_currency_is_refused_by_name() -> None:
    with pytest.raises(MoneyError, match="XXX"):
        Money(1, "XXX")


def test_amounts_of_two_currencies_do_not_add_or_compare() -> None:
    for do in (operator.add, operator.sub, operator.lt, operator.ge):
        with pytest.raises(CurrencyMismatch):
            do(Money(1, "CNY"), Money(1, "USD"))
    with pytest.raises(CurrencyMismatch):
        Money.total([Money(1, "CNY"), Money(1, "USD")], "CNY")


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, 10**9), min_size=1, max_size=99))
def test_shares_sum_to_the_whole_and_are_within_one_of_the_exact_part(
    whole: int, weights: list[int]
) -> None:
    parts = share_by_largest_remainder(whole, weights)
    assert sum(parts) == whole
    total = sum(weights)
    if total:
        assert all(
            abs(Decimal(part) - Decimal(whole) * weight / total) < 1
            for part, weight in zip(parts, weights, strict=True)
        )


def test_freight_of_ten_over_three_equal_lines_gives_the_first_the_odd_fen() -> None:
    assert [str(part) for part in Money.of("10.00", "CNY").share([3333, 3333, 3333])] == [
        "3.34",
        "3.33",
        "3.33",
    ]


@pytest.mark.parametrize(
    ("minor", "factor", "expected"), [(100, "0.005", 1), (100, "0.004", 0), (-100, "0.005", -1)]
)
def test_half_a_minor_unit_rounds_away_from_zero(minor: int, factor: str, expected: int) -> None:
    assert Money(minor, "CNY").times(Decimal(factor)).minor == expected


@pytest.mark.parametrize(
    "text",
    [
        "1e3", "1E3", "1_000", "１２", "٣", "1.２", " 1", "1 ", "1\n", "+1", ".5", ".50", "5.", "1,000", "", "-",
        "--1", "0x1", "NaN", "Infinity", "1" * 31, "1.00\u200b", "−1", "²",
    ],
)  # fmt: skip
def test_an_amount_is_digits_and_a_point(text: str) -> None:
    with pytest.raises(MoneyError):
        Money.of(text, "JPY")
    with pytest.raises(ValidationError):
        TypeAdapter(Money).validate_python({"amount": text, "currency": "CNY"})


@pytest.mark.parametrize(
    ("text", "minor"),
    [("0", 0), ("12", 1200), ("12.3", 1230), ("12.30", 1230), ("12.30000", 1230), ("-1.05", -105)],
)
def test_and_nothing_less_is_read_than_before(text: str, minor: int) -> None:
    assert Money.of(text, "CNY") == Money(minor, "CNY")
