"""Imports into China by mode and day: which regime holds, what it takes, and what it owes, on both sides of every turn."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from services.tax.domain.assessment import Assessable, Assessment, Refusal, assess
from services.tax.rulebook.book import Rulebook
from services.tax.rulebook.exchange import Exchange, ExchangeRates, RateMissing
from services.tax.rulebook.files import RULES as FOLDER
from services.tax.rulebook.files import load
from services.tax.rulebook.rows import RuleFault
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
    assessed,
    cny,
    order,
    refused,
    taxes,
)

LIPSTICK, PERFUME, PHONE, SHIRT, RICE, SUGAR = (
    "3304100000",
    "3303000020",
    "8517130000",
    "6109100010",
    "1006309000",
    "1701999000",
)
NAPPIES, SUIT, MACADAMIA = "9619001100", "6203110000", "0802620000"
IN_2015 = date(2015, 11, 23)


def day(text: str) -> date:
    return date.fromisoformat(text)


@pytest.mark.parametrize(
    ("mode", "on", "regime"),
    [
        ("9610", "2012-04-15", "parcel-tax-2012"), ("9610", "2016-04-07", "parcel-tax-2012"), ("9610", "2016-04-08", "cbec-retail-2016"),
        ("1210", "2016-04-07", "parcel-tax-2012"), ("1210", "2016-04-08", "cbec-retail-2016"), ("1239", "2018-12-31", "cbec-retail-2016"),
        ("9610", "2018-12-31", "cbec-retail-2016"), ("9610", "2019-01-01", "cbec-retail-2019"), ("9610", "2026-11-23", "cbec-retail-2019"),
        ("personal", "2016-04-07", "parcel-tax-2012"), ("personal", "2016-04-08", "parcel-tax-2016"),
        ("personal", "2018-10-31", "parcel-tax-2016"), ("personal", "2018-11-01", "parcel-tax-2018"),
        ("personal", "2019-04-08", "parcel-tax-2018"), ("personal", "2019-04-09", "parcel-tax-2019"),
        ("0110", "2015-01-01", "cn-general-trade"), ("0110", "2026-11-23", "cn-general-trade"),
    ],
)  # fmt: skip
def test_mode_and_day_choose_the_regime(mode: str, on: str, regime: str) -> None:
    assert assessed(order(Item(PHONE, "10.00"), mode=mode), day(on)).regime == regime


@pytest.mark.parametrize(
    ("hs", "total", "on", "vat"),
    [
        (TOY, "1000.00", "2018-04-30", "119.00"), (TOY, "1000.00", "2018-05-01", "112.00"), (TOY, "1000.00", "2019-03-31", "112.00"),
        (TOY, "1000.00", "2019-04-01", "91.00"), (CHERRIES, "300.00", "2016-04-16", "27.30"), (CHERRIES, "300.00", "2017-06-30", "27.30"),
        (CHERRIES, "300.00", "2017-07-01", "23.10"), (CHERRIES, "300.00", "2018-04-30", "23.10"),
        (CHERRIES, "300.00", "2018-05-01", "21.00"), (CHERRIES, "300.00", "2019-03-31", "21.00"),
        (CHERRIES, "300.00", "2019-04-01", "18.90"),
    ],
)  # fmt: skip
def test_vat_is_that_of_the_day(hs: str, total: str, on: str, vat: str) -> None:
    assert taxes(assessed(order(Item(hs, total)), day(on))) == ("0.00", "0.00", vat)


@pytest.mark.parametrize(
    ("hs", "content", "on", "expected"),
    [
        # 30 % on all of them, and no threshold, until the end of September 2016.
        (LIPSTICK, None, "2016-09-30", ("0.00", "30.00", "17.00")), (CREAM, None, "2016-09-30", ("0.00", "30.00", "17.00")),
        # 15 % of what costs 10 yuan a gram or 15 a piece from October on; below that, none.
        (LIPSTICK, "10 g", "2016-10-01", ("0.00", "12.35", "14.00")), (LIPSTICK, "10.01 g", "2016-10-01", ("0.00", "0.00", "11.90")),
        (PERFUME, "10 ml", "2019-04-01", ("0.00", "12.35", "10.71")), (PERFUME, "30 ml", "2019-04-01", ("0.00", "0.00", "9.10")),
        (CREAM, "6 piece", "2026-11-23", ("0.00", "12.35", "10.71")), (CREAM, "7 piece", "2026-11-23", ("0.00", "0.00", "9.10")),
        (WINE, None, "2016-04-08", ("0.00", "7.78", "13.22")), (WINE, None, "2018-05-01", ("0.00", "7.78", "12.44")),
        (WINE, None, "2026-11-23", ("0.00", "7.78", "10.11")),
    ],
)  # fmt: skip
def test_consumption_tax_of_a_hundred_yuan_is_that_of_the_day_and_the_net_content(
    hs: str, content: str | None, on: str, expected: tuple[str, str, str]
) -> None:
    assert taxes(assessed(order(Item(hs, "100.00", content=content)), day(on))) == expected


def test_net_content_is_of_one_unit_and_the_line_has_its_quantity_of_them() -> None:
    assert (
        assessed(order(Item(CREAM, "200.00", quantity="2", content="10 g"))).consumption_tax.minor
        > 0
    )
    assert (
        assessed(order(Item(CREAM, "199.99", quantity="2", content="10 g"))).consumption_tax.minor
        == 0
    )
    assert (
        assessed(order(Item(CREAM, "90.00", quantity="3", content="2 piece"))).consumption_tax.minor
        > 0
    )


def test_a_mixed_basket_is_the_sum_of_its_lines() -> None:
    basket = [
        Item(CREAM, "425.00", content="20 g"),
        Item(CHERRIES, "300.00"),
        Item(WINE, "1000.00"),
        Item(TOY, "0.05"),
    ]
    whole = assessed(order(*basket))
    alone = [assessed(order(item)) for item in basket]
    assert taxes(whole) == ("0.00", "130.28", "165.51")
    assert whole.total.minor == sum(each.total.minor for each in alone)


# Parcel tax


@pytest.mark.parametrize(
    ("on", "hs", "rate"),
    [
        *[("2015-11-23", hs, rate) for hs, rate in ((CHERRIES, "0.10"), (TOY, "0.10"), (BAG, "0.10"), ("6402990000", "0.10"))],
        *[("2015-11-23", hs, rate) for hs, rate in ((SHIRT, "0.20"), ("8510100000", "0.20"), (WATCH, "0.20"), (WINE, "0.50"))],
        ("2015-11-23", CREAM, "0.50"),
        *[("2016-04-08", hs, rate) for hs, rate in ((CHERRIES, "0.15"), (TOY, "0.15"), (BAG, "0.30"), (SHIRT, "0.30"), (WINE, "0.60"))],
        *[("2018-11-01", hs, rate) for hs, rate in ((CHERRIES, "0.15"), (PHONE, "0.15"), (BAG, "0.25"), (SHIRT, "0.25"), (WINE, "0.50"))],
        *[("2026-11-23", hs, rate) for hs, rate in ((CHERRIES, "0.13"), (PHONE, "0.13"), (BAG, "0.20"), (SHIRT, "0.20"), (WINE, "0.50"))],
    ],
)  # fmt: skip
def test_the_parcel_tax_of_a_class_is_that_of_the_day(on: str, hs: str, rate: str) -> None:
    result = assessed(order(Item(hs, "900.00"), mode="personal"), day(on))
    assert result.parcel_tax.major == 900 * Decimal(rate)
    assert taxes(result) == ("0.00", "0.00", "0.00")
    assert result.payable == result.total == result.parcel_tax
    assert result.counted is None, "a parcel is not counted to the year"


def test_p1_tax_of_fifty_yuan_is_waived_and_a_fen_more_is_due_in_full() -> None:
    at = assessed(order(Item(CHERRIES, "500.00")), IN_2015)
    over = assessed(order(Item(CHERRIES, "501.00")), IN_2015)
    assert (str(at.parcel_tax), str(at.payable)) == ("50.00", "0.00")
    assert (str(over.parcel_tax), str(over.payable)) == ("50.10", "50.10")
    assert "parcel-tax-2012/waiver" in at.rules
    assert str(assessed(order(Item(CHERRIES, "500.04")), IN_2015).payable) == "0.00"
    assert str(assessed(order(Item(CHERRIES, "500.05")), IN_2015).payable) == "50.01"


@pytest.mark.parametrize(
    ("sent_from", "limit"),
    [("US", "1000.00"), (None, "1000.00"), ("HK", "800.00"), ("MO", "800.00"), ("TW", "800.00")],
)
def test_a_parcel_of_several_pieces_is_limited_by_where_it_comes_from(
    sent_from: str | None, limit: str
) -> None:
    fen = cny(limit).minor
    inside = order(Item(SHIRT, str(Money(fen, "CNY")), quantity="2"), sent_from=sent_from)
    assert assessed(inside, IN_2015).payable.minor == fen // 5
    refusal = refused(
        order(Item(SHIRT, str(Money(fen + 1, "CNY")), quantity="2"), sent_from=sent_from), IN_2015
    )
    assert (refusal.code, refusal.limit, refusal.value) == (
        "parcel_over_limit",
        limit,
        str(Money(fen + 1, "CNY")),
    )
    assert any("/limit/" in name for name in refusal.rules)


@pytest.mark.parametrize("sent_from", ["US", "HK", "MO", "TW", None])
def test_since_december_2024_one_limit_of_2000_holds_for_what_comes_in_from_anywhere(
    sent_from: str | None,
) -> None:
    """GACC 2024 No. 176 art. 1 with 税委会公告2024年第11号 art. 6(2); formula infant milk owes 13 %."""
    milk, first = "1901101000", date(2024, 12, 1)
    before, since = (
        order(Item(milk, total, quantity="2"), mode="personal", sent_from=sent_from)
        for total in ("1000.01", "2000.00")
    )
    assert refused(before, first - timedelta(days=1)).code == "parcel_over_limit"
    found = assessed(since, first)
    assert (found.regime, str(found.payable)) == ("parcel-tax-2024", "260.00")
    over = order(Item(milk, "2000.01", quantity="2"), mode="personal", sent_from=sent_from)
    assert refused(over, first).limit == "2000.00"
    assert any(rule == "parcel-tax-2024/limit/other" for rule in found.rules)


def test_fresh_fruit_came_with_the_second_positive_list() -> None:
    """2016 No. 40 has dried fruit only; No. 47 held from 16 April 2016."""
    cherries = order(Item(CHERRIES, "300.00"))
    assert refused(cherries, date(2016, 4, 15)).code == "not_on_positive_list"
    assert str(assessed(cherries, date(2016, 4, 16)).payable) == "27.30"


def test_one_indivisible_piece_may_be_worth_more_than_the_limit_of_a_parcel() -> None:
    assert str(assessed(order(Item(BAG, "3000.00")), IN_2015).payable) == "300.00"
    assert (
        refused(order(Item(BAG, "3000.00"), Item(TOY, "0.00")), IN_2015).code == "parcel_over_limit"
    )


def test_the_year_does_not_limit_parcels() -> None:
    assert assessed(order(Item(TOY, "900.00")), IN_2015, used="99999.00").payable == cny("90.00")


def test_watches_are_dear_from_ten_thousand_yuan_on_in_a_parcel_too() -> None:
    rates = [
        assessed(order(Item(WATCH, total)), IN_2015).parcel_tax for total in ("9999.99", "10000.00")
    ]
    assert [str(tax) for tax in rates] == ["2000.00", "3000.00"]
    today = [
        assessed(order(Item(WATCH, total), mode="personal")).parcel_tax
        for total in ("9999.99", "10000.00")
    ]
    assert [str(tax) for tax in today] == ["2000.00", "5000.00"]


def test_cosmetics_in_a_parcel_are_of_the_third_class_only_where_they_owe_consumption_tax() -> None:
    cheap, dear = (
        assessed(order(Item(CREAM, "100.00", content=content), mode="personal"))
        for content in ("50 g", "5 g")
    )
    assert (str(cheap.parcel_tax), str(dear.parcel_tax)) == ("20.00", "50.00")
    assert refused(order(Item(CREAM, "100.00"), mode="personal")).code == "net_content_missing"
    assert "tariff-cn/consumption/skin-care/2016-10-01" in dear.rules


def test_each_line_of_a_parcel_is_rounded_and_freight_is_part_of_its_value() -> None:
    result = assessed(
        order(Item(CHERRIES, "333.33"), Item(SHIRT, "333.33"), freight="10.01"), IN_2015
    )
    assert [line.parcel_tax for line in result.lines] == [3383, 6767]
    assert sum(line.parcel_tax for line in result.lines) == result.total.minor


def test_goods_without_a_class_are_refused_by_name() -> None:
    assert refused(order(Item("4901990000", "10.00"), mode="personal")).code == "tariff_unknown"


@pytest.mark.parametrize(
    ("mode", "hs", "on", "ten"),
    [
        # Skin care owed no consumption tax before October 2016 by one code of ten digits alone, and 30 % by the others.
        ("9610", "330499", "2016-08-20", "3304990029"), ("personal", "33049900", "2016-08-20", "3304990029"),
        # The duty of 8517.69 and 8517.70 is another than that of telephones.
        ("0110", "8517", "2026-11-20", "8517130000"),
    ],
)  # fmt: skip
def test_a_code_that_is_too_short_for_its_rate_is_refused_by_name(
    mode: str, hs: str, on: str, ten: str
) -> None:
    told = refused(order(Item(hs, "900.00"), mode=mode), day(on))
    assert (told.code, told.limit, told.value) == ("tariff_unknown", "ten digits", hs)
    assert f"HS code {hs} of line 1 is too short" in told.reason
    assert assessed(order(Item(ten, "900.00"), mode=mode), day(on)).total.minor > 0


@pytest.mark.parametrize(
    ("mode", "hs"),
    [
        ("9610", "8517"),
        ("9610", "9102"),
        ("personal", "9102"),
        ("personal", "6109"),
        ("0110", "851713"),
    ],
)
def test_a_short_code_whose_goods_all_owe_the_same_is_assessed(mode: str, hs: str) -> None:
    assert assessed(order(Item(hs, "900.00"), mode=mode)).total.minor > 0


# General trade, and what a refusal says of it


def test_t9_wine_of_a_thousand_at_the_full_rates_of_2016() -> None:
    result = assessed(order(Item(WINE, "1000.00"), mode="0110"), date(2016, 5, 7))
    assert (taxes(result), str(result.total)) == (("140.00", "126.67", "215.33"), "482.00")
    assert result.counted is None


def test_a_tickets_small_duty_is_waived_in_general_trade() -> None:
    at, over = (assessed(order(Item(BAG, total), mode="0110")) for total in ("833.33", "833.50"))
    assert (str(at.duty), str(at.payable)) == ("50.00", str(at.vat))
    assert (str(over.duty), over.payable) == ("50.01", over.total)


@pytest.mark.parametrize(
    ("what", "used"),
    [
        (order(Item(BAG, "700.00")), "25500.00"), (order(Item(BAG, "3000.00"), Item(BAG, "3000.00")), "0.00"),
    ],
)  # fmt: skip
def test_a_refusal_over_a_limit_says_what_general_trade_would_owe(
    what: Assessable, used: str
) -> None:
    refusal = refused(what, used=used)
    general = assess(
        order(*[Item(line.hs_code, str(line.total)) for line in what.lines], mode="0110"),
        TODAY,
        cny(0),
        RULES,
    )
    assert isinstance(general, Assessment)
    assert refusal.fallback is not None
    assert (refusal.fallback.total, refusal.fallback.payable) == (general.total, general.payable)


@pytest.mark.parametrize(
    ("hs", "on", "duty"),
    [
        (LIPSTICK, "2017-11-30", "300.00"), (LIPSTICK, "2017-12-01", "150.00"), (LIPSTICK, "2018-07-01", "150.00"),
        (CREAM, "2015-05-31", "150.00"), (CREAM, "2015-06-01", "60.00"), (CREAM, "2016-10-01", "60.00"), (CREAM, "2018-07-01", "30.00"),
        (NAPPIES, "2015-05-31", "225.00"), (NAPPIES, "2017-11-30", "60.00"), (NAPPIES, "2017-12-01", "0.00"),
        (SUIT, "2015-05-31", "525.00"), (SUIT, "2017-11-30", "300.00"), (SUIT, "2018-01-01", "150.00"), (SUIT, "2018-07-01", "150.00"),
        (SUIT, "2020-01-01", "240.00"), (MACADAMIA, "2016-05-07", "570.00"), (MACADAMIA, "2017-11-30", "570.00"),
        (MACADAMIA, "2018-06-30", "360.00"),
    ],
)  # fmt: skip
def test_a_duty_is_that_of_the_day(hs: str, on: str, duty: str) -> None:
    assert (
        str(assessed(order(Item(hs, "3000.00", content="10 g"), mode="0110"), day(on)).duty) == duty
    )


LISTED = (
    *(
        "0802110000",
        "0809290000",
        "0813100000",
        "1806310000",
        "1901101090",
        "2106909090",
        "2204210000",
        "3303000020",
        "3304990029",
    ),
    *(
        "3305100090",
        "3306109000",
        "3307300000",
        "3401300010",
        "3924100000",
        "4202210090",
        "6109100010",
        "6110200090",
        "6203424090",
    ),
    *(
        "6204620000",
        "6402990000",
        "6403911190",
        "6404199000",
        "8509409000",
        "8510100000",
        "8517130000",
        "9004100000",
        "9101290090",
    ),
    *("9102210090", "9503008900", "9619002000"),
)
GROWN = ("0802", "0809", "0813")
VAT_BY_LAW = (
    ("2015-01-01", "0.17", "0.13"), ("2017-07-01", "0.17", "0.11"), ("2018-05-01", "0.16", "0.10"), ("2019-04-01", "0.13", "0.09"),
)  # fmt: skip
TURNS = ("2015-06-01", "2016-01-01", "2016-04-08", "2016-10-01", "2017-06-30", "2017-07-01", "2017-11-30", "2017-12-01", "2018-01-01",
         "2018-04-30", "2018-05-01", "2018-06-30", "2018-07-01", "2018-11-01", "2018-12-31", "2019-01-01", "2019-03-31", "2019-04-01",
         "2019-04-09", "2019-07-01", "2020-01-01", "2022-03-01", "2023-06-01", "2025-12-31", "2026-01-01", "2026-11-23")  # fmt: skip


def fen_of(amount: Decimal) -> Money:
    return cny(str(amount.quantize(Decimal("0.01"), ROUND_HALF_UP)))


@pytest.mark.parametrize("on", TURNS)
@pytest.mark.parametrize("hs", LISTED)
def test_a_listed_heading_owes_by_the_law_of_the_day_or_is_refused_by_name(
    hs: str, on: str
) -> None:
    """Worked out from the rates of the day, not by the code under test."""
    _, standard, grown = max(row for row in VAT_BY_LAW if row[0] <= on)
    vat = Decimal(grown if hs.startswith(GROWN) else standard)
    what = Item(hs, "1000.00", content="500 g")
    within = assess(order(what), day(on), cny(0), RULES)
    if (hs[:4], on) == ("0809", "2016-04-08"):
        assert isinstance(within, Refusal)
        assert within.code == "not_on_positive_list"
        return
    assert isinstance(within, Assessment), within
    if on >= "2016-04-08":
        c = {"2204": Decimal("0.10"), "3303": Decimal("0.30"), "3304": Decimal("0.30")}.get(
            hs[:4], Decimal(0)
        )
        c = c if hs.startswith("2204") or on < "2016-10-01" else Decimal(0)
        base = Decimal(1000) / (1 - c)
        assert (within.duty.minor, within.vat) == (0, fen_of(base * vat * Decimal("0.7")))
        assert within.consumption_tax == fen_of(base * c * Decimal("0.7"))
    assert isinstance(assess(order(what, mode="personal"), day(on), cny(0), RULES), Assessment)
    full = assess(order(what, mode="0110"), day(on), cny(0), RULES)
    if isinstance(full, Refusal):
        assert (full.code, full.value) == ("tariff_unknown", hs)
        assert hs in full.reason
        assert on in full.reason
    else:
        assert any("/duty/" in name for name in full.rules)
        assert all(name in RULES.sources for name in full.rules)


def full_rate(hs: str, total: str, on: date) -> Assessment | Refusal:
    return assess(order(Item(hs, total, content="500 g"), mode="0110"), on, cny(0), RULES)


def code_of(hs: str) -> str:
    """A code of ten digits that this prefix of the tariff speaks for, and no longer one."""
    prefixes = {row.hs for row in RULES.tariff.heading}
    codes = (hs.ljust(10, digit) for digit in "0987654321")
    return next(
        code for code in codes if max((p for p in prefixes if code.startswith(p)), key=len) == hs
    )


@pytest.mark.parametrize(
    "hs", sorted({row.hs for row in RULES.tariff.heading if row.hs[:4] not in ("1006", "1701")})
)
def test_every_prefix_owes_its_duty_from_first_to_last_day_and_is_refused_by_name_before(
    hs: str,
) -> None:
    duties = [duty for row in RULES.tariff.heading if row.hs == hs for duty in row.duty]
    code = code_of(hs)
    for duty in duties:
        for on in (duty.valid_from, duty.valid_to or TODAY):
            owed = full_rate(code, "10000.00", on)
            assert isinstance(owed, Assessment), owed
            assert owed.duty == fen_of(10000 * duty.rate), on
    before = (
        [min(duty.valid_from for duty in duties) - timedelta(days=1)]
        if duties
        else [day(on) for on in TURNS]
    )
    for on in before:
        refusal = full_rate(code, "10000.00", on)
        if on >= day("2015-01-01"):
            assert isinstance(refusal, Refusal), refusal
            assert (refusal.code, refusal.value) == ("tariff_unknown", code)


@pytest.mark.parametrize(
    ("hs", "value", "on", "mode", "expected"),
    [
        # One piece over 2,000 in the retail import of 2016, taxed in full: duty d % of V; VAT 17 % of V + duty.
        ("6204410000", "3000.00", "2016-05-07", "9610", ("480.00", "0.00", "591.60")),  # 16 %; 17 % of 3,480
        ("6403990090", "2500.00", "2017-03-15", "9610", ("250.00", "0.00", "467.50")),  # 10 %; 17 % of 2,750
        ("4202129000", "2500.00", "2016-05-07", "9610", ("250.00", "0.00", "467.50")),  # 10 % since January 2016
        ("9004100000", "2100.00", "2016-05-07", "9610", ("126.00", "0.00", "378.42")),  # 6 %; 17 % of 2,226
        ("6402990000", "2200.00", "2017-03-15", "1210", ("528.00", "0.00", "463.76")),  # 24 %; 17 % of 2,728
        ("9102210090", "9000.00", "2016-05-07", "9610", ("990.00", "0.00", "1698.30")),  # 11 %; below 10,000; 17 % of 9,990
        # Consumption tax c is part of its own base, (V + duty) / (1 - c).
        ("9101290090", "20000.00", "2017-03-15", "9610", ("3000.00", "5750.00", "4887.50")),  # 15 %; 20 % of 28,750; 17 % of it
        ("3303000020", "2400.00", "2016-05-07", "9610", ("240.00", "1131.43", "641.14")),  # 10 %; 30 % and 17 % of 3,771.43
        # General trade.
        ("0802110000", "1000.00", "2016-05-07", "0110", ("100.00", "0.00", "143.00")),  # 10 %; 13 % of 1,100
        ("0809290000", "1000.00", "2017-07-01", "0110", ("100.00", "0.00", "121.00")),  # 10 %; 11 % of 1,100
        ("9503008900", "1000.00", "2015-06-01", "0110", ("0.00", "0.00", "170.00")),
        ("1806310000", "1000.00", "2017-03-15", "0110", ("80.00", "0.00", "183.60")),  # 8 %; 17 % of 1,080
        ("6109100010", "1000.00", "2016-05-07", "0110", ("140.00", "0.00", "193.80")),  # 14 %; 17 % of 1,140
    ],
)  # fmt: skip
def test_full_rates_of_2015_to_2017_worked_out_by_hand(
    hs: str, value: str, on: str, mode: str, expected: tuple[str, str, str]
) -> None:
    assert taxes(assessed(order(Item(hs, value, content="10 ml"), mode=mode), day(on))) == expected


@pytest.mark.parametrize("hs", LISTED)
def test_a_piece_of_each_listed_heading_has_its_full_rate_today(hs: str) -> None:
    assert any(
        "/duty/" in name for name in assessed(order(Item(hs, "6000.00", content="10 g"))).rules
    )


@pytest.mark.parametrize(
    ("hs", "on", "percent"),
    [
        ("0802110000", "2016-05-07", "10"), ("0802110000", "2025-12-31", "10"), ("0802520000", "2026-11-23", "5"),
        ("0802619000", "2024-06-01", "12"), ("0802611000", "2026-01-01", "0"), ("0813401000", "2026-01-01", "20"),
        ("0813403000", "2026-01-01", "25"), ("3305100090", "2025-12-31", "2"), ("3305100090", "2026-01-01", "3"),
        ("3307200000", "2026-01-01", "3"), ("4202111090", "2026-01-01", "8"), ("4202119090", "2026-01-01", "6"),
        ("4202290000", "2026-01-01", "10"), ("4202920000", "2026-01-01", "6"), ("6109909060", "2026-01-01", "6"),
        ("6110120011", "2026-01-01", "6"), ("6203330000", "2026-01-01", "12"), ("6203439049", "2026-01-01", "12"),
        ("6204630000", "2026-01-01", "12"), ("6204440090", "2020-01-01", "6"), ("6403990090", "2018-07-01", "8"),
        ("6403400010", "2026-01-01", "14"), ("9101290090", "2026-01-01", "8"), ("9101990000", "2026-01-01", "15"),
        ("9619002000", "2026-01-01", "2"), ("9619009000", "2026-01-01", "6"),
        # What July 2018 cut, on both sides, and what lines of one heading owed apart.
        ("6109909060", "2018-06-30", "14"), ("6109909060", "2018-07-01", "6"), ("6110120011", "2018-07-01", "5"),
        ("6110110000", "2017-06-01", "14"), ("6110300090", "2017-06-01", "16"), ("6203330000", "2018-06-30", "17.5"),
        ("6203330000", "2018-07-01", "12"), ("6204510000", "2018-06-30", "14"), ("6402990000", "2018-06-30", "24"),
        ("6402990000", "2018-07-01", "10"), ("6402120000", "2018-07-01", "4"), ("6402910000", "2015-05-31", "24"),
        ("6402910000", "2015-06-01", "12"), ("6404110000", "2018-06-30", "12"), ("6404199000", "2018-06-30", "24"),
        ("6403400010", "2018-06-30", "24"), ("6403990090", "2018-06-30", "10"), ("9101110000", "2018-06-30", "11"),
        ("9101191000", "2018-06-30", "16"), ("9101910000", "2018-06-30", "15"), ("9102120000", "2018-06-30", "23"),
        ("9102110000", "2018-06-30", "12.5"), ("9102110000", "2018-07-01", "10"), ("3924100000", "2018-06-30", "10"),
        ("3924100000", "2018-07-01", "6.5"), ("1806320000", "2026-11-23", "10"), ("2106909090", "2018-06-30", "20"),
        # What December 2017 and January 2016 cut, and November 2018.
        ("3303000020", "2017-11-30", "10"), ("3303000020", "2017-12-01", "5"), ("3303000020", "2018-07-01", "3"),
        ("3305200000", "2017-11-30", "15"), ("3305900000", "2017-11-30", "10"), ("3305200000", "2026-11-23", "3"),
        ("3305100090", "2018-07-01", "2"), ("3306101000", "2017-11-30", "10"), ("4202111090", "2015-12-31", "15"),
        ("4202111090", "2016-01-01", "10"), ("4202111090", "2018-07-01", "8"), ("9004100000", "2015-12-31", "20"),
        ("9004100000", "2016-01-01", "6"), ("9004100000", "2026-01-01", "7"), ("9004909000", "2018-07-01", "7"),
        ("8510900000", "2018-10-31", "12"), ("8510900000", "2018-11-01", "8"), ("8510200000", "2018-06-30", "15"),
        ("8509800000", "2018-07-01", "8"), ("8509409000", "2018-07-01", "6"), ("1901101090", "2016-05-07", "5"),
    ],
)  # fmt: skip
def test_the_duty_of_a_piece_is_that_of_the_longest_prefix_on_the_day(
    hs: str, on: str, percent: str
) -> None:
    assert assessed(order(Item(hs, "10000.00", content="500 g"), mode="0110"), day(on)).duty == cny(
        str(Decimal(percent) * 100)
    )


@pytest.mark.parametrize(
    ("hs", "on"),
    [
        ("0802420000", "2025-12-31"), ("0802110000", "2015-12-31"), ("8510100000", "2017-12-31"), ("6204110000", "2017-12-31"),
        ("3401300010", "2017-12-31"), ("2106901000", "2026-11-23"), ("8517690000", "2026-11-23"), ("6403120000", "2026-11-23"),
        ("3307410000", "2026-11-23"),
    ],
)  # fmt: skip
def test_a_duty_that_was_not_found_is_refused_by_name(hs: str, on: str) -> None:
    refusal = refused(order(Item(hs, "10000.00"), mode="0110"), day(on))
    assert (refusal.code, refusal.value) == ("tariff_unknown", hs)


def test_a_refusal_for_another_reason_than_a_limit_says_nothing_of_general_trade() -> None:
    assert refused(order(Item(CREAM, "425.00"))).fallback is None
    assert refused(order(Item("0802990000", "6000.00", quantity="2"))).fallback is None, (
        "no duty is known"
    )


# The positive list


def test_goods_whose_place_on_the_list_is_unknown_are_refused_by_name() -> None:
    found = rules_with(positive={"hs": '"9503"', "to": '"9504"'})
    refusal = assess(order(Item(TOY, "10.00")), TODAY, cny(0), found)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.value) == ("positive_list_unknown", TOY)
    assert "positive-list-cn" in refusal.limit


@pytest.mark.parametrize(
    ("was", "now", "code"),
    [
        ("listed = true", "listed = false", "not_on_positive_list"),
        ("listed = true", 'listed = true\nmodes = ["1210"]', "mode_not_on_positive_list"),
    ],
)
def test_the_notes_of_the_list_are_kept(was: str, now: str, code: str) -> None:
    found = rules_with(positive={"hs": f'hs = "9503"\n{was}', "to": f'hs = "9503"\n{now}'})
    refusal = assess(order(Item(TOY, "10.00")), TODAY, cny(0), found)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    bonded = assess(order(Item(TOY, "10.00"), mode="1210"), TODAY, cny(0), found)
    assert isinstance(bonded, Assessment) == (code == "mode_not_on_positive_list")


@pytest.mark.parametrize(
    ("kilograms", "used", "inside"),
    [
        ("20", {}, True),
        ("20.001", {}, False),
        ("5", {"1006": "15"}, True),
        ("5", {"1006": "15.5"}, False),
        ("20", {"1701": "2"}, True),
    ],
)
def test_a_person_may_buy_so_many_kilograms_a_year(
    kilograms: str, used: Mapping[str, str], inside: bool
) -> None:
    what = order(Item(RICE, "100.00", weight=kilograms))
    result = assess(what, TODAY, cny(0), RULES, {hs: Decimal(kg) for hs, kg in used.items()})
    assert isinstance(result, Assessment) == inside
    if isinstance(result, Refusal):
        assert (result.code, result.limit) == ("weight_over_yearly", "20 kg")


def test_lines_of_the_same_goods_weigh_together_and_a_missing_weight_is_named() -> None:
    assert (
        refused(order(Item(SUGAR, "10.00", weight="1.5"), Item(SUGAR, "10.00", weight="0.6"))).code
        == "weight_over_yearly"
    )
    assert refused(order(Item(SUGAR, "10.00"))).code == "net_weight_missing"


def rules_with(positive: Mapping[str, str]) -> Rulebook:
    """The rules of the release with one text of the positive list exchanged."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(shutil.copytree(FOLDER, Path(name) / "rules"))
        path = folder / "positive-list-cn.toml"
        text = path.read_text(encoding="utf-8")
        assert positive["hs"] in text
        path.write_text(text.replace(positive["hs"], positive["to"], 1), encoding="utf-8")
        return load(folder)


# Exchange rates


def rates(**per_100: str) -> Exchange:
    period = {
        "valid_from": day("2026-11-01"),
        "valid_to": day("2026-11-30"),
        "per_100": per_100,
        "source": "test",
    }
    shape = {
        "kind": "exchange-rates",
        "id": "rates-cny",
        "version": 1,
        "to": "CNY",
        "source": "test",
        "period": [period],
    }
    return Exchange(ExchangeRates.model_validate(shape))


@pytest.mark.parametrize(
    ("currency", "per_100", "amount", "expected"),
    [
        ("USD", "712.34", "10.00", "71.23"), ("USD", "712.35", "10.00", "71.24"), ("JPY", "4.6789", "1200", "56.15"),
        ("JPY", "4.5", "1", "0.05"), ("KRW", "0.5036", "99", "0.50"), ("KWD", "2315.67", "1.005", "23.27"),
        ("KWD", "2300", "0.001", "0.02"),
    ],
)  # fmt: skip
def test_amounts_of_any_number_of_decimals_are_converted_half_up(
    currency: str, per_100: str, amount: str, expected: str
) -> None:
    exchange = rates(**{currency: per_100})
    assert str(exchange.rate(currency, TODAY).convert(Money.of(amount, currency))) == expected


@pytest.mark.parametrize(
    ("currency", "on"), [("USD", "2026-10-31"), ("USD", "2026-12-01"), ("EUR", "2026-11-23")]
)
def test_a_missing_rate_names_currency_and_day(currency: str, on: str) -> None:
    with pytest.raises(RateMissing, match=f"{currency} to CNY is known for {on}"):
        rates(USD="700").rate(currency, day(on))


def test_rates_of_overlapping_days_are_refused() -> None:
    found = rates(USD="700").rates
    assert found is not None
    with pytest.raises(RuleFault, match="overlaps"):
        Exchange(found.model_copy(update={"period": found.period * 2}))


def test_an_order_in_another_currency_is_assessed_in_cny_at_the_rate_of_its_day() -> None:
    result = assessed(order(Item(TOY, "100.00"), freight="10.00", currency="USD"), TODAY)
    november, october = (RULES.exchange.rate("USD", on) for on in (TODAY, day("2026-10-31")))
    expected = november.convert(Money.of("100.00", "USD")) + november.convert(
        Money.of("10.00", "USD")
    )
    assert result.dutiable_value == expected
    assert november.rule in result.rules
    assert (
        assessed(
            order(Item(TOY, "100.00"), freight="10.00", currency="USD"), day("2026-10-31")
        ).dutiable_value
        != expected
    )
    assert october.rule != november.rule


@pytest.mark.parametrize(
    ("currency", "amount"), [("JPY", "1500"), ("KRW", "12000"), ("BHD", "4.250"), ("USD", "10.00")]
)
def test_released_rates_hold_currencies_of_no_two_and_three_decimals(
    currency: str, amount: str
) -> None:
    result = assessed(order(Item(TOY, amount), currency=currency))
    assert result.total.currency == "CNY"
    assert cny("50.00") < result.dutiable_value < cny("80.00")


def test_limits_of_an_order_in_another_currency_are_counted_in_cny() -> None:
    assert refused(order(Item(TOY, "200000", quantity="2"), currency="JPY")).code == "-621005"
    assert assessed(order(Item(TOY, "100000", quantity="2"), currency="JPY")).counted is not None
