"""Rule files of destinations: bad ones are refused naming file, line and reason; the command says what it says as JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.tax.landed.files import load_destinations
from services.tax.rulebook.files import RULES
from services.tax.rulebook.toml_files import RuleError

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "examples" / "export.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copied = tmp_path / "rules"
    shutil.copytree(RULES, copied)
    return copied


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("dest-gb.toml", 'at_most = "135.00"', 'at_most = "130.00"', "a gap from 130.00 to 135.00"),
        ("dest-gb.toml", 'at_most = "135.00"', 'at_most = "140.00"', "bands overlap from 135.00"),
        (
            "dest-gb.toml",
            "valid_to = 2029-03-31",
            "valid_to = 2029-02-28",
            "the regime has a gap from 2029-02-28 to 2029-04-01",
        ),
        ("dest-gb.toml", "valid_to = 2029-03-31", "valid_to = 2029-04-01", "overlaps"),
        ("dest-gb.toml", "valid_to = 2029-03-31", "valid_to = 2020-01-01", "is before valid_from"),
        ("dest-gb.toml", 'rate = "0.20"', "rate = 0.20", "decimal strings"),
        ("dest-gb.toml", 'rate = "0.12"', 'rate = "-0.12"', "greater than or equal to 0"),
        ("dest-gb.toml", 'rate = "0.12"', 'rate = "12"', "less than or equal to 4"),
        ("dest-gb.toml", 'rate = "0.20"', 'rate = "20"', "less than or equal to 1"),
        ("dest-gb.toml", 'rate = "0.20"', 'rate = "10"', "less than or equal to 1"),
        ("dest-nz.toml", "with_vat = true", 'with_vat = "no"', "should be a valid boolean"),
        ("dest-gb.toml", "version = 1", "version = 1.0", "should be a valid integer"),
        (
            "dest-gb.toml",
            "valid_from = 2021-01-01",
            "valid_from = 0",
            "write a day like 2026-11-23",
        ),
        ("dest-gb.toml", 'hs = "6109"', 'hs = "61"', "String should match pattern"),
        ("dest-gb.toml", 'collector = "seller"', 'collector = "queen"', "Input should be"),
        ("dest-gb.toml", 'currency = "GBP"', 'currency = "GBX"', "'GBX' is unknown"),
        ("dest-gb.toml", 'at_most = "135.00"', 'at_most = "135.001"', "more than 2 decimals"),
        (
            "dest-gb.toml",
            'country = "GB"',
            'country = "FR"',
            "country FR is not of this destination",
        ),
        ("dest-gb.toml", 'kind = "destination"', 'kind = "corridor"', "it must be 'destination'"),
        (
            "dest-gb.toml",
            'id = "dest-gb"',
            'id = "dest-au"',
            "the id dest-au is that of dest-au.toml",
        ),
        (
            "dest-gb.toml",
            'countries = { GB = "GBP" }',
            'countries = { GB = "GBP", AU = "AUD" }',
            "country AU overlaps",
        ),
        (
            "dest-gb.toml",
            'base = ["goods", "freight", "insurance"]',
            'base = ["goods", "duty"]',
            "is worked out later",
        ),
        ("dest-gb.toml", 'status = "unknown"', 'status = "settled"', "names its channels"),
        (
            "dest-gb.toml",
            'name = "Great Britain"',
            'name = "Great Britain"\nnick = "GB"',
            "Extra inputs are not permitted",
        ),
        ("dest-eu.toml", 'ioss = ["C07", "F48"], ', "", "every channel"),
        ("dest-nz.toml", 'basis = "piece"\nover', "over", "compare different values"),
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
        load_destinations(folder)
    assert refused.value.path == path
    assert says in str(refused.value)
    assert refused.value.line is not None


def test_the_line_is_that_of_the_charge(folder: Path) -> None:
    path = folder / "dest-gb.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace('collector = "seller"', 'collector = "queen"', 1), encoding="utf-8"
    )
    with pytest.raises(RuleError) as refused:
        load_destinations(folder)
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines, 1) if line == "[[regime.charge]]"]
    assert refused.value.line == starts[2]


def test_a_folder_without_destinations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="found none"):
        load_destinations(tmp_path)


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["tax", "landed", *arguments], input=stdin)


def test_the_example_as_json() -> None:
    result = run(str(EXAMPLE), "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    amounts = {
        name: found[name]
        for name in (
            "regime",
            "currency",
            "goods_value",
            "duty",
            "vat",
            "fee",
            "landed",
            "declaration",
        )
    }
    assert amounts == {
        "regime": "eu-2026", "currency": "EUR", "goods_value": "130.00", "duty": "6.00", "vat": "27.74", "fee": "0.00",
        "landed": "173.74", "declaration": ["H7", "F48"],
    }  # fmt: skip
    assert [charge["collector"] for charge in found["charges"]] == ["ioss-seller", "ioss-seller"]
    assert all(rule["source"] for rule in found["rules"])


def test_the_table_and_the_talk() -> None:
    result = run(str(EXAMPLE), "--at", "2025-05-01")
    assert "CN-DE: eu-2021, ioss" in result.stdout
    assert "declaration H7 C07 F48" in result.stdout
    assert "dest-eu/eu-2021/vat/" in result.stderr


def test_what_is_not_known_leaves_with_one_and_asks(tmp_path: Path) -> None:
    result = run(str(EXAMPLE), "--at", "2028-07-01", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["refused"]["code"] == "corridor_unknown"


@pytest.mark.parametrize(
    ("change", "arguments", "says"),
    [
        ({"direction": "import"}, (), "expected 'export'"),
        (
            {"goods_value": "131.00"},
            (),
            "goods_value: found 131.00, expected 130.00, the sum of the lines' totals (sum_of_lines)",
        ),
        (
            {"currency": "XXX"},
            (),
            "currency: found 'XXX', expected a currency of ISO 4217 supported here, like CNY (is_currency)",
        ),
        ({"freight": "1.001"}, (), "freight"),
        ({"consignee": {}}, (), "consignee.country"),
        ({"lines": []}, (), "lines"),
        ({"placed_at": None}, (), "--at"),
        ({}, ("--at", "soon"), "is not a day"),
        ({}, ("--rate", "USD"), "is not like USD=0.92"),
        ({}, ("--rate", "ZZZ=1"), "is not a currency"),
        ({}, ("--rate", "USD=1e999999999"), "is not like USD=0.92"),
    ],
)
def test_wrong_input_leaves_with_two_and_one_sentence(
    tmp_path: Path, change: dict[str, Any], arguments: tuple[str, ...], says: str
) -> None:
    path = tmp_path / "order.json"
    path.write_text(
        json.dumps(json.loads(EXAMPLE.read_text(encoding="utf-8")) | change), encoding="utf-8"
    )
    result = run(str(path), *arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_the_document_has_every_regime_with_its_first_day() -> None:
    rows = (EXAMPLE.parents[1] / "destinations.md").read_text(encoding="utf-8").splitlines()
    for destination in load_destinations():
        for regime in destination.regime:
            row = next((row for row in rows if f"`{regime.id}`" in row), "")
            assert f"| {regime.valid_from} |" in row, regime.id
            assert regime.status in row or regime.status == "settled", regime.id


def test_validating_a_set_of_rules_looks_at_exports_and_destinations_too(folder: Path) -> None:
    def validated() -> Result:
        return CliRunner().invoke(app, ["tax", "rules", "validate", str(folder)])

    assert validated().exit_code == 0
    for name, old, new in (
        ("dest-gb.toml", 'at_most = "135.00"', 'at_most = "130.00"'),
        ("cn-export-routes.toml", "rank = 2", "rank = 1"),
    ):
        path = folder / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    result = validated()
    assert result.exit_code == 1
    assert "dest-gb.toml:" in result.stdout
    assert "cn-export-routes.toml:" in result.stdout


def test_a_new_corridor_is_one_file_in_a_folder_of_its_own(tmp_path: Path) -> None:
    text = (RULES / "dest-nz.toml").read_text(encoding="utf-8")
    for old, new in (
        ("dest-nz", "dest-br"),
        ('NZ = "NZD"', 'BR = "BRL"'),
        ('"NZD"', '"BRL"'),
        ('country = "NZ"', 'country = "BR"'),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "dest-br.toml").write_text(text, encoding="utf-8")
    order = tmp_path / "order.json"
    document = json.loads(EXAMPLE.read_text(encoding="utf-8")) | {
        "consignee": {"country": "BR"},
        "landed": {},
    }
    order.write_text(json.dumps(document), encoding="utf-8")
    assert run(str(order)).exit_code == 1
    missing = run(str(order), "--rules", str(tmp_path), "--json")
    assert json.loads(missing.stdout)["refused"]["code"] == "rate_missing"
    found = json.loads(
        run(str(order), "--rules", str(tmp_path), "--rate", "EUR=6.20", "--json").stdout
    )
    assert (found["corridor"], found["currency"], found["goods_value"]) == (
        "CN-BR",
        "BRL",
        "806.00",
    )


def test_rates_that_overlap_are_refused_too(folder: Path) -> None:
    path = folder / "rates-cny.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("valid_to = 2015-01-31", "valid_to = 2015-02-01", 1), encoding="utf-8"
    )
    result = run(str(EXAMPLE), "--rules", str(folder))
    assert result.exit_code == 2
    assert "rates-cny.toml:" in result.stderr
