"""Every rule of intake, alone and together."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pycountry
import pytest

from deploy.samples import KINDS, SAMPLES, case_of, plain, submission
from services.customs.ceb import codes as printer
from services.customs.ceb import tables
from services.orders.intake import codes
from services.orders.intake.decoding import read_submission
from services.orders.intake.goods_rules import HS_DIGITS
from services.orders.intake.identifiers import (
    enterprise_code_fault,
    is_gtin,
    is_postal_item,
    resident_id_fault,
)
from services.orders.intake.placed_order import corridor_of
from services.orders.intake.schema_faults import FAULTS_MAX
from services.orders.intake.submission import Submitted
from services.orders.intake.validation import validate
from shared.events.base import Fault

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Absent(Enum):
    """A field that is not there; a sentinel whose name in a test's id is the same in every process."""

    FIELD = "absent"


ABSENT = Absent.FIELD
Faults = Callable[[dict[str, Any]], tuple[Fault, ...]]


def put(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The document with the value at a path as a fault names it; ABSENT takes it out."""
    changed = copy.deepcopy(document)
    place: Any = changed
    steps = [
        int(s) if s.isdigit() else s for s in path.replace("[", ".").replace("]", "").split(".")
    ]
    for step in steps[:-1]:
        place = place[step]
    if value is ABSENT:
        del place[steps[-1]]
    else:
        place[steps[-1]] = value
    return changed


IMPORT = [
    # shape
    ("placed_at", ABSENT, "required"),
    ("placed_at", "2026-11-23T09:00:00", "is_time"),
    ("placed_at", "2026-02-30T09:00:00+08:00", "is_time"),
    ("placed_at", 1_700_000_000, "is_text"),
    ("direction", "sideways", "one_of"),
    ("mode", "1239", "one_of"),
    ("platform.name", "", "required"),
    ("platform.name", "x" * 101, "length_max"),
    ("platform.name", "a\u202eb", "is_plain_text"),
    ("platform.name", "a\x07b", "is_plain_text"),
    ("platform.name", "   ", "required"),
    ("merchant", None, "is_object"),
    ("merchant.country", "us", "is_country"),
    ("buyer.id_type", "3", "one_of"),
    ("buyer", ABSENT, "required"),
    ("payment", ABSENT, "required"),
    ("payment.payer", ABSENT, "required"),
    ("payment.token", ABSENT, "required"),
    ("lines", [], "line_count"),
    ("lines", "none", "is_list"),
    ("lines[0]", 7, "is_object"),
    ("lines[0].line_no", "1", "is_whole_number"),
    ("lines[0].line_no", True, "is_whole_number"),
    ("lines[0].hs_code", "08O9290000", "is_hs_code"),
    ("lines[0].net_content", {"value": "1", "unit": "kg"}, "one_of"),
    ("goods_value", 172.0, "is_decimal"),
    ("goods_value", "1e2", "is_decimal"),
    ("goods_value", "1,000.00", "is_decimal"),
    ("goods_value", "١٢", "is_decimal"),
    ("goods_value", "NaN", "is_decimal"),
    ("lines[0].quantity", 2, "is_decimal"),
    ("lines[0].quantity", "2.000001", "is_decimal"),
    # rules
    ("order_no", "x" * 61, "length_max"),
    ("placed_at", "2099-01-01T00:00:00+08:00", "not_in_future"),
    ("placed_at", "2012-12-31T23:59:59Z", "not_before"),
    ("placed_at", "0001-01-01T00:00:00+14:00", "not_before"),
    ("mode", "9710", "mode_of_direction"),
    ("consignee.country", "DE", "country_of_direction"),
    ("consignee.country", "QQ", "is_country"),
    ("merchant.country", "XX", "is_country"),
    ("lines[0].origin", "ZZ", "is_country"),
    ("lines[0].origin", "EG", "declarable_country"),
    ("merchant.country", "EG", "declarable_country"),
    ("currency", "USD", "currency_of_import"),
    ("currency", "XXX", "is_currency"),
    ("platform.code", "110591015", "is_enterprise_code"),
    ("platform.code", "无", "is_enterprise_code"),
    ("merchant.code", "91350100M000100Y44", "is_enterprise_code"),
    ("payment.enterprise_code", "12", "is_enterprise_code"),
    ("buyer.id_type", "2", "resident_buyer"),
    ("buyer.id_number", "130681136250023332", "is_resident_id"),
    ("buyer.id_number", "330821198809085211", "is_resident_id"),
    ("buyer.id_number", "123", "is_resident_id"),
    ("payment.payer.id_number", "330821198809085211", "is_resident_id"),
    ("buyer.phone", None, "required"),
    ("buyer.phone", "call me", "is_telephone"),
    ("consignee.phone", "12345", "is_telephone"),
    ("consignee.postcode", "2000", "is_postcode"),
    ("logistics_no", "EB900717618HK", "is_s10"),
    ("discount", "-1.00", "not_negative"),
    ("insurance", "-0.01", "not_negative"),
    ("freight", "20.001", "decimals"),
    ("freight", "99999999999999", "amount_max"),
    ("lines[0].line_no", 2, "line_numbers"),
    ("lines[0].hs_code", "08092900", "is_hs_code"),
    ("lines[0].unit", "stone", "is_unit"),
    ("lines[0].gtin", "4006381333932", "is_gtin"),
    ("lines[0].quantity", "0", "positive"),
    ("lines[0].quantity", "-1", "positive"),
    ("lines[0].net_weight_kg", "0.00", "positive"),
    ("lines[0].net_content", {"value": "0", "unit": "g"}, "positive"),
    ("lines[0].unit_price", "-86.00", "not_negative"),
    ("lines[0].total", "1.00", "price_times_quantity"),
    ("goods_value", "1.00", "sum_of_lines"),
    ("amount_paid", "1.00", "amount_composition"),
]


@pytest.mark.parametrize(("path", "value", "rule"), IMPORT, ids=lambda v: str(v)[:30])
def test_each_broken_rule_of_an_import_is_named(
    order: dict[str, Any], faults_of: Faults, path: str, value: Any, rule: str
) -> None:
    found = faults_of(put(order, path, value))
    field = (
        "lines"
        if rule == "line_numbers"
        else f"{path}.value"
        if rule == "positive" and "content" in path
        else path
    )
    field = f"{path}.unit" if path.endswith("net_content") and rule == "one_of" else field
    assert (field, rule) in {(f.field, f.rule) for f in found}


EXPORT = [
    ("mode", "9710", None),
    ("mode", "9810", None),
    ("mode", "1210", None),
    ("platform.code", "无", None),
    ("merchant.code", "无", "is_enterprise_code"),
    ("buyer.phone", None, None),
    ("lines[0].hs_code", "6109", "is_hs_code"),
    ("lines[0].hs_code", "61091000", "is_hs_code"),
    ("lines[0].origin", "EG", None),
    ("consignee.country", "EG", "declarable_country"),
    ("currency", "PLN", "declarable_currency"),
    ("lines[0].hs_code", "61091", "is_hs_code"),
    ("lines[0].hs_code", "61", "is_hs_code"),
    ("lines[0].hs_code", "610910000000", "is_hs_code"),
    ("logistics_no", "9" * 33, "length_max"),
    ("logistics_no", "EB000717618HK", None),
]


@pytest.mark.parametrize(("path", "value", "rule"), EXPORT, ids=lambda v: str(v)[:30])
def test_each_rule_of_an_export(faults_of: Faults, path: str, value: Any, rule: str | None) -> None:
    found = faults_of(put(submission("garments_de", 1, seed=1), path, value))
    assert [(f.field, f.rule) for f in found] == ([] if rule is None else [(path, rule)])


def test_a_bonded_import_names_its_own_country_on_the_list_wherever_the_merchant_is(
    order: dict[str, Any], faults_of: Faults
) -> None:
    assert faults_of(put(put(order, "mode", "1210"), "merchant.country", "EG")) == ()


@pytest.mark.parametrize(
    ("declarable", "printed", "all_there_are"),
    [
        (
            codes.DECLARABLE_COUNTRIES,
            printer.country_code,
            [country.alpha_2 for country in pycountry.countries],
        ),
        (
            codes.DECLARABLE_CURRENCIES,
            printer.currency_code,
            [currency.alpha_3 for currency in pycountry.currencies],
        ),
        (frozenset(codes.UNITS), printer.unit_code, [*codes.UNITS, "stone"]),
    ],
    ids=["countries", "currencies", "units"],
)
def test_intake_takes_exactly_what_customs_can_write_on_a_list(
    declarable: frozenset[str], printed: Callable[[str], str], all_there_are: list[str]
) -> None:
    def can_be_written(code: str) -> bool:
        try:
            return bool(printed(code))
        except printer.UnknownCode:
            return False

    assert declarable == {code for code in {*all_there_are, *declarable} if can_be_written(code)}


def test_an_hs_code_has_the_digits_that_customs_writes_on_either_list() -> None:
    for columns in (tables.IMPORT_LINE, tables.EXPORT_LINE):
        (write,) = [write for _, opening, _, _, write, _ in columns if opening == "<gcode>"]
        assert write("0" * HS_DIGITS) == "0" * HS_DIGITS
        for digits in (4, 6, 8, 12):
            with pytest.raises(ValueError, match="10"):
                write("0" * digits)


def test_an_export_leaves_the_country(faults_of: Faults) -> None:
    found = faults_of(put(submission("garments_de", 1, seed=1), "consignee.country", "CN"))
    assert ("consignee.country", "country_of_direction") in {(f.field, f.rule) for f in found}


def test_a_refusal_lists_faults_of_shape_and_of_rules_at_once(
    order: dict[str, Any], faults_of: Faults
) -> None:
    for path, value in (
        ("buyer.id_number", "330821198809085211"),
        ("consignee.phone", ABSENT),
        ("lines[0].hs_code", 809290000),
        ("goods_value", 172.0),
        ("mode", "9710"),
        ("placed_at", "2099-01-01T00:00:00+08:00"),
    ):
        order = put(order, path, value)
    found = {(f.field, f.rule) for f in faults_of(order)}
    assert found == {
        ("buyer.id_number", "is_resident_id"),
        ("consignee.phone", "required"),
        ("lines[0].hs_code", "is_text"),
        ("goods_value", "is_decimal"),
        ("mode", "mode_of_direction"),
        ("placed_at", "not_in_future"),
    }


def test_a_broken_value_makes_no_second_fault_where_it_is_read(
    order: dict[str, Any], faults_of: Faults
) -> None:
    assert [f.field for f in faults_of(put(order, "lines[0].total", None))] == ["lines[0].total"]
    assert [f.field for f in faults_of(put(order, "lines[0]", None))] == ["lines[0]"]
    assert [f.field for f in faults_of(put(order, "direction", "up"))] == ["direction"]


def test_a_refusal_quotes_no_person(order: dict[str, Any], faults_of: Faults) -> None:
    for path, value in (
        ("buyer.id_number", "330821198809085211"),
        ("buyer.name", "Wang\x00Xiaoming"),
        ("buyer.phone", "Wang Xiaoming 13912345678"),
        ("consignee.address", "secret street" * 20),
        ("consignee.postcode", "secret postcode 2000000"),
        ("payment.payer.id_number", 330821198809085211),
        ("payment.token", ["secret token"]),
        ("buyer.id_type", "E12345678"),
        ("payment.payer.id_type", "Wang Xiaoming"),
        ("payment.payer.name", {"is": "Wang Xiaoming"}),
        ("consignee.country", "Wang Xiaoming, secret street"),
        ("consignee.region", "Wang\x07"),
        ("consignee.city", "secret street\x07"),
        ("lines[0].unit", "13912345678"),
        ("currency", "330821198809085211"),
    ):
        order = put(order, path, value)
    said = json.dumps([f.model_dump() for f in faults_of(order)])
    assert len(faults_of(order)) >= 14
    for personal in ("330821", "Wang", "139123", "secret", "2000000", "E123"):
        assert personal not in said


@pytest.mark.parametrize(
    "number",
    [
        "13800138000", "8613800138000", "+8613800138000", "008613800138000", "+86 138 0013 8000", "(+86)138-0013-8000",
        "+49 30 123456", "021-61234567", "33082119880908521x", "330821880908521",
    ],
)  # fmt: skip
def test_a_telephone_or_identity_number_in_any_field_is_hidden_however_it_is_written(
    order: dict[str, Any], faults_of: Faults, number: str
) -> None:
    (fault,) = faults_of(put(order, "currency", f"tel {number}."))
    assert "(digits hidden)" in fault.found
    assert sum(c.isdigit() for c in fault.found) <= 2, "a country code in brackets tells nobody"


@pytest.mark.parametrize("value", ["2026-11-23 09:00:00", "20261123", "1,000.00", "+2", "2.000001"])
def test_a_value_that_is_no_number_of_a_person_is_quoted(
    order: dict[str, Any], faults_of: Faults, value: str
) -> None:
    (fault,) = faults_of(put(order, "placed_at", value))
    assert fault.found == value


def test_a_refusal_is_bounded(order: dict[str, Any], faults_of: Faults) -> None:
    order["lines"] = [{"line_no": n} for n in range(90)]
    found = faults_of(order)
    assert len(found) == FAULTS_MAX + 1
    assert found[-1].rule == "faults_max"
    order["lines"] = order["lines"] * 2
    assert [(f.field, f.found) for f in faults_of(order)] == [("lines", "180 lines")]


def test_a_gift_is_free_and_an_order_of_gifts_is_refused(
    order: dict[str, Any], faults_of: Faults
) -> None:
    gift = {**order["lines"][0], "line_no": 2, "unit_price": "0.00", "total": "0.00"}
    assert faults_of({**order, "lines": [*order["lines"], gift]}) == ()
    zero = {
        **order,
        "lines": [{**gift, "line_no": 1}],
        "goods_value": "0.00",
        "freight": "0",
        "tax_withheld": "0",
        "amount_paid": "0",
    }
    assert {(f.field, f.rule) for f in faults_of(zero)} == {
        ("goods_value", "positive"),
        ("amount_paid", "positive"),
    }


def test_an_import_has_99_lines_and_an_export_100(order: dict[str, Any], faults_of: Faults) -> None:
    garments = submission("garments_de", 1, seed=1)
    for document, most in ((order, 99), (garments, 100)):
        for count in (most, most + 1):
            line, total = document["lines"][0], Decimal(document["lines"][0]["total"]) * count
            many = {
                **document,
                "lines": [{**line, "line_no": n + 1} for n in range(count)],
                "goods_value": str(total),
            }
            many["amount_paid"] = str(
                total + Decimal(many["freight"]) + Decimal(many["tax_withheld"])
            )
            assert [f.rule for f in faults_of(many)] == (["line_count"] if count > most else [])


def test_money_fits_the_decimals_of_its_currency(faults_of: Faults) -> None:
    garments = submission("garments_de", 1, seed=1)
    assert {f.rule for f in faults_of({**garments, "currency": "JPY"})} == {"decimals"}


def test_unknown_fields_are_ignored_and_named(order: dict[str, Any]) -> None:
    order["coupon"], order["buyer"]["nickname"], order["lines"][0]["colour"] = "x", "y", "z"
    (found,) = read_submission(json.dumps(order).encode(), ())
    assert isinstance(found, Submitted)
    assert found.ignored == ("buyer.nickname", "coupon", "lines[].colour")
    assert validate(found, NOW) == ()


def test_a_lower_case_x_is_the_same_identity() -> None:
    number = next(d for d in plain(200, seed=5) if d["buyer"]["id_number"].endswith("X"))
    (found,) = read_submission(
        json.dumps(put(number, "buyer.id_number", number["buyer"]["id_number"].lower())).encode(),
        (),
    )
    assert isinstance(found, Submitted)
    assert found.submission.buyer.id_number == number["buyer"]["id_number"]
    assert validate(found, NOW) == ()


def test_corridors_are_a_closed_set(order: dict[str, Any]) -> None:
    def corridor(document: dict[str, Any]) -> str:
        (found,) = read_submission(json.dumps(document).encode(), ())
        assert isinstance(found, Submitted)
        return corridor_of(found)

    assert corridor(order) == "US-CN"
    assert corridor(submission("phone_ru", 1, seed=1)) == "CN-RU"
    assert corridor(put(order, "consignee.country", "QQ")) == "US-ZZ"
    assert corridor(put(order, "merchant", "nobody")) == "ZZ-CN"


def test_numbers_prove_themselves() -> None:
    today = NOW.date()
    for number in ("360426199101010071", "11010519491231002X", "440524188001010014"):
        assert (resident_id_fault(number, today) is None) is (number[6:8] != "18")
    assert (
        resident_id_fault("11010520991231002X", today)
        == "18 characters, birth date before 1900 or in the future"
    )
    assert enterprise_code_fault("91110000600037341L") is None
    assert enterprise_code_fault("91350100M000100Y43") is None
    assert enterprise_code_fault("A1110000600037341L") is not None
    assert is_gtin("6291041500213")
    assert is_gtin("96385074")
    assert not is_gtin("１２３４５６７８")
    for item in ("EB000717618HK", "EE471108151FR", "RR473124829GB"):
        assert is_postal_item(item)


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_sample_keeps_every_rule(sample: str, faults_of: Faults) -> None:
    for number in range(40):
        assert faults_of(submission(sample, number, seed=number)) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_the_same_for_the_same_seed_and_says_its_ends(kind: str) -> None:
    case = case_of(kind, 10, seed=4)
    assert case == case_of(kind, 10, seed=4)
    assert case != case_of(kind, 10, seed=5)
    assert case.orders.keys() == case.ends.keys()
    assert {r.order_no for r in case.records} <= case.orders.keys()


def test_a_thousand_orders_are_made_read_and_validated_in_a_second() -> None:
    began = time.process_time()
    for document in plain(2_000, seed=9):
        (found,) = read_submission(json.dumps(document).encode(), ())
        assert isinstance(found, Submitted)
        assert validate(found, NOW) == ()
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("lines[0].sku", "S" * 20, None),
        ("lines[0].sku", "S" * 21, "length_max"),
        ("consignee.address", "x" * (200 - len("Guangdong Guangzhou ")), None),
        ("consignee.address", "x" * (201 - len("Guangdong Guangzhou ")), "length_max"),
        ("lines[0].name", "cherries\ufffe", "is_plain_text"),
        ("lines[0].name", "cherries\uffff", "is_plain_text"),
        ("consignee.name", "\u200b\u200d", "is_plain_text"),
        ("consignee.name", "\u3164", "is_plain_text"),
        ("lines[0].name", "\ufe0f\u0301\u2800", "is_plain_text"),
        ("consignee.name", "葛\U000e0100", None),
        ("consignee.name", "买买提\u00b7阿卜杜拉", None),
        ("lines[0].name", "\u0643\u0631\u0632 \u200f \U0001f352", None),
    ],
    ids=lambda v: ascii(v)[:30],
)
def test_nothing_is_taken_in_that_no_list_has_room_or_letters_for(
    order: dict[str, Any], faults_of: Faults, path: str, value: str, rule: str | None
) -> None:
    order["consignee"] |= {"region": "Guangdong", "city": "Guangzhou"}
    assert [f.rule for f in faults_of(put(order, path, value))] == ([] if rule is None else [rule])


def test_an_export_list_names_no_consignee_so_its_address_may_be_long(faults_of: Faults) -> None:
    export = submission("garments_de", 1, seed=1)
    assert (
        faults_of(put(put(export, "consignee.address", "x" * 200), "consignee.region", "y" * 100))
        == ()
    )
