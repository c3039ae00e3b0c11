"""The carrier: every word of its language, numbers that are valid, nothing booked twice."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sandbox.carrier.party import LATE_S, Carrier, s10_of
from sandbox.language import LANGUAGE, Phrase
from sandbox.order_reader import read_submissions
from sandbox.storage import pending_outbox
from services.customs.waybill import decode
from shared.envelope import Outgoing, Record, first_headers
from shared.errors import Unprocessable
from tests.unit.sandbox.papers import NOW, read, submission

ROWS = [row for row in LANGUAGE if row.party == "carrier"]


def sent(carrier: Carrier) -> list[Outgoing]:
    return [record for _, record in pending_outbox(carrier.file, 1000)]


def document(record: Outgoing) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(record.value)
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.word or "none")
def test_the_carrier_speaks_every_row_of_its_language(row: Phrase) -> None:
    carrier = Carrier("waybills")
    carrier.book([read(submission(f"SHOP1-1~{row.word}"))], NOW)
    at_once = len(sent(carrier))
    carrier.issue_late(NOW + LATE_S)
    issued = sent(carrier)
    assert len(issued) == len(row.does)
    assert at_once == {"late": 0, "blurred": 2}.get(row.word, len(row.does))
    assert len({first_headers(record.headers)["ce_id"] for record in issued}) == len(issued)
    good = [record for record, does in zip(issued, row.does, strict=True) if does == "issued"]
    assert len({document(record)["logistics_no"] for record in good}) == (
        2 if row.word == "newway" else min(len(good), 1)
    )
    for record in good:
        assert (document(record)["consignee"]["name"] == "李四") == (row.word != "badway")


def test_a_twin_has_the_number_of_the_order_it_names() -> None:
    carrier = Carrier("waybills")
    carrier.book(
        [read(submission("SHOP1-000001")), read(submission("SHOP1-000002~twin000001"))], NOW
    )
    first, second = (document(record) for record in sent(carrier))
    assert first["order_id"] != second["order_id"]
    assert first["logistics_no"] == second["logistics_no"]


def test_what_is_blurred_is_refused_by_customs_and_the_good_one_is_read() -> None:
    carrier = Carrier("waybills")
    carrier.book([read(submission("SHOP1-1~blurred"))], NOW)
    carrier.issue_late(NOW + LATE_S)
    found = [
        decode(Record("w", 0, 0, 1_796_000_000_000, r.key, r.value, r.headers)) if at == 2 else None
        for at, r in enumerate(sent(carrier))
    ]
    assert [bool(each) for each in found] == [False, False, True]
    for record in sent(carrier)[:2]:
        with pytest.raises(Unprocessable):
            decode(Record("w", 0, 0, 1_796_000_000_000, record.key, record.value, record.headers))


def test_a_waybill_is_a_cloudevent_keyed_by_its_order() -> None:
    carrier = Carrier("waybills")
    order = read(submission())
    carrier.book([order], NOW)
    (record,) = sent(carrier)
    headers = first_headers(record.headers)
    assert (record.topic, record.key) == ("waybills", str(order.order_id).encode())
    assert headers["ce_type"] == b"waybill.issued.v1"
    assert headers["content-type"] == b"application/json"
    found = document(record)
    assert (found["order_no"], found["platform_code"], found["pack_count"]) == (
        "SHOP1-000001",
        "1105910159",
        1,
    )
    assert (found["freight"], found["insurance"], found["currency"]) == ("20.00", "0.00", "CNY")
    assert float(found["gross_weight_kg"]) > 2
    assert len(found["logistics_no"]) <= 30


def test_an_order_sent_again_is_not_booked_again() -> None:
    carrier = Carrier("waybills")
    order = read(submission())
    carrier.book([order, order], NOW)
    carrier.book([order], NOW)
    assert len(sent(carrier)) == 1


def test_an_export_travels_under_a_valid_s10_number() -> None:
    carrier = Carrier("waybills")
    orders = [read(submission(f"SHOP1-{n}", direction="export")) for n in range(200)]
    carrier.book(orders, NOW)
    numbers = [document(record)["logistics_no"] for record in sent(carrier)]
    assert len(set(numbers)) == 200
    for number in numbers:
        total = sum(int(d) * w for d, w in zip(number[2:10], (8, 6, 4, 2, 3, 5, 9, 7), strict=True))
        assert int(number[10]) == {10: 0, 11: 5}.get(11 - total % 11, 11 - total % 11)
        assert number[0] not in "JKSTW"
        assert number.endswith("CN")


def test_another_salt_draws_another_number() -> None:
    order_id = read(submission()).order_id
    assert s10_of(order_id) == s10_of(order_id) != s10_of(order_id, 1)


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"", ()),
        (b"{", ()),
        (b"[1]", ()),
        (b'{"order_no": "x"}', ()),
        (b"<not-xml", ()),
        (b"<a/>", ()),
        (submission(freight="1.001"), ()),
        (submission(amount_paid="NaN"), ()),
        (submission(goods_value="1e30"), ()),
        (submission(lines=[{"line_no": 1}]), ()),
        (submission(lines=None), ()),
        (submission(buyer={"name": {}, "id_number": "1"}), ()),
        (submission(direction=1), ()),
        (submission(), (("ce_type", b"order.cancel-requested.v1"),)),
        (submission(), (("ce_type", b"return.requested.v1"),)),
    ],
)
def test_commands_and_what_cannot_be_read_are_ignored(
    value: bytes, headers: tuple[tuple[str, bytes], ...]
) -> None:
    assert list(read_submissions(value, headers)) == []


@pytest.mark.parametrize(
    ("was", "given"),
    [
        *(
            (b'"line_no":1,', b'"line_no":' + given)
            for given in (b"1" + b"0" * 40, b"1e300", b"-1", b'"' + b"9" * 5000 + b'"', b"[]")
        ),
        *(
            (b'"region":"Shanghai"', b'"region":' + given)
            for given in (b"[]", b"{}", b"7", b"true")
        ),
        (b'"postcode":"200000"', b'"postcode":200000'),
        (b'"region":"Shanghai"', b'"region":"' + b"x" * 3_000_000 + b'"'),
        (b'"name":"Sweet', b'"name":"' + b"x" * 5_000 + b"Sweet"),
    ],
)
def test_what_no_file_of_ours_could_keep_is_ignored(was: bytes, given: bytes) -> None:
    """A number beyond 64 bits, a waybill beyond 2 MiB: these would end the outside parties again
    and again, for everybody.
    """
    value = submission().replace(was, given + b"," if was.endswith(b",") else given)
    assert list(read_submissions(submission(), ()))
    assert list(read_submissions(value, ())) == []


def test_a_311_document_is_an_order_too() -> None:
    head = (
        "<orderNo>N1</orderNo><ebpCode>P</ebpCode><goodsValue>10</goodsValue><freight>1</freight><discount>0</discount>"
        "<taxTotal>0.5</taxTotal><acturalPaid>11.5</acturalPaid><buyerName>张三</buyerName><buyerIdNumber>1</buyerIdNumber>"
        "<buyerTelephone>2</buyerTelephone><consignee>李四</consignee><consigneeTelephone>3</consigneeTelephone>"
        "<consigneeAddress>4</consigneeAddress>"
    )
    line = (
        "<gnum>1</gnum><itemName>x</itemName><qty>1</qty><price>10</price>"
        "<totalPrice>10</totalPrice><country>502</country>"
    )
    order = f"<Order><OrderHead>{head}</OrderHead><OrderList>{line}</OrderList></Order>"
    root = '<CEB311Message xmlns="http://www.chinaport.gov.cn/ceb" guid="G" version="1.0">'
    xml = f"{root}{order * 2}</CEB311Message>"
    found = list(read_submissions(xml.encode(), ()))
    assert [(o.order_no, str(o.amount_paid), o.adds_up) for o in found] == [
        ("N1", "11.5", True)
    ] * 2
    for text in ("李四", "<itemName>x"):
        assert list(read_submissions(xml.replace(text, text + "x" * 5_000).encode(), ())) == []
