"""Exports: refund, exemption, deemed income tax, or taxation; which one applies and why, by date, mode, goods and what is said."""

from __future__ import annotations

import json
import shutil
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.tax.exports.decisions import (
    RouteDecision,
    decide_route,
    deemed_income_of,
    output_vat_of,
    refund_of,
)
from services.tax.exports.domain import FACTS, Facts, FactValue
from services.tax.exports.files import load_exports, load_merchants
from services.tax.rulebook.files import RULES
from services.tax.rulebook.toml_files import RuleError
from shared.money import Money

BOOK = load_exports()
TODAY = date(2026, 11, 23)
TEE, PHONE, BATTERY, PANEL, NUTS = (
    "6109100021",
    "8517130000",
    "8507600090",
    "8541430000",
    "0802120000",
)
EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"

REFUND: dict[str, FactValue] = {
    "taxpayer": "general", "exporter": "trader", "rebate_filed": True, "declaration_data": True, "proceeds_collected": True,
    "vat_special_invoice": True,
}  # fmt: skip
VOUCHER: dict[str, FactValue] = {
    **REFUND,
    "taxpayer": "small-scale",
    "tax_registered": True,
    "valid_voucher": True,
}
ZONE: dict[str, FactValue] = {
    **REFUND, "taxpayer": "small-scale", "tax_registered": True, "valid_voucher": False, "pilot_zone": True, "goods_recorded": True,
    "customs_in_zone": True,
}  # fmt: skip


def route(facts: Facts, *, on: date = TODAY, mode: str = "9610", hs: str = TEE) -> RouteDecision:
    found = decide_route(BOOK, on, mode, hs, facts)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("facts", "regime", "vat"),
    [
        (REFUND, "cn-export-refund", "refund"),
        (VOUCHER, "cn-export-exempt", "exempt"),
        (ZONE, "cn-export-no-invoice", "exempt"),
        (ZONE | {"pilot_zone": False}, "cn-export-taxed", "taxed"),
        (ZONE | {"goods_recorded": False}, "cn-export-taxed", "taxed"),
        (ZONE | {"customs_in_zone": False}, "cn-export-taxed", "taxed"),
        (VOUCHER | {"declaration_data": False, "pilot_zone": True}, "cn-export-taxed", "taxed"),
    ],
)
def test_the_first_route_whose_conditions_are_met_applies(
    facts: Facts, regime: str, vat: str
) -> None:
    found = route(facts)
    assert (found.regime, found.vat) == (regime, vat)


@pytest.mark.parametrize(
    "fact",
    ["taxpayer", "rebate_filed", "declaration_data", "proceeds_collected", "vat_special_invoice"],
)
def test_each_condition_of_the_refund_is_needed_and_named(fact: str) -> None:
    other: FactValue = "small-scale" if fact == "taxpayer" else False
    failed = [check for check in route(REFUND | {fact: other}).checked if check.met is False]
    assert failed[0].fact == fact
    assert (failed[0].actual, failed[0].expected) == (
        ("small-scale", "general") if fact == "taxpayer" else ("no", "yes")
    )
    assert "财税[2013]96号" in failed[0].source


@pytest.mark.parametrize("fact", sorted(REFUND.keys() - {"exporter"}))
def test_what_nobody_said_is_not_taken_as_no(fact: str) -> None:
    found = route({name: value for name, value in REFUND.items() if name != fact})
    assert (found.regime, found.vat, found.missing) == ("cn-export-undetermined", None, (fact,))


def test_a_producer_needs_no_invoice_of_a_purchase() -> None:
    facts = {**REFUND, "exporter": "producer", "vat_special_invoice": False}
    assert route(facts).regime == "cn-export-refund"


def test_goods_without_a_known_rebate_rate_leave_it_open() -> None:
    for facts in (REFUND, VOUCHER, ZONE):
        assert route(facts, hs=NUTS).missing == ("rebate_cancelled",)
        assert route(facts, on=date(2020, 3, 19)).missing == ("rebate_cancelled",)
    assert route(ZONE, on=date(2020, 3, 20)).regime == "cn-export-no-invoice"


def test_the_zone_exemption_began_on_its_day() -> None:
    assert "cn-export-no-invoice" not in {
        check.route for check in route(ZONE, on=date(2018, 9, 30)).checked
    }
    assert route(ZONE, on=date(2019, 4, 1), hs=BATTERY).regime == "cn-export-no-invoice"
    assert decide_route(BOOK, date(2013, 12, 31), "9610", TEE, ZONE) is None


@pytest.mark.parametrize(
    ("hs", "on", "regime", "rate"),
    [
        (BATTERY, date(2024, 11, 30), "cn-export-refund", "0.13"),
        (BATTERY, date(2024, 12, 1), "cn-export-refund", "0.09"),
        (BATTERY, date(2026, 3, 31), "cn-export-refund", "0.09"),
        (BATTERY, date(2026, 4, 1), "cn-export-refund", "0.06"),
        (BATTERY, date(2026, 12, 31), "cn-export-refund", "0.06"),
        (BATTERY, date(2027, 1, 1), "cn-export-taxed", "0"),
        (PANEL, date(2026, 3, 31), "cn-export-refund", "0.09"),
        (PANEL, date(2026, 4, 1), "cn-export-taxed", "0"),
        (TEE, TODAY, "cn-export-refund", "0.13"),
    ],
)
def test_refund_rates_and_cancellations_by_date(hs: str, on: date, regime: str, rate: str) -> None:
    assert route(REFUND, on=on, hs=hs).regime == regime
    row = BOOK.rebates.on(hs, on)
    assert row is not None
    assert row.rate == Decimal(rate)


def test_a_code_too_short_for_its_refund_has_none() -> None:
    """Of 8507 batteries of lithium are refunded less than others; a code of four digits does not tell which these are."""
    row = BOOK.rebates.on(BATTERY, TODAY)
    assert row is not None
    wider = row.model_copy(update={"hs": "8507", "rate": Decimal("0.13")})
    table = BOOK.rebates.model_copy(update={"rate": (wider, *BOOK.rebates.rate)})
    assert table.on("8507", TODAY) is None
    assert table.on("8507100000", TODAY) == wider
    assert table.on(BATTERY, TODAY) == row


def test_cancelled_goods_are_not_exempt_in_a_zone_either() -> None:
    assert route(ZONE, on=date(2026, 4, 1), hs=PANEL).regime == "cn-export-taxed"


def test_an_overseas_warehouse_is_refunded_on_departure_since_2025() -> None:
    unsold = {
        **REFUND,
        "proceeds_collected": False,
        "valid_voucher": False,
        "pilot_zone": False,
        "tax_registered": True,
    }
    assert route(unsold, on=date(2025, 1, 26), mode="9810").regime == "cn-export-taxed"
    assert route(unsold, on=date(2025, 1, 27), mode="9810").regime == "cn-export-refund"
    assert route(unsold, on=date(2025, 1, 27), mode="9610").regime == "cn-export-taxed"


def test_amounts_to_the_fen() -> None:
    def cny(amount: str) -> Money:
        return Money.of(amount, "CNY")

    assert refund_of(cny("66.67"), Decimal("0.13")) == cny("8.67")
    assert output_vat_of(cny("113.00"), Decimal("0.13")) == cny("13.00")
    assert output_vat_of(cny("0.05"), Decimal("0.13")) == cny("0.01")
    deemed = deemed_income_of(BOOK, cny("10000.00"), TODAY)
    assert deemed is not None
    assert (deemed.income, deemed.tax) == (cny("400.00"), cny("100.00"))
    assert deemed_income_of(BOOK, cny("10000.00"), date(2019, 12, 31)) is None


@given(st.integers(0, 10**12), st.sampled_from(["0.03", "0.09", "0.13", "0.16"]))
def test_price_without_vat_and_vat_are_the_price(minor: int, rate: str) -> None:
    vat = output_vat_of(Money(minor, "CNY"), Decimal(rate)).minor
    exact = Fraction(minor) * Fraction(rate) / (1 + Fraction(rate))
    assert abs(vat - exact) <= Fraction(1, 2)


YES_OR_NO = [
    fact for fact in FACTS if fact not in {"taxpayer", "exporter", "mode", "rebate_cancelled"}
]


@given(
    st.fixed_dictionaries({}, optional={fact: st.booleans() for fact in YES_OR_NO}),
    st.sampled_from([TEE, BATTERY, NUTS]),
    st.sampled_from(["9610", "9710", "9810", "1210"]),
)
def test_saying_more_never_changes_a_route_that_is_named(
    said: dict[str, bool], hs: str, mode: str
) -> None:
    before = route({**said, "taxpayer": "general"}, hs=hs, mode=mode)
    fuller = route(
        {**dict.fromkeys(YES_OR_NO, True), **said, "taxpayer": "general"}, hs=hs, mode=mode
    )
    if before.vat is not None:
        assert fuller.regime == before.regime
    assert bool(before.missing) == (before.vat is None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copied = tmp_path / "rules"
    shutil.copytree(RULES, copied)
    return copied


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        (
            "cn-export-routes.toml",
            "valid_to = 2025-01-26",
            "valid_to = 2025-01-20",
            "the route cn-export-refund has a gap",
        ),
        ("cn-export-routes.toml", "valid_to = 2025-01-26", "valid_to = 2025-02-01", "overlaps"),
        ("cn-export-routes.toml", "rank = 2", "rank = 1", "must be its own"),
        ("cn-export-routes.toml", 'fact = "taxpayer"', 'fact = "colour"', "Input should be"),
        (
            "cn-export-routes.toml",
            'expected = ["general"]',
            'expected = ["grand"]',
            "no value of taxpayer",
        ),
        (
            "cn-export-routes.toml",
            "expected = [true]",
            'expected = ["yes"]',
            "no value of rebate_filed",
        ),
        (
            "cn-export-routes.toml",
            'income_share = "0.04"',
            "income_share = 0.04",
            "decimal strings",
        ),
        ("cn-export-routes.toml", 'kind = "export-routes"', 'kind = "roads"', "it must be one of"),
        ("cn-export-rebates.toml", 'rate = "0.13"', 'rate = "-0.13"', "greater than or equal to 0"),
        ("cn-export-rebates.toml", "valid_to = 2026-12-31", "valid_to = 2027-01-01", "overlaps"),
        (
            "cn-export-rebates.toml",
            'rate = "0"\ncancelled',
            'rate = "0.01"\ncancelled',
            "a cancelled rebate has the rate 0",
        ),
    ],
)
def test_a_bad_file_is_refused_with_file_line_and_reason(
    folder: Path, name: str, old: str, new: str, says: str
) -> None:
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RuleError) as refused:
        load_exports(folder)
    assert refused.value.path == path
    assert says in str(refused.value)
    assert refused.value.line is not None


def test_merchants_by_date_and_a_wrong_fact_is_refused(tmp_path: Path) -> None:
    held = load_merchants(EXAMPLES / "merchants.toml")
    assert held.facts_of("4403960XYZ", TODAY)["taxpayer"] == "general"
    assert held.facts_of("4403960XYZ", date(2024, 12, 31)) == {}
    bad = tmp_path / "merchants.toml"
    text = (EXAMPLES / "merchants.toml").read_text(encoding="utf-8")
    bad.write_text(text.replace("rebate_filed = true", 'rebate_filed = "soon"'), encoding="utf-8")
    with pytest.raises(
        RuleError, match=r"merchants.toml:9: .*rebate_filed: expected true or false"
    ):
        load_merchants(bad)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tax", *arguments])


def changed(tmp_path: Path, change: dict[str, Any]) -> str:
    path = tmp_path / "order.json"
    path.write_text(
        json.dumps(json.loads((EXAMPLES / "export.json").read_text(encoding="utf-8")) | change),
        encoding="utf-8",
    )
    return str(path)


def test_the_command_names_the_route_and_every_condition() -> None:
    result = run("export", str(EXAMPLES / "export.json"), "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["regime"] == "cn-export-refund"
    assert found["lines"][0]["refund"] == "8.67"
    checks = found["lines"][0]["conditions"]
    assert [check["fact"] for check in checks if check["met"]] == [
        check["fact"] for check in checks
    ]
    assert all(check["source"] and check["expected"] for check in checks)


def test_missing_facts_leave_with_one_and_are_listed(tmp_path: Path) -> None:
    result = run("export", changed(tmp_path, {"export": {}}))
    assert result.exit_code == 1
    assert "line 1: say in `export` or --merchants: taxpayer" in result.stderr


def test_the_merchants_file_says_what_the_order_does_not(tmp_path: Path) -> None:
    order = changed(
        tmp_path,
        {
            "export": {
                "declaration_data": True,
                "proceeds_collected": True,
                "vat_special_invoice": True,
            }
        },
    )
    result = run("export", order, "--merchants", str(EXAMPLES / "merchants.toml"), "--json")
    assert json.loads(result.stdout)["regime"] == "cn-export-refund"


def test_deemed_income_and_output_vat_are_told_in_cny(tmp_path: Path) -> None:
    zone = json.loads(run("export", changed(tmp_path, {"export": ZONE}), "--json").stdout)
    # 60 EUR at the rate of October 2026, 4 % of it income, 25 % of that tax
    sales = Decimal(zone["lines"][0]["sales"])
    assert zone["lines"][0]["deemed_income_tax"] == str((sales / 100).quantize(Decimal("0.01")))
    taxed = json.loads(
        run("export", changed(tmp_path, {"export": {**ZONE, "pilot_zone": False}}), "--json").stdout
    )
    assert Decimal(taxed["lines"][0]["output_vat"]) == (sales * 13 / 113).quantize(Decimal("0.01"))


def test_assess_names_the_route_of_an_export_and_keeps_its_keys(tmp_path: Path) -> None:
    found = json.loads(run("assess", str(EXAMPLES / "export.json"), "--json").stdout)
    assert (found["regime"], found["total"], found["refused"]) == ("cn-export-refund", "0.00", None)
    assert any(rule.startswith("cn-export-routes@1/cn-export-refund") for rule in found["rules"])
    silent = json.loads(run("assess", changed(tmp_path, {"export": {}}), "--json").stdout)
    assert silent["regime"] == "cn-export-retail"
    assert silent.keys() == found.keys()
    wrong = run("assess", changed(tmp_path, {"export": {"colour": True}}))
    assert (wrong.exit_code, "'colour' is no fact" in wrong.stderr) == (2, True)
    assert "cn-export-routes@1" in run("assess", str(EXAMPLES / "export.json")).stderr


@pytest.mark.parametrize(
    ("on", "regime"),
    [
        ("2015-06-23", "cn-export-retail-2014"),
        ("2018-09-30", "cn-export-retail-2014"),
        ("2018-10-01", "cn-export-retail"),
    ],
)
def test_nothing_is_owed_on_export_in_any_year(tmp_path: Path, on: str, regime: str) -> None:
    found = json.loads(
        run("assess", changed(tmp_path, {"export": {}}), "--at", on, "--json").stdout
    )
    assert (found["regime"], found["total"]) == (regime, "0.00")
