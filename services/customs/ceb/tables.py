"""The elements of each message and the fields they come from, in the order of the schema (edition
202205).
"""

from __future__ import annotations

from typing import Any, Final

from services.customs.ceb import codes
from services.customs.ceb.elements import (
    Column,
    amount,
    bar_code,
    compiled,
    currency,
    day,
    exactly,
    fixed,
    moment,
    number,
    text,
    whole,
    yuan,
)

CNY: Final = "142"
DECLARED: Final = "2"
"""appStatus: declared, not staged."""


def _party(prefix: str, source: str, *, optional: bool = False) -> tuple[Column, Column]:
    return (
        Column(f"{prefix}Code", f"{source}.code", text(18), optional),
        Column(f"{prefix}Name", f"{source}.name", text(100), optional),
    )


def _buyer() -> tuple[Column, ...]:
    return (
        Column("buyerIdType", "buyer_id_type", exactly(1)),
        Column("buyerIdNumber", "buyer_id_number", text(60)),
        Column("buyerName", "buyer_name", text(60)),
        Column("buyerTelephone", "buyer_phone", text(30)),
    )


_GUID: Final = Column("guid", "guid", exactly(36))
_APP: Final = (
    _GUID, Column("appType", "app_type", exactly(1)), Column("appTime", "app_time", moment),
    Column("appStatus", None, fixed(DECLARED)),
)  # fmt: skip
_CUSTOMS: Final = Column("customsCode", "customs_code", exactly(4))
_NOTE: Final = Column("note", "note", text(1000), optional=True)
_ORDER_NO: Final = Column("orderNo", "order_no", text(60))

BASE_TRANSFER: Final = compiled((
    Column("copCode", "company.code", text(18)), Column("copName", "company.name", text(100)),
    Column("dxpMode", None, fixed("DXP")), Column("dxpId", "dxp_id", text(30)), _NOTE,
))  # fmt: skip

IMPORT_HEAD: Final = compiled((
    *_APP, _ORDER_NO, *_party("ebp", "platform"), *_party("ebc", "merchant"),
    Column("logisticsNo", "logistics_no", text(60)), *_party("logistics", "logistics"),
    Column("copNo", "cop_no", text(20)),
    Column("preNo", "pre_no", text(18), optional=True),
    Column("assureCode", "guarantor_code", text(30)),
    Column("emsNo", "ledger_no", text(30), optional=True),
    Column("invtNo", "invt_no", text(18), optional=True),
    Column("ieFlag", None, fixed("I")),
    Column("declTime", "app_time", day),
    _CUSTOMS, Column("portCode", "port_code", exactly(4)),
    Column("ieDate", "crossing_on", day, optional=True),
    *_buyer(), Column("consigneeAddress", "consignee_address", text(200)),
    *_party("agent", "agent"), *_party("area", "area", optional=True),
    Column("tradeMode", "trade_mode", exactly(4)), Column("trafMode", "traf_mode", exactly(1)),
    Column("trafNo", "vehicle", text(100), optional=True),
    Column("voyageNo", "voyage_no", text(32), optional=True),
    Column("billNo", "bill_no", text(37), optional=True),
    Column("loctNo", "site_code", text(10), optional=True),
    Column("country", "country", codes.country_code),
    Column("freight", "freight", yuan), Column("insuredFee", "insurance", yuan),
    Column("currency", None, fixed(CNY)),
    Column("wrapType", "wrap_type", exactly(1), optional=True),
    # One parcel a waybill [202205].
    Column("packNo", None, fixed("1")),
    Column("grossWeight", "gross_weight_kg", number),
    Column("netWeight", "net_weight_kg", number), _NOTE,
))  # fmt: skip

IMPORT_LINE: Final = compiled((
    Column("gnum", "line_no", whole),
    Column("itemRecordNo", "record_no", text(30), optional=True),
    Column("itemNo", "sku", text(20), optional=True), Column("itemName", "name", text(250)),
    Column("gcode", "hs_code", exactly(10)), Column("gname", "name", text(250)),
    Column("gmodel", "model", text(510)),
    Column("barCode", "gtin", bar_code), Column("country", "origin", codes.country_code),
    Column("currency", None, fixed(CNY)),
    Column("qty", "quantity", number), Column("unit", "unit", codes.unit_code),
    Column("qty1", "statutory_quantity", number),
    Column("unit1", "statutory_unit", codes.unit_code),
    Column("qty2", "second_quantity", number, optional=True),
    Column("unit2", "second_unit", codes.unit_code, optional=True),
    Column("price", "unit_price", number), Column("totalPrice", "total", yuan), _NOTE,
))  # fmt: skip

EXPORT_HEAD: Final = compiled((
    *_APP, _CUSTOMS, *_party("ebp", "platform"), _ORDER_NO, *_party("logistics", "logistics"),
    Column("logisticsNo", "logistics_no", text(32)), Column("copNo", "cop_no", text(30)),
    Column("preNo", "pre_no", exactly(18), optional=True),
    Column("invtNo", "invt_no", text(20), optional=True),
    Column("ieFlag", None, fixed("E")), Column("portCode", "port_code", exactly(4)),
    Column("ieDate", "crossing_on", day),
    Column("statisticsFlag", "statistics_flag", exactly(1)),
    *_party("agent", "agent"), *_party("ebc", "merchant"), *_party("owner", "owner"),
    *_party("iac", "area", optional=True), Column("emsNo", "ledger_no", text(30), optional=True),
    Column("tradeMode", "trade_mode", exactly(4)), Column("trafMode", "traf_mode", exactly(1)),
    Column("trafName", "vehicle", text(100), optional=True),
    Column("voyageNo", "voyage_no", text(32), optional=True),
    Column("billNo", "bill_no", text(37), optional=True),
    Column("totalPackageNo", "total_package_no", text(37), optional=True),
    Column("loctNo", "site_code", text(10), optional=True),
    Column("country", "country", codes.country_code), Column("POD", "destination_port", text(4, 3)),
    Column("freight", "freight", amount), Column("fCurrency", "freight", currency),
    Column("fFlag", None, fixed("3")),
    Column("insuredFee", "insurance", amount), Column("iCurrency", "insurance", currency),
    Column("iFlag", None, fixed("3")),
    Column("wrapType", "wrap_type", exactly(1)), Column("packNo", "pack_count", whole),
    Column("grossWeight", "gross_weight_kg", number),
    Column("netWeight", "net_weight_kg", number), _NOTE,
))  # fmt: skip

EXPORT_LINE: Final = compiled((
    Column("gnum", "line_no", whole), Column("itemNo", "sku", text(20)),
    Column("itemRecordNo", "record_no", text(30), optional=True),
    Column("itemName", "name", text(250)),
    Column("gcode", "hs_code", exactly(10)), Column("gname", "name", text(250)),
    Column("gmodel", "model", text(250)),
    Column("barCode", "gtin", bar_code), Column("country", "origin", codes.country_code),
    Column("currency", "total", currency),
    Column("qty", "quantity", number), Column("qty1", "statutory_quantity", number),
    Column("qty2", "second_quantity", number, optional=True),
    Column("unit", "unit", codes.unit_code), Column("unit1", "statutory_unit", codes.unit_code),
    Column("unit2", "second_unit", codes.unit_code, optional=True),
    Column("price", "unit_price", number), Column("totalPrice", "total", amount), _NOTE,
))  # fmt: skip

IMPORT_CANCEL: Final = compiled((
    # 623 is only ever new [202205].
    _GUID, Column("appType", None, fixed("1")), Column("appTime", "app_time", moment),
    Column("appStatus", None, fixed(DECLARED)),
    _CUSTOMS, _ORDER_NO, *_party("ebp", "platform"), *_party("ebc", "merchant"),
    Column("logisticsNo", "logistics_no", text(60)), *_party("logistics", "logistics"),
    Column("copNo", "cop_no", text(20)), Column("preNo", "pre_no", text(18), optional=True),
    Column("invtNo", "invt_no", text(18)), *_buyer(), *_party("agent", "agent"),
    Column("reason", "reason", text(1000)), _NOTE,
))  # fmt: skip

EXPORT_CANCEL: Final = compiled((
    _GUID, Column("appType", None, fixed("1")), Column("appTime", "app_time", moment),
    Column("appStatus", None, fixed(DECLARED)),
    _CUSTOMS, Column("copNo", "cop_no", text(30)), Column("preNo", "pre_no", exactly(18),
    optional=True),
    Column("invtNo", "invt_no", text(20)), Column("reason", "reason", text(1000)),
    *_party("agent", "agent"), *_party("ebc", "merchant"), _NOTE,
))  # fmt: skip

IMPORT_RETURN_HEAD: Final = compiled((
    *_APP, _CUSTOMS, _ORDER_NO, *_party("ebp", "platform"), *_party("ebc", "merchant"),
    Column("logisticsNo", "logistics_no", text(60)), *_party("logistics", "logistics"),
    Column("copNo", "cop_no", text(20)), Column("preNo", "pre_no", text(18), optional=True),
    Column("invtNo", "invt_no", text(18)), *_buyer(), *_party("agent", "agent"),
    Column("reason", "reason", text(1000)), _NOTE,
))  # fmt: skip

IMPORT_RETURN_LINE: Final = compiled((
    Column("gnum", "line_no", whole), Column("gcode", "hs_code", exactly(10)),
    Column("gname", "name", text(250)),
    Column("qty", "quantity", number), Column("unit", "unit", codes.unit_code), _NOTE,
))  # fmt: skip

EXPORT_RETURN_HEAD: Final = compiled((
    *_APP, _CUSTOMS, Column("loctNo", "site_code", text(10), optional=True),
    *_party("ebp", "platform"), *_party("ebc", "merchant"),
    Column("logisticsNo", "logistics_no", text(80)), *_party("logistics", "logistics"),
    Column("coElNo", "cop_no", text(30)), Column("preNo", "pre_no", text(18), optional=True),
    Column("invtNo", "invt_no", text(20)),
    # The specification's text says 9661 or 1261, its schema 9610, 1210 or 1239: the policy decides.
    Column("tradeMode", "trade_mode", exactly(4), optional=True),
    *_party("agent", "agent"), Column("billNo", "bill_no", text(37)),
    Column("ieFlag", None, fixed("I")),
    Column("trafMode", "traf_mode", exactly(1)), Column("trafName", "vehicle", text(100)),
    Column("portCode", "port_code", exactly(4)), Column("reason", "reason", text(500)),
    Column("country", "country", codes.country_code), Column("voyageNo", "voyage_no", text(32)),
    Column("note", "note", text(500), optional=True),
))  # fmt: skip

EXPORT_RETURN_LINE: Final = compiled((
    Column("gnum", "line_no", whole), Column("gcode", "hs_code", text(10)),
    Column("gname", "name", text(250)),
    Column("gmodel", "model", text(250)), Column("qty", "quantity", number),
    Column("qty1", "statutory_quantity", number), Column("unit", "unit", codes.unit_code),
    Column("unit1", "statutory_unit", codes.unit_code),
    Column("qty2", "second_quantity", number, optional=True),
    Column("unit2", "second_unit", codes.unit_code, optional=True),
    Column("note", "note", text(500), optional=True),
))  # fmt: skip

SUMMARY_HEAD: Final = compiled((
    # A repeated request is a request of its own, so it is always new.
    _GUID, Column("appType", None, fixed("1")), Column("appTime", "app_time", moment),
    Column("appStatus", None, fixed(DECLARED)),
    _CUSTOMS, Column("copNo", "cop_no", text(30)),
    *_party("agent", "agent"), *_party("ebc", "merchant"), *_party("declAgent", "broker"),
    Column("loctNo", "site_code", text(10), optional=True),
    Column("summaryFlag", "summary_flag", exactly(1)),
    # The text says "1 or not filled in", the schema wants one character: 0 is "not filled in".
    Column("itemNameFlag", "item_name_flag", exactly(1)),
    # The text says "not filled in where not split", the schema wants both: 1 of 1.
    Column("msgCount", "count", whole), Column("msgSeqNo", "seq", whole), _NOTE,
))  # fmt: skip

_ALL: Final = (
    BASE_TRANSFER, IMPORT_HEAD, IMPORT_LINE, EXPORT_HEAD, EXPORT_LINE, IMPORT_CANCEL,
    EXPORT_CANCEL, IMPORT_RETURN_HEAD,
    IMPORT_RETURN_LINE, EXPORT_RETURN_HEAD, EXPORT_RETURN_LINE, SUMMARY_HEAD,
)  # fmt: skip


def check(source: str, value: Any) -> None:
    """Write a value as every message with this field does.

    Raises ValueError with the element and its rule; KeyError for a field that no message has.
    """
    columns = [
        (opening[1:-1], write)
        for table in _ALL
        for name, opening, _, _, write, _ in table
        if name == source
    ]
    if not columns:
        raise KeyError(source)
    for element, write in columns:
        try:
            write(value)
        except ValueError as error:
            raise ValueError(f"{element} {error}") from None
