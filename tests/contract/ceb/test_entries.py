"""A message of the authority is read entry by entry, in every encoding and envelope it is sent in."""

from __future__ import annotations

import base64
import resource

import pytest

from services.customs.ceb.bills import TaxBill
from services.customs.ceb.notices import Notice
from services.customs.ceb.parse import keep_entry, parse_entries, read_entries
from services.customs.ceb.receipts import Receipt
from services.customs.ceb.summaries import SummaryResult
from services.customs.receipts.decoding import decode_receipts
from shared.decoding import PartlyReadable, with_arrival_time
from shared.envelope import Record
from shared.errors import Unprocessable
from shared.xml import XmlRefused
from tests.contract.ceb.samples import GUID, elements, receipt

NUMBER = "22442026I000000001"


def row(at: int = 1, **more: str) -> str:
    texts = {"guid": GUID, "customsCode": "2244", "copNo": f"C{at:019d}", "preNo": "B20261123000000001", "returnStatus": "800",
             "returnTime": "20261123090203456", "returnInfo": "[Code:2600;Desc:放行]"} | more  # fmt: skip
    return elements(**{name: text for name, text in texts.items() if text != "-"})


def message(*entries: str, of: str = "CEB622", entry: str = "InventoryReturn") -> bytes:
    one = receipt(of, entry, "|").decode()
    begin, end = f"<ceb:{entry}>", f"</ceb:{entry}>"
    head, tail = one.split(f"{begin}|{end}")
    return (head + "".join(f"{begin}{each}{end}" for each in entries) + tail).encode()


def record(value: bytes) -> Record:
    return Record("authority.receipts", 0, 0, 1, b"k", value, ())


def bill(**head: str) -> str:
    texts = {"guid": GUID, "returnTime": "20261123090203456", "invtNo": NUMBER, "taxNo": f"{NUMBER}_0", "customsTax": "0",
             "valueAddedTax": "12.30", "consumptionTax": "0", "status": "1"} | head  # fmt: skip
    line = elements(
        gnum="1",
        gcode="0809290000",
        taxPrice="135.20",
        customsTax="0",
        valueAddedTax="12.30",
        consumptionTax="0",
    )
    return (
        f"<ceb:TaxHeadRd>{elements(**texts)}</ceb:TaxHeadRd><ceb:TaxListRd>{line}</ceb:TaxListRd>"
    )


def status(**head: str) -> str:
    texts = {
        "guid": GUID,
        "returnTime": "20261123090203456",
        "invtNo": NUMBER,
        "taxNo": f"{NUMBER}_0",
        "status": "1",
    } | head
    return f"<ceb:TaxHeadStatus>{elements(**texts)}</ceb:TaxHeadStatus>"


def result(seq: str, *lines: str) -> str:
    head = elements(
        customsCode="2244", sumNo="S1", declSeqNo=seq, decState="1", opDate="20261201120000000"
    )
    told = "".join(f"<ceb:SummaryResultList>{line}</ceb:SummaryResultList>" for line in lines)
    return f"<ceb:SummaryResultHead>{head}</ceb:SummaryResultHead>{told}"


LINE = elements(
    invtNo="22442026E000000001", logisticsNo="EX1", gseqno="1", gnum="1", gcode="9503008900"
)
WITHOUT_GSEQNO = elements(
    invtNo="22442026E000000001", logisticsNo="EX1", gnum="1", gcode="9503008900"
)
BAD = {
    "time of 14 digits": row(returnTime="20261123090203"), "no such day": row(returnTime="20261131090203456"),
    "year 1": row(returnTime="00010101090203456"), "year 9999": row(returnTime="99991231235959999"),
    "empty status": row(returnStatus=""), "status of letters": row(returnStatus="800A"), "no status": row(returnStatus="-"),
    "nothing named": row(copNo=""), "number twice": row() + elements(copNo="C2"), "note twice": row() + elements(note="a") * 2,
    "elements in a text": row(returnInfo="-") + "<ceb:returnInfo><ceb:b/></ceb:returnInfo>",
    "endless number": row(copNo="C" * 5000), "endless invtNo": row(invtNo="2" * 5000),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_an_entry_that_cannot_be_read_costs_no_other(bad: str) -> None:
    found = decode_receipts(
        record(message(*(row(n) for n in range(1, 50)), bad, *(row(n) for n in range(51, 101))))
    )
    assert isinstance(found, PartlyReadable)
    assert [m.entry for m in found] == [*range(1, 50), *range(51, 101)]
    assert [each.entry for each in found.unreadable] == [50]


MIXED = {
    "sum": ("CEB816", "Tax", bill(), bill(valueAddedTax="12.31")),
    "amount with an exponent": ("CEB816", "Tax", bill(), bill(customsTax="0e0")),
    "full-width amount": ("CEB816", "Tax", bill(), bill(customsTax="０")),
    "grouped amount": ("CEB816", "Tax", bill(), bill(customsTax="0_0")),
    "an export's": ("CEB816", "Tax", bill(), bill(invtNo="22442026E000000001")),
    "another currency": ("CEB816", "Tax", bill(currency="142"), bill(currency="502")),
    "another currency of a line": (
        "CEB816",
        "Tax",
        bill(),
        bill().replace("<ceb:taxPrice>", "<ceb:currency>502</ceb:currency><ceb:taxPrice>"),
    ),
    "book": ("CEB818", "Tax", status(), status(status="2")),
    "head": ("CEB816", "Tax", bill(), ""),
    "gseqno": ("CEB792", "SummaryResult", result("D1", LINE), result("D2", WITHOUT_GSEQNO)),
    "number": (
        "CEB312",
        "OrderReturn",
        elements(orderNo="1", returnStatus="2", returnTime="20261201120000000"),
        "",
    ),
}


@pytest.mark.parametrize(("of", "entry", "good", "bad"), MIXED.values(), ids=MIXED)
def test_so_does_one_of_any_other_message(of: str, entry: str, good: str, bad: str) -> None:
    answer = read_entries(message(bad, good, bad, of=of, entry=entry))
    assert [number for number, _ in answer.entries] == [2]
    assert [number for number, _ in answer.unreadable] == [1, 3]
    with pytest.raises(XmlRefused):
        parse_entries(message(good, bad, of=of, entry=entry))


@pytest.mark.parametrize("bad", [
    f"<ceb:InventoryReturns>{row()}</ceb:InventoryReturns>", f"<ceb:InvtCancelReturn>{row()}</ceb:InvtCancelReturn>",
    "<InventoryReturn><copNo>C1</copNo></InventoryReturn>", '<x:InventoryReturn xmlns:x="urn:x"><x:copNo>C1</x:copNo></x:InventoryReturn>',
], ids=["misspelt", "of another message", "without a namespace", "in another namespace"])  # fmt: skip
def test_an_entry_under_another_name_is_not_lost_without_a_word(bad: str) -> None:
    two = message(row(1), row(2)).replace(
        b"</ceb:InventoryReturn>", b"</ceb:InventoryReturn>" + bad.encode(), 1
    )
    answer = read_entries(two)
    assert [number for number, _ in answer.entries] == [1, 3]
    assert [number for number, _ in answer.unreadable] == [2]
    with pytest.raises(XmlRefused, match="holds no InventoryReturn"):
        read_entries(keep_entry(two, 2))
    (third,) = parse_entries(keep_entry(two, 3))
    assert isinstance(third, Receipt)
    assert third.cop_no == f"C{2:019d}"


def test_what_stands_beside_the_entries_is_none() -> None:
    beside = b'<ceb:BaseTransfer/><ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/><x:local xmlns:x="urn:x">1</x:local>'
    answer = read_entries(
        message(row(1), row(2)).replace(
            b"</ceb:InventoryReturn>", b"</ceb:InventoryReturn>" + beside, 1
        )
    )
    assert ([number for number, _ in answer.entries], answer.unreadable) == ([1, 2], [])


def test_a_bad_entry_alone_is_the_whole_record() -> None:
    with pytest.raises(Unprocessable, match="17 digits"):
        decode_receipts(record(message(BAD["time of 14 digits"])))


def test_a_record_that_came_later_than_it_says_keeps_what_cannot_be_read() -> None:
    found = with_arrival_time(
        decode_receipts(record(message(row(1), BAD["no such day"], row(3)))), 1, 10**12
    )
    assert isinstance(found, PartlyReadable)
    assert [each.entry for each in found.unreadable] == [2]
    assert {m.at.timestamp() for m in found} == {10**9}


def test_nothing_readable_is_as_many_dead_letters_as_entries() -> None:
    found = decode_receipts(record(message(*BAD.values())))
    assert isinstance(found, PartlyReadable)
    assert found
    assert (list(found), len(found.unreadable)) == ([], len(BAD))


def test_an_entry_alone_is_the_message_without_the_others() -> None:
    whole = message(row(1), row(2, returnStatus="500"), row(3))
    (only,) = parse_entries(keep_entry(whole, 2))
    assert isinstance(only, Receipt)
    assert (only.cop_no, only.status) == (f"C{2:019d}", "500")
    assert read_entries(keep_entry(message(row(1), BAD["no such day"]), 2)).unreadable[0][0] == 1


@pytest.mark.parametrize("declared", ["gb2312", "GB2312", "GBK", "gb18030", "UTF-8"])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_the_encodings_of_the_family_are_read(declared: str, quote: str) -> None:
    plain = message(
        row(returnInfo="退单[Code:130126;Desc:订购人电话不一致]", returnStatus="100")
    ).decode()
    head = f"<?xml version='1.0' encoding={quote}{declared}{quote}?>"
    (found,) = parse_entries((head + plain.partition("?>")[2]).encode(declared))
    assert isinstance(found, Receipt)
    assert (found.status, found.inner_code, found.info) == (
        "100",
        "130126",
        "退单[Code:130126;Desc:订购人电话不一致]",
    )


def text_of(head: bytes, text: str, encoding: str) -> str:
    (found,) = parse_entries(
        head + message(row(returnInfo=text)).partition(b"?>")[2].decode().encode(encoding)
    )
    assert isinstance(found, Receipt)
    return found.info


def test_what_is_declared_is_not_always_what_is_sent() -> None:
    assert text_of(b"\xef\xbb\xbf", "放行", "utf-8") == "放行"
    assert text_of(b"", "放行", "gbk") == "放行"
    for odd in ("放行", "放行中", "，。", "买买提·吐尔逊", "买·提", "é放行"):
        assert text_of(b'<?xml version="1.0" encoding="gb2312"?>', odd, "utf-8") == odd
    # Its bytes in GBK are a Latin letter in UTF-8.
    assert text_of(b'<?xml version="1.0" encoding="gb2312"?>', "模", "gbk") == "模"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff\xfe" + message(row()).decode().encode("utf-16-le"), "UTF-16"),
        (message(row()).decode().encode("utf-16"), "UTF-16"),
        (b'<?xml version="1.0" encoding="Big5"?><a/>', "Big5"),
        (b'<?xml version="1.0" encoding="UTF-8"?><a>\xb7\xc5</a>', "is not UTF-8"),
        (b'<?xml version="1.0" encoding="GBK"?><a>\xff\xff</a>', "neither"),
    ],
)
def test_another_encoding_is_refused_by_name(data: bytes, says: str) -> None:
    with pytest.raises(XmlRefused, match=says):
        parse_entries(data)


def in_envelope(data: bytes, sv: bool = False) -> bytes:
    inner = f"<dxp:TransInfo><dxp:CopMsgId>1</dxp:CopMsgId></dxp:TransInfo><dxp:Data>{base64.encodebytes(data).decode()}</dxp:Data>"
    xmlns = 'xmlns:dxp="http://www.chinaport.gov.cn/dxp"'
    told = f'<dxp:DxpMsg {xmlns} ver="1.0">{inner}</dxp:DxpMsg>'
    return (f'<dxp:DxpMsgSv {xmlns} ver="1.0">{told}</dxp:DxpMsgSv>' if sv else told).encode()


@pytest.mark.parametrize("sv", [False, True])
def test_an_envelope_is_taken_off(sv: bool) -> None:
    plain = message(row(1), BAD["no such day"], row(3))
    assert [n for n, _ in read_entries(in_envelope(plain, sv)).entries] == [1, 3]
    (third,) = parse_entries(keep_entry(in_envelope(plain, sv), 3))
    assert isinstance(third, Receipt)
    assert third.cop_no == f"C{3:019d}"
    (found,) = parse_entries(
        in_envelope(message(row()).decode().replace("UTF-8", "GBK").encode("gbk"), sv)
    )
    assert isinstance(found, Receipt)


@pytest.mark.parametrize("data", [
    in_envelope(b"<a/>"), in_envelope(b"PD94"), in_envelope(in_envelope(message(row()))),
    in_envelope(message(row())).replace(b"dxp:Data>", b"dxp:Other>"), in_envelope(message(row())).replace(b"<dxp:Data>", b"<dxp:Data>*"),
    b'<dxp:DxpRep xmlns:dxp="http://www.chinaport.gov.cn/dxp"/>',
], ids=["no message", "no xml", "twice", "no data", "no base64", "a reply"])  # fmt: skip
def test_an_envelope_without_a_message_is_refused(data: bytes) -> None:
    with pytest.raises(XmlRefused):
        read_entries(data)


@pytest.mark.parametrize(
    ("info", "code"),
    [
        ("[Code:1800;Desc:逻辑校验通过][Code:1313;Desc:x]", "1313"),
        ("[Code:1313;Desc:x][Code:1800;Desc:逻辑校验通过]", "1313"),
        ("[Code:1313;Desc:x][Code:130126;Desc:y]", "130126"),
        ("[Code:1800;Desc:通过][Code:2600;Desc:放行]", "2600"),
        ("［Code：1313；Desc：x］", "1313"),
        ("退单Code:1313", "1313"),
        ("[Code:１３１３;Desc:x]", "1313"),
        ("[Code:1800;Desc:通过]［Ｃｏｄｅ：１３０１２６；Desc：电话不一致］", "130126"),
        ("[code : -621041;desc:x]", "-621041"),
        ("barCode:6901 is unknown", "100"),
        ("[Code:12345678901]", "100"),
    ],
)
def test_the_last_code_that_is_no_pass_is_the_reason(info: str, code: str) -> None:
    (found,) = parse_entries(message(row(returnStatus="100", returnInfo=info)))
    assert isinstance(found, Receipt)
    assert found.code == code


NOTICES = {
    "CEB304": ("OrderReturn", {"ebpCode": "1", "ebcCode": "2", "orderNo": "N1"}),
    "CEB312": ("OrderReturn", {"ebpCode": "1", "ebcCode": "2", "orderNo": "N1"}),
    "CEB404": ("ReceiptsReturn", {"ebcCode": "2", "orderNo": "N1"}),
    "CEB412": ("PaymentReturn", {"payCode": "1", "payTransactionId": "T1"}),
    "CEB506": ("LogisticsReturn", {"logisticsCode": "1", "logisticsNo": "W1"}),
    "CEB508": ("ArrivalReturn", {"operatorCode": "1", "logisticsCode": "2", "preNo": "P1", "copNo": "X1", "billNo": "B", "msgSeqNo": "1"}),
    "CEB510": ("DepartureReturn", {"logisticsCode": "2", "copNo": "X1", "preNo": "P1", "msgSeqNo": "1"}),
    "CEB512": ("LogisticsReturn", {"logisticsCode": "1", "logisticsNo": "W1"}),
    "CEB514": ("LogisticsStatusReturn", {"logisticsCode": "1", "logisticsNo": "W1", "logisticsStatus": "S"}),
    "CEB608": ("WayBillReturn", {"agentCode": "1", "logisticsCode": "2", "copNo": "X1", "preNo": "P1", "billNo": "B", "msgSeqNo": "1"}),
    "CEB712": ("DeliveryReturn", {"customsCode": "2244", "copNo": "X1"}),
    "CEB216": ("InvtRefundDetailReturn", {"operatorCode": "1", "logisticsCode": "2", "logisticsNo": "W1", "coElNo": "X1"}),
}  # fmt: skip


@pytest.mark.parametrize("of", NOTICES)
def test_a_receipt_that_needs_nothing_is_read(of: str) -> None:
    entry, numbers = NOTICES[of]
    texts = elements(
        guid=GUID,
        **numbers,
        returnStatus="120",
        returnTime="20261123090203456",
        returnInfo="[Code:1800;Desc:x]",
    )
    (found,) = parse_entries(message(texts, of=of, entry=entry))
    assert isinstance(found, Notice)
    assert (found.message_type, found.status, found.code) == (of, "120", "1800")
    assert found.numbers.items() <= numbers.items()


def test_a_result_of_a_whole_month_is_read_in_little_room() -> None:
    lines = (
        elements(
            invtNo=f"22442026E{n:09d}",
            logisticsNo=f"EX{n:011d}",
            gseqno="1",
            gnum="1",
            gcode="9503008900",
        )
        for n in range(64_000)
    )
    data = message(result("D1", *lines), of="CEB792", entry="SummaryResult")
    assert 13 * 1024**2 < len(data) < 16 * 1024**2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (found,) = parse_entries(data)
    assert isinstance(found, SummaryResult)
    assert len(found.lines) == 64_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 160 * 1024
    with pytest.raises(XmlRefused, match="16777216"):
        read_entries(data + b" " * 3 * 1024**2)


def test_bills_keep_their_words() -> None:
    (found,) = parse_entries(message(bill(), of="CEB816", entry="Tax"))
    assert isinstance(found, TaxBill)
    assert (found.vat_minor, found.duty_minor, found.guarantor) == (1230, 0, None)
