"""`crossborder tax assess`: the JSON scripts know, and one sentence for each wrong input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.tax.rulebook.files import RULES, load

GOLDEN = Path(__file__).with_name("golden")


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["tax", "assess", *arguments], input=stdin)


def submission() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / "submission.json").read_text(encoding="utf-8"))
    return found


def written(tmp_path: Path, what: object) -> str:
    path = tmp_path / "order.json"
    path.write_text(json.dumps(what), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("golden", "arguments", "status"),
    [
        ("assessed", (), 0),
        ("refused", ("--used", "25900.00"), 1),
        ("no-regime", ("--at", "2009-11-23"), 1),
    ],
)
def test_json_is_as_the_contract_says(golden: str, arguments: tuple[str, ...], status: int) -> None:
    result = run(str(GOLDEN / "submission.json"), "--json", *arguments)
    assert result.exit_code == status
    found = result.stdout.replace(load().edition, "…")
    assert json.loads(found) == json.loads((GOLDEN / f"{golden}.json").read_text(encoding="utf-8"))


def test_the_table_says_the_total_and_why_a_refusal() -> None:
    assert "total tax 116.90 CNY, payable 116.90" in run(str(GOLDEN / "submission.json")).stdout
    assert "refused 1313" in run(str(GOLDEN / "submission.json"), "--used", "25900").stdout


def test_a_submission_may_come_by_stdin_and_lack_what_tax_does_not_need() -> None:
    line = {"line_no": 1, "hs_code": "9503.00.89", "quantity": "1", "total": "1000.00"}
    least = {"direction": "import", "mode": "9610", "currency": "CNY", "lines": [line]}
    result = run("-", "--at", "2026-11-23", "--json", stdin=json.dumps(least))
    assert (result.exit_code, json.loads(result.stdout)["vat"]) == (0, "91.00")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lines": []}, "lines"),
        ({"currency": "XYZ"}, "currency"),
        ({"direction": "sideways"}, "direction"),
        ({"goods_value": "1.00"}, "goods_value"),
        ({"freight": "1.005"}, "freight"),
        ({"freight": 1.5}, "freight"),
        ({"insurance": "-1.00"}, "insurance"),
        ({"placed_at": "2026-11-23T09:00:00"}, "placed_at"),
    ],
)
def test_wrong_input_is_one_sentence_naming_the_field(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    result = run(written(tmp_path, submission() | change))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"freight": 1.5}, "freight: found the number 1.5, expected a decimal string"),
        (
            {"freight": "1.005"},
            "freight: found 1.005, expected an amount of at most 2 decimals, as CNY has",
        ),
        ({"freight": "1,00"}, "freight: found '1,00', expected a decimal in a string"),
        ({"freight": "NaN"}, "freight: found 'NaN', expected a finite decimal"),
        ({"insurance": "-1"}, "insurance: found '-1', expected at least 0 (at_least)"),
        ({"currency": "cny"}, "currency: found 'cny', expected a currency of ISO 4217"),
        (
            {"direction": "sideways"},
            "direction: found 'sideways', expected import or export (one_of)",
        ),
        (
            {"goods_value": "724.99"},
            "goods_value: found 724.99, expected 725.00, the sum of the lines' totals (sum_of_lines)",
        ),
        ({"lines": []}, "lines: found 0 lines, expected at least 1 lines (line_count)"),
        ({"lines": "none"}, "lines: found 'none', expected a list (is_list)"),
        (
            {"merchant": {"country": "usa"}},
            "merchant.country: found 'usa', expected ISO 3166-1 alpha-2 in capitals",
        ),
        ({"placed_at": "soon"}, "placed_at: found 'soon', expected a time with its offset"),
        ({"placed_at": None}, "placed_at: found nothing, expected a time with its offset"),
    ],
)
def test_a_fault_says_field_found_expected_and_rule(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    result = run(written(tmp_path, submission() | change))
    assert result.exit_code == 2
    assert said in result.stderr


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    what = submission() | {"freight": 1.5, "mode": None}
    what["lines"][0] |= {
        "hs_code": "3304.99.x",
        "quantity": "0",
        "net_content": {"value": "20", "unit": "oz"},
    }
    del what["lines"][1]["total"]
    said = run(written(tmp_path, what)).stderr.splitlines()
    fields = (
        "mode",
        "lines[0].hs_code",
        "lines[0].quantity",
        "lines[0].net_content.unit",
        "lines[1].total",
        "freight",
    )
    assert [line.split(": ")[1] for line in said] == list(fields)
    found = json.loads(run("-", stdin="\n".join([json.dumps(what)] * 2)).stdout.splitlines()[0])
    assert [fault["field"] for fault in found["faults"]] == list(fields)
    assert found["faults"][4] == {
        "field": "lines[1].total",
        "rule": "required",
        "found": "nothing",
        "expected": "a value",
    }


def test_a_line_number_is_there_once(tmp_path: Path) -> None:
    what = submission()
    what["lines"][1]["line_no"] = 1
    assert (
        "lines[1].line_no: found 1, expected a number that no other line has (unique)"
        in run(written(tmp_path, what)).stderr
    )


@pytest.mark.parametrize("field", ["hs_code", "quantity", "total", "line_no"])
def test_a_line_without_a_field_is_named_with_it(tmp_path: Path, field: str) -> None:
    what = submission()
    del what["lines"][1][field]
    result = run(written(tmp_path, what))
    assert result.exit_code == 2
    assert f"lines[1].{field}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--at", "yesterday"), "--at"),
        (("--used", "much"), "--used"),
        (("--used", "-1"), "--used"),
        (("--used-kg", "rice"), "--used-kg"),
    ],
)
def test_wrong_options_are_named(arguments: tuple[str, ...], said: str) -> None:
    result = run(str(GOLDEN / "submission.json"), *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_a_file_that_is_not_there_or_not_json_is_named(tmp_path: Path) -> None:
    assert run(str(tmp_path / "none.json")).exit_code == 2
    (tmp_path / "text.json").write_text("cherries", encoding="utf-8")
    assert "text.json" in run(str(tmp_path / "text.json")).stderr


def test_json_lines_get_a_line_each_and_a_bad_one_its_number(tmp_path: Path) -> None:
    good, dear, bad = submission(), submission(), submission()
    dear["lines"][0]["total"], dear["goods_value"] = "26000.00", "26300.00"
    bad["freight"] = 1.5
    path = tmp_path / "orders.jsonl"
    path.write_text(
        "\n".join([json.dumps(good), "", json.dumps(dear), json.dumps(bad), "{cherries"]),
        encoding="utf-8",
    )
    result = run(str(path))
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["line"] for line in found] == [1, 3, 4, 5]
    assert (found[0]["total"], found[1]["refused"]["code"]) == ("116.90", "1313")
    assert "freight" in found[2]["error"]
    assert "line 5" in found[3]["error"]
    assert result.exit_code == 2


@pytest.mark.parametrize(("used", "status"), [("0", 0), ("25900", 1)])
def test_the_status_of_json_lines_is_that_of_the_worst(used: str, status: int) -> None:
    lines = "\n".join([json.dumps(submission())] * 2)
    assert run("-", "--used", used, stdin=lines).exit_code == status


def test_the_day_may_be_a_time_and_turns_at_beijing_midnight() -> None:
    file = str(GOLDEN / "submission.json")
    days = {
        "2018-12-31T15:59:59Z": "cbec-retail-2016",
        "2018-12-31T16:00:00Z": "cbec-retail-2019",
        "2018-12-31": "cbec-retail-2016",
    }
    assert {at: json.loads(run(file, "--at", at, "--json").stdout)["regime"] for at in days} == days
    assert "offset" in run(file, "--at", "2018-12-31T15:59:59").stderr


def test_another_folder_of_rules_may_be_asked(tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    shutil.copytree(RULES, folder)
    tariff = folder / "tariff-cn.toml"
    tariff.write_text(
        tariff.read_text(encoding="utf-8").replace('rate = "0.09"', 'rate = "0.10"'),
        encoding="utf-8",
    )
    found = json.loads(
        run(str(GOLDEN / "submission.json"), "--rules", str(folder), "--json").stdout
    )
    assert found["lines"][1]["vat"] == "21.00"
    assert found["edition"] != load().edition
