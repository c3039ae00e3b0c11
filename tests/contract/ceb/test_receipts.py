"""Receipts are read entry by entry.

What is hostile, broken or of another kind is refused and costs nothing.
"""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from services.customs.ceb.parse import parse_receipts, to_json
from shared.errors import Unprocessable
from shared.xml import XML_BYTES_MAX, XmlRefused, parse_untrusted
from tests.contract.ceb.samples import GUID, elements, receipt

ENTRIES = {
    "CEB622": "InventoryReturn", "CEB604": "InventoryReturn", "CEB624": "InvtCancelReturn",
    "CEB606": "InvtCancelReturn",
    "CEB626": "InvtRefundReturn", "CEB214": "RefundReturn",
}  # fmt: skip


def entry(message: str, status: str, info: str, **more: str) -> bytes:
    number = {"coElNo" if message == "CEB214" else "copNo": "C0000000000000000001"}
    texts = {"guid": GUID, **number, "preNo": "B20261123000000001", "returnStatus": status,
             "returnTime": "20261123090203456", "returnInfo": info} | more  # fmt: skip
    return receipt(message, ENTRIES[message], elements(**texts))


@pytest.mark.parametrize("message", ENTRIES)
def test_every_receipt_of_the_family_is_read(message: str) -> None:
    (found,) = parse_receipts(
        entry(message, "120", "[Code:1800;Desc:逻辑校验通过]", invtNo="22442026I000000001")
    )
    assert (found.message_type, found.status, found.cop_no) == (
        message,
        "120",
        "C0000000000000000001",
    )
    assert (found.pre_no, found.invt_no) == ("B20261123000000001", "22442026I000000001")
    assert found.at.isoformat() == "2026-11-23T09:02:03.456000+08:00"
    assert found.at.utcoffset() == timedelta(hours=8)
    assert (found.inner_code, found.public_info) == ("1800", "[Code:1800;Desc:logic check passed]")


@pytest.mark.parametrize(
    ("status", "info", "code"),
    [
        ("100", "Code:1313;Desc:totalPrice: 26,114.44 > limitPrice: 26,000", "1313"),
        ("100", "[Code:130126;Desc:电话不符]", "130126"),
        ("100", "no code at all", "100"),
        ("-621041", "too soon", "-621041"),
        ("800", "[Code:2600;Desc:放行]", "2600"),
    ],
)
def test_why_is_as_precise_as_the_text_says(status: str, info: str, code: str) -> None:
    (found,) = parse_receipts(entry("CEB622", status, info.replace(">", "&gt;")))
    assert found.code == code


def test_an_entry_whose_status_is_in_no_list_does_not_take_the_others_with_it() -> None:
    """A port may have statuses of its own, and up to 99 other lists are in the same message."""
    texts = [elements(guid=GUID, copNo=f"C000000000000000000{n}", preNo="B20261123000000001", returnStatus=status,
                      returnTime="20261123090203456", returnInfo="x") for n, status in enumerate(("800", "401", "800"))]  # fmt: skip
    one = receipt("CEB622", "InventoryReturn", texts[0])
    begin, end = one.index(b"<ceb:InventoryReturn"), one.index(b"</ceb:CEB622Message")
    entries = [receipt("CEB622", "InventoryReturn", text)[begin:end] for text in texts]
    found = parse_receipts(one[:begin] + b"".join(entries) + one[end:])
    assert [each.status for each in found] == ["800", "401", "800"]
    assert found[1].public_info == "status 401 is in no list here"


def test_the_public_text_never_quotes_the_authoritys() -> None:
    (found,) = parse_receipts(entry("CEB622", "100", "[Code:13127;Desc:订购人 张三 与订单不符]"))
    assert "张三" in found.info
    assert "张三" not in found.public_info


def test_a_format_check_receipt_names_the_message_it_refuses() -> None:
    original = f'<CEB621Message guid="{GUID}" version="1.0">'
    texts = elements(guid=GUID, returnStatus="-602001", returnInfo="bad", returnTime="20261123090203456",
                     oriCopMsgId="M1", oriMessageType="CEB621Message")  # fmt: skip
    (found,) = parse_receipts(
        receipt(
            "CEB900",
            "MessageReturn",
            texts + f"<ceb:oriBizMessage><![CDATA[{original}]]></ceb:oriBizMessage>",
        )
    )
    assert (found.original_guid, found.original_type, found.original_id) == (
        GUID,
        "CEB621Message",
        "M1",
    )
    assert (found.cop_no, found.inner_code) == (None, "-602001")


def test_entries_keep_their_order() -> None:
    one = entry("CEB622", "2", "x").decode()
    body = one[one.index("<ceb:InventoryReturn>") : one.index("</ceb:CEB622Message>")]
    many = one.replace(body, body + body.replace(">2<", ">120<") + body.replace(">2<", ">800<"))
    assert [found.status for found in parse_receipts(many.encode())] == ["2", "120", "800"]


BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><x>&c;</x>"""
XXE = b'<!DOCTYPE x [<!ENTITY file SYSTEM "file:///etc/passwd">]><x>&file;</x>'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (BOMB, "malformed"),
        (XXE, "malformed"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><!-- > --><?a ?>\n<!doctype x><x/>", "malformed"),
        (b"<x>" + b"a" * XML_BYTES_MAX + b"</x>", "too_large"),
        ("<?xml version='1.0' encoding='GBK'?><x>张三</x>".encode("gbk"), "malformed"),
        ("<?xml version='1.0' encoding='UTF-16'?><x/>".encode("utf-16"), "malformed"),
        ("<x>张三</x>".encode("gbk"), "malformed"),
        (b"<x><y></x>", "malformed"),
        (b"<x>&undefined;</x>", "malformed"),
        (b"<x>" * 300 + b"</x>" * 300, "malformed"),
        (b"", "malformed"),
        (b"{}", "malformed"),
    ],
    ids=["bomb", "xxe", "doctype_after_prolog", "oversized", "gbk", "utf16", "not_utf8", "unclosed",
    "entity", "deep",
         "empty", "json"],
)  # fmt: skip
def test_a_hostile_or_broken_document_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(XmlRefused) as refused:
        parse_untrusted(data)
    assert refused.value.reason == reason
    assert isinstance(refused.value, Unprocessable)


def test_a_long_prolog_is_not_slow() -> None:
    started = time.perf_counter()
    with pytest.raises(XmlRefused):
        parse_untrusted(b"<!-- -" * 100_000)
    parse_untrusted(b"<!-- - -->" * 50_000 + b"<x/>")
    assert time.perf_counter() - started < 2


def test_a_comment_does_not_cut_a_text() -> None:
    assert parse_untrusted(b"<x>12<!-- -->34<?pi ?>56</x>").text == "123456"


@pytest.mark.parametrize(
    "data",
    [
        b"<CEB622Message/>",
        b'<x xmlns="http://www.chinaport.gov.cn/ceb"/>',
        receipt("CEB621", "Inventory", ""),
        receipt("CEB622", "OrderReturn", ""),
        entry("CEB622", "120", "").replace(b"copNo>", b"other>"),
        entry("CEB622", "18x", "x"),
        entry("CEB622", "12345678901", "x"),
        receipt("CEB900", "MessageReturn", elements(guid=GUID, returnStatus="-2", returnTime="20261123090203456", returnInfo="x")),
        entry("CEB622", "120", "x").replace(b"20261123090203456", b"20261323090203456"),
        entry("CEB622", "120", "x").replace(b"20261123090203456", b"20261123090203"),
        entry("CEB622", "120", "x").replace(b"<ceb:preNo>", b"<ceb:copNo>C2</ceb:copNo><ceb:preNo>"),
        entry("CEB622", "120", "x").replace(b"<ceb:copNo>", b"<ceb:copNo><ceb:a/>"),
    ],
    ids=["namespace", "root", "not_a_receipt", "other_entry", "no_number", "status_is_no_number", "long_status", "about_nothing",
    "month_13",
    "short_time",
         "number_twice", "nested"],
)  # fmt: skip
def test_what_is_no_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(XmlRefused):
        parse_receipts(data)


def test_any_message_reads_as_json() -> None:
    found = to_json(entry("CEB622", "120", "x"))
    assert (found["message"], found["guid"], found["version"]) == ("CEB622", GUID, "1.0")
    assert found["InventoryReturn"][0]["returnStatus"] == "120"
