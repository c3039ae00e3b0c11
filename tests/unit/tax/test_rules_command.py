"""`crossborder tax rules`: what rules say, how sets differ, whether one is good, and what it would have changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.tax.rulefiles import RULES, load

ORDER = Path(__file__).with_name("golden") / "submission.json"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tax", "rules", *arguments])


@pytest.fixture
def proposed(tmp_path: Path) -> Path:
    """The rules of the release, but fresh produce at 10 %."""
    folder = Path(shutil.copytree(RULES, tmp_path / "proposed"))
    edit(folder, "tariff-cn.toml", 'rate = "0.09"', 'rate = "0.10"')
    return folder


def edit(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_list_names_every_file_with_its_days_and_the_edition() -> None:
    found = json.loads(run("list", "--json").stdout)
    assert found["edition"] == load().edition
    ours = {row["file"]: row for row in found["files"]}
    assert (ours["cbec-retail-2016.toml"]["valid_from"], ours["cbec-retail-2016.toml"]["valid_to"]) == (
        "2016-04-08",
        "2018-12-31",
    )
    assert sum(ours["tariff-cn.toml"]["confidence"].values()) > 100
    assert found["edition"] in run("list").stdout


def test_show_says_what_goods_owe_on_a_day_by_every_regime_and_why() -> None:
    found = json.loads(run("show", "3304990029", "--at", "2016-09-30", "--json").stdout)
    by_regime = {row["regime"]: row for row in found["regimes"]}
    assert set(by_regime) == {"cbec-retail-2016", "cn-general-trade", "parcel-tax-2016"}
    assert by_regime["cbec-retail-2016"]["within_limits"]["consumption_tax"] == "30.0000 %"
    assert all(len(source) > 5 for source in by_regime["parcel-tax-2016"]["rules"].values())
    assert run("show", "9902000000").exit_code == 1


def test_show_finds_a_file_and_a_rule_as_an_assessment_names_it() -> None:
    assert "tax_at_most" in run("show", "parcel-tax-2012/waiver").stdout
    assert "parcel-tax-2012/limit/HK+MO+TW" in run("show", "parcel-tax-2012").stdout
    assert run("show", "parcel-tax-1999").exit_code == 2


def test_compare_names_each_rule_that_differs_and_what_stood_there(proposed: Path) -> None:
    result = run("compare", str(RULES), str(proposed), "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)["differences"]
    assert found == [{"rule": "tariff-cn/vat/agricultural/2019-04-01", "kind": "changed", "fields": {"rate": ["0.09", "0.10"]}}]
    assert run("compare", str(RULES)).exit_code == 0


def test_validate_names_every_fault_with_file_and_line(proposed: Path) -> None:
    assert run("validate", str(proposed)).exit_code == 0
    edit(proposed, "tariff-cn.toml", 'rate = "0.10"', 'rate = "-0.10"')
    edit(proposed, "parcel-tax-2012.toml", "[waiver]", "[waiver")
    result = run("validate", str(proposed), "--json")
    assert result.exit_code == 1
    faults = {fault["file"]: fault for fault in json.loads(result.stdout)["faults"]}
    assert set(faults) == {"tariff-cn.toml", "parcel-tax-2012.toml"}
    assert all(fault["line"] for fault in faults.values())
    assert run("validate", str(proposed / "none")).exit_code == 2


def test_what_if_counts_orders_of_a_file_and_the_tax_by_either_set(proposed: Path, tmp_path: Path) -> None:
    order = json.loads(ORDER.read_text(encoding="utf-8"))
    dear = order | {
        "order_no": "DEAR",
        "goods_value": "5300.00",
        "lines": [order["lines"][0] | {"total": "5000.00"}, order["lines"][1]],
    }
    cream = order | {"order_no": "CREAM", "goods_value": "425.00", "lines": order["lines"][:1]}
    unlisted = order | {"order_no": "CHERRY", "goods_value": "300.00", "lines": order["lines"][1:]}
    path = tmp_path / "orders.jsonl"
    path.write_text("\n".join(map(json.dumps, (order, dear, cream, unlisted))), encoding="utf-8")
    edit(proposed, "cbec-retail-2019.toml", 'amount = "5000.00"', 'amount = "5500.00"')
    found = json.loads(run("what-if", str(proposed), "--orders", str(path), "--json").stdout)
    assert found["more"] == {"orders": 2, "before": "135.80", "after": "140.00"}
    assert found["admitted"]["orders"] == 1
    assert found["same"]["orders"] == 1
    assert [row[0] for row in found["changed"]] == ["SHOP1-20261123-000001", "DEAR", "CHERRY"]
    assert "would owe more" in run("what-if", str(proposed), "--orders", str(path)).stdout
