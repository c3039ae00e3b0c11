"""Landed cost: the published thresholds to the cent and to the day, who collects, and no guess where nothing is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tax.landed.calculation import ShippedLine
from services.tax.landed.domain import Consignment, Landed, UnknownCost, landed_cost
from services.tax.landed.files import load_destinations
from shared.money import Money
from tests.unit.tax.orders import RULES

DESTINATIONS = load_destinations()
TEE, PHONE, TOY, WINE, JUMPER = "6109100021", "8517130000", "9503008900", "2204210000", "6110200099"
EURO = {"RU": "EUR", "BY": "EUR", "KZ": "EUR", "GB": "GBP", "US": "USD", "AU": "AUD", "NZ": "NZD"}
JULY = date(2026, 7, 1)


def line(total: str, currency: str, *, hs: str = TEE, no: int = 1, origin: str = "CN", kg: str = "1", pieces: str = "1",
         duty: str | None = None, vat: str | None = None) -> ShippedLine:  # fmt: skip
    rates = [None if rate is None else Decimal(rate) for rate in (duty, vat)]
    return ShippedLine(
        no, hs, origin, Decimal(pieces), Money.of(total, currency), Decimal(kg), rates[0], rates[1]
    )


def parcel(country: str, *lines: ShippedLine, freight: str = "0", channel: str | None = None, earlier: str | None = None,
           earlier_kg: str = "0", ioss: str | None = None) -> Consignment:  # fmt: skip
    currency = lines[0].total.currency
    before = None if earlier is None else Money.of(earlier, currency)
    return Consignment(
        country,
        currency,
        lines,
        Money.of(freight, currency),
        Money.zero(currency),
        channel,
        ioss,
        before,
        Decimal(earlier_kg),
    )


def to(country: str, total: str, on: date, **more: str) -> Landed | UnknownCost:
    """One line of T-shirts worth so much in the corridor's own currency."""
    own = {
        name: more.pop(name)
        for name in ("hs", "origin", "kg", "pieces", "duty", "vat")
        if name in more
    }
    currency = EURO.get(country, "EUR")
    return landed_cost(
        parcel(country, line(total, currency, **own), **more),  # type: ignore[arg-type]
        on,
        DESTINATIONS,
        RULES.exchange.rates,
    )


def known(result: Landed | UnknownCost) -> Landed:
    assert isinstance(result, Landed), result
    return result


def unknown(result: Landed | UnknownCost) -> UnknownCost:
    assert isinstance(result, UnknownCost), result
    return result


def sums(result: Landed | UnknownCost) -> tuple[str, str, str]:
    found = known(result)
    return str(found.sum_of("duty")), str(found.sum_of("vat")), str(found.total)


@pytest.mark.parametrize(
    ("on", "total", "kg", "duty"),
    [
        # 2015: EUR 1,000 and 31 kg a month, 30 % over, at least EUR 4 a kilogram over
        (date(2015, 1, 1), "1000.00", "31", "0.00"),
        (date(2015, 1, 1), "1000.10", "31", "0.03"),
        (date(2015, 1, 1), "100.00", "32", "4.00"),
        (date(2018, 12, 31), "1000.00", "1", "0.00"),
        (date(2019, 1, 1), "1000.00", "1", "150.00"),
        (date(2019, 1, 1), "500.00", "31", "0.00"),
        (date(2019, 12, 31), "600.00", "41", "40.00"),
        (date(2020, 1, 1), "500.00", "1", "45.00"),
        (date(2020, 1, 1), "200.00", "31", "0.00"),
        (date(2020, 1, 1), "300.00", "41", "20.00"),
        (date(2022, 3, 30), "1000.00", "1", "120.00"),
        (date(2022, 3, 31), "1000.00", "31", "0.00"),
        (date(2022, 3, 31), "1100.00", "1", "15.00"),
        (date(2024, 3, 31), "1000.00", "1", "0.00"),
        (date(2024, 4, 1), "1000.00", "1", "120.00"),
        (date(2026, 6, 30), "200.01", "1", "0.00"),
        (date(2026, 6, 30), "300.00", "1", "15.00"),
        # July 2026: up to EUR 200 free, above it 5 % of the whole price, at least EUR 1 a kilogram
        (JULY, "200.00", "40", "0.00"),
        (JULY, "200.20", "1", "10.01"),
        (JULY, "300.00", "20", "20.00"),
    ],
)
def test_russia_charges_by_date_value_and_weight(on: date, total: str, kg: str, duty: str) -> None:
    assert str(known(to("RU", total, on, kg=kg)).sum_of("duty")) == duty


def test_from_july_2026_national_vat_comes_on_top_over_200_euro() -> None:
    assert sums(to("BY", "300.00", JULY)) == ("15.00", "63.00", "378.00")
    assert sums(to("BY", "200.00", JULY)) == ("0.00", "0.00", "200.00")
    assert {owed.collector for owed in known(to("BY", "300.00", JULY)).charges} == {"operator"}


def test_the_month_counts_what_came_earlier_until_2019_and_the_parcel_alone_after() -> None:
    assert sums(to("RU", "300.00", date(2019, 5, 1), earlier="400.00"))[0] == "60.00"
    assert sums(to("RU", "300.00", date(2019, 5, 1), earlier="600.00"))[0] == "90.00"
    assert sums(to("RU", "150.00", date(2020, 5, 1), earlier="600.00"))[0] == "0.00"


def test_russias_vat_of_2027_is_a_bill_and_not_guessed() -> None:
    refused = unknown(to("RU", "100.00", date(2027, 1, 1)))
    assert refused.code == "rule_unknown"
    assert "bill" in refused.reason
    assert sums(to("KZ", "300.00", date(2027, 1, 1))) == ("15.00", "50.40", "365.40")


def test_a_local_total_is_told_where_a_rate_is_known_or_given() -> None:
    told = known(
        landed_cost(
            parcel("RU", line("300", "EUR")),
            JULY,
            DESTINATIONS,
            RULES.exchange.rates,
            {"RUB": Decimal("0.01")},
        )
    )
    assert (str(told.total), told.local) == ("384.30", Money.of("38430.00", "RUB"))
    silent = known(to("RU", "300.00", JULY))
    assert silent.local is None
    assert any("RUB" in notice for notice in silent.notices)


@pytest.mark.parametrize(
    ("goods", "freight", "expected"),
    [
        # AEAT manual: intrinsic value without separately shown transport
        ([("140", TEE)], "0", ("H7", "C07", "F48")),
        ([("140", TEE)], "15", ("H7", "C07", "F48")),
        ([("120", TEE), ("20", JUMPER)], "15", ("H7", "C07", "F48")),
        ([("160", TEE)], "0", ("H1",)),
        ([("150.00", TEE)], "15", ("H7", "C07", "F48")),
        ([("150.01", TEE)], "0", ("H1",)),
    ],
)
def test_h7_by_the_intrinsic_value(
    goods: list[tuple[str, str]], freight: str, expected: tuple[str, ...]
) -> None:
    lines = [line(total, "EUR", hs=hs, no=i) for i, (total, hs) in enumerate(goods, 1)]
    asked = parcel("ES", *lines, freight=freight, channel="ioss")
    assert known(landed_cost(asked, date(2025, 5, 1), DESTINATIONS, None)).declaration == expected


@pytest.mark.parametrize(
    ("channel", "total", "codes", "collector"),
    [
        ("ioss", "130", ("H7", "C07", "F48"), "ioss-seller"),
        ("special-arrangement", "130", ("H7", "C07", "F49"), "carrier"),
        ("ordinary", "130", ("H7", "C07"), "importer"),
        ("private", "45", ("H7", "C08"), "nobody"),
    ],
)
def test_procedure_codes_and_collector_by_channel(
    channel: str, total: str, codes: tuple[str, ...], collector: str
) -> None:
    found = known(to("DE", total, date(2025, 5, 1), channel=channel))
    assert found.declaration == codes
    assert {owed.collector for owed in found.charges if owed.kind == "vat"} == {collector}


def test_an_ioss_number_means_its_channel_and_is_checked() -> None:
    assert known(to("DE", "130", date(2025, 5, 1), ioss="IM3720000224")).channel == "ioss"
    assert unknown(to("DE", "130", date(2025, 5, 1), ioss="IM372")).code == "ioss_malformed"


UNION = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL",
    "PT", "RO", "SE", "SI", "SK",
]  # fmt: skip


@pytest.mark.parametrize(
    ("on", "vats"),
    [
        # the Commission's list of standard rates, as of these days
        (
            date(2023, 5, 1),
            "20 21 20 19 21 19 25 20 21 24 20 24 25 27 23 22 21 16 21 18 21 23 23 19 25 22 20",
        ),
        (
            date(2025, 9, 1),
            "20 21 20 19 21 19 25 24 21 25.5 20 24 25 27 23 22 21 17 21 18 21 23 23 21 25 22 23",
        ),
    ],
)
def test_vat_of_all_member_states(on: date, vats: str) -> None:
    found = {
        country: Decimal(sums(to(country, "100.00", on, channel="ioss"))[1]) for country in UNION
    }
    assert found == dict(zip(UNION, map(Decimal, vats.split()), strict=True))


@pytest.mark.parametrize(
    ("country", "day", "before", "since"),
    [
        ("DE", date(2020, 7, 1), "19", "16"), ("DE", date(2021, 1, 1), "16", "19"),
        ("EE", date(2024, 1, 1), "20", "22"), ("EE", date(2025, 7, 1), "22", "24"),
        ("FI", date(2024, 9, 1), "24", "25.5"), ("GR", date(2016, 6, 1), "23", "24"),
        ("IE", date(2020, 9, 1), "23", "21"), ("IE", date(2021, 3, 1), "21", "23"),
        ("LU", date(2023, 1, 1), "17", "16"), ("LU", date(2024, 1, 1), "16", "17"),
        ("RO", date(2016, 1, 1), "24", "20"), ("RO", date(2017, 1, 1), "20", "19"), ("RO", date(2025, 8, 1), "19", "21"),
        ("SK", date(2025, 1, 1), "20", "23"),
    ],
)  # fmt: skip
def test_a_member_states_vat_changes_on_its_day(
    country: str, day: date, before: str, since: str
) -> None:
    told = [Decimal(sums(to(country, "100.00", on))[1]) for on in (day - timedelta(days=1), day)]
    assert told == [Decimal(before), Decimal(since)]


def test_every_member_state_has_a_vat_on_every_day() -> None:
    days = [date(2015, 1, 1) + timedelta(days=n) for n in range(0, 4400, 5)]
    union = next(d for d in DESTINATIONS if d.id == "dest-eu")
    assert sorted(union.countries) == UNION
    assert {(country, on) for country in UNION for on in days} == {
        (row.country, on) for row in union.vat for on in days if row.is_on(on)
    }


def test_goods_that_may_owe_less_are_refused_and_children_are_told_of() -> None:
    for country, hs in (
        ("IE", "6111200000"),
        ("LU", "6209200000"),
        ("SK", "9619000011"),
        ("GR", "1806900000"),
        ("DK", "4901990000"),
    ):
        assert unknown(to(country, "100.00", date(2025, 5, 1), hs=hs)).code == "vat_unknown", (
            country
        )
    # Denmark has one rate for food and all else.
    assert sums(to("DK", "100.00", date(2025, 5, 1), hs="1806900000"))[1] == "25.00"
    assert any(
        "children's clothing" in notice
        for notice in known(to("IE", "100.00", date(2025, 5, 1))).notices
    )


def test_a_member_state_without_a_rate_and_a_reduced_chapter_are_refused() -> None:
    silent = [
        d.model_copy(update={"vat": tuple(row for row in d.vat if row.country != "AT")})
        for d in DESTINATIONS
    ]
    refused = unknown(
        landed_cost(parcel("AT", line("100.00", "EUR")), date(2025, 5, 1), silent, None)
    )
    assert (refused.code, refused.reason) == (
        "rule_unknown",
        "the VAT of AT on 2025-05-01 is not known",
    )
    refused = unknown(to("DE", "100.00", date(2025, 5, 1), hs="4901990000"))
    assert (refused.code, refused.ask) == ("vat_unknown", "give vat_rate in the line")
    assert sums(to("DE", "100.00", date(2025, 5, 1), hs="4901990000", vat="0.07"))[1] == "7.00"


@pytest.mark.parametrize(
    ("on", "total", "duty", "vat"),
    [
        (date(2021, 6, 30), "22.00", "0.00", "0.00"),
        (date(2021, 6, 30), "22.01", "0.00", "4.18"),
        (date(2021, 7, 1), "22.00", "0.00", "4.18"),
        (date(2026, 6, 30), "150.00", "0.00", "28.50"),
        (date(2026, 6, 30), "150.01", "18.00", "31.92"),
        (date(2026, 7, 1), "150.00", "3.00", "29.07"),
        (date(2026, 7, 1), "150.01", "18.00", "31.92"),
        (date(2028, 6, 30), "150.00", "3.00", "29.07"),
        (date(2020, 7, 1), "100.00", "0.00", "16.00"),
    ],
)
def test_the_union_by_date_and_value(on: date, total: str, duty: str, vat: str) -> None:
    assert sums(to("DE", total, on))[:2] == (duty, vat)


def test_three_euro_are_owed_by_tariff_subheading_not_by_piece_or_line() -> None:
    lines = (
        line("20", "EUR", pieces="5"),
        line("30", "EUR", hs="6109100022", no=2),
        line("40", "EUR", hs=PHONE, no=3),
    )
    found = known(landed_cost(parcel("DE", *lines, channel="ioss"), JULY, DESTINATIONS, None))
    assert str(found.sum_of("duty")) == "6.00"
    assert [owed.status for owed in found.charges if owed.kind == "duty"] == ["settled"]


@pytest.mark.parametrize("channel", ["ioss", "special-arrangement", "ordinary"])
def test_what_was_settled_in_june_2026_is_no_longer_disputed(channel: str) -> None:
    """Commission guidance notes of 2 June 2026: all distance sales whatever the VAT scheme, and VAT on the duty."""
    found = known(to("DE", "100.00", JULY, channel=channel))
    assert sums(found) == ("3.00", "19.57", "122.57")
    assert {owed.status for owed in found.charges} == {"settled"}
    assert not any(notice.startswith("disputed") for notice in found.notices)


PERFUME = "3303000000"


def test_perfume_is_outside_the_reliefs_until_they_end() -> None:
    """Regulation (EC) 1186/2009 art. 24(b): duty by the tariff and H1 at any value; Directive 2009/132/EC art. 24: VAT below EUR 22 too."""
    found = known(to("DE", "100.00", date(2025, 5, 1), hs=PERFUME, channel="ioss"))
    assert (sums(found), found.declaration) == (("0.00", "19.00", "119.00"), ("H1",))
    dear = known(to("DE", "100.00", date(2025, 5, 1), hs=PERFUME, duty="0.10"))
    assert sums(dear)[0] == "10.00"
    assert sums(to("DE", "20.00", date(2018, 5, 1)))[1] == "0.00"
    assert sums(to("DE", "20.00", date(2018, 5, 1), hs=PERFUME))[1] == "3.80"
    mixed = parcel(
        "DE", line("10.00", "EUR"), line("10.00", "EUR", hs=PERFUME, no=2), channel="ioss"
    )
    assert known(landed_cost(mixed, date(2025, 5, 1), DESTINATIONS, None)).declaration == ("H1",)
    assert (
        unknown(to("DE", "20.00", date(2025, 5, 1), hs=PERFUME, channel="private")).code
        == "rule_unknown"
    )
    assert known(to("DE", "100.00", JULY, hs=PERFUME, channel="ioss")).declaration == ("H7", "F48")


def test_romanias_fee_is_in_its_own_currency_and_of_half_a_year() -> None:
    """Law 239/2025: 25 RON a parcel up to EUR 150, January to June 2026, when the Union's flat duty began."""
    days = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 6, 30), JULY]
    rates = {"RON": Decimal("0.2")}
    paid = [
        known(landed_cost(parcel("RO", line("50", "EUR")), day, DESTINATIONS, None, rates)).sum_of(
            "fee"
        )
        for day in days
    ]
    assert [str(amount) for amount in paid] == ["0.00", "5.00", "5.00", "0.00"]
    assert (
        str(
            known(
                landed_cost(parcel("RO", line("150.01", "EUR")), days[1], DESTINATIONS, None, rates)
            ).sum_of("fee")
        )
        == "0.00"
    )
    assert (
        unknown(landed_cost(parcel("RO", line("50", "EUR")), days[1], DESTINATIONS, None)).code
        == "rate_missing"
    )
    # crossed at the day's rate: 25 RON at 5.09 to the euro
    assert str(known(to("RO", "50.00", date(2026, 2, 15), channel="ioss")).sum_of("fee")) == "4.91"


def test_national_handling_fees_hold_in_their_time_only() -> None:
    fees = [
        str(known(to("FR", "100.00", day)).sum_of("fee"))
        for day in (date(2026, 2, 28), date(2026, 3, 1), date(2026, 11, 1))
    ]
    assert fees == ["0.00", "2.00", "0.00"]
    turns = [
        date(2025, 12, 31),
        date(2026, 1, 1),
        date(2026, 4, 1),
        date(2026, 9, 30),
        date(2026, 10, 1),
    ]
    assert [str(known(to("IT", "100.00", day)).sum_of("fee")) for day in turns] == [
        "0.00",
        "2.00",
        "0.00",
        "0.00",
        "2.00",
    ]
    assert str(known(to("FR", "150.01", date(2026, 3, 1))).sum_of("fee")) == "0.00"


def test_a_fee_or_a_duty_that_is_unknown_is_refused_and_not_charged() -> None:
    """A file may say of any rule that it is not known; its number stands for nothing then."""
    eu = next(found for found in DESTINATIONS if found.id == "dest-eu")

    def told(**changed: object) -> UnknownCost:
        other = eu.model_copy(update=changed)
        other._lists = eu._lists
        return unknown(
            landed_cost(
                parcel("FR", line("200.00", "EUR")), date(2026, 5, 1), [other], RULES.exchange.rates
            )
        )

    unsure = {"status": "unknown", "note": "nobody knows"}
    fees = tuple(fee.model_copy(update={**unsure, "at_most": Decimal(500)}) for fee in eu.fee)
    duties = tuple(row.model_copy(update=unsure) for row in eu.tariff)
    for refused in (told(fee=fees), told(tariff=duties)):
        assert (refused.code, "nobody knows" in refused.reason) == ("rule_unknown", True)


def test_after_the_flat_duty_nothing_is_guessed() -> None:
    refused = unknown(to("DE", "100.00", date(2028, 7, 1)))
    assert refused.code == "corridor_unknown"
    assert "rule file of dest-eu" in refused.ask


@pytest.mark.parametrize(
    ("country", "on", "total", "duty", "vat", "collector"),
    [
        ("GB", date(2026, 11, 1), "135.00", "0.00", "27.00", "seller"),
        ("GB", date(2026, 11, 1), "135.01", "16.20", "30.24", "importer"),
        ("GB", date(2021, 1, 1), "135.00", "0.00", "27.00", "seller"),
        ("AU", date(2018, 6, 30), "1000.00", "0.00", "0.00", "nobody"),
        ("AU", date(2018, 7, 1), "1000.00", "0.00", "100.00", "seller"),
        ("AU", date(2018, 7, 1), "1000.01", "50.00", "105.00", "importer"),
        ("NZ", date(2019, 12, 1), "1000.00", "0.00", "150.00", "seller"),
        ("NZ", date(2019, 12, 1), "1000.01", "100.00", "165.00", "importer"),
    ],
)
def test_thresholds_are_inside_themselves(
    country: str, on: date, total: str, duty: str, vat: str, collector: str
) -> None:
    found = known(to(country, total, on))
    assert sums(found)[:2] == (duty, vat)
    assert [owed.collector for owed in found.charges if owed.kind == "vat"] == [collector]


@pytest.mark.parametrize(
    ("country", "on"), [("GB", date(2020, 12, 31)), ("GB", date(2029, 4, 1)), ("NZ", date(2019, 11, 30)), ("BR", JULY)],
)  # fmt: skip
def test_an_unknown_corridor_refuses_and_asks_for_a_rule_file(country: str, on: date) -> None:
    refused = unknown(to(country, "100.00", on))
    assert refused.code == "corridor_unknown"
    assert "rule file" in refused.ask


def test_new_zealand_goes_by_the_good_and_not_by_the_parcel() -> None:
    lines = (line("1800.00", "NZD", pieces="2", hs=PHONE), line("1200.00", "NZD", no=2, hs=PHONE))
    found = known(landed_cost(parcel("NZ", *lines), date(2026, 1, 1), DESTINATIONS, None))
    by_whom = {
        owed.collector: (str(owed.amount), owed.lines)
        for owed in found.charges
        if owed.kind == "vat"
    }
    assert by_whom == {"seller": ("270.00", (1,)), "importer": ("180.00", (2,))}


def test_new_zealand_takes_gst_on_the_duty_at_the_border() -> None:
    """customs.govt.nz, 12 July 2019: the seller's GST is on the goods, 'GST will still be payable on any duty at the border'."""
    found = known(to("NZ", "1200.00", date(2025, 10, 1), pieces="2"))
    assert sums(found) == ("120.00", "198.00", "1518.00")
    by_whom = {owed.collector: str(owed.amount) for owed in found.charges if owed.kind == "vat"}
    assert by_whom == {"seller": "180.00", "importer": "18.00"}
    # a dear piece: the GST at the border holds the duty once
    assert sums(to("NZ", "1200.00", date(2025, 10, 1)))[1] == "198.00"


def test_new_zealands_levy_is_told_with_its_gst() -> None:
    """Goods management levy NZD 2.21 a low-value air consignment from 1 April 2026, and 15 % on it."""
    fees = [str(known(to("NZ", total, on)).sum_of("fee")) for total, on in (
        ("100.00", date(2026, 3, 31)), ("100.00", date(2026, 4, 1)), ("1000.00", date(2026, 4, 1)), ("1000.01", date(2026, 4, 1)),
    )]  # fmt: skip
    assert fees == ["0.00", "2.54", "2.54", "0.00"]


def test_a_seller_below_the_register_limit_collects_nothing() -> None:
    assert sums(to("AU", "1000.00", JULY, channel="unregistered"))[1] == "0.00"
    assert sums(to("AU", "1000.01", JULY, channel="unregistered"))[1] == "105.00"


@pytest.mark.parametrize(
    ("on", "channel", "total", "charged"),
    [
        (date(2016, 3, 9), "express", "200.00", "0.00"),
        (date(2016, 3, 9), "express", "200.01", "33.00"),
        (date(2016, 3, 10), "express", "800.00", "0.00"),
        (date(2025, 5, 1), "express", "800.00", "0.00"),
        (date(2025, 2, 3), "express", "800.01", "192.00"),
        (date(2025, 5, 2), "express", "100.00", "169.00"),
        (date(2025, 5, 2), "postal-ad-valorem", "100.00", "120.00"),
        (date(2025, 5, 13), "postal-specific", "10.00", "100.00"),
        (date(2025, 5, 14), "postal-ad-valorem", "100.00", "54.00"),
        (date(2025, 8, 28), "express", "100.00", "54.00"),
        (date(2025, 8, 29), "express", "100.00", "54.00"),
        (date(2025, 8, 29), "postal-specific", "100.00", "200.00"),
        (date(2025, 11, 10), "postal-specific", "100.00", "160.00"),
        (date(2025, 11, 10), "postal-ad-valorem", "100.00", "20.00"),
        (date(2026, 2, 24), "postal-ad-valorem", "100.00", "10.00"),
        (date(2026, 7, 23), "express", "100.00", "34.00"),
    ],
)
def test_the_united_states_before_and_after_de_minimis(
    on: date, channel: str, total: str, charged: str
) -> None:
    found = known(to("US", total, on, channel=channel))
    assert str(Money.total((owed.amount for owed in found.charges), "USD")) == charged


def test_de_minimis_ended_for_china_first() -> None:
    day = date(2025, 5, 2)
    assert str(known(to("US", "800.00", day, origin="VN")).total) == "800.00"
    mixed = parcel("US", line("100.00", "USD"), line("100.00", "USD", no=2, origin="VN"))
    charges = known(landed_cost(mixed, day, DESTINATIONS, None)).charges
    assert {(owed.kind, owed.lines, str(owed.amount)) for owed in charges if owed.amount.minor} == {
        ("duty", (1,), "24.00"), ("surcharge", (1,), "20.00"), ("surcharge", (1,), "125.00"),
    }  # fmt: skip


def test_a_country_rate_that_is_not_held_is_refused_not_taken_as_none() -> None:
    refused = unknown(to("US", "100.00", date(2025, 9, 1), origin="VN"))
    assert refused.code == "rule_unknown"


@pytest.mark.parametrize(
    ("on", "phone", "toy"),
    [
        (date(2025, 2, 6), "0.10", "0.10"), (date(2025, 3, 3), "0.10", "0.10"), (date(2025, 3, 4), "0.20", "0.20"),
        (date(2025, 4, 4), "0.20", "0.20"), (date(2025, 4, 5), "0.20", "0.30"), (date(2025, 4, 8), "0.20", "0.30"),
        (date(2025, 4, 9), "0.20", "1.04"), (date(2025, 4, 10), "0.20", "1.45"), (date(2025, 5, 1), "0.20", "1.45"),
    ],
)  # fmt: skip
def test_over_de_minimis_china_owed_what_spring_2025_decreed(
    on: date, phone: str, toy: str
) -> None:
    """Executive Orders 14195, 14228, 14257, 14259 and 14266; telephones outside the reciprocal duty from 5 April 2025."""
    for hs, rate in ((PHONE, phone), (TOY, toy)):
        assert known(to("US", "1000.00", on, hs=hs)).sum_of("surcharge") == Money.of(
            "1000.00", "USD"
        ).times(Decimal(rate)), hs
        assert str(known(to("US", "800.00", on, hs=hs)).total) == "800.00"
    other = to("US", "800.01", on, hs=PHONE, origin="VN")
    assert (
        unknown(other).code == "rule_unknown"
        if on >= date(2025, 4, 5)
        else known(other).total == Money.of("800.01", "USD")
    )


def test_what_leaves_in_bulk_and_a_code_without_subheading_are_refused() -> None:
    bulk = replace(parcel("DE", line("100.00", "EUR")), mode="9810")
    assert unknown(landed_cost(bulk, JULY, DESTINATIONS, None)).code == "mode_not_covered"
    assert unknown(to("DE", "100.00", JULY, hs="6109")).code == "subheading_missing"
    assert sums(to("DE", "100.00", date(2025, 5, 1), hs="6109"))[1] == "19.00"


def test_goods_worth_nothing_carry_their_freight() -> None:
    found = known(
        landed_cost(
            parcel("GB", line("0", "GBP"), line("0", "GBP", no=2), freight="5.00"),
            JULY,
            DESTINATIONS,
            None,
        )
    )
    assert sums(found) == ("0.00", "1.00", "6.00")


def test_the_persons_day_counts_towards_de_minimis() -> None:
    assert str(known(to("US", "300.00", date(2020, 5, 1), earlier="500.00")).total) == "300.00"
    assert (
        str(known(to("US", "300.00", date(2020, 5, 1), earlier="500.01")).sum_of("duty")) == "72.00"
    )


def test_the_surcharge_of_2026_was_ten_percent() -> None:
    found = known(to("US", "100.00", date(2026, 3, 1)))
    assert {owed.kind: (str(owed.amount), owed.status) for owed in found.charges} == {
        "duty": ("24.00", "settled"), "surcharge": ("10.00", "settled"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("on", "phone", "tee"),
    [
        # duty and surcharges on 500 of telephones and of T-shirts from China; duty of T-shirts 16.5 + 7.5 %
        (date(2025, 5, 2), "100.00", "845.00"), (date(2025, 5, 14), "100.00", "270.00"), (date(2025, 8, 29), "100.00", "270.00"),
        (date(2025, 11, 10), "50.00", "220.00"), (date(2026, 2, 24), "0.00", "170.00"), (date(2026, 7, 23), "0.00", "170.00"),
        (date(2026, 7, 24), "0.00", "182.50"),
    ],
)  # fmt: skip
def test_telephones_are_outside_the_reciprocal_duty(on: date, phone: str, tee: str) -> None:
    """CBP CSMS 64724565, Presidential Memorandum of 11 April 2025; Annex II of the proclamation of 20 February 2026."""
    for hs, charged in ((PHONE, phone), (TEE, tee)):
        found = known(to("US", "500.00", on, hs=hs))
        assert str(found.sum_of("duty") + found.sum_of("surcharge")) == charged, hs


def test_of_listed_chips_every_code_below_the_prefix_counts_and_of_toys_none() -> None:
    for hs, charged in (
        ("8542310045", "0.20"),
        ("8471300100", "0.20"),
        ("8517130000", "0.20"),
        (TOY, "1.45"),
        ("8517180050", "1.45"),
    ):
        found = known(to("US", "100.00", date(2025, 5, 5), hs=hs, duty="0"))
        assert found.sum_of("surcharge").minor == int(Decimal(charged) * 10000), hs


@pytest.mark.parametrize(
    "hs",
    ["851713", "85171300", "8517629900", "8517621000", "8523511000", "8528521100", "8541100000", "8541490000", "8541491000",
     "8471300000", "8473309000", "8542"],
)  # fmt: skip
def test_listed_goods_are_told_by_the_six_digits_that_all_countries_share(hs: str) -> None:
    """CSMS 64724565 names lines of eight digits; an order from China has China's own digits after six, or six alone."""
    assert (
        known(to("US", "500.00", date(2025, 5, 5), hs=hs, duty="0")).sum_of("surcharge").minor
        == 10000
    )


def test_a_code_that_does_not_tell_its_list_is_refused_where_it_matters() -> None:
    for hs in ("8517", "8541"):
        refused = unknown(to("US", "500.00", date(2025, 5, 5), hs=hs, duty="0"))
        assert (refused.code, refused.ask) == ("subheading_missing", "give ten digits")
        assert (
            f"HS code {hs} of line 1 does not tell whether the list us-electronics has it"
            in refused.reason
        )
    assert (
        known(to("US", "500.00", date(2025, 4, 9), hs="8517", duty="0")).sum_of("surcharge").minor
        == 0
    )
    assert (
        known(to("US", "500.00", date(2025, 5, 5), hs="8518", duty="0")).sum_of("surcharge").minor
        == 72500
    )


def test_a_list_or_a_duty_by_a_countrys_own_digits_is_not_guessed_from_the_exporters() -> None:
    """A file may name eight digits; China's 8541.49.00.00 is one of several such lines."""
    us = next(found for found in DESTINATIONS if found.id == "dest-us")
    listed = us.lists["us-electronics"]
    eight = listed.model_copy(
        update={"goods": (listed.goods[0].model_copy(update={"hs": "85414910"}),)}
    )
    strict = us.with_lists({"us-electronics": eight})
    on = date(2025, 5, 5)

    def asked(hs: str) -> Landed | UnknownCost:
        return landed_cost(
            parcel("US", line("500.00", "USD", hs=hs, duty="0")), on, [strict], RULES.exchange.rates
        )

    assert known(asked("8541491000")).sum_of("surcharge").minor == 10000
    assert known(asked("8541500000")).sum_of("surcharge").minor == 72500
    assert "list the goods by six digits" in unknown(asked("8541490000")).ask
    rows = (
        us.tariff[0].model_copy(update={"hs": "61091000", "rate": Decimal("0.5"), "origins": ()}),
        *us.tariff,
    )
    dearer = us.model_copy(update={"tariff": rows})
    dearer._lists = us._lists
    six = parcel("US", line("500.00", "USD", hs="610910", origin="VN"))
    refused = unknown(landed_cost(six, date(2026, 7, 24), [dearer], RULES.exchange.rates))
    assert "it owes 16.5 % as HS 610910 or 50 % as HS 61091000" in refused.reason


def test_a_short_code_that_may_owe_a_reduced_vat_is_refused() -> None:
    assert unknown(to("DE", "20.00", date(2026, 5, 1), hs="9004")).code == "vat_unknown"
    assert sums(to("DE", "20.00", date(2026, 5, 1), hs="900410"))[1] == "3.80"


def test_what_is_charged_by_weight_asks_for_it() -> None:
    for on in (date(2015, 1, 1), date(2019, 1, 1), date(2025, 1, 1), JULY):
        refused = unknown(to("RU", "300.00", on, kg="0"))
        assert (refused.code, refused.ask) == (
            "net_weight_missing",
            "give net_weight_kg in the line",
        )
    assert sums(to("DE", "20.00", date(2026, 5, 1), kg="0"))[1] == "3.80"


@pytest.mark.parametrize(
    ("hs", "first"),
    [
        # A book owes none of the additional duties (50 U.S.C. 1702(b)); a pan owes Section 232's; coffee none since November 2025.
        ("4901990000", date(2025, 2, 4)), ("4901990000", date(2025, 5, 2)), ("3004909099", date(2025, 5, 2)),
        ("7323930000", date(2025, 8, 29)), ("0901210000", date(2025, 11, 14)), ("9401610000", date(2026, 3, 1)),
        ("4901990000", date(2026, 8, 1)),
    ],
)  # fmt: skip
def test_goods_that_the_orders_leave_out_by_lists_not_held_are_refused(
    hs: str, first: date
) -> None:
    refused = unknown(to("US", "50.00", first, hs=hs, duty="0"))
    assert refused.code == "goods_not_covered"
    assert "by lists that are not held" in refused.reason


def test_those_goods_are_free_where_de_minimis_is() -> None:
    assert (
        known(to("US", "50.00", date(2025, 3, 5), hs="4901990000")).sum_of("surcharge").minor == 0
    )


def test_a_portable_computer_owes_no_tariff_and_no_reciprocal_duty() -> None:
    for on, charged in (
        (date(2025, 5, 5), "100.00"),
        (date(2025, 12, 5), "50.00"),
        (date(2026, 3, 5), "0.00"),
    ):
        assert str(known(to("US", "500.00", on, hs="8471300000")).sum_of("surcharge")) == charged


@pytest.mark.parametrize(
    ("origin", "charged"),
    [
        # 16.5 % on a T-shirt, 7.5 % more from China since 2020; 91 FR 47318 upon it
        ("CN", "365.00"), ("HK", "290.00"), ("VN", "290.00"), ("IN", "265.00"), ("GB", "265.00"), ("KE", "165.00"),
        ("DE", "165.00"), ("JP", "165.00"),
    ],
)  # fmt: skip
def test_since_24_july_2026_sixty_economies_owe_section_301(origin: str, charged: str) -> None:
    found = known(to("US", "1000.00", date(2026, 7, 24), origin=origin))
    assert str(found.sum_of("duty") + found.sum_of("surcharge")) == charged


def test_the_duty_is_topped_up_to_what_it_is_with_the_additional_one() -> None:
    """U.S. note 52(k): the Union and Taiwan 10 % in all, Japan, Korea and Switzerland 12.5 %."""
    for origin, charged in (
        ("DE", "60.00"),
        ("TW", "60.00"),
        ("JP", "85.00"),
        ("KR", "85.00"),
        ("CH", "85.00"),
    ):
        found = known(to("US", "1000.00", date(2026, 8, 1), origin=origin, duty="0.04"))
        assert (str(found.sum_of("duty")), str(found.sum_of("surcharge"))) == ("40.00", charged)
    assert unknown(to("US", "1000.00", date(2026, 8, 1), origin="CA")).code == "rule_unknown"
    assert (
        unknown(to("US", "10.00", date(2026, 8, 1), channel="postal-ad-valorem")).code
        == "rule_unknown"
    )


def test_two_days_of_february_2025_were_without_de_minimis_for_china() -> None:
    """Executive Order 14195 from 4 February 2025; the amendment of 5 February brought de minimis back."""
    days = [date(2025, 2, 3), date(2025, 2, 4), date(2025, 2, 5), date(2025, 2, 6)]
    charged = [str(known(to("US", "100.00", day)).total) for day in days]
    assert charged == ["100.00", "134.00", "134.00", "100.00"]
    assert str(known(to("US", "100.00", days[1], origin="VN")).total) == "100.00"


def test_a_heading_without_a_duty_is_refused_by_name_or_taken_as_given() -> None:
    refused = unknown(to("GB", "200.00", JULY, hs="9102210090"))
    assert refused.code == "tariff_unknown"
    assert "9102210090" in refused.reason
    found = known(to("GB", "200.00", JULY, hs="9102210090", duty="0.025"))
    assert sums(found)[0] == "5.00"
    assert "given/duty/1" in {rule.id for rule in found.rules}


def test_excise_goods_and_strange_channels_are_refused() -> None:
    assert unknown(to("DE", "50.00", JULY, hs=WINE)).code == "goods_not_covered"
    refused = unknown(to("DE", "50.00", JULY, channel="drone"))
    assert (refused.code, refused.ask) == (
        "channel_unknown",
        "give one of ioss, special-arrangement, ordinary, private",
    )


def test_amounts_of_another_currency_are_crossed_at_the_days_rate() -> None:
    asked = parcel("DE", line("100.00", "USD"), freight="10.00", channel="ioss")
    found = known(landed_cost(asked, date(2026, 11, 5), DESTINATIONS, RULES.exchange.rates))
    # 667.6073 / 749.9900 = 0.890155…
    assert (str(found.value), str(found.freight)) == ("89.02", "8.90")
    assert {"rates-cny/USD/2026-11-01", "rates-cny/EUR/2026-11-01"} <= {
        rule.id for rule in found.rules
    }


def test_a_currency_without_a_rate_asks_for_one() -> None:
    asked = parcel("DE", line("1000", "INR"))
    refused = unknown(landed_cost(asked, JULY, DESTINATIONS, RULES.exchange.rates))
    assert (refused.code, "--rate INR=" in refused.ask) == ("rate_missing", True)
    assert known(
        landed_cost(asked, JULY, DESTINATIONS, None, {"INR": Decimal("0.01")})
    ).value == Money.of("10.00", "EUR")


def test_currencies_without_decimals_keep_their_scale() -> None:
    found = known(
        landed_cost(
            parcel("DE", line("10000", "JPY")), JULY, DESTINATIONS, None, {"JPY": Decimal("0.0060")}
        )
    )
    assert str(found.value) == "60.00"


def test_every_rule_used_has_a_source() -> None:
    for country, day in (
        ("DE", JULY),
        ("RU", JULY),
        ("US", date(2026, 3, 1)),
        ("GB", JULY),
        ("AU", JULY),
        ("NZ", JULY),
    ):
        found = known(to(country, "1001.00", day))
        assert all(len(rule.source) > 3 for rule in found.rules)
        assert {owed.rule for owed in found.charges} <= {rule.id for rule in found.rules}


CORRIDORS = [("RU", date(2015, 6, 1)), ("RU", date(2021, 6, 1)), ("BY", JULY), ("DE", date(2025, 6, 1)), ("GB", JULY), ("AU", JULY),
             ("NZ", JULY), ("US", date(2026, 3, 1)), ("DE", JULY)]  # fmt: skip


@given(st.sampled_from(CORRIDORS), st.lists(st.integers(1, 300_000), min_size=2, max_size=8))
def test_landed_cost_never_falls_when_the_price_rises(
    corridor: tuple[str, date], prices: list[int]
) -> None:
    country, day = corridor
    found = [
        known(to(country, str(Decimal(cents) / 100), day)).total.minor for cents in sorted(prices)
    ]
    assert all(before <= after for before, after in pairwise(found))


@given(
    st.permutations([("10.01", TEE), ("20.02", PHONE), ("33.33", JUMPER)]),
    st.sampled_from(["DE", "GB", "AU"]),
)
def test_the_order_of_lines_changes_nothing(goods: list[tuple[str, str]], country: str) -> None:
    currency = EURO.get(country, "EUR")
    lines = [line(total, currency, hs=hs, no=i) for i, (total, hs) in enumerate(goods, 1)]
    found = known(landed_cost(parcel(country, *lines, freight="7.77"), JULY, DESTINATIONS, None))
    straight = [
        line(t, currency, hs=hs, no=i)
        for i, (t, hs) in enumerate([("10.01", TEE), ("20.02", PHONE), ("33.33", JUMPER)], 1)
    ]
    assert (
        found.total
        == known(
            landed_cost(parcel(country, *straight, freight="7.77"), JULY, DESTINATIONS, None)
        ).total
    )
