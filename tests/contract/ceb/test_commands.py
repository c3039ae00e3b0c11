"""`crossborder customs …` answers on stdout, talks on stderr, and leaves with the status the contract names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.customs.ceb.build import CEB, build_export_lists, build_import_lists
from services.customs.ceb.sign import Signer
from shared.money import Money
from tests.contract.ceb.samples import (
    GUID,
    SCHEMAS,
    TRANSFER,
    elements,
    export_list,
    import_list,
    line,
    needs_schemas,
)

ADDRESS = "世纪大道1号"
ORDER: dict[str, Any] = {
    "order_no": "SHOP1-000001", "direction": "import", "mode": "9610",
    "platform": {"code": "1105910160", "name": "Example Platform"},
    "buyer": {"name": "张三", "id_type": "1", "id_number": "11010519491231002x", "phone": "13800000000"},
    "consignee": {"name": "李四", "phone": "13900000000", "country": "CN", "region": "上海市", "city": "浦东新区", "address": ADDRESS},
    "payment": {"enterprise_code": "PAY1", "token": "tok_ok", "payer": {"name": "张三", "id_number": "11010519491231002X"}},
    "currency": "CNY",
    "lines": [{"line_no": 1, "sku": "CHERRY-US-1KG", "name": "车厘子", "hs_code": "0809290000", "origin": "US", "quantity": "2",
               "unit": "pcs", "net_weight_kg": "2.000", "unit_price": "86.00", "total": "172.00"}],
    "goods_value": "172.00", "freight": "20.00", "insurance": "0.00", "discount": "0.00", "tax_withheld": "12.10",
    "amount_paid": "204.10",
}  # fmt: skip
ORDER_HEAD = {
    "ebpCode": "1105910160", "orderNo": "SHOP1-000001", "goodsValue": "172", "freight": "20", "discount": "0", "taxTotal": "12.1",
    "acturalPaid": "204.1", "currency": "142", "buyerName": "张三", "buyerIdNumber": "11010519491231002X",
    "buyerTelephone": "13800000000", "payCode": "PAY1", "consignee": "李四", "consigneeTelephone": "13900000000",
    "consigneeAddress": ADDRESS,
}  # fmt: skip
ORDER_LINE = {
    "gnum": "1",
    "itemName": "车厘子",
    "qty": "2",
    "unit": "007",
    "price": "86",
    "totalPrice": "172",
    "country": "502",
}
PAYMENT = {
    "payCode": "PAY1", "orderNo": "SHOP1-000001", "ebpCode": "1105910160", "payerIdNumber": "11010519491231002X",
    "payerName": "张三", "amountPaid": "204.10", "currency": "142",
}  # fmt: skip
WAYBILL = {
    "logisticsCode": "3105960001", "logisticsNo": "EX000000001", "orderNo": "SHOP1-000001", "consignee": "李四",
    "consigneeAddress": ADDRESS, "consigneeTelephone": "13900000000",
}  # fmt: skip
EXPORT: dict[str, Any] = ORDER | {
    "order_no": "SHOP2-000001", "direction": "export", "currency": "USD", "freight": "5.00", "tax_withheld": "0.00",
    "amount_paid": "177.00", "consignee": ORDER["consignee"] | {"country": "RU"},
}  # fmt: skip
EXPORT_HEAD = {
    "ebpCode": "1105910160",
    "orderNo": "SHOP2-000001",
    "goodsValue": "172",
    "freight": "5",
    "currency": "502",
}
EXPORT_LINE = {
    "gnum": "1",
    "itemName": "车厘子",
    "qty": "2",
    "unit": "007",
    "currency": "502",
    "price": "86",
    "totalPrice": "172",
}
FUNDS = {
    "ebpCode": "1105910160",
    "orderNo": "SHOP2-000001",
    "payCode": "PAY1",
    "charge": "177.00",
    "currency": "502",
}
EXPORT_WAYBILL = {
    "logisticsCode": "3105960001",
    "logisticsNo": "EX000000001",
    "freight": "5",
    "currency": "502",
}
GOODS = line(unit="pcs")
"""As the customs service declares them."""


def message(number: int, outer: str, **parts: dict[str, str]) -> str:
    body = "".join(
        f"<ceb:{name}>{elements(**texts)}</ceb:{name}>" if name else elements(**texts)
        for name, texts in parts.items()
    )
    head = f'CEB{number}Message xmlns:ceb="{CEB}" guid="{GUID}" version="1.0"'
    return f"<ceb:{head}><ceb:{outer}>{body}</ceb:{outer}></ceb:CEB{number}Message>"


@pytest.fixture
def folder(tmp_path: Path, signer: Signer) -> Path:
    (tmp_path / "order.json").write_text(json.dumps(ORDER))
    (tmp_path / "order.xml").write_text(
        message(311, "Order", OrderHead=ORDER_HEAD, OrderList=ORDER_LINE)
    )
    (tmp_path / "payment.xml").write_text(message(411, "Payment", PaymentHead=PAYMENT))
    (tmp_path / "short.xml").write_text(
        message(411, "Payment", PaymentHead=PAYMENT | {"amountPaid": "203.10"})
    )
    (tmp_path / "waybill.xml").write_text(message(511, "Logistics", LogisticsHead=WAYBILL))
    lists = {
        "list.xml": build_import_lists(GUID, TRANSFER, [import_list(consignee_address=printed(), lines=(GOODS,))]),
        "plain.xml": build_import_lists(GUID, TRANSFER, [import_list(consignee_address=ADDRESS, lines=(GOODS,))]),
        "elsewhere.xml": build_import_lists(GUID, TRANSFER, [import_list(consignee_address=f"{printed()}0", lines=(GOODS,))]),
        "export-list.xml": build_export_lists(GUID, TRANSFER, [
            export_list(lines=(replace(GOODS, origin="RU", total=Money.of("172.00", "USD"), gtin="6291041500213"),)),
        ]),
    }  # fmt: skip
    for name, built in lists.items():
        (tmp_path / name).write_bytes(signer.sign(built))
    (tmp_path / "export.json").write_text(json.dumps(EXPORT))
    (tmp_path / "export.xml").write_text(
        message(303, "Order", OrderHead=EXPORT_HEAD, OrderList=EXPORT_LINE)
    )
    (tmp_path / "funds.xml").write_text(message(403, "Receipts", **{"": FUNDS}))
    (tmp_path / "short-funds.xml").write_text(
        message(403, "Receipts", **{"": FUNDS | {"charge": "176.00"}})
    )
    (tmp_path / "export-waybill.xml").write_text(message(505, "Logistics", **{"": EXPORT_WAYBILL}))
    return tmp_path


def printed() -> str:
    """The address as a list has it."""
    return " ".join((*(ORDER["consignee"][name] for name in ("region", "city")), ADDRESS))


def run(folder: Path, *words: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr; words with a dot in them are files of the folder."""
    found = CliRunner().invoke(
        app, ["customs", *(str(folder / w) if "." in w else w for w in words)]
    )
    return found.exit_code, found.stdout, found.stderr


def matched(folder: Path, order: str, payment: str, waybill: str, declared: str) -> tuple[int, Any]:
    """Exit status and JSON of a match of the four."""
    words = (
        "--order",
        order,
        "--payment",
        payment,
        "--waybill",
        waybill,
        "--list",
        declared,
        "--json",
    )
    status, out, _ = run(folder, "match", *words)
    return status, json.loads(out)


# A 311 has one field for all of the address, and so has the list of its order.
PAIRS = [("order.json", name) for name in ("order.json", "list.xml", "plain.xml")] + [
    ("order.xml", name) for name in ("order.json", "plain.xml")
]


@pytest.mark.parametrize(("order", "declared"), PAIRS)
@pytest.mark.parametrize("payment", ["order.json", "payment.xml"])
@pytest.mark.parametrize("waybill", ["order.json", "waybill.xml"])
def test_the_same_order_matches_itself_in_every_form(
    folder: Path, order: str, payment: str, waybill: str, declared: str
) -> None:
    status, found = matched(folder, order, payment, waybill, declared)
    assert (status, found) == (0, {"matched": True, "missing": [], "mismatches": []})


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"address": f"上海浦东新区{ADDRESS}", "region": None, "city": None}, []),
        ({"address": f"上海市 浦东新区，{ADDRESS}"}, []),
        ({"address": f"{ADDRESS}\u200b"}, []),
        ({"address": f"{ADDRESS}1"}, [("-503001", "consignee.address")]),
    ],
)
def test_files_are_compared_as_the_service_compares(
    folder: Path, changed: dict[str, Any], found: list[tuple[str, str]]
) -> None:
    sent = {"order_no": ORDER["order_no"], "logistics_code": "L", "logistics_no": "W1", "gross_weight_kg": "9",
            "consignee": ORDER["consignee"] | changed}  # fmt: skip
    for gross, light in (("9", []), ("0.1", [("-503001", "gross_weight_kg")])):
        (folder / "parcel.json").write_text(json.dumps(sent | {"gross_weight_kg": gross}))
        _, told = matched(folder, "order.json", "order.json", "parcel.json", "order.json")
        assert [(m["code"], m["field"]) for m in told["mismatches"]] == [*found, *light]


@pytest.mark.parametrize("order", ["export.json", "export.xml"])
@pytest.mark.parametrize("payment", ["export.json", "funds.xml"])
@pytest.mark.parametrize("waybill", ["export.json", "export-waybill.xml"])
@pytest.mark.parametrize("declared", ["export.json", "export-list.xml"])
def test_an_export_matches_itself_in_every_form(
    folder: Path, order: str, payment: str, waybill: str, declared: str
) -> None:
    status, found = matched(folder, order, payment, waybill, declared)
    assert (status, found) == (0, {"matched": True, "missing": [], "mismatches": []})


@pytest.mark.parametrize(
    ("words", "code", "field"),
    [
        (("--order", "order.json", "--list", "elsewhere.xml"), "-503001", "consignee.address"),
        (("--order", "export.xml", "--payment", "short-funds.xml"), "1332", "amount_paid"),
        (("--order", "export.json", "--payment", "short-funds.xml"), "1332", "amount_paid"),
    ],
)
def test_what_differs_in_any_form_is_a_mismatch(
    folder: Path, words: tuple[str, ...], code: str, field: str
) -> None:
    status, out, _ = run(folder, "match", *words, "--json")
    assert (status, [(m["code"], m["field"]) for m in json.loads(out)["mismatches"]]) == (
        1,
        [(code, field)],
    )


def test_a_mismatch_shows_code_field_and_both_values(folder: Path) -> None:
    status, out, _ = run(
        folder, "match", "--order", "order.json", "--payment", "short.xml", "--json"
    )
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
    assert (status, json.loads(out)["Inventory"][0]["InventoryHead"]["copNo"]) == (
        0,
        import_list().cop_no,
    )
    assert run(folder, "parse", "list.xml")[1].startswith("message: CEB621\n")


@needs_schemas
def test_a_message_is_validated_by_named_schemas(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        (
            ("match", "--order", "payment.xml"),
            "CEB311Message, CEB303Message or JSON, not from CEB411Message",
        ),
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
