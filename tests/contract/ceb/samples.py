"""Documents to build messages from, and receipts as the authority writes them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from services.customs.ceb.documents import (
    BaseTransfer,
    CancelRequest,
    DraftLine,
    Enterprise,
    ListDraft,
    ReturnLine,
    ReturnRequest,
)
from shared.money import Money

SCHEMAS: Final = Path(__file__).resolve().parents[3].parent / "shared" / "ceb" / "xsd"
needs_schemas = pytest.mark.skipif(
    not SCHEMAS.is_dir(),
    reason="the authority's schemas are not in ../shared/ceb/xsd beside the repository",
)
GUID: Final = "0B6B2C5E-7C1D-4E0A-9F57-1D2A6F0C9A01"
AT: Final = datetime(2026, 11, 23, 1, 2, 3, tzinfo=UTC)
AGENT: Final = Enterprise("1105910159", "Crossborder Declaration Services")
TRANSFER: Final = BaseTransfer(AGENT, "DXPENT0000530815")
PLATFORM: Final = Enterprise("1105910160", "Example Platform")
MERCHANT: Final = Enterprise("46016602EV", "Example Cherries Ltd")
CARRIER: Final = Enterprise("3105960001", "Example Express")


def line(line_no: int = 1, **changed: Any) -> DraftLine:
    made: dict[str, Any] = {
        "line_no": line_no, "sku": "CHERRY-US-1KG", "name": "车厘子", "model": "无牌|鲜|1kg",
        "hs_code": "0809290000",
        "origin": "US", "quantity": Decimal(2), "unit": "kg", "statutory_quantity": Decimal("2.000"),
        "statutory_unit": "kg", "unit_price": Decimal("86.00"), "total": Money.of("172.00", "CNY"),
    }  # fmt: skip
    return DraftLine(**made | changed)


def import_list(number: int = 1, **changed: Any) -> ListDraft:
    made: dict[str, Any] = {
        "guid": GUID, "cop_no": f"C{number:019d}", "app_type": "1", "app_time": AT,
        "order_no": f"SHOP1-{number:06d}",
        "platform": PLATFORM, "merchant": MERCHANT, "logistics": CARRIER, "logistics_no": f"EX{number:09d}",
        "agent": AGENT, "customs_code": "2244", "port_code": "2233", "trade_mode": "9610", "traf_mode": "5",
        "country": "US", "freight": Money.of("20.00", "CNY"), "insurance": Money.zero("CNY"),
        "gross_weight_kg": Decimal("2.3"), "net_weight_kg": Decimal("2.000"), "lines": (line(),),
        "vehicle": "CA988", "voyage_no": "20261123", "bill_no": "99912345675", "guarantor_code": "1105910159",
        "buyer_id_type": "1", "buyer_id_number": "11010519491231002X", "buyer_name": "张三",
        "buyer_phone": "13800000000", "consignee_address": "上海市浦东新区世纪大道1号",
    }  # fmt: skip
    return ListDraft(**made | changed)


def export_list(number: int = 1, **changed: Any) -> ListDraft:
    goods = line(origin="RU", total=Money.of("172.00", "USD"), gtin="6291041500213")
    made: dict[str, Any] = {
        "guid": GUID, "cop_no": f"C{number:019d}", "app_type": "1", "app_time": AT,
        "order_no": f"SHOP2-{number:06d}",
        "platform": PLATFORM, "merchant": MERCHANT, "logistics": CARRIER, "logistics_no": f"EX{number:09d}",
        "agent": AGENT, "customs_code": "2244", "port_code": "2233", "trade_mode": "9610", "traf_mode": "5",
        "country": "RU", "freight": Money.of("5.00", "USD"), "insurance": Money.zero("USD"),
        "gross_weight_kg": Decimal("2.3"), "net_weight_kg": Decimal("2.000"), "lines": (goods,),
        "crossing_on": date(2026, 11, 24), "statistics_flag": "B", "owner": MERCHANT,
        "destination_port": "344",
        "wrap_type": "2",
    }  # fmt: skip
    return ListDraft(**made | changed)


def cancellation(**changed: Any) -> CancelRequest:
    made: dict[str, Any] = {
        "guid": GUID, "cop_no": "C0000000000000000001", "app_time": AT, "customs_code": "2244",
        "invt_no": "22442026I000000001", "agent": AGENT, "merchant": MERCHANT, "reason": "买家取消",
        "pre_no": "B20261123000000001", "order_no": "SHOP1-000001", "platform": PLATFORM,
        "logistics": CARRIER,
        "logistics_no": "EX000000001", "buyer_id_type": "1", "buyer_id_number": "11010519491231002X",
        "buyer_name": "张三", "buyer_phone": "13800000000",
    }  # fmt: skip
    return CancelRequest(**made | changed)


def return_request(**changed: Any) -> ReturnRequest:
    back = ReturnLine(1, "0809290000", "车厘子", Decimal(1), "kg", "无牌", Decimal(1), "kg")
    made: dict[str, Any] = {
        "guid": GUID, "cop_no": "R0000000000000000001", "app_type": "1", "app_time": AT,
        "customs_code": "2244",
        "invt_no": "22442026I000000001", "platform": PLATFORM, "merchant": MERCHANT, "logistics": CARRIER,
        "logistics_no": "EX000000001", "agent": AGENT, "reason": "质量问题", "lines": (back,),
        "order_no": "SHOP1-000001", "buyer_id_type": "1", "buyer_id_number": "11010519491231002X",
        "buyer_name": "张三", "buyer_phone": "13800000000", "trade_mode": "9661", "bill_no": "EX000000001",
        "traf_mode": "5", "vehicle": "SU204", "voyage_no": "20261201", "port_code": "2233", "country": "RU",
    }  # fmt: skip
    return ReturnRequest(**made | changed)


def receipt(message: str, entry: str, fields: str) -> bytes:
    """A receipt of one entry."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<ceb:{message}Message xmlns:ceb="http://www.chinaport.gov.cn/ceb" '
        f'guid="{GUID}" version="1.0"><ceb:{entry}>{fields}</ceb:{entry}></ceb:{message}Message>'
    ).encode()


def elements(**texts: str) -> str:
    """Elements of a receipt, as they come."""
    return "".join(f"<ceb:{name}>{text}</ceb:{name}>" for name, text in texts.items())
