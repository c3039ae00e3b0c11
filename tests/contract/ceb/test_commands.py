"""`crossborder customs …` answers on stdout, talks on stderr, and leaves with the status the contract names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.customs.ceb.build import CEB, build_import_lists
from services.customs.ceb.sign import Signer
from tests.contract.ceb.samples import GUID, SCHEMAS, TRANSFER, elements, import_list, needs_schemas

ADDRESS = "上海市浦东新区世纪大道1号"
ORDER: dict[str, Any] = {
    "order_no": "SHOP1-000001", "direction": "import", "mode": "9610",
    "platform": {"code": "1105910160", "name": "Example Platform"},
    "buyer": {"name": "张三", "id_type": "1", "id_number": "11010519491231002x", "phone": "13800000000"},
    "consignee": {"name": "李四", "phone": "13900000000", "country": "CN", "address": ADDRESS},
    "payment": {"enterprise_code": "PAY1", "token": "tok_ok", "payer": {"name": "张三", "id_number": "11010519491231002X"}},
    "currency": "CNY",
    "lines": [{"line_no": 1, "sku": "CHERRY-US-1KG", "name": "车厘子", "hs_code": "0809290000", "origin": "US", "quantity": "2",
               "unit": "kg", "net_weight_kg": "2.000", "unit_price": "86.00", "total": "172.00"}],
    "goods_value": "172.00", "freight": "20.00", "insurance": "0.00", "discount": "0.00", "tax_withheld": "12.10",
    "amount_paid": "204.10",
}  # fmt: skip
ORDER_HEAD = {
    "ebpCode": "1105910160", "orderNo": "SHOP1-000001", "goodsValue": "172", "freight": "20", "discount": "0", "taxTotal": "12.1",
    "acturalPaid": "204.1", "currency": "142", "buyerName": "张三", "buyerIdNumber": "11010519491231002X",
    "buyerTelephone": "13800000000", "payCode": "PAY1", "consignee": "李四", "consigneeTelephone": "13900000000",
    "consigneeAddress": ADDRESS,
}  # fmt: skip
ORDER_LINE = {"gnum": "1", "itemName": "车厘子", "qty": "2", "unit": "035", "price": "86", "totalPrice": "172", "country": "502"}
PAYMENT = {
    "payCode": "PAY1", "orderNo": "SHOP1-000001", "ebpCode": "1105910160", "payerIdNumber": "11010519491231002X",
    "payerName": "张三", "amountPaid": "204.10", "currency": "142",
}  # fmt: skip
WAYBILL = {
    "logisticsCode": "3105960001", "logisticsNo": "EX000000001", "orderNo": "SHOP1-000001", "consignee": "李四",
    "consigneeAddress": ADDRESS, "consigneeTelephone": "13900000000",
}  # fmt: skip


def message(number: int, outer: str, **parts: dict[str, str]) -> str:
    body = "".join(f"<ceb:{name}>{elements(**texts)}</ceb:{name}>" for name, texts in parts.items())
    head = f'CEB{number}Message xmlns:ceb="{CEB}" guid="{GUID}" version="1.0"'
    return f"<ceb:{head}><ceb:{outer}>{body}</ceb:{outer}></ceb:CEB{number}Message>"


@pytest.fixture
def folder(tmp_path: Path, signer: Signer) -> Path:
    (tmp_path / "order.json").write_text(json.dumps(ORDER))
    (tmp_path / "order.xml").write_text(message(311, "Order", OrderHead=ORDER_HEAD, OrderList=ORDER_LINE))
    (tmp_path / "payment.xml").write_text(message(411, "Payment", PaymentHead=PAYMENT))
    (tmp_path / "short.xml").write_text(message(411, "Payment", PaymentHead=PAYMENT | {"amountPaid": "203.10"}))
    (tmp_path / "waybill.xml").write_text(message(511, "Logistics", LogisticsHead=WAYBILL))
    (tmp_path / "list.xml").write_bytes(signer.sign(build_import_lists(GUID, TRANSFER, [import_list()])))
    return tmp_path


def run(folder: Path, *words: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr; words with a dot in them are files of the folder."""
    found = CliRunner().invoke(app, ["customs", *(str(folder / w) if "." in w else w for w in words)])
    return found.exit_code, found.stdout, found.stderr


@pytest.mark.parametrize("order", ["order.json", "order.xml"])
@pytest.mark.parametrize("payment", ["order.json", "payment.xml"])
@pytest.mark.parametrize("waybill", ["order.json", "waybill.xml"])
@pytest.mark.parametrize("declared", ["order.json", "list.xml"])
def test_the_same_order_matches_itself_in_every_form(folder: Path, order: str, payment: str, waybill: str, declared: str) -> None:
    status, out, _ = run(
        folder, "match", "--order", order, "--payment", payment, "--waybill", waybill, "--list", declared, "--json"
    )
    assert (status, json.loads(out)) == (0, {"matched": True, "missing": [], "mismatches": []})


def test_a_mismatch_shows_code_field_and_both_values(folder: Path) -> None:
    status, out, _ = run(folder, "match", "--order", "order.json", "--payment", "short.xml", "--json")
    assert status == 1
    assert json.loads(out) == {
        "matched": False,
        "missing": ["waybill"],
        "mismatches": [
            {
                "code": "1332",
                "field": "amount_paid",
                "left": {"document": "order", "value": "204.10"},
                "right": {"document": "payment", "value": "203.10"},
            }
        ],
    }
    status, out, _ = run(folder, "match", "--order", "order.json", "--payment", "short.xml")
    assert (status, "1332" in out) == (1, True)


def test_a_message_parses_as_json_and_as_an_outline(folder: Path) -> None:
    status, out, _ = run(folder, "parse", "list.xml", "--json")
    assert (status, json.loads(out)["Inventory"][0]["InventoryHead"]["copNo"]) == (0, import_list().cop_no)
    assert run(folder, "parse", "list.xml")[1].startswith("message: CEB621\n")


@needs_schemas
def test_a_message_is_validated_by_named_schemas(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(folder, "validate", "list.xml", "--schema", str(SCHEMAS) + "/.")[0] == 0
    monkeypatch.setenv("CROSSBORDER_CEB_XSD", str(SCHEMAS))
    assert run(folder, "validate", "list.xml")[:2] == (0, "valid\n")
    status, out, _ = run(folder, "validate", "payment.xml", "--json")
    assert (status, json.loads(out)["valid"]) == (1, False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("match",), "give at least one of"),
        (("match", "--order", "nowhere.json"), "cannot be read"),
        (("match", "--order", "payment.xml"), "CEB311Message"),
        (("match", "--payment", "broken.json"), "cannot be read"),
        (("match", "--order", "empty.json"), "lacks currency"),
        (("parse", "order.json"), "not well-formed"),
        (("validate", "list.xml"), "name the folder of the authority's schemas"),
        (("validate", "list.xml", "--schema", "empty.d"), "holds no import-business-node.xsd"),
    ],
)
def test_wrong_input_leaves_with_2_and_one_sentence(
    folder: Path, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROSSBORDER_CEB_XSD", raising=False)
    (folder / "broken.json").write_text("{")
    (folder / "empty.json").write_text("{}")
    (folder / "empty.d").mkdir()
    status, out, err = run(folder, *words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
