"""Read a CEB311Message, the order document that platforms send to customs [S22], as submissions.

Fields that the message lacks are read from its free texts; docs/ceb311-intake.md has the
convention.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from lxml import etree

from services.orders.intake.codes import COUNTRY_OF_CODE, CURRENCY_OF_CODE, UNIT_OF_CODE
from services.orders.intake.redaction import echo
from services.orders.intake.schema_faults import named, read_document
from services.orders.intake.submission import CancelRequested, Submitted
from shared.errors import Unprocessable
from shared.events.base import Fault
from shared.identity import order_id_of
from shared.xml import XML_BYTES_MAX, fields_of, parse_untrusted

CEB: Final = "{http://www.chinaport.gov.cn/ceb}"
ORDERS_MAX: Final = 100
LINES_MAX: Final = 99

_CONTENT: Final = re.compile(r"([0-9.]{1,24}) ?(ml|g|piece)", re.IGNORECASE)
_HEAD_TEXTS: Final = {
    "goods_value": "goodsValue",
    "freight": "freight",
    "discount": "discount",
    "tax_withheld": "taxTotal",
    "amount_paid": "acturalPaid",
}


CebOrder = Submitted | CancelRequested


class CebEntries(NamedTuple):
    """The readable orders of a message, and the errors of the others; each with its number from
    1."""

    orders: list[tuple[int, CebOrder]]
    unreadable: list[tuple[int, Unprocessable]]


def read_message(body: bytes) -> CebEntries:
    """Return the orders of a message. Raises Unprocessable if it is no CEB311Message."""
    entries = CebEntries([], [])
    for number, order in enumerate(_orders(body), 1):
        try:
            entries.orders.append((number, _order(order)))
        except Unprocessable as error:
            entries.unreadable.append((number, error))
    return entries


def with_only_order(body: bytes, number: int) -> bytes:
    """Return the message with only its order of this number, so that a replay brings no other
    order."""
    root = _root(body)
    for at, order in enumerate(root.findall(f"{CEB}Order"), 1):
        if at != number:
            root.remove(order)
    written: bytes = etree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return written


def _orders(body: bytes) -> list[etree._Element]:
    orders = _root(body).findall(f"{CEB}Order")
    if not 1 <= len(orders) <= ORDERS_MAX:
        raise Unprocessable(
            "unknown_shape",
            f"a CEB311Message has 1 to {ORDERS_MAX} orders, this one has {len(orders)}",
        )
    return orders


def _root(body: bytes) -> etree._Element:
    root = parse_untrusted(body, XML_BYTES_MAX)
    if root.tag != f"{CEB}CEB311Message":
        raise Unprocessable(
            "unknown_shape",
            "the XML must be a CEB311Message of namespace http://www.chinaport.gov.cn/ceb",
        )
    return root


def _order(element: etree._Element) -> CebOrder:
    heads, lines = element.findall(f"{CEB}OrderHead"), element.findall(f"{CEB}OrderList")
    if len(heads) != 1:
        raise Unprocessable("unknown_shape", "an Order has one OrderHead")
    head = _texts(heads[0])
    faults: list[Fault] = []
    document = _document(head, [_texts(line) for line in lines[: LINES_MAX + 2]], faults)
    if head.get("appType") == "3":
        order_no, platform_code = named(document)
        return CancelRequested(
            order_id_of(platform_code, order_no),
            order_no,
            platform_code,
            "deleted by the shop (appType 3)",
        )
    return read_document(document, faults)


def _texts(element: etree._Element) -> dict[str, str]:
    """Return the fields in NFC, as those of JSON: a number names the same order in both formats."""
    return {name: unicodedata.normalize("NFC", text) for name, text in fields_of(element).items()}


def _document(
    head: Mapping[str, str], lines: list[dict[str, str]], faults: list[Fault]
) -> dict[str, Any]:
    if head.get("orderType", "I") != "I":
        _add(faults, "direction", "one_of", head["orderType"], "orderType I (import)")
    if head.get("appStatus", "2") != "2":
        _add(faults, "mode", "is_declared", head["appStatus"], "appStatus 2 (declared, not staged)")
    buyer = _present(
        name=head.get("buyerName"),
        id_type=head.get("buyerIdType"),
        id_number=head.get("buyerIdNumber"),
    )
    currency = CURRENCY_OF_CODE.get(head.get("currency", ""))
    if currency is None and "currency" in head:
        _add(faults, "currency", "is_currency", head["currency"], "142 (CNY)")
    return _present(
        order_no=head.get("orderNo"),
        placed_at=_time(head.get("appTime")),
        direction="import",
        mode=_tags(head.get("note", "")).get("MODE", "9610"),
        platform=_present(code=head.get("ebpCode"), name=head.get("ebpName")),
        merchant=_present(code=head.get("ebcCode"), name=head.get("ebcName")),
        buyer=buyer | _present(phone=head.get("buyerTelephone")),
        consignee=_present(
            name=head.get("consignee"),
            phone=head.get("consigneeTelephone"),
            country="CN",
            address=head.get("consigneeAddress"),
        ),
        payment=_present(
            enterprise_code=head.get("payCode"), token=head.get("payTransactionId"), payer=buyer
        ),
        currency=currency,
        lines=[_line(line, i, faults) for i, line in enumerate(lines)],
        insurance="0",
        **{name: head.get(theirs) for name, theirs in _HEAD_TEXTS.items()},
    )


def _line(line: Mapping[str, str], index: int, faults: list[Fault]) -> dict[str, Any]:
    tags = _tags(line.get("itemDescribe", ""))
    unit, origin = (
        UNIT_OF_CODE.get(line.get("unit", "")),
        COUNTRY_OF_CODE.get(line.get("country", "")),
    )
    if unit is None and "unit" in line:
        expected = "a unit code of JGS-20 known here"
        _add(faults, f"lines[{index}].unit", "is_unit", line["unit"], expected)
    if origin is None and "country" in line:
        expected = "a country code of JGS-20 known here"
        _add(faults, f"lines[{index}].origin", "is_country", line["country"], expected)
    number = line.get("gnum", "")
    return _present(
        line_no=int(number) if re.fullmatch("[0-9]{1,5}", number) else number or None,
        sku=line.get("itemNo"),
        name=line.get("itemName"),
        hs_code=tags.get("HS"),
        origin=origin,
        brand=tags.get("BRAND"),
        gtin=line.get("barCode"),
        quantity=line.get("qty"),
        unit=unit,
        net_weight_kg=tags.get("NET"),
        net_content=_content(tags.get("CONTENT")),
        unit_price=line.get("price"),
        total=line.get("totalPrice"),
    )


def _content(text: str | None) -> dict[str, str] | str | None:
    match = _CONTENT.fullmatch(text or "")
    return {"value": match[1], "unit": match[2].lower()} if match else text


def _time(text: str | None) -> str | None:
    """Convert appTime, yyyyMMddHHmmss in Beijing; any other text stays and gets a fault later."""
    if text is None or not re.fullmatch("[0-9]{14}", text):
        return text
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[8:10]}:{text[10:12]}:{text[12:]}+08:00"


def _tags(text: str) -> dict[str, str]:
    """Return `HS:0809290000;NET:2.000` as a mapping; parts of another form are the shop's own
    text."""
    parts = (part.partition(":") for part in text.split(";"))
    return {
        name.strip().upper(): value.strip()
        for name, colon, value in parts
        if colon and value.strip()
    }


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _add(faults: list[Fault], field: str, rule: str, value: str, expected: str) -> None:
    faults.append(Fault(field=field, rule=rule, found=echo(value), expected=expected))
